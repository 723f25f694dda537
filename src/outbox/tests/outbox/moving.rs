//! Events that wait for their topic's partition count.

use std::sync::Arc;

use floorgate_outbox::{Acknowledged, Commit, LaneId, Reader, Store, partition_of};

use super::{Folder, all_rows, assert_contiguous, commit, event, events, ids, open, options, pin};

fn key(n: usize) -> String {
    format!("key{}", n % 5)
}

/// Commits one event of `orders` and says whether it waits.
fn add(store: &mut Store, n: usize) -> bool {
    commit(store, events([event("orders", &key(n), &n.to_string())])).waiting == 1
}

#[test]
fn waiting_events_move_in_order_and_new_ones_stay_behind_them() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    for n in 0..50 {
        assert!(add(&mut store, n));
    }
    assert!(!store.moving());
    assert_eq!(store.stats().expect("the store is measured").waiting, 50);
    pin(&mut store, "orders", 3);
    assert!(store.moving());
    let mut next = 50;
    loop {
        let moved = store.move_waiting(7).expect("events are moved");
        assert!(moved.events <= 7 && !moved.lanes.is_empty());
        for lane in &moved.lanes {
            assert_eq!(Some(lane), store.lane(lane.id), "the lane is told as it is now");
        }
        if moved.done {
            break;
        }
        assert!(next < 1000, "the move comes to an end");
        // Two more come in with every step of seven; one kill in the middle.
        for _ in 0..2 {
            assert!(add(&mut store, next), "{next} queues behind those that wait");
            next += 1;
        }
        if next == 58 {
            drop(store);
            store = open(&options).0;
            assert!(store.moving(), "the move goes on after a start");
        }
    }
    assert!(!store.moving());
    assert!(!add(&mut store, next));
    next += 1;

    let lanes = all_rows(&options);
    assert_eq!(lanes.iter().map(|(_, _, rows)| rows.len()).sum::<usize>(), next);
    for (_, partition, rows) in &lanes {
        assert_contiguous(rows, 1);
        let expected: Vec<String> = (0..next)
            .filter(|n| partition_of(key(*n).as_bytes(), 3) == *partition)
            .map(|n| n.to_string())
            .collect();
        assert_eq!(
            ids(rows),
            expected,
            "the order of partition {partition} is that of arrival"
        );
    }
    let stats = store.stats().expect("the store is measured");
    assert_eq!(
        (stats.waiting, stats.depth, stats.events),
        (0, next as u64, next as u64)
    );
    let waiting = Reader::open(&options.path)
        .expect("it opens")
        .lanes()
        .expect("lanes are read");
    let waiting = waiting
        .iter()
        .find(|lane| lane.partition.is_none())
        .expect("it is still known");
    assert_eq!(waiting.depth(), 0);
}

#[test]
fn a_pinned_count_stays() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    pin(&mut store, "orders", 3);
    let name = "orders".into();
    assert_eq!(store.pin_topic(&name, 6).expect("the topic is known"), Some(3));
    assert!(store.pin_topic(&"other".into(), 0).is_err());
    drop(store);
    let (mut store, restored) = open(&options);
    assert_eq!(restored.topics[0].partitions, Some(3));
    assert_eq!(store.pin_topic(&name, 6).expect("the topic is known"), Some(3));
    assert!(store.move_waiting(10).expect("nothing is to be done").done);
}

/// The store dies after each step.
#[test]
fn another_count_is_pinned_when_all_that_the_earlier_one_placed_is_delivered() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    let name: Arc<str> = "orders".into();
    let again = |store: Store| {
        drop(store);
        open(&options).0
    };
    pin(&mut store, "orders", 1);
    for n in 0..10 {
        assert!(!add(&mut store, n));
    }
    store.unpin_topic(&name).expect("the topic is known");
    store = again(store);
    for n in 10..20 {
        assert!(add(&mut store, n), "{n} waits for another count");
    }
    let only = store.lanes()[0].id;
    for sequence in [0, 9] {
        deliver(&mut store, only, sequence);
        assert_eq!(store.pin_topic(&name, 4).expect("the topic is known"), None);
        assert!(
            !store.moving(),
            "nothing moves before the first ten are delivered"
        );
        store = again(store);
    }
    deliver(&mut store, only, 10);
    store = again(store);
    pin(&mut store, "orders", 4);
    store = again(store);
    assert!(store.moving(), "the move goes on after a start");
    while !store.move_waiting(3).expect("events are moved").done {
        store = again(store);
    }
    assert!(!add(&mut store, 20));

    let lanes = all_rows(&options);
    for (_, partition, rows) in &lanes {
        let placed = |partitions, numbers: std::ops::Range<usize>| {
            numbers.filter(move |n| partition_of(key(*n).as_bytes(), partitions) == *partition)
        };
        let expected: Vec<String> = placed(1, 0..10)
            .chain(placed(4, 10..21))
            .map(|n| n.to_string())
            .collect();
        assert_contiguous(rows, 1);
        assert_eq!(ids(rows), expected, "partition {partition}");
    }
    assert!(lanes.len() > 1, "partitions that were added are used");
}

fn deliver(store: &mut Store, lane: LaneId, sequence: u64) {
    let acknowledged = Acknowledged {
        lane,
        sequence,
        offset: None,
    };
    let delivered = Commit {
        acknowledged: vec![acknowledged],
        ..Commit::default()
    };
    commit(store, delivered);
}

#[test]
fn topics_do_not_wait_for_each_other() {
    let folder = Folder::new();
    let (mut store, _) = open(&options(&folder));
    commit(&mut store, events([event("a", "k", "a1"), event("b", "k", "b1")]));
    pin(&mut store, "b", 1);
    assert!(store.move_waiting(10).expect("it is moved").done);
    let committed = commit(&mut store, events([event("a", "k", "a2"), event("b", "k", "b2")]));
    assert_eq!((ids(&committed.rows), committed.waiting), (vec!["b2"], 1));
    assert_eq!(committed.rows[0].sequence, 2);
}
