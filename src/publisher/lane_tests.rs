//! The order of one lane.

use std::sync::Arc;

use floorgate_outbox::{Commit, Event, Options, Row, Store};
use floorgate_sample::Timestamp;

use crate::lane::Lane;

/// A lane of the store with so many rows, as the publisher takes them.
fn lane(rows: usize) -> (Lane, Vec<Row>) {
    let folder = std::env::temp_dir().join(format!("floorgate-lane-{}-{rows}", std::process::id()));
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
    };
    let mut commit = Commit {
        events: vec![event; rows],
        ..Commit::default()
    };
    let committed = store.commit(&mut commit).unwrap();
    let lane = Lane::new(&store.lanes()[0], 0, false);
    std::fs::remove_dir_all(&folder).unwrap();
    (lane, committed.rows)
}

#[test]
fn a_lane_begins_with_one_record_alone_and_so_does_one_that_begins_again() {
    let (mut lane, rows) = lane(4);
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
