//! Every metric of the gateway: names, help texts and units in one place. A metric is an interface.
//!
//! Handles are made once and held; nothing looks a label up on the way of a change.

use std::collections::HashMap;

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::proto::{Metric, MetricFamily};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
};

mod families;

use families::{
    LATENCY_BUCKETS, counter, counter_vec, float_vec, forecast, gauge, gauge_vec, histogram, histogram_vec,
};

/// All metric families, registered.
#[derive(Clone)]
pub struct Metrics {
    /// Where `/metrics` gathers from.
    pub registry: Registry,
    source_up: IntGaugeVec,
    source_connects: IntCounterVec,
    source_samples: IntCounterVec,
    source_requests: IntCounterVec,
    source_errors: IntCounterVec,
    source_gaps: IntCounterVec,
    source_restarts: IntCounterVec,
    source_failed_tags: IntGaugeVec,
    source_revised: GaugeVec,
    source_server_state: GaugeVec,
    source_service_level: GaugeVec,
    certificate_expires: GaugeVec,
    source_request_seconds: HistogramVec,
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

/// The handles of one source.
#[derive(Clone, Debug)]
pub struct SourceMetrics {
    source: String,
    /// 1 while the source is connected.
    pub up: IntGauge,
    /// Connections made, the first included.
    pub connects: IntCounter,
    /// Samples handed on.
    pub samples: IntCounter,
    /// Requests sent to the device (polls, publishes).
    pub requests: IntCounter,
    /// Times where something may have been missed.
    pub gaps: IntCounter,
    /// Times the source's task ended unexpectedly and was started again.
    pub restarts: IntCounter,
    /// Tags that the device refuses.
    pub failed_tags: IntGauge,
    /// Round-trip time of a request.
    pub request_seconds: Histogram,
    errors: IntCounterVec,
    revised: GaugeVec,
    server_state: GaugeVec,
    service_level: GaugeVec,
    certificate_expires: GaugeVec,
}

impl SourceMetrics {
    /// Counts an error of a kind (`timeout`, `link`, `protocol`, `exception`, `status`).
    pub fn error(&self, kind: &str) {
        self.errors.with_label_values(&[self.source.as_str(), kind]).inc();
    }

    /// Shows what the server made of a requested setting (`publishing_interval`, `sampling_interval`, in
    /// seconds; `queue_size` in values).
    pub fn revised(&self, setting: &str, value: f64) {
        self.revised
            .with_label_values(&[self.source.as_str(), setting])
            .set(value);
    }

    /// Shows what an OPC UA server says of itself: its state (0 is running) and its service level (0 to 255).
    pub fn server(&self, state: i32, service_level: u8) {
        let source = &[self.source.as_str()];
        self.server_state.with_label_values(source).set(f64::from(state));
        self.service_level
            .with_label_values(source)
            .set(f64::from(service_level));
    }

    /// Shows when a certificate ends (`gateway` or `server`), in seconds since 1970.
    pub fn certificate_expires(&self, whose: &str, seconds: f64) {
        self.certificate_expires
            .with_label_values(&[self.source.as_str(), whose])
            .set(seconds);
    }
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
            source_up: gauge_vec(
                &registry,
                "source_up",
                "1 while the source is connected",
                &["source"],
            )?,
            source_connects: counter_vec(
                &registry,
                "source_connects_total",
                "Connections made to the source, the first included",
                &["source"],
            )?,
            source_samples: counter_vec(
                &registry,
                "source_samples_total",
                "Samples received from the source",
                &["source"],
            )?,
            source_requests: counter_vec(
                &registry,
                "source_requests_total",
                "Requests sent to the source",
                &["source"],
            )?,
            source_errors: counter_vec(
                &registry,
                "source_errors_total",
                "Errors of the source by kind",
                &["source", "kind"],
            )?,
            source_gaps: counter_vec(
                &registry,
                "source_gaps_total",
                "Times where changes of the source may have been missed",
                &["source"],
            )?,
            source_restarts: counter_vec(
                &registry,
                "source_restarts_total",
                "Times the source's task ended unexpectedly and was started again",
                &["source"],
            )?,
            source_failed_tags: gauge_vec(
                &registry,
                "source_failed_tags",
                "Tags that the source refuses",
                &["source"],
            )?,
            source_revised: float_vec(
                &registry,
                "source_revised",
                "Settings as the server revised them (intervals in seconds, queue sizes in values)",
                &["source", "setting"],
            )?,
            source_server_state: float_vec(
                &registry,
                "source_server_state",
                "State of the OPC UA server as it says (0 running, 1 failed, 2 no configuration, 3 suspended, 4 shutdown, 5 test, \
                 6 communication fault, 7 unknown)",
                &["source"],
            )?,
            source_service_level: float_vec(
                &registry,
                "source_service_level",
                "Service level of the OPC UA server as it says (0 to 255; 200 and more is healthy)",
                &["source"],
            )?,
            certificate_expires: float_vec(
                &registry,
                "certificate_expires_timestamp_seconds",
                "End of the validity of a certificate in seconds since 1970 (whose: gateway, server)",
                &["source", "whose"],
            )?,
            source_request_seconds: histogram_vec(
                &registry,
                "source_request_seconds",
                "Round-trip time of requests to the source",
                &["source"],
            )?,
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
        let label = &[source];
        SourceMetrics {
            source: source.to_owned(),
            up: self.source_up.with_label_values(label),
            connects: self.source_connects.with_label_values(label),
            samples: self.source_samples.with_label_values(label),
            requests: self.source_requests.with_label_values(label),
            gaps: self.source_gaps.with_label_values(label),
            restarts: self.source_restarts.with_label_values(label),
            failed_tags: self.source_failed_tags.with_label_values(label),
            request_seconds: self.source_request_seconds.with_label_values(label),
            errors: self.source_errors.clone(),
            revised: self.source_revised.clone(),
            server_state: self.source_server_state.clone(),
            service_level: self.source_service_level.clone(),
            certificate_expires: self.certificate_expires.clone(),
        }
    }

    /// Removes what is shown of a source that is no longer configured.
    pub fn forget_source(&self, source: &str) {
        forget(&self.source_up, source);
        forget(&self.source_connects, source);
        forget(&self.source_samples, source);
        forget(&self.source_requests, source);
        forget(&self.source_errors, source);
        forget(&self.source_gaps, source);
        forget(&self.source_restarts, source);
        forget(&self.source_failed_tags, source);
        forget(&self.source_revised, source);
        forget(&self.source_server_state, source);
        forget(&self.source_service_level, source);
        forget(&self.certificate_expires, source);
        forget(&self.source_request_seconds, source);
    }

    /// The names of the sources that are not connected.
    #[must_use]
    pub fn disconnected(&self) -> Vec<String> {
        let families = self.source_up.collect();
        let shown = families.iter().flat_map(MetricFamily::get_metric);
        shown
            .filter(|metric| metric.get_gauge().get_value() < 1.0)
            .flat_map(Metric::get_label)
            .map(|label| label.value().to_owned())
            .collect()
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

/// Removes every series with that `source`, whatever its other labels are.
fn forget<B: MetricVecBuilder>(family: &MetricVec<B>, source: &str) {
    for metric in family.collect().iter().flat_map(MetricFamily::get_metric) {
        let labels: HashMap<&str, &str> = metric
            .get_label()
            .iter()
            .map(|label| (label.name(), label.value()))
            .collect();
        if labels.get("source") == Some(&source) {
            // It is there: it was just collected.
            let _ = family.remove(&labels);
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
