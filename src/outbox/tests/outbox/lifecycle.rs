//! Opening, refusing, and what a kill or a full disk leaves.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use floorgate_outbox::{APPLICATION_ID, Commit, Error, FORMAT_VERSION, Options, Reader, Store};
use rusqlite::Connection;

use super::{Folder, all_rows, assert_contiguous, cells, commit, event, events, open, options, pin};

#[test]
fn sqlite_has_the_write_ahead_log_fix() {
    // Before 3.51.3 a checkpoint could lose a commit to a race with another connection.
    assert!(rusqlite::version_number() >= 3_051_003, "{}", rusqlite::version());
}

#[test]
fn files_are_private_and_the_settings_are_durable_ones() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    commit(&mut store, cells([("a", Some("1"))]));
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let file = folder.path().join(format!("outbox.db{suffix}"));
        let mode = std::fs::metadata(&file)
            .expect("the file exists")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    let beside = Connection::open(&options.path).expect("the file opens");
    let pragma = |name| beside.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
    assert_eq!(pragma("journal_mode"), Ok("wal".to_owned().into()));
    assert_eq!(pragma("application_id"), Ok(i64::from(APPLICATION_ID).into()));
    assert_eq!(pragma("user_version"), Ok(i64::from(FORMAT_VERSION).into()));
    assert_eq!(pragma("page_size"), Ok(4096.into()));
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_gone() {
    let folder = Folder::new();
    let options = options(&folder);
    let (store, _) = open(&options);
    let refused = Store::open(&options).expect_err("the store is in use");
    assert!(matches!(refused, Error::Locked { .. }), "{refused}");
    assert_eq!(refused.exit_code(), 5);
    drop(store);
    open(&options);
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let folder = Folder::new();
    let text = folder.path().join("notes.txt");
    std::fs::write(
        &text,
        "a file with some notes, long enough to be taken for a page header of a database ".repeat(9),
    )
    .expect("the file is written");
    let foreign = folder.path().join("foreign.db");
    Connection::open(&foreign)
        .and_then(|db| db.execute_batch("CREATE TABLE t (a)"))
        .expect("it is made");
    for path in [text, foreign] {
        let before = std::fs::read(&path).expect("the file is read");
        let options = Options::new(&path);
        for refused in [
            Store::open(&options).expect_err("it is no store"),
            Store::open_or_salvage(&options).expect_err("it is no store"),
        ] {
            assert!(matches!(refused, Error::NotAStore { .. }), "{refused}");
            assert_eq!(refused.exit_code(), 3);
        }
        assert_eq!(std::fs::read(&path).expect("the file is read"), before);
    }
}

#[test]
fn another_format_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    let options = options(&folder);
    drop(open(&options));
    for other in [FORMAT_VERSION + 1, FORMAT_VERSION - 1] {
        Connection::open(&options.path)
            .and_then(|db| db.pragma_update(None, "user_version", other))
            .expect("the version is changed");
        let before = std::fs::read(&options.path).expect("the file is read");
        for refused in [
            Store::open(&options).expect_err("the format is another"),
            Store::open_or_salvage(&options).expect_err("the format is another"),
            Reader::open(&options.path).expect_err("the format is another"),
        ] {
            assert!(
                matches!(
                    refused,
                    Error::NewerFormat { found, known, .. } | Error::OlderFormat { found, known, .. }
                        if found == other && known == FORMAT_VERSION
                ),
                "{refused}"
            );
            assert_eq!(refused.exit_code(), 3);
        }
        assert_eq!(std::fs::read(&options.path).expect("the file is read"), before);
    }
}

#[test]
fn store_and_reader_can_live_in_their_threads() {
    fn is_send<T: Send>() {}
    is_send::<Store>();
    is_send::<Reader>();
}

#[test]
fn a_start_that_died_before_its_tables_is_repeated() {
    let folder = Folder::new();
    let options = options(&folder);
    std::fs::write(&options.path, "").expect("the empty file is written");
    let (mut store, _) = open(&options);
    commit(&mut store, cells([("a", Some("1"))]));
}

#[test]
fn state_that_contradicts_itself_is_reported_as_damage() {
    for (harm, says) in [
        (
            "UPDATE lane SET acknowledged_sequence = 9",
            "lane 1 has acknowledged 9 of 1 events, from 0 on",
        ),
        ("UPDATE topic SET id = 4", "topic 4 follows topic 0"),
        (
            "UPDATE meta SET value = 'x' WHERE key = 'store_id'",
            "its id is \"x\", which is not a UUID",
        ),
        ("UPDATE lane SET epoch = -1", "Integer -1 out of range at index 3"),
        (
            "UPDATE journal SET cells = 'cut'",
            "journal row 1 has an incomplete line 1",
        ),
    ] {
        let folder = Folder::new();
        let options = options(&folder);
        let (mut store, _) = open(&options);
        pin(&mut store, "orders", 1);
        commit(&mut store, events([event("orders", "k", "1")]));
        commit(&mut store, cells([("a", Some("1"))]));
        drop(store);
        let db = Connection::open(&options.path).expect("the file opens");
        assert!(db.execute(harm, []).expect("the harm is done") > 0);
        drop(db);
        match Store::open(&options).expect_err("the store is damaged") {
            Error::Damaged { found, .. } => assert_eq!(found, says),
            other => panic!("{other}"),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        let name = format!("outbox.db{suffix}");
        std::fs::copy(from.join(&name), to.join(&name)).expect("the file is copied");
    }
}

/// What a SIGKILL leaves is what the files hold at that moment.
#[test]
fn the_files_at_any_moment_open_to_what_was_committed_until_then() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    pin(&mut store, "orders", 3);
    let now = event("", "", "").recorded;
    for round in 1..=30_usize {
        let mut both = events((0..10).map(|n| event("orders", &format!("k{n}"), &format!("{round}-{n}"))));
        both.cells = cells([("round", Some(round.to_string().as_str()))]).cells;
        commit(&mut store, both);
        if round % 3 == 0 {
            store
                .maintain(now, std::time::Duration::ZERO)
                .expect("maintenance works");
        }
        if round == 17 {
            // With a checkpoint behind it, the log begins anew.
            Connection::open(&options.path)
                .and_then(|db| db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())))
                .expect("the checkpoint is made");
        }
        let other = Folder::new();
        copy(folder.path(), other.path());
        let copied = Options {
            path: other.path().join("outbox.db"),
            ..options.clone()
        };
        let (_store, restored) = open(&copied);
        assert_eq!(restored.cells.get("round"), Some(&round.to_string()));
        let lanes = all_rows(&copied);
        assert_eq!(
            lanes.iter().map(|(_, _, rows)| rows.len()).sum::<usize>(),
            10 * round
        );
        for (_, _, rows) in &lanes {
            assert_contiguous(rows, 1);
        }
    }
}

/// A log that was cut anywhere (its tail never reached the disk) opens to a prefix of the commits.
#[test]
fn a_cut_log_opens_to_a_prefix() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    pin(&mut store, "orders", 1);
    for round in 1..=12_usize {
        let mut both = events([event("orders", "k", &format!("{round}"))]);
        both.cells = cells([("round", Some(round.to_string().as_str()))]).cells;
        commit(&mut store, both);
    }
    let log = std::fs::read(folder.path().join("outbox.db-wal")).expect("the log is read");
    // Sizes that are no multiple of anything, so that frames and headers are torn too. The first frames are those of the tables.
    let mut seen = std::collections::BTreeSet::new();
    for length in (0..=log.len()).rev().step_by(1777) {
        let other = Folder::new();
        copy(folder.path(), other.path());
        std::fs::write(other.path().join("outbox.db-wal"), &log[..length]).expect("the log is cut");
        let copied = Options {
            path: other.path().join("outbox.db"),
            ..options.clone()
        };
        let (store, restored) = open(&copied);
        let round = restored
            .cells
            .get("round")
            .map_or(0, |round| round.parse().expect("a number"));
        let stored = store.lanes().first().map_or(0, |lane| lane.last_sequence);
        assert_eq!(stored, round, "events and cells are of one moment");
        if let Some((_, _, rows)) = all_rows(&copied).first() {
            assert_eq!(rows.len() as u64, round);
            assert_contiguous(rows, 1);
        }
        seen.insert(round);
    }
    assert_eq!(
        seen.into_iter().collect::<Vec<u64>>(),
        (0..=12).collect::<Vec<u64>>()
    );
}

/// Fills the store until it refuses, makes space by `make_space`, and goes on.
pub(super) fn fill_and_recover(options: &Options, store: &mut Store, make_space: impl FnOnce(&mut Store)) {
    pin(store, "orders", 2);
    let mut stored = 0_usize;
    let next = |stored: usize| {
        let mut both = events((0..20).map(|n| floorgate_outbox::Event {
            value: vec![b'v'; 2000],
            ..event("orders", &format!("k{n}"), &format!("{stored}-{n}"))
        }));
        both.cells = cells([("stored", Some((stored + 1).to_string().as_str()))]).cells;
        both
    };
    let (mut refused, error) = loop {
        let mut batch = next(stored);
        match store.commit(&mut batch) {
            Ok(_) => stored += 1,
            Err(error) => break (batch, error),
        }
        assert!(stored < 100_000, "the space is bounded");
    };
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
    assert!(error.can_be_retried());
    assert!(stored > 3);
    assert_eq!(
        (refused.events.len(), refused.cells.len()),
        (20, 1),
        "the commit is as it was"
    );
    let again = store.commit(&mut refused).expect_err("there is still no space");
    assert!(matches!(again, Error::Full { .. }), "{again:?}");
    let rows = |options: &Options| {
        all_rows(options)
            .iter()
            .map(|(_, _, rows)| rows.len())
            .sum::<usize>()
    };
    assert_eq!(rows(options), 20 * stored, "nothing half");

    make_space(store);
    assert_eq!(commit(store, std::mem::take(&mut refused)).rows.len(), 20);
    commit(store, next(stored + 1));
    assert_eq!(rows(options), 20 * (stored + 2));
    for (_, _, rows) in all_rows(options) {
        assert_contiguous(&rows, 1);
    }
    assert_eq!(refused.events, Commit::default().events);
}

#[test]
fn a_full_database_refuses_whole_commits_and_takes_them_later() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    let limit = |store: &mut Store, bytes| store.set_max_bytes(bytes).expect("the limit is set");
    limit(&mut store, Some(1 << 20));
    fill_and_recover(&options, &mut store, |store| limit(store, None));
}
