//! Handing rows to the producer, lane by lane.

use std::time::{Duration, Instant};

use floorgate_sample::Timestamp;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::BaseRecord;

use crate::client::{ENDS_BURST, GATHERING};
use crate::clients::Way;
use crate::dead_letter::is_about_record;
use crate::inbox::footprint;
use crate::record::LaneMark;
use crate::worker::{Round, SEQUENCE_BITS, Worker};

/// Rows that go out together at most.
const BURST_ROWS: usize = 1024;
/// Memory that one lane's burst may have however many lanes there are: its share of the whole is not less, so that the records of a
/// leader that is gone leave room for the others'.
const LEAST_SHARE: usize = 64 * 1024;
/// Rows and bytes that are read from the store at a time.
const READ_ROWS: usize = 512;
const READ_BYTES: usize = 512 * 1024;

/// Longest rest after which a broker certainly knows the producer still: it forgets one that is silent for a day
/// (`producer.id.expiration.ms`), or whose records have all gone from the log.
const REST: Duration = Duration::from_mins(10);

/// Rows that go out as they come are not older.
const NORMAL_AGE: Duration = Duration::from_mins(1);

/// Why the next row cannot even be handed to the producer.
struct Unsendable {
    reason: String,
    /// It never can.
    for_good: bool,
}

impl Worker {
    /// Sends what may be sent.
    pub(crate) fn send(&mut self) -> Round {
        if self.clients.is_none() || self.is_log_undecided() {
            Round::Done
        } else if self.transactions.is_some() {
            self.send_in_transaction()
        } else {
            self.send_round(None)
        }
    }

    /// Gives every lane its turn, or only the one at that place.
    pub(crate) fn send_round(&mut self, only: Option<usize>) -> Round {
        let lanes = self.slots.len();
        let share = (self.in_flight_limit / lanes.max(1)).max(LEAST_SHARE);
        let burst = share.min(self.burst_limit);
        self.first_lane = (self.first_lane + 1) % lanes.max(1);
        let first = self.first_lane;
        let round = (0..lanes)
            .map(|turn| (first + turn) % lanes)
            .filter(|place| only.is_none_or(|only| only == *place))
            .map(|place| self.send_lane(place, burst))
            .max()
            .unwrap_or(Round::Done);
        self.release();
        round
    }

    /// Lets the client that gathers send what it was given in this round, as soon as it has waited for [`GATHERING`]. Left alone it
    /// would look again a whole millisecond later.
    fn release(&mut self) {
        let (Some(since), Some(clients)) = (self.handed_over.take(), &self.clients) else {
            return;
        };
        std::thread::sleep(GATHERING.saturating_sub(since.elapsed()));
        clients.wake_gathering();
    }

    /// Sends a lane's next burst, once the one before is through.
    ///
    /// The idempotent client has one request with more than four records on its way to a partition, and while it holds others back for
    /// that, its thread does not sleep. So it is given only what it sends at once; what comes meanwhile makes the next burst, the larger the
    /// slower the broker.
    fn send_lane(&mut self, place: usize, burst: usize) -> Round {
        if !self.may_send(place) {
            return Round::Done;
        }
        let Some(slot) = self.slots.get(place) else {
            return Round::Done;
        };
        if slot.lane.pending() > 0 || self.in_flight >= self.in_flight_limit {
            return Round::Throttled;
        }
        let Some(way) = self.begin(place) else {
            return Round::Done;
        };
        let prepared = match self.prepare(place, burst) {
            Ok(prepared) if prepared.is_empty() => return Round::Done,
            Ok(prepared) => prepared,
            Err(Unsendable { reason, for_good }) => {
                if let Some(slot) = self.slots.get_mut(place) {
                    slot.lane.refused(reason, for_good);
                }
                return Round::More;
            }
        };
        self.hand_over(place, way, prepared)
    }

    /// Chooses the client for what is to be sent. The broker may not know it on this partition yet, or have forgotten it after a long rest.
    fn begin(&mut self, place: usize) -> Option<Way> {
        let (slot, clients) = (self.slots.get_mut(place)?, self.clients.as_mut()?);
        let way = clients.way_for(slot.lane.unsent());
        let sent_at = &mut slot.sent_at[way as usize];
        if sent_at.is_none_or(|at| at.elapsed() > REST) {
            slot.lane.begin_alone();
        }
        *sent_at = Some(Instant::now());
        Some(way)
    }

    pub(crate) fn may_send(&self, place: usize) -> bool {
        let Some(slot) = self.slots.get(place) else {
            return false;
        };
        let lane = &slot.lane;
        let open = self
            .topics
            .get(lane.topic)
            .is_some_and(|topic| topic.has(lane.partition));
        open && !slot.awaits_stub
            && slot.held_until.is_none()
            && lane.has_unsent()
            && !lane.is_stopped()
            && !lane.is_unsettled()
            && !lane.proof.is_in_doubt()
    }

    /// The headers of the next burst's records: of all that is stored, as far as a burst goes. Made beforehand, so that the records
    /// themselves are handed over faster than the client's thread wakes up, and go into one request.
    fn prepare(&mut self, place: usize, burst: usize) -> Result<Vec<OwnedHeaders>, Unsendable> {
        let mut prepared = Vec::new();
        let mut bytes = 0;
        loop {
            let Some(slot) = self.slots.get(place) else {
                return Ok(prepared);
            };
            let lane = &slot.lane;
            let most = if lane.is_careful() { 1 } else { BURST_ROWS };
            for row in lane.rows().skip(prepared.len()) {
                bytes += footprint(row);
                if prepared.len() == most || (bytes > burst && !prepared.is_empty()) {
                    return Ok(prepared);
                }
                let mark = LaneMark {
                    gateway: &self.gateway,
                    epoch: lane.epoch,
                    sequence: lane.on_log(row.sequence),
                    incarnation: &self.incarnation,
                    possible_duplicate: lane.is_doubtful(row.sequence),
                    transactional: self.transactions.is_some(),
                };
                match self.headers.make(row, &mark) {
                    Ok(headers) => prepared.push(headers),
                    // What comes before it goes out first; then it is the first one itself.
                    Err(_) if !prepared.is_empty() => return Ok(prepared),
                    Err(error) => {
                        return Err(Unsendable {
                            reason: error.to_string(),
                            for_good: true,
                        });
                    }
                }
            }
            let wants_more = prepared.len() < most && lane.has_more_stored();
            if !wants_more || !self.read(place, burst)? {
                return Ok(prepared);
            }
        }
    }

    /// Reads the rows of a lane that come after those at hand, no more than a burst of them: there may be many lanes. Returns whether there
    /// are any.
    fn read(&mut self, place: usize, burst: usize) -> Result<bool, Unsendable> {
        if self.store_retry_at.is_some() {
            return Ok(false);
        }
        let Some(slot) = self.slots.get_mut(place) else {
            return Ok(false);
        };
        let lane = &mut slot.lane;
        let after = lane.last_cached();
        let rows = match self
            .reader
            .lane_rows(lane.id, after, READ_ROWS, READ_BYTES.min(burst))
        {
            Ok(rows) => rows,
            Err(error) => {
                self.store_failed(error);
                return Ok(false);
            }
        };
        let before = lane.cached_bytes();
        for row in rows {
            let recorded = row.recorded;
            lane.cache(row, recorded);
        }
        self.cached += lane.cached_bytes() - before;
        if lane.last_cached() > after {
            return Ok(true);
        }
        let next = lane.next();
        if after >= next {
            return Ok(false);
        }
        Err(Unsendable {
            reason: format!("the store has no row {next} of lane {}", lane.id),
            for_good: false,
        })
    }

    /// Hands the first rows of a lane to the producer, with their headers.
    fn hand_over(&mut self, place: usize, way: Way, prepared: Vec<OwnedHeaders>) -> Round {
        if let Err(error) = self.begin_transaction() {
            self.give_producer_up(&error);
            return Round::More;
        }
        let (Some(clients), Some(slot)) = (&mut self.clients, self.slots.get_mut(place)) else {
            return Round::Done;
        };
        clients.used = way;
        let Some(producer) = clients.get(way) else {
            return Round::Done;
        };
        let lane = &mut slot.lane;
        let partition = lane.partition.and_then(|partition| i32::try_from(partition).ok());
        let (Some(topic), Some(partition)) = (self.topics.get(lane.topic), partition) else {
            return Round::Done;
        };
        let last = prepared.len() - 1;
        if way == Way::Gathering {
            self.handed_over.get_or_insert_with(Instant::now);
        }
        let now = Timestamp::now();
        let refused = lane.failure().map(|failure| failure.sequence);
        let mut failure = None;
        let mut sent = 0;
        for (index, (row, headers)) in lane.rows().zip(prepared).enumerate() {
            let Some(position) = position(place, row.sequence) else {
                failure = Some((None, "the lane's numbers are used up".to_owned()));
                break;
            };
            let position = if index == last {
                position | ENDS_BURST
            } else {
                position
            };
            // A broker may refuse a time that is too far from its own: such a record goes out with the present one. When the event was
            // recorded is in its headers.
            slot.refuses_old_times &= is_old(row.recorded, now);
            let is_refused = slot.refuses_old_times || refused == Some(row.sequence);
            let time = if is_refused { now } else { row.recorded };
            let record = BaseRecord::with_opaque_to(&topic.name, position)
                .partition(partition)
                .key(row.key.as_bytes())
                .payload(row.value.as_slice())
                .timestamp(time.as_nanos().div_euclid(1_000_000))
                .headers(headers);
            if let Err((error, _)) = producer.send(record) {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                failure = Some((Some(code), error.to_string()));
                break;
            }
            if lane.is_doubtful(row.sequence) {
                self.metrics.possible_duplicates.inc();
            }
            sent += 1;
        }
        let before = lane.cached_bytes();
        self.in_flight += lane.sent(sent);
        if let Some(transactions) = &mut self.transactions {
            transactions.note_sent(sent);
        }
        self.cached = self.cached.saturating_sub(before - lane.cached_bytes());
        let Some((code, reason)) = failure else {
            return if lane.has_unsent() {
                Round::Throttled
            } else {
                Round::Done
            };
        };
        if let Some(code) = code {
            // A transaction that has failed takes nothing more; which lane is to blame, its end tells.
            let has_failed = code == RDKafkaErrorCode::State && self.transactions.is_some();
            if code == RDKafkaErrorCode::QueueFull || has_failed {
                return Round::Throttled;
            }
            self.metrics
                .publish_errors
                .with_label_values(&[&format!("{code:?}")])
                .inc();
            if code == RDKafkaErrorCode::Fatal {
                self.must_rebuild = Some(reason);
                return Round::More;
            }
            lane.refused(code.to_string(), is_about_record(code));
        } else {
            lane.refused(reason, false);
        }
        Round::More
    }
}

/// Whether a row waited for so long that a broker may refuse its time.
fn is_old(recorded: Timestamp, now: Timestamp) -> bool {
    now.since(recorded) > NORMAL_AGE
}

fn position(place: usize, sequence: u64) -> Option<usize> {
    let sequence = usize::try_from(sequence)
        .ok()
        .filter(|sequence| *sequence < 1 << SEQUENCE_BITS)?;
    // The highest bit is [`ENDS_BURST`].
    let place = (place < 1 << (usize::BITS - 1 - SEQUENCE_BITS)).then_some(place)?;
    Some((place << SEQUENCE_BITS) | sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_holds_lane_and_sequence_or_is_refused() {
        assert_eq!(position(3, 5), Some((3 << SEQUENCE_BITS) + 5));
        assert_eq!(position(1, 1 << SEQUENCE_BITS), None);
        assert_eq!(position(1 << 19, 1), None);
    }
}
