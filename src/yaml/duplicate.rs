//! Keys that stand twice in one mapping.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::{Node, Problems, Span};

/// Takes keys out that stand there twice, and reports each.
pub(crate) fn remove_repeated(entries: &mut Vec<(String, Span, Node)>, problems: &mut Problems) {
    let mut repeated = repeated(entries).into_iter().peekable();
    if repeated.peek().is_none() {
        return;
    }
    let mut place = 0..;
    entries.retain(|(key, span, _)| {
        if repeated.next_if_eq(&place.next().unwrap_or_default()).is_none() {
            return true;
        }
        problems
            .error(*span, format!("key `{key}` stands twice in one mapping"))
            .hint("keep one of them; only the lines below the same parent count as one mapping");
        false
    });
}

/// Mappings of no more entries are looked through for repeated keys without a table: nearly all are that short.
const FEW: usize = 8;

/// Places of the entries whose key stood before them, in rising order.
fn repeated(entries: &[(String, Span, Node)]) -> Vec<usize> {
    if entries.len() <= FEW {
        let stood = |place: &usize| {
            let key = &entries[*place].0;
            entries[..*place].iter().any(|(other, ..)| is_same(other, key))
        };
        return (1..entries.len()).filter(stood).collect();
    }
    let keys = entries.iter().map(|(key, ..)| canonical(key)).enumerate();
    let mut seen = HashSet::with_capacity(entries.len());
    keys.filter_map(|(place, key)| (!seen.insert(key)).then_some(place))
        .collect()
}

fn is_same(one: &str, other: &str) -> bool {
    one == other || may_be_number(one) && may_be_number(other) && canonical(one) == canonical(other)
}

fn may_be_number(key: &str) -> bool {
    key.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '+'))
}

/// 7 and 07 are one key where numbers are meant.
pub(crate) fn canonical(key: &str) -> Cow<'_, str> {
    if !may_be_number(key) {
        return Cow::Borrowed(key);
    }
    key.parse::<i128>()
        .map_or(Cow::Borrowed(key), |number| Cow::Owned(number.to_string()))
}
