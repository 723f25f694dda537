//! What a power cut leaves: what was synced, and of what was written after that any part, torn and in any order.
//!
//! The test runs itself as a process whose writes to the store are recorded, and then builds the files as they may be found after a cut
//! at each moment of the recording.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use floorgate_outbox::{Acknowledged, Burial, Options, Reader, Renewal, Store};

use super::{Folder, all_rows, assert_contiguous, cells, commit, event, events, options, pin};

/// Set for the process that is recorded: the store's folder.
const RECORDED: &str = "FLOORGATE_TEST_RECORDED";
const ROUNDS: u64 = 160;
/// Every so many rounds an event is set aside.
const BURIAL: u64 = 13;
/// Every so many rounds the lane begins a new epoch.
const RENEWAL: u64 = 17;
/// How many rounds later events are delivered.
const DELIVERY: u64 = 20;
/// After this round it is known how many partitions the topic has whose events waited until then.
const PINNED: u64 = 60;
/// A disk writes a sector whole or not at all.
const SECTOR: usize = 512;

/// What is left in the place of an event that is set aside.
const STUB: &[u8] = b"stub";

/// Events of a round: between 1 and 5.
fn count(round: u64) -> u64 {
    round * 7 % 5 + 1
}

fn total(rounds: u64) -> u64 {
    (1..=rounds).map(count).sum()
}

/// Commits, acknowledgements, burials, new epochs, moves, snapshots, pruning, checkpoints and a close, in rounds; the number of each commit that
/// returned is written down.
fn work(folder: &Path) {
    let options = Options {
        page_size: 4096,
        reserve_bytes: 0,
        keep: std::time::Duration::ZERO,
        ..Options::new(folder.join("outbox.db"))
    };
    let (mut store, _) = Store::open(&options).expect("the store opens");
    pin(&mut store, "orders", 1);
    let now = event("", "", "").recorded;
    let mut beside = None;
    for round in 1..=ROUNDS {
        if round == ROUNDS / 2 {
            // The last one to close copies the log and deletes it.
            drop(store);
            (store, _) = Store::open(&options).expect("the store opens");
            beside = Some(store.checkpointer().expect("it opens"));
        }
        let mut next = events((0..count(round)).map(|n| event("orders", "k", &format!("{round}-{n}"))));
        let text = round.to_string();
        next.cells = cells([
            ("round", Some(text.as_str())),
            (&format!("k{}", round % 50), Some(text.as_str())),
        ])
        .cells;
        next.events.push(event("moved", "k", &round.to_string()));
        let delivered = total(round.saturating_sub(DELIVERY));
        if delivered > 0 {
            next.acknowledged.push(Acknowledged {
                lane: store.lanes()[0].id,
                sequence: delivered,
                offset: None,
            });
        }
        if round % BURIAL == 0 {
            // The first of the round before.
            next.burials.push(Burial {
                lane: store.lanes()[0].id,
                sequence: total(round - 2) + 1,
                refused: now,
                reason: "too large".to_owned(),
                headers: String::new(),
                value: STUB.to_vec(),
            });
        }
        commit(&mut store, next);
        std::fs::write(folder.join("outbox.db.returned"), round.to_be_bytes()).expect("it is noted");
        if round % RENEWAL == 0 {
            let renewal = Renewal {
                lane: store.lanes()[0].id,
                delivered,
                doubt: 0,
                seen_epoch: 0,
                again: false,
                log_end: None,
            };
            store.renew(&renewal).expect("a new epoch begins");
        }
        if round == PINNED {
            pin(&mut store, "moved", 2);
        }
        if store.moving() {
            // One more comes with each round.
            store.move_waiting(2).expect("events are moved");
        }
        if round % 3 == 0 {
            store
                .maintain(now, std::time::Duration::ZERO)
                .expect("maintenance works");
        }
        if round % 11 == 0 {
            if let Some(beside) = &mut beside {
                beside.run().expect("the log is copied");
            }
            store.finish_checkpoint().expect("the log is copied");
        }
    }
    // As if killed: a close would be one more checkpoint.
    std::process::exit(0);
}

/// A change to a file, as `tests/faults/faults.c` records it.
enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
    Sync,
    Remove,
}

/// The recording: which file, by the end of its name, and what.
fn recording(bytes: &[u8]) -> Vec<(String, Change)> {
    let mut names: BTreeMap<u32, String> = BTreeMap::new();
    let mut changes = Vec::new();
    let mut rest = bytes;
    let word = |bytes: &[u8], at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
    let long = |bytes: &[u8], at: usize| {
        let value = u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        usize::try_from(value).expect("a length")
    };
    while !rest.is_empty() {
        let (kind, file, offset, length) = (word(rest, 0), word(rest, 4), long(rest, 8), long(rest, 16));
        let has_bytes = [1, 2, 5].contains(&kind);
        let content = if has_bytes { &rest[24..24 + length] } else { &[] };
        rest = &rest[24 + content.len()..];
        let name = || {
            let path = String::from_utf8_lossy(content).into_owned();
            path.rsplit_once('/')
                .map_or(path.clone(), |(_, name)| name.to_owned())
        };
        let change = match kind {
            1 => {
                names.insert(file, name());
                continue;
            }
            2 => Change::Write(offset, content.to_vec()),
            3 => Change::Cut(offset),
            4 => Change::Sync,
            5 => {
                changes.push((name(), Change::Remove));
                continue;
            }
            other => panic!("a record of kind {other}"),
        };
        changes.push((names[&file].clone(), change));
    }
    changes
}

/// A file on a disk: what is on it for sure, and the changes since its last sync.
#[derive(Default)]
struct File<'a> {
    safe: Vec<u8>,
    loose: Vec<&'a Change>,
}

fn write(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    content.resize(content.len().max(at + bytes.len()), 0);
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

impl<'a> File<'a> {
    fn take(&mut self, change: &'a Change) {
        if matches!(change, Change::Sync) {
            self.safe = self.after(|| true);
            self.loose.clear();
        } else {
            self.loose.push(change);
        }
    }

    /// What is found after a cut, when `kept` decides of each sector whether it came so far.
    fn after(&self, mut kept: impl FnMut() -> bool) -> Vec<u8> {
        let mut content = self.safe.clone();
        for change in &self.loose {
            match change {
                Change::Write(at, bytes) => {
                    // Sectors of the disk, not of the write.
                    let mut from = 0;
                    while from < bytes.len() {
                        let to = bytes.len().min(from + SECTOR - (at + from) % SECTOR);
                        if kept() {
                            write(&mut content, at + from, &bytes[from..to]);
                        }
                        from = to;
                    }
                }
                Change::Cut(length) if kept() => content.resize(*length, 0),
                Change::Cut(_) | Change::Sync | Change::Remove => {}
            }
        }
        content
    }
}

/// Opens what was found, and holds it against what had returned by then.
fn judge(files: &BTreeMap<&str, File>, returned: u64, moment: usize, mut kept: impl FnMut() -> bool) {
    let folder = Folder::new();
    for (name, file) in files {
        if !name.ends_with(".returned") {
            std::fs::write(folder.path().join(name), file.after(&mut kept)).expect("it is written");
        }
    }
    let options = options(&folder);
    let (store, restored) = match Store::open(&options) {
        Ok(opened) => opened,
        Err(error) => panic!("at {moment}, after {returned}: {error}"),
    };
    let round: u64 = restored
        .cells
        .get("round")
        .map_or(0, |round| round.parse().expect("a number"));
    assert!(
        round == returned || round == returned + 1,
        "at {moment}: {returned} had returned, {round} are found"
    );
    for slot in 0..50 {
        // The last round that wrote this cell.
        let expected = (0..=round)
            .rev()
            .find(|number| number % 50 == slot)
            .filter(|number| *number > 0);
        let found = restored.cells.get(format!("k{slot}").as_str());
        assert_eq!(
            found.cloned(),
            expected.map(|number| number.to_string()),
            "at {moment}"
        );
    }
    let stored = store.lanes().first().map_or(0, |lane| lane.last_sequence);
    assert_eq!(
        stored,
        total(round),
        "events and cells are of one moment, at {moment}"
    );
    if let Some((_, _, rows)) = all_rows(&options).first() {
        let first = rows.first().map_or(stored + 1, |row| row.sequence);
        assert_contiguous(rows, first);
        assert_eq!(first + rows.len() as u64, stored + 1, "at {moment}");
        assert!(
            first <= total(round.saturating_sub(DELIVERY)) + 1,
            "none is missing, at {moment}"
        );
    }
    judge_lanes(&options, &store, round, moment);
}

/// What was set aside has its stub, the last epoch began where it was to begin, and what waited for its partition is there once.
fn judge_lanes(options: &Options, store: &Store, round: u64, moment: usize) {
    let reader = Reader::open(&options.path).expect("the reader opens");
    let letters = reader.dead_letters(0, usize::MAX).expect("they are read");
    let letters: Vec<String> = letters.into_iter().map(|letter| letter.event.id).collect();
    let buried: Vec<String> = (1..=round / BURIAL)
        .map(|burial| format!("{}-0", burial * BURIAL - 1))
        .collect();
    assert_eq!(letters, buried, "at {moment}");
    let base = |round: u64| total(round.saturating_sub(DELIVERY));
    let last = round / RENEWAL * RENEWAL;
    let mut bases = vec![base(last)];
    if last == round {
        // The commit of this round may be there and the new epoch not yet.
        bases.push(base(round.saturating_sub(RENEWAL)));
    }
    let mut moved = Vec::new();
    for lane in store.lanes() {
        let rows = reader.lane_rows(lane.id, 0, usize::MAX, usize::MAX);
        let rows = rows.expect("rows are read");
        if &*lane.topic == "orders" {
            assert!(bases.contains(&lane.base), "{} at {moment}", lane.base);
            for row in &rows {
                assert_eq!(
                    buried.contains(&row.id),
                    &*row.value == STUB,
                    "{} at {moment}",
                    row.id
                );
            }
        } else {
            // Those that wait come after those that do not.
            let place = if lane.partition.is_some() { 0 } else { moved.len() };
            let there = rows.into_iter().map(|row| row.id);
            moved.splice(place..place, there);
        }
    }
    let expected: Vec<String> = (1..=round).map(|round| round.to_string()).collect();
    assert_eq!(moved, expected, "at {moment}");
}

#[test]
fn a_power_cut_at_any_moment_leaves_what_had_been_committed() {
    if let Some(folder) = std::env::var_os(RECORDED) {
        work(&PathBuf::from(folder));
    }
    let folder = Folder::new();
    let library = folder.path().join("faults.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/faults/faults.c");
    let built = Command::new("cc")
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .args([&library, Path::new(source)])
        .status()
        .expect("there is a C compiler");
    assert!(built.success());
    let journal = folder.path().join("journal");
    let run = Command::new(std::env::current_exe().expect("this test's program"))
        .args([
            "--exact",
            "power::a_power_cut_at_any_moment_leaves_what_had_been_committed",
        ])
        .env(RECORDED, folder.path())
        .env("LD_PRELOAD", &library)
        .env("FAULTS_JOURNAL", &journal)
        .env("FAULTS_FILES", folder.path().join("outbox.db"))
        .output()
        .expect("it runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));

    let changes = recording(&std::fs::read(&journal).expect("the recording is read"));
    let mut files: BTreeMap<&str, File> = BTreeMap::new();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut returned, mut syncs) = (0, 0);
    for (moment, (name, change)) in changes.iter().enumerate() {
        match change {
            Change::Sync => {
                syncs += 1;
                // Just before the sync: none, all, or some of what it is for has come.
                judge(&files, returned, moment, || false);
                judge(&files, returned, moment, || true);
                let share = random.f64();
                judge(&files, returned, moment, || random.f64() < share);
            }
            Change::Write(_, number) if name.ends_with(".returned") => {
                returned = u64::from_be_bytes(number.as_slice().try_into().expect("8 bytes"));
                // What has returned is there, though nothing else came since the sync.
                judge(&files, returned, moment, || false);
            }
            _ => {}
        }
        if matches!(change, Change::Remove) {
            files.remove(name.as_str());
        } else {
            files.entry(name.as_str()).or_default().take(change);
        }
    }
    assert_eq!(returned, ROUNDS);
    assert!(syncs > ROUNDS, "{syncs} syncs");
}
