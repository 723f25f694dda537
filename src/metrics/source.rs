//! What is measured of each source.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Metric as _, MetricVec, MetricVecBuilder};
use prometheus::proto::{Bucket, Metric, MetricFamily};
use prometheus::{
    Error, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
};

use crate::families::{counter_vec, float_vec, gauge_vec, histogram_vec};
use crate::reading::{Reading, RoundTrips};
use crate::stations::Board;

/// The families whose series are those of sources.
#[derive(Clone)]
pub(crate) struct SourceFamilies {
    up: IntGaugeVec,
    connects: IntCounterVec,
    samples: IntCounterVec,
    requests: IntCounterVec,
    errors: IntCounterVec,
    gaps: IntCounterVec,
    restarts: IntCounterVec,
    failed_tags: IntGaugeVec,
    tags_late: IntGaugeVec,
    late: IntGaugeVec,
    received_bytes: IntCounterVec,
    sent_bytes: IntCounterVec,
    asked: GaugeVec,
    revised: GaugeVec,
    server_state: GaugeVec,
    service_level: GaugeVec,
    clock_skew: GaugeVec,
    certificate_expires: GaugeVec,
    request_seconds: HistogramVec,
    station_up: IntGaugeVec,
    /// What is said of sources beside numbers.
    boards: Arc<Mutex<HashMap<String, Board>>>,
    /// The sources that count their bytes: of the others there is no series, since they have more than none.
    with_traffic: Arc<Mutex<BTreeSet<String>>>,
    /// How often good values of sources were seen to be as they were.
    confirmed: Arc<Mutex<HashMap<String, Arc<AtomicU64>>>>,
}

/// The handles of one source.
#[derive(Clone, Debug)]
pub struct SourceMetrics {
    pub(crate) source: String,
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
    /// Tags that have not changed for their `late_after`.
    pub tags_late: IntGauge,
    /// 1 while no good value came for the source's `late_after`.
    pub late: IntGauge,
    /// Round-trip time of a request.
    pub request_seconds: Histogram,
    errors: IntCounterVec,
    received_bytes: IntCounterVec,
    sent_bytes: IntCounterVec,
    with_traffic: Arc<Mutex<BTreeSet<String>>>,
    confirmed: Arc<AtomicU64>,
    asked: GaugeVec,
    revised: GaugeVec,
    server_state: GaugeVec,
    service_level: GaugeVec,
    clock_skew: GaugeVec,
    certificate_expires: GaugeVec,
    pub(crate) station_up: IntGaugeVec,
    pub(crate) board: Board,
}

/// The bytes of a source's connections.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// What the device sent.
    pub received: IntCounter,
    /// What was sent to it.
    pub sent: IntCounter,
}

/// What is told of a source by words, beside its numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Words {
    /// Errors by kind.
    pub errors: BTreeMap<String, u64>,
    /// Settings that the device revised (intervals in seconds, queue sizes in values).
    pub settings: BTreeMap<String, Setting>,
    /// State and service level of an OPC UA server, as it says.
    pub server: Option<(i64, i64)>,
    /// In seconds, by how much the server's clock is ahead of the gateway's, where it tells.
    pub clock_skew: Option<f64>,
}

/// A setting that the device had the last word on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Setting {
    /// What it was asked for.
    pub asked: f64,
    /// What it made of that.
    pub revised: f64,
}

impl SourceMetrics {
    /// Counts an error of a kind (`timeout`, `link`, `protocol`, `exception`, `status`).
    pub fn error(&self, kind: &str) {
        self.errors.with_label_values(&[self.source.as_str(), kind]).inc();
    }

    /// Shows what the server made of a requested setting (`publishing_interval`, `sampling_interval`, `session_timeout`, in
    /// seconds; `queue_size` in values), beside what was asked for.
    pub fn revised(&self, setting: &str, asked: f64, value: f64) {
        let labels = &[self.source.as_str(), setting];
        self.asked.with_label_values(labels).set(asked);
        self.revised.with_label_values(labels).set(value);
    }

    /// Shows what an OPC UA server says of itself: its state (0 is running) and its service level (0 to 255).
    pub fn server(&self, state: i32, service_level: u8) {
        let source = &[self.source.as_str()];
        self.server_state.with_label_values(source).set(f64::from(state));
        self.service_level
            .with_label_values(source)
            .set(f64::from(service_level));
    }

    /// Shows by how many seconds the device's clock is ahead of the gateway's; `None` where it does not tell.
    pub fn clock_skew(&self, seconds: Option<f64>) {
        let source = &[self.source.as_str()];
        if let Some(seconds) = seconds {
            self.clock_skew.with_label_values(source).set(seconds);
        } else {
            // It need not be there.
            let _ = self.clock_skew.remove_label_values(source);
        }
    }

    /// Shows when the first certificate of a kind ends, in seconds since 1970; `None`: there is none.
    pub fn certificate_expires(&self, whose: &str, seconds: Option<f64>) {
        let (all, labels) = (&self.certificate_expires, [self.source.as_str(), whose]);
        match seconds {
            Some(seconds) => all.with_label_values(&labels).set(seconds),
            None => drop(all.remove_label_values(&labels)),
        }
    }

    /// Good values came that need not be handed on, since they are as they were: the source is not late.
    pub fn confirm(&self) {
        self.confirmed.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters of the bytes on its connections, for an adapter that sees all of them. From then on they are shown.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let mut counted = self.with_traffic.lock().unwrap_or_else(PoisonError::into_inner);
        counted.insert(self.source.clone());
        self.traffic_handles()
    }

    fn traffic_handles(&self) -> Traffic {
        let source = &[self.source.as_str()];
        Traffic {
            received: self.received_bytes.with_label_values(source),
            sent: self.sent_bytes.with_label_values(source),
        }
    }

    /// How its counters stand now.
    #[must_use]
    pub fn reading(&self) -> Reading {
        let counts_bytes = {
            let counted = self.with_traffic.lock().unwrap_or_else(PoisonError::into_inner);
            counted.contains(&self.source)
        };
        let bytes = counts_bytes.then(|| {
            let Traffic { received, sent } = self.traffic_handles();
            (received.get(), sent.get())
        });
        let histogram = self.request_seconds.metric();
        let buckets = histogram.get_histogram().get_bucket();
        Reading {
            samples: self.samples.get(),
            requests: self.requests.get(),
            confirmed: self.confirmed.load(Ordering::Relaxed),
            bytes,
            round_trips: RoundTrips {
                count: histogram.get_histogram().get_sample_count(),
                within: buckets.iter().map(Bucket::cumulative_count).collect(),
            },
        }
    }
}

impl SourceFamilies {
    /// Registers them.
    #[allow(clippy::too_many_lines)] // a list of metrics, one after the other
    pub(crate) fn new(registry: &Registry) -> Result<Self, Error> {
        let of_source = &["source"];
        Ok(Self {
            up: gauge_vec(
                registry,
                "source_up",
                "1 while the source is connected",
                of_source,
            )?,
            connects: counter_vec(
                registry,
                "source_connects_total",
                "Connections made to the source, the first included",
                of_source,
            )?,
            samples: counter_vec(
                registry,
                "source_samples_total",
                "Samples received from the source",
                of_source,
            )?,
            requests: counter_vec(
                registry,
                "source_requests_total",
                "Requests sent to the source",
                of_source,
            )?,
            errors: counter_vec(
                registry,
                "source_errors_total",
                "Errors of the source by kind",
                &["source", "kind"],
            )?,
            gaps: counter_vec(
                registry,
                "source_gaps_total",
                "Times where changes of the source may have been missed",
                of_source,
            )?,
            restarts: counter_vec(
                registry,
                "source_restarts_total",
                "Times the source's task ended unexpectedly and was started again",
                of_source,
            )?,
            failed_tags: gauge_vec(
                registry,
                "source_failed_tags",
                "Tags that the source refuses",
                of_source,
            )?,
            tags_late: gauge_vec(
                registry,
                "tags_late",
                "Tags of the source that have not changed for their late_after",
                of_source,
            )?,
            late: gauge_vec(
                registry,
                "source_late",
                "1 while no good value of any tag of the source came for its late_after",
                of_source,
            )?,
            received_bytes: counter_vec(
                registry,
                "source_received_bytes_total",
                "Bytes received on the connections of the source",
                of_source,
            )?,
            sent_bytes: counter_vec(
                registry,
                "source_sent_bytes_total",
                "Bytes sent on the connections of the source",
                of_source,
            )?,
            asked: float_vec(
                registry,
                "source_asked",
                "Settings as the server was asked for them, beside source_revised",
                &["source", "setting"],
            )?,
            revised: float_vec(
                registry,
                "source_revised",
                "Settings as the server revised them (intervals in seconds, queue sizes in values)",
                &["source", "setting"],
            )?,
            server_state: float_vec(
                registry,
                "source_server_state",
                "State of the OPC UA server as it says (0 running, 1 failed, 2 no configuration, 3 suspended, 4 shutdown, 5 test, \
                 6 communication fault, 7 unknown)",
                of_source,
            )?,
            service_level: float_vec(
                registry,
                "source_service_level",
                "Service level of the OPC UA server as it says (0 to 255; 200 and more is healthy)",
                of_source,
            )?,
            clock_skew: float_vec(
                registry,
                "source_clock_skew_seconds",
                "By how much the server's clock is ahead of the gateway's (negative: behind), of servers that tell theirs",
                of_source,
            )?,
            certificate_expires: float_vec(
                registry,
                "certificate_expires_timestamp_seconds",
                "When the first certificate, or revocation list, of a kind ends, in seconds since 1970 (whose: gateway, server, user, authority, revocation_list)",
                &["source", "whose"],
            )?,
            request_seconds: histogram_vec(
                registry,
                "source_request_seconds",
                "Round-trip time of requests to the source",
                of_source,
            )?,
            station_up: gauge_vec(
                registry,
                "source_station_up",
                "1 while a part of the source that can be away by itself, such as a unit on a Modbus line, is there",
                &["source", "station"],
            )?,
            boards: Arc::default(),
            with_traffic: Arc::default(),
            confirmed: Arc::default(),
        })
    }

    /// The handles of one source.
    pub(crate) fn of(&self, source: &str) -> SourceMetrics {
        let label = &[source];
        let confirmed = {
            let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(confirmed.entry(source.to_owned()).or_default())
        };
        let board = {
            let mut boards = self.boards.lock().unwrap_or_else(PoisonError::into_inner);
            boards.entry(source.to_owned()).or_default().clone()
        };
        SourceMetrics {
            source: source.to_owned(),
            up: self.up.with_label_values(label),
            connects: self.connects.with_label_values(label),
            samples: self.samples.with_label_values(label),
            requests: self.requests.with_label_values(label),
            gaps: self.gaps.with_label_values(label),
            restarts: self.restarts.with_label_values(label),
            failed_tags: self.failed_tags.with_label_values(label),
            tags_late: self.tags_late.with_label_values(label),
            late: self.late.with_label_values(label),
            request_seconds: self.request_seconds.with_label_values(label),
            errors: self.errors.clone(),
            received_bytes: self.received_bytes.clone(),
            sent_bytes: self.sent_bytes.clone(),
            with_traffic: Arc::clone(&self.with_traffic),
            confirmed,
            asked: self.asked.clone(),
            revised: self.revised.clone(),
            server_state: self.server_state.clone(),
            service_level: self.service_level.clone(),
            clock_skew: self.clock_skew.clone(),
            certificate_expires: self.certificate_expires.clone(),
            station_up: self.station_up.clone(),
            board,
        }
    }

    /// Removes what is shown of a source that is no longer configured.
    pub(crate) fn forget(&self, source: &str) {
        forget(&self.up, source);
        forget(&self.connects, source);
        forget(&self.samples, source);
        forget(&self.requests, source);
        forget(&self.errors, source);
        forget(&self.gaps, source);
        forget(&self.restarts, source);
        forget(&self.failed_tags, source);
        forget(&self.tags_late, source);
        forget(&self.late, source);
        forget(&self.received_bytes, source);
        forget(&self.sent_bytes, source);
        forget(&self.asked, source);
        forget(&self.revised, source);
        forget(&self.server_state, source);
        forget(&self.service_level, source);
        forget(&self.clock_skew, source);
        forget(&self.certificate_expires, source);
        forget(&self.request_seconds, source);
        forget(&self.station_up, source);
        let mut boards = self.boards.lock().unwrap_or_else(PoisonError::into_inner);
        boards.remove(source);
        let mut counted = self.with_traffic.lock().unwrap_or_else(PoisonError::into_inner);
        counted.remove(source);
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        confirmed.remove(source);
    }

    /// What is told of each source by words.
    pub(crate) fn words(&self) -> HashMap<String, Words> {
        let mut all = HashMap::new();

        for (labels, metric) in series(&self.errors) {
            let errors = &mut of(&mut all, &labels).errors;
            errors.insert(
                label(&labels, "kind"),
                whole(metric.get_counter().get_value()).unsigned_abs(),
            );
        }
        for (labels, metric) in series(&self.asked) {
            let settings = &mut of(&mut all, &labels).settings;
            settings.entry(label(&labels, "setting")).or_default().asked = metric.get_gauge().get_value();
        }
        for (labels, metric) in series(&self.revised) {
            let settings = &mut of(&mut all, &labels).settings;
            settings.entry(label(&labels, "setting")).or_default().revised = metric.get_gauge().get_value();
        }
        for (labels, metric) in series(&self.server_state) {
            of(&mut all, &labels).server.get_or_insert_default().0 = whole(metric.get_gauge().get_value());
        }
        for (labels, metric) in series(&self.service_level) {
            of(&mut all, &labels).server.get_or_insert_default().1 = whole(metric.get_gauge().get_value());
        }
        for (labels, metric) in series(&self.clock_skew) {
            of(&mut all, &labels).clock_skew = Some(metric.get_gauge().get_value());
        }
        all
    }

    /// The names of the sources that are not connected.
    pub(crate) fn disconnected(&self) -> Vec<String> {
        let families = self.up.collect();
        let shown = families.iter().flat_map(MetricFamily::get_metric);
        shown
            .filter(|metric| metric.get_gauge().get_value() < 1.0)
            .flat_map(Metric::get_label)
            .map(|label| label.value().to_owned())
            .collect()
    }
}

/// The series of a family, each with its labels.
fn series<B: MetricVecBuilder>(family: &MetricVec<B>) -> Vec<(HashMap<String, String>, Metric)> {
    let mut found = Vec::new();
    for mut family in family.collect() {
        for metric in family.take_metric() {
            let labels = metric
                .get_label()
                .iter()
                .map(|label| (label.name().to_owned(), label.value().to_owned()))
                .collect();
            found.push((labels, metric));
        }
    }
    found
}

fn label(labels: &HashMap<String, String>, name: &str) -> String {
    labels.get(name).cloned().unwrap_or_default()
}

/// Removes every series with that `source`, whatever its other labels are.
fn forget<B: MetricVecBuilder>(family: &MetricVec<B>, source: &str) {
    for (labels, _) in series(family) {
        if label(&labels, "source") != source {
            continue;
        }
        let labels: HashMap<&str, &str> = labels
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        // It is there: it was just collected.
        let _ = family.remove(&labels);
    }
}

/// The words of the source that the labels name.
fn of<'a>(all: &'a mut HashMap<String, Words>, labels: &HashMap<String, String>) -> &'a mut Words {
    all.entry(label(labels, "source")).or_default()
}

/// What was counted: a number without a fraction.
#[allow(clippy::cast_possible_truncation)]
fn whole(value: f64) -> i64 {
    value as i64
}
