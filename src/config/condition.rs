//! Whether what says when an event is made can be said of its trigger's values, as far as it is known what they are.

use floorgate_adapter_api::{Given, GivenKind};
use floorgate_core::plan::{Condition, Counter, EdgeSpec, Shape, TagSpec};
use floorgate_core::table::{Entry, Key, ValueTable};
use floorgate_yaml::{Problems, Span};

use crate::event_form::{EventForm, Names, TransitionsForm};
use crate::fit::{described, named, range};

/// The trigger of an event.
struct Trigger<'t> {
    spec: &'t TagSpec,
    given: Given,
}

/// Reports conditions that no value of the trigger can meet for what kind of values they are; `stated` is the range that the mapping
/// gives it.
pub(crate) fn check(
    form: &EventForm,
    shape: &Shape,
    (spec, given): (&TagSpec, Option<Given>),
    stated: Option<(f64, f64)>,
    problems: &mut Problems,
) {
    if let (Some(table), Shape::Edge(edge)) = (&spec.values, shape)
        && edge.condition == Condition::True
    {
        is_always_true(form, spec, table, problems);
    }
    if let Shape::Edge(edge) = shape {
        is_met(form, edge, (spec, given), stated, problems);
    }
    let Some(given) = given else { return };
    let trigger = Trigger { spec, given };
    match (spec.values.is_some(), given.kind) {
        (false, GivenKind::Text) => trigger.no_text(form, shape, problems),
        (false, _) => trigger.no_words(form, problems),
        (true, _) => {}
    }
}

/// Reports an edge of a state: a number is true when it is not 0, and states seldom are.
fn is_always_true(form: &EventForm, spec: &TagSpec, table: &ValueTable, problems: &mut Problems) {
    let is_false = |entry: &Entry| entry.key == Key::Number(0);
    let Some(last) = table
        .entries
        .last()
        .filter(|_| !table.entries.iter().any(is_false))
    else {
        return;
    };
    let span = form.edge.as_ref().map(|edge| edge.span);
    problems
        .warning(
            span.or(form.trigger.as_ref().map(|trigger| trigger.span)),
            format!(
                "event `{}` is never made: it is made when tag `{}` becomes true, and none of its states is 0",
                form.event.value, spec.name
            ),
        )
        .hint(format!("say which state it becomes, such as `becomes: {}`", last.name));
}

impl Trigger<'_> {
    fn named(&self) -> String {
        format!(
            "{} {}",
            named(&self.spec.name, self.given),
            described(self.given.kind)
        )
    }

    /// Conditions on numbers and bits.
    fn no_text(&self, form: &EventForm, shape: &Shape, problems: &mut Problems) {
        let hint = "read it as a number; of text say what it `becomes`";
        let event = form.event.value.as_str();
        let (key, span, hint) = match shape {
            Shape::Edge(EdgeSpec {
                condition: Condition::Above { .. },
                ..
            }) => ("above", form.above.map(|key| key.span), hint),
            Shape::Edge(EdgeSpec {
                condition: Condition::Below { .. },
                ..
            }) => ("below", form.below.map(|key| key.span), hint),
            Shape::Window(_) => (
                "window",
                form.window.map(|key| key.span),
                "read it as a number, or remove `window`: text has no mean",
            ),
            Shape::Edge(EdgeSpec {
                condition: Condition::True,
                ..
            }) => {
                if let Some(edge) = &form.edge {
                    ("edge", Some(edge.span), hint)
                } else {
                    problems
                        .error(
                            form.trigger.as_ref().map(|trigger| trigger.span),
                            format!("`{event}` is made when its trigger becomes true, and {}", self.named()),
                        )
                        .hint("name the bit that says so as trigger, or add `edge: every` to make it of every change");
                    return;
                }
            }
            _ => return,
        };
        problems
            .error(span, format!("`{key}` of `{event}`: {}", self.named()))
            .hint(hint);
    }

    /// States, by names that the values do not have.
    fn no_words(&self, form: &EventForm, problems: &mut Problems) {
        let is_word = |name: &str| match self.given.kind {
            GivenKind::Bit => !matches!(name, "true" | "false"),
            _ => name.parse::<f64>().is_err(),
        };
        let mut report = |key: &str, name: &str, span: Span| {
            if is_word(name) {
                let (what, trigger) = (self.named(), &self.spec.name);
                problems
                    .error(span, format!("`{key}`: {what}, and never `{name}`"))
                    .hint(format!("give tag `{trigger}` a table of names with `values`"));
            }
        };
        for (key, names) in [("becomes", &form.becomes), ("leaves", &form.leaves)] {
            match names.as_ref().map(|names| (&names.value, names.span)) {
                Some((Names::One(name), span)) => report(key, name, span),
                Some((Names::Several(several), _)) => {
                    for name in several {
                        report(key, &name.value, name.span);
                    }
                }
                None => {}
            }
        }
        let expected = form.expect.iter().flat_map(|expect| &expect.value);
        expected.for_each(|name| report("expect", &name.value, name.span));
        match form
            .transitions
            .as_ref()
            .map(|transitions| (&transitions.value, transitions.span))
        {
            Some((TransitionsForm::Standard(name), span)) => report("transitions", name, span),
            Some((TransitionsForm::Own(own), _)) => {
                let states = own.iter().flat_map(|(from, to)| std::iter::once(from).chain(to));
                states.for_each(|name| report("transitions", &name.value, name.span));
            }
            None => {}
        }
    }
}

/// The ends of a trigger's values, as somebody says them.
struct Ends {
    least: f64,
    most: f64,
    /// Who says so, such as "tag `speed` (`u16`) is 0 to 65535".
    said: String,
    /// Whether a measured value may still be at them, and a little beyond.
    loose: bool,
}

/// The ends that are known: by the type, by the counter, and by the range that the mapping gives.
fn ends((spec, given): (&TagSpec, Option<Given>), stated: Option<(f64, f64)>) -> Vec<Ends> {
    let of = |named: String, least: f64, most: f64| Ends {
        least,
        most,
        said: format!("{named} is {least} to {most}"),
        loose: false,
    };
    let mut all = Vec::new();
    if let (Some((least, most)), Some(given)) = (range(given), given) {
        all.push(of(named(&spec.name, given), least as f64, most as f64));
    }
    if let Some(Counter { max, decimals, .. }) = spec.counter {
        let most = max as f64 / 10_f64.powi(decimals.into());
        all.push(of(format!("counter `{}`", spec.name), 0.0, most));
    }
    if let Some((least, most)) = stated {
        all.push(Ends {
            loose: true,
            ..of(format!("by its `range` tag `{}`", spec.name), least, most)
        });
    }
    all
}

/// Limits that no value is beyond, and those that it is always beyond or never comes back from: the condition never begins, or
/// begins once.
fn is_met(
    form: &EventForm,
    edge: &EdgeSpec,
    trigger: (&TagSpec, Option<Given>),
    stated: Option<(f64, f64)>,
    problems: &mut Problems,
) {
    if trigger.1.is_some_and(|given| given.kind == GivenKind::Text) {
        return;
    }
    let (Condition::Above { limit, back } | Condition::Below { limit, back }) = edge.condition else {
        return;
    };
    // What is no number is told as that.
    if !limit.is_finite() || !back.is_finite() {
        return;
    }
    let is_above = matches!(edge.condition, Condition::Above { .. });
    let (key, written) = if is_above {
        ("above", form.above)
    } else {
        ("below", form.below)
    };
    let span = written.map(|key| key.span);
    let event = form.event.value.as_str();
    for Ends {
        least,
        most,
        said,
        loose,
    } in ends(trigger, stated)
    {
        let hint = if loose {
            "give a limit that its values pass, or correct the range"
        } else {
            "give a limit that its values pass, in the unit in which they are read"
        };
        let (is_beyond, is_at_the_end, always, stays) = if is_above {
            (limit > most, limit >= most, limit < least, back < least)
        } else {
            (limit < least, limit <= least, limit > most, back > most)
        };
        let never = if loose { is_beyond } else { is_at_the_end };
        if never {
            problems
                .warning(
                    span,
                    format!("event `{event}` is never made: {said}, and never {key} {limit}"),
                )
                .hint(hint);
        } else if always {
            problems
                .warning(
                    span,
                    format!("`{key}` of `{event}`: {said}, and always {key} {limit}"),
                )
                .hint(hint);
        } else if stays {
            let way = if is_above { "below" } else { "above" };
            problems
                .warning(
                    form.hysteresis.as_ref().map_or(span, |key| Some(key.span)),
                    format!("event `{event}` is made once at most: {said}, and never {back} or {way}, where the condition ends"),
                )
                .hint("give a smaller hysteresis");
        } else {
            continue;
        }
        return;
    }
}
