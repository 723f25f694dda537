//! What an operator may say about Kafka. A plain description: reading secrets and talking to a broker happen elsewhere.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How to reach Kafka and what to ask of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    /// Addresses of the first brokers to ask, each `host:port`. The client learns of the others from them.
    #[schemars(length(min = 1))]
    pub brokers: Vec<String>,
    /// How connections are protected.
    #[serde(default)]
    pub security: SecuritySettings,
    /// What happens with topics that the mappings name.
    #[serde(default)]
    pub topics: TopicSettings,
    /// Compression of record batches.
    #[serde(default)]
    pub compression: Compression,
    /// Milliseconds that a record may wait for others to share a request with. 0 sends at once.
    #[serde(default = "default_linger")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub linger_ms: f64,
    /// Largest record that is sent, in bytes, key and headers included. Must not exceed the brokers' `message.max.bytes`.
    #[serde(default = "default_max_record_bytes")]
    #[schemars(range(min = 1000, max = 100_000_000))]
    pub max_record_bytes: u32,
    /// Memory for records that are sent and not yet acknowledged, in mebibytes. What does not fit waits in the store.
    #[serde(default = "default_in_flight_mib")]
    #[schemars(range(min = 1, max = 1024))]
    pub in_flight_mib: u32,
    /// Seconds a broker may take to answer a request before it is asked again.
    #[serde(default = "default_request_timeout")]
    #[schemars(range(min = 1, max = 900))]
    pub request_timeout_s: u32,
}

/// Protection of the connections to Kafka.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SecuritySettings {
    /// Encryption and authentication of connections.
    pub protocol: Protocol,
    /// PEM file with the certificates of the authorities that may sign a broker's certificate. The system's own when absent.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client's certificate chain, for brokers that authenticate clients by certificate.
    pub certificate_file: Option<PathBuf>,
    /// PEM file with the private key of the client's certificate.
    pub key_file: Option<PathBuf>,
    /// File that holds the password of the private key.
    pub key_password_file: Option<PathBuf>,
    /// SASL mechanism; needed by the `sasl_…` protocols.
    pub mechanism: Option<Mechanism>,
    /// SASL user name.
    pub username: Option<String>,
    /// File that holds the SASL password.
    pub password_file: Option<PathBuf>,
    /// Accept a broker's certificate whatever host it was made for. Anyone with a certificate of the same authority can then
    /// pose as the broker.
    pub skip_host_verification_insecure: bool,
}

/// Encryption and authentication of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Neither.
    #[default]
    Plaintext,
    /// TLS, the client known by its certificate if it has one.
    Ssl,
    /// User name and password over a connection that anyone on the way can read.
    SaslPlaintext,
    /// User name and password over TLS.
    SaslSsl,
}

/// How user name and password are proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mechanism {
    /// The password itself is sent (RFC 4616). Only sensible over TLS.
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TopicSettings {
    /// Create topics that are missing. When false, events of a missing topic wait in the store until someone creates it.
    pub create: bool,
    /// Partitions of a topic that is created. The count of a topic is pinned at its first use, since a key's partition depends on it.
    #[schemars(range(min = 1, max = 10_000))]
    pub partitions: u16,
    /// Replicas of a topic that is created. When absent, three, or as many as the cluster has brokers if it has fewer.
    #[schemars(range(min = 1, max = 100))]
    pub replication: Option<u16>,
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            create: true,
            partitions: 6,
            replication: None,
        }
    }
}

/// Compression of record batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// None. Small batches, as live events make, gain little.
    #[default]
    None,
    /// LZ4: little CPU, half the bytes of JSON.
    Lz4,
    /// Snappy.
    Snappy,
    /// Gzip: the most CPU.
    Gzip,
}

impl KafkaSettings {
    /// The defaults with the given brokers.
    #[must_use]
    pub fn new(brokers: Vec<String>) -> Self {
        Self {
            brokers,
            security: SecuritySettings::default(),
            topics: TopicSettings::default(),
            compression: Compression::default(),
            linger_ms: default_linger(),
            max_record_bytes: default_max_record_bytes(),
            in_flight_mib: default_in_flight_mib(),
            request_timeout_s: default_request_timeout(),
        }
    }

    /// Everything in these settings that contradicts itself: the path of the setting and what is wrong with it.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.brokers.is_empty() {
            problems.push(("brokers", "no broker is named".to_owned()));
        }
        for broker in &self.brokers {
            let port = broker
                .rsplit_once(':')
                .and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>().ok())?);
            if port.is_none_or(|port| port == 0) || broker.contains([',', ' ', '/']) {
                problems.push(("brokers", format!("`{broker}` is not host:port")));
            }
        }
        let in_range = |value: u32, from: u32, to: u32| (from..=to).contains(&value);
        if !(0.0..=1000.0).contains(&self.linger_ms) {
            problems.push(("linger_ms", format!("{} is not within 0 to 1000", self.linger_ms)));
        }
        if !in_range(self.max_record_bytes, 1000, 100_000_000) {
            problems.push((
                "max_record_bytes",
                format!("{} is not within 1000 to 100000000", self.max_record_bytes),
            ));
        }
        if !in_range(self.in_flight_mib, 1, 1024) {
            problems.push((
                "in_flight_mib",
                format!("{} is not within 1 to 1024", self.in_flight_mib),
            ));
        }
        if !in_range(self.request_timeout_s, 1, 900) {
            problems.push((
                "request_timeout_s",
                format!("{} is not within 1 to 900", self.request_timeout_s),
            ));
        }
        if !in_range(u32::from(self.topics.partitions), 1, 10_000) {
            problems.push((
                "topics.partitions",
                format!("{} is not within 1 to 10000", self.topics.partitions),
            ));
        }
        if self.topics.replication == Some(0) {
            problems.push(("topics.replication", "0 replicas hold nothing".to_owned()));
        }
        self.security.problems(&mut problems);
        problems
    }
}

impl SecuritySettings {
    fn problems(&self, problems: &mut Vec<(&'static str, String)>) {
        let tls = self.protocol.is_tls();
        for (setting, given) in [
            ("security.ca_file", self.ca_file.is_some()),
            ("security.certificate_file", self.certificate_file.is_some()),
            ("security.key_file", self.key_file.is_some()),
            (
                "security.skip_host_verification_insecure",
                self.skip_host_verification_insecure,
            ),
        ] {
            if given && !tls {
                problems.push((
                    setting,
                    "is of no use without protocol ssl or sasl_ssl".to_owned(),
                ));
            }
        }
        if self.certificate_file.is_some() != self.key_file.is_some() {
            problems.push((
                "security.certificate_file",
                "certificate_file and key_file go together".to_owned(),
            ));
        }
        if self.key_password_file.is_some() && self.key_file.is_none() {
            problems.push((
                "security.key_password_file",
                "is of no use without key_file".to_owned(),
            ));
        }
        let sasl = self.protocol.is_sasl();
        for (setting, given) in [
            ("security.mechanism", self.mechanism.is_some()),
            ("security.username", self.username.is_some()),
            ("security.password_file", self.password_file.is_some()),
        ] {
            if given && !sasl {
                problems.push((
                    setting,
                    "is of no use without protocol sasl_plaintext or sasl_ssl".to_owned(),
                ));
            } else if !given && sasl {
                problems.push((setting, "is missing; the sasl_… protocols need it".to_owned()));
            }
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

    /// The name that Kafka clients use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }
}

impl Mechanism {
    /// The registered name of the mechanism.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Compression {
    /// The name that Kafka clients use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Snappy => "snappy",
            Self::Gzip => "gzip",
        }
    }
}

const fn default_linger() -> f64 {
    0.0
}

/// Kafka's brokers take 1,048,588 bytes of batch by default (`message.max.bytes`); this leaves room for the batch's own fields.
const fn default_max_record_bytes() -> u32 {
    1_000_000
}

const fn default_in_flight_mib() -> u32 {
    16
}

const fn default_request_timeout() -> u32 {
    30
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_consistent() {
        assert!(
            KafkaSettings::new(vec!["broker:9092".to_owned()])
                .problems()
                .is_empty()
        );
    }

    #[test]
    fn every_contradiction_is_reported() {
        let mut settings = KafkaSettings::new(vec![
            "broker".to_owned(),
            "[::1]:9092".to_owned(),
            "a:1,b:2".to_owned(),
        ]);
        settings.linger_ms = f64::NAN;
        settings.security.protocol = Protocol::SaslPlaintext;
        settings.security.username = Some("floor".to_owned());
        settings.security.key_file = Some(PathBuf::from("key.pem"));
        let found: Vec<&str> = settings.problems().iter().map(|(setting, _)| *setting).collect();
        assert_eq!(
            found,
            [
                "brokers",
                "brokers",
                "linger_ms",
                "security.key_file",
                "security.certificate_file",
                "security.mechanism",
                "security.password_file"
            ]
        );
    }
}
