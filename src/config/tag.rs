//! Tags and value tables of a mapping: from what is written to what the core knows.

use std::collections::HashMap;
use std::sync::Arc;

use floorgate_adapter_api::{Given, Happening};
use floorgate_core::plan::{BitField, Deadband, InitialPolicy, TagSpec};
use floorgate_core::table::{Entry, Key, Unmapped, ValueTable};
use floorgate_yaml::{Draft, Node, NodeKind, Problems, Span, Spanned, closest, decode, draft};

use crate::alarm;
use crate::check::expect_mapping;
use crate::contradiction;
use crate::counter::counter_of;
use crate::fit;
use crate::form::{DeadbandForm, InitialForm, TAG_KEYS, TableForm, TagForm};
use crate::happening;
use crate::literal;
use crate::origin::Origin;
use crate::tag_times;
use crate::template::{Instances, NodeTemplate};
use crate::unit;

/// A tag of a mapping, for all of its instances.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
pub(crate) struct TagPlan<'n> {
    pub name: &'n str,
    pub span: Span,
    /// `None` where it is wrong, so that what refers to it is not reported as well.
    pub spec: Option<Arc<TagSpec>>,
    pub source: Option<Spanned<String>>,
    /// The tag that says whether its values hold, and the place of that one in the mapping.
    pub valid: Option<Spanned<String>>,
    pub gate: Option<usize>,
    /// The tag that sets it back, of a counter, and the place of that one.
    pub reset: Option<Spanned<String>>,
    pub resetter: Option<usize>,
    /// Whether only snapshots need it.
    pub on_demand: bool,
    /// Whether the instance has no such tag.
    pub left_out: bool,
    /// Whether it is watched for itself, as a heartbeat or since it may be late, and needs no event.
    pub is_watched: bool,
    /// Where its longest silence stands.
    pub at_least_every: Option<Span>,
    pub address: Option<NodeTemplate<'n>>,
    /// Its lowest and highest value, where it says them.
    pub range: Option<(f64, f64)>,
    /// What its values are, where the address says so of all instances.
    pub given: Option<Given>,
    /// Whether what they are depends on the instance: then nothing is said of all.
    pub varies: bool,
    /// What they are that is no state.
    pub happens: Option<Happening>,
}

/// What a table says of values that it lacks, where that is no name of a state.
const UNMAPPED: &[&str] = &["unknown", "ignore"];

/// The tables that a mapping may name.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// `None` for a table that is wrong.
    own: HashMap<String, Option<Arc<ValueTable>>>,
    /// Whether parts of the mapping are missing, which may have more.
    lacks_some: bool,
    standard: HashMap<String, Arc<ValueTable>>,
}

impl Tables {
    /// Reads `tables` of a mapping, of which all parts are there or not.
    pub(crate) fn read(node: Option<&Node>, whole: bool, problems: &mut Problems) -> Self {
        let mut tables = Self {
            lacks_some: !whole,
            ..Self::default()
        };
        let Some(node) = node else { return tables };
        expect_mapping("tables", node, problems);
        for (name, span, table) in node.entries() {
            if ValueTable::STANDARD.contains(&name.as_str()) {
                problems
                    .error(*span, format!("table `{name}` is one of the standards"))
                    .hint("give the plant's own table another name");
            }
            let form = decode::<TableForm>(table, problems);
            let unmapped = form.as_ref().and_then(|form| form.unmapped.as_deref());
            if let Some((name, node)) = unmapped.zip(table.get("unmapped"))
                && !UNMAPPED.contains(&name)
                && let Some(similar) = closest(name, UNMAPPED.iter().copied())
            {
                problems
                    .warning(
                        node.span,
                        format!("values that the table lacks are the state `{name}`"),
                    )
                    .hint(format!("did you mean `{similar}`?"));
            }
            tables
                .own
                .insert(name.clone(), form.map(|form| Arc::new(table_of(name, form))));
        }
        tables
    }

    fn find(&mut self, name: &Spanned<String>, problems: &mut Problems) -> Option<Arc<ValueTable>> {
        if let Some(table) = self.own.get(&name.value) {
            return table.clone();
        }
        if let Some(table) = self.standard.get(&name.value) {
            return Some(Arc::clone(table));
        }
        if let Some(table) = ValueTable::standard(name) {
            let table = Arc::new(table);
            self.standard.insert(name.value.clone(), Arc::clone(&table));
            return Some(table);
        }
        if self.lacks_some {
            return None;
        }
        let mut known: Vec<&str> = self.own.keys().map(String::as_str).collect();
        known.sort_unstable();
        known.extend(ValueTable::STANDARD);
        let problem = problems.error(name.span, format!("value table `{}` is unknown", name.value));
        match closest(name, known.iter().copied()) {
            Some(similar) => problem.hint(format!("did you mean `{similar}`?")),
            None => problem.hint(format!(
                "tables here: {}; more can stand below `tables`",
                known.join(", ")
            )),
        };
        None
    }
}

fn table_of(name: &str, form: TableForm) -> ValueTable {
    let entries = form
        .values
        .into_iter()
        .map(|(key, entry)| Entry {
            key: key
                .parse()
                .map_or_else(|_| Key::Text(key.as_str().into()), Key::Number),
            name: entry.0.name.into(),
            category: entry.0.category.map(|category| category.name().into()),
            sub_state: entry.0.sub_state.map(Into::into),
        })
        .collect();
    ValueTable {
        name: name.into(),
        model: form.model.name().into(),
        entries,
        unmapped: match form.unmapped.as_deref() {
            None | Some("unknown") => Unmapped::Unknown,
            Some("ignore") => Unmapped::Ignore,
            Some(name) => Unmapped::Named(name.into()),
        },
    }
}

/// Whether a name can stand in an expression: a letter, then letters, digits and `_`.
pub(crate) fn is_tag_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Words that CEL keeps for itself.
const RESERVED: &[&str] = &["true", "false", "null", "in"];

/// Reads one tag. `origin` is where its values come from, `None` where that is not known.
pub(crate) fn read<'n>(
    (name, span, node): &'n (String, Span, Node),
    origin: Option<&Origin<'_>>,
    instances: &Instances,
    tables: &mut Tables,
    problems: &mut Problems,
) -> TagPlan<'n> {
    let mut plan = TagPlan {
        name,
        span: *span,
        spec: None,
        source: None,
        valid: None,
        gate: None,
        reset: None,
        resetter: None,
        on_demand: false,
        left_out: false,
        is_watched: is_watched(node),
        at_least_every: node.get("at_least_every").map(|every| every.span),
        address: None,
        range: None,
        given: None,
        varies: false,
        happens: None,
    };
    if !is_tag_name(name) || RESERVED.contains(&name.as_str()) {
        problems
            .error(*span, format!("tag name {name:?} cannot stand in an expression"))
            .hint("a letter, then letters, digits and `_`");
    }
    let NodeKind::Map(entries) = &node.kind else {
        problems
            .error(
                node.span,
                format!("tag `{name}`: expected its address, found {}", node.describe()),
            )
            .hint("such as `{node: \"nsu=urn:plant;s=Line1.State\"}`");
        return plan;
    };
    // A misspelt part of the address says nothing of the meaning.
    let mut is_meant = true;
    if let Some(Origin {
        keys: address_keys, ..
    }) = origin
    {
        for (key, span, _) in entries {
            let is_known = |known: &[&str]| known.contains(&key.as_str());
            if !is_known(TAG_KEYS) && !is_known(address_keys) {
                let known: Vec<&str> = address_keys.iter().chain(TAG_KEYS).copied().collect();
                let problem = problems.error(*span, format!("unknown key `{key}` of tag `{name}`"));
                let similar = closest(key, known.iter().copied());
                is_meant &= similar.is_some_and(|similar| address_keys.contains(&similar));
                match similar {
                    Some(similar) => problem.hint(format!("did you mean `{similar}`?")),
                    None => problem.hint(format!("keys here: {}", known.join(", "))),
                };
            }
        }
    }
    literal::check_tag(node, &instances.parameters, problems);
    plan.address = NodeTemplate::parse(node, TAG_KEYS, &instances.parameters, problems);
    let before = problems.error_count();
    let own: Vec<_> = entries
        .iter()
        .filter(|(key, ..)| TAG_KEYS.contains(&key.as_str()))
        .cloned()
        .collect();
    let spec = if own.is_empty() {
        Some(TagSpec {
            name: name.as_str().into(),
            ..TagSpec::default()
        })
    } else {
        let own = Node {
            span: node.span,
            kind: NodeKind::Map(own),
        };
        draft::<TagForm>(&own, problems).and_then(|Draft { value: form, whole }| {
            plan.source.clone_from(&form.source);
            plan.valid.clone_from(&form.valid);
            let range = form.range.as_ref().map(|range| range.value);
            plan.range = range.filter(|(least, most)| least < most);
            plan.reset = form.counter.as_ref().and_then(|counter| counter.reset.clone());
            if whole {
                return spec_of(name, form, tables, problems);
            }
            let mut found = Problems::default();
            // Of a counter that is wrong the rest may be a stand-in.
            let counter = form.counter.as_ref().map(|counter| counter.span);
            let _ = spec_of(name, form, tables, &mut found);
            problems.adopt_placed(found, counter);
            None
        })
    };
    plan.ask(origin, instances);
    if let (Some(given), Some(spec)) = (plan.given, &spec) {
        fit::check(node, spec, given, problems);
    }
    happening::check_tag(name, node, plan.happens, problems);
    plan.spec = spec
        .map(|spec| TagSpec {
            happens: plan.happens,
            ..spec
        })
        .filter(|_| is_meant && problems.error_count() == before)
        .map(Arc::new);
    plan
}

fn is_watched(node: &Node) -> bool {
    node.get("heartbeat").is_some() || node.get("late_after").is_some()
}

fn spec_of(name: &str, form: TagForm, tables: &mut Tables, problems: &mut Problems) -> Option<TagSpec> {
    // What a wrong table leaves is looked at as well.
    let table = form.values.as_ref().map(|table| tables.find(table, problems));
    if let Some(unit) = &form.unit {
        unit::check(name, unit, problems);
    }
    let range = range_of(name, &form, problems);
    let deadband = match form.deadband {
        None => None,
        Some(Spanned {
            value: DeadbandForm::Absolute(absolute),
            ..
        }) => Some(Deadband { absolute }),
        Some(Spanned {
            value: DeadbandForm::Percent(percent),
            span,
        }) => {
            if form.range.is_none() {
                problems
                    .error(
                        span,
                        format!("deadband of {percent}% of tag `{name}` has no range to refer to"),
                    )
                    .hint("add `range: [lowest, highest]`, or give the deadband in the tag's unit");
            }
            range.as_ref().map(|range| Deadband {
                absolute: percent / 100.0 * (range.1 - range.0),
            })
        }
    };
    if let (Some(deadband), Some(range), Some(written)) = (deadband, &range, &form.deadband)
        && deadband.absolute > range.1 - range.0
    {
        problems
            .error(
                written.span,
                format!(
                    "deadband of tag `{name}`: {} is more than its range from {} to {} is wide",
                    deadband.absolute, range.0, range.1
                ),
            )
            .hint("no change would count: give a smaller one, or correct the range");
    }
    if let Some(every) = &form.at_least_every
        && every.as_millis() < 100
    {
        problems
            .error(
                every.span,
                format!("`at_least_every` of tag `{name}`: {} is too short", every.value),
            )
            .hint("at least 100ms");
    }
    let field = field_of(name, &form, problems);
    tag_times::check(name, &form, problems);
    contradiction::check(name, &form, problems);
    let counter = form
        .counter
        .and_then(|counter| counter_of(name, &counter, problems));
    let bits = form.bits.map(|bits| alarm::of_bits(bits.value, problems));
    let values = match table {
        Some(table) => Some(table?),
        None => None,
    };
    Some(TagSpec {
        name: name.into(),
        unit: form.unit.map(|unit| unit.value.into()),
        deadband,
        at_least_every: form.at_least_every.map(|every| every.get()),
        values,
        counter,
        bits,
        initial: match form.initial {
            InitialForm::Compare => InitialPolicy::Compare,
            InitialForm::Emit => InitialPolicy::Emit,
            InitialForm::Silent => InitialPolicy::Silent,
        },
        field,
        debounce: form.debounce.map(|debounce| debounce.get()),
        heartbeat: form.heartbeat.map(|heartbeat| heartbeat.get()),
        late_after: form.late_after.map(|late_after| late_after.get()),
        happens: None,
    })
}

/// The range, where it is one.
fn range_of(name: &str, form: &TagForm, problems: &mut Problems) -> Option<Spanned<(f64, f64)>> {
    let range = form.range?;
    let (least, most) = range.value;
    if least < most && least.is_finite() && most.is_finite() {
        return Some(range);
    }
    let text = if least < most {
        format!("`range` of tag `{name}`: from {least} to {most} is no range")
    } else {
        format!("`range` of tag `{name}`: {least} is not below {most}")
    };
    problems.error(range.span, text).hint("write `[lowest, highest]`");
    None
}

/// The bits that `mask` and `shift` say.
fn field_of(name: &str, form: &TagForm, problems: &mut Problems) -> Option<BitField> {
    let Some(mask) = &form.mask else {
        if let Some(shift) = &form.shift {
            problems
                .error(shift.span, format!("`shift` of tag `{name}` has no `mask`"))
                .hint("add the bits that are the value, such as `mask: 0x0F00`");
        }
        return None;
    };
    if mask.value == 0 {
        problems
            .error(mask.span, format!("`mask` of tag `{name}` has no bits"))
            .hint("such as `0x0F00` for bits 8 to 11");
        return None;
    }
    let most = mask.value.trailing_zeros();
    let shift = form.shift.as_ref().map_or(most, |shift| u32::from(shift.get()));
    if shift > most
        && let Some(given) = &form.shift
    {
        problems
            .error(
                given.span,
                format!("`shift` of tag `{name}`: {shift} pushes bits of the mask out"),
            )
            .hint(format!("at most {most}, which is what it is without `shift`"));
    }
    Some(BitField {
        mask: mask.value,
        shift: u8::try_from(shift).unwrap_or(0),
    })
}
