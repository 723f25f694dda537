//! Lane and reconciliation against a simple model of store, broker and consumer: whatever dies, nothing is lost, and what a consumer
//! gets twice says so.

mod oracle;
mod real;
mod stored;

use std::collections::VecDeque;

use floorgate_outbox::{Lane as StoredLane, Renewal, Row};
use floorgate_sample::Timestamp;

use self::real::{Real, template};
use self::stored::Stored;
use crate::lane::Lane;
use crate::reconcile::{Claim, Own, Print, Tail, Verdict, judge};

/// Knuth's linear congruential generator; a failing case is named by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn up_to(&mut self, most: usize) -> usize {
        usize::try_from(self.below(most as u64 + 1)).unwrap()
    }
}

/// A record of the lane, as a consumer sees it.
#[derive(Clone, Debug)]
struct Record {
    epoch: u32,
    sequence: u64,
    event: u64,
    marked: bool,
}

/// What may go wrong beside deaths. Not all at once: that a log was cut cannot be told from its retention where both may be, and
/// nothing can be told where reading is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Forbidden,
    Retention,
    Truncation,
}

struct World {
    trouble: Trouble,
    /// The broker lost what it knew of the producer, with the records of it.
    forgot_producer: bool,
    /// Another gateway writes to the partition.
    has_others: bool,
    random: Random,
    stored: Stored,
    /// A real store beside it, in some histories.
    real: Option<Real>,
    backup: Option<Stored>,
    template: Row,
    lane: Lane,
    /// What the log has, from its first offset on; `None` for records of others.
    log: VecDeque<Option<Record>>,
    low: i64,
    /// Everything that was ever on the log, as a consumer who is always there gets it.
    seen: Vec<Record>,
    /// On their way to the broker.
    in_flight: VecDeque<Record>,
    /// Still on their way from a process that is dead.
    late: VecDeque<Record>,
    /// Events that must be on the log in the end, unless retention deleted them there.
    obligations: Vec<u64>,
    /// Events that the log had and deleted by its retention.
    expired: Vec<u64>,
    next_event: u64,
    /// The store is an older copy, and what would tell it is gone from the log: what goes out then, a consumer may take for old.
    is_blind: bool,
    /// Rows that the store deleted once, and has again where it is an older copy.
    pruned: Vec<u64>,
}

impl World {
    fn new(seed: u64, template: &(StoredLane, Row)) -> Self {
        let stored = Stored {
            lane: template.0.clone(),
            events: Vec::new(),
            first_kept: 1,
        };
        let trouble = match seed % 3 {
            0 => Trouble::Forbidden,
            1 => Trouble::Retention,
            _ => Trouble::Truncation,
        };
        Self {
            trouble,
            forgot_producer: false,
            has_others: true,
            random: Random(seed),
            lane: Lane::new(&stored.lane, 0, true),
            stored,
            real: None,
            backup: None,
            template: template.1.clone(),
            log: VecDeque::new(),
            low: 0,
            seen: Vec::new(),
            in_flight: VecDeque::new(),
            late: VecDeque::new(),
            obligations: Vec::new(),
            expired: Vec::new(),
            next_event: 0,
            is_blind: false,
            pruned: Vec::new(),
        }
    }

    fn high(&self) -> i64 {
        self.low + i64::try_from(self.log.len()).unwrap()
    }

    fn append(&mut self, record: Record) -> i64 {
        self.seen.push(record.clone());
        self.log.push_back(Some(record));
        self.high() - 1
    }

    fn commit(&mut self, count: u64) {
        for _ in 0..count {
            self.next_event += 1;
            self.stored.events.push(self.next_event);
            self.obligations.push(self.next_event);
            self.stored.lane.last_sequence += 1;
            let (sequence, event) = (self.stored.lane.last_sequence, self.next_event);
            self.with_real(|real| real.commit(sequence, event));
        }
        self.lane.note_stored(self.stored.lane.last_sequence);
    }

    fn row(&self, sequence: u64) -> Row {
        let event = self.stored.event(sequence).unwrap();
        Row {
            sequence,
            id: event.to_string(),
            ..self.template.clone()
        }
    }

    /// As the worker does it: a burst when nothing is on its way, and one record where care is due.
    fn send(&mut self) {
        let lane = &self.lane;
        if lane.is_unsettled() || lane.is_stopped() || lane.pending() > 0 || !lane.has_unsent() {
            return;
        }
        let most = if lane.is_careful() {
            1
        } else {
            1 + self.random.up_to(3)
        };
        let first = self.lane.next();
        for sequence in first..(first + most as u64).min(self.stored.lane.last_sequence + 1) {
            let row = self.row(sequence);
            self.in_flight.push_back(Record {
                epoch: self.lane.epoch,
                sequence: self.lane.on_log(sequence),
                event: self.stored.event(sequence).unwrap(),
                marked: self.lane.is_doubtful(sequence),
            });
            assert!(self.lane.cache(row, Timestamp::from_nanos(0)));
        }
        self.lane.sent(self.in_flight.len());
    }

    /// The broker takes the next record, or refuses it and with it what is behind it.
    fn answer(&mut self) {
        if self.forgot_producer && !self.in_flight.is_empty() {
            // Out of order, to the broker: the client can do no more.
            self.in_flight.clear();
            self.lose_producer();
            return;
        }
        let Some(record) = self.in_flight.pop_front() else {
            return;
        };
        let sequence = record.sequence + self.stored.lane.base;
        match self.random.below(12) {
            0 => {
                self.lane.failed(sequence, "refused".to_owned(), false);
                while let Some(record) = self.in_flight.pop_front() {
                    let sequence = record.sequence + self.stored.lane.base;
                    self.lane.failed(sequence, "refused".to_owned(), false);
                }
            }
            // The answer is lost; the client asks again, and the broker recognises the record.
            1 => {
                self.append(record);
                self.lane.delivered(sequence, None, |_| {});
            }
            _ => {
                let offset = self.append(record);
                self.lane.delivered(sequence, Some(offset), |_| {});
            }
        }
        if self.lane.is_stopped() {
            // Stopped by a refusal, or by an offset that shows that the log is another.
            while let Some(record) = self.in_flight.pop_front() {
                self.append(record.clone());
                self.lane
                    .delivered(record.sequence + self.stored.lane.base, None, |_| {});
            }
            self.lane.rewind();
        }
        if self.random.below(2) == 0 {
            self.store_acknowledgement();
        }
    }

    fn store_acknowledgement(&mut self) {
        let news = self.lane.acknowledged();
        self.stored.acknowledge(news.sequence, news.offset);
        self.with_real(|real| real.acknowledge(news.sequence, news.offset));
    }

    /// The producer is replaced: what it had on its way is on the log as far as it came.
    fn lose_producer(&mut self) {
        for record in self.in_flight.drain(..).collect::<Vec<_>>() {
            if self.random.below(2) == 0 {
                break;
            }
            self.append(record);
        }
        self.lane.rewind();
        self.lane.unsettle();
        self.forgot_producer = false;
    }

    fn die(&mut self) {
        self.forgot_producer = false;
        self.late.clear();
        let mut arrived = true;
        for record in self.in_flight.drain(..).collect::<Vec<_>>() {
            arrived &= self.random.below(2) == 0;
            if arrived {
                self.append(record);
            } else if self.random.below(3) == 0 {
                self.late.push_back(record);
            } else {
                break;
            }
        }
        self.lane = Lane::new(&self.stored.lane, 0, true);
        self.with_real(Real::die);
    }

    fn roll_back(&mut self) {
        let Some(backup) = self.backup.take() else { return };
        self.die();
        self.late.clear();
        let known: Vec<u64> = backup.events.clone();
        self.obligations.retain(|event| known.contains(event));
        self.stored = backup;
        self.with_real(Real::roll_back);
        self.lane = Lane::new(&self.stored.lane, 0, true);
        self.note_blindness();
    }

    fn truncate(&mut self) {
        let cut = self.random.up_to(self.log.len());
        let is_own = self.log.iter().skip(cut).any(Option::is_some);
        self.log.truncate(cut);
        let lane = &self.stored.lane;
        if cut == 0 || lane.acknowledged_sequence == lane.base {
            // Were others faster than the gateway, nothing would show it: there is no record to look for.
            self.has_others = false;
        }
        // One that is made anew knows of no producer, and takes any.
        self.forgot_producer |= is_own && cut > 0;
        self.note_blindness();
    }

    fn expire(&mut self) {
        for _ in 0..self.random.up_to(self.log.len()) {
            if let Some(Some(record)) = self.log.pop_front() {
                self.expired.push(record.event);
            }
            self.low += 1;
        }
        self.note_blindness();
    }

    fn prune(&mut self) {
        // Never what is not delivered, nor the row at the watermark.
        let last = self.stored.lane.acknowledged_sequence.max(1);
        let first = 1 + self.random.below(last);
        self.stored.first_kept = self.stored.first_kept.max(first);
        self.with_real(|real| real.prune(first));
        let gone = usize::try_from(self.stored.first_kept).unwrap() - 1;
        self.pruned.extend(self.stored.events.iter().take(gone));
    }

    /// As the log's reader and the worker do it.
    fn settle(&mut self) {
        if !self.lane.is_unsettled() {
            return;
        }
        if self.trouble == Trouble::Forbidden {
            self.lane.settle_in_doubt();
            return;
        }
        let claim = self.lane.claim();
        let tail = self.tail(&claim);
        let print = |event: u64| Print::of(Some(event.to_string().as_bytes()), b"key", &[]);
        let stored = &self.stored;
        let row = |sequence| Ok::<_, ()>(stored.event(sequence).map(print));
        match judge(&claim, &tail, row).unwrap() {
            Verdict::Settled {
                sequence,
                offset,
                highest,
            } => {
                self.lane.settle(sequence, offset, highest);
            }
            Verdict::Unknown => {
                self.lane.settle_in_doubt();
            }
            verdict @ (Verdict::Truncated | Verdict::RolledBack) => {
                let seen = claim.epoch.max(tail.epoch);
                let renewal = Renewal {
                    lane: self.stored.lane.id,
                    delivered: self.lane.acked(),
                    doubt: self.lane.doubtful(),
                    seen_epoch: seen,
                    again: verdict == Verdict::Truncated,
                    log_end: (tail.high > 0).then_some(tail.high - 1),
                };
                self.stored.renew(&renewal);
                self.with_real(|real| real.renew(&renewal));
                if self.random.below(8) == 0 {
                    self.die();
                } else {
                    self.lane.renew(&self.stored.lane);
                }
            }
        }
        if let Some(late) = self.late.pop_front() {
            self.append(late);
        }
    }

    fn tail(&self, claim: &Claim) -> Tail {
        let mut tail = Tail::default();
        tail.reach(claim, self.low, self.high());
        let from = claim
            .offset
            .filter(|_| !tail.ends_before)
            .unwrap_or(0)
            .max(self.low);
        for (offset, record) in (self.low..).zip(&self.log).filter(|(offset, _)| *offset >= from) {
            let Some(record) = record else { continue };
            let print = Print::of(Some(record.event.to_string().as_bytes()), b"key", &[]);
            let own = Own {
                offset,
                sequence: record.sequence,
                print,
            };
            tail.take(claim, record.epoch, own);
            if !claim.has_sent && tail.acknowledged.is_some() {
                break;
            }
        }
        tail
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0..=7 => {
                let count = 1 + self.random.below(4);
                self.commit(count);
            }
            8..=15 => self.send(),
            16..=26 => self.answer(),
            27..=31 => self.settle(),
            32..=33 => self.die(),
            34 => self.lose_producer(),
            35 if self.has_others => self.log.push_back(None),
            36 => self.prune(),
            37 if self.trouble == Trouble::Retention => self.expire(),
            37 if self.trouble == Trouble::Truncation => self.truncate(),
            39 if self.trouble != Trouble::Forbidden => self.roll_back(),
            38 => {
                self.backup = Some(self.stored.clone());
                self.with_real(Real::back_up);
            }
            _ => self.store_acknowledgement(),
        }
        if let Some(real) = &mut self.real {
            real.check(&self.stored);
        }
    }

    fn with_real(&mut self, does: impl FnOnce(&mut Real)) {
        if let Some(real) = &mut self.real {
            does(real);
        }
    }

    /// Nothing goes wrong any more, until all is delivered.
    fn come_to_rest(&mut self) {
        self.late.clear();
        // One more event and one more start show what went wrong before.
        self.commit(1);
        self.die();
        self.late.clear();
        for _ in 0..100_000 {
            if !self.lane.is_unsettled() && !self.lane.has_unsent() && self.lane.pending() == 0 {
                return;
            }
            self.settle();
            self.send();
            self.answer();
        }
        panic!("it does not come to rest");
    }
}

/// Each so many histories a real store is beside the model's.
const REAL: u64 = 100;

/// How many histories run: more where the environment says it (`HISTORIES`).
fn histories() -> u64 {
    let number = std::env::var("HISTORIES").ok();
    number.map_or(20_000, |number| number.parse().unwrap())
}

#[test]
fn whatever_dies_nothing_is_lost_and_what_comes_twice_says_so() {
    let template = template();
    for seed in 0..histories() {
        let run = || {
            let mut world = World::new(seed, &template);
            if seed % REAL == 0 {
                world.real = Some(Real::new(seed));
                // There is no lane before its first event.
                world.commit(1);
            }
            for _ in 0..120 {
                world.step();
            }
            world.come_to_rest();
            world.check();
        };
        if let Err(panic) = std::panic::catch_unwind(run) {
            eprintln!("the seed was {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
