//! Whether a rule can go on over a restart: what its tags say of the first value after one may keep from it what happened
//! meanwhile, or tell it what did not.

use floorgate_core::plan::{InitialPolicy, Shape, Slot};
use floorgate_yaml::{Problems, Span};

use crate::data::Scope;
use crate::event_form::EventForm;
use crate::vocabulary::standard;

/// Reports policies for the first value under which the event would say what is not so. `shape` is `None` where it is wrong,
/// `reset` the tag that sets the rule's counter back.
pub(crate) fn check(
    form: &EventForm,
    shape: Option<&Shape>,
    reset: Option<Slot>,
    scope: &Scope<'_>,
    problems: &mut Problems,
) {
    let Some(trigger) = &form.trigger else { return };
    let looks_at_single_values = matches!(shape, None | Some(Shape::Every));
    let event = form.event.value.as_str();
    let tells_changes = standard(event).is_some() && event != "MeasurementRecorded";
    let refuses = |policy| match policy {
        InitialPolicy::Compare => false,
        // Events of what changed would not learn of it, and neither would what looks at more than one value.
        InitialPolicy::Silent => tells_changes || !looks_at_single_values,
        // A value that is found is no edge, nor is it counted. It belongs to a window all the same, and an alarm is told as it is found.
        InitialPolicy::Emit => {
            let tells_found = matches!(shape, Some(Shape::Window(_))) || event == "Alarm";
            form.counts() || !(looks_at_single_values || tells_found)
        }
    };
    let mut look = |slot: usize, span: Span, is_refused: &dyn Fn(InitialPolicy) -> bool| {
        let tag = scope.inputs.get(slot).and_then(|place| scope.tags.get(*place));
        let Some(spec) = tag.and_then(|tag| tag.spec.as_deref()) else {
            return;
        };
        let policy = match spec.initial {
            InitialPolicy::Compare => "compare",
            InitialPolicy::Silent => "silent",
            InitialPolicy::Emit => "emit",
        };
        if is_refused(spec.initial) {
            problems
                .error(
                    span,
                    format!(
                        "`{event}` cannot follow tag `{}` over a restart with `initial: {policy}`",
                        spec.name
                    ),
                )
                .hint(
                    "remove `initial`: an equal value is no event then, and another one a change with `gap`",
                );
        }
    };
    look(0, trigger.span, &refuses);
    if shape.is_some_and(|shape| shape.triggers() > 1) {
        for (before, tag) in form.join.iter().flat_map(|join| &join.value).enumerate() {
            look(before + 1, tag.span, &refuses);
        }
    }
    if let Some(slot) = reset {
        // A bit that is found true is not set again, and one that was set meanwhile has to be seen.
        look(usize::from(slot.0), trigger.span, &|policy| {
            policy != InitialPolicy::Compare
        });
    }
}
