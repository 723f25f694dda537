//! Lanes that begin a new epoch.

use std::time::Duration;

use floorgate_outbox::{Acknowledged, Commit, Error, Lane, LaneId, Options, Renewal, Store};
use floorgate_sample::Timestamp;
use rusqlite::{Connection, OpenFlags};

use super::{Folder, all_rows, commit, event, events, open, options, pin};

/// A lane with six events, four of them delivered.
fn lane(store: &mut Store) -> LaneId {
    pin(store, "orders", 1);
    let six = (1..=6).map(|n| event("orders", "k", &n.to_string()));
    let lane = commit(store, events(six)).rows[0].lane;
    acknowledge(store, lane, 4, Some(40));
    lane
}

fn acknowledge(store: &mut Store, lane: LaneId, sequence: u64, offset: Option<i64>) {
    let acknowledged = vec![Acknowledged {
        lane,
        sequence,
        offset,
    }];
    commit(
        store,
        Commit {
            acknowledged,
            ..Commit::default()
        },
    );
}

fn renew(store: &mut Store, lane: LaneId, again: bool) -> Lane {
    let renewal = Renewal {
        lane,
        delivered: 0,
        doubt: 0,
        seen_epoch: 0,
        again,
        log_end: Some(41),
    };
    store.renew(&renewal).expect("a new epoch begins")
}

/// Epoch and sequence on the log of each event, as an operator sees them, with whether it is delivered.
fn view(options: &Options) -> Vec<(Option<u32>, Option<u64>, String)> {
    let database =
        Connection::open_with_flags(&options.path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("it opens");
    let mut statement = database
        .prepare("SELECT epoch, sequence, delivered FROM outbox ORDER BY CAST(id AS INTEGER)")
        .expect("the view is there");
    let rows = statement.query_map([], |row| {
        let sequence: Option<i64> = row.get(1)?;
        Ok((row.get(0)?, sequence.map(i64::cast_unsigned), row.get(2)?))
    });
    rows.and_then(Iterator::collect).expect("the view is read")
}

#[test]
fn a_new_epoch_begins_with_what_is_not_delivered() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    let id = lane(&mut store);
    let before = store.lane(id).expect("it is there").clone();
    let after = renew(&mut store, id, false);
    let expected = Lane {
        epoch: after.epoch,
        base: 4,
        // What goes out in the new epoch comes behind that.
        acknowledged_offset: Some(41),
        doubt: 4,
        ..before.clone()
    };
    assert_eq!(after, expected);
    assert!(after.epoch > before.epoch);
    commit(&mut store, events([event("orders", "k", "7")]));
    let epoch = Some(after.epoch);
    let shown = view(&options);
    assert_eq!(shown[3], (None, None, "yes".to_owned()), "an earlier epoch's");
    let behind: Vec<_> = shown[4..].to_vec();
    let expected: Vec<_> = (1..=3).map(|n| (epoch, Some(n), "no".to_owned())).collect();
    assert_eq!(behind, expected);
    acknowledge(&mut store, id, 7, Some(2));
    let lanes = store.lanes().to_vec();
    drop(store);
    let (store, restored) = open(&options);
    assert_eq!(restored.lanes, lanes, "it is there after a start");
    assert_eq!(store.stats().expect("it is measured").depth, 0);
}

#[test]
fn where_the_log_is_gone_all_that_is_kept_goes_again() {
    let folder = Folder::new();
    let options = Options {
        keep: Duration::ZERO,
        ..options(&folder)
    };
    let (mut store, _) = open(&options);
    let id = lane(&mut store);
    // The first three are deleted; the last delivered one is always kept.
    let pruned = store
        .maintain(Timestamp::from_nanos(i64::MAX), Duration::from_secs(5))
        .expect("it is cleaned up");
    assert_eq!(pruned.pruned, 3);
    let after = renew(&mut store, id, true);
    assert_eq!((after.base, after.acknowledged_sequence), (3, 3));
    assert_eq!(after.depth(), 3);
    let rows = &all_rows(&options)[0].2;
    let sequences: Vec<u64> = rows.iter().map(|row| row.sequence - after.base).collect();
    assert_eq!(sequences, [1, 2, 3]);
    // What was delivered in the old epoch is not taken for a delivery of the new one by cleaning up.
    let pruned = store
        .maintain(Timestamp::from_nanos(i64::MAX), Duration::from_secs(5))
        .expect("it is cleaned up");
    assert_eq!(pruned.pruned, 0);
}

#[test]
fn an_epoch_is_newer_than_the_store_and_the_log_know() {
    let folder = Folder::new();
    let (mut store, _) = open(&options(&folder));
    let id = lane(&mut store);
    let mut renewal = Renewal {
        lane: id,
        delivered: 5,
        doubt: 0,
        seen_epoch: 4_000_000_000,
        again: false,
        log_end: None,
    };
    let lane = store.renew(&renewal).expect("a new epoch begins");
    assert_eq!((lane.epoch, lane.base), (4_000_000_001, 5));
    renewal.delivered = 99;
    let lane = store.renew(&renewal).expect("a new epoch begins");
    assert_eq!(
        (lane.epoch, lane.base),
        (4_000_000_002, 6),
        "no further than there are events"
    );
}

#[test]
fn only_lanes_of_partitions_have_epochs() {
    let folder = Folder::new();
    let (mut store, _) = open(&options(&folder));
    commit(&mut store, events([event("orders", "k", "1")]));
    let waiting = store.lanes()[0].id;
    let renewal = Renewal {
        lane: waiting,
        delivered: 0,
        doubt: 0,
        seen_epoch: 0,
        again: false,
        log_end: None,
    };
    assert!(matches!(store.renew(&renewal), Err(Error::Invalid(_))));
}
