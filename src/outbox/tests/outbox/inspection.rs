//! What an operator asks about the store.

use floorgate_outbox::{Acknowledged, Commit, Error, Reader, Renewal, Selection, Store};
use floorgate_sample::Timestamp;
use rusqlite::Connection;

use super::{Folder, commit, event, events, open, options, pin};

fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

/// Nine events on two topics, one each nanosecond, of which two are delivered.
fn nine(store: &mut Store) {
    pin(store, "orders", 1);
    let all = (1..=9).map(|n| {
        let topic = if n % 3 == 0 { "alarms" } else { "orders" };
        floorgate_outbox::Event {
            recorded: at(n),
            subject: format!("s{}", n % 2).into(),
            ..event(topic, "k", &n.to_string())
        }
    });
    let rows = commit(store, events(all)).rows;
    let acknowledged = vec![Acknowledged {
        lane: rows[0].lane,
        sequence: 2,
        offset: Some(7),
    }];
    commit(
        store,
        Commit {
            acknowledged,
            ..Commit::default()
        },
    );
}

#[test]
fn lanes_and_events_are_shown_page_by_page() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    nine(&mut store);
    let reader = Reader::open(&options.path).expect("it opens");
    let states = reader.lane_states().expect("they are read");
    let orders = states
        .iter()
        .find(|state| &*state.lane.topic == "orders")
        .expect("it is there");
    assert_eq!((orders.first_kept, orders.oldest_waiting), (1, Some(at(4))));
    let waiting = states
        .iter()
        .find(|state| state.lane.partition.is_none())
        .expect("it is there");
    assert_eq!(
        (&*waiting.lane.topic, waiting.oldest_waiting),
        ("alarms", Some(at(3)))
    );

    let all = Selection::default();
    let read = |after, most, selection: &Selection| {
        let (found, last) = reader
            .stored_events(&orders.lane, after, most, selection)
            .expect("they are read");
        let ids: Vec<String> = found.into_iter().map(|found| found.event.id).collect();
        (ids.join(" "), last)
    };
    assert_eq!(read(0, 4, &all), ("1 2 4 5".to_owned(), Some(4)));
    assert_eq!(read(4, 4, &all), ("7 8".to_owned(), Some(6)));
    assert_eq!(read(6, 4, &all), (String::new(), None));
    let some = Selection {
        subject: Some("s1".to_owned()),
        from: Some(at(2)),
        to: Some(at(7)),
        ..Selection::default()
    };
    assert_eq!(
        read(0, 9, &some),
        ("5".to_owned(), Some(6)),
        "what was looked at is told, too"
    );
    let newest = reader
        .newest_events(&orders.lane, 2, 100, &all)
        .expect("they are read");
    let ids: Vec<&str> = newest.iter().map(|found| found.event.id.as_str()).collect();
    assert_eq!(ids, ["7", "8"]);
    assert!(
        !Selection {
            topic: Some("alarms".to_owned()),
            ..all
        }
        .has_lane(&orders.lane)
    );
}

#[test]
fn what_is_missing_is_found() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    nine(&mut store);
    drop(store);
    let holes = || -> Vec<String> {
        let reader = Reader::open(&options.path).expect("it opens");
        assert_eq!(reader.damaged_pages(9).expect("they are checked"), [""; 0]);
        let states = reader.lane_states().expect("they are read");
        let holes = states
            .iter()
            .filter_map(|state| reader.holes(state).expect("they are counted"));
        holes.collect()
    };
    let delete = |id: u32| {
        let database = Connection::open(&options.path).expect("it opens");
        let deleted = database.execute("DELETE FROM event WHERE id = ?1", [id.to_string()]);
        assert_eq!(deleted, Ok(1));
    };
    assert_eq!(holes(), [""; 0]);
    delete(1);
    assert_eq!(holes(), [""; 0], "delivered events may go, the oldest first");
    delete(5);
    assert_eq!(holes(), ["4 events where 5 should be, from 2 to 6"]);
    delete(2);
    delete(4);
    assert_eq!(holes(), ["events 3 to 4 are not delivered and not there"]);
}

/// Where lanes go on is looked at by each start, since what is not there would never be missed.
#[test]
fn a_start_notices_that_a_lane_has_lost_an_end() {
    // The last event, the next one to deliver, and the next one of those that wait for a partition count.
    for (id, says) in [
        ("'8'", Some("event 6 of lane 1 is not there")),
        ("'4'", Some("event 3 of lane 1 is not there")),
        ("'3'", Some("event 1 of lane 2 is not there")),
        ("'1'", None),
    ] {
        let folder = Folder::new();
        let options = options(&folder);
        let (mut store, _) = open(&options);
        nine(&mut store);
        drop(store);
        let database = Connection::open(&options.path).expect("it opens");
        let deleted = database.execute(&format!("DELETE FROM event WHERE id = {id}"), []);
        assert_eq!(deleted, Ok(1));
        drop(database);
        match (Store::open(&options), says) {
            (Ok(_), None) => {}
            (Err(Error::Damaged { found, .. }), Some(says)) => {
                assert_eq!(found, says);
                let (_, _, salvage) = Store::open_or_salvage(&options).expect("it is salvaged");
                let salvage = salvage.expect("it was damaged");
                assert_eq!((salvage.events, salvage.lost), (6, 1), "{says}");
            }
            (opened, _) => panic!("without {id}: {opened:?}"),
        }
    }
}

/// What a sound store does not keep is not missed: delivered events, and those that were moved to their partitions.
#[test]
fn a_start_misses_nothing_in_a_sound_store() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    nine(&mut store);
    pin(&mut store, "alarms", 2);
    for _ in 0..3 {
        store.move_waiting(1).expect("it moves");
        drop(store);
        store = open(&options).0;
    }
    assert!(!store.moving());
    let acknowledged: Vec<_> = store
        .lanes()
        .iter()
        .filter(|lane| lane.partition.is_some())
        .map(|lane| Acknowledged {
            lane: lane.id,
            sequence: lane.last_sequence,
            offset: None,
        })
        .collect();
    commit(
        &mut store,
        Commit {
            acknowledged,
            ..Commit::default()
        },
    );
    let much_later = event("", "", "").recorded;
    let progress = store
        .maintain(much_later, std::time::Duration::ZERO)
        .expect("it is maintained");
    assert!(progress.pruned > 0, "{progress:?}");
    let lane = store.lanes()[0].clone();
    let renewal = Renewal {
        lane: lane.id,
        delivered: 0,
        doubt: 0,
        seen_epoch: 0,
        again: true,
        log_end: None,
    };
    drop(store);
    let (mut store, _) = open(&options);
    store.renew(&renewal).expect("it begins anew");
    drop(store);
    open(&options);
}
