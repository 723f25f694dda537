//! Tags whose values are no state: what may be said of them, and by which events.

use floorgate_adapter_api::Happening;
use floorgate_core::plan::TagSpec;
use floorgate_yaml::{Node, Problems};

use crate::combination::given;
use crate::event_form::{EdgeForm, EventForm};
use crate::vocabulary::{Made, standard};

/// Keys of a tag that are about a state.
const OF_STATES: [&str; 11] = [
    "at_least_every",
    "bits",
    "counter",
    "deadband",
    "debounce",
    "heartbeat",
    "initial",
    "mask",
    "range",
    "shift",
    "valid",
];

/// Reports what is said of a tag as if it had a state.
pub(crate) fn check_tag(name: &str, node: &Node, happening: Option<Happening>, problems: &mut Problems) {
    let Some(happening) = happening else { return };
    let of_values = (happening == Happening::Condition).then_some("values");
    for key in OF_STATES.into_iter().chain(of_values) {
        if let Some(written) = node.get(key) {
            problems
                .error(
                    written.span,
                    format!("tag `{name}` tells what happens, which is no state, and has `{key}`"),
                )
                .hint(format!("remove `{key}`"));
        }
    }
}

/// Whether an event may be made of what happens; `trigger` is a tag that tells it.
pub(crate) fn check_event(
    form: &EventForm,
    trigger: &TagSpec,
    happening: Happening,
    problems: &mut Problems,
) -> bool {
    let event = form.event.value.as_str();
    let before = problems.error_count();
    let is_every = form
        .edge
        .as_ref()
        .is_some_and(|edge| edge.value == EdgeForm::Every);
    if let Some((key, span)) = given(form).into_iter().find(|_| !is_every) {
        problems
            .error(
                span,
                format!(
                    "`{key}` is about a state, and tag `{}` tells what happens",
                    trigger.name
                ),
            )
            .hint("each of its values makes an event; say with `when` which of them");
    }
    let made_itself = standard(event).is_some_and(|event| matches!(event.made, Made::Itself));
    let (is_right, hint) = match happening {
        Happening::Condition => (
            event == "Alarm" || !made_itself,
            "of conditions there are `Alarm` and types of the plant's own",
        ),
        Happening::Event => (
            event == "WorkOrderStatusChanged" || !made_itself,
            "name a tag that is read or subscribed, with `node`; alarms come of a tag with `conditions`",
        ),
    };
    if !is_right {
        problems
            .error(
                form.trigger.as_ref().map_or(form.event.span, |tag| tag.span),
                format!(
                    "`{event}` is of a state, and tag `{}` tells what happens",
                    trigger.name
                ),
            )
            .hint(hint);
    }
    if let Some(alarm) = &form.alarm {
        problems
            .error(
                alarm.span,
                format!(
                    "the conditions of tag `{}` say themselves what they are",
                    trigger.name
                ),
            )
            .hint("remove `alarm`");
    }
    problems.error_count() == before
}
