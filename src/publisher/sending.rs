//! Handing rows to the producer, lane by lane.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::BaseRecord;

use crate::record::{LaneMark, headers};
use crate::worker::{Round, SEQUENCE_BITS, TopicState, Worker};

/// Rows that one lane may send before the next lane's turn.
const TURN: usize = 512;
/// Rows and bytes that are read from the store at a time.
const READ_ROWS: usize = 512;
const READ_BYTES: usize = 512 * 1024;
/// Memory that one lane's records may hold in flight: its share of the whole within these bounds, so that the records of a
/// leader that is gone leave room for the others'.
const LANE_AT_LEAST: usize = 64 * 1024;
const LANE_AT_MOST: usize = 4 * 1024 * 1024;

/// Longest rest after which a broker certainly knows the producer still: it forgets one that is silent for a day
/// (`producer.id.expiration.ms`), or whose records have all gone from the log.
const REST: Duration = Duration::from_mins(10);

/// What became of handing one row over.
enum Handed {
    Sent,
    Full,
    Stopped,
}

impl Worker {
    /// Gives every lane its turn.
    pub(crate) fn send(&mut self) -> Round {
        if self.producer.is_none() {
            return Round::Done;
        }
        let lanes = self.slots.len();
        let share = (self.in_flight_limit / lanes.max(1)).clamp(LANE_AT_LEAST, LANE_AT_MOST);
        self.first_lane = (self.first_lane + 1) % lanes.max(1);
        (0..lanes)
            .map(|turn| self.send_lane((self.first_lane + turn) % lanes, share))
            .max()
            .unwrap_or(Round::Done)
    }

    fn send_lane(&mut self, place: usize, share: usize) -> Round {
        if !self.may_send(place) {
            return Round::Done;
        }
        self.begin(place);
        let mut sent = 0;
        let round = loop {
            let Some(slot) = self.slots.get(place) else {
                break Round::Done;
            };
            let lane = &slot.lane;
            if !lane.has_unsent() || lane.is_stopped() {
                break Round::Done;
            }
            if sent == TURN {
                break Round::More;
            }
            if lane.is_careful() && lane.pending() > 0 {
                break Round::Done;
            }
            if lane.in_flight_bytes() >= share || self.in_flight >= self.in_flight_limit {
                break Round::Throttled;
            }
            if lane.front().is_none() && !self.read(place) {
                break Round::Done;
            }
            match self.hand_over(place) {
                Handed::Sent => sent += 1,
                Handed::Full => break Round::Throttled,
                Handed::Stopped => break Round::More,
            }
        };
        if sent > 0 {
            self.progressed();
        }
        round
    }

    /// After a long rest the broker may have forgotten the producer.
    fn begin(&mut self, place: usize) {
        let Some(slot) = self.slots.get_mut(place) else {
            return;
        };
        if slot.sent_at.is_none_or(|at| at.elapsed() > REST) && slot.lane.pending() == 0 {
            slot.lane.begin_alone();
        }
        slot.sent_at = Some(Instant::now());
    }

    fn may_send(&self, place: usize) -> bool {
        let Some(slot) = self.slots.get(place) else {
            return false;
        };
        let lane = &slot.lane;
        let open = self
            .topics
            .get(lane.topic)
            .is_some_and(|topic| match topic.state {
                TopicState::Open { partitions } => lane.partition.is_some_and(|own| own < partitions),
                _ => false,
            });
        open && slot.held_until.is_none() && lane.has_unsent() && !lane.is_stopped()
    }

    /// Reads the rows that come next in a lane. Returns whether there are any.
    fn read(&mut self, place: usize) -> bool {
        if self.store_retry_at.is_some() {
            return false;
        }
        let Some(slot) = self.slots.get_mut(place) else {
            return false;
        };
        let lane = &mut slot.lane;
        let rows = match self
            .reader
            .lane_rows(lane.id, lane.next() - 1, READ_ROWS, READ_BYTES)
        {
            Ok(rows) => rows,
            Err(error) => {
                self.store_failed(error);
                return false;
            }
        };
        let before = lane.cached_bytes();
        for row in rows {
            let recorded = row.recorded;
            lane.cache(row, recorded);
        }
        self.cached += lane.cached_bytes() - before;
        let found = lane.front().is_some();
        if !found {
            lane.refused(format!(
                "the store has no row {} of lane {}",
                lane.next(),
                lane.id
            ));
        }
        found
    }

    /// Hands the front row of a lane to the producer.
    fn hand_over(&mut self, place: usize) -> Handed {
        let (Some(producer), Some(slot)) = (&self.producer, self.slots.get_mut(place)) else {
            return Handed::Stopped;
        };
        let lane = &mut slot.lane;
        let partition = lane.partition.and_then(|partition| i32::try_from(partition).ok());
        let (Some(row), Some(topic), Some(partition)) =
            (lane.front(), self.topics.get(lane.topic), partition)
        else {
            return Handed::Stopped;
        };
        let possible_duplicate = lane.front_is_doubtful();
        let mark = LaneMark {
            epoch: lane.epoch,
            sequence: row.sequence,
            incarnation: &self.incarnation,
            possible_duplicate,
        };
        let headers = match headers(&row.headers, &mark) {
            Ok(headers) => headers,
            Err(error) => {
                lane.refused(error.to_string());
                return Handed::Stopped;
            }
        };
        let Some(position) = position(place, row.sequence) else {
            lane.refused("the lane's numbers are used up".to_owned());
            return Handed::Stopped;
        };
        let record = BaseRecord::with_opaque_to(&topic.name, position)
            .partition(partition)
            .key(row.key.as_bytes())
            .payload(row.value.as_slice())
            .timestamp(row.recorded.as_nanos().div_euclid(1_000_000))
            .headers(headers);
        match producer.send(record) {
            Ok(()) => {
                if possible_duplicate {
                    self.metrics.possible_duplicates.inc();
                }
                let before = lane.cached_bytes();
                self.in_flight += lane.sent();
                self.cached = self.cached.saturating_sub(before - lane.cached_bytes());
                Handed::Sent
            }
            Err((error, _)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                if code == RDKafkaErrorCode::QueueFull {
                    return Handed::Full;
                }
                self.metrics
                    .publish_errors
                    .with_label_values(&[&format!("{code:?}")])
                    .inc();
                if code == RDKafkaErrorCode::Fatal {
                    self.must_rebuild = Some(error.to_string());
                } else {
                    lane.refused(code.to_string());
                }
                Handed::Stopped
            }
        }
    }
}

fn position(place: usize, sequence: u64) -> Option<usize> {
    let sequence = usize::try_from(sequence)
        .ok()
        .filter(|sequence| *sequence < 1 << SEQUENCE_BITS)?;
    let place = (place < 1 << (usize::BITS - SEQUENCE_BITS)).then_some(place)?;
    Some((place << SEQUENCE_BITS) | sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_holds_lane_and_sequence_or_is_refused() {
        assert_eq!(position(3, 5), Some((3 << SEQUENCE_BITS) + 5));
        assert_eq!(position(1, 1 << SEQUENCE_BITS), None);
        assert_eq!(position(1 << 20, 1), None);
    }
}
