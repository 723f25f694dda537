//! How sources and tags stand: what `floorgate sources`, `/status` and the watchdogs tell.
//!
//! The engine's thread notes here what passes it, in the order in which the core sees it, and once a second looks at clocks and
//! counters. Whoever asks copies it under the same lock, and works on the copy. Nothing here changes an event.

mod bad;
mod now;
mod rates;
mod row;
mod source;
mod tags;
mod telling;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use floorgate_adapter_api::{Batch, Notice, Reason, SourceId};
use floorgate_config::LoadedSource;
use floorgate_core::plan::Plan;
use floorgate_core::{Core, Now};
use floorgate_metrics::{Metrics, RevisedTags, SourceMetrics};
use floorgate_sample::Timestamp;

use bad::BadTags;
pub use now::{Places, TagNow, tags_now};
use rates::Looks;
pub use row::{
    AttemptRow, BadRow, LastGoodRow, LateRow, RevisedRow, ServerRow, SettingRow, SourceRow, StationRow,
    TagRow, TagSettingsRow,
};
use source::{Standing, State};
use tags::WatchedTags;
pub use telling::last_good_rows;
use telling::{News, tell};

/// How often clocks and counters are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// A moment, by the wall clock and by the clock of what is watched, which stands still while the gateway takes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub wall: Timestamp,
    pub watched: Duration,
}

#[cfg(test)]
impl Moment {
    /// So many seconds after 1970, all of them watched.
    fn at(seconds: u32) -> Self {
        Self {
            wall: Timestamp::from_nanos(i64::from(seconds) * 1_000_000_000),
            watched: Duration::from_secs(seconds.into()),
        }
    }
}

/// What the configuration says of a source.
#[derive(Clone, Debug)]
pub struct Configured {
    pub name: Arc<str>,
    pub adapter: &'static str,
    pub tags: usize,
    pub late_after: Option<Duration>,
}

impl From<&LoadedSource> for Configured {
    fn from(source: &LoadedSource) -> Self {
        Self {
            name: Arc::clone(&source.name),
            adapter: source.adapter,
            tags: source.tags,
            late_after: source.late_after,
        }
    }
}

/// How all of them stand.
pub struct Standings {
    /// The origin of the monotonic clock.
    started: Instant,
    metrics: Metrics,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// By [`SourceId`].
    sources: Vec<Row>,
    tags: WatchedTags,
    bad: BadTags,
    /// How long the gateway took nothing.
    held_up: Duration,
    /// When clocks and counters were last looked at.
    looked: Option<Duration>,
}

#[derive(Clone)]
struct Row {
    configured: Configured,
    standing: Standing,
    metrics: SourceMetrics,
    looks: Looks,
}

impl Table {
    fn moment(&self, now: Now) -> Moment {
        Moment {
            wall: now.wall,
            watched: now.monotonic.saturating_sub(self.held_up),
        }
    }
}

impl Standings {
    /// Sources of a plan, in its order, that start now.
    pub fn new(started: Instant, metrics: &Metrics, sources: Vec<Configured>, plan: &Arc<Plan>) -> Self {
        let standings = Self {
            started,
            metrics: metrics.clone(),
            table: Mutex::default(),
        };
        let now = standings.now();
        standings.replace(sources, plan, &HashSet::new(), now);
        standings
    }

    /// Goes on with another plan; what is known of sources that run on is kept.
    pub fn replace(&self, sources: Vec<Configured>, plan: &Arc<Plan>, kept: &HashSet<Arc<str>>, now: Now) {
        let mut table = self.table();
        let moment = table.moment(now);
        let mut before = std::mem::take(&mut table.sources);
        for configured in sources {
            let name = &configured.name;
            let known = before.iter().position(|row| row.configured.name == *name);
            let mut row = if let Some(place) = known.filter(|_| kept.contains(name)) {
                before.swap_remove(place)
            } else {
                let metrics = self.metrics.source(name);
                // It may have other tags than it had.
                metrics.revised_tags(RevisedTags::default());
                let mut looks = Looks::default();
                looks.note(now.monotonic, metrics.reading());
                Row {
                    standing: Standing::new(configured.late_after, moment),
                    configured: configured.clone(),
                    metrics,
                    looks,
                }
            };
            row.standing.be_late_after(configured.late_after, moment);
            row.configured = configured;
            table.sources.push(row);
        }
        let mut tags = WatchedTags::of(plan, moment);
        let before = std::mem::take(&mut table.tags);
        tags.go_on_from(before, moment, |source| {
            let row = plan.sources.get(source.index());
            row.is_some_and(|row| kept.contains(&row.name))
        });
        table.tags = tags;
        table.bad.replace(plan, |source| kept.contains(source));
    }

    /// A source sent something, under the numbers of the plan that is at work.
    pub fn take(&self, batch: &Batch, now: Now) {
        let mut news = Vec::new();
        let mut table = self.table();
        let moment = table.moment(now);
        let Table {
            sources, tags, bad, ..
        } = &mut *table;
        let Some(row) = sources.get_mut(batch.source.index()) else {
            return;
        };
        for notice in &batch.notices {
            row.standing.take(notice, batch.received);
            bad.hear(batch.source, notice);
        }
        // What a historian kept says nothing of now.
        if !batch.notices.contains(&Notice::History) {
            let quiet = row.standing.quiet_since();
            if row.standing.receive(&batch.samples, batch.received, moment) {
                news.push(News::source_is_back(&row.configured.name, quiet));
            }
            bad.receive(&batch.samples, batch.received);
            tags.receive(&batch.samples, batch.received, moment, |tag, since| {
                news.push(News::tag_moves(tag, &row.configured.name, since));
            });
        }
        drop(table);
        tell(news);
    }

    /// How long until clocks and counters are to be looked at.
    pub fn wait(&self, monotonic: Duration) -> Duration {
        let looked = self.table().looked;
        looked.map_or(Duration::ZERO, |looked| {
            INTERVAL.saturating_sub(monotonic.saturating_sub(looked))
        })
    }

    /// Looks at clocks and counters. While the gateway is held up, what it does not take is not late.
    pub fn look(&self, core: &Core, now: Now, is_held_up: bool) {
        let mut news = Vec::new();
        let mut table = self.table();
        let passed = table.looked.replace(now.monotonic);
        if is_held_up {
            let passed = now.monotonic.saturating_sub(passed.unwrap_or(now.monotonic));
            table.held_up += passed;
        }
        let moment = table.moment(now);
        let Table {
            sources, tags, bad, ..
        } = &mut *table;
        bad.learn(core.standing(), now.wall);
        for (number, row) in (0..).map(SourceId).zip(sources.iter_mut()) {
            let reading = row.metrics.reading();
            let quiet = row.standing.quiet_since();
            if row.looks.are_confirmed(&reading) && row.standing.confirm(moment) {
                news.push(News::source_is_back(&row.configured.name, quiet));
            }
            row.looks.note(now.monotonic, reading);
            row.standing.see(seen(core, number, &row.metrics), now.wall);
            if row.standing.last_good.is_none() {
                row.standing.last_good = core.last_good(number);
            }
            if row.standing.becomes_late(moment) {
                news.push(News::source_is_late(&row.configured, &row.standing));
            }
            row.metrics.late.set(row.standing.is_late.into());
        }
        tags.judge(moment, |tag| {
            let name = sources.get(tag.source.index()).map(|row| &row.configured.name);
            news.extend(name.map(|name| News::tag_is_late(tag, name)));
        });
        for (row, late) in sources.iter().zip(tags.late_by_source(sources.len())) {
            row.metrics.tags_late.set(late);
        }
        drop(table);
        tell(news);
    }

    /// How each source stands, in the order of their names.
    pub fn rows(&self) -> Vec<SourceRow> {
        let now = self.now();
        let table = self.table();
        let late = table.tags.late_by_source(table.sources.len());
        let rows: Vec<_> = table.sources.iter().cloned().zip(late).collect();
        drop(table);
        let mut words = self.metrics.source_words();
        let rows = rows.iter().map(|(row, late_tags)| {
            let words = words.remove(&*row.configured.name).unwrap_or_default();
            row.told(now.monotonic, *late_tags, words)
        });
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by(|a, b| a.source.cmp(&b.source));
        rows
    }

    /// The tags that are not good by their device's word, in the order of their names.
    pub fn bad(&self) -> Vec<BadRow> {
        let table = self.table();
        let told = table.bad.all().into_iter().filter_map(|(tag, source, bad)| {
            let source = &table.sources.get(source.index())?.configured;
            Some((tag, Arc::clone(&source.name), source.adapter, bad))
        });
        let mut told: Vec<_> = told.collect();
        drop(table);
        told.sort_by(|a, b| a.0.cmp(&b.0));
        let rows = told.iter();
        rows.map(|(tag, source, adapter, bad)| telling::bad_row(tag, source, adapter, *bad))
            .collect()
    }

    /// The tags that are late, in the order of their names.
    pub fn late(&self) -> Vec<LateRow> {
        let table = self.table();
        let late = table.tags.late().map(|tag| {
            let source = table.sources.get(tag.source.index());
            (tag.clone(), source.map(|row| Arc::clone(&row.configured.name)))
        });
        let late: Vec<_> = late.collect();
        drop(table);
        let rows = late
            .iter()
            .map(|(tag, source)| telling::late_row(tag, source.as_deref().unwrap_or_default()));
        let mut late: Vec<_> = rows.collect();
        late.sort_by(|a, b| a.tag.cmp(&b.tag));
        late
    }

    fn now(&self) -> Now {
        Now {
            wall: Timestamp::now(),
            monotonic: self.started.elapsed(),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the gateway sees of a source that it has not said.
fn seen(core: &Core, number: SourceId, metrics: &SourceMetrics) -> Option<(State, Reason)> {
    if metrics.up.get() == 0 {
        let reason = "not connected, and it has not said why; the log does";
        return Some((State::Offline, Reason::new(reason, "gateway-source-failed")));
    }
    let tag = core.stopped_heartbeat(number)?;
    let tag = core.plan().tags.get(tag.index())?;
    let after = tag.spec.heartbeat.unwrap_or_default().as_secs_f64();
    let reason = format!("its heartbeat, tag {}, has not changed for {after} s", tag.key);
    Some((State::Stale, Reason::new(reason, "gateway-heartbeat-stopped")))
}

#[cfg(test)]
mod tests;
