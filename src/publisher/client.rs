//! The Kafka client: its configuration, and the context that collects what it has to say.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use floorgate_sample::Timestamp;
use rdkafka::ClientContext;
use rdkafka::Message;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use thiserror::Error;

use crate::inbox::Shared;
use crate::settings::{KafkaSettings, SecuritySettings};

/// Longest pause between two attempts to connect, in milliseconds.
const RECONNECT_AT_MOST_MS: &str = "5000";

/// The most bytes that the client puts into one request for a partition, unless one record alone has more.
pub(crate) const BATCH_BYTES: usize = 1_000_000;

/// How much longer than a broker may take to answer the client waits before it gives the connection up, and the longest that it can wait.
const SILENCE: Duration = Duration::from_secs(1);
const LONGEST_SILENCE: Duration = Duration::from_mins(5);

/// Where a gateway dies, those who read committed records wait for the end of its transaction: until it is started again, or this time is over.
const SHORTEST_TRANSACTION: Duration = Duration::from_secs(10);

/// How long the client waits for the rest of a large burst. Without it, its thread takes the first records of a burst while the others are
/// still being handed over; those have to wait for the acknowledgement then, and meanwhile the thread polls without sleeping, tens of
/// thousands of times a second. Longer than handing over a hundred records takes, and short beside a broker's answer.
pub(crate) const GATHERING: Duration = Duration::from_micros(250);

/// A delivery of the record that ends a burst: the publisher may have waited for it.
pub(crate) const ENDS_BURST: usize = 1 << (usize::BITS - 1);

/// Why no Kafka client can be made from the settings.
#[derive(Debug, Error)]
pub enum ClientError {
    /// A file that holds a secret cannot be read.
    #[error("cannot read kafka {setting} {path}", path = path.display())]
    Secret {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The client refuses the settings: a certificate or key is not readable, for one.
    #[error("the kafka client refuses its settings: {reason}")]
    Refused {
        /// What the client says.
        reason: String,
    },
}

/// The configuration that producer and administration share. It holds secrets: it is never printed.
pub fn connection(settings: &KafkaSettings, client_id: &str) -> Result<ClientConfig, ClientError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", settings.brokers.join(","))
        .set("client.id", client_id)
        .set("security.protocol", settings.security.protocol.name())
        // A topic that a broker makes up has the broker's partition count, not the one that was asked for.
        .set("allow.auto.create.topics", "false")
        .set("socket.keepalive.enable", "true")
        .set("socket.connection.setup.timeout.ms", "10000")
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", RECONNECT_AT_MOST_MS)
        .set_log_level(RDKafkaLogLevel::Info);
    secure(&mut config, &settings.security)?;
    Ok(config)
}

fn secure(config: &mut ClientConfig, security: &SecuritySettings) -> Result<(), ClientError> {
    if security.protocol.is_tls() {
        let algorithm = if security.skip_host_verification_insecure {
            "none"
        } else {
            "https"
        };
        config
            .set("enable.ssl.certificate.verification", "true")
            .set("ssl.endpoint.identification.algorithm", algorithm);
        for (key, file) in [
            ("ssl.ca.location", &security.ca_file),
            ("ssl.certificate.location", &security.certificate_file),
            ("ssl.key.location", &security.key_file),
        ] {
            if let Some(file) = file {
                config.set(key, file.to_string_lossy());
            }
        }
        if let Some(file) = &security.key_password_file {
            config.set("ssl.key.password", secret("security.key_password_file", file)?);
        }
    }
    if security.protocol.is_sasl() {
        if let Some(mechanism) = security.mechanism {
            config.set("sasl.mechanism", mechanism.name());
        }
        if let Some(username) = &security.username {
            config.set("sasl.username", username);
        }
        if let Some(file) = &security.password_file {
            config.set("sasl.password", secret("security.password_file", file)?);
        }
    }
    Ok(())
}

/// The first line of a file: editors end it with a line feed that is no part of the secret.
fn secret(setting: &'static str, path: &Path) -> Result<String, ClientError> {
    let text = std::fs::read_to_string(path).map_err(|source| ClientError::Secret {
        setting,
        path: path.to_owned(),
        source,
    })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Adds what makes the connection a producer that keeps order and repeats nothing by itself.
pub(crate) fn producing(connection: &ClientConfig, settings: &KafkaSettings, gateway: &str) -> ClientConfig {
    let mut config = connection.clone();
    let in_flight_kib = u64::from(settings.in_flight_mib) * 1024;
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // Messages never expire: how long an event may wait is the store's business.
        .set("message.timeout.ms", "0")
        // How long a broker waits for its replicas; a broker that says nothing at all is given up a moment later.
        .set(
            "request.timeout.ms",
            settings.request_timeout.as_millis().to_string(),
        )
        .set(
            "queue.buffering.max.ms",
            (settings.linger.as_secs_f64() * 1000.0).to_string(),
        )
        // The publisher itself bounds what is in flight; the client's own bounds stand just above that.
        .set("queue.buffering.max.kbytes", (in_flight_kib * 2).to_string())
        .set("queue.buffering.max.messages", "1000000")
        .set("message.max.bytes", settings.max_record_bytes.to_string())
        .set("batch.size", BATCH_BYTES.to_string())
        .set("compression.type", settings.compression.name());
    if settings.transactions {
        config
            .set("transactional.id", format!("floorgate-{gateway}"))
            .set(
                "transaction.timeout.ms",
                transaction_timeout(settings).as_millis().to_string(),
            );
    } else {
        // With transactions the client sets it by itself, within the time that they may take.
        let silence = (settings.request_timeout + SILENCE).min(LONGEST_SILENCE);
        config.set("socket.timeout.ms", silence.as_millis().to_string());
    }
    config
}

/// How long the brokers let a transaction take.
pub(crate) fn transaction_timeout(settings: &KafkaSettings) -> Duration {
    settings.request_timeout.max(SHORTEST_TRANSACTION)
}

/// What became of one record.
pub(crate) struct Delivery {
    /// The number that the record was sent with, without [`ENDS_BURST`].
    pub(crate) position: usize,
    /// When the client told it.
    pub(crate) at: Timestamp,
    /// The record's offset, where the broker told it, or why it is not known to be on the log.
    pub(crate) outcome: Result<Option<i64>, RDKafkaErrorCode>,
}

/// Collects on the client's thread what the publisher's thread takes, and wakes it when a burst is through or something went wrong.
pub(crate) struct Collector {
    collected: Mutex<Collected>,
    shared: Arc<Shared>,
}

/// What one client said since it was last asked.
#[derive(Default)]
pub(crate) struct Collected {
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) errors: Vec<(RDKafkaErrorCode, String)>,
}

impl Collector {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            collected: Mutex::default(),
            shared,
        }
    }

    /// Moves everything collected into `into`, which is empty, and leaves its room for the next ones.
    pub(crate) fn take(&self, into: &mut Collected) {
        std::mem::swap(&mut *self.lock(), into);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Collected> {
        self.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Collector {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        self.lock().errors.push((code, reason.to_owned()));
        self.shared.heard();
    }
}

impl ProducerContext for Collector {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, position: usize) {
        let outcome = match result {
            Ok(message) => Ok(Some(message.offset()).filter(|offset| *offset >= 0)),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)),
        };
        let ends = outcome.is_err() || position & ENDS_BURST != 0;
        self.lock().deliveries.push(Delivery {
            position: position & !ENDS_BURST,
            at: Timestamp::now(),
            outcome,
        });
        if ends {
            self.shared.heard();
        }
    }
}

/// The context of a client that only asks and creates.
#[derive(Clone)]
pub(crate) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka administration");
    }
}

fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => {
            tracing::error!(target: "librdkafka", facility, see = "gateway-kafka-client", "{}", in_our_words(message));
        }
        RDKafkaLogLevel::Warning => {
            tracing::warn!(target: "librdkafka", facility, see = "gateway-kafka-client", "{message}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

/// What the client says of a failed connection, with our names of the settings, and with the reasons that it leaves out.
pub(crate) fn in_our_words(text: &str) -> String {
    const NO_CLIENT: &str =
        "the broker wants a client certificate that it trusts: see kafka.security.certificate_file";
    let mut words = text.to_owned();
    for (theirs, ours) in [
        ("ssl.ca.location", "kafka.security.ca_file"),
        ("ssl.certificate.location", "kafka.security.certificate_file"),
        ("ssl.key.location", "kafka.security.key_file"),
    ] {
        words = words.replace(theirs, ours);
    }
    for (sign, meaning) in [
        (
            // The client says the same whether the authority, the time or the host is wrong.
            "broker certificate could not be verified",
            "or the certificate has expired, or was made for another host than this address",
        ),
        // Java's word for no certificate, and that of TLS 1.3.
        ("alert bad certificate", NO_CLIENT),
        ("alert certificate required", NO_CLIENT),
    ] {
        if words.contains(sign) {
            words.push_str("; ");
            words.push_str(meaning);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::in_our_words;

    #[test]
    fn a_refused_certificate_is_told_with_our_settings_and_all_reasons() {
        let told =
            in_our_words("broker certificate could not be verified, verify that ssl.ca.location is right");
        assert_eq!(
            told,
            "broker certificate could not be verified, verify that kafka.security.ca_file is right; \
             or the certificate has expired, or was made for another host than this address"
        );
        let told = in_our_words("ssl/tls alert bad certificate: SSL alert number 42");
        assert!(told.ends_with("see kafka.security.certificate_file"), "{told}");
        assert_eq!(in_our_words("Connection refused"), "Connection refused");
    }
}
