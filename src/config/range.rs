//! The values of a parameter: ranges such as `1..40`, and what looks like one.

use floorgate_yaml::{Node, NodeKind, Problems};

use crate::template::MOST_INSTANCES;

/// A parameter's values: one, a range `1..40`, both ends included, or a list of these.
pub(crate) fn values_of(name: &str, node: &Node, problems: &mut Problems) -> Option<Vec<NodeKind>> {
    let NodeKind::List(items) = &node.kind else {
        return single(name, node, problems);
    };
    let is_scalar = |item: &Node| !matches!(item.kind, NodeKind::List(_) | NodeKind::Map(_) | NodeKind::Null);
    if items.is_empty() || !items.iter().all(is_scalar) {
        problems
            .error(
                node.span,
                format!("`{name}`: expected a list of numbers or texts"),
            )
            .hint("such as `[a, b]`");
        return None;
    }
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        values.extend(single(name, item, problems)?);
        if values.len() > MOST_INSTANCES {
            too_many(name, item, problems);
            return None;
        }
    }
    Some(values)
}

/// The values of what is no list.
fn single(name: &str, node: &Node, problems: &mut Problems) -> Option<Vec<NodeKind>> {
    match &node.kind {
        NodeKind::Text(text) if text.contains("..") => match ends(text, "..") {
            Some((from, to)) if from <= to && to.abs_diff(from) < MOST_INSTANCES as u64 => {
                Some((from..=to).map(|number| NodeKind::Int(number.into())).collect())
            }
            Some((from, to)) if from > to => {
                problems
                    .error(node.span, format!("`{name}`: the range {text:?} is empty"))
                    .hint("the lower number comes first, such as `1..40`");
                None
            }
            Some(_) => {
                too_many(name, node, problems);
                None
            }
            None => {
                problems
                    .error(node.span, format!("`{name}`: {text:?} is no range"))
                    .hint("two integers, both included, such as `1..40`");
                None
            }
        },
        NodeKind::List(_) | NodeKind::Map(_) | NodeKind::Null => {
            problems
                .error(
                    node.span,
                    format!("`{name}`: expected a value, found {}", node.describe()),
                )
                .hint("a number, text, a list of these, or a range such as `1..40`");
            None
        }
        kind => Some(vec![kind.clone()]),
    }
}

fn too_many(name: &str, node: &Node, problems: &mut Problems) {
    problems
        .error(
            node.span,
            format!("`{name}`: more than {MOST_INSTANCES} instances"),
        )
        .hint("divide them among several mappings");
}

/// The two numbers beside a sign.
fn ends(text: &str, sign: &str) -> Option<(i64, i64)> {
    let (from, to) = text.split_once(sign)?;
    Some((from.trim().parse().ok()?, to.trim().parse().ok()?))
}

/// Warns of `1-40`, which is one value and no range. Names such as `1-1`, `1-2` and `2-1` are none that were meant as ranges: these
/// would rise, and not overlap.
pub(crate) fn check_dashes(parameters: &[String], elements: &[Node], problems: &mut Problems) {
    for name in parameters {
        let values = elements.iter().filter_map(|element| element.get(name));
        let values = values.flat_map(|value| match &value.kind {
            NodeKind::List(items) => items.as_slice(),
            _ => std::slice::from_ref(value),
        });
        let dashes: Vec<_> = values
            .filter_map(|value| Some((ends(value.as_text()?, "-")?, value.span)))
            .collect();
        let rise = dashes.iter().all(|((from, to), _)| from < to);
        if !rise || !dashes.windows(2).all(|pair| pair[0].0.1 < pair[1].0.0) {
            continue;
        }
        for ((from, to), span) in dashes {
            problems
                .warning(span, format!("`{name}`: `{from}-{to}` is one value and no range"))
                .hint(format!("did you mean `{from}..{to}`?"));
        }
    }
}
