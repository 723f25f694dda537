//! From what is written to what is done: every mistake is found here, before anything is opened.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time;

use floorgate_adapter_api::{NamedFile, NoCredentials, Node, Problems, SourceSpec, Span, TagId, TagSpec};
use floorgate_yaml::{Draft, Duration, draft};
use opcua::core::comms::url::hostname_port_from_url;
use opcua::types::{Identifier, NodeId};

use crate::address::{Address, NamespaceName, NodeAddress};
use crate::profile;
use crate::settings::{LoginFields, Mode, Policy, SecurityMode, Settings, millis};

/// Publishing plus sampling interval above which the shipped promise of 200 ms at p99 cannot hold.
pub const SLOW: time::Duration = time::Duration::from_millis(200);

/// The settings that are checked after decoding.
const CHECKED: [&str; 17] = [
    "endpoint",
    "redundant",
    "reverse_connect",
    "allow_deprecated_security_policy",
    "security",
    "login",
    "send_password_in_clear",
    "mode",
    "poll_interval",
    "publishing_interval",
    "keep_alive",
    "request_timeout",
    "session_timeout",
    "reconnect_limit",
    "retry_refused_nodes",
    "queue_size",
    "items_per_subscription",
];

/// Everything a running source needs to know.
#[derive(Debug)]
pub struct Plan {
    /// The source's name.
    pub name: String,
    /// Its settings.
    pub settings: Settings,
    /// Who the gateway is to the server.
    pub credentials: Credentials,
    /// The files of the login.
    pub files: Vec<NamedFile>,
    /// Where keys and certificates are.
    pub pki: PathBuf,
    /// Thumbprint of a server certificate that is trusted without being among the trusted ones.
    pub trust_once: Option<String>,
    /// The namespace URIs that tags name.
    pub uris: Vec<String>,
    /// The tags that are subscribed or polled; a tag's place here is its handle minus one in monitored items.
    pub tags: Vec<Tag>,
    /// The tags that are read only when they are asked for.
    pub on_demand: Vec<Tag>,
    /// Where a tag is in the one list or in the other.
    places: HashMap<TagId, Place>,
}

/// Who the gateway is to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody in particular.
    Anonymous,
    /// A user with a password.
    Password {
        /// The name.
        user: String,
        /// The file with the password.
        file: Result<PathBuf, NoCredentials>,
    },
    /// A user with a certificate.
    Certificate {
        /// The certificate's file.
        certificate: PathBuf,
        /// The private key's file.
        key: Result<PathBuf, NoCredentials>,
    },
}

/// A tag.
#[derive(Debug)]
pub struct Tag {
    /// Its number in the gateway.
    pub id: TagId,
    /// Its name, for messages.
    pub name: Box<str>,
    namespace: Namespace,
    identifier: Identifier,
    sampling_millis: Option<f32>,
    queue_size: Option<u32>,
}

/// A tag's namespace; a URI is a place in [`Plan::uris`].
#[derive(Clone, Copy, Debug)]
enum Namespace {
    Index(u16),
    Uri(u16),
}

impl Tag {
    /// The tag's node on a server with these namespaces (in the order of [`Plan::uris`]); `None` where its
    /// namespace is not among them.
    pub fn node_id(&self, namespaces: &[Option<u16>]) -> Option<NodeId> {
        let namespace = match self.namespace {
            Namespace::Index(index) => index,
            Namespace::Uri(uri) => namespaces.get(usize::from(uri)).copied().flatten()?,
        };
        Some(NodeId {
            namespace,
            identifier: self.identifier.clone(),
        })
    }
}

impl Tag {
    /// The node as the plan has it: the namespace's index or place among the URIs, and the identifier.
    pub fn node_text(&self) -> String {
        format!("{:?};{}", self.namespace, self.identifier)
    }
}

/// Where a tag is.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In [`Plan::tags`].
    Watched(usize),
    /// In [`Plan::on_demand`].
    OnDemand(usize),
}

impl Plan {
    /// Checks settings and tags; everything wrong is recorded.
    pub fn new(spec: &SourceSpec<'_>, problems: &mut Problems) -> Option<Self> {
        let before = problems.error_count();
        let doubts = problems.list().len();
        let mut settings = draft::<Settings>(spec.settings, problems).map(|draft| draft.value);
        if let Some(settings) = &mut settings {
            profile::apply(settings, spec.settings);
        }
        let credentials = settings.as_ref().and_then(|settings| {
            let doubtful = doubtful(spec.settings, doubts, problems);
            check(settings, spec.settings, &doubtful, problems);
            credentials(settings, spec.settings, spec.base, &doubtful, problems)
        });
        let (tags, uris) = tags(&spec.tags, problems)?;
        let (settings, credentials) = (settings?, credentials?);
        let mut watched = Vec::with_capacity(tags.len());
        let mut on_demand = Vec::new();
        let mut places = HashMap::with_capacity(tags.len());
        for (tag, spec) in tags.into_iter().zip(&spec.tags) {
            if spec.on_demand {
                places.insert(tag.id, Place::OnDemand(on_demand.len()));
                on_demand.push(tag);
            } else {
                places.insert(tag.id, Place::Watched(watched.len()));
                watched.push(tag);
            }
        }
        (problems.error_count() == before).then(|| Self {
            name: spec.name.to_owned(),
            files: files(&credentials, span(spec.settings, "login")),
            settings,
            credentials,
            pki: spec.state.join("pki"),
            trust_once: None,
            uris,
            tags: watched,
            on_demand,
            places,
        })
    }

    /// The tag with this number in the gateway.
    pub fn tag(&self, id: TagId) -> Option<&Tag> {
        match *self.places.get(&id)? {
            Place::Watched(at) => self.tags.get(at),
            Place::OnDemand(at) => self.on_demand.get(at),
        }
    }

    /// The URI of a tag's namespace, where it is named by URI.
    pub fn uri(&self, tag: &Tag) -> Option<&str> {
        match tag.namespace {
            Namespace::Index(_) => None,
            Namespace::Uri(uri) => self.uris.get(usize::from(uri)).map(String::as_str),
        }
    }

    /// The sampling interval that is asked for, in milliseconds.
    pub fn sampling_millis(&self, tag: &Tag) -> f64 {
        let source = self
            .settings
            .sampling_interval
            .unwrap_or(self.settings.publishing_interval);
        tag.sampling_millis.map_or(millis(source), f64::from)
    }

    /// The queue size that is asked for.
    pub fn queue_size(&self, tag: &Tag) -> u32 {
        tag.queue_size.unwrap_or(self.settings.queue_size)
    }
}

fn span(node: &Node, key: &str) -> Span {
    node.get(key).map_or(node.span, |value| value.span)
}

/// Settings that checks look at and that may be stand-ins, going by what was found since `from`.
fn doubtful(node: &Node, from: usize, problems: &Problems) -> Vec<&'static str> {
    let unsure = |key: &&str| !problems.are_silent_on(key, node, from);
    CHECKED.iter().copied().filter(unsure).collect()
}

/// Whether the settings make sense, each and together; those that are doubtful are not looked at.
fn check(settings: &Settings, node: &Node, doubtful: &[&str], problems: &mut Problems) {
    let mut errors = Vec::new();
    // It has no default: where it is missing, that is said already.
    if node.get("endpoint").is_some() && hostname_port_from_url(&settings.endpoint, 4840).is_err() {
        errors.push((
            "endpoint",
            format!("`{}` is no OPC UA address", settings.endpoint),
            "write opc.tcp://HOST:PORT/PATH, for example opc.tcp://plc1:4840".to_owned(),
        ));
    }
    let is_insecure = settings.security.policy == Policy::None;
    if is_insecure != (settings.security.mode == SecurityMode::None) {
        errors.push((
            "security",
            "security policy and mode do not fit together: both are `none` or neither".to_owned(),
            "write {policy: none, mode: none} for no security, or leave both out for basic256sha256, signed and encrypted".to_owned(),
        ));
    }
    if settings.mode == Mode::Subscribe && !doubtful.contains(&"mode") && node.get("poll_interval").is_some()
    {
        errors.push((
            "poll_interval",
            "`poll_interval` has no effect in mode `subscribe`".to_owned(),
            "write `mode: poll`, or set `publishing_interval`".to_owned(),
        ));
    }
    let (second, hour, day) = (
        Duration::from_secs(1),
        Duration::from_secs(3_600),
        Duration::from_secs(86_400),
    );
    let ranges = [
        (
            "publishing_interval",
            settings.publishing_interval,
            Duration::from_millis(1),
            hour,
        ),
        (
            "poll_interval",
            settings.poll_interval,
            Duration::from_millis(1),
            hour,
        ),
        (
            "keep_alive",
            settings.keep_alive,
            Duration::from_millis(100),
            hour,
        ),
        (
            "request_timeout",
            settings.request_timeout,
            Duration::from_millis(100),
            hour,
        ),
        ("session_timeout", settings.session_timeout, second, day),
        (
            "reconnect_limit",
            settings.reconnect_limit,
            Duration::from_millis(500),
            hour,
        ),
        ("retry_refused_nodes", settings.retry_refused_nodes, second, day),
    ];
    for (key, value, least, most) in ranges {
        if value < least || value > most {
            errors.push((
                key,
                format!("`{key}` is {value}"),
                format!("it can be {least} to {most}"),
            ));
        }
    }
    for (key, value) in [
        ("queue_size", settings.queue_size),
        ("items_per_subscription", settings.items_per_subscription),
    ] {
        if value == 0 {
            errors.push((key, format!("`{key}` is 0"), "it is at least 1".to_owned()));
        }
    }
    profile::check(settings, &mut errors);
    errors.retain(|(key, ..)| !doubtful.contains(key));
    for (key, message, hint) in errors {
        problems.error(span(node, key), message).hint(hint);
    }
}

fn credentials(
    settings: &Settings,
    node: &Node,
    base: &Path,
    doubtful: &[&str],
    problems: &mut Problems,
) -> Option<Credentials> {
    if doubtful.contains(&"login") {
        return None;
    }
    let Some(fields) = &settings.login.0 else {
        return Some(Credentials::Anonymous);
    };
    let at = span(node, "login");
    let credentials = match fields {
        LoginFields {
            user: Some(user),
            password_file: Some(file),
            certificate_file: None,
            key_file: None,
        } => Credentials::Password {
            user: user.clone(),
            file: file.locate(base),
        },
        LoginFields {
            user: None,
            password_file: None,
            certificate_file: Some(certificate),
            key_file: Some(key),
        } => Credentials::Certificate {
            certificate: base.join(certificate),
            key: key.locate(base),
        },
        _ => {
            problems
                .error(
                    at,
                    "the login is neither a user with a password nor a certificate with its key",
                )
                .hint("write {user, password_file}, or {certificate_file, key_file}, or `anonymous`");
            return None;
        }
    };
    let clear = matches!(credentials, Credentials::Password { .. })
        && settings.security.policy == Policy::None
        && !settings.send_password_in_clear
        && !["security", "send_password_in_clear"]
            .iter()
            .any(|key| doubtful.contains(key));
    if clear {
        problems
            .error(
                at,
                "a password over a connection without security can be read by anybody on the path",
            )
            .hint("set `security`, or say `send_password_in_clear: true`");
        return None;
    }
    Some(credentials)
}

fn files(credentials: &Credentials, at: Span) -> Vec<NamedFile> {
    let file = |setting, path: &Result<PathBuf, NoCredentials>| NamedFile {
        setting,
        at,
        path: path.clone(),
    };
    match credentials {
        Credentials::Anonymous => Vec::new(),
        Credentials::Password { file: path, .. } => vec![file("password_file", path)],
        Credentials::Certificate { certificate, key } => {
            vec![
                file("certificate_file", &Ok(certificate.clone())),
                file("key_file", key),
            ]
        }
    }
}

/// The tags in the order of their specifications, and the namespace URIs that they name.
fn tags(specs: &[TagSpec<'_>], problems: &mut Problems) -> Option<(Vec<Tag>, Vec<String>)> {
    let mut uris: Vec<String> = Vec::new();
    let mut known: HashMap<String, u16> = HashMap::new();
    let mut tags = Vec::with_capacity(specs.len());
    for spec in specs {
        let before = problems.list().len();
        let Some(Draft {
            value: address,
            whole,
        }) = draft::<Address>(spec.address, problems)
        else {
            continue;
        };
        if address.queue_size == Some(0) {
            problems
                .error(
                    span(spec.address, "queue_size"),
                    format!("`queue_size` of tag {} is 0", spec.name),
                )
                .hint("it is at least 1");
        }
        // What stands in for a node is no address to look at.
        let is_given = spec.address.get("node").is_some();
        let is_read = whole || (is_given && problems.are_silent_on("node", spec.address, before));
        if !is_read {
            continue;
        }
        let node = match NodeAddress::parse(&address.node) {
            Ok(node) => node,
            Err(error) => {
                problems
                    .error(
                        span(spec.address, "node"),
                        format!("node of tag {}: {error}", spec.name),
                    )
                    .hint("write nsu=NAMESPACE-URI;s=NAME, ns=2;s=NAME, ns=2;i=42 or i=2258");
                continue;
            }
        };
        let namespace = match node.namespace {
            NamespaceName::Index(index) => Namespace::Index(index),
            NamespaceName::Uri(uri) => {
                if let Some(number) = known.get(uri) {
                    Namespace::Uri(*number)
                } else {
                    let Ok(number) = u16::try_from(uris.len()) else {
                        problems
                            .error(spec.address.span, "more than 65536 namespaces in one source")
                            .hint("divide the tags among several sources");
                        return None;
                    };
                    uris.push(uri.to_owned());
                    known.insert(uri.to_owned(), number);
                    Namespace::Uri(number)
                }
            }
        };
        #[allow(clippy::cast_possible_truncation)] // milliseconds in the precision of a float are enough
        let sampling_millis = address.sampling_interval.map(|interval| millis(interval) as f32);
        tags.push(Tag {
            id: spec.id,
            name: spec.name.into(),
            namespace,
            identifier: node.identifier,
            sampling_millis,
            queue_size: address.queue_size,
        });
    }
    (tags.len() == specs.len()).then_some((tags, uris))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
