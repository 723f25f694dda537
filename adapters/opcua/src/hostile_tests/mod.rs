//! What a server sends as none should, and types that none should have: each value is what was written or bad, it is bounded, and nothing panics.

mod answers;
mod made;
mod written;

use std::time::Instant;

use fastrand::Rng;
use floorgate_adapter_api::conformance::with_seeds;
use floorgate_adapter_api::{Sample, TagId, Value};
use opcua::types::{BinaryDecodable, ContextOwned, DataValue, DecodingOptions, NamespaceMap, Variant};

use crate::condition::Standing;
use crate::event::{FIRST, Fields, Happened, happened};
use crate::field::Field;
use crate::item::Tag;
use crate::structure::Types;
use crate::value::told;
use made::Made;

/// Seeds that are tried, always the same ones; `FUZZ_SECONDS` adds others for so long, shared among these tests.
const SEEDS: u64 = 2_000;
/// How many tests share the time.
const TESTS: u32 = 5;
/// Longer than this the library's own limits of depth are tried, which are known to be missing in places.
const LONGEST: usize = 600;

fn decoded<T: BinaryDecodable>(mut bytes: &[u8]) -> Option<T> {
    let context = ContextOwned::new_default(NamespaceMap::new(), DecodingOptions::default());
    T::decode(&mut bytes, &context.context()).ok()
}

fn data(value: Variant) -> DataValue {
    DataValue {
        value: Some(value),
        ..DataValue::null()
    }
}

fn tag(field: Option<Field>) -> Tag {
    Tag {
        id: TagId(0),
        name: "tag".into(),
        field,
    }
}

/// All values that a value is made of, itself too.
fn size(value: &Value) -> usize {
    match value {
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Record(parts) => 1 + parts.iter().map(|(_, part)| size(part)).sum::<usize>(),
        _ => 1,
    }
}

/// A value is not more than what the bytes and the decoder's own bound allow.
fn is_sound(sample: &Sample, bytes: usize) {
    if let Some(value) = &sample.value {
        assert!(!sample.quality.is_bad());
        assert!(value.levels() <= Value::DEEPEST);
        // An array that is empty is a value more, and takes four bytes.
        let most = 2 * 100_000 + bytes;
        assert!(size(value) <= most, "{} values of {bytes} bytes", size(value));
    }
}

/// The bytes with some places changed, cut, doubled or made up; now and then left as they are.
fn spoil(mut bytes: Vec<u8>, random: &mut Rng) -> Vec<u8> {
    for _ in 0..random.usize(..4) {
        let at = random.usize(..=bytes.len());
        let end = (at + random.usize(..20)).min(bytes.len());
        match random.usize(..6) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            2 => bytes.truncate(at),
            3 => bytes.insert(at, random.u8(..)),
            // A length that is not there, or that is negative.
            4 => drop(
                bytes.splice(
                    at..end.min(at + 4),
                    random
                        .choice([99_999, -1, -7, i32::MAX])
                        .unwrap_or(0)
                        .to_le_bytes(),
                ),
            ),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.u8(..8);
                }
            }
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

fn noise(random: &mut Rng) -> Vec<u8> {
    (0..random.usize(..60)).map(|_| random.u8(..)).collect()
}

/// A way to a part of a value, and the part.
fn part<'v>(value: &'v Value, random: &mut Rng) -> (String, &'v Value) {
    let (mut way, mut part) = (String::new(), value);
    while random.u8(..4) != 0 {
        match part {
            Value::Record(parts) if !parts.is_empty() => {
                let (name, inner) = &parts[random.usize(..parts.len())];
                if !way.is_empty() {
                    way.push('.');
                }
                way.push_str(name);
                part = inner;
            }
            Value::List(items) if !items.is_empty() => {
                let place = random.usize(..items.len());
                way.extend(["[", &place.to_string(), "]"]);
                part = &items[place];
            }
            _ => break,
        }
    }
    (way, part)
}

#[test]
fn what_is_written_by_its_definition_is_read_as_it_was() {
    with_seeds(SEEDS, TESTS, |random| {
        let made = Made::sound(random);
        let types = Types::made(made.tree());
        let (bytes, expected) = made.variant(random);
        let variant: Variant = decoded(&bytes).expect("the library takes it");
        let (whole, unsupported) = told(data(variant.clone()), Some(&types));
        let sample = whole.sample(TagId(0), None);
        assert!(unsupported.is_none(), "{unsupported:?} of {made:#?}");
        assert_eq!(sample.value, expected, "{made:#?}");
        is_sound(&sample, bytes.len());
        let Some(expected) = expected else { return };
        let (way, inner) = part(&expected, random);
        let field = (!way.is_empty()).then(|| Field::parse(&way).expect("a way"));
        assert_eq!(whole.sample(TagId(0), field.as_ref()).value.as_ref(), Some(inner));
        // The same as the field of an event, behind those of each event.
        let mut fields = vec![Variant::Empty; FIRST.len()];
        fields.push(variant);
        let Happened::Told(samples, _) = happened(&[tag(field)], &["Quality".into()], Fields(fields), &types)
        else {
            panic!("nothing was lost");
        };
        assert_eq!(samples[0].value.as_ref(), Some(inner));
    });
}

#[test]
fn whatever_comes_is_a_value_or_bad() {
    with_seeds(SEEDS, TESTS, |random| {
        let written_by = Made::sound(random);
        let (right, _) = written_by.variant(random);
        // Mostly the bytes are nearly right; else they are another type's, or nobody's.
        let (made, bytes) = match random.u8(..4) {
            0 => (Made::wild(random), noise(random)),
            1 => (Made::wild(random), spoil(right, random)),
            _ => (written_by, spoil(right, random)),
        };
        let types = Types::made(made.tree());
        let told_of = |value: DataValue| {
            let is_there = value.value.is_some();
            let (told, unsupported) = told(value, Some(&types));
            let sample = told.sample(TagId(0), None);
            is_sound(&sample, bytes.len());
            assert!(unsupported.is_none() || sample.value.is_none() && sample.quality.is_bad());
            assert!(is_there || sample.value.is_none());
        };
        if let Some(variant) = decoded::<Variant>(&bytes) {
            told_of(data(variant));
        }
        if let Some(value) = decoded::<DataValue>(&bytes) {
            told_of(value);
        }
    });
}

#[test]
fn whatever_an_event_has_for_fields_is_told_or_left_out() {
    with_seeds(SEEDS, TESTS, |random| {
        let made = Made::sound(random);
        let types = Types::made(made.tree());
        let field = |random: &mut Rng| {
            let bytes = made.variant(random).0;
            let bytes = if random.bool() {
                bytes
            } else {
                spoil(bytes, random)
            };
            decoded(&bytes).unwrap_or_default()
        };
        let tags = [tag(None), tag(Field::parse("F0[1].F2").ok())];
        let mut standing = Standing::default();
        for _ in 0..random.usize(..5) {
            let fields: Vec<Variant> = (0..random.usize(..18)).map(|_| field(random)).collect();
            if let Happened::Told(samples, _) = happened(&tags, &[], Fields(fields.clone()), &types) {
                assert_eq!(samples.len(), tags.len(), "each tag is told of");
                for sample in &samples {
                    is_sound(sample, LONGEST);
                }
            }
            let _ = standing.take(&tags, Fields(fields), &[], Instant::now());
        }
    });
}

#[test]
fn whatever_is_given_as_a_field_is_one_or_is_refused() {
    const LETTERS: [&str; 9] = ["A", "é", ".", "[", "]", "0", "18446744073709551616", "-1", " "];
    with_seeds(SEEDS, TESTS, |random| {
        let text: String = (0..random.usize(..8))
            .map(|_| LETTERS[random.usize(..LETTERS.len())])
            .collect();
        let Ok(field) = Field::parse(&text) else { return };
        assert!(!field.is_whole(), "{text:?}");
        let value = Made::sound(random).variant(random).1;
        let _ = value.and_then(|value| field.of(&value));
        let (name, rest) = field.clone().split_first();
        assert!(
            text.starts_with(&*name) && (rest != field || text.starts_with('[')),
            "{text:?}"
        );
    });
}

/// Each structure of an array is small, and is many values; they have one bound together.
#[test]
fn what_structures_of_an_array_hold_is_bounded_together() {
    let made = Made::of_nothings();
    let types = Types::made(made.tree());
    let bytes = Made::many_nothings(50_000);
    let variant: Variant = decoded(&bytes).expect("the library takes it");
    let (told, unsupported) = told(data(variant), Some(&types));
    let sample = told.sample(TagId(0), None);
    is_sound(&sample, bytes.len());
    assert!(unsupported.is_some(), "ten times 50,000 values");
}
