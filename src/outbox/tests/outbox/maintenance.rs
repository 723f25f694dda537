//! Pruning, the write-ahead log, the operator's view.

use std::time::Duration;

use floorgate_outbox::{Acknowledged, Commit, LaneId, Options, Reader, Row, Store};
use floorgate_sample::Timestamp;
use rusqlite::{Connection, OpenFlags};

use super::{Folder, assert_contiguous, cells, commit, event, events, open, options, pin};

const HOUR: Duration = Duration::from_hours(1);
const WHOLE: Duration = Duration::from_mins(1);

fn acknowledge(store: &mut Store, lane: LaneId, sequence: u64) {
    let acknowledged = vec![Acknowledged {
        lane,
        sequence,
        offset: None,
    }];
    commit(
        store,
        Commit {
            acknowledged,
            ..Commit::default()
        },
    );
}

fn start() -> Timestamp {
    event("", "", "").recorded
}

/// A store with 1,000 events in a lane, one a second from [`start`] on.
fn with_thousand(options: &Options) -> (Store, LaneId) {
    let (mut store, _) = open(options);
    pin(&mut store, "orders", 1);
    let rows = commit(
        &mut store,
        events((0..1000).map(|n| floorgate_outbox::Event {
            recorded: start().after(Duration::from_secs(n)),
            value: vec![b'v'; 500],
            ..event("orders", "k", &n.to_string())
        })),
    )
    .rows;
    (store, rows[0].lane)
}

fn rows(options: &Options, lane: LaneId) -> Vec<Row> {
    let reader = Reader::open(&options.path).expect("the reader opens");
    reader
        .lane_rows(lane, 0, usize::MAX, usize::MAX)
        .expect("rows are read")
}

#[test]
fn delivered_events_go_after_their_time_and_no_others() {
    let folder = Folder::new();
    let options = Options {
        keep: HOUR,
        ..options(&folder)
    };
    let (mut store, lane) = with_thousand(&options);
    let maintain = |store: &mut Store, now: Timestamp| store.maintain(now, WHOLE).expect("it works").pruned;

    assert_eq!(
        maintain(&mut store, start().after(100 * HOUR)),
        0,
        "nothing is delivered"
    );
    acknowledge(&mut store, lane, 700);
    assert_eq!(
        maintain(&mut store, start().after(HOUR)),
        0,
        "nothing is an hour old"
    );
    // Event n was derived at second n and has sequence n + 1.
    assert_eq!(
        maintain(&mut store, start().after(HOUR + Duration::from_mins(5))),
        300
    );
    assert_eq!(rows(&options, lane)[0].sequence, 301);
    assert_eq!(
        maintain(&mut store, start().after(100 * HOUR)),
        399,
        "the last delivered one stays"
    );
    let left = rows(&options, lane);
    assert_eq!(left.len(), 301);
    assert_contiguous(&left, 700);
    let stats = store.stats().expect("it is measured");
    assert_eq!((stats.depth, stats.events), (300, 301));
    assert_eq!(stats.oldest, Some(start().after(Duration::from_secs(700))));

    drop(store);
    let (mut store, _) = open(&options);
    assert_eq!(
        store.stats().expect("it is measured").events,
        301,
        "a start finds where the lane begins"
    );
    acknowledge(&mut store, lane, 1000);
    assert_eq!(maintain(&mut store, start().after(100 * HOUR)), 300);
    assert_eq!(store.stats().expect("it is measured").oldest, None);
    assert_eq!(rows(&options, lane).len(), 1);
}

#[test]
fn delivered_events_go_early_when_the_store_is_too_large() {
    let folder = Folder::new();
    let options = Options {
        keep_bytes: 400 << 10,
        ..options(&folder)
    };
    let (mut store, lane) = with_thousand(&options);
    assert_eq!(
        store.maintain(start(), WHOLE).expect("it works").pruned,
        0,
        "nothing is delivered"
    );
    assert!(store.stats().expect("it is measured").used_bytes > options.keep_bytes);
    acknowledge(&mut store, lane, 1000);
    let pruned = store.maintain(start(), WHOLE).expect("it works").pruned;
    assert!((256..1000).contains(&pruned), "{pruned}: only as many as have to");
    assert!(store.stats().expect("it is measured").used_bytes <= options.keep_bytes);
    let left = rows(&options, lane);
    assert_contiguous(&left, pruned + 1);
    assert_eq!(left.len() as u64, 1000 - pruned);
}

#[test]
fn a_step_is_small_and_says_that_more_is_due() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, lane) = with_thousand(&options);
    acknowledge(&mut store, lane, 1000);
    let progress = store
        .maintain(start().after(100 * HOUR), Duration::ZERO)
        .expect("it works");
    assert!(progress.more);
    assert_eq!(progress.pruned, 256);
}

#[test]
fn the_log_does_not_grow_without_bound_and_neither_does_the_journal() {
    let folder = Folder::new();
    let options = Options {
        keep: Duration::ZERO,
        ..options(&folder)
    };
    let (mut store, _) = open(&options);
    pin(&mut store, "orders", 1);
    let (mut cell_steps, mut checkpoints, mut log) = (0, 0, 0);
    for n in 0..600_u64 {
        let value = format!("{n:0>300}");
        let mut batch = cells((0..100).map(|_| ("", None)));
        for (index, cell) in batch.cells.iter_mut().enumerate() {
            cell.key = format!("tag:{index}").into();
            cell.value = Some(value.clone());
        }
        batch.events = (0..20)
            .map(|_| floorgate_outbox::Event {
                value: vec![b'v'; 600],
                ..event("orders", "k", "e")
            })
            .collect();
        let lane = commit(&mut store, batch).rows[0].lane;
        acknowledge(&mut store, lane, 20 * (n + 1));
        let progress = store
            .maintain(start().after(HOUR), Duration::ZERO)
            .expect("it works");
        cell_steps += progress.cell_steps;
        checkpoints += usize::from(progress.checkpointed);
        log = log.max(store.stats().expect("it is measured").wal_bytes);
    }
    assert!(cell_steps > 2 && checkpoints > 2, "{cell_steps} {checkpoints}");
    // What was written: 600 · 100 · 300 bytes of cells alone are 18 MB.
    assert!(log < 12 << 20, "{log}");
    let reader =
        Connection::open_with_flags(&options.path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("it opens");
    let journal: i64 = reader
        .query_row("SELECT sum(octet_length(cells)) FROM journal", [], |row| {
            row.get(0)
        })
        .expect("the journal is measured");
    assert!(journal < 4 << 20, "{journal}");
    drop(store);
    let (_store, restored) = open(&options);
    assert_eq!(restored.cells.len(), 100);
    assert!(
        restored
            .cells
            .values()
            .all(|value| *value == format!("{:0>300}", 599))
    );
}

#[test]
fn an_operator_reads_the_outbox_with_a_standard_tool() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    pin(&mut store, "orders", 1);
    let lane = commit(
        &mut store,
        events([event("orders", "k", "1"), event("orders", "k", "2")]),
    )
    .rows[0]
        .lane;
    commit(&mut store, events([event("other", "k", "3")]));
    acknowledge(&mut store, lane, 1);
    let epoch = store.lanes()[0].epoch;
    let reader =
        Connection::open_with_flags(&options.path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("it opens");
    let mut statement = reader
        .prepare(
            "SELECT topic || '/' || coalesce(partition, '?') || '/' || epoch || '/' || sequence || ' ' || delivered
                 || ' ' || recorded || ' ' || type || ' ' || subject || ' ' || value FROM outbox ORDER BY id",
        )
        .expect("the view is there");
    let lines: Vec<String> = statement
        .query_map([], |row| row.get(0))
        .and_then(Iterator::collect)
        .expect("the view is read");
    let rest = "2023-11-14T22:13:20.000Z EquipmentStateChanged acme/busan/filling/line1/filler";
    assert_eq!(
        lines,
        [
            format!("orders/0/{epoch}/1 yes {rest} {{\"id\":\"1\"}}"),
            format!("orders/0/{epoch}/2 no {rest} {{\"id\":\"2\"}}"),
            format!("other/?/{epoch}/1 no {rest} {{\"id\":\"3\"}}"),
        ]
    );
}

#[test]
fn a_log_that_is_copied_beside_the_writer_begins_anew_and_nothing_is_missing() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    pin(&mut store, "orders", 1);
    let mut checkpointer = store.checkpointer().expect("it opens");
    let (ask, asked) = std::sync::mpsc::sync_channel::<()>(1);
    let (answer, answered) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        while asked.recv().is_ok() {
            answer.send(checkpointer.run()).expect("the answer is heard");
        }
    });
    let (mut under_way, mut finished, mut committed, mut log) = (false, 0, 0_u64, 0);
    let mut lane = None;
    while finished < 4 {
        let batch = (0..20).map(|n| floorgate_outbox::Event {
            value: vec![b'v'; 2000],
            ..event("orders", "k", &(committed + n).to_string())
        });
        lane = Some(commit(&mut store, events(batch)).rows[0].lane);
        committed += 20;
        if let Ok(result) = answered.try_recv() {
            result.expect("the checkpoint is made");
            store.finish_checkpoint().expect("the rest is copied");
            under_way = false;
            finished += 1;
            log = log.max(store.stats().expect("it is measured").wal_bytes);
        }
        if !under_way && store.log_is_long().expect("it is measured") {
            ask.send(()).expect("the thread lives");
            under_way = true;
        }
    }
    drop(ask);
    thread.join().expect("the thread ends");
    // Four times 8 MB went through the log.
    assert!(log < 24 << 20, "{log}");
    drop(store);
    let _ = open(&options);
    let lane = lane.expect("there were commits");
    let ids: Vec<String> = rows(&options, lane).into_iter().map(|row| row.id).collect();
    assert_eq!(ids, (0..committed).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// As the engine does it: a step between two commits, while state changes so fast that a round of writing it follows the other.
#[test]
fn pruning_keeps_up_while_cells_are_written() {
    let folder = Folder::new();
    let options = Options {
        keep_bytes: 4 << 20,
        ..options(&folder)
    };
    let (mut store, _) = open(&options);
    pin(&mut store, "orders", 1);
    let (mut committed, mut used) = (0, 0);
    for round in 0..300_u64 {
        let text = format!("{round:0>60}");
        let names: Vec<String> = (0..2048).map(|n| format!("tag:{n}")).collect();
        let mut both = cells(names.iter().map(|name| (name.as_str(), Some(text.as_str()))));
        both.events = (0..100)
            .map(|n| floorgate_outbox::Event {
                value: vec![b'v'; 600],
                ..event("orders", "k", &format!("{round}-{n}"))
            })
            .collect();
        let lane = commit(&mut store, both).rows[0].lane;
        committed += 100;
        acknowledge(&mut store, lane, committed);
        store.maintain(start(), Duration::ZERO).expect("it works");
        used = used.max(store.stats().expect("it is measured").used_bytes);
    }
    // 30,000 events of a kilobyte went through; journal and cells are some megabytes beside them.
    assert!(used < 12 << 20, "{used}");
}
