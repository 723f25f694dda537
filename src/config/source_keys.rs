//! The keys of a source that are the gateway's own, whatever its adapter is.

use std::time::Duration;

use floorgate_yaml::{Node, NodeKind, Problems, Spanned, decode};

/// They are not handed to the adapter, so that another value of them leaves the source as it is.
const OWN: [&str; 2] = ["adapter", "late_after"];

/// What `late_after` means, for the reference.
pub(crate) const LATE_AFTER: &str = "The source is late when no good value of any of its tags came for this long, such as `10m`, counted from the \
    start where none ever did: the log, `floorgate sources` and `floorgate_source_late` say so. Nothing else changes. Where tags are \
    polled (Modbus, OPC UA with `mode: poll`) each poll that is answered counts; where they are subscribed values come when they change: choose it longer than the plant stands still.";

/// The settings that are the adapter's.
pub(crate) fn of_adapter(source: &Node) -> Node {
    let entries = source.entries().iter();
    let own = entries.filter(|(key, ..)| !OWN.contains(&key.as_str()));
    Node {
        span: source.span,
        kind: NodeKind::Map(own.cloned().collect()),
    }
}

/// After how long without a good value the source is late.
pub(crate) fn late_after(name: &str, source: &Node, problems: &mut Problems) -> Option<Duration> {
    let late_after = decode::<Spanned<floorgate_yaml::Duration>>(source.get("late_after")?, problems)?;
    if late_after.value.get().is_zero() {
        problems
            .error(
                late_after.span,
                format!("`late_after` of source `{name}`: {} is no time", late_after.value),
            )
            .hint("such as `late_after: 10m`");
        return None;
    }
    Some(late_after.value.get())
}
