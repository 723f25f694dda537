//! The run of a source: when what is asked, and what becomes of the answers.

mod health;
mod requests;
mod silence;
mod stations;
mod telling;
mod trial;

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use floorgate_adapter_api::{Closed, Pauses, Reason, Sample, SourceContext};
use floorgate_sample::TagId;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::Layout;
use crate::address::Table;
use crate::expiry;
use crate::group::Group;
use crate::link::{Failure, Link};
use crate::planner::Extent;
use crate::settings::Checked;
use crate::snapshot::Points;
use crate::torn::{Doubts, MOST_AGAIN};
use crate::unit::{Reaction, Unit, pauses, reaction, refusal};
use requests::Next;
use silence::MOST_SILENT;
use trial::Trials;

/// Most missed polls that are counted one by one.
const MOST_COUNTED: u32 = 10_000;

/// A failure, and what was asked for.
type Asked = (Failure, Table, Extent);

/// Polls until told to stop.
pub(crate) async fn run(layout: Arc<Layout>, context: SourceContext) {
    let stop = context.stop.clone();
    let up = context.metrics.up.clone();
    let (name, metrics) = (context.name.clone(), context.metrics.clone());
    let expiring = expiry::watch(&name, &metrics, layout.settings.identity.clone());
    let mut poller = Poller::new(&layout, context);
    poller.begin_showing();
    tokio::select! {
        () = stop.cancelled() => {}
        never = expiring => match never {},
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
    link_pauses: Pauses,
    link_retry: Instant,
    /// The pause before that.
    link_pause: Duration,
    groups: Vec<Group>,
    points: Points,
    units: Vec<Unit>,
    trials: Trials,
    presence: Presence,
    /// What the source was lost for, or could not be reached for last.
    loss: Option<Reason>,
    /// The paragraphs of what was logged of that since it was there.
    said: Vec<Option<Cow<'static, str>>>,
    /// What was done last was a request of the gateway.
    has_answered: bool,
    /// Why changes may have been missed before the next batch.
    gap: Option<Reason>,
}

/// What one poll of a group has brought so far.
#[derive(Default)]
struct Cycle {
    samples: Vec<Sample>,
    /// Tags of which changes may have been missed.
    missed: Vec<TagId>,
    missed_why: Reason,
    /// The unit answered with values, or refused something by name.
    answered: bool,
    /// The unit answered whatever it was.
    is_there: bool,
    /// It was in trouble until it answered in this poll.
    is_back: bool,
    /// What the unit said that it failed with.
    failing: Option<Asked>,
    /// Why changes may have been missed after what it has brought.
    gap: Option<Reason>,
}

impl Cycle {
    /// Changes of these tags may have been missed.
    fn miss(&mut self, tags: impl IntoIterator<Item = TagId>, why: &Reason) {
        let before = self.missed.len();
        self.missed.extend(tags);
        if before == 0 && !self.missed.is_empty() {
            self.missed_why.clone_from(why);
        }
    }
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
            link_pause: Duration::ZERO,
            groups,
            points: layout.points.clone(),
            units: ids.into_iter().map(Unit::new).collect(),
            trials: Trials::default(),
            presence: Presence::Unknown,
            loss: None,
            said: Vec::new(),
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
        let unit = self.unit(group.unit);
        let pause = unit
            .and_then(|unit| unit.trouble.as_ref())
            .map(|trouble| trouble.next_try);
        let rest = unit.and_then(|unit| unit.rest);
        pause.into_iter().chain(rest).fold(group.due(), Instant::max)
    }

    /// The unit with this id. Units are in the order of their ids, as the groups are.
    fn unit(&self, id: u8) -> Option<&Unit> {
        self.units
            .binary_search_by_key(&id, |unit| unit.id)
            .ok()
            .and_then(|place| self.units.get(place))
    }

    /// Whether a unit is asked without being asked for.
    fn is_polled(&self, unit: u8) -> bool {
        self.groups.iter().any(|group| group.unit == unit)
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
                self.link_pause = self.link_pauses.next().unwrap_or(self.settings.backoff_max);
                self.link_retry = Instant::now() + self.link_pause;
                self.lose(Reason::new(error.to_string(), error.see())).await?;
                self.show_all();
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
                let why = why.map_or("the connection was made anew".into(), |why| why.told);
                let why = format!("{why}; it leads to {} now", self.link.endpoint());
                self.gap = Some(Reason::new(why, "modbus-other-address"));
            }
        }
    }

    /// One poll of a group: its requests one after the other, then a batch.
    async fn poll(&mut self, index: usize) -> Result<(), Closed> {
        let mut cycle = Cycle::default();
        self.count_missed(index);
        let failure = self.read_all(index, &mut cycle).await;
        self.groups[index].settle();
        let unit = self.groups[index].unit;
        let longest = self.settings.backoff_max;
        if failure.is_none()
            && !cycle.answered
            && let Some(known) = self.unit_mut(unit)
        {
            known.put_off(Instant::now(), longest);
        }
        self.conclude(unit, cycle, failure).await
    }

    fn count_missed(&mut self, index: usize) {
        let missed = self.groups[index].begin(Instant::now());
        if self.is_sound(self.groups[index].unit) && self.presence == Presence::Online {
            for _ in 0..missed.min(MOST_COUNTED) {
                self.context.metrics.error("late");
            }
        }
    }

    /// Asks what the group asks; the failure of the unit that ended it.
    async fn read_all(&mut self, index: usize, cycle: &mut Cycle) -> Option<Asked> {
        let unit = self.groups[index].unit;
        while let Some(request) = self.groups[index].next_sound() {
            if let Err(asked) = self.read(index, request, cycle).await {
                // It was left alone for a silence, and has answered since: another silence is the request's.
                if cycle.is_back && self.borne(index, request, &asked, cycle) {
                    return None;
                }
                self.unanswered(index, &asked);
                return Some(asked);
            }
        }
        if let Some(asked) = self.begin_with_another(index, cycle).await {
            return Some(asked);
        }
        while let Some(request) = self.groups[index].next_put_off() {
            if let Err(asked) = self.read(index, request, cycle).await {
                self.unanswered(index, &asked);
                return Some(asked);
            }
        }
        let is_over = match self.read_silent(index, cycle).await {
            Ok(is_over) => is_over,
            Err(asked) => return Some(asked),
        };
        if let Some(failure) = cycle.failing.take()
            && !cycle.answered
        {
            // Every request failed. Where it is not for the first time, one tag alone may tell why.
            let lasts = self.unit(unit).is_some_and(|known| known.trouble.is_some());
            let ended = if lasts && !is_over {
                self.probe(index, cycle).await
            } else {
                None
            };
            if ended.is_some() || !cycle.answered {
                return ended.or(Some(failure));
            }
        }
        if is_over {
            return None;
        }
        self.retry_refused(index, cycle).await
    }

    /// Asks one request, and takes the answer or the refusal; else what there was instead.
    async fn read(&mut self, index: usize, request: usize, cycle: &mut Cycle) -> Result<(), Asked> {
        let unit = self.groups[index].unit;
        self.groups[index].take_turn(request);
        let Some((table, extent)) = self.groups[index].request(request) else {
            return Ok(());
        };
        let doubts = self.groups[index].doubts(request);
        let failure = match self.ask_surely((unit, table, extent), doubts).await {
            Ok((words, torn)) => {
                self.heard(unit, cycle);
                let group = &mut self.groups[index];
                let missed = group.answered(request, words, &torn, &mut cycle.samples);
                if group.has_values(request) {
                    self.context.metrics.confirm();
                }
                let why = "a request was refused or not answered until now";
                cycle.miss(missed, &Reason::new(why, "modbus-tag-refused"));
                return Ok(());
            }
            Err(failure) => failure,
        };
        let Failure::Exception(exception) = failure else {
            return Err((failure, table, extent));
        };
        let (now, samples) = (Instant::now(), &mut cycle.samples);
        let last_answer = self.unit(unit).and_then(|known| known.last_answer);
        let group = &mut self.groups[index];
        match reaction(exception) {
            Reaction::Refused { quality, divisible } => {
                group.reached(request);
                group.refused(request, quality, divisible, now, samples);
                self.heard(unit, cycle);
            }
            Reaction::Failing(quality) => {
                cycle.is_there = true;
                group.reached(request);
                if group.failed(request, now, last_answer) {
                    group.refused(request, quality, true, now, samples);
                } else {
                    cycle.failing.get_or_insert((failure, table, extent));
                }
            }
            // That the unit is reached was just seen.
            Reaction::Unreachable(quality) if cycle.is_there => {
                // As a silence is: on a noisy line a gateway says so now and then of what is answered next time.
                let retries = u32::from(self.settings.retries);
                group.put_off((table, extent));
                group.silent(request, quality, retries + MOST_SILENT, now, samples);
                group.doubt(retries, samples);
            }
            Reaction::Busy(quality) if cycle.is_there => {
                group.busy(request, quality, now, self.settings.timeout, samples);
            }
            Reaction::Busy(_) | Reaction::Unreachable(_) => return Err((failure, table, extent)),
        }
        Ok(())
    }

    /// Asks for one tag alone.
    async fn probe(&mut self, index: usize, cycle: &mut Cycle) -> Option<Asked> {
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
        let late = self.link.overslept();
        self.overslept(late);
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
}
