//! Events that are set aside.

use floorgate_outbox::{Acknowledged, Burial, Commit, LaneId, Reader, Row, Store};
use floorgate_sample::Timestamp;

use super::{Folder, commit, event, events, open, options, pin};

fn burial(row: &Row, reason: &str) -> Burial {
    Burial {
        lane: row.lane,
        sequence: row.sequence,
        refused: Timestamp::from_nanos(5),
        reason: reason.to_owned(),
        headers: format!("why: {reason}"),
        value: b"stub".to_vec(),
    }
}

fn rows_of(reader: &Reader, lane: LaneId) -> Vec<Row> {
    reader.lane_rows(lane, 0, 100, usize::MAX).expect("they are read")
}

fn bury(store: &mut Store, burial: Burial) -> Vec<(LaneId, u64)> {
    let burials = vec![burial];
    commit(
        store,
        Commit {
            burials,
            ..Commit::default()
        },
    )
    .buried
}

#[test]
fn a_stub_takes_the_place_and_the_event_is_kept() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    pin(&mut store, "orders", 1);
    let rows = commit(
        &mut store,
        events((1..=3).map(|n| event("orders", "k", &n.to_string()))),
    )
    .rows;
    let second = &rows[1];
    let place = (second.lane, second.sequence);
    assert_eq!(bury(&mut store, burial(second, "too large")), [place]);
    assert_eq!(store.dead_letters().expect("they are counted"), 1);
    // What is told twice changes nothing more: the stub is not set aside as well.
    assert_eq!(bury(&mut store, burial(second, "again")), [place]);
    drop(store);

    let (mut store, _) = open(&options);
    let reader = Reader::open(&options.path).expect("it opens");
    let kept = rows_of(&reader, second.lane);
    assert_eq!((kept[1].id.as_str(), &*kept[1].value), ("2", &b"stub"[..]));
    assert_eq!(kept[1].headers, "why: too large");
    assert_eq!((&kept[0], &kept[2]), (&rows[0], &rows[2]));
    let letters = reader.dead_letters(0, 10).expect("they are read");
    let [letter] = &letters[..] else {
        panic!("{letters:?}")
    };
    assert_eq!((letter.partition, letter.reason.as_str()), (Some(0), "too large"));
    assert_eq!(letter.refused, Timestamp::from_nanos(5));
    assert_eq!(letter.event, event("orders", "k", "2"));
    assert_eq!(
        reader.dead_letter(letter.number).expect("it is read").as_ref(),
        Some(letter)
    );

    // It is sent again as a new event, and done with in the same transaction.
    let again = Commit {
        events: vec![letter.event.clone()],
        settled_letters: vec![letter.number],
        ..Commit::default()
    };
    let committed = commit(&mut store, again);
    assert_eq!(committed.rows[0].sequence, 4);
    assert_eq!(store.dead_letters().expect("they are counted"), 0);
    assert_eq!(bury(&mut store, burial(&committed.rows[0], "still")).len(), 1);
    let numbers = reader.dead_letters(0, 10).expect("they are read");
    assert!(
        numbers[0].number > letter.number,
        "a number is not given out twice"
    );
}

#[test]
fn what_is_delivered_is_left_alone() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    pin(&mut store, "orders", 1);
    let rows = commit(
        &mut store,
        events([event("orders", "k", "1"), event("orders", "k", "2")]),
    )
    .rows;
    let acknowledged = vec![Acknowledged {
        lane: rows[0].lane,
        sequence: 1,
        offset: Some(0),
    }];
    let together = Commit {
        acknowledged,
        burials: vec![burial(&rows[0], "late")],
        ..Commit::default()
    };
    commit(&mut store, together);
    assert_eq!(store.dead_letters().expect("they are counted"), 0);
    let reader = Reader::open(&options.path).expect("it opens");
    assert_eq!(rows_of(&reader, rows[0].lane), rows);
    let stored = store.event(rows[0].lane, 1).expect("it is read");
    assert_eq!(stored, Some(event("orders", "k", "1")));
    assert_eq!(store.event(rows[0].lane, 9).expect("it is read"), None);
}
