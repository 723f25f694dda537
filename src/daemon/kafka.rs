//! From the operator's settings to the publisher's: files are found, secrets stay in their files.

use std::path::{Path, PathBuf};

use anyhow::Context;
use floorgate_adapter_api::{NamedFile, SecretFile};
use floorgate_config::settings::{self, Kafka};
use floorgate_publisher::{Compression, KafkaSettings, Mechanism, Protocol, SecuritySettings, TopicSettings};
use floorgate_yaml::Spanned;

/// What the publisher is told. `base` is the folder of the configuration.
pub fn settings(kafka: &Kafka, base: &Path) -> anyhow::Result<KafkaSettings> {
    Ok(KafkaSettings {
        brokers: kafka.brokers.iter().map(|broker| broker.value.clone()).collect(),
        security: security(&kafka.security, base)?,
        topics: TopicSettings {
            create: kafka.topics.create,
            partitions: *kafka.topics.partitions,
            replication: kafka.topics.replication.map(|replication| replication.value),
        },
        compression: match kafka.compression {
            settings::Compression::None => Compression::None,
            settings::Compression::Lz4 => Compression::Lz4,
            settings::Compression::Snappy => Compression::Snappy,
            settings::Compression::Gzip => Compression::Gzip,
        },
        linger: kafka.linger.value.into(),
        max_record_bytes: *kafka.max_record_bytes,
        in_flight_mib: *kafka.in_flight_mib,
        transactions: kafka.transactions.value,
        request_timeout: kafka.request_timeout.value.into(),
    })
}

/// The files of certificates and secrets that the settings name.
pub fn files<'a>(security: &'a settings::Security, base: &'a Path) -> impl Iterator<Item = NamedFile> + 'a {
    let files = [
        ("ca_file", &security.ca_file),
        ("certificate_file", &security.certificate_file),
    ];
    let files = files.into_iter().filter_map(move |(setting, file)| {
        let file = file.as_ref()?;
        Some(NamedFile {
            setting,
            at: file.span,
            path: Ok(base.join(&file.value)),
        })
    });
    let secrets = [
        ("key_file", &security.key_file),
        ("key_password_file", &security.key_password_file),
        ("password_file", &security.password_file),
    ];
    let secrets = secrets.into_iter().filter_map(move |(setting, secret)| {
        let secret = secret.as_ref()?;
        Some(NamedFile {
            setting,
            at: secret.span,
            path: secret.value.locate(base),
        })
    });
    files.chain(secrets)
}

fn security(security: &settings::Security, base: &Path) -> anyhow::Result<SecuritySettings> {
    let file = |path: &Option<Spanned<PathBuf>>| path.as_ref().map(|path| base.join(&path.value));
    let secret = |name: &str, secret: &Option<Spanned<SecretFile>>| {
        secret
            .as_ref()
            .map(|secret| secret.value.locate(base))
            .transpose()
            .with_context(|| format!("kafka.security.{name} cannot be read"))
    };
    Ok(SecuritySettings {
        protocol: match security.protocol.value {
            settings::Protocol::Plaintext => Protocol::Plaintext,
            settings::Protocol::Ssl => Protocol::Ssl,
            settings::Protocol::SaslPlaintext => Protocol::SaslPlaintext,
            settings::Protocol::SaslSsl => Protocol::SaslSsl,
        },
        ca_file: file(&security.ca_file),
        certificate_file: file(&security.certificate_file),
        key_file: secret("key_file", &security.key_file)?,
        key_password_file: secret("key_password_file", &security.key_password_file)?,
        mechanism: security
            .mechanism
            .as_ref()
            .map(|mechanism| match mechanism.value {
                settings::Mechanism::Plain => Mechanism::Plain,
                settings::Mechanism::ScramSha256 => Mechanism::ScramSha256,
                settings::Mechanism::ScramSha512 => Mechanism::ScramSha512,
            }),
        username: security.username.as_ref().map(|name| name.value.clone()),
        password_file: secret("password_file", &security.password_file)?,
        skip_host_verification_insecure: security
            .skip_host_verification_insecure
            .is_some_and(|skip| skip.value),
    })
}
