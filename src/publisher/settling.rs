//! Lanes of which it is not known how far they are on the log: they send nothing until the log was looked at.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use floorgate_outbox::{LaneId, Reader, Renewal, Row};
use floorgate_sample::Timestamp;

use crate::lane::Lane;
use crate::log_reader::{LogAnswer, LogProblem, Question};
use crate::opening::{Topic, TopicState};
use crate::reconcile::{Claim, Print, Verdict, has_lost, judge};
use crate::report::Report;
use crate::worker::Worker;

/// Pause before a log that cannot be read is looked at again.
const LOG_PAUSE: Duration = Duration::from_secs(2);
/// Rows and bytes that are read from the store at a time.
const READ_ROWS: usize = 512;
const READ_BYTES: usize = 512 * 1024;

/// How far looking at a lane's log has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Looking {
    /// It was not asked for yet, or is asked for again at this time.
    NotBefore(Option<Instant>),
    /// The answer is awaited.
    Asked,
    /// Log and store do not agree; a new epoch is awaited.
    Renewing,
}

impl Worker {
    /// Asks for the log of each lane that is not settled and whose topic is there.
    pub(crate) fn look_at_logs(&mut self, now: Instant) {
        if self.is_log_undecided() || self.store_retry_at.is_some() {
            return;
        }
        let mut failed = None;
        for (place, slot) in self.slots.iter_mut().enumerate() {
            if !slot.lane.is_unsettled() || slot.held_until.is_some() {
                continue;
            }
            let Looking::NotBefore(time) = slot.looking else {
                continue;
            };
            let (Some(topic), Some(partition)) = (self.topics.get(slot.lane.topic), slot.lane.partition)
            else {
                continue;
            };
            let is_there = topic.has(Some(partition));
            let Ok(partition) = i32::try_from(partition) else {
                continue;
            };
            if !is_there || time.is_some_and(|time| now < time) {
                continue;
            }
            let claim = slot.lane.claim();
            if !claim.has_sent && !slot.lane.has_unsent() {
                continue;
            }
            let since = match first_recorded(&self.reader, slot.lane.id, &claim) {
                Ok(since) => since,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            slot.looking = Looking::Asked;
            self.log.ask(Question {
                place,
                topic: topic.name.clone(),
                partition,
                claim,
                since,
            });
        }
        if let Some(error) = failed {
            self.store_failed(error);
        }
    }

    /// Whether the lane's partition can be read.
    fn is_there(&self, lane: &Lane) -> bool {
        let topic = self.topics.get(lane.topic);
        topic.is_some_and(|topic| topic.has(lane.partition))
    }

    /// When the next log is looked at.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        if self.is_log_undecided() || self.store_retry_at.is_some() {
            return None;
        }
        let times = self.slots.iter().filter_map(|slot| match slot.looking {
            Looking::NotBefore(time) if slot.lane.is_unsettled() && self.is_there(&slot.lane) => time,
            _ => None,
        });
        times.min()
    }

    /// Whether the answer about a lane is awaited that has something to send then.
    pub(crate) fn is_looking_for_next(&self) -> bool {
        let mut slots = self.slots.iter();
        slots.any(|slot| slot.looking == Looking::Asked && slot.lane.has_unsent())
    }

    pub(crate) fn take_log_answer(&mut self, answer: LogAnswer) {
        self.metrics.reconciliation_records.inc_by(answer.read);
        let Some(slot) = self.slots.get_mut(answer.place) else {
            return;
        };
        slot.looking = Looking::NotBefore(None);
        let claim = slot.lane.claim();
        // Rows that were stored meanwhile change nothing of what was looked for.
        let is_other = (claim.epoch, claim.acknowledged, claim.offset)
            != (answer.claim.epoch, answer.claim.acknowledged, answer.claim.offset);
        if !slot.lane.is_unsettled() || is_other {
            return;
        }
        let Some(Topic {
            name: topic, state, ..
        }) = self.topics.get_mut(slot.lane.topic)
        else {
            return;
        };
        let partition = slot.lane.partition;
        let mut seen_epoch = answer.claim.epoch;
        let mut log_end = None;
        let (verdict, result) = match answer.result {
            Ok(tail) => {
                seen_epoch = seen_epoch.max(tail.epoch);
                log_end = (tail.high > 0).then_some(tail.high - 1);
                let mut rows = Rows::new(&self.reader, slot.lane.id);
                let acknowledged = slot.lane.acknowledged();
                if slot.lane.proof.is_in_doubt() && !has_lost(&answer.claim, acknowledged, &tail) {
                    // What it lost was others'. The lane goes on when it was looked at as ever.
                    slot.lane.proof.renew();
                    return;
                }
                let judged = if slot.lane.proof.is_in_doubt() {
                    Ok(Verdict::Truncated)
                } else {
                    judge(&answer.claim, &tail, |sequence| rows.print(sequence))
                };
                match judged {
                    Ok(verdict) => (verdict, name(verdict)),
                    Err(error) => {
                        slot.looking = Looking::NotBefore(Some(Instant::now() + LOG_PAUSE));
                        self.store_failed(error);
                        return;
                    }
                }
            }
            Err(LogProblem::Forbidden(_)) if slot.lane.proof.has_lost() => (Verdict::Truncated, "forbidden"),
            Err(LogProblem::Forbidden(_)) if answer.claim.has_sent => (Verdict::Unknown, "forbidden"),
            Err(LogProblem::Forbidden(_)) => (settled_at(answer.claim.acknowledged), "forbidden"),
            Err(problem) => {
                if matches!(problem, LogProblem::Missing(_)) {
                    // Whether it is there is asked anew.
                    *state = TopicState::Unknown;
                }
                let problem = format!("{problem}; events wait until it is known which of them the log has");
                // That no broker is there is told already.
                if self.reachable == Some(true) && slot.log_problem.as_ref() != Some(&problem) {
                    tracing::warn!(topic = &**topic, see = "gateway-log-unknown", "{problem}");
                    slot.log_problem = Some(problem);
                }
                slot.looking = Looking::NotBefore(Some(Instant::now() + LOG_PAUSE));
                return;
            }
        };
        slot.log_problem = None;
        if answer.claim.has_sent || !matches!(verdict, Verdict::Settled { .. }) {
            self.metrics.reconciliations.with_label_values(&[result]).inc();
        }
        match verdict {
            Verdict::Settled {
                sequence,
                offset,
                highest,
            } => {
                let found = sequence.saturating_sub(slot.lane.acked());
                if found > 0 {
                    tracing::info!(
                        topic = &**topic,
                        partition,
                        found,
                        "events were on the log already"
                    );
                }
                let freed = slot.lane.settle(sequence, offset, highest);
                self.cached = self.cached.saturating_sub(freed);
                self.after_deliveries();
            }
            Verdict::Unknown => {
                let doubtful = slot.lane.settle_in_doubt();
                if doubtful > 0 {
                    tracing::warn!(
                        topic = &**topic,
                        partition,
                        doubtful,
                        reason = result,
                        see = "gateway-log-unknown",
                        "it cannot be known which events the log has; what may have been sent is sent again, marked as a possible duplicate"
                    );
                }
            }
            Verdict::Truncated | Verdict::RolledBack => {
                self.renew(answer.place, verdict == Verdict::Truncated, seen_epoch, log_end);
            }
        }
    }

    /// Asks for a new epoch of a lane: log and store do not agree.
    fn renew(&mut self, place: usize, again: bool, seen_epoch: u32, log_end: Option<i64>) {
        let Some(slot) = self.slots.get_mut(place) else {
            return;
        };
        let what = if again {
            "the log does not have what was acknowledged; all events that are kept are sent again, in a new epoch"
        } else {
            "the log has events of this gateway that the outbox does not know: a second gateway has this name, or the outbox is an older \
             copy; it goes on in a new epoch"
        };
        let topic = self.topics.get(slot.lane.topic).map_or("", |topic| &*topic.name);
        tracing::error!(
            topic,
            partition = slot.lane.partition,
            seen_epoch,
            see = "gateway-log-disagrees",
            "{what}"
        );
        slot.looking = Looking::Renewing;
        let renewal = Renewal {
            lane: slot.lane.id,
            delivered: slot.lane.acked(),
            doubt: slot.lane.doubtful(),
            seen_epoch,
            again,
            log_end,
        };
        self.shared.forget(renewal.lane);
        self.shared.report(Report::LaneDisagrees(renewal));
    }
}

/// When the first event was recorded that may be on the log, where the offset of none is known.
fn first_recorded(
    reader: &Reader,
    lane: LaneId,
    claim: &Claim,
) -> Result<Option<Timestamp>, floorgate_outbox::Error> {
    if claim.offset.is_some() || !claim.has_sent {
        return Ok(None);
    }
    let first = reader.lane_rows(lane, claim.acknowledged, 1, 1)?;
    Ok(first.first().map(|row| row.recorded))
}

/// The lane goes on behind that sequence.
fn settled_at(sequence: u64) -> Verdict {
    Verdict::Settled {
        sequence,
        offset: None,
        highest: sequence,
    }
}

/// A verdict's name in metrics and logs.
fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Settled { .. } => "settled",
        Verdict::Unknown => "expired",
        Verdict::Truncated => "truncated",
        Verdict::RolledBack => "rolled_back",
    }
}

/// Reads a lane's rows as they are asked for, mostly one after the other.
struct Rows<'a> {
    reader: &'a Reader,
    lane: LaneId,
    at_hand: VecDeque<Row>,
}

impl<'a> Rows<'a> {
    fn new(reader: &'a Reader, lane: LaneId) -> Self {
        Self {
            reader,
            lane,
            at_hand: VecDeque::new(),
        }
    }

    fn print(&mut self, sequence: u64) -> Result<Option<Print>, floorgate_outbox::Error> {
        let is_here = |rows: &VecDeque<Row>| {
            rows.front().is_some_and(|row| row.sequence <= sequence)
                && rows.back().is_some_and(|row| row.sequence >= sequence)
        };
        if !is_here(&self.at_hand) {
            let read = self
                .reader
                .lane_rows(self.lane, sequence.saturating_sub(1), READ_ROWS, READ_BYTES)?;
            self.at_hand = read.into();
        }
        let row = self.at_hand.iter().find(|row| row.sequence == sequence);
        Ok(row.map(|row| Print::of(Some(row.id.as_bytes()), row.key.as_bytes(), &row.value)))
    }
}
