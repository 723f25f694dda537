//! Parts of values: `Recipe.Name`, `[3]`, `Steps[2].Time`.

use floorgate_adapter_api::Value;

/// The way to a part of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Field(Box<[Step]>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Part(Box<str>),
    Item(usize),
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// A name is empty.
    #[error("field `{0}` has a part without a name")]
    Empty(String),
    /// A bracket without a number.
    #[error("field `{0}` has brackets that hold no number")]
    Number(String),
}

impl Field {
    /// Reads `A.B[2].C`.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let number = inner
                    .split_once(']')
                    .and_then(|(number, rest)| Some((number.parse().ok()?, rest)));
                let (number, after) = number.ok_or_else(|| FieldError::Number(text.to_owned()))?;
                steps.push(Step::Item(number));
                rest = after;
                continue;
            }
            let named = match rest.strip_prefix('.') {
                _ if steps.is_empty() => rest,
                Some(named) => named,
                None => return Err(FieldError::Empty(text.to_owned())),
            };
            let end = named.find(['.', '[']).unwrap_or(named.len());
            let (name, after) = named.split_at(end);
            if name.is_empty() {
                return Err(FieldError::Empty(text.to_owned()));
            }
            steps.push(Step::Part(name.into()));
            rest = after;
        }
        if steps.is_empty() {
            return Err(FieldError::Empty(text.to_owned()));
        }
        Ok(Self(steps.into()))
    }

    /// Takes the first name off: of an event that is the field of its type.
    pub fn split_first(self) -> (Box<str>, Self) {
        let mut steps = self.0.into_vec();
        match steps.first().cloned() {
            Some(Step::Part(name)) => {
                steps.remove(0);
                (name, Self(steps.into()))
            }
            _ => ("".into(), Self(steps.into())),
        }
    }

    /// Whether it leads nowhere: the part is the whole.
    pub fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    /// The part of a value; `None` where it has none: an optional part that is left out, an array that is shorter.
    pub fn of(&self, value: &Value) -> Option<Value> {
        let mut part = value;
        for step in &self.0 {
            part = match (step, part) {
                (Step::Part(name), record) => record.part(name)?,
                (Step::Item(number), Value::List(items)) => items.get(*number)?,
                (Step::Item(_), _) => return None,
            };
        }
        Some(part.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_by_its_way() {
        let step = |time| Value::Record([("Time".into(), Value::UInt(time))].into());
        let recipe = Value::Record(
            [
                ("Name".into(), Value::text("Cola")),
                ("Steps".into(), Value::List([step(3), step(7)].into())),
            ]
            .into(),
        );
        let of = |way: &str| Field::parse(way).unwrap().of(&recipe);
        assert_eq!(of("Name"), Some(Value::text("Cola")));
        assert_eq!(of("Steps[1].Time"), Some(Value::UInt(7)));
        assert_eq!(of("Steps[2].Time"), None, "the array is shorter");
        assert_eq!(of("Missing"), None);
        assert_eq!(of("Name.More"), None);
        let list = Value::List([Value::Int(1), Value::Int(2)].into());
        assert_eq!(Field::parse("[1]").unwrap().of(&list), Some(Value::Int(2)));
    }

    #[test]
    fn what_is_no_field_is_said() {
        for wrong in ["", "A..B", ".", ".A", "A[x]", "A[1", "A[1]B", "A."] {
            assert!(Field::parse(wrong).is_err(), "{wrong}");
        }
        let (name, rest) = Field::parse("JobState[0].StateNumber").unwrap().split_first();
        assert_eq!(
            (&*name, rest),
            ("JobState", Field::parse("[0].StateNumber").unwrap())
        );
    }
}
