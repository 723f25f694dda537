//! The store's contract, tested on real files.

mod commits;
mod dead_letters;
mod folder;
mod full;
mod hostile;
mod inspection;
mod lifecycle;
mod log;
mod maintenance;
mod model;
mod moving;
mod power;
mod renewal;
mod salvage;

use std::sync::Arc;

use floorgate_outbox::{Cell, Commit, Committed, Event, Options, Reader, Restored, Row, Store};
use floorgate_sample::Timestamp;

use folder::Folder;

fn options(folder: &Folder) -> Options {
    Options {
        page_size: 4096,
        reserve_bytes: 0,
        ..Options::new(folder.path().join("outbox.db"))
    }
}

fn open(options: &Options) -> (Store, Restored) {
    Store::open(options).expect("the store opens")
}

fn event(topic: &str, key: &str, id: &str) -> Event {
    Event {
        topic: topic.into(),
        key: key.into(),
        partition: None,
        id: id.to_owned(),
        kind: "EquipmentStateChanged".into(),
        subject: "acme/busan/filling/line1/filler".into(),
        recorded: Timestamp::from_nanos(1_700_000_000_000_000_000),
        shared_headers: "ce_type: Test\nce_id: {id}\n".into(),
        headers: "ce_time: now\n".to_owned(),
        value: format!("{{\"id\":\"{id}\"}}").into_bytes(),
        trace: String::new(),
    }
}

fn events(events: impl IntoIterator<Item = Event>) -> Commit {
    Commit {
        events: events.into_iter().collect(),
        ..Commit::default()
    }
}

fn cells<'a>(cells: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Commit {
    let cells = cells.into_iter().map(|(key, value)| Cell {
        key: key.into(),
        value: value.map(str::to_owned),
    });
    Commit {
        cells: cells.collect(),
        ..Commit::default()
    }
}

fn commit(store: &mut Store, mut commit: Commit) -> Committed {
    store.commit(&mut commit).expect("the commit is stored")
}

fn pin(store: &mut Store, topic: &str, partitions: u32) {
    let name: Arc<str> = topic.into();
    assert_eq!(
        store.pin_topic(&name, partitions).expect("the topic is pinned"),
        Some(partitions)
    );
}

/// Every row of every lane with a partition, lane by lane.
fn all_rows(options: &Options) -> Vec<(String, u32, Vec<Row>)> {
    let reader = Reader::open(&options.path).expect("the reader opens");
    let lanes = reader.lanes().expect("lanes are read");
    lanes
        .iter()
        .filter_map(|lane| {
            let rows = reader
                .lane_rows(lane.id, 0, usize::MAX, usize::MAX)
                .expect("rows are read");
            lane.partition
                .map(|partition| (lane.topic.to_string(), partition, rows))
        })
        .collect()
}

fn ids(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|row| row.id.as_str()).collect()
}

fn assert_contiguous(rows: &[Row], from: u64) {
    let sequences: Vec<u64> = rows.iter().map(|row| row.sequence).collect();
    let expected: Vec<u64> = (from..).take(rows.len()).collect();
    assert_eq!(sequences, expected);
}
