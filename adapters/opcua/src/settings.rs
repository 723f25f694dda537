//! The settings of a source, as they are written.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use floorgate_adapter_api::SecretFile;
use floorgate_yaml::Duration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// An OPC UA server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools)] // each is a setting of its own
pub struct Settings {
    /// The server's address, `opc.tcp://HOST:PORT/PATH`. The gateway connects to exactly this host and port,
    /// whatever address the server advertises.
    pub endpoint: String,
    /// Further servers with the same variables, to go to when the one that is connected cannot be reached or says by its
    /// `ServiceLevel` that another is better.
    #[serde(default)]
    pub redundant: Vec<String>,
    /// The server calls the gateway, and not the other way round.
    #[serde(default)]
    pub reverse_connect: Option<ReverseConnect>,
    /// What is known of the limits of a product: defaults for settings that are not given.
    #[serde(default)]
    pub profile: Option<Profile>,
    /// How the connection is secured. Without it: `basic256sha256`, signed and encrypted.
    #[serde(default)]
    pub security: Security,
    /// Who the gateway is to the server: `anonymous`, a user with a password file, or a user certificate.
    #[serde(default)]
    #[schemars(default = "anonymous")]
    pub login: Login,
    /// Accept any server certificate. This gives up the proof of who the server is: whoever is on the
    /// network path can pretend to be it. For tests only.
    #[serde(default)]
    pub trust_any_server_certificate: bool,
    /// Allow the policies `basic256` and `basic128rsa15`. They rest on SHA-1, which is broken: for servers that have
    /// nothing else.
    #[serde(default)]
    pub allow_deprecated_security_policy: bool,
    /// Accept a certificate of an authority of which there is no revocation list, or only one that is out of date. What a
    /// list names as revoked is refused all the same.
    #[serde(default)]
    pub allow_unknown_revocation: bool,
    /// Send a password over a connection that is not encrypted, where the server asks for it so.
    #[serde(default)]
    pub send_password_in_clear: bool,
    /// `subscribe`: the server reports changes. `poll`: the gateway reads all nodes every `poll_interval`.
    #[serde(default)]
    pub mode: Mode,
    /// How often the server sends what changed, as asked for; the server may revise it.
    #[serde(default = "publishing_interval")]
    pub publishing_interval: Duration,
    /// How often the server looks at a node, as asked for; without it: the publishing interval. `0ms` is
    /// as fast as the server can.
    #[serde(default)]
    pub sampling_interval: Option<Duration>,
    /// How many values of one node the server keeps between two messages and while the connection is lost.
    #[serde(default = "queue_size")]
    pub queue_size: u32,
    /// The largest number of nodes in one subscription; more nodes make more subscriptions.
    #[serde(default = "items_per_subscription")]
    pub items_per_subscription: u32,
    /// How far back what happened while the server could not be reached is read from its history (OPC 10000-11), for nodes of which it keeps one.
    /// The events say `backfill`. Without it nothing is read.
    #[serde(default)]
    pub backfill: Option<Duration>,
    /// How often nodes are read in mode `poll`.
    #[serde(default = "poll_interval")]
    pub poll_interval: Duration,
    /// How often the connection is tried when nothing else is said. Each subscription is asked for a sign of life a little more often, so that one
    /// that is silent is noticed within twice `keep_alive`, or after four publishing intervals and 0.5 s where that is later.
    #[serde(default = "keep_alive")]
    pub keep_alive: Duration,
    /// How long an answer may take before the connection counts as lost. A server from which nothing at all comes for `keep_alive` after it
    /// was asked is taken for lost sooner: one that stands still is noticed within twice `keep_alive`.
    #[serde(default = "request_timeout")]
    pub request_timeout: Duration,
    /// How long the server keeps session and subscriptions of a lost connection. What changed in an outage
    /// that is shorter is sent afterwards, as far as `queue_size` reaches.
    #[serde(default = "session_timeout")]
    pub session_timeout: Duration,
    /// The longest pause between two attempts to connect. Pauses begin at 0.5 s, double, and are jittered.
    #[serde(default = "reconnect_limit")]
    pub reconnect_limit: Duration,
    /// How often nodes that the server refused are tried again.
    #[serde(default = "retry_refused_nodes")]
    pub retry_refused_nodes: Duration,
}

fn anonymous() -> &'static str {
    "anonymous"
}
fn publishing_interval() -> Duration {
    Duration::from_millis(50)
}
fn queue_size() -> u32 {
    100
}
fn items_per_subscription() -> u32 {
    10_000
}
fn poll_interval() -> Duration {
    Duration::from_millis(500)
}
fn keep_alive() -> Duration {
    Duration::from_secs(2)
}
fn request_timeout() -> Duration {
    Duration::from_secs(4)
}
fn session_timeout() -> Duration {
    Duration::from_secs(120)
}
fn reconnect_limit() -> Duration {
    Duration::from_secs(15)
}
fn retry_refused_nodes() -> Duration {
    Duration::from_secs(60)
}

/// How changes come to the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[serde(
    deny_unknown_fields,
    expecting = "a mapping such as {policy: none, mode: none}"
)]
pub struct Security {
    /// The cryptographic algorithms. `none` has to be said, together with mode `none`.
    #[serde(default)]
    pub policy: Policy,
    /// Whether messages are signed, or signed and encrypted.
    #[serde(default)]
    pub mode: SecurityMode,
}

/// A security policy (OPC 10000-7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// No security.
    None,
    /// `Basic256Sha256`.
    #[default]
    Basic256Sha256,
    /// Aes128-Sha256-RsaOaep.
    #[serde(rename = "aes128-sha256-rsaoaep")]
    Aes128Sha256RsaOaep,
    /// Aes256-Sha256-RsaPss.
    #[serde(rename = "aes256-sha256-rsapss")]
    Aes256Sha256RsaPss,
    /// `Basic256`, deprecated.
    Basic256,
    /// `Basic128Rsa15`, deprecated.
    Basic128Rsa15,
}

impl Policy {
    /// Whether it was taken out of use (OPC 10000-7), since it rests on SHA-1.
    pub fn is_deprecated(self) -> bool {
        matches!(self, Self::Basic256 | Self::Basic128Rsa15)
    }
}

/// Where the server calls the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReverseConnect {
    /// The address and port at which the gateway waits for the server, `0.0.0.0:4841` for example. Each source has its own.
    pub listen: String,
    /// The application URI by which the server has to call. Without it any caller is taken, and the certificate alone says who it is.
    #[serde(default)]
    pub server_uri: Option<String>,
}

/// A product of which something is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Siemens SIMATIC S7-1200.
    #[serde(rename = "s7-1200")]
    S71200,
    /// Siemens SIMATIC S7-1500.
    #[serde(rename = "s7-1500")]
    S71500,
    /// PTC Kepware Server, `KEPServerEX`.
    Kepware,
    /// Inductive Automation Ignition.
    Ignition,
    /// Beckhoff `TwinCAT` OPC UA Server (TF6100).
    Beckhoff,
    /// CODESYS Control.
    Codesys,
    /// Prosys OPC UA Simulation Server.
    Prosys,
}

/// A message security mode (OPC 10000-4, `MessageSecurityMode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// A file with the user's password and nothing else (a newline at its end does not count), or `credential:NAME`.
    #[serde(default)]
    pub password_file: Option<SecretFile>,
    /// The user's certificate. The file's name has to end in `.der` or `.pem`, which says its encoding.
    #[serde(default)]
    pub certificate_file: Option<PathBuf>,
    /// The certificate's private key, in PEM, or `credential:NAME`.
    #[serde(default)]
    pub key_file: Option<SecretFile>,
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

/// Milliseconds, the unit of OPC UA's `Duration` (OPC 10000-3 §8.13).
pub fn millis(duration: Duration) -> f64 {
    duration.get().as_secs_f64() * 1e3
}
