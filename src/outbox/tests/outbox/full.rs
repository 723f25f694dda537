//! A full disk, and a store that has filled it itself.

use std::path::{Path, PathBuf};

use floorgate_outbox::{Acknowledged, Commit, Error, Options, Store};

use super::lifecycle::fill_and_recover;
use super::{Folder, all_rows, assert_contiguous, cells, event, events, open, options, pin};

/// A small disk of its own.
struct Disk {
    folder: PathBuf,
    // Deleted after the disk is gone from it.
    _around: Folder,
}

impl Disk {
    /// `None` where the test may not mount one.
    fn mount(mebibytes: u32) -> Option<Self> {
        let around = Folder::new();
        let folder = around.path().join("small");
        std::fs::create_dir(&folder).expect("the mount point is made");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"])
            .arg(&folder)
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            assert!(
                std::env::var_os("TESTS_COMPLETE").is_none(),
                "this user may not mount a tmpfs"
            );
            eprintln!("not tested: this user may not mount a tmpfs");
            return None;
        }
        Some(Self {
            folder,
            _around: around,
        })
    }

    fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, as a failing test may still have files open there.
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.folder)
            .status();
    }
}

#[test]
fn a_full_disk_refuses_whole_commits_and_takes_them_later() {
    let Some(disk) = Disk::mount(4) else { return };
    let options = Options {
        path: disk.path().join("outbox.db"),
        page_size: 4096,
        reserve_bytes: 0,
        ..Options::new("")
    };
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 2 << 20]).expect("the ballast is written");
    let (mut store, _) = open(&options);
    fill_and_recover(&options, &mut store, |_| {
        std::fs::remove_file(&ballast).expect("the ballast is removed");
    });
    drop(store);
    let (_store, restored) = open(&options);
    assert!(restored.cells.contains_key("stored"));
}

/// A commit that is about 50 KB of events.
fn next(stored: usize) -> Commit {
    let mut both = events((0..20).map(|n| floorgate_outbox::Event {
        value: vec![b'v'; 2000],
        ..event("orders", "k", &format!("{stored}-{n}"))
    }));
    both.cells = cells([("stored", Some((stored + 1).to_string().as_str()))]).cells;
    both
}

/// Fills the store while nothing is delivered; then everything is delivered, and the store helps itself.
fn deliver_and_recover(options: &Options, store: &mut Store) {
    pin(store, "orders", 1);
    let mut stored = 0;
    let mut refused = loop {
        let mut batch = next(stored);
        match store.commit(&mut batch) {
            Ok(_) => stored += 1,
            Err(error) => {
                assert!(matches!(error, Error::Full { .. }), "{error:?}");
                break batch;
            }
        }
        assert!(stored < 10_000, "the space is bounded");
        // The log is copied as long as that is possible.
        if store.log_is_long().expect("it is measured") && store.finish_checkpoint().is_err() {
            break next(stored);
        }
    };
    let lane = store.lanes().last().expect("there is a lane").clone();
    assert_eq!(lane.last_sequence, 20 * stored as u64);
    for _ in 0..20 {
        let deleted = store.make_room(&mut refused);
        assert_eq!(deleted.expect("it may be asked for"), 0, "nothing is delivered");
        let again = store.commit(&mut refused).expect_err("there is still no space");
        assert!(matches!(again, Error::Full { .. }), "{again:?}");
    }
    // With the disk full, not even this could be stored beside events.
    refused.acknowledged.push(Acknowledged {
        lane: lane.id,
        sequence: lane.last_sequence,
        offset: None,
    });
    let deleted = store.make_room(&mut refused).expect("it makes room");
    assert!(deleted > 0);
    assert!(refused.acknowledged.is_empty(), "the deliveries are stored");
    assert_eq!(store.lanes().last().map(floorgate_outbox::Lane::depth), Some(0));
    store
        .commit(&mut refused)
        .expect("there is room for what was refused");
    // From now on it lives in what it deletes, for as long as it takes.
    for more in 1..2000 {
        let mut batch = next(stored + more);
        let lane = store.lanes().last().expect("there is a lane").clone();
        batch.acknowledged.push(Acknowledged {
            lane: lane.id,
            sequence: lane.last_sequence,
            offset: None,
        });
        if store.commit(&mut batch).is_err() {
            store.make_room(&mut batch).expect("it makes room");
            store.commit(&mut batch).expect("there is room again");
        }
        if store.log_is_long().expect("it is measured") {
            store.finish_checkpoint().expect("the log is copied");
        }
    }
    let (_, _, rows) = all_rows(options).pop().expect("there is a lane");
    assert_contiguous(&rows, rows.first().map_or(0, |row| row.sequence));
    assert_eq!(
        rows.last().map(|row| row.sequence),
        Some(20 * (stored as u64 + 2000))
    );
}

#[test]
fn a_store_that_has_reached_its_limit_recovers_once_events_are_delivered() {
    let folder = Folder::new();
    let options = options(&folder);
    let (mut store, _) = open(&options);
    let free = store.stats().expect("it is measured");
    store.set_max_bytes(Some(2 << 20)).expect("the limit is set");
    let limited = store.stats().expect("it is measured");
    assert_eq!(limited.room_bytes, (2 << 20) - limited.used_bytes);
    assert!(
        free.room_bytes > limited.room_bytes,
        "the disk has more: {free:?}"
    );
    deliver_and_recover(&options, &mut store);
}

/// The log fills the last block: it can neither grow nor be copied into a database that would have to grow.
#[test]
fn a_disk_that_the_store_has_filled_is_left_by_its_reserve() {
    let Some(disk) = Disk::mount(48) else { return };
    let options = Options {
        path: disk.path().join("outbox.db"),
        page_size: 4096,
        reserve_bytes: 16 << 20,
        ..Options::new("")
    };
    let (mut store, _) = open(&options);
    let reserve = disk.path().join("outbox.db.reserve");
    let length = |path: &Path| std::fs::metadata(path).map(|file| file.len()).ok();
    assert_eq!(length(&reserve), Some(16 << 20));
    // As when copying found no space first.
    let _checkpointer = store.checkpointer().expect("it opens");
    deliver_and_recover(&options, &mut store);
    assert_eq!(length(&reserve), None, "it was given away");
    drop(store);
    drop(open(&options));
}
