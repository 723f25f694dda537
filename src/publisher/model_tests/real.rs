//! A real store beside the model's: after each step both say the same of the lane, and have the same events.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use floorgate_outbox::{Acknowledged, Commit, Event, Lane, LaneId, Options, Reader, Renewal, Row, Store};
use floorgate_sample::Timestamp;

use super::stored::Stored;

/// A store that does what the model's does.
pub(super) struct Real {
    folder: PathBuf,
    // Away only while another copy is put in its place.
    store: Option<Store>,
    /// Its first epoch is the time at which it was made, the model's is 1.
    epochs: Option<u32>,
}

fn event(sequence: u64, number: u64) -> Event {
    Event {
        topic: "topic".into(),
        key: "key".into(),
        partition: Some(0),
        id: number.to_string(),
        kind: "Kind".into(),
        subject: "subject".into(),
        recorded: Timestamp::from_nanos(i64::try_from(sequence).unwrap()),
        shared_headers: "".into(),
        headers: String::new(),
        value: Vec::new(),
        trace: String::new(),
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// A lane without events, and a row, as the store makes them.
pub(super) fn template() -> (Lane, Row) {
    let mut real = Real::new(u64::MAX);
    let mut commit = Commit {
        events: vec![event(0, 0)],
        ..Commit::default()
    };
    let row = real.store().commit(&mut commit).unwrap().rows.remove(0);
    let lane = Lane {
        last_sequence: 0,
        epoch: 1,
        ..real.store().lanes()[0].clone()
    };
    (lane, row)
}

impl Real {
    pub(super) fn new(seed: u64) -> Self {
        // Where syncs cost nothing, if there is such a place.
        let shared = Path::new("/dev/shm");
        let folder = if shared.is_dir() {
            shared.to_owned()
        } else {
            std::env::temp_dir()
        };
        let folder = folder.join(format!("floorgate-model-{}-{seed}", std::process::id()));
        fs::create_dir_all(folder.join("now")).unwrap();
        let mut real = Self {
            folder,
            store: None,
            epochs: None,
        };
        real.open();
        real
    }

    fn path(&self) -> PathBuf {
        self.folder.join("now/outbox.db")
    }

    fn open(&mut self) {
        let options = Options {
            keep: Duration::ZERO,
            reserve_bytes: 0,
            ..Options::new(self.path())
        };
        self.store = Some(Store::open(&options).unwrap().0);
    }

    fn lane(&mut self) -> LaneId {
        self.store().lanes()[0].id
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    pub(super) fn commit(&mut self, sequence: u64, number: u64) {
        let mut commit = Commit {
            events: vec![event(sequence, number)],
            ..Commit::default()
        };
        let rows = self.store().commit(&mut commit).unwrap().rows;
        assert_eq!(rows[0].sequence, sequence);
        let epoch = self.store().lanes()[0].epoch;
        self.epochs.get_or_insert(epoch - 1);
    }

    pub(super) fn acknowledge(&mut self, sequence: u64, offset: Option<i64>) {
        let lane = self.lane();
        let mut commit = Commit {
            acknowledged: vec![Acknowledged {
                lane,
                sequence,
                offset,
            }],
            ..Commit::default()
        };
        self.store().commit(&mut commit).unwrap();
    }

    pub(super) fn renew(&mut self, renewal: &Renewal) {
        let lane = self.lane();
        let seen_epoch = renewal.seen_epoch + self.epochs.unwrap();
        let renewal = Renewal {
            lane,
            seen_epoch,
            ..*renewal
        };
        self.store().renew(&renewal).unwrap();
    }

    /// Deletes the delivered events before that sequence.
    pub(super) fn prune(&mut self, first: u64) {
        let now = Timestamp::from_nanos(i64::try_from(first).unwrap());
        self.store().maintain(now, Duration::from_secs(10)).unwrap();
    }

    pub(super) fn back_up(&mut self) {
        copy(&self.folder.join("now"), &self.folder.join("backup"));
    }

    pub(super) fn roll_back(&mut self) {
        self.store = None;
        copy(&self.folder.join("backup"), &self.folder.join("now"));
        self.open();
    }

    /// A process dies, and the next one opens what it left.
    pub(super) fn die(&mut self) {
        self.store = None;
        self.open();
    }

    /// Both say the same.
    pub(super) fn check(&mut self, stored: &Stored) {
        let epochs = self.epochs.unwrap();
        let lane = self.store().lanes()[0].clone();
        let lane = Lane {
            epoch: lane.epoch - epochs,
            ..lane
        };
        let same = |lane: &Lane| {
            (
                lane.epoch,
                lane.last_sequence,
                lane.acknowledged_sequence,
                lane.acknowledged_offset,
                lane.base,
                lane.doubt,
            )
        };
        assert_eq!(same(&lane), same(&stored.lane));
        let reader = Reader::open(self.path()).unwrap();
        let rows = reader.lane_rows(lane.id, 0, usize::MAX, usize::MAX).unwrap();
        let rows: Vec<(u64, String)> = rows.into_iter().map(|row| (row.sequence, row.id)).collect();
        let of = |sequence| Some((sequence, stored.event(sequence)?.to_string()));
        let expected: Vec<_> = (1..=stored.lane.last_sequence).filter_map(of).collect();
        assert_eq!(rows, expected);
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.store = None;
        let _ = fs::remove_dir_all(&self.folder);
    }
}
