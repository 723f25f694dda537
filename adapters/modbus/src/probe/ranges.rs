//! Which registers of a table can be read, in few requests.
//!
//! A refusal says that one of the registers that were asked for is not there, and not which; and a device may refuse a
//! request for its length, or because it reaches over two of its own blocks. So a refused request is shortened until
//! it is answered (bisection: the beginning of a readable stretch is readable, and what reaches beyond its end is
//! not), and the register behind it is asked for alone. Where nothing is readable, only every `step`th register is
//! asked for: a stretch that lies between two of them is not seen, and with a step of 1 nothing is missed.
//!
//! Requests, for a window of `w` registers with `r` readable stretches, `c` places where a request was refused
//! though each of its registers can be read, and a longest request of `m`: at most
//! `w / m + w / step + r × (6 + log 125 + 2 × log step) + c × (4 + log 125) + 2`, logarithms to base 2, rounded up; and twice that
//! where `m` is below 8.

use tokio_modbus::ExceptionCode;

use super::asker::Lost;
use crate::link::Failure;
use crate::planner::Extent;

/// After so many questions in a row without an answer it is looked whether the unit is still there.
const DOUBT: u32 = 3;
/// After so many questions without an answer the rest of a table is left alone: each costs a time-out.
const MOST_SILENCES: u32 = 50;
/// A device that answers so many first questions with its failure has failed; others say by it that a register is not there.
const MOST_FAILURES: u32 = 20;

/// What came back.
#[derive(Debug)]
pub(super) enum Answer {
    /// The words.
    Words(Vec<u16>),
    /// The device does not do this.
    Exception(ExceptionCode),
    /// No answer, and why.
    Silence(Failure),
}

/// Who asks a table of a unit.
pub(super) trait Ask {
    /// Asks for registers.
    async fn ask(&mut self, extent: Extent) -> Result<Answer, Lost>;
    /// Whether the unit still answers what it answered before.
    async fn is_there(&mut self) -> Result<bool, Lost>;
}

/// What is known of a table. It is right at every moment of a search, which may be given up.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ranges {
    /// What can be read, in rising order, with a hole between each two.
    pub stretches: Vec<Extent>,
    /// The longest request that was answered with values.
    pub longest: u32,
    /// The longest that the device answers, where one that is longer was refused for its length.
    pub limit: Option<u32>,
    /// First registers behind which a request may not begin before them, though both sides can be read.
    pub seams: Vec<u32>,
    /// The device does not have the function.
    pub is_unsupported: bool,
    /// Where the search was given up, and why.
    pub stopped: Option<(u32, String)>,
    /// Questions without an answer, and what was said of the last one.
    pub silences: u32,
    pub silence: Option<String>,
}

impl Ranges {
    fn add(&mut self, extent: Extent) {
        let mut start = extent.start;
        let mut end = extent.end();
        while let Some(last) = self.stretches.pop_if(|last| last.end() >= start) {
            start = start.min(last.start);
            end = end.max(last.end());
        }
        self.stretches.push(Extent {
            start,
            len: end - start,
        });
    }
}

/// Why a search ends early.
enum End {
    /// The table is left alone; `Ranges::stopped` says why.
    Stopped,
    Lost(Lost),
}

impl From<Lost> for End {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

/// Looks at the registers of `window`. With a `step` above 1 not at all of them, see above; `most` is what the protocol lets
/// a request have.
pub(super) async fn find(
    ask: &mut impl Ask,
    window: Extent,
    step: u32,
    most: u32,
    found: &mut Ranges,
) -> Result<(), Lost> {
    let mut search = Search {
        ask,
        end: window.end(),
        step: step.max(1),
        most,
        found,
        answered: 0,
        failures: 0,
        in_a_row: 0,
    };
    match search.run(window.start).await {
        Ok(()) | Err(End::Stopped) => Ok(()),
        Err(End::Lost(lost)) => Err(lost),
    }
}

struct Search<'a, A> {
    ask: &'a mut A,
    /// The first register that is not looked at.
    end: u32,
    step: u32,
    most: u32,
    found: &'a mut Ranges,
    answered: u32,
    /// Answers that only said that the device failed.
    failures: u32,
    /// Questions without an answer since the last one with one.
    in_a_row: u32,
}

impl<A: Ask> Search<'_, A> {
    async fn run(&mut self, start: u32) -> Result<(), End> {
        // Asked as a whole first: there are devices that refuse halves of a number, which asking for single registers
        // would not get past.
        let whole = self.room(start);
        let mut at = start;
        let mut floor = start;
        if whole > 1 && self.is_readable(start, whole).await? {
            floor = self.last_of(start + whole).await? + 1;
            at = self.next_look(floor - 1);
        }
        while at < self.end {
            if !self.is_readable(at, 1).await? {
                floor = at + 1;
                at = self.next_look(at);
                continue;
            }
            self.first_of(floor, at).await?;
            let behind = self.last_of(at).await?;
            floor = behind + 1;
            at = self.next_look(behind);
        }
        Ok(())
    }

    /// How long a request at a place may be.
    fn room(&self, at: u32) -> u32 {
        let most = self.found.limit.unwrap_or(self.most);
        most.min(self.end.saturating_sub(at))
    }

    /// The next place behind one that is not readable at which a single register is asked for: a round number, since
    /// device makers begin their blocks at such.
    fn next_look(&self, at: u32) -> u32 {
        (at / self.step + 1) * self.step
    }

    /// Goes down from a readable register to where its stretch begins, above what is known not to be readable.
    async fn first_of(&mut self, floor: u32, at: u32) -> Result<(), End> {
        let mut top = at;
        loop {
            let mut low = floor.max((top + 1).saturating_sub(self.found.limit.unwrap_or(self.most)));
            let mut high = top;
            while low < high {
                let middle = low.midpoint(high);
                if self.is_readable(middle, top - middle + 1).await? {
                    high = middle;
                } else {
                    low = middle + 1;
                }
            }
            // The register before may be there all the same: a request with it may have been too long.
            if high == floor || !self.is_readable(high - 1, 1).await? {
                return Ok(());
            }
            top = high - 1;
        }
    }

    /// Goes up from a place, before which all is readable, to the first register that is not.
    async fn last_of(&mut self, from: u32) -> Result<u32, End> {
        let mut at = from;
        loop {
            let room = self.room(at);
            if room == 0 {
                return Ok(at);
            }
            if self.is_readable(at, room).await? {
                at += room;
                continue;
            }
            let (mut good, mut bad) = (0, room);
            while bad - good > 1 {
                let middle = good.midpoint(bad);
                if self.is_readable(at, middle).await? {
                    good = middle;
                } else {
                    bad = middle;
                }
            }
            // The one behind it is there: it was the request that was refused, and not a register.
            if good == 0 || !self.is_readable(at + good, 1).await? {
                return Ok(at + good);
            }
            self.tell_limit_from_seam(at, good).await?;
            at += good;
        }
    }

    /// A request of one register more than `good` was refused, though all can be read. One of the same length that reaches
    /// over the same place is answered where the length was the reason.
    async fn tell_limit_from_seam(&mut self, at: u32, good: u32) -> Result<(), End> {
        let is_limit = if good == 1 {
            // Nothing shorter can be asked. Twice in a row it is taken for the length.
            self.found.seams.pop_if(|seam| *seam == at).is_some()
        } else {
            self.is_readable(at + 1, good).await?
        };
        if is_limit && self.found.longest <= good {
            self.found.limit = Some(good);
        } else {
            self.found.seams.push(at + good);
        }
        Ok(())
    }

    /// Whether a request is answered with values.
    async fn is_readable(&mut self, start: u32, len: u32) -> Result<bool, End> {
        let extent = Extent { start, len };
        let code = match self.ask.ask(extent).await? {
            Answer::Words(_) => {
                (self.answered, self.in_a_row) = (self.answered + 1, 0);
                self.found.longest = self.found.longest.max(len);
                self.found.add(extent);
                return Ok(true);
            }
            Answer::Silence(why) => {
                self.silent(start, why.to_string()).await?;
                return Ok(false);
            }
            Answer::Exception(code) => code,
        };
        self.answered += 1;
        self.in_a_row = 0;
        match code {
            // The first question may have been refused for its length.
            ExceptionCode::IllegalFunction if self.answered <= 2 && self.found.longest == 0 => {
                self.found.is_unsupported = true;
                return Err(End::Stopped);
            }
            ExceptionCode::Acknowledge | ExceptionCode::ServerDeviceBusy => {
                return Err(self.stop(start, "the device stays busy"));
            }
            ExceptionCode::ServerDeviceFailure => {
                self.failures += 1;
                if self.failures == MOST_FAILURES && self.answered == MOST_FAILURES {
                    return Err(self.stop(start, "exception 04 (server device failure) to every question"));
                }
            }
            _ => {}
        }
        Ok(false)
    }

    async fn silent(&mut self, at: u32, why: String) -> Result<(), End> {
        self.found.silences += 1;
        self.in_a_row += 1;
        self.found.silence = Some(why);
        if self.in_a_row.is_multiple_of(DOUBT) && !self.ask.is_there().await? {
            return Err(self.stop(at, "the unit does not answer any more"));
        }
        if self.found.silences == MOST_SILENCES {
            return Err(self.stop(at, "too many questions without an answer"));
        }
        Ok(())
    }

    fn stop(&mut self, at: u32, why: &str) -> End {
        self.found.stopped = Some((at, why.to_owned()));
        End::Stopped
    }
}

#[cfg(test)]
#[path = "ranges_tests.rs"]
mod tests;
