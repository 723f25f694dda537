//! Damaged stores: whatever byte is wrong, a start goes on with what can be read, and says what it could not.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::iter;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use floorgate_outbox::{Acknowledged, Burial, Commit, Error, Options, Reader, Renewal, Salvage, Store};
use floorgate_sample::Timestamp;
use rusqlite::Connection;

use super::{Folder, all_rows, assert_contiguous, cells, commit, event, events, open, options, pin};

const EVENTS: u64 = 600;
const DELIVERED: u64 = 200;
/// No page has more events.
const A_PAGE: u64 = 40;

/// A store with many pages of everything, and the file as it is when nobody has it open.
fn whole(folder: &Folder) -> (Options, HashMap<String, floorgate_outbox::Row>) {
    let options = options(folder);
    let (mut store, _) = open(&options);
    pin(&mut store, "orders", 1);
    let all = (1..=EVENTS).map(|n| event("orders", "k", &n.to_string()));
    let rows = commit(&mut store, events(all)).rows;
    let acknowledged = vec![Acknowledged {
        lane: rows[0].lane,
        sequence: DELIVERED,
        offset: Some(7),
    }];
    let acknowledged = Commit {
        acknowledged,
        ..Commit::default()
    };
    commit(&mut store, acknowledged);
    let names: Vec<String> = (0..300).map(|n| format!("tag:{n}")).collect();
    commit(
        &mut store,
        cells(names.iter().map(|name| (name.as_str(), Some("{\"v\":1}")))),
    );
    commit(&mut store, events([event("unknown", "k", "waits")]));
    drop(store);
    let rows = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
    (options, rows)
}

/// The files that were moved aside.
fn aside(path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().expect("it has one");
    let files = fs::read_dir(folder)
        .expect("it is read")
        .map(|file| file.expect("it is read").path());
    files
        .filter(|file| file.to_string_lossy().contains("outbox.db.damaged-"))
        .collect()
}

#[test]
fn what_can_be_read_goes_on_in_a_new_epoch() {
    let folder = Folder::new();
    let (options, rows) = whole(&folder);
    let (store, _) = open(&options);
    let before = store.lanes()[0].clone();
    drop(store);
    // One event page in the middle of what waits, as a bad sector leaves it.
    let database = Connection::open(&options.path).expect("it opens");
    let page: i64 = database
        .query_row(
            "SELECT pageno FROM dbstat WHERE name = 'event' AND pagetype = 'leaf' ORDER BY pageno DESC LIMIT 1 OFFSET 8",
            [],
            |row| row.get(0),
        )
        .expect("there are pages");
    // The clock was far ahead once.
    let ahead: u32 = 4_000_000_000;
    database
        .execute("UPDATE lane SET epoch = ?1", [ahead])
        .expect("it is written");
    drop(database);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&options.path)
        .expect("it opens");
    let at = (page.cast_unsigned() - 1) * u64::from(options.page_size);
    file.write_all_at(&[0xff; 512], at).expect("it is written");
    drop(file);

    // It shows only when the page is read; whoever notices that says so for the next start.
    let (mut store, _, salvage) = Store::open_or_salvage(&options).expect("it opens");
    assert_eq!(salvage, None);
    let reader = Reader::open(&options.path).expect("it opens");
    let problem = reader
        .lane_rows(before.id, 0, 10_000, usize::MAX)
        .expect_err("it is damaged");
    assert!(matches!(problem, Error::Damaged { .. }), "{problem:?}");
    store.condemn(&problem);
    assert!(matches!(
        store.renew(&renewal(&before)),
        Err(Error::Failed { .. })
    ));
    drop((store, reader));

    let (mut store, restored, salvage) = Store::open_or_salvage(&options).expect("it opens");
    let salvage = salvage.expect("it was damaged");
    assert!(salvage.lost > 0 && salvage.lost < 50, "{salvage:?}");
    assert_eq!(salvage.events, EVENTS - DELIVERED - salvage.lost + 1);
    assert_eq!((salvage.cells, salvage.state_is_incomplete), (300, false));
    assert_eq!(restored.cells.len(), 300);
    assert!(salvage.aside.exists() && aside(&options.path).contains(&salvage.aside));
    let lane = store.lanes()[0].clone();
    assert!(lane.epoch > ahead);
    assert!(
        restored.epoch > ahead,
        "what begins anew does so above what may be on the log"
    );
    assert_eq!((lane.acknowledged_sequence, lane.base), (0, 0));
    assert_eq!(
        lane.doubt, lane.last_sequence,
        "an earlier epoch may have sent them"
    );
    let (_, _, saved) = all_rows(&options).remove(0);
    assert_contiguous(&saved, 1);
    let mut last = DELIVERED;
    for row in &saved {
        let number: u64 = row.id.parse().expect("a number");
        assert!(number > last, "they are in order");
        last = number;
        let was = &rows[&row.id];
        assert_eq!(
            (&row.value, &row.headers, &row.key),
            (&was.value, &was.headers, &was.key)
        );
    }
    assert_eq!(last, EVENTS);
    // The one that waits for a partition count still does.
    pin(&mut store, "unknown", 1);
    store.move_waiting(10).expect("it moves");
    store.salvage_is_told().expect("it is noted");
    drop(store);
    let (_, _, salvage) = Store::open_or_salvage(&options).expect("it opens");
    assert_eq!(salvage, None, "once is enough");
}

fn renewal(lane: &floorgate_outbox::Lane) -> Renewal {
    Renewal {
        lane: lane.id,
        delivered: 0,
        doubt: 0,
        seen_epoch: 0,
        again: false,
        log_end: None,
    }
}

#[test]
fn dead_letters_are_taken_over() {
    let folder = Folder::new();
    let (options, _) = whole(&folder);
    let (mut store, _) = open(&options);
    let burials = vec![Burial {
        lane: store.lanes()[0].id,
        sequence: DELIVERED + 1,
        refused: Timestamp::from_nanos(1),
        reason: "too large".to_owned(),
        headers: "stub: yes".to_owned(),
        value: Vec::new(),
    }];
    commit(
        &mut store,
        Commit {
            burials,
            ..Commit::default()
        },
    );
    let letters = Reader::open(&options.path)
        .and_then(|reader| reader.dead_letters(0, 9))
        .expect("they are read");
    store.condemn(&Error::Damaged {
        path: options.path.clone(),
        found: "something".to_owned(),
    });
    drop(store);
    let (_, _, salvage) = Store::open_or_salvage(&options).expect("it opens");
    let salvage = salvage.expect("it was noted");
    assert_eq!(
        (salvage.reason.as_str(), salvage.dead_letters, salvage.lost),
        ("something", 1, 0)
    );
    let reader = Reader::open(&options.path).expect("it opens");
    assert_eq!(reader.dead_letters(0, 9).expect("they are read"), letters);
}

#[test]
fn a_move_that_was_interrupted_is_ended() {
    let folder = Folder::new();
    let (options, _) = whole(&folder);
    // The new store is there, the old one is half away.
    let salvaged = options.path.with_file_name("outbox.db.salvaged-20260504T060000Z");
    fs::copy(&options.path, &salvaged).expect("it is copied");
    let told = "INSERT INTO meta VALUES ('salvage', '20260504T060000Z 400 7 2 300 true 1 a bad sector')";
    Connection::open(&salvaged)
        .and_then(|database| database.execute(told, []))
        .expect("it is written");
    fs::write(options.path.with_file_name("outbox.db.damaged"), "note").expect("it is written");
    let (store, _, salvage) = Store::open_or_salvage(&options).expect("it opens");
    let expected = Salvage {
        reason: "a bad sector".to_owned(),
        aside: options.path.with_file_name("outbox.db.damaged-20260504T060000Z"),
        events: 400,
        lost: 7,
        missing: 2,
        cells: 300,
        state_is_incomplete: true,
        dead_letters: 1,
    };
    assert_eq!(salvage.as_ref(), Some(&expected));
    assert!(expected.aside.exists());
    assert_eq!(store.lanes()[0].last_sequence, EVENTS);
    assert!(!salvaged.exists());
    drop(store);
    // Whoever died before that was told and followed by deeds has not told it.
    let (mut store, _, salvage) = Store::open_or_salvage(&options).expect("it opens");
    assert_eq!(salvage, Some(expected));
    store.salvage_is_told().expect("it is noted");
    drop(store);
    let (_, _, salvage) = Store::open_or_salvage(&options).expect("it opens");
    assert_eq!(salvage, None);
}

/// The pages of a store by what is on them: which table or index, and whether they are leaves, inner pages, the rest of something long, or free.
fn page_classes(path: &Path) -> BTreeMap<String, Vec<u64>> {
    let database = Connection::open(path).expect("it opens");
    let mut classes: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut statement = database
        .prepare("SELECT name || ' ' || pagetype, pageno FROM dbstat")
        .expect("it can be asked");
    let pages = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)));
    let mut used = Vec::new();
    for page in pages.expect("they are counted") {
        let (class, page) = page.expect("it is read");
        used.push(page);
        classes.entry(class).or_default().push(page.cast_unsigned());
    }
    let count: i64 = database
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .expect("they are counted");
    let free = (1..=count).filter(|page| !used.contains(page));
    classes.insert("free".to_owned(), free.map(i64::cast_unsigned).collect());
    classes
}

/// Opens a store with a wrong byte and reads all of it; who reads on finds the rest, and the next start salvages.
fn open_and_read(options: &Options, at: usize) -> Option<Salvage> {
    let opened = Store::open_or_salvage(options);
    let (mut store, _, salvage) = opened.unwrap_or_else(|error| panic!("byte {at}: {error:?}"));
    let read = Reader::open(&options.path).and_then(|reader| {
        let lanes = reader.lanes()?;
        lanes
            .iter()
            .try_for_each(|lane| reader.lane_rows(lane.id, 0, 10_000, usize::MAX).map(drop))
    });
    let Err(error @ Error::Damaged { .. }) = &read else {
        return salvage;
    };
    store.condemn(error);
    drop(store);
    let again = Store::open_or_salvage(options);
    again.unwrap_or_else(|error| panic!("byte {at}: {error:?}")).2
}

/// The ids that it has, and how many events have one that was never stored.
fn ids_of(
    options: &Options,
    rows: &HashMap<String, floorgate_outbox::Row>,
    at: usize,
) -> (HashSet<String>, u64) {
    let (mut saved, mut renamed) = (HashSet::new(), 0);
    for row in all_rows(options).into_iter().flat_map(|(.., rows)| rows) {
        // SQLite does not notice a byte that is wrong within a text: that is not damage it can tell.
        let Some(was) = rows.get(&row.id) else {
            renamed += 1;
            continue;
        };
        assert_eq!(row.key.len(), was.key.len(), "byte {at}");
        saved.insert(row.id);
    }
    (saved, renamed)
}

/// Whatever byte of whatever kind of page is wrong: the start goes on, and no event is given that was not stored.
#[test]
fn a_wrong_byte_anywhere_ends_no_start() {
    let folder = Folder::new();
    let (options, rows) = whole(&folder);
    let keep_nothing = Options {
        keep: Duration::ZERO,
        ..options.clone()
    };
    let (mut store, _) = open(&keep_nothing);
    let mut long = event("orders", "k", "long");
    long.value = vec![b'x'; 40_000];
    commit(&mut store, events([long]));
    // Enough that they go from the journal into their table.
    let names: Vec<String> = (0..2_000).map(|n| format!("tag:hall/{n}")).collect();
    for _ in 0..40 {
        let values = names.iter().map(|name| (name.as_str(), Some("{\"v\":1}")));
        commit(&mut store, cells(values));
    }
    let mut pruned = 0;
    loop {
        let done = store.maintain(Timestamp::from_nanos(i64::MAX), Duration::from_secs(5));
        let done = done.expect("it is cleaned up");
        pruned += done.pruned;
        if !done.more {
            break;
        }
    }
    assert!(pruned > 100, "{pruned} are deleted");
    commit(&mut store, cells([("tag:last", Some("{}"))]));
    drop(store);
    let classes = page_classes(&options.path);
    for class in [
        "event leaf",
        "event internal",
        "event overflow",
        "cell leaf",
        "cell internal",
        "lane leaf",
        "sqlite_autoindex_lane_1 leaf",
        "journal leaf",
        "meta leaf",
        "topic leaf",
        "shared leaf",
        "sqlite_schema leaf",
        "free",
    ] {
        let pages = classes.get(class).map_or(0, Vec::len);
        assert!(pages > 0, "there is no page of {class} in {classes:?}");
    }
    let good = fs::read(&options.path).expect("it is read");
    let page_size = u64::from(options.page_size);
    let mut random: u64 = 7;
    let mut next = move || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    let mut salvaged = 0;
    let to_send: HashSet<String> = (DELIVERED + 1..=EVENTS).map(|id| id.to_string()).collect();
    let of_each = classes
        .iter()
        .flat_map(|(class, pages)| iter::repeat_n((class, pages), 20));
    for (class, pages) in of_each {
        let page = pages[usize::try_from(next()).expect("small") % pages.len()];
        // Of the header each byte is tried by itself.
        let first = if page == 1 { 100 } else { 0 };
        let at = (page - 1) * page_size + first + next() % (page_size - first);
        let at = usize::try_from(at).expect("small");
        for file in fs::read_dir(folder.path()).expect("it is read") {
            fs::remove_file(file.expect("it is read").path()).expect("it is removed");
        }
        let mut bad = good.clone();
        bad[at] ^= 1 << (next() % 8);
        fs::write(&options.path, &bad).expect("it is written");
        let salvage = open_and_read(&options, at);
        salvaged += u32::from(salvage.is_some());
        let (saved, renamed) = ids_of(&options, &rows, at);
        let gone = to_send.difference(&saved).count() as u64;
        let told = salvage
            .as_ref()
            .map_or(0, |salvage| salvage.lost + salvage.missing);
        // What a lane says of itself decides what there is to tell; the others only what can be read of it.
        if !class.contains("lane") {
            assert!(
                gone <= told + renamed,
                "byte {at} of {class}: {gone} are gone, {told} are told"
            );
        }
        if class == "event leaf"
            || !class.contains("event") && !class.contains("shared") && !class.contains("lane")
        {
            assert!(
                gone <= A_PAGE,
                "byte {at} of {class}: {gone} are gone, {salvage:?}"
            );
        }
    }
    assert!(salvaged > 10, "{salvaged} of the places made a difference");
}

/// Whatever stands in the header, or in all of the first sectors, there was a store: what it holds goes on.
#[test]
fn a_wrong_byte_in_the_header_loses_nothing() {
    let folder = Folder::new();
    let (options, _) = whole(&folder);
    let good = fs::read(&options.path).expect("it is read");
    let lock = folder.path().join("outbox.db.lock");
    let note = fs::read(&lock).expect("it is read");
    let flipped = (0..100).map(|at| {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        (format!("byte {at}"), bad)
    });
    let zeroed = [16, 100, 512, 4096].map(|length| {
        let mut bad = good.clone();
        bad[..length].fill(0);
        (format!("{length} bytes"), bad)
    });
    let mut salvaged = 0;
    for (what, bad) in flipped.chain(zeroed) {
        for file in fs::read_dir(folder.path()).expect("it is read") {
            fs::remove_file(file.expect("it is read").path()).expect("it is removed");
        }
        fs::write(&lock, &note).expect("it is written");
        fs::write(&options.path, &bad).expect("it is written");
        let opened = Store::open_or_salvage(&options);
        let (mut store, restored, salvage) = opened.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!(restored.cells.len(), 300, "{what}");
        if let Some(salvage) = salvage {
            salvaged += 1;
            let kept = fs::read(&salvage.aside).expect("it is there");
            assert!(kept == bad, "{what}: what is moved aside is as it was");
            let found = (salvage.events, salvage.lost, salvage.state_is_incomplete);
            assert_eq!(found, (EVENTS - DELIVERED + 1, 0, false), "{what}");
        }
        pin(&mut store, "unknown", 1);
        store.move_waiting(10).expect("it moves");
        commit(&mut store, events([event("orders", "k", "next")]));
        drop(store);
        let rows: Vec<_> = all_rows(&options).into_iter().map(|(.., rows)| rows).collect();
        let waiting: Vec<&str> = rows.iter().flatten().map(|row| row.id.as_str()).collect();
        for id in (DELIVERED + 1..=EVENTS).map(|id| id.to_string()) {
            assert!(waiting.contains(&id.as_str()), "{what}: event {id}");
        }
        assert!(waiting.contains(&"waits") && waiting.contains(&"next"), "{what}");
    }
    assert!(salvaged > 30, "{salvaged} made a difference");
}

/// A store that was emptied is no new one; one that was taken away is.
#[test]
fn an_emptied_store_raises_the_alarm() {
    let folder = Folder::new();
    let (options, _) = whole(&folder);
    fs::write(&options.path, "").expect("it is written");
    let (_, _, salvage) = Store::open_or_salvage(&options).expect("it opens");
    assert_eq!(salvage.expect("it was damaged").reason, "nothing is in it");
    fs::remove_file(&options.path).expect("it is removed");
    let (_, restored, salvage) = Store::open_or_salvage(&options).expect("it opens");
    assert_eq!((restored.lanes.len(), salvage), (0, None));
}

/// Who takes the file away and leaves its log does not start anew: what is in the log goes on.
#[test]
fn a_log_without_its_store_raises_the_alarm() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    pin(&mut store, "orders", 1);
    commit(
        &mut store,
        events((1..=9).map(|n| event("orders", "k", &n.to_string()))),
    );
    let log = options.path.with_file_name("outbox.db-wal");
    let kept = fs::read(&log).expect("it is read");
    drop(store);
    fs::write(&log, &kept).expect("it is put back");
    fs::remove_file(&options.path).expect("it is removed");
    let (_, _, salvage) = Store::open_or_salvage(&options).expect("it opens");
    let salvage = salvage.expect("it is gone");
    assert!(salvage.reason.contains("it is gone"), "{}", salvage.reason);
    assert_eq!((salvage.events, salvage.lost, salvage.missing), (9, 0, 0));
    let aside = salvage.aside.to_string_lossy().into_owned() + "-wal";
    assert!(fs::read(aside).expect("it is there") == kept);
}

/// A backup by `VACUUM INTO` has no write-ahead log, and says so in its header.
#[test]
fn a_backup_in_the_place_of_a_store_is_no_damage() {
    let folder = Folder::new();
    let (options, _) = whole(&folder);
    let backup = folder.path().join("backup.db");
    Connection::open(&options.path)
        .and_then(|store| store.execute("VACUUM INTO ?1", [backup.to_string_lossy()]))
        .expect("it is copied");
    fs::rename(&backup, &options.path).expect("it is put back");
    let (_, restored, salvage) = Store::open_or_salvage(&options).expect("it opens");
    assert_eq!((restored.cells.len(), salvage), (300, None));
}
