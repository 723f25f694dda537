//! A source as it is told: to `floorgate sources`, as JSON, and by `/status`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use floorgate_metrics::{RevisedTags, Setting, TagSettings, server_state_name};
use serde::{Deserialize, Serialize};

/// Seconds by which an interval that was rounded may differ from what was asked for.
const ROUNDING: f64 = 0.000_5;

/// A source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRow {
    pub source: String,
    pub adapter: String,
    /// `connecting`, `online`, `stale`, `offline`; `late` is one that is online and of which no good value came for its `late_after_s`.
    pub state: String,
    pub since: String,
    /// Why, in the device's or the system's own words; of one that is away what it was lost for, and what the last attempt failed with once there was one.
    pub reason: Option<String>,
    /// The paragraph of the runbook about that.
    pub see: Option<String>,
    /// When it is tried again, where it is away.
    pub next_attempt: Option<AttemptRow>,
    pub tags: usize,
    /// Tags that the device refuses.
    pub failed_tags: i64,
    /// When these are tried again; null where there are none, or that has no time of its own.
    pub failed_tags_retry: Option<AttemptRow>,
    /// Tags that have not changed for their `late_after`.
    pub late_tags: i64,
    /// No good value came for `late_after_s`, whatever the state is.
    pub late: bool,
    pub late_after_s: Option<f64>,
    pub last_good: Option<String>,
    pub last_sample: Option<String>,
    pub last_connect: Option<String>,
    pub last_gap: Option<GapRow>,
    /// Null in the first moments after the start.
    pub flow: Option<FlowRow>,
    pub total: TotalRow,
    /// Settings that the device had the last word on.
    pub settings: BTreeMap<String, SettingRow>,
    /// What an OPC UA server says of itself.
    pub server: Option<ServerRow>,
    /// Its parts that can be away while others are there, such as the units on a Modbus line.
    pub stations: Vec<StationRow>,
}

/// The next attempt at what is away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptRow {
    pub at: String,
    /// The pause before it, which grows from one to the next.
    pub pause_s: f64,
}

/// A part of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StationRow {
    pub station: String,
    /// `connecting`, `online`, `left alone` (it failed, is tried again, and its values hold until that fails too), `offline`.
    pub state: String,
    pub since: String,
    /// In the device's or the system's own words; it stays when the station is back.
    pub last_error: Option<String>,
    /// The paragraph of the runbook about that.
    pub see: Option<String>,
    pub next_attempt: Option<AttemptRow>,
}

/// Changes may have been missed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GapRow {
    pub at: String,
    pub reason: String,
    /// The paragraph of the runbook about that.
    pub see: Option<String>,
}

/// What flowed in the last seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowRow {
    /// For how long it was counted.
    pub over_s: f64,
    pub samples_per_s: f64,
    pub requests_per_s: f64,
    /// Null where the adapter does not see them.
    pub received_bytes_per_s: Option<f64>,
    pub sent_bytes_per_s: Option<f64>,
    /// Null where no answer came meanwhile.
    pub round_trip_ms: Option<RoundTripRow>,
}

/// How long requests took, estimated from the buckets of `floorgate_source_request_seconds`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundTripRow {
    pub count: u64,
    pub p50: f64,
    pub p99: f64,
}

/// Since the start of the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TotalRow {
    pub samples: u64,
    pub requests: u64,
    pub received_bytes: Option<u64>,
    pub sent_bytes: Option<u64>,
    pub connects: u64,
    pub gaps: u64,
    pub restarts: u64,
    /// By kind.
    pub errors: BTreeMap<String, u64>,
}

/// Intervals in seconds, queue sizes in values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingRow {
    pub asked: f64,
    pub revised: f64,
}

impl SettingRow {
    /// An interval is longer than it was asked for, not only rounded.
    pub fn is_slower(&self) -> bool {
        self.revised > self.asked + ROUNDING
    }

    /// A queue is shorter than it was asked for.
    pub fn is_shorter(&self) -> bool {
        self.revised < self.asked
    }
}

/// What an OPC UA server says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerRow {
    /// 0 is running.
    pub state: i64,
    /// 0 to 255; 200 and more is healthy.
    pub service_level: i64,
    /// By how much its clock is ahead of the gateway's, in seconds; `None` where it does not tell its time.
    pub clock_skew_s: Option<f64>,
}

impl ServerRow {
    /// Its state in the standard's words, or as its number.
    pub fn name(&self) -> Cow<'static, str> {
        match server_state_name(self.state) {
            Some(name) => name.into(),
            None => self.state.to_string().into(),
        }
    }
}

/// A tag as it is now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TagRow {
    pub tag: String,
    pub source: String,
    /// Null where it is not known.
    pub value: serde_json::Value,
    /// `good`, `uncertain`, `bad`; `unknown` where nothing was ever received.
    pub quality: String,
    /// The whole status, an OPC UA status code (OPC 10000-4 §7.39).
    pub status: Option<u32>,
    /// Why it is not good by its device's word, in the device's own words.
    pub reason: Option<String>,
    /// The paragraph of the runbook about that.
    pub see: Option<String>,
    /// Since when it is not good by its device's word.
    pub since: Option<String>,
    pub last_good: Option<LastRow>,
    /// Since when it has not changed, where it is late.
    pub late_since: Option<String>,
    /// Null where nothing is known of them.
    pub settings: Option<TagSettingsRow>,
}

/// What the device was asked for of a tag, and what it made of that; null is what is not known, or has no meaning for the tag.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagSettingsRow {
    pub publishing_interval: Option<SettingRow>,
    pub sampling_interval: Option<SettingRow>,
    pub queue_size: Option<SettingRow>,
}

impl TagSettingsRow {
    /// None where nothing is known.
    pub fn of(settings: &TagSettings) -> Option<Self> {
        let row = |setting: Setting| SettingRow {
            asked: setting.asked,
            revised: setting.revised,
        };
        (*settings != TagSettings::default()).then(|| Self {
            publishing_interval: settings.publishing_interval.map(row),
            sampling_interval: settings.sampling_interval.map(row),
            queue_size: settings.queue_size.map(row),
        })
    }
}

/// What a device made of the settings of the tags of a source, by their places among these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevisedRow {
    pub source: String,
    /// Each that there is, once.
    pub settings: Vec<Option<TagSettingsRow>>,
    /// For each run of tags the place after its last one, and which of the settings they have.
    pub runs: Vec<(u32, u32)>,
}

impl RevisedRow {
    /// What there is of a source.
    pub fn of(source: &str, tags: &RevisedTags) -> Self {
        Self {
            source: source.to_owned(),
            settings: tags.distinct().iter().map(TagSettingsRow::of).collect(),
            runs: tags.runs().to_vec(),
        }
    }

    /// Those of the tag at this place; none where nothing is known of it.
    pub fn get(&self, place: usize) -> Option<TagSettingsRow> {
        let run = self.runs.partition_point(|(end, _)| *end as usize <= place);
        let (_, which) = self.runs.get(run)?;
        self.settings.get(*which as usize).copied().flatten()
    }
}

/// The last good value that counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LastRow {
    pub value: serde_json::Value,
    /// When it came to be, where the device says that.
    pub at: Option<String>,
}

/// A tag that is unknown now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastGoodRow {
    pub tag: String,
    /// The last good value that counted.
    pub value: serde_json::Value,
    /// When it came to be, where the device says that.
    pub at: Option<String>,
}

/// A tag that is not good by its device's word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BadRow {
    pub tag: String,
    pub source: String,
    /// `uncertain` or `bad`.
    pub quality: String,
    /// The whole status, an OPC UA status code (OPC 10000-4 §7.39).
    pub status: u32,
    /// In the device's own words, where there are any.
    pub reason: Option<String>,
    /// The paragraph of the runbook about that.
    pub see: Option<String>,
    /// Since when its status is that.
    pub since: String,
}

/// A tag that is late.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LateRow {
    pub tag: String,
    pub source: String,
    /// Since when it has not changed.
    pub since: String,
    pub late_after_s: f64,
    /// The last value that was received; null where none was since the start.
    pub value: serde_json::Value,
}
