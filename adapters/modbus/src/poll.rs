//! The run of a source: when what is asked, and what becomes of the answers.

mod requests;
mod telling;
mod trial;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use backon::ExponentialBackoff;
use floorgate_adapter_api::{Closed, Sample, SourceContext};
use floorgate_sample::{Quality, TagId};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::Layout;
use crate::address::Table;
use crate::group::Group;
use crate::link::{Failure, Link};
use crate::planner::Extent;
use crate::settings::Checked;
use crate::snapshot::Points;
use crate::torn::{Doubts, MOST_AGAIN};
use crate::unit::{Patience, Reaction, Unit, pauses, reaction, refusal, silence};
use requests::Next;
use trial::Trials;

/// Most missed polls that are counted one by one.
const MOST_COUNTED: u32 = 10_000;
/// After so many requests in a row, and the retries, that were not answered while the unit answered others the request is taken for the reason.
const MOST_BROKEN: u32 = 3;
/// Most refused tags that are taken back in one poll.
const MOST_READMITTED: usize = 16;

/// Polls until told to stop.
pub(crate) async fn run(layout: Arc<Layout>, context: SourceContext) {
    let stop = context.stop.clone();
    let up = context.metrics.up.clone();
    let mut poller = Poller::new(&layout, context);
    tokio::select! {
        () = stop.cancelled() => {}
        Err(Closed) = poller.forever() => stop.cancelled().await,
    }
    poller.link.close().await;
    up.set(0);
}

/// What the gateway was told of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Unknown,
    Online,
    Offline,
}

struct Poller {
    context: SourceContext,
    settings: Checked,
    link: Link,
    link_pauses: ExponentialBackoff,
    link_retry: Instant,
    groups: Vec<Group>,
    points: Points,
    units: Vec<Unit>,
    trials: Trials,
    presence: Presence,
    /// Why the source was lost last.
    loss: Option<String>,
    /// What was done last was a request of the gateway.
    has_answered: bool,
    /// Why changes may have been missed before the next batch.
    gap: Option<String>,
}

/// What one poll of a group has brought so far.
#[derive(Default)]
struct Cycle {
    samples: Vec<Sample>,
    /// Tags of which changes may have been missed.
    missed: Vec<TagId>,
    missed_why: String,
    answered: bool,
}

impl Poller {
    fn new(layout: &Layout, context: SourceContext) -> Self {
        let now = Instant::now();
        let settings = layout.settings.clone();
        let groups = Group::all(&context.name, &layout.polled, &settings, now);
        let mut ids: Vec<u8> = layout.points.values().map(|point| point.unit).collect();
        ids.sort_unstable();
        ids.dedup();
        Self {
            link: Link::new(&settings).counted(context.metrics.traffic()),
            link_pauses: pauses(settings.backoff_max),
            link_retry: now,
            groups,
            points: layout.points.clone(),
            units: ids
                .into_iter()
                .map(|id| Unit {
                    id,
                    last_answer: None,
                    trouble: None,
                })
                .collect(),
            trials: Trials::default(),
            presence: Presence::Unknown,
            loss: None,
            has_answered: false,
            gap: None,
            context,
            settings,
        }
    }

    /// Ends only when the gateway takes no more samples.
    async fn forever(&mut self) -> Result<Infallible, Closed> {
        loop {
            let polled =
                (0..self.groups.len()).filter(|index| !self.is_tried_aside(self.groups[*index].unit));
            let next = polled.map(|index| (self.due(index), index)).min();
            let trial = self.trial_due();
            let due = next.map(|(due, _)| due).into_iter().chain(trial).min();
            match self.next_until(due).await {
                Next::Request(request) => self.fulfil(request).await?,
                Next::Tried(ended) => self.conclude_trial(ended),
                Next::Due if trial.is_some() && trial == due => self.begin_trial(),
                Next::Due => {
                    if let Some((_, index)) = next
                        && (self.link.is_open() || self.connect().await?)
                    {
                        self.poll(index).await?;
                    }
                }
            }
        }
    }

    /// When a group can be read next: not while its unit is left alone.
    fn due(&self, index: usize) -> Instant {
        let group = &self.groups[index];
        let pause = self
            .unit(group.unit)
            .and_then(|unit| unit.trouble.as_ref())
            .map(|trouble| trouble.next_try);
        pause.map_or(group.due(), |pause| pause.max(group.due()))
    }

    /// The unit with this id. Units are in the order of their ids, as the groups are.
    fn unit(&self, id: u8) -> Option<&Unit> {
        self.units
            .binary_search_by_key(&id, |unit| unit.id)
            .ok()
            .and_then(|place| self.units.get(place))
    }

    /// Whether nothing is wrong with a unit.
    fn is_sound(&self, unit: u8) -> bool {
        self.unit(unit).is_some_and(|known| known.trouble.is_none())
    }

    fn unit_mut(&mut self, id: u8) -> Option<&mut Unit> {
        let place = self.units.binary_search_by_key(&id, |unit| unit.id).ok()?;
        self.units.get_mut(place)
    }

    async fn connect(&mut self) -> Result<bool, Closed> {
        self.refuse_until(self.link_retry).await?;
        self.connect_now().await
    }

    async fn connect_now(&mut self) -> Result<bool, Closed> {
        match self.link.open().await {
            Ok(is_elsewhere) => {
                self.opened(is_elsewhere);
                self.link_pauses = pauses(self.settings.backoff_max);
                Ok(true)
            }
            Err(error) => {
                self.context.metrics.error("link");
                self.link_retry =
                    Instant::now() + self.link_pauses.next().unwrap_or(self.settings.backoff_max);
                self.lose(error.to_string(), error.see()).await?;
                Ok(false)
            }
        }
    }

    /// A connection was made; where it leads elsewhere than the one before it, changes may have been missed.
    fn opened(&mut self, is_elsewhere: bool) {
        // A socket for datagrams leads nowhere until somebody answers.
        if !self.link.endpoint().is_unproven() {
            self.context.metrics.connects.inc();
        }
        if is_elsewhere {
            warn!(
                source = self.context.name,
                see = "modbus-other-address",
                "the connection leads to {} now",
                self.link.endpoint()
            );
            if self.presence == Presence::Online {
                let why = self.gap.take();
                let why = why.unwrap_or_else(|| "the connection was made anew".to_owned());
                self.gap = Some(format!("{why}; it leads to {} now", self.link.endpoint()));
            }
        }
    }

    /// One poll of a group: its requests one after the other, then a batch.
    async fn poll(&mut self, index: usize) -> Result<(), Closed> {
        let mut cycle = Cycle::default();
        self.count_missed(index);
        let failure = self.read_all(index, &mut cycle).await;
        self.groups[index].settle();
        self.conclude(self.groups[index].unit, cycle, failure).await
    }

    fn count_missed(&mut self, index: usize) {
        let missed = self.groups[index].begin(Instant::now());
        if self.is_sound(self.groups[index].unit) && self.presence == Presence::Online {
            for _ in 0..missed.min(MOST_COUNTED) {
                self.context.metrics.error("late");
            }
        }
    }

    /// Sends the group's requests; the failure that ended them.
    async fn read_all(&mut self, index: usize, cycle: &mut Cycle) -> Option<(Failure, Table, Extent)> {
        let unit = self.groups[index].unit;
        let mut request = 0;
        let mut failing = None;
        while let Some((table, extent)) = self.groups[index].request(request) {
            let doubts = self.groups[index].doubts(request);
            match self.ask_surely((unit, table, extent), doubts).await {
                Ok((words, torn)) => {
                    self.heard(unit, cycle);
                    self.context.metrics.confirm();
                    let missed = self.groups[index].answered(request, words, &torn, &mut cycle.samples);
                    if !missed.is_empty() {
                        cycle.missed.extend(missed);
                        "the device refused a request until now".clone_into(&mut cycle.missed_why);
                    }
                    request += 1;
                }
                Err(failure) => {
                    let now = Instant::now();
                    let (Some((quality, divisible)), Failure::Exception(exception)) =
                        (refusal(&failure), &failure)
                    else {
                        // An answer, of a unit that is busy or not reached, is about the unit.
                        let is_alone = !matches!(failure, Failure::Exception(_))
                            && self.blame_request(index, request, &failure, cycle);
                        // The unit is there: this poll ends with the request, and nothing is left alone for it. Without transaction numbers a late answer has to pass first.
                        let goes_on = is_alone && !self.settings.endpoint.is_serial();
                        return (!goes_on).then_some((failure, table, extent));
                    };
                    if let Reaction::Failing(_) = reaction(*exception) {
                        let last_answer = self.unit(unit).and_then(|known| known.last_answer);
                        if !self.groups[index].failed(request, now, last_answer) {
                            failing.get_or_insert((failure, table, extent));
                            request += 1;
                            continue;
                        }
                    } else {
                        self.heard(unit, cycle);
                    }
                    let samples = &mut cycle.samples;
                    request += self.groups[index].refused(request, quality, divisible, now, samples);
                }
            }
        }
        if let Some(failure) = failing
            && !cycle.answered
        {
            // Every request failed. Where it is not for the first time, one tag alone may tell why.
            let lasts = self.unit(unit).is_some_and(|known| known.trouble.is_some());
            let ended = if lasts {
                self.probe(index, cycle).await
            } else {
                None
            };
            if ended.is_some() || !cycle.answered {
                return ended.or(Some(failure));
            }
        }
        self.retry_refused(index, cycle).await
    }

    /// A request that is not answered again and again, while the unit answers others, is what is wrong, and not the unit: it is found out what of it.
    /// Whether others were answered since.
    fn blame_request(&mut self, index: usize, request: usize, failure: &Failure, cycle: &mut Cycle) -> bool {
        let (now, group) = (Instant::now(), &self.groups[index]);
        let last_answer = self.unit(group.unit).and_then(|known| known.last_answer);
        let group = &mut self.groups[index];
        let most = u32::from(self.settings.retries) + MOST_BROKEN;
        let times = group.broke(request, now, last_answer);
        if times >= most {
            let quality = silence(failure);
            group.doubt(request, quality, &mut cycle.samples);
            group.refused(request, quality, true, now, &mut cycle.samples);
        }
        times > 0
    }

    /// Asks for one tag alone.
    async fn probe(&mut self, index: usize, cycle: &mut Cycle) -> Option<(Failure, Table, Extent)> {
        let (item, table, extent) = self.groups[index].probe()?;
        let unit = self.groups[index].unit;
        match self.ask(unit, table, extent).await {
            Ok(words) => {
                self.heard(unit, cycle);
                self.groups[index].probed(item, &words, &mut cycle.samples);
                None
            }
            Err(failure) if refusal(&failure).is_some() => None,
            Err(failure) => Some((failure, table, extent)),
        }
    }

    /// Tries refused tags again where it is time: one request more in a poll, and some more as long as the unit takes
    /// them back.
    async fn retry_refused(&mut self, index: usize, cycle: &mut Cycle) -> Option<(Failure, Table, Extent)> {
        let unit = self.groups[index].unit;
        for _ in 0..MOST_READMITTED {
            let (table, extent) = self.groups[index].retry(Instant::now())?;
            match self.ask(unit, table, extent).await {
                Ok(words) => {
                    self.heard(unit, cycle);
                    cycle
                        .missed
                        .extend(self.groups[index].readmitted(&words, &mut cycle.samples));
                    "the device refused the tag until now".clone_into(&mut cycle.missed_why);
                    let now = Instant::now();
                    let own = self.groups.iter_mut().filter(|group| group.unit == unit);
                    own.for_each(|group| group.retry_soon(now));
                }
                Err(failure) => {
                    let refused = refusal(&failure).map(|(quality, _)| quality);
                    // What was not answered now, while the rest of the poll was, is this tag's matter and not the unit's.
                    let is_alone = cycle.answered && !matches!(failure, Failure::Exception(_));
                    if refused.is_none() && !is_alone {
                        return Some((failure, table, extent));
                    }
                    let quality = refused.unwrap_or_else(|| silence(&failure));
                    self.groups[index].still_refused(quality, Instant::now(), &mut cycle.samples);
                    let has_to_pass = refused.is_none() && self.settings.endpoint.is_serial();
                    return has_to_pass.then_some((failure, table, extent));
                }
            }
        }
        None
    }

    /// Asks, and again until two answers in a row agree on each value that is in doubt. Returns those that never did too.
    async fn ask_surely(
        &mut self,
        (unit, table, extent): (u8, Table, Extent),
        mut doubts: Doubts,
    ) -> Result<(Vec<u16>, Doubts), Failure> {
        let mut words = self.ask(unit, table, extent).await?;
        for _ in 0..MOST_AGAIN {
            if doubts.is_empty() {
                break;
            }
            let again = self.ask(unit, table, extent).await?;
            doubts.compare(&mut words, &again);
        }
        Ok((words, doubts))
    }

    async fn ask(&mut self, unit: u8, table: Table, extent: Extent) -> Result<Vec<u16>, Failure> {
        self.context.metrics.requests.inc();
        let was_idle = self.link.is_idle();
        let mut asked = Instant::now();
        let mut answer = self.link.read(unit, table, extent).await;
        // A device that closes connections nobody uses is none that was lost: what it holds is asked for as if it had not.
        if was_idle
            && answer.as_ref().is_err_and(Failure::is_closed)
            && let Ok(is_elsewhere) = self.link.open().await
        {
            debug!(
                source = self.context.name,
                "the device closed the idle connection"
            );
            self.opened(is_elsewhere);
            asked = Instant::now();
            answer = self.link.read(unit, table, extent).await;
        }
        match &answer {
            Ok(_) => self
                .context
                .metrics
                .request_seconds
                .observe(asked.elapsed().as_secs_f64()),
            Err(failure) => self.count(failure),
        }
        answer
    }

    fn count(&self, failure: &Failure) {
        self.context.metrics.error(match failure {
            Failure::Exception(_) => "exception",
            Failure::Timeout(_) => "timeout",
            Failure::Protocol(_) => "protocol",
            Failure::Transport(_) => "link",
        });
    }

    /// The unit has answered.
    fn heard(&mut self, unit: u8, cycle: &mut Cycle) {
        cycle.answered = true;
        let Some(known) = self.unit_mut(unit) else {
            return;
        };
        known.last_answer = Some(Instant::now());
        if let Some(trouble) = known.trouble.take() {
            info!(source = self.context.name, unit, "the unit answers again");
            let tags = self
                .groups
                .iter()
                .filter(|group| group.unit == unit)
                .flat_map(Group::tags);
            cycle.missed.extend(tags);
            cycle.missed_why = trouble.reason;
        }
    }

    /// A failure with what was asked.
    fn told(&self, unit: u8, (failure, table, extent): &(Failure, Table, Extent)) -> String {
        let first = extent.start + u32::from(self.settings.base);
        let last = first + extent.len - 1;
        format!("unit {unit}, {} {first} to {last}: {failure}", table.name())
    }

    /// The unit has not answered: it is left alone for a while. What broke the link is no reason to leave the other
    /// units alone; the connection is made anew for the next of them.
    fn note(&mut self, unit: u8, asked: &(Failure, Table, Extent)) {
        if !self.link.is_open() && self.presence == Presence::Online {
            let reason = self.told(unit, asked);
            self.gap = Some(format!("the connection was made anew: {reason}"));
        }
        self.blame(unit, asked);
    }

    /// Leaves a unit alone for a while.
    fn blame(&mut self, unit: u8, asked: &(Failure, Table, Extent)) {
        let reason = self.told(unit, asked);
        let failure = &asked.0;
        let is_serial = self.settings.endpoint.is_serial();
        let retries = Patience::Retries(self.settings.retries);
        let (quality, patience, least) = match failure {
            Failure::Exception(exception) => match reaction(*exception) {
                Reaction::Busy(quality) | Reaction::Failing(quality) => {
                    (quality, Patience::Lasting(self.settings.timeout), Duration::ZERO)
                }
                Reaction::Unreachable(quality) | Reaction::Refused { quality, .. } => {
                    (quality, Patience::Retries(0), Duration::ZERO)
                }
            },
            // On a line without transaction numbers a late answer must have passed before the unit is asked again.
            Failure::Timeout(timeout) => (
                Quality::BAD_TIMEOUT,
                retries,
                if is_serial { *timeout } else { Duration::ZERO },
            ),
            Failure::Protocol(_) | Failure::Transport(_) => {
                (Quality::BAD_COMMUNICATION_ERROR, retries, Duration::ZERO)
            }
        };
        let longest = self.settings.backoff_max;
        let source = self.context.name.clone();
        if let Some(known) = self.unit_mut(unit) {
            if known.trouble.is_none() {
                warn!(
                    source,
                    unit,
                    see = failure.see(),
                    "the unit is left alone for a while: {reason}"
                );
            }
            known.failed(
                Instant::now(),
                (quality, reason, failure.see()),
                patience,
                least,
                longest,
            );
            if let Some(trouble) = &mut known.trouble {
                trouble.costs_link = !matches!(failure, Failure::Exception(_));
            }
        }
    }
}
