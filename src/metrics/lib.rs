//! Every metric of the gateway: names, help texts and units in one place. A metric is an interface.
//!
//! Handles are made once and held; nothing looks a label up on the way of a change.

use std::collections::HashMap;

use prometheus::{Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry};

mod families;
mod health;
mod reading;
mod settings;
mod source;
mod stations;

use families::{LATENCY_BUCKETS, counter, counter_vec, float_vec, forecast, gauge, histogram, histogram_vec};
pub use health::{HEALTHY_SERVICE_LEVEL, server_state_name};
pub use reading::{Reading, RoundTrips};
pub use settings::{RevisedTags, TagSettings};
use source::SourceFamilies;
pub use source::{Setting, SourceMetrics, Traffic, Words};
pub use stations::{Attempt, Failure, Outlook, Station, StationState};

/// All metric families, registered.
#[derive(Clone)]
pub struct Metrics {
    /// Where `/metrics` gathers from.
    pub registry: Registry,
    sources: SourceFamilies,
    /// Events committed to the outbox, by type.
    pub events: IntCounterVec,
    /// Failures of rules: a guard that made no event of a change, a value that the rule cannot read, a field that is null
    /// because its expression failed.
    pub rule_errors: IntCounter,
    /// Samples that a source of a replaced configuration sent after its end; they are not taken, and their tags have a gap.
    pub late_samples: IntCounter,
    /// Stage latencies: `source_to_received`, `received_to_committed`, `committed_to_acknowledged`.
    stage_seconds: HistogramVec,
    /// Duration of one durable commit.
    pub commit_seconds: Histogram,
    /// Events in one commit.
    pub commit_events: Histogram,
    /// Events stored and not yet acknowledged by Kafka.
    pub outbox_depth: IntGauge,
    /// Used pages of the store's database in bytes: what `keep_mib` is held against. The files, the log beside the database
    /// among them, may be larger.
    pub outbox_bytes: IntGauge,
    /// Hours until the store has no room, should it grow on as in the last five minutes; infinite while it does not grow.
    pub outbox_hours_until_full: Gauge,
    /// Changes that made no event since the store was nearly full, by the priority of their rule.
    pub shed: IntCounterVec,
    /// Records acknowledged by Kafka, by topic.
    pub published: IntCounterVec,
    /// Errors of the Kafka producer, by code.
    pub publish_errors: IntCounterVec,
    /// Records sent again that may already be on the log.
    pub possible_duplicates: IntCounter,
    /// Whether this start found the outbox damaged and moved it aside.
    pub outbox_salvaged: IntGauge,
    /// Events that Kafka refused for good, kept as dead letters now.
    pub dead_letters: IntGauge,
    /// Looks at the end of a partition's log before its lane goes on, by result: `settled` (it is known what the log has), `forbidden` (reading is not
    /// allowed), `expired`, `truncated`, `rolled_back`.
    pub reconciliations: IntCounterVec,
    /// Records that were read for that, others' too.
    pub reconciliation_records: IntCounter,
    /// Whether any broker is reachable.
    pub kafka_up: IntGauge,
    /// Configuration reloads, by result.
    pub reloads: IntCounterVec,
    /// Always 1, labelled with version.
    pub build_info: GaugeVec,
}

/// The stages of an event's way that are measured.
#[derive(Clone, Debug)]
pub struct StageMetrics {
    /// Source time → received by the adapter.
    pub source_to_received: Histogram,
    /// Received → durable in the outbox.
    pub received_to_committed: Histogram,
    /// Durable → acknowledged by Kafka.
    pub committed_to_acknowledged: Histogram,
}

impl Metrics {
    /// Registers everything in a registry of its own.
    ///
    /// # Errors
    /// When two metrics share a name, which is a mistake in this file.
    #[allow(clippy::too_many_lines)] // a list of metrics, one after the other
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let metrics = Self {
            sources: SourceFamilies::new(&registry)?,
            events: counter_vec(
                &registry,
                "events_total",
                "Events stored in the outbox",
                &["type"],
            )?,
            rule_errors: counter(
                &registry,
                "rule_errors_total",
                "Failures of rules: a change made no event, or one with a field that is null",
            )?,
            late_samples: counter(
                &registry,
                "late_samples_total",
                "Samples of a replaced configuration's sources that came too late to be taken",
            )?,
            stage_seconds: histogram_vec(
                &registry,
                "stage_seconds",
                "Latency of each stage of an event's way",
                &["stage"],
            )?,
            commit_seconds: histogram(
                &registry,
                "outbox_commit_seconds",
                "Duration of a durable commit",
                LATENCY_BUCKETS,
            )?,
            commit_events: histogram(
                &registry,
                "outbox_commit_events",
                "Events in a commit",
                &[1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0],
            )?,
            outbox_depth: gauge(
                &registry,
                "outbox_depth",
                "Events stored and not yet acknowledged by Kafka",
            )?,
            outbox_bytes: gauge(
                &registry,
                "outbox_bytes",
                "Used pages of the store's database in bytes; its files may be larger",
            )?,
            outbox_hours_until_full: forecast(
                &registry,
                "outbox_hours_until_full",
                "Hours until the outbox has no room, should it grow on as in the last five minutes",
            )?,
            shed: counter_vec(
                &registry,
                "shed_changes_total",
                "Changes that made no event since the outbox was nearly full of waiting ones",
                &["priority"],
            )?,
            published: counter_vec(
                &registry,
                "published_total",
                "Records acknowledged by Kafka",
                &["topic"],
            )?,
            publish_errors: counter_vec(
                &registry,
                "publish_errors_total",
                "Errors of the Kafka producer by code",
                &["code"],
            )?,
            possible_duplicates: counter(
                &registry,
                "possible_duplicates_total",
                "Records sent again that may already be on the log",
            )?,
            outbox_salvaged: gauge(
                &registry,
                "outbox_salvaged",
                "1 when this start found the outbox damaged and moved it aside",
            )?,
            dead_letters: gauge(
                &registry,
                "dead_letters",
                "Events that Kafka refused for good and that are kept",
            )?,
            reconciliations: counter_vec(
                &registry,
                "reconciliations_total",
                "Looks at the end of a partition before its events go on, by result",
                &["result"],
            )?,
            reconciliation_records: counter(
                &registry,
                "reconciliation_records_total",
                "Records read from the ends of partitions before their events go on",
            )?,
            kafka_up: gauge(&registry, "kafka_up", "1 while a broker is reachable")?,
            reloads: counter_vec(
                &registry,
                "reloads_total",
                "Configuration reloads by result (ok, refused)",
                &["result"],
            )?,
            build_info: float_vec(
                &registry,
                "build_info",
                "Always 1; the labels say what runs",
                &["version"],
            )?,
            registry,
        };
        Ok(metrics)
    }

    /// The handles of one source.
    #[must_use]
    pub fn source(&self, source: &str) -> SourceMetrics {
        self.sources.of(source)
    }

    /// Removes what is shown of a source that is no longer configured.
    pub fn forget_source(&self, source: &str) {
        self.sources.forget(source);
    }

    /// What is told of each source by words. It looks through all series: for when somebody asks.
    #[must_use]
    pub fn source_words(&self) -> HashMap<String, Words> {
        self.sources.words()
    }

    /// The names of the sources that are not connected.
    #[must_use]
    pub fn disconnected(&self) -> Vec<String> {
        self.sources.disconnected()
    }

    /// The handles of the stages.
    #[must_use]
    pub fn stages(&self) -> StageMetrics {
        let stage = |name: &str| self.stage_seconds.with_label_values(&[name]);
        StageMetrics {
            source_to_received: stage("source_to_received"),
            received_to_committed: stage("received_to_committed"),
            committed_to_acknowledged: stage("committed_to_acknowledged"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_gone_is_shown_no_more() -> Result<(), prometheus::Error> {
        let metrics = Metrics::new()?;
        for name in ["plc", "drive"] {
            let source = metrics.source(name);
            source.up.set(1);
            source.error("timeout");
            source.error("link");
        }
        metrics.forget_source("plc");
        let text = prometheus::TextEncoder::new().encode_to_string(&metrics.registry.gather())?;
        assert!(!text.contains("\"plc\""), "{text}");
        assert!(text.contains("floorgate_source_up{source=\"drive\"} 1"), "{text}");
        assert!(text.contains("kind=\"link\",source=\"drive\"} 1"), "{text}");
        Ok(())
    }
}
