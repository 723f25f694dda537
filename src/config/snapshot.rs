//! What is read for an event when it is due.

use floorgate_core::plan::{Shape, Slot, Snapshot};
use floorgate_yaml::Problems;

use crate::data::Scope;
use crate::event_form::EventForm;
use crate::shape;

/// Tags that one request can read.
const MOST_READ: usize = 64;

/// What is read for an event; `Err` where that is wrong.
pub(crate) fn of(
    form: &EventForm,
    shape: Option<&Shape>,
    scope: &mut Scope<'_>,
    problems: &mut Problems,
) -> Result<Option<Snapshot>, ()> {
    let Some(read) = &form.snapshot else {
        if let Some(unchanged) = &form.unchanged {
            problems
                .error(unchanged.span, "`unchanged` says nothing without `snapshot`")
                .hint("add `snapshot: [TAG, …]`, the tags that are read with it");
            return Err(());
        }
        return Ok(None);
    };
    let event = form.event.value.as_str();
    if form.tells_every_change() || event == "Alarm" {
        problems
            .error(read.span, format!("`snapshot` has no meaning for `{event}`"))
            .hint("it tells every change at once and waits for nothing; a type of the plant's own can");
        return Err(());
    }
    if read.value.is_empty() || read.value.len() > MOST_READ {
        problems
            .error(read.span, format!("`snapshot` names {} tags", read.value.len()))
            .hint(format!("1 to {MOST_READ}"));
        return Err(());
    }
    let triggers = shape.map_or(1, Shape::triggers);
    let mut tags: Vec<Slot> = Vec::new();
    for tag in &read.value {
        let slot = scope.tag("snapshot", tag, tag.span, problems).ok_or(())?;
        if tags.contains(&slot) {
            problems
                .error(
                    tag.span,
                    format!("`snapshot`: tag `{}` is there twice", tag.value),
                )
                .hint("name each tag once");
            return Err(());
        }
        if (1..triggers).contains(&usize::from(slot.0)) {
            problems
                .error(
                    tag.span,
                    format!("`snapshot`: tag `{}` is one of the `join`", tag.value),
                )
                .hint("its value was received when the event is made; remove it from one of them");
            return Err(());
        }
        tags.push(slot);
    }
    let unchanged = shape::slot("unchanged", form.unchanged.as_ref(), scope, problems)?;
    if let (Some(slot), Some(tag)) = (unchanged, &form.unchanged)
        && !tags.contains(&slot)
    {
        problems
            .error(
                tag.span,
                format!("`unchanged`: tag `{}` is not in the `snapshot`", tag.value),
            )
            .hint("it is compared with what the snapshot reads: name it there too");
        return Err(());
    }
    Ok(Some(Snapshot {
        tags: tags.into(),
        unchanged,
    }))
}
