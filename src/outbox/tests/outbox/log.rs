//! The write-ahead log, and an older copy of the store: what had been stored and cannot be found is noticed.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use floorgate_outbox::{Acknowledged, Options, Salvage, Store};
use floorgate_sample::Timestamp;

use super::{Folder, all_rows, cells, commit, event, events, open, options, pin};

/// What a killed process leaves.
const FILES: [&str; 3] = ["outbox.db", "outbox.db-wal", "outbox.db.lock"];
/// The log's header, and that of each page in it.
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const COMMITS: u64 = 8;

fn copy(from: &Path, to: &Path, files: &[&str]) {
    for file in files {
        fs::copy(from.join(file), to.join(file)).expect("it is copied");
    }
}

/// Commits of an event and a cell each; the first two are acknowledged.
fn fill(store: &mut Store, commits: std::ops::RangeInclusive<u64>) {
    for number in commits {
        let mut both = events([event("orders", "k", &number.to_string())]);
        both.cells = cells([("last", Some(number.to_string().as_str()))]).cells;
        if number == 3 {
            both.acknowledged.push(Acknowledged {
                lane: store.lanes()[0].id,
                sequence: 2,
                offset: Some(1),
            });
        }
        commit(store, both);
    }
}

/// The ids of all events that are to be sent.
fn to_send(options: &Options) -> Vec<u64> {
    let lanes = all_rows(options);
    let rows = lanes.iter().flat_map(|(.., rows)| rows);
    rows.map(|row| row.id.parse().expect("a number")).collect()
}

/// Opens a store, and takes note of what it tells.
fn salvage_of(options: &Options) -> (Store, Option<Salvage>) {
    let (mut store, _, salvage) = Store::open_or_salvage(options).expect("it opens");
    store.salvage_is_told().expect("it is noted");
    (store, salvage)
}

#[test]
fn a_wrong_bit_in_any_page_of_the_log_is_noticed() {
    let folder = Folder::new();
    let of_folder = options(&folder);
    let (mut store, _) = open(&of_folder);
    pin(&mut store, "orders", 1);
    // What is in the database itself stays.
    fill(&mut store, 1..=3);
    store.finish_checkpoint().expect("the log is copied");
    fill(&mut store, 4..=COMMITS);
    let epoch = store.lanes()[0].epoch;
    let log = fs::read(folder.path().join("outbox.db-wal")).expect("it is read");
    let page = FRAME_HEADER + 4096;
    // A log that was begun anew is shorter than it was; its end is of the one before.
    let salt = &log[16..24];
    let frames: Vec<usize> = (LOG_HEADER..)
        .step_by(page)
        .take_while(|at| log.get(at + 8..at + 16) == Some(salt))
        .collect();
    assert!(frames.len() >= 10, "{} pages", frames.len());
    let places = frames
        .iter()
        .enumerate()
        .flat_map(|(number, at)| [at + number % FRAME_HEADER, at + FRAME_HEADER + 97 * number % 4096]);
    let mut kept = HashSet::new();
    for at in places.chain(0..LOG_HEADER) {
        let damaged = Folder::new();
        copy(folder.path(), damaged.path(), &FILES);
        let mut bad = log.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(damaged.path().join("outbox.db-wal"), &bad).expect("it is written");
        let options = options(&damaged);
        let (store, salvage) = salvage_of(&options);
        let salvage = salvage.unwrap_or_else(|| panic!("byte {at} is noticed"));
        assert!(salvage.state_is_incomplete, "byte {at}: {salvage:?}");
        let log_aside = salvage.aside.with_extension(
            salvage
                .aside
                .extension()
                .map_or(String::new(), |end| format!("{}-wal", end.to_string_lossy())),
        );
        assert!(
            fs::read(log_aside).expect("it is there") == bad,
            "byte {at}: it is kept as it was"
        );
        assert!(store.lanes()[0].epoch > epoch, "byte {at}");
        drop(store);
        let found = to_send(&options);
        let expected: Vec<u64> = (3..).take(found.len()).collect();
        assert_eq!(found, expected, "byte {at}: all of what is before it");
        let told = found.len() as u64 + salvage.lost + salvage.missing;
        assert_eq!(
            told,
            COMMITS - 2,
            "byte {at}: each is saved or counted, {salvage:?}"
        );
        kept.insert(found.len());
        let (_, again) = salvage_of(&options);
        assert_eq!(again, None, "byte {at}: once is enough");
    }
    assert!(kept.len() >= 4, "more or less of it is hidden: {kept:?}");
}

#[test]
fn a_store_that_was_killed_is_whole() {
    let folder = Folder::new();
    let (mut store, _) = open(&options(&folder));
    pin(&mut store, "orders", 1);
    let lock = fs::read(folder.path().join("outbox.db.lock")).expect("it is read");
    for number in 1..=COMMITS {
        fill(&mut store, number..=number);
        let killed = Folder::new();
        copy(folder.path(), killed.path(), &FILES);
        let (_, salvage) = salvage_of(&options(&killed));
        assert_eq!(salvage, None);
        // The note itself is not synced.
        let cut = Folder::new();
        copy(folder.path(), cut.path(), &FILES);
        fs::write(cut.path().join("outbox.db.lock"), &lock).expect("it is written");
        let (_, salvage) = salvage_of(&options(&cut));
        assert_eq!(salvage, None);
    }
}

#[test]
fn an_older_copy_in_the_place_of_the_store_is_noticed() {
    let folder = Folder::new();
    let of_folder = options(&folder);
    let (mut store, _) = open(&of_folder);
    pin(&mut store, "orders", 1);
    fill(&mut store, 1..=4);
    let epoch = store.lanes()[0].epoch;
    drop(store);
    let backup = Folder::new();
    copy(folder.path(), backup.path(), &FILES[..1]);
    let (mut store, _) = open(&of_folder);
    fill(&mut store, 5..=COMMITS);
    drop(store);
    copy(backup.path(), folder.path(), &FILES[..1]);
    let (store, salvage) = salvage_of(&of_folder);
    let salvage = salvage.expect("it is older");
    assert!(salvage.reason.contains("its last 4 events"), "{}", salvage.reason);
    assert_eq!((salvage.events, salvage.lost, salvage.missing), (2, 0, 4));
    assert!(salvage.state_is_incomplete);
    assert!(store.lanes()[0].epoch > epoch);
    assert_eq!(to_send(&of_folder), [3, 4]);
    drop(store);

    // One that was only opened and closed since then has given its incarnation to ids.
    let (store, _) = open(&of_folder);
    drop(store);
    copy(folder.path(), backup.path(), &FILES[..1]);
    let (store, _) = open(&of_folder);
    drop(store);
    copy(backup.path(), folder.path(), &FILES[..1]);
    let (_, salvage) = salvage_of(&of_folder);
    let salvage = salvage.expect("it is older");
    assert!(
        salvage.reason.contains("the last time that it was opened"),
        "{}",
        salvage.reason
    );
    assert_eq!((salvage.events, salvage.missing), (2, 0));
}

/// Another store in its place, or none, is no older copy of it.
#[test]
fn the_note_of_another_store_says_nothing() {
    let folder = Folder::new();
    let of_folder = options(&folder);
    let (mut store, _) = open(&of_folder);
    pin(&mut store, "orders", 1);
    fill(&mut store, 1..=COMMITS);
    drop(store);
    let other = Folder::new();
    let (mut store, _) = open(&options(&other));
    pin(&mut store, "orders", 1);
    fill(&mut store, 1..=1);
    drop(store);
    copy(other.path(), folder.path(), &FILES[..1]);
    let (store, salvage) = salvage_of(&of_folder);
    assert_eq!((store.lanes()[0].last_sequence, salvage), (1, None));
    drop(store);
    fs::remove_file(&of_folder.path).expect("it is removed");
    let (store, salvage) = salvage_of(&of_folder);
    assert_eq!((store.lanes().len(), salvage), (0, None));
}

/// Cells that went from the journal to their table are counted on, however much of the journal is deleted.
#[test]
fn what_maintenance_deletes_is_not_missing() {
    let folder = Folder::new();
    let of_folder = options(&folder);
    let names: Vec<String> = (0..2_000).map(|n| format!("tag:hall/{n}")).collect();
    for round in 0..3 {
        let (mut store, salvage) = salvage_of(&of_folder);
        assert_eq!(salvage, None, "round {round}");
        for _ in 0..40 {
            commit(
                &mut store,
                cells(names.iter().map(|name| (name.as_str(), Some("{\"v\":1}")))),
            );
        }
        let mut steps = 0;
        loop {
            let done = store.maintain(Timestamp::from_nanos(i64::MAX), Duration::from_secs(5));
            let done = done.expect("it is cleaned up");
            steps += done.cell_steps;
            if !done.more {
                break;
            }
        }
        assert!(steps > 1, "{steps} steps");
    }
}
