//! What is told of sources and tags: rows for whoever asks, and lines in the log for what becomes late.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use floorgate_adapter_api::{Reason, TagId};
use floorgate_core::Core;
use floorgate_metrics::{Attempt, Station, Words};
use floorgate_sample::{Timestamp, Value};
use tracing::{info, warn};

use super::bad::Bad;
use super::rates::Flow;
use super::row::{
    AttemptRow, BadRow, FlowRow, GapRow, LastGoodRow, LateRow, RoundTripRow, ServerRow, SettingRow,
    SourceRow, StationRow, TotalRow,
};
use super::source::{Standing, State};
use super::tags::Watched;
use super::{Configured, Row};
use crate::registry;

/// Lines for tags in the log at a time; of more, there is a number.
const MOST_TOLD: usize = 20;

/// Something that the log tells.
pub enum News {
    SourceIsLate {
        source: Arc<str>,
        since: Timestamp,
        after: Duration,
        state: &'static str,
    },
    SourceIsBack {
        source: Arc<str>,
        since: Timestamp,
    },
    TagIsLate {
        tag: Arc<str>,
        source: Arc<str>,
        since: Timestamp,
        after: Duration,
        value: Option<Value>,
    },
    TagMoves {
        tag: Arc<str>,
        source: Arc<str>,
        since: Timestamp,
    },
}

impl News {
    pub fn source_is_late(source: &Configured, standing: &Standing) -> Self {
        Self::SourceIsLate {
            source: Arc::clone(&source.name),
            since: standing.quiet_since(),
            after: source.late_after.unwrap_or_default(),
            state: standing.stands().state.as_str(),
        }
    }

    pub fn source_is_back(source: &Arc<str>, since: Timestamp) -> Self {
        Self::SourceIsBack {
            source: Arc::clone(source),
            since,
        }
    }

    pub fn tag_is_late(tag: &Watched, source: &Arc<str>) -> Self {
        Self::TagIsLate {
            tag: Arc::clone(&tag.key),
            source: Arc::clone(source),
            since: tag.since,
            after: tag.after,
            value: tag.value.clone(),
        }
    }

    pub fn tag_moves(tag: &Watched, source: &Arc<str>, since: Timestamp) -> Self {
        Self::TagMoves {
            tag: Arc::clone(&tag.key),
            source: Arc::clone(source),
            since,
        }
    }
}

/// Tells it in the log. A source that is lost may take thousands of tags with it.
pub fn tell(news: Vec<News>) {
    let (mut late, mut moving) = (0_usize, 0_usize);
    for news in news {
        match news {
            News::SourceIsLate {
                source,
                since,
                after,
                state,
            } => warn!(
                source = &*source,
                %since,
                late_after = ?after,
                state,
                see = "gateway-source-late", "the source is late: no good value of any of its tags came"
            ),
            News::SourceIsBack { source, since } => {
                info!(source = &*source, quiet_since = %since, "the source is late no more");
            }
            News::TagIsLate {
                tag,
                source,
                since,
                after,
                value,
            } => {
                late += 1;
                if late <= MOST_TOLD {
                    warn!(
                        tag = &*tag,
                        source = &*source,
                        %since,
                        late_after = ?after,
                        value = value.as_ref().map(value_text),
                        see = "gateway-tag-late", "the tag is late: it has not changed"
                    );
                }
            }
            News::TagMoves { tag, source, since } => {
                moving += 1;
                if moving <= MOST_TOLD {
                    info!(tag = &*tag, source = &*source, unchanged_since = %since, "the tag changes again");
                }
            }
        }
    }
    if late > MOST_TOLD {
        let more = late - MOST_TOLD;
        warn!(
            more,
            see = "gateway-tag-late",
            "more tags are late; `floorgate tags` shows them"
        );
    }
    if moving > MOST_TOLD {
        let more = moving - MOST_TOLD;
        info!(more, "more tags change again");
    }
}

fn value_text(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A tag that is late.
pub fn late_row(tag: &Watched, source: &str) -> LateRow {
    LateRow {
        tag: tag.key.to_string(),
        source: source.to_owned(),
        since: tag.since.to_string(),
        late_after_s: tag.after.as_secs_f64(),
        value: tag
            .value
            .as_ref()
            .map_or(serde_json::Value::Null, crate::tags::json),
    }
}

/// A tag that is not good.
pub fn bad_row(tag: &str, source: &str, adapter: &str, bad: Bad) -> BadRow {
    let reason = registry::adapter(adapter).and_then(|adapter| adapter.reason(bad.quality));
    let (reason, see) = reason.map(in_words).unzip();
    BadRow {
        tag: tag.to_owned(),
        source: source.to_owned(),
        quality: bad.quality.class().as_str().to_owned(),
        status: bad.quality.0,
        reason,
        see: see.flatten(),
        since: bad.since.to_string(),
    }
}

/// A reason in words, and the paragraph about it.
fn in_words(reason: Reason) -> (String, Option<String>) {
    (reason.told.into_owned(), reason.see.map(Cow::into_owned))
}

/// The tags that are unknown now, with what was known of them.
pub fn last_good_rows(core: &Core) -> Vec<LastGoodRow> {
    let row = |(tag, value, at): (TagId, &Value, Option<Timestamp>)| {
        let key = &core.plan().tags.get(tag.index())?.key;
        Some(LastGoodRow {
            tag: key.to_string(),
            value: crate::tags::json(value),
            at: at.map(|at| at.to_string()),
        })
    };
    core.last_good_values().filter_map(row).collect()
}

impl Row {
    /// The source as it is told.
    pub(super) fn told(&self, monotonic: Duration, late_tags: i64, words: Words) -> SourceRow {
        let (configured, standing, metrics) = (&self.configured, &self.standing, &self.metrics);
        let stands = standing.stands();
        let reading = metrics.reading();
        let flow = self.looks.flow(monotonic, &reading);
        let is_late = standing.is_late && stands.state == State::Online;
        let late_after = configured.late_after.unwrap_or_default();
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let outlook = metrics.outlook();
        let is_away = matches!(stands.state, State::Connecting | State::Offline);
        let attempt = outlook.attempt.filter(|_| is_away);
        // What keeps it away now need not be what it was lost for.
        let failure = outlook.failure.filter(|_| is_away).map(|failure| Reason {
            told: failure.told.into(),
            see: failure.see.map(Into::into),
        });
        let failed_tags = metrics.failed_tags.get();
        let retry = outlook
            .retry
            .filter(|_| failed_tags > 0 && stands.state == State::Online);
        let reason = if is_late {
            let reason = format!("no good value of any tag for {late_after:?} and longer");
            Some(Reason::new(reason, "gateway-source-late"))
        } else {
            failure.or_else(|| stands.reason.clone())
        };
        let (reason, see) = reason.map(in_words).unzip();
        SourceRow {
            source: configured.name.to_string(),
            adapter: configured.adapter.to_owned(),
            state: if is_late { "late" } else { stands.state.as_str() }.to_owned(),
            since: if is_late {
                standing.quiet_since()
            } else {
                stands.since
            }
            .to_string(),
            reason,
            see: see.flatten(),
            next_attempt: attempt.as_ref().map(attempt_row),
            tags: configured.tags,
            failed_tags,
            failed_tags_retry: retry.as_ref().map(attempt_row),
            late_tags,
            late: standing.is_late,
            late_after_s: configured.late_after.map(|after| after.as_secs_f64()),
            last_good: time(standing.last_good),
            last_sample: time(standing.last_sample),
            last_connect: time(standing.last_connect),
            last_gap: standing.last_gap.clone().map(|(at, reason)| {
                let (at, (reason, see)) = (at.to_string(), in_words(reason));
                GapRow { at, reason, see }
            }),
            flow: flow.map(|flow| flow_row(&flow)),
            total: TotalRow {
                samples: reading.samples,
                requests: reading.requests,
                received_bytes: reading.bytes.map(|(received, _)| received),
                sent_bytes: reading.bytes.map(|(_, sent)| sent),
                connects: metrics.connects.get(),
                gaps: metrics.gaps.get(),
                restarts: metrics.restarts.get(),
                errors: words.errors,
            },
            settings: words
                .settings
                .into_iter()
                .map(|(name, setting)| {
                    let (asked, revised) = (setting.asked, setting.revised);
                    (name, SettingRow { asked, revised })
                })
                .collect(),
            server: words.server.map(|(state, service_level)| ServerRow {
                state,
                service_level,
                clock_skew_s: words.clock_skew.map(rounded),
            }),
            stations: outlook.stations.into_iter().map(station_row).collect(),
        }
    }
}

fn attempt_row(attempt: &Attempt) -> AttemptRow {
    AttemptRow {
        at: time_text(attempt.at),
        pause_s: rounded(attempt.pause.as_secs_f64()),
    }
}

fn station_row(station: Station) -> StationRow {
    StationRow {
        state: station.state.as_str().to_owned(),
        since: time_text(station.since),
        last_error: station.last_error,
        see: station.see,
        next_attempt: station.attempt.as_ref().map(attempt_row),
        station: station.name,
    }
}

/// To the millisecond.
fn time_text(time: SystemTime) -> String {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_nanos(millis.saturating_mul(1_000_000)).to_string()
}

/// Figures that are read: a microsecond and a tenth of a byte are enough.
fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

fn flow_row(flow: &Flow) -> FlowRow {
    let millis = |share: f64| {
        flow.round_trips
            .quantile(share)
            .map(|took| rounded(took * 1000.0))
    };
    FlowRow {
        over_s: rounded(flow.over.as_secs_f64()),
        samples_per_s: rounded(flow.samples),
        requests_per_s: rounded(flow.requests),
        received_bytes_per_s: flow.bytes.map(|(received, _)| rounded(received)),
        sent_bytes_per_s: flow.bytes.map(|(_, sent)| rounded(sent)),
        round_trip_ms: millis(0.5).zip(millis(0.99)).map(|(p50, p99)| RoundTripRow {
            count: flow.round_trips.count,
            p50,
            p99,
        }),
    }
}
