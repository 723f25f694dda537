//! Histories of servers that tell them as they should, and of those that do not.

use opcua::types::{DateTime, ExtensionObject};

use super::*;

/// 1970 in the units and from the beginning of OPC UA's times.
const EPOCH: i64 = 116_444_736_000_000_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

fn value(number: i32, millis: i64) -> DataValue {
    DataValue {
        source_timestamp: Some(DateTime::from(EPOCH + millis * 10_000)),
        server_timestamp: Some(DateTime::from(EPOCH + millis * 10_000)),
        ..DataValue::value_only(number)
    }
}

fn page(status: StatusCode, goes_on: bool, values: Vec<DataValue>) -> HistoryReadResult {
    HistoryReadResult {
        status_code: status,
        continuation_point: if goes_on {
            ByteString::from(vec![1])
        } else {
            ByteString::null()
        },
        history_data: ExtensionObject::from_message(HistoryData {
            data_values: Some(values),
        }),
    }
}

/// What is kept: values with their times in milliseconds, three of one time.
fn kept() -> Vec<DataValue> {
    let times = [10, 20, 30, 30, 30, 40, 50];
    (0..)
        .zip(times)
        .map(|(number, time)| value(number, time))
        .collect()
}

fn read(history: &mut History) -> Vec<i32> {
    let number = |(_, value): (_, DataValue)| match value.value {
        Some(opcua::types::Variant::Int32(number)) => number,
        other => panic!("{other:?}"),
    };
    history.values.drain(..).map(number).collect()
}

fn history() -> History {
    History::new(0, NodeId::new(2, "A"), None)
}

/// A server that has what is kept, tells so many values at a time and loses where it was after some pages, if it ever knew.
fn read_from(per_page: usize, loses: impl Fn(usize) -> bool, has_points: bool) -> (Vec<i32>, History) {
    let (mut history, kept, mut all) = (history(), kept(), Vec::new());
    let (mut goes_on_at, from) = (0, at(0));
    for asked in 0.. {
        assert!(asked < 100, "it is asked for ever");
        if history.end.is_some() {
            break;
        }
        if !history.continuation.is_null() && loses(asked) {
            history.take(
                page(StatusCode::BadContinuationPointInvalid, false, vec![]),
                per_page,
            );
            continue;
        }
        if history.continuation.is_null() {
            let begin = history.begin(from);
            let is_later = |value: &DataValue| time_of(value.source_timestamp, None) >= Some(begin);
            goes_on_at = kept.iter().position(is_later).unwrap_or(kept.len());
        }
        let end = (goes_on_at + per_page).min(kept.len());
        let values = kept[goes_on_at..end].to_vec();
        goes_on_at = end;
        let goes_on = has_points && end < kept.len();
        history.take(page(StatusCode::Good, goes_on, values), per_page);
        all.extend(read(&mut history));
    }
    (all, history)
}

#[test]
fn a_history_is_read_page_by_page_to_its_end() {
    for per_page in 1..10 {
        let (all, history) = read_from(per_page, |_| false, true);
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6], "{per_page} a page");
        assert_eq!(history.end, Some(End::Whole));
    }
}

#[test]
fn a_server_that_loses_where_it_was_is_asked_again_and_nothing_comes_twice_or_not_at_all() {
    for per_page in 2..7 {
        // Of three values of one time two were read, or one, or all.
        let (all, history) = read_from(per_page, |asked| asked % 3 == 1, true);
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6], "{per_page} a page");
        assert_eq!(history.end, Some(End::Whole));
    }
}

#[test]
fn a_server_that_cannot_go_on_is_asked_for_what_is_after_the_last() {
    for per_page in 4..10 {
        let (all, history) = read_from(per_page, |_| false, false);
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6], "{per_page} a page");
        assert_eq!(history.end, Some(End::Whole));
    }
    // More of one time than it tells at a time can never be had, and that is said.
    let (all, history) = read_from(2, |_| false, false);
    assert_eq!(all, [0, 1, 2, 3]);
    assert_eq!(history.end, Some(End::Part));
}

#[test]
fn what_ends_before_its_end_is_told_as_a_part() {
    let good = || page(StatusCode::Good, true, kept());
    let mut cases: Vec<(&str, Vec<HistoryReadResult>)> = vec![
        (
            "an error on a later page",
            vec![good(), page(StatusCode::BadUserAccessDenied, false, vec![])],
        ),
        (
            "twice lost",
            vec![
                good(),
                page(StatusCode::BadNoContinuationPoints, false, vec![]),
                page(StatusCode::BadNoContinuationPoints, false, vec![]),
            ],
        ),
    ];
    let mut empty = vec![good()];
    empty.extend((0..MOST_EMPTY).map(|_| page(StatusCode::Good, true, vec![])));
    cases.push(("pages of nothing", empty));
    for (name, pages) in cases {
        let mut history = history();
        for page in pages {
            assert_eq!(history.end, None, "{name}");
            history.take(page, 1_000);
        }
        assert_eq!(history.end, Some(End::Part), "{name}");
    }
    let mut none = history();
    none.take(
        page(StatusCode::BadHistoryOperationUnsupported, false, vec![]),
        1_000,
    );
    assert_eq!(none.end, Some(End::None));
}

#[test]
fn nothing_overtakes_a_history_whose_next_page_is_not_known() {
    let mut history = history();
    assert_eq!(history.horizon(at(5)), Some(at(5)));
    history.take(page(StatusCode::Good, true, kept()), 7);
    assert_eq!(history.horizon(at(5)), Some(at(50)));
    history.values.clear();
    history.take(page(StatusCode::BadContinuationPointInvalid, false, vec![]), 7);
    assert_eq!(history.horizon(at(5)), Some(at(50)));
    history.take(page(StatusCode::Good, false, vec![value(7, 60)]), 7);
    assert_eq!(history.horizon(at(5)), None);
}

#[test]
fn what_is_sent_again_is_known_and_what_a_historian_left_out_is_missed() {
    let mut backfill = Backfill::due(at(0));
    backfill.remember_from(at(1_000));
    for time in [100, 200, 900, 1_000, 1_100, 1_300] {
        backfill.tell(0, at(time));
    }
    backfill.until = at(1_400);
    let beside = |time| backfill.beside(0, &value(0, time));
    // The value that was there when the item was made, and changes since.
    assert_eq!(beside(900), Beside::Told);
    assert_eq!(beside(1_000), Beside::Told);
    assert_eq!(beside(1_100), Beside::Told);
    assert_eq!(beside(1_200), Beside::Missed);
    assert_eq!(beside(1_300), Beside::New, "the same is no change");
    assert_eq!(beside(1_350), Beside::New);
    let late = DataValue {
        server_timestamp: Some(DateTime::from(EPOCH + 1_500 * 10_000)),
        ..value(0, 1_200)
    };
    assert_eq!(backfill.beside(0, &late), Beside::New, "taken after it was read");
    assert_eq!(backfill.beside(1, &value(0, 1)), Beside::New);
    // The historian's own mark of the outage is newer than the value that has stood since before.
    let standing = DataValue {
        server_timestamp: Some(DateTime::from(EPOCH + 1_350 * 10_000)),
        ..value(0, 50)
    };
    assert_eq!(backfill.beside(0, &standing), Beside::Present);
    let mut rounded = value(0, 1_100);
    rounded.source_timestamp = Some(DateTime::from(EPOCH + 1_100 * 10_000 + 123));
    assert_eq!(backfill.beside(0, &rounded), Beside::Told);
}

#[test]
fn a_history_goes_on_where_the_connection_before_left_it() {
    let mut backfill = Backfill::due(at(0));
    for time in [10, 20, 30, 30] {
        backfill.tell(0, at(time));
    }
    backfill.from = at(30);
    let mut history = History::new(0, NodeId::new(2, "A"), backfill.last.get(&0).copied());
    let from = history.begin(backfill.from);
    assert_eq!(from, at(30));
    let later = kept().split_off(2);
    history.take(page(StatusCode::Good, false, later), 1_000);
    assert_eq!(read(&mut history), [4, 5, 6]);
}

#[test]
fn a_page_that_is_not_in_the_order_of_time_holds_nothing_up() {
    let mut history = history();
    history.take(page(StatusCode::Good, true, vec![value(0, 10), value(1, 5)]), 7);
    let horizon = history.horizon(at(0)).unwrap();
    assert!(history.values.iter().all(|(time, _)| *time <= horizon));
}

#[test]
fn what_has_no_time_is_missing() {
    let mut history = history();
    let untimed = DataValue::value_only(1);
    history.take(page(StatusCode::Good, false, vec![value(0, 10), untimed]), 7);
    assert_eq!(history.end, Some(End::Part));
}
