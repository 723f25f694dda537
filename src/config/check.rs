//! What decoding of the settings cannot see: values that contradict each other or are out of range.

use std::ops::RangeInclusive;

use floorgate_yaml::{Duration, Node, NodeKind, Problems, Span, Spanned};

use crate::settings::{Kafka, Mechanism, Protocol, Security, Settings};

/// Whether a name is made of letters, digits, `-`, `_` and `.` and is neither empty nor longer than `longest`.
pub(crate) fn is_plain_name(name: &str, longest: usize) -> bool {
    (1..=longest).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Says so where a node is no mapping (nothing at all counts as an empty one).
pub(crate) fn expect_mapping(name: &str, node: &Node, problems: &mut Problems) {
    if !matches!(node.kind, NodeKind::Map(_) | NodeKind::Null) {
        problems
            .error(
                node.span,
                format!("`{name}`: expected a mapping, found {}", node.describe()),
            )
            .hint("write `name: …` lines below it");
    }
}

/// Says so where a node is no list (nothing at all counts as an empty one).
pub(crate) fn expect_list(name: &str, node: &Node, problems: &mut Problems) {
    if !matches!(node.kind, NodeKind::List(_) | NodeKind::Null) {
        problems
            .error(
                node.span,
                format!("`{name}`: expected a list, found {}", node.describe()),
            )
            .hint("write `- {type: …, trigger: …}` lines below it");
    }
}

impl Settings {
    /// Reports everything that decoding let pass.
    pub(crate) fn check(&self, problems: &mut Problems) {
        if !is_plain_name(&self.gateway, 64) {
            problems
                .error(
                    self.gateway.span,
                    format!("`gateway`: {:?} is no plain name", self.gateway.value),
                )
                .hint("up to 64 letters, digits, `-`, `_` and `.`");
        }
        let prefix = &self.events.type_prefix;
        let is_name = prefix.split('.').all(|part| !part.is_empty()) && is_plain_name(prefix, 200);
        if !is_name {
            problems
                .error(
                    prefix.span,
                    format!(
                        "`type_prefix`: {:?} is no beginning of an event type",
                        prefix.value
                    ),
                )
                .hint("a domain of the company's, from the right: `com.example`");
        }
        if self.mappings.is_empty() {
            problems
                .warning(
                    self.mappings.span,
                    "`mappings` is empty: no event will ever be made",
                )
                .hint("name files, such as `[mappings/*.yaml]`");
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
            &(1_000..=1_000_000),
            problems,
        );
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(300));
        in_range("stop_within", &self.limits.stop_within, &(least..=most), problems);
        let longest = Duration::from_secs(30 * 24 * 60 * 60);
        in_range(
            "keep",
            &self.outbox.keep,
            &(Duration::default()..=longest),
            problems,
        );
        in_range("keep_mib", &self.outbox.keep_mib, &(16..=1_048_576), problems);
        if let Some(most) = &self.outbox.max_mib {
            in_range("max_mib", most, &(64..=16_777_216), problems);
        }
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
            &(Duration::default()..=Duration::from_secs(1)),
            problems,
        );
        in_range(
            "max_record_bytes",
            &self.max_record_bytes,
            &(1_000..=100_000_000),
            problems,
        );
        in_range("in_flight_mib", &self.in_flight_mib, &(1..=1024), problems);
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(900));
        in_range(
            "request_timeout",
            &self.request_timeout,
            &(least..=most),
            problems,
        );
        in_range("partitions", &self.topics.partitions, &(1..=10_000), problems);
        if let Some(replication) = &self.topics.replication {
            in_range("replication", replication, &(1..=100), problems);
        }
        let overrides = self.topics.overrides.iter();
        let overrides = overrides.map(|(event, topic)| (event.as_str(), topic));
        let dead_letters = self
            .topics
            .dead_letters
            .iter()
            .map(|topic| ("dead_letters", topic));
        for (name, topic) in overrides.chain(dead_letters) {
            if !is_plain_name(topic, 249) {
                problems
                    .error(
                        topic.span,
                        format!("topic {:?} of `{name}` is no name of a topic", topic.value),
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
    range: &RangeInclusive<T>,
    problems: &mut Problems,
) {
    if !range.contains(&value.value) {
        problems
            .error(value.span, format!("`{name}`: {} is out of range", value.value))
            .hint(format!("{} to {}", range.start(), range.end()));
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
            problems
                .error(
                    span.or(self.key_file.as_ref().map(|setting| setting.span)),
                    "`certificate_file` and `key_file` go together, and one is missing",
                )
                .hint("add the other, or remove both");
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
