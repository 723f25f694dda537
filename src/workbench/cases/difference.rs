//! What came out held against what is expected, event by event.

use std::fmt::Write as _;

use floorgate_yaml::Problems;
use similar::{ChangeTag, TextDiff};

use super::expectation::{Expectation, lines};
use super::seen::Seen;

/// Most pairs of events that are weighed against each other; where there are more, they are paired in order.
const MOST_PAIRS: usize = 4_000_000;

/// What an event costs that is only expected, or only came; a pair of one type always costs less than two of these.
const ALONE: usize = 50;

/// A place in the two lists.
enum Step {
    Pair(usize, usize),
    Missing(usize),
    Unexpected(usize),
}

/// The difference as text, empty where there is none: lines with `-` are expected, those with `+` came out.
pub(crate) fn difference(expected: &[Expectation], seen: &[Seen], problems: &Problems) -> String {
    let mut text = String::new();
    let mut as_expected = 0;
    let all_met = expected.len() == seen.len()
        && expected
            .iter()
            .zip(seen)
            .all(|(expected, seen)| expected.is_met_by(seen));
    if all_met {
        return text;
    }
    for step in alignment(expected, seen) {
        if let Step::Pair(one, other) = step
            && expected[one].is_met_by(&seen[other])
        {
            as_expected += 1;
            continue;
        }
        note(&mut as_expected, &mut text);
        match step {
            Step::Pair(one, other) => {
                let expected = &expected[one];
                let _ = writeln!(text, "{}: another event:", problems.place(expected.span));
                changed(&expected.lines(), &expected.lines_of(&seen[other]), &mut text);
            }
            Step::Missing(one) => {
                let _ = writeln!(text, "{}: it did not come:", problems.place(expected[one].span));
                signed('-', &expected[one].lines(), &mut text);
            }
            Step::Unexpected(other) => {
                text.push_str("not expected:\n");
                signed('+', &lines(&seen[other].facts()), &mut text);
            }
        }
    }
    note(&mut as_expected, &mut text);
    text
}

/// Says how many events were as expected since the last that was not.
fn note(count: &mut usize, text: &mut String) {
    match std::mem::take(count) {
        0 => {}
        1 => text.push_str("1 event as expected\n"),
        count => {
            let _ = writeln!(text, "{count} events as expected");
        }
    }
}

fn signed(sign: char, lines: &str, text: &mut String) {
    for line in lines.lines() {
        let _ = writeln!(text, "{sign} {line}");
    }
}

fn changed(expected: &str, actual: &str, text: &mut String) {
    for change in TextDiff::from_lines(expected, actual).iter_all_changes() {
        signed(sign(change.tag()), change.value(), text);
    }
}

fn sign(tag: ChangeTag) -> char {
    match tag {
        ChangeTag::Equal => ' ',
        ChangeTag::Delete => '-',
        ChangeTag::Insert => '+',
    }
}

/// The difference of two texts, line by line: those of the first alone with `-` before them, those of the second alone with `+`.
#[must_use]
pub fn line_difference(before: &str, after: &str) -> String {
    let mut text = String::new();
    changed(before, after, &mut text);
    text
}

/// The cheapest way through both lists: pairs of one type, of which little differs.
fn alignment(expected: &[Expectation], seen: &[Seen]) -> Vec<Step> {
    let (rows, columns) = (expected.len(), seen.len());
    if rows.saturating_mul(columns) > MOST_PAIRS {
        let both = rows.min(columns);
        return (0..both)
            .map(|place| Step::Pair(place, place))
            .chain((both..rows).map(Step::Missing))
            .chain((both..columns).map(Step::Unexpected))
            .collect();
    }
    let pair = |one: usize, other: usize| {
        let differing = expected[one].differing(&seen[other]);
        (expected[one].kind() == seen[other].kind()).then_some(differing.min(ALONE))
    };
    // The cost of what follows each pair of places.
    let mut costs = vec![vec![0_usize; columns + 1]; rows + 1];
    for one in (0..=rows).rev() {
        for other in (0..=columns).rev() {
            let missing = (one < rows).then(|| costs[one + 1][other] + ALONE);
            let unexpected = (other < columns).then(|| costs[one][other + 1] + ALONE);
            let paired = (one < rows && other < columns)
                .then(|| Some(costs[one + 1][other + 1] + pair(one, other)?))
                .flatten();
            costs[one][other] = [paired, missing, unexpected]
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(0);
        }
    }
    let (mut one, mut other) = (0, 0);
    let mut steps = Vec::new();
    while one < rows || other < columns {
        let cost = costs[one][other];
        let paired = (one < rows && other < columns)
            .then(|| pair(one, other))
            .flatten();
        if paired.is_some_and(|paired| costs[one + 1][other + 1] + paired == cost) {
            steps.push(Step::Pair(one, other));
            one += 1;
            other += 1;
        } else if one < rows && costs[one + 1][other] + ALONE == cost {
            steps.push(Step::Missing(one));
            one += 1;
        } else {
            steps.push(Step::Unexpected(other));
            other += 1;
        }
    }
    steps
}
