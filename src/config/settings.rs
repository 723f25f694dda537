//! The daemon's settings: `config/floorgate.yaml`.
//!
//! The doc comments here are the settings' reference and the hover texts of editors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use floorgate_yaml::{Duration, Problems, Span, Spanned};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::secret::SecretFile;
use crate::skip::Skip;

/// The gateway's settings.
///
/// Paths are relative to the folder of this file. Any setting may be overridden by the environment:
/// `FLOORGATE_` and the path to it in capitals, two underscores between its parts, such as
/// `FLOORGATE_KAFKA__BROKERS`; the value is read as YAML.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The gateway's id: part of the identity of every event, so that it must be unique in the plant and never
    /// change. Letters, digits, `-`, `_` and `.`.
    pub gateway: Spanned<String>,
    /// Folder for the store, keys and certificates. Nobody but the gateway may write there.
    #[serde(default = "default_state_dir")]
    pub state_dir: PathBuf,
    /// Mapping files; `*` and `?` in the last part of a path stand for any characters.
    pub mappings: Spanned<Vec<Spanned<String>>>,
    /// What the gateway reads from, by name. Each source names its `adapter`; the other keys are the adapter's.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub(crate) sources: Skip,
    /// Where events go.
    pub kafka: Kafka,
    /// How events are written.
    #[serde(default)]
    pub events: Events,
    /// The store where events wait, and stay for a while.
    #[serde(default)]
    pub outbox: Outbox,
    /// Metrics and health over HTTP.
    #[serde(default)]
    pub http: Http,
    /// Bounds.
    #[serde(default)]
    pub limits: Limits,
}

fn default_state_dir() -> PathBuf {
    PathBuf::from("/var/lib/floorgate")
}

/// Where events go.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// Addresses of the first brokers to ask, each `host:port`; the client learns of the others from them.
    pub brokers: Spanned<Vec<Spanned<String>>>,
    /// How connections are protected. Without it: TLS with the system's certificate authorities.
    #[serde(default)]
    pub security: Security,
    /// What happens with topics that the mappings name.
    #[serde(default)]
    pub topics: Topics,
    /// Compression of record batches.
    #[serde(default)]
    pub compression: Compression,
    /// How long a record may wait for others to share a request with; `0` sends at once. At most 1s.
    #[serde(default)]
    pub linger: Spanned<Duration>,
    /// Largest record that is sent, in bytes, key and headers included; at most the brokers' `message.max.bytes`.
    /// 1000 to 100000000.
    #[serde(default = "default_max_record_bytes")]
    pub max_record_bytes: Spanned<u32>,
    /// Memory for records that are sent and not yet acknowledged, in MiB; what does not fit waits in the store.
    /// 1 to 1024.
    #[serde(default = "default_in_flight_mib")]
    pub in_flight_mib: Spanned<u32>,
    /// How long a broker may take to answer a request before it is asked again. 1s to 15m.
    #[serde(default = "default_request_timeout")]
    pub request_timeout: Spanned<Duration>,
}

fn without_place<T>(value: T) -> Spanned<T> {
    Spanned {
        value,
        span: Span::default(),
    }
}

/// Kafka's brokers take 1,048,588 bytes of batch by default (`message.max.bytes`); this leaves room for the
/// batch's own fields.
fn default_max_record_bytes() -> Spanned<u32> {
    without_place(1_000_000)
}

fn default_in_flight_mib() -> Spanned<u32> {
    without_place(16)
}

fn default_request_timeout() -> Spanned<Duration> {
    without_place(Duration::from_secs(30))
}

/// Protection of the connections to Kafka.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Security {
    /// Encryption and authentication.
    pub protocol: Spanned<Protocol>,
    /// PEM file with the certificates of the authorities that may sign a broker's certificate. The system's own
    /// when absent.
    pub ca_file: Option<Spanned<PathBuf>>,
    /// PEM file with the client's certificate chain, for brokers that know clients by certificate.
    pub certificate_file: Option<Spanned<PathBuf>>,
    /// PEM file with the private key of that certificate, or `credential:NAME`.
    pub key_file: Option<Spanned<SecretFile>>,
    /// File that holds the password of the private key, or `credential:NAME`.
    pub key_password_file: Option<Spanned<SecretFile>>,
    /// SASL mechanism; needed by the `sasl_…` protocols.
    pub mechanism: Option<Spanned<Mechanism>>,
    /// SASL user name.
    pub username: Option<Spanned<String>>,
    /// File that holds the SASL password, or `credential:NAME`.
    pub password_file: Option<Spanned<SecretFile>>,
    /// Accept a broker's certificate whatever host it was made for. Anyone with a certificate of the same
    /// authority can then pose as the broker.
    pub skip_host_verification_insecure: Option<Spanned<bool>>,
}

/// Encryption and authentication of connections to Kafka.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Neither: anyone on the way can read and change events.
    Plaintext,
    /// TLS, the client known by its certificate if it has one.
    #[default]
    Ssl,
    /// User name and password over a connection that anyone on the way can read.
    SaslPlaintext,
    /// User name and password over TLS.
    SaslSsl,
}

/// How user name and password are proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Mechanism {
    /// The password itself is sent (RFC 4616); only over TLS.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Challenge and response with SHA-256 (RFC 7677).
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Challenge and response with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// What happens with topics that the mappings name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// Create topics that are missing. When false, events of a missing topic wait in the store until somebody
    /// creates it.
    pub create: bool,
    /// Partitions of a topic that is created, 1 to 10000. A topic's count is pinned at its first use, as a key's
    /// partition depends on it.
    pub partitions: Spanned<u16>,
    /// Replicas of a topic that is created, from 1. When absent three, or as many as the cluster has brokers if
    /// those are fewer.
    pub replication: Option<Spanned<u16>>,
    /// Topics by event type, in place of `<enterprise>.<site>.<mes|wms>.<entity>.v1`.
    pub overrides: BTreeMap<String, Spanned<String>>,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            create: true,
            partitions: without_place(6),
            replication: None,
            overrides: BTreeMap::new(),
        }
    }
}

/// Compression of record batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// None: small batches, as live events make, gain little.
    #[default]
    None,
    /// LZ4: little CPU, half the bytes of JSON.
    Lz4,
    /// Snappy.
    Snappy,
    /// Gzip: the most CPU.
    Gzip,
}

/// How events are written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    /// How an event stands in a record (CloudEvents Kafka binding).
    pub encoding: Encoding,
    /// Beginning of event types: `io.floorgate` makes `io.floorgate.mes.WorkOrderStatusChanged.v1`.
    pub type_prefix: String,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            encoding: Encoding::default(),
            type_prefix: "io.floorgate".to_owned(),
        }
    }
}

/// How an event stands in a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Attributes as headers, the data as value.
    #[default]
    Binary,
    /// One JSON document as value.
    Structured,
}

/// The store where events wait, and stay for a while.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Outbox {
    /// How long published events are kept, so that a broker that lost them can be given them again. At most 30d.
    pub keep: Spanned<Duration>,
    /// When the store is larger than this, in MiB, published events go before their time. It does not bound what
    /// is not published yet. 16 to 1048576.
    pub keep_mib: Spanned<u32>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { keep: without_place(Duration::from_secs(24 * 60 * 60)), keep_mib: without_place(1024) }
    }
}

/// Metrics and health over HTTP.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address and port of `/metrics`, `/healthz` and `/readyz`.
    #[schemars(with = "String")]
    pub listen: Spanned<SocketAddr>,
    /// Let `listen` be an address that other machines reach. Metrics are then open to whoever reaches it.
    pub allow_remote: bool,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: without_place(SocketAddr::from(([127, 0, 0, 1], 9464))),
            allow_remote: false,
        }
    }
}

/// Bounds.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Values that were received and are not yet stored; when this many wait, sources stop reading. 1000 to 1000000.
    pub samples_in_flight: Spanned<u32>,
    /// How long a stop may take: sources are stopped and everything received is stored first, then events are
    /// published as long as time is left. 1s to 5m.
    pub stop_within: Spanned<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            samples_in_flight: without_place(50_000),
            stop_within: without_place(Duration::from_secs(10)),
        }
    }
}

impl Protocol {
    /// Whether connections are encrypted.
    #[must_use]
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Whether the client proves a user name.
    #[must_use]
    pub const fn is_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// Whether a name is made of letters, digits, `-`, `_` and `.` and is neither empty nor longer than `longest`.
pub(crate) fn is_plain_name(name: &str, longest: usize) -> bool {
    (1..=longest).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

impl Settings {
    /// Names the settings that differ from those of `running` and are taken over at a start only. Paths of the
    /// differing settings themselves are not told apart below their section.
    #[must_use]
    pub fn that_need_a_restart(&self, running: &Self) -> Vec<&'static str> {
        let differs = |a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| format!("{a:?}") != format!("{b:?}");
        let sections: [(&'static str, &dyn std::fmt::Debug, &dyn std::fmt::Debug); 7] = [
            ("gateway", &self.gateway.value, &running.gateway.value),
            ("state_dir", &self.state_dir, &running.state_dir),
            ("kafka", &self.kafka, &running.kafka),
            ("events", &self.events, &running.events),
            ("outbox", &self.outbox, &running.outbox),
            ("http", &self.http, &running.http),
            ("limits", &self.limits, &running.limits),
        ];
        sections.into_iter().filter(|(_, new, old)| differs(new, old)).map(|(name, ..)| name).collect()
    }

    /// What decoding cannot see: values that contradict each other or are out of range.
    pub(crate) fn check(&self, problems: &mut Problems) {
        if !is_plain_name(&self.gateway, 64) {
            problems
                .error(
                    self.gateway.span,
                    format!("`gateway`: {:?} is no plain name", self.gateway.value),
                )
                .hint("up to 64 letters, digits, `-`, `_` and `.`");
        }
        if self.mappings.is_empty() {
            problems.warning(
                self.mappings.span,
                "`mappings` is empty: no event will ever be made",
            );
        }
        if !self.http.listen.ip().is_loopback() && !self.http.allow_remote {
            problems
                .error(
                    self.http.listen.span,
                    format!(
                        "`listen`: {} can be reached from other machines",
                        self.http.listen.value
                    ),
                )
                .hint("listen on 127.0.0.1, or say `allow_remote: true` beside it");
        }
        in_range(
            "samples_in_flight",
            &self.limits.samples_in_flight,
            1_000,
            1_000_000,
            problems,
        );
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(300));
        in_range("stop_within", &self.limits.stop_within, least, most, problems);
        in_range("keep", &self.outbox.keep, Duration::from_secs(0), Duration::from_secs(30 * 24 * 60 * 60), problems);
        in_range("keep_mib", &self.outbox.keep_mib, 16, 1_048_576, problems);
        self.kafka.check(problems);
    }
}

impl Kafka {
    fn check(&self, problems: &mut Problems) {
        if self.brokers.is_empty() {
            problems
                .error(self.brokers.span, "`brokers` is empty")
                .hint("name at least one `host:port`");
        }
        for broker in &self.brokers.value {
            let port = broker
                .rsplit_once(':')
                .and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>().ok())?);
            if port.is_none_or(|port| port == 0) || broker.contains([',', ' ', '/']) {
                problems
                    .error(broker.span, format!("broker {:?} is not host:port", broker.value))
                    .hint("such as `kafka1.plant.example:9093`, each broker an element of the list");
            }
        }
        in_range(
            "linger",
            &self.linger,
            Duration::default(),
            Duration::from_secs(1),
            problems,
        );
        in_range(
            "max_record_bytes",
            &self.max_record_bytes,
            1_000,
            100_000_000,
            problems,
        );
        in_range("in_flight_mib", &self.in_flight_mib, 1, 1024, problems);
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(900));
        in_range("request_timeout", &self.request_timeout, least, most, problems);
        in_range("partitions", &self.topics.partitions, 1, 10_000, problems);
        if let Some(replication) = &self.topics.replication {
            in_range("replication", replication, 1, 100, problems);
        }
        for (event, topic) in &self.topics.overrides {
            if !is_plain_name(topic, 249) {
                problems
                    .error(
                        topic.span,
                        format!("topic {:?} of `{event}` is no name of a topic", topic.value),
                    )
                    .hint("up to 249 letters, digits, `-`, `_` and `.`");
            }
        }
        self.security.check(problems);
    }
}

fn in_range<T: PartialOrd + std::fmt::Display>(
    name: &str,
    value: &Spanned<T>,
    least: T,
    most: T,
    problems: &mut Problems,
) {
    if value.value < least || value.value > most {
        problems.error(
            value.span,
            format!("`{name}`: {} is not within {least} to {most}", value.value),
        );
    }
}

impl Security {
    fn check(&self, problems: &mut Problems) {
        if self.protocol.value == Protocol::Plaintext && self.protocol.span == Span::default() {
            // A stand-in for a protocol that is wrong: nothing can be said of what belongs to it.
            return;
        }
        let given = [
            ("ca_file", self.ca_file.as_ref().map(|setting| setting.span), true),
            (
                "certificate_file",
                self.certificate_file.as_ref().map(|setting| setting.span),
                true,
            ),
            (
                "key_file",
                self.key_file.as_ref().map(|setting| setting.span),
                true,
            ),
            (
                "key_password_file",
                self.key_password_file.as_ref().map(|setting| setting.span),
                true,
            ),
            (
                "skip_host_verification_insecure",
                self.skip_host_verification_insecure
                    .as_ref()
                    .map(|setting| setting.span),
                true,
            ),
            (
                "mechanism",
                self.mechanism.as_ref().map(|setting| setting.span),
                false,
            ),
            (
                "username",
                self.username.as_ref().map(|setting| setting.span),
                false,
            ),
            (
                "password_file",
                self.password_file.as_ref().map(|setting| setting.span),
                false,
            ),
        ];
        for (name, span, of_tls) in given {
            let (wanted, protocols) = if of_tls {
                (self.protocol.is_tls(), "ssl or sasl_ssl")
            } else {
                (self.protocol.is_sasl(), "sasl_ssl or sasl_plaintext")
            };
            if span.is_some() && !wanted {
                problems
                    .error(span, format!("`{name}` has no effect with this protocol"))
                    .hint(format!("remove it, or set `protocol` to {protocols}"));
            }
            if span.is_none() && !of_tls && wanted {
                problems
                    .error(
                        self.protocol.span,
                        format!("`security` lacks the key `{name}`, which this protocol needs"),
                    )
                    .hint(format!("add `{name}: …` below `security`"));
            }
        }
        if self.certificate_file.is_some() != self.key_file.is_some() {
            let span = self.certificate_file.as_ref().map(|setting| setting.span);
            problems.error(
                span.or(self.key_file.as_ref().map(|setting| setting.span)),
                "`certificate_file` and `key_file` go together, and one is missing",
            );
        }
        if self.protocol.value == Protocol::SaslPlaintext
            && let Some(mechanism) = &self.mechanism
            && mechanism.value == Mechanism::Plain
        {
            problems
                .warning(
                    mechanism.span,
                    "the password is sent in clear over a connection in clear",
                )
                .hint("use `sasl_ssl`, or a SCRAM mechanism");
        }
    }
}
