//! What is kept beside an event to explain it: the values that it was made of.

use std::borrow::Cow;
use std::sync::Arc;

use floorgate_sample::Value;

use crate::json::Object;
use crate::plan::Slot;

use super::Context;

impl Context<'_> {
    /// What the event is made of: what the data does not say, or says by other names.
    pub(super) fn trace(&self) -> String {
        let mut object = Object::small();
        object.plain("cause", self.change.cause.as_str());
        object.put("before", &self.change.previous.as_ref().map(short));
        object.put("now", &self.change.value.as_ref().map(short));
        if self.rule.inputs.len() > 1 {
            object.open("inputs");
            for (slot, tag) in (0..).map(Slot).zip(&self.rule.inputs).skip(1) {
                object.put(
                    &self.view.plan.tags[tag.index()].spec.name,
                    &self.view.raw(self.rule, slot).map(short),
                );
            }
            object.close();
        }
        String::from_utf8(object.finish()).unwrap_or_default()
    }
}

/// Bytes of a text, and values of a list, that a trace has: it says what a value was, and is no second copy of a large one.
const TRACED: (usize, usize) = (256, 16);

/// A value within another one as a trace has it.
fn shorter(value: &Value) -> Value {
    match value {
        Value::List(inner) => Value::text(format!("a list of {}", inner.len())),
        Value::Record(inner) => Value::text(format!("a record of {}", inner.len())),
        value => short(value).into_owned(),
    }
}

/// A value as a trace has it.
fn short(value: &Value) -> Cow<'_, Value> {
    let (bytes, items) = TRACED;
    match value {
        Value::Text(text) if text.len() > bytes => {
            let end = text.floor_char_boundary(bytes);
            Cow::Owned(Value::text(format!("{}… ({} bytes)", &text[..end], text.len())))
        }
        Value::Bytes(all) if all.len() > bytes => {
            let hexadecimal = Value::Bytes(all[..bytes].into());
            Cow::Owned(Value::text(format!("{hexadecimal}… ({} bytes)", all.len())))
        }
        Value::List(all) => {
            let more = all.len().saturating_sub(items);
            let rest = (more > 0).then(|| Value::text(format!("… and {more} more")));
            Cow::Owned(Value::List(
                all.iter().take(items).map(shorter).chain(rest).collect(),
            ))
        }
        Value::Record(all) => {
            let part = |(name, part): &(Arc<str>, Value)| (Arc::clone(name), shorter(part));
            let more = all.len().saturating_sub(items);
            let rest = (more > 0).then(|| ("…".into(), Value::text(format!("and {more} more"))));
            Cow::Owned(Value::Record(
                all.iter().take(items).map(part).chain(rest).collect(),
            ))
        }
        value => Cow::Borrowed(value),
    }
}
