//! What the publisher has to know about Kafka. Where an operator says it, and what may be said, is the configuration's matter.

use std::path::PathBuf;
use std::time::Duration;

/// How to reach Kafka and what to ask of it.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaSettings {
    /// Addresses of the first brokers to ask, each `host:port`. The client learns of the others from them.
    pub brokers: Vec<String>,
    /// How connections are protected.
    pub security: SecuritySettings,
    /// What happens with topics that the mappings name.
    pub topics: TopicSettings,
    /// Compression of record batches.
    pub compression: Compression,
    /// How long a record may wait for others to share a request with. At zero, what is stored together goes
    /// out together: a few records at once, more than 16 a quarter of a millisecond after the first.
    pub linger: Duration,
    /// Largest record that is sent, in bytes, key and headers included. Must not exceed the brokers' `message.max.bytes`.
    pub max_record_bytes: u32,
    /// Memory for records that are sent and not yet acknowledged, in mebibytes. What does not fit waits in the store.
    pub in_flight_mib: u32,
    /// Publish in transactions: a consumer that reads committed records only sees none that is sent again after a failure.
    pub transactions: bool,
    /// How long a broker may take to answer a request before it is asked again.
    pub request_timeout: Duration,
}

/// Protection of the connections to Kafka.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Neither.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The password itself is sent (RFC 4616). Only sensible over TLS.
    Plain,
    /// Challenge and response with SHA-256 (RFC 7677).
    ScramSha256,
    /// Challenge and response with SHA-512.
    ScramSha512,
}

/// What happens with topics that the mappings name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// Create topics that are missing. When false, events of a missing topic wait in the store until someone creates it.
    pub create: bool,
    /// Partitions of a topic that is created. The count of a topic is pinned at its first use, since a key's partition depends on it.
    pub partitions: u16,
    /// Replicas of a topic that is created. When absent, three, or as many as the cluster has brokers if it has fewer.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// The defaults with the given brokers, reached over TLS.
    #[must_use]
    pub fn new(brokers: Vec<String>) -> Self {
        Self {
            brokers,
            security: SecuritySettings::default(),
            topics: TopicSettings::default(),
            compression: Compression::default(),
            linger: Duration::ZERO,
            max_record_bytes: 1_000_000,
            in_flight_mib: 16,
            transactions: false,
            request_timeout: Duration::from_secs(30),
        }
    }
}

impl SecuritySettings {
    /// Connections that anyone on the way can read and change.
    #[must_use]
    pub fn plaintext() -> Self {
        Self {
            protocol: Protocol::Plaintext,
            ..Self::default()
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
