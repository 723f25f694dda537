//! The order of one lane.

use std::sync::Arc;

use floorgate_outbox::{Acknowledged, Commit, Event, Lane as StoredLane, Options, Row, Store};
use floorgate_sample::Timestamp;

use crate::lane::Lane;
use crate::topics::LogBounds;

/// A lane of the store with so many rows, of which some are acknowledged.
fn stored(rows: usize, acknowledged: u64) -> (StoredLane, Vec<Row>) {
    let name = format!("floorgate-lane-{}-{rows}-{acknowledged}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let (mut store, _) = Store::open(&Options::new(folder.join("outbox.db"))).unwrap();
    let topic: Arc<str> = "topic".into();
    store.pin_topic(&topic, 1).unwrap();
    let event = Event {
        topic,
        key: "key".into(),
        partition: None,
        id: "id".to_owned(),
        kind: "Kind".into(),
        subject: "subject".into(),
        recorded: Timestamp::from_nanos(0),
        shared_headers: "".into(),
        headers: String::new(),
        value: Vec::new(),
        trace: String::new(),
    };
    let mut commit = Commit {
        events: vec![event; rows],
        ..Commit::default()
    };
    let committed = store.commit(&mut commit).unwrap();
    commit.acknowledged.push(Acknowledged {
        lane: store.lanes()[0].id,
        sequence: acknowledged,
        offset: None,
    });
    store.commit(&mut commit).unwrap();
    let lane = store.lanes()[0].clone();
    std::fs::remove_dir_all(&folder).unwrap();
    (lane, committed.rows)
}

#[test]
fn a_lane_begins_with_one_record_alone_and_so_does_one_that_begins_again() {
    let (stored, rows) = stored(4, 0);
    let mut lane = Lane::new(&stored, 0, false);
    for row in rows {
        assert!(lane.cache(row, Timestamp::from_nanos(0)));
    }
    assert!(lane.is_careful());
    lane.sent(1);
    assert!(lane.is_careful(), "the second one waits for the first");
    lane.delivered(1, Some(0), |_| {});
    assert!(!lane.is_careful());
    lane.sent(1);
    lane.sent(1);
    lane.rewind();
    assert!(
        lane.next() == 2 && lane.is_careful(),
        "a producer that begins again begins with one record"
    );
}

#[test]
fn what_an_earlier_process_stored_is_in_doubt_as_far_as_it_is_not_acknowledged() {
    for (acknowledged, doubtful) in [(0, 5), (3, 2), (5, 0)] {
        let mut lane = Lane::new(&stored(5, acknowledged).0, 0, true);
        assert_eq!(lane.settle_in_doubt(), doubtful, "after {acknowledged}");
    }
}

#[test]
fn a_log_that_is_shorter_is_looked_at_from_where_it_was_whole() {
    let bounds = |high| LogBounds { low: 0, high };
    let (stored, rows) = stored(7, 0);
    let mut rows = rows.into_iter();
    let mut acknowledge = |lane: &mut Lane, offset: i64| {
        let row = rows.next().unwrap();
        let sequence = row.sequence;
        assert!(lane.cache(row, Timestamp::from_nanos(0)));
        lane.sent(1);
        lane.delivered(sequence, Some(offset), |_| ());
    };
    let mut lane = Lane::new(&stored, 0, false);
    lane.settle(0, None, 0);
    acknowledge(&mut lane, 100);
    acknowledge(&mut lane, 101);
    lane.ask_bounds();
    lane.take_bounds(bounds(102), false);
    assert!(!lane.proof.is_in_doubt(), "its last record is there");
    // What is acknowledged after the last look may be on another log, which others have filled.
    acknowledge(&mut lane, 110);
    lane.ask_bounds();
    lane.take_bounds(bounds(111), true);
    lane.look_if_in_doubt();
    assert!(lane.proof.is_in_doubt() && lane.is_unsettled());
    let claim = lane.claim();
    let asked = (claim.acknowledged, claim.offset, claim.has_sent);
    assert_eq!(asked, (2, Some(101), true));
    lane.proof.renew();
    assert_eq!(lane.claim().acknowledged, 3, "then it is looked at as ever");
    assert!(!lane.proof.is_in_doubt() && lane.is_unsettled());

    // Also where nothing is known of its bounds before.
    lane.settle(3, Some(110), 3);
    acknowledge(&mut lane, 111);
    lane.take_bounds(bounds(111), false);
    assert!(!lane.proof.is_in_doubt(), "it came after the question");
    lane.ask_bounds();
    lane.take_bounds(bounds(111), false);
    assert!(lane.proof.is_in_doubt());
}
