//! Commits: places, durability as far as a process can see it, refusals.

use std::sync::Arc;

use floorgate_outbox::{Acknowledged, Commit, Error, Reader, partition_of};

use super::{Folder, all_rows, assert_contiguous, cells, commit, event, events, ids, open, options, pin};

#[test]
fn events_get_the_partition_of_their_key_and_contiguous_sequences() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    pin(&mut store, "orders", 4);
    let mut handed_over = Vec::new();
    for batch in 0..5 {
        let batch = (0..20).map(|n| event("orders", &format!("key{}", n % 7), &format!("{batch}-{n}")));
        handed_over.extend(commit(&mut store, events(batch)).rows);
    }
    assert_eq!(handed_over.len(), 100);
    let lanes = all_rows(&options);
    assert!(lanes.len() > 1);
    let mut read = Vec::new();
    for (_, partition, rows) in lanes {
        assert_contiguous(&rows, 1);
        assert!(
            rows.iter()
                .all(|row| partition_of(row.key.as_bytes(), 4) == partition)
        );
        read.extend(rows);
    }
    handed_over.sort_by_key(|row| (row.lane, row.sequence));
    assert_eq!(read, handed_over);
}

#[test]
fn a_reopened_store_goes_on_where_it_was() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, first) = open(&options);
    pin(&mut store, "orders", 1);
    let mut both = events([event("orders", "k", "1"), event("orders", "k", "2")]);
    both.cells = cells([("tag:a", Some("{\"v\":1}"))]).cells;
    let rows = commit(&mut store, both).rows;
    let lane = rows[0].lane;
    let acknowledged = vec![Acknowledged {
        lane,
        sequence: 1,
        offset: Some(41),
    }];
    commit(
        &mut store,
        Commit {
            acknowledged,
            ..Commit::default()
        },
    );
    drop(store);

    let (mut store, restored) = open(&options);
    assert_eq!(restored.store_id, first.store_id);
    assert!(restored.incarnation > first.incarnation);
    assert_eq!(restored.topics[0].partitions, Some(1));
    assert_eq!(restored.lanes, store.lanes());
    let found = &restored.lanes[0];
    assert_eq!(
        (
            found.last_sequence,
            found.acknowledged_sequence,
            found.acknowledged_offset
        ),
        (2, 1, Some(41))
    );
    assert_eq!(found.depth(), 1);
    assert_eq!(restored.cells.get("tag:a").map(String::as_str), Some("{\"v\":1}"));
    let rows = commit(&mut store, events([event("orders", "k", "3")])).rows;
    assert_eq!((rows[0].lane, rows[0].sequence), (lane, 3));
    assert_eq!(ids(&all_rows(&options)[0].2), ["1", "2", "3"]);
}

#[test]
fn the_text_of_an_event_is_kept_byte_for_byte() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    pin(&mut store, "orders", 1);
    let mut given = event("orders", "Füller/1\n\t\"\u{1f3ed}", "ü-1");
    given.headers = "ce_id: a\r\nce_source: /x\n\u{0}\ttraceparent: 00-…".to_owned();
    given.value = (0..=255).collect();
    let row = commit(&mut store, events([given.clone()])).rows.remove(0);
    let read = all_rows(&options).remove(0).2.remove(0);
    assert_eq!(read, row);
    assert_eq!(
        (read.headers, read.value, read.key),
        (given.headers, given.value, given.key)
    );
    assert_eq!((read.id, read.recorded), (given.id, given.recorded));
}

#[test]
fn a_chosen_partition_needs_no_count() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    let chosen = |id: &str| floorgate_outbox::Event {
        partition: Some(3),
        ..event("orders", "k", id)
    };
    let committed = commit(
        &mut store,
        events([chosen("a"), event("orders", "k", "w"), chosen("b")]),
    );
    assert_eq!(
        (committed.rows.len(), committed.waiting, committed.new_lanes.len()),
        (2, 1, 2)
    );
    assert_eq!(committed.new_lanes[0].partition, Some(3));
    assert_eq!(all_rows(&options), [("orders".to_owned(), 3, committed.rows)]);
}

#[test]
fn acknowledgements_only_advance_and_are_checked() {
    let folder = Folder::new();
    let (mut store, _) = open(&options(&folder));
    pin(&mut store, "orders", 1);
    let lane = commit(
        &mut store,
        events((0..9).map(|n| event("orders", "k", &n.to_string()))),
    )
    .rows[0]
        .lane;
    let acknowledge = |sequence, offset| Commit {
        acknowledged: vec![Acknowledged {
            lane,
            sequence,
            offset,
        }],
        ..Commit::default()
    };
    commit(&mut store, acknowledge(5, Some(100)));
    commit(&mut store, acknowledge(4, Some(7)));
    commit(&mut store, acknowledge(6, None));
    let known = store.lane(lane).expect("the lane is there");
    assert_eq!(
        (known.acknowledged_sequence, known.acknowledged_offset),
        (6, Some(100))
    );

    let mut beyond = acknowledge(10, None);
    beyond.events.push(event("orders", "k", "not stored"));
    let refused = store
        .commit(&mut beyond)
        .expect_err("the watermark is beyond the lane's end");
    assert!(matches!(refused, Error::Invalid(_)), "{refused}");
    assert_eq!((beyond.events.len(), beyond.acknowledged.len()), (1, 1));
    let next = commit(&mut store, events([event("orders", "k", "9")]))
        .rows
        .remove(0);
    assert_eq!(next.sequence, 10, "a refused commit gives out no sequence");
}

#[test]
fn reading_is_bounded_by_rows_and_bytes() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    pin(&mut store, "orders", 1);
    pin(&mut store, "other", 1);
    let of = |topic: &'static str| {
        (0..10).map(move |n| floorgate_outbox::Event {
            value: vec![b'x'; 1000],
            ..event(topic, "k", &n.to_string())
        })
    };
    let rows = commit(&mut store, events(of("orders").chain(of("other")))).rows;
    let reader = Reader::open(&options.path).expect("the reader opens");
    let read = |after, max_rows, max_bytes| {
        reader
            .lane_rows(rows[0].lane, after, max_rows, max_bytes)
            .expect("rows are read")
    };
    assert_eq!(
        ids(&read(7, 100, usize::MAX)),
        ["7", "8", "9"],
        "the next lane's rows are not given"
    );
    assert_eq!(ids(&read(0, 2, usize::MAX)), ["0", "1"]);
    assert_eq!(read(0, 100, 2500).len(), 3);
    assert_eq!(read(0, 100, 1).len(), 1, "one row in any case");
    assert_eq!(read(10, 100, usize::MAX).len(), 0);
    let fresh: Arc<str> = "orders".into();
    assert_eq!(reader.lanes().expect("lanes are read")[0].topic, fresh);
}
