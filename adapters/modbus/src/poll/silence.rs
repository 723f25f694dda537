//! Requests that are not answered, of a unit that answers others.
//!
//! Whether a silence is the request's fault or the unit's is known only when the unit has answered something else just before. So
//! what was not answered is asked at the end of a poll, and only where the unit was heard in it; a poll bears one time-out of that
//! kind. A poll that has nothing else to ask begins with a question to see whether the unit is there, each time another one until
//! it is answered.

use std::time::Duration;

use floorgate_sample::{Quality, Reason};
use tokio::time::Instant;

use super::{Asked, Cycle, Poller, Presence};
use crate::address::Table;
use crate::link::Failure;
use crate::planner::Extent;
use crate::unit::{is_refused, put_off, refusal};

/// After so many times in a row, and the retries, that a request was not answered while the unit answered others it is taken for the reason.
pub(super) const MOST_SILENT: u32 = 3;
/// Most tags that were left out and are taken back in one poll.
const MOST_READMITTED: usize = 16;

/// What tags are while there is no answer to a request for them; `None` where there is an answer.
fn silence(failure: &Failure) -> Option<Quality> {
    match failure {
        Failure::Exception(_) => None,
        Failure::Timeout(_) => Some(Quality::BAD_TIMEOUT),
        Failure::Protocol(_) | Failure::Transport(_) => Some(Quality::BAD_COMMUNICATION_ERROR),
    }
}

impl Poller {
    /// There was no answer to what was asked, which may be the unit's fault: next time the unit is asked something else first.
    pub(super) fn unanswered(&mut self, index: usize, (failure, table, extent): &Asked) {
        match silence(failure) {
            Some(quality) => self.groups[index].unanswered((*table, *extent), quality, Instant::now()),
            None => self.groups[index].put_off((*table, *extent)),
        }
    }

    /// What a unit is asked to see whether it is there, and the group that it is of: what was answered last time. Where there is no
    /// such request it is a tag alone, or what was not answered for longest, each time another; where there are no requests it is a
    /// tag that was left out.
    pub(super) fn question(&self, unit: u8) -> Option<(usize, Table, Extent)> {
        let own = || {
            let groups = self.groups.iter().enumerate();
            groups.filter(|(_, group)| group.unit == unit)
        };
        let sound = own().find_map(|(index, group)| Some((index, group.sound()?)));
        let put_off = own().flat_map(|(index, group)| group.all_put_off().map(move |asked| (index, asked)));
        let mut choices: Vec<(usize, (Table, Extent))> = put_off.collect();
        let tags = own().flat_map(|(index, group)| group.shared_silent().map(move |asked| (index, asked)));
        let tags: Vec<(usize, (Table, Extent))> = tags.collect();
        let silent = own().filter_map(|(index, group)| Some((index, group.longest_silent()?)));
        let silent = silent.min_by_key(|(_, (last, _))| *last);
        let silent = silent.map(|(index, (_, asked))| (index, asked));
        let left_out = |round| {
            let all = own().filter_map(move |(index, group)| Some((index, group.left_out(round)?)));
            all.collect::<Vec<_>>()
        };
        let has_left_out = !left_out(0).is_empty();
        // Each kind has its turn in a round, and each round takes another of its kind.
        let kinds = choices.len() + usize::from(silent.is_some()) + usize::from(has_left_out);
        let number = self.unit(unit).map_or(0, |known| known.questions);
        let (round, turn) = (number / kinds.max(1), number % kinds.max(1));
        // A step that is coprime to most numbers leads soon away from a stretch of registers that are not there.
        let tag = tags
            .get((round / 2).wrapping_mul(7919) % tags.len().max(1))
            .copied();
        choices.extend(if round.is_multiple_of(2) {
            tag.or(silent)
        } else {
            silent.or(tag)
        });
        let left_out = left_out(round);
        choices.extend(left_out.get(round % left_out.len().max(1)).copied());
        let (index, (table, extent)) = sound.or_else(|| choices.get(turn).copied())?;
        Some((index, table, extent))
    }

    /// A question whether the unit is there was not answered.
    pub(super) fn question_failed(&mut self, unit: u8, index: usize, asked: &Asked) {
        self.unanswered(index, asked);
        self.ask_another(unit);
    }

    /// Where nothing of the group is left but what the unit was silent over, it is asked something else first; and where nothing is
    /// left at all of a unit or a source that is away, since nothing else would tell that it is back.
    pub(super) async fn begin_with_another(&mut self, index: usize, cycle: &mut Cycle) -> Option<Asked> {
        let unit = self.groups[index].unit;
        let is_away = !self.is_sound(unit) || self.presence != Presence::Online;
        let group = &self.groups[index];
        let is_needed = is_away || group.has_put_off() || group.has_silent(Instant::now());
        if cycle.is_there || !is_needed {
            return None;
        }
        let (of, table, extent) = self.question(unit)?;
        let Err(failure) = self.ask(unit, table, extent).await else {
            self.heard(unit, cycle);
            return None;
        };
        if refusal(&failure).is_none() {
            let asked = (failure, table, extent);
            self.question_failed(unit, of, &asked);
            return Some(asked);
        }
        // What is refused is found out when it is polled.
        cycle.is_there = true;
        if is_refused(&failure) {
            self.heard(unit, cycle);
        } else if is_away {
            cycle.failing.get_or_insert((failure, table, extent));
            self.ask_another(unit);
        }
        None
    }

    /// The next question whether the unit is there is another one.
    fn ask_another(&mut self, unit: u8) {
        if let Some(known) = self.unit_mut(unit) {
            known.questions = known.questions.wrapping_add(1);
        }
    }

    /// Asks what was not answered last time, of a unit that was heard in this poll. Returns whether there was silence again, with which
    /// the poll is over; a failure is one of the unit.
    pub(super) async fn read_silent(&mut self, index: usize, cycle: &mut Cycle) -> Result<bool, Asked> {
        while cycle.is_there
            && let Some(request) = self.groups[index].next_silent()
        {
            let Err(asked) = self.read(index, request, cycle).await else {
                continue;
            };
            if !self.borne(index, request, &asked, cycle) {
                // An answer, of a unit that is busy or not reached, is about the unit.
                return Err(asked);
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// A silence that is a request's own fault. Returns whether it was one.
    pub(super) fn borne(&mut self, index: usize, request: usize, asked: &Asked, cycle: &mut Cycle) -> bool {
        let Some(quality) = silence(&asked.0) else {
            return false;
        };
        let retries = u32::from(self.settings.retries);
        let (now, group) = (Instant::now(), &mut self.groups[index]);
        group.silent(request, quality, retries + MOST_SILENT, now, &mut cycle.samples);
        group.doubt(retries, &mut cycle.samples);
        cycle.gap = self.broken(self.groups[index].unit, asked);
        self.let_pass(index, &asked.0);
        true
    }

    /// How long an answer may still come after the wait for it ended, with a time-out or with something else than it. On a line without
    /// transaction numbers it must have passed before the unit is asked again.
    pub(super) fn late_within(&self) -> Duration {
        if self.settings.endpoint.is_serial() {
            self.settings.timeout
        } else {
            Duration::ZERO
        }
    }

    /// Leaves a unit alone until an answer that may still come has passed.
    pub(super) fn let_pass(&mut self, index: usize, failure: &Failure) {
        let (unit, late) = (self.groups[index].unit, self.late_within());
        if silence(failure).is_some()
            && !late.is_zero()
            && let Some(known) = self.unit_mut(unit)
        {
            known.rest = Some(Instant::now() + late);
        }
    }

    /// Tries tags that were left out again where it is time: one request more in a poll, and some more as long as the unit takes them
    /// back.
    pub(super) async fn retry_refused(&mut self, index: usize, cycle: &mut Cycle) -> Option<Asked> {
        let unit = self.groups[index].unit;
        for _ in 0..MOST_READMITTED {
            let retry = self.groups[index].retry(Instant::now())?;
            let (table, extent) = (retry.table, retry.extent);
            match self.ask(unit, table, extent).await {
                Ok(words) => {
                    self.heard(unit, cycle);
                    let missed = self.groups[index].readmitted(retry, &words, &mut cycle.samples);
                    let why = "the device refused the tag until now";
                    cycle.miss(missed, &Reason::new(why, "modbus-tag-refused"));
                    let now = Instant::now();
                    let own = self.groups.iter_mut().filter(|group| group.unit == unit);
                    own.for_each(|group| group.retry_soon(retry.is_silent, now));
                }
                Err(failure) => {
                    // What was not answered now, while the rest of the poll was, is this tag's matter and not the unit's.
                    let silence = silence(&failure).filter(|_| cycle.is_there);
                    let put_off = put_off(&failure).filter(|_| cycle.is_there);
                    let refused = refusal(&failure).map(|(quality, _)| quality);
                    let Some(quality) = refused.or(silence).or(put_off) else {
                        return Some((failure, table, extent));
                    };
                    if is_refused(&failure) {
                        self.heard(unit, cycle);
                    }
                    let is_silent = silence.is_some() || put_off.is_some();
                    let (now, samples) = (Instant::now(), &mut cycle.samples);
                    self.groups[index].still_refused(retry, quality, is_silent, now, samples);
                    if is_silent {
                        let asked = (failure, table, extent);
                        cycle.gap = self.broken(unit, &asked);
                        self.let_pass(index, &asked.0);
                    }
                    return None;
                }
            }
        }
        None
    }
}
