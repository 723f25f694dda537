//! The daemon's settings: `config/floorgate.yaml`.
//!
//! The doc comments here are the settings' reference and the hover texts of editors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use floorgate_adapter_api::SecretFile;
use floorgate_yaml::{Duration, Span, Spanned};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Mapping files; `*` and `?` in the last part of a path stand for any characters. Files of tests (`*.test.yaml`) are passed over.
    pub mappings: Spanned<Vec<Spanned<String>>>,
    /// What the gateway reads from, by name. Each source names its `adapter` and may say `late_after`; the other keys are the adapter's.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    #[allow(dead_code, reason = "it is read from the tree, piece by piece")]
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

pub(crate) fn default_state_dir() -> PathBuf {
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
    /// How long a record may wait for others to share a request with; `0` sends what is stored together: a few records at
    /// once, more than 16 a quarter of a millisecond after the first. At most 1s.
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
    /// Publish in transactions: consumers that read committed records only (`isolation.level=read_committed`) see each event once
    /// without comparing numbers. Costs latency (each transaction is some requests more), needs the rights Write and Describe on the
    /// transactional id `floorgate-<gateway>`, and a gateway that dies holds up those consumers until it is back or `request_timeout`
    /// (at least 10s) is over.
    #[serde(default)]
    pub transactions: Spanned<bool>,
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
#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a mapping such as {protocol: ssl}")]
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
    /// Accept a broker's certificate whatever host it was made for; not unless said. Anyone with a certificate of the
    /// same authority can then pose as the broker.
    pub skip_host_verification_insecure: Option<Spanned<bool>>,
}

/// Encryption and authentication of connections to Kafka.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Topic for copies of events that a broker refuses for good, such as one that is too large. The event itself is kept as a dead
    /// letter in any case, and a stub takes its place. When absent there are no copies.
    pub dead_letters: Option<Spanned<String>>,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            create: true,
            partitions: without_place(6),
            replication: None,
            overrides: BTreeMap::new(),
            dead_letters: None,
        }
    }
}

/// Compression of record batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    /// How an event stands in a record (Kafka binding of `CloudEvents`).
    pub encoding: Encoding,
    /// Beginning of event types: `io.floorgate` makes `io.floorgate.mes.WorkOrderStatusChanged.v1`.
    pub type_prefix: Spanned<String>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            encoding: Encoding::default(),
            type_prefix: without_place("io.floorgate".to_owned()),
        }
    }
}

/// How an event stands in a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Attributes as headers, the data as value.
    #[default]
    Binary,
    /// One JSON document as value.
    Structured,
}

/// The store where events wait, and stay for a while.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Outbox {
    /// How long published events are kept, so that a broker that lost them can be given them again. At most 30d.
    pub keep: Spanned<Duration>,
    /// When the store is larger than this, in MiB, published events go before their time. It does not bound what
    /// is not published yet. 16 to 1048576.
    pub keep_mib: Spanned<u32>,
    /// The store does not grow beyond this, in MiB, whatever waits in it: sources wait then, as on a full disk. When absent the disk is
    /// the limit. 64 to 16777216.
    pub max_mib: Option<Spanned<u32>>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            keep: without_place(Duration::from_secs(24 * 60 * 60)),
            keep_mib: without_place(1024),
            max_mib: None,
        }
    }
}

/// Metrics and health over HTTP.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address and port of `/metrics`, `/status`, `/healthz` and `/readyz`.
    #[schemars(with = "String")]
    pub listen: Spanned<SocketAddr>,
    /// Let `listen` be an address that other machines reach. Metrics and status are then open to whoever reaches it.
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
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Values that were received and are not yet stored; when this many wait, sources stop reading. 1000 to 1000000.
    pub samples_in_flight: Spanned<u32>,
    /// How long a stop may take: sources are stopped and everything received is stored first, then events are
    /// published as long as time is left. 1s to 5m. As a service: systemd kills the gateway after the unit's `TimeoutStopSec`,
    /// 15s as it is installed; raise both.
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

impl Settings {
    /// Names the settings that differ from those of `running` and are taken over at a start only. Paths of the
    /// differing settings themselves are not told apart below their section.
    #[must_use]
    pub fn that_need_a_restart(&self, running: &Self) -> Vec<&'static str> {
        let sections = [
            ("gateway", self.gateway == running.gateway),
            ("state_dir", self.state_dir == running.state_dir),
            ("kafka", self.kafka.runs_as(&running.kafka)),
            ("events", self.events == running.events),
            ("outbox", self.outbox == running.outbox),
            ("http", self.http == running.http),
            ("limits", self.limits == running.limits),
        ];
        sections
            .into_iter()
            .filter(|(_, same)| !same)
            .map(|(name, _)| name)
            .collect()
    }
}

impl Kafka {
    /// Whether the publisher would run in the same way. The topics' overrides are the mappings', and taken over with them.
    fn runs_as(&self, other: &Self) -> bool {
        let Self {
            brokers,
            security,
            topics:
                Topics {
                    create,
                    partitions,
                    replication,
                    overrides: _,
                    dead_letters,
                },
            compression,
            linger,
            max_record_bytes,
            in_flight_mib,
            transactions,
            request_timeout,
        } = self;
        *brokers == other.brokers
            && *security == other.security
            && *create == other.topics.create
            && *partitions == other.topics.partitions
            && *replication == other.topics.replication
            && *dead_letters == other.topics.dead_letters
            && *compression == other.compression
            && *linger == other.linger
            && *max_record_bytes == other.max_record_bytes
            && *in_flight_mib == other.in_flight_mib
            && *transactions == other.transactions
            && *request_timeout == other.request_timeout
    }
}
