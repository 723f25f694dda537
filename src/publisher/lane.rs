//! The order of one lane: what is acknowledged, what is on its way, what comes next. No input or output here.

use std::collections::VecDeque;

use floorgate_outbox::{Acknowledged, Lane as StoredLane, LaneId, Row};
use floorgate_sample::Timestamp;

use crate::bounds::Proof;
use crate::inbox::footprint;
use crate::reconcile::Claim;
use crate::topics::LogBounds;

/// One lane as the publisher sees it.
///
/// Invariants: `flights` holds exactly the sequences `acked + 1 ..= next - 1`, and its front is not delivered; `cached` is contiguous
/// and starts at `next`; rows up to `doubt` may be on the log without our knowing; while the lane is not settled, nothing is in flight.
pub(crate) struct Lane {
    pub(crate) id: LaneId,
    /// Index of the topic in the publisher's table.
    pub(crate) topic: usize,
    /// None where events wait until the topic's partition count is known.
    pub(crate) partition: Option<u32>,
    pub(crate) epoch: u32,
    /// Where the epoch began.
    base: u64,
    acked: u64,
    /// The offset of the last acknowledged record, or one that is not above it; `None` before the first.
    acked_offset: Option<i64>,
    next: u64,
    stored: u64,
    doubt: u64,
    /// Rows up to here were sent by someone, with an outcome that is not known.
    tried: u64,
    /// The same, as long as the log has not told what it has of them.
    unsure: u64,
    /// The log was looked at since; until then nothing is sent.
    settled: bool,
    /// Up to here one record is sent at a time: to find the one that is refused, and to begin (see [`Lane::begin_alone`]).
    careful: u64,
    flights: VecDeque<Flight>,
    pending: usize,
    in_flight_bytes: usize,
    /// Rows at hand, each with the time of its commit.
    cached: VecDeque<(Row, Timestamp)>,
    cached_bytes: usize,
    failure: Option<Failure>,
    stopped: bool,
    pub(crate) proof: Proof,
}

/// The first record that failed since the lane last flowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) sequence: u64,
    pub(crate) reason: String,
    /// It is the record itself that is refused.
    pub(crate) for_good: bool,
}

struct Flight {
    bytes: usize,
    committed: Timestamp,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Pending,
    Delivered(Option<i64>),
    Failed,
}

impl Lane {
    /// A lane as the store knows it. What was stored before this process may have been sent by an earlier one.
    pub(crate) fn new(stored: &StoredLane, topic: usize, from_earlier_process: bool) -> Self {
        let tried = if from_earlier_process {
            stored.last_sequence
        } else {
            0
        };
        Self {
            id: stored.id,
            topic,
            partition: stored.partition,
            epoch: stored.epoch,
            base: stored.base,
            acked: stored.acknowledged_sequence,
            acked_offset: stored.acknowledged_offset,
            next: stored.acknowledged_sequence + 1,
            stored: stored.last_sequence,
            doubt: stored.doubt,
            tried,
            unsure: tried,
            // Also where nothing was ever sent: should the store be an older copy, or the clock have been set back, the log has later epochs.
            settled: false,
            careful: stored.acknowledged_sequence + 1,
            flights: VecDeque::new(),
            pending: 0,
            in_flight_bytes: 0,
            cached: VecDeque::new(),
            cached_bytes: 0,
            failure: None,
            stopped: false,
            proof: Proof::default(),
        }
    }

    /// Everything up to here is on the log.
    pub(crate) fn acked(&self) -> u64 {
        self.acked
    }

    /// How far the lane is delivered, with the highest offset that was told.
    pub(crate) fn acknowledged(&self) -> Acknowledged {
        Acknowledged {
            lane: self.id,
            sequence: self.acked,
            offset: self.acked_offset,
        }
    }

    /// What the store says of the lane, for a comparison with the log.
    pub(crate) fn claim(&self) -> Claim {
        let last = (self.acked, self.acked_offset);
        let (acknowledged, offset) = self.proof.in_question().unwrap_or(last);
        Claim {
            epoch: self.epoch,
            base: self.base,
            acknowledged,
            offset,
            last: self.stored,
            has_sent: self.unsure > 0 || self.proof.is_in_doubt(),
        }
    }

    /// The last acknowledged record and its offset, where it is known.
    fn last(&self) -> Option<(u64, i64)> {
        let offset = self.acked_offset.filter(|_| self.acked > self.base)?;
        Some((self.acked, offset))
    }

    /// The log's bounds are asked for.
    pub(crate) fn ask_bounds(&mut self) {
        self.proof.ask(self.last());
    }

    /// Takes them.
    pub(crate) fn take_bounds(&mut self, bounds: LogBounds, is_shorter: bool) {
        self.proof.take(bounds, is_shorter, self.settled);
    }

    /// Has a log that has lost something looked at once nothing is on its way.
    pub(crate) fn look_if_in_doubt(&mut self) {
        if self.proof.is_in_doubt() && self.flights.is_empty() {
            self.settled = false;
        }
    }

    /// Whether the log has to be looked at before anything is sent.
    pub(crate) fn is_unsettled(&self) -> bool {
        !self.settled
    }

    /// Has the log looked at before anything more is sent.
    pub(crate) fn unsettle(&mut self) {
        self.settled = false;
    }

    /// Notes that everything up to a sequence was found on the log, and of what comes after it some up to `highest`. Returns the memory
    /// of rows at hand that need not be sent.
    pub(crate) fn settle(&mut self, sequence: u64, offset: Option<i64>, highest: u64) -> usize {
        self.settled = true;
        self.unsure = 0;
        self.doubt = self.doubt.max(highest);
        self.note_stored(sequence);
        if sequence <= self.acked {
            self.proof = Proof::of(self.last());
            return 0;
        }
        self.acked = sequence;
        self.acked_offset = offset.or(self.acked_offset);
        self.proof = Proof::of(self.last());
        self.next = sequence + 1;
        self.begin_alone();
        if self
            .failure
            .as_ref()
            .is_some_and(|failure| failure.sequence <= sequence)
        {
            self.failure = None;
        }
        let before = self.cached_bytes;
        while let Some((row, _)) = self.cached.front().filter(|(row, _)| row.sequence <= sequence) {
            self.cached_bytes = self.cached_bytes.saturating_sub(footprint(row));
            self.cached.pop_front();
        }
        before - self.cached_bytes
    }

    /// Begins the new epoch that is stored; nothing is in flight. What was delivered or sent in an earlier one is marked when it goes out. Returns the
    /// memory of rows at hand, which are read anew.
    pub(crate) fn renew(&mut self, stored: &StoredLane) -> usize {
        self.settled = true;
        self.proof = Proof::default();
        self.doubt = stored.doubt;
        self.epoch = stored.epoch;
        self.base = stored.base;
        self.acked = stored.acknowledged_sequence;
        self.acked_offset = stored.acknowledged_offset;
        self.next = self.acked + 1;
        self.note_stored(stored.last_sequence);
        self.failure = None;
        self.careful = self.next;
        self.cached.clear();
        std::mem::take(&mut self.cached_bytes)
    }

    /// Up to here rows are on the log, or may be, or may have been.
    pub(crate) fn doubtful(&self) -> u64 {
        self.doubt.max(self.tried).max(self.acked)
    }

    /// A row's sequence on the log.
    pub(crate) fn on_log(&self, sequence: u64) -> u64 {
        sequence.saturating_sub(self.base)
    }

    /// Notes that the log does not tell: what was sent is sent again, and may be there. Returns how many rows that are.
    pub(crate) fn settle_in_doubt(&mut self) -> u64 {
        self.settled = true;
        self.proof = Proof::default();
        self.doubt = self.doubt.max(self.unsure);
        self.unsure.saturating_sub(self.acked)
    }

    /// The next sequence to send.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Records that are sent and whose outcome is not known.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// Whether any was sent since the last one that is acknowledged.
    pub(crate) fn is_under_way(&self) -> bool {
        !self.flights.is_empty()
    }

    /// Memory of the rows at hand.
    pub(crate) fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    /// Rows that are stored and were not sent yet.
    pub(crate) fn unsent(&self) -> u64 {
        (self.stored + 1).saturating_sub(self.next)
    }

    /// Whether there are any.
    pub(crate) fn has_unsent(&self) -> bool {
        self.next <= self.stored
    }

    /// Lets the next record go alone, before any other is on its way.
    ///
    /// A broker that knows nothing of a producer on a partition takes any first sequence number (KIP-360). Were a first batch refused
    /// for a moment, as by a partition that is just coming up, while a second one is on its way, the second would be taken, and the
    /// first would be reported as delivered without being on the log. Once one record is acknowledged, the broker knows what comes next.
    pub(crate) fn begin_alone(&mut self) {
        self.careful = self.careful.max(self.next);
    }

    /// Whether nothing may be sent while a record is on its way.
    pub(crate) fn is_careful(&self) -> bool {
        self.acked < self.careful
    }

    /// Whether a record failed and what is on its way is waited for.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// What holds the lane up, if something failed.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Notes that the store holds rows up to a sequence.
    pub(crate) fn note_stored(&mut self, sequence: u64) {
        self.stored = self.stored.max(sequence);
    }

    /// Takes a row that may save reading it later. Returns false where it is not the one that comes after what is at hand.
    pub(crate) fn cache(&mut self, row: Row, committed: Timestamp) -> bool {
        self.note_stored(row.sequence);
        if row.sequence != self.next + self.cached.len() as u64 {
            return false;
        }
        self.cached_bytes += footprint(&row);
        self.cached.push_back((row, committed));
        true
    }

    /// The rows at hand, the one to send next first.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.cached.iter().map(|(row, _)| row)
    }

    /// The last sequence at hand; the one before the next where none is.
    pub(crate) fn last_cached(&self) -> u64 {
        self.next - 1 + self.cached.len() as u64
    }

    /// Forgets the rows at hand: one of them is another now. Returns their memory.
    pub(crate) fn forget_rows(&mut self) -> usize {
        self.failure = None;
        self.cached.clear();
        std::mem::take(&mut self.cached_bytes)
    }

    /// Whether the store holds rows after those at hand.
    pub(crate) fn has_more_stored(&self) -> bool {
        self.last_cached() < self.stored
    }

    /// Whether a row may be on the log already.
    pub(crate) fn is_doubtful(&self, sequence: u64) -> bool {
        sequence <= self.doubt
    }

    /// Notes that the first `count` rows at hand were handed to the producer. Returns the memory they hold until their outcome is known.
    pub(crate) fn sent(&mut self, count: usize) -> usize {
        let mut sum = 0;
        for (row, committed) in self.cached.drain(..count.min(self.cached.len())) {
            let bytes = footprint(&row);
            self.flights.push_back(Flight {
                bytes,
                committed,
                outcome: Outcome::Pending,
            });
            sum += bytes;
            self.pending += 1;
            self.next += 1;
        }
        self.cached_bytes = self.cached_bytes.saturating_sub(sum);
        self.in_flight_bytes += sum;
        sum
    }

    /// Notes an acknowledgement. `each` is called with the commit time of every record that the watermark passes.
    /// Returns the memory that is free again.
    pub(crate) fn delivered(
        &mut self,
        sequence: u64,
        offset: Option<i64>,
        mut each: impl FnMut(Timestamp),
    ) -> usize {
        let freed = self.settle_one(sequence, Outcome::Delivered(offset));
        while let Some(Flight {
            committed,
            outcome: Outcome::Delivered(offset),
            ..
        }) = self.flights.front()
        {
            let least = self.acked_offset.map_or(0, |offset| offset + 1);
            if offset.is_some_and(|offset| offset < least) {
                self.stop_at_truncation();
                break;
            }
            // A resend that the broker recognised is acknowledged without an offset: it lies behind the one before.
            self.acked_offset = offset.or(Some(least));
            self.acked += 1;
            each(*committed);
            self.flights.pop_front();
        }
        if self
            .failure
            .as_ref()
            .is_some_and(|failure| failure.sequence <= self.acked)
        {
            self.failure = None;
        }
        freed
    }

    /// Notes a refusal: the lane stops here. Returns the memory that is free again.
    pub(crate) fn failed(&mut self, sequence: u64, reason: String, for_good: bool) -> usize {
        let freed = self.settle_one(sequence, Outcome::Failed);
        self.stopped = true;
        if sequence > self.acked
            && self
                .failure
                .as_ref()
                .is_none_or(|failure| sequence <= failure.sequence)
        {
            self.failure = Some(Failure {
                sequence,
                reason,
                for_good,
            });
        }
        freed
    }

    /// Notes that the front row cannot even be handed to the producer: the lane stops before it.
    pub(crate) fn refused(&mut self, reason: String, for_good: bool) {
        self.stopped = true;
        let sequence = self.next;
        if self
            .failure
            .as_ref()
            .is_none_or(|failure| sequence <= failure.sequence)
        {
            self.failure = Some(Failure {
                sequence,
                reason,
                for_good,
            });
        }
    }

    /// The first record in flight was given an offset that was another's before: the log is not the one that has what was acknowledged.
    /// The lane stops there, so that the log is looked at with what was known of it before.
    fn stop_at_truncation(&mut self) {
        let sequence = self.acked + 1;
        if let Some(flight) = self.flights.front_mut() {
            flight.outcome = Outcome::Failed;
        }
        self.stopped = true;
        self.failure = Some(Failure {
            sequence,
            reason: "the log was truncated or made anew".to_owned(),
            for_good: false,
        });
    }

    fn settle_one(&mut self, sequence: u64, outcome: Outcome) -> usize {
        let place = sequence
            .checked_sub(self.acked + 1)
            .and_then(|place| usize::try_from(place).ok());
        let Some(flight) = place.and_then(|place| self.flights.get_mut(place)) else {
            return 0;
        };
        if flight.outcome != Outcome::Pending {
            return 0;
        }
        flight.outcome = outcome;
        self.pending = self.pending.saturating_sub(1);
        self.in_flight_bytes = self.in_flight_bytes.saturating_sub(flight.bytes);
        flight.bytes
    }

    /// Goes back to the first record that is not acknowledged; what was sent after it is to be looked for on the log.
    /// Returns the memory that is free again.
    pub(crate) fn rewind(&mut self) -> usize {
        let sent = self.next - 1;
        if sent > self.acked {
            self.tried = self.tried.max(sent);
            self.unsure = self.unsure.max(sent);
            self.settled = false;
        }
        if let Some(failure) = &self.failure {
            self.careful = self.careful.max(failure.sequence.max(sent));
        }
        self.next = self.acked + 1;
        self.begin_alone();
        self.stopped = false;
        self.flights.clear();
        self.pending = 0;
        self.cached.clear();
        self.cached_bytes = 0;
        std::mem::take(&mut self.in_flight_bytes)
    }
}
