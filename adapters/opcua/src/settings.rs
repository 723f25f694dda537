//! The settings of a source, as they are written.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// An OPC UA server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The server's address, `opc.tcp://HOST:PORT/PATH`. The gateway connects to exactly this host and port,
    /// whatever address the server advertises.
    pub endpoint: String,
    /// How the connection is secured. Without it: `basic256sha256`, signed and encrypted.
    #[serde(default)]
    pub security: Security,
    /// Who the gateway is to the server: `anonymous`, a user with a password file, or a user certificate.
    #[serde(default)]
    pub login: Login,
    /// Accept any server certificate. This gives up the proof of who the server is: whoever is on the
    /// network path can pretend to be it. For tests only.
    #[serde(default)]
    pub trust_any_server_certificate: bool,
    /// Send a password over a connection that is not encrypted, where the server asks for it so.
    #[serde(default)]
    pub send_password_in_clear: bool,
    /// `subscribe`: the server reports changes. `poll`: the gateway reads all nodes every `poll_interval`.
    #[serde(default)]
    pub mode: Mode,
    /// How often the server sends what changed, as asked for; the server may revise it.
    #[serde(default = "publishing_interval")]
    pub publishing_interval: Interval,
    /// How often the server looks at a node, as asked for; without it: the publishing interval. `0ms` is
    /// as fast as the server can.
    #[serde(default)]
    pub sampling_interval: Option<Interval>,
    /// How many values of one node the server keeps between two messages and while the connection is lost.
    #[serde(default = "queue_size")]
    pub queue_size: u32,
    /// The largest number of nodes in one subscription; more nodes make more subscriptions.
    #[serde(default = "items_per_subscription")]
    pub items_per_subscription: u32,
    /// How often nodes are read in mode `poll`.
    #[serde(default = "poll_interval")]
    pub poll_interval: Interval,
    /// How often the connection is tried when nothing else is said, and at least every how often each
    /// subscription must give a sign of life.
    #[serde(default = "keep_alive")]
    pub keep_alive: Interval,
    /// How long an answer may take before the connection counts as lost. A frozen server is noticed after
    /// `keep_alive` + `request_timeout`.
    #[serde(default = "request_timeout")]
    pub request_timeout: Interval,
    /// How long the server keeps session and subscriptions of a lost connection. What changed in an outage
    /// that is shorter is sent afterwards, as far as `queue_size` reaches.
    #[serde(default = "session_timeout")]
    pub session_timeout: Interval,
    /// The longest pause between two attempts to connect. Pauses begin at 0.5 s, double, and are jittered.
    #[serde(default = "reconnect_limit")]
    pub reconnect_limit: Interval,
    /// How often nodes that the server refused are tried again.
    #[serde(default = "retry_refused_nodes")]
    pub retry_refused_nodes: Interval,
}

fn publishing_interval() -> Interval {
    Interval(Duration::from_millis(50))
}
fn queue_size() -> u32 {
    100
}
fn items_per_subscription() -> u32 {
    10_000
}
fn poll_interval() -> Interval {
    Interval(Duration::from_millis(500))
}
fn keep_alive() -> Interval {
    Interval(Duration::from_secs(2))
}
fn request_timeout() -> Interval {
    Interval(Duration::from_secs(4))
}
fn session_timeout() -> Interval {
    Interval(Duration::from_mins(2))
}
fn reconnect_limit() -> Interval {
    Interval(Duration::from_secs(15))
}
fn retry_refused_nodes() -> Interval {
    Interval(Duration::from_mins(1))
}

/// How changes come to the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The server reports changes.
    #[default]
    Subscribe,
    /// The gateway reads.
    Poll,
}

/// How a connection is secured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Security {
    /// The cryptographic algorithms. `none` has to be said, together with mode `none`.
    #[serde(default)]
    pub policy: Policy,
    /// Whether messages are signed, or signed and encrypted.
    #[serde(default)]
    pub mode: SecurityMode,
}

/// A security policy (OPC 10000-7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// No security.
    None,
    /// Basic256Sha256.
    #[default]
    Basic256Sha256,
    /// Aes128-Sha256-RsaOaep.
    #[serde(rename = "aes128-sha256-rsaoaep")]
    Aes128Sha256RsaOaep,
    /// Aes256-Sha256-RsaPss.
    #[serde(rename = "aes256-sha256-rsapss")]
    Aes256Sha256RsaPss,
}

/// A message security mode (OPC 10000-4 §7.20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SecurityMode {
    /// Neither signed nor encrypted.
    None,
    /// Signed: nobody can change messages, anybody on the path can read them.
    Sign,
    /// Signed and encrypted.
    #[default]
    SignAndEncrypt,
}

/// Who the gateway is to the server, as it is written; the plan checks that the fields belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login(pub Option<LoginFields>);

/// The fields of a login that is not anonymous.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginFields {
    /// The user's name.
    #[serde(default)]
    pub user: Option<String>,
    /// A file with the user's password and nothing else (a newline at its end does not count).
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The user's certificate (`.der` or `.pem`).
    #[serde(default)]
    pub certificate_file: Option<PathBuf>,
    /// The certificate's private key (`.pem`).
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

impl<'de> Deserialize<'de> for Login {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LoginVisitor;
        impl<'de> Visitor<'de> for LoginVisitor {
            type Value = Login;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`anonymous`, {user, password_file} or {certificate_file, key_file}")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Login, E> {
                match word {
                    "anonymous" => Ok(Login(None)),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Login, A::Error> {
                LoginFields::deserialize(MapAccessDeserializer::new(map)).map(|fields| Login(Some(fields)))
            }
        }
        deserializer.deserialize_any(LoginVisitor)
    }
}

impl JsonSchema for Login {
    fn schema_name() -> Cow<'static, str> {
        "OpcUaLogin".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let fields = generator.subschema_for::<LoginFields>();
        json_schema!({ "anyOf": [{ "const": "anonymous" }, fields] })
    }
}

/// A span of time, written as a number and a unit: `10ms`, `2s`, `0.5s`, `1min`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval(pub Duration);

impl Interval {
    /// Milliseconds, the unit of OPC UA's `Duration` (OPC 10000-3 §8.13).
    pub fn millis(self) -> f64 {
        self.0.as_secs_f64() * 1e3
    }

    fn parse(text: &str) -> Option<Self> {
        let split = text.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, unit) = text.split_at(split);
        let scale = match unit {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "min" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let number = number.trim_end();
        if !number.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let seconds = number.parse::<f64>().ok()? * scale;
        Duration::try_from_secs_f64(seconds).ok().map(Self)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.millis();
        if millis >= 1000.0 {
            write!(f, "{}s", millis / 1e3)
        } else {
            write!(f, "{millis}ms")
        }
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntervalVisitor;
        impl Visitor<'_> for IntervalVisitor {
            type Value = Interval;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, such as 10ms, 2s or 1min")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Interval, E> {
                Interval::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(IntervalVisitor)
    }
}

impl JsonSchema for Interval {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^[0-9]+(\.[0-9]+)? *(us|ms|s|min|h)$",
            "examples": ["10ms", "2s", "1min"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        let millis = |text| Interval::parse(text).map(Interval::millis);
        assert_eq!(millis("10ms"), Some(10.0));
        assert_eq!(millis("0.5s"), Some(500.0));
        assert_eq!(millis("2 min"), Some(120_000.0));
        assert_eq!(millis("0ms"), Some(0.0));
        for wrong in ["10", "ms", "-1s", "1d", "1e400s", "NaNs", "+1s", ""] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_duration_is_written_as_it_is_read() {
        for text in ["10ms", "2s", "0.25ms"] {
            assert_eq!(
                Interval::parse(text).map(|i| i.to_string()).as_deref(),
                Some(text)
            );
        }
    }
}
