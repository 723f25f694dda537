//! From what is written to what is done: every mistake is found here, before anything is opened.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time;

use floorgate_adapter_api::{NamedFile, NoCredentials, Node, Problems, SourceSpec, Span, TagId};
use floorgate_yaml::{Duration, draft};
use opcua::core::comms::url::hostname_port_from_url;
use opcua::types::NodeId;

use crate::item::{Item, LaidOut, Tag, What};
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

/// Events of one item that the server is asked to keep, where the tag does not say.
const EVENTS_QUEUED: u32 = 10_000;

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
    /// The tags, and what they come of.
    pub laid_out: LaidOut,
    /// Where a tag is.
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

/// Where a tag is.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// The item that it comes of, and itself.
    Watched(usize, usize),
    /// In [`LaidOut::on_demand`].
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
        let laid_out = LaidOut::of(&spec.tags, problems)?;
        let (settings, credentials) = (settings?, credentials?);
        if settings.mode == Mode::Poll {
            check_polled(&laid_out, spec.settings, problems);
        }
        if problems.error_count() == before {
            profile::check_items(&settings, laid_out.items.len(), spec.settings, problems);
        }
        let mut places = HashMap::with_capacity(spec.tags.len());
        for (number, item) in laid_out.items.iter().enumerate() {
            for tag in places_of(item) {
                places.insert(laid_out.tags[tag].id, Place::Watched(number, tag));
            }
        }
        let on_demand = laid_out.on_demand.iter().enumerate();
        places.extend(on_demand.map(|(number, (tag, _))| (tag.id, Place::OnDemand(number))));
        (problems.error_count() == before).then(|| Self {
            name: spec.name.to_owned(),
            files: files(&credentials, span(spec.settings, "login")),
            settings,
            credentials,
            pki: spec.state.join("pki"),
            trust_once: None,
            laid_out,
            places,
        })
    }

    /// The items that are monitored or polled.
    pub fn items(&self) -> &[Item] {
        &self.laid_out.items
    }

    /// The tags that come of an item.
    pub fn tags_of(&self, item: &Item) -> &[Tag] {
        self.laid_out.tags.get(places_of(item)).unwrap_or_default()
    }

    /// The tag with this number in the gateway, and its node.
    pub fn tag(&self, id: TagId, namespaces: &[Option<u16>]) -> Option<(&Tag, Option<NodeId>)> {
        match *self.places.get(&id)? {
            Place::Watched(item, tag) => {
                let item = self.laid_out.items.get(item)?;
                Some((self.laid_out.tags.get(tag)?, item.node_id(namespaces)))
            }
            Place::OnDemand(at) => {
                let (tag, node) = self.laid_out.on_demand.get(at)?;
                Some((tag, node.node_id(namespaces)))
            }
        }
    }

    /// The name of the tag with this number.
    pub fn name_of(&self, id: TagId) -> &str {
        self.tag(id, &[]).map_or("", |(tag, _)| &tag.name)
    }

    /// The URI of an item's namespace, where it is named by URI.
    pub fn uri(&self, item: &Item) -> Option<&str> {
        self.laid_out.uris.get(item.uri()?).map(String::as_str)
    }

    /// The sampling interval that is asked for, in milliseconds.
    pub fn sampling_millis(&self, item: &Item) -> f64 {
        let source = self.settings.sampling_interval.map(millis);
        let own = item.sampling_millis.map(f64::from);
        own.or(source)
            .unwrap_or_else(|| self.publishing(item).as_secs_f64() * 1e3)
    }

    /// The publishing interval that is asked for.
    pub fn publishing(&self, item: &Item) -> std::time::Duration {
        let own = item
            .publishing_millis
            .map(|millis| std::time::Duration::from_secs_f64(f64::from(millis) / 1e3));
        own.unwrap_or_else(|| self.settings.publishing_interval.get())
    }

    /// The queue size that is asked for. Events come in bursts, and a refresh tells all conditions at once.
    pub fn queue_size(&self, item: &Item) -> u32 {
        let of_kind = match item.what {
            What::Value => self.settings.queue_size,
            What::Events(..) | What::Conditions => self.settings.queue_size.max(EVENTS_QUEUED),
        };
        item.queue_size.unwrap_or(of_kind)
    }
}

fn places_of(item: &Item) -> std::ops::Range<usize> {
    item.tags.start as usize..item.tags.end as usize
}

/// What happens cannot be read.
fn check_polled(laid_out: &LaidOut, settings: &Node, problems: &mut Problems) {
    let happens = laid_out
        .items
        .iter()
        .find(|item| !matches!(item.what, What::Value));
    let tag = happens.and_then(|item| laid_out.tags.get(item.tags.start as usize));
    if let Some(tag) = tag {
        problems
            .error(
                span(settings, "mode"),
                format!(
                    "tag {} tells what happens, and in mode `poll` nodes are read",
                    tag.name
                ),
            )
            .hint("leave `mode` out, or give events and conditions a source of their own");
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
    if settings.mode == Mode::Poll && settings.backfill.is_some() && !doubtful.contains(&"mode") {
        errors.push((
            "backfill",
            "`backfill` has no effect in mode `poll`".to_owned(),
            "remove it, or leave `mode` out".to_owned(),
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

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
