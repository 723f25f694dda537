//! What is known of products, as defaults for settings that are not given.
//!
//! Where it is from:
//!
//! - **Siemens S7-1200** (firmware 4.4 on): 10 sessions, 1,000 monitored items. *OPC UA system limits*, Siemens Industry Online Support, entry
//!   109755846. A CPU measures slowly, so that asking for less than 200 ms only makes it revise.
//! - **Siemens S7-1500**: the same entry; the shortest publishing and sampling intervals are set in the CPU's project, and the manual's examples have
//!   200 ms (*Communication*, function manual, A5E03735815, "Using the S7-1500 as an OPC UA server"). A CPU that cannot keep up says `GoodOverload`.
//! - **Kepware**: 128 sessions, of 60 s at most unless the project says otherwise (*OPC UA project properties* of the product's manual).
//! - **Ignition** is built on Eclipse Milo, whose limits it reports (united-manufacturing-hub/benthos-umh, `opcua_plugin/server_profiles.go`): sessions of 2 min at
//!   most, 100 of them, and no limit of subscriptions or items. eclipse/milo, `OpcUaServerConfigLimits.java`; what becomes of subscriptions whose session
//!   ended: its issue 1570.
//! - **Prosys**: subscriptions of many thousands of items make the Simulation Server stop answering; the same file.
//! - **CODESYS**: nodes are sampled every 100 ms at most unless the controller's settings say otherwise (`ItemMinSamplingRate`), 100 sessions, 100 nodes in one read.
//!   *OPC UA Server Configuration Settings*, online help of the product. That it does not give subscriptions over: vogler75/automation-gateway, issue 8.
//! - **Beckhoff** (TF6100): no limits are published. The server asks the PLC by ADS each sampling interval that a client asks for (*Optimizations*, manual of the
//!   product). The name is taken, so that what will be known can be used.

use std::time;

use floorgate_yaml::{Duration, Node, Problems};

use crate::settings::{Mode, Profile, Settings};

/// What a profile sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    publishing_interval: Option<Duration>,
    sampling_interval: Option<Duration>,
    items_per_subscription: Option<u32>,
    session_timeout: Option<Duration>,
    keep_alive: Option<Duration>,
    request_timeout: Option<Duration>,
    /// Items that the server can monitor in all.
    monitored_items: Option<usize>,
}

fn known(profile: Profile) -> Known {
    match profile {
        Profile::S71200 => Known {
            publishing_interval: Some(Duration::from_millis(200)),
            sampling_interval: Some(Duration::from_millis(100)),
            items_per_subscription: Some(1_000),
            keep_alive: Some(Duration::from_secs(5)),
            request_timeout: Some(Duration::from_secs(10)),
            monitored_items: Some(1_000),
            ..Known::default()
        },
        Profile::S71500 => Known {
            publishing_interval: Some(Duration::from_millis(200)),
            sampling_interval: Some(Duration::from_millis(100)),
            items_per_subscription: Some(1_000),
            ..Known::default()
        },
        Profile::Kepware => Known {
            session_timeout: Some(Duration::from_secs(60)),
            ..Known::default()
        },
        Profile::Prosys => Known {
            items_per_subscription: Some(800),
            ..Known::default()
        },
        Profile::Ignition => Known {
            session_timeout: Some(Duration::from_secs(120)),
            ..Known::default()
        },
        Profile::Codesys => Known {
            publishing_interval: Some(Duration::from_millis(100)),
            sampling_interval: Some(Duration::from_millis(100)),
            ..Known::default()
        },
        Profile::Beckhoff => Known::default(),
    }
}

/// Sets what the profile knows and `written` does not say.
pub fn apply(settings: &mut Settings, written: &Node) {
    let Some(profile) = settings.profile else { return };
    let known = known(profile);
    let given = |key: &str| written.get(key).is_some();
    set(
        &mut settings.publishing_interval,
        known.publishing_interval,
        given("publishing_interval"),
    );
    set(
        &mut settings.items_per_subscription,
        known.items_per_subscription,
        given("items_per_subscription"),
    );
    set(
        &mut settings.session_timeout,
        known.session_timeout,
        given("session_timeout"),
    );
    set(&mut settings.keep_alive, known.keep_alive, given("keep_alive"));
    set(
        &mut settings.request_timeout,
        known.request_timeout,
        given("request_timeout"),
    );
    // Without an interval of its own, sampling goes with publishing: who gives the one means both.
    if settings.sampling_interval.is_none() && !given("publishing_interval") {
        settings.sampling_interval = known.sampling_interval;
    }
}

fn set<T>(setting: &mut T, known: Option<T>, is_given: bool) {
    if let Some(known) = known.filter(|_| !is_given) {
        *setting = known;
    }
}

/// Says so where more items are to be monitored than the product is known to have. The server may have been extended: it has the last word.
pub fn check_items(settings: &Settings, items: usize, written: &Node, problems: &mut Problems) {
    let most = settings
        .profile
        .and_then(|profile| known(profile).monitored_items);
    let Some(most) = most.filter(|most| items > *most && settings.mode == Mode::Subscribe) else {
        return;
    };
    let at = written.get("profile").map_or(written.span, |value| value.span);
    problems
        .warning(
            at,
            format!("{items} nodes are to be monitored, and such a server has {most} at most in all: it will refuse the others"),
        )
        .hint("take tags out, put values together in one structure or array, or write `mode: poll`, in which nodes are only read");
}

/// Checks the settings about whom the gateway is connected to, and how; messages with their keys and ways out.
pub fn check(settings: &Settings, errors: &mut Vec<(&'static str, String, String)>) {
    for endpoint in &settings.redundant {
        if opcua::core::comms::url::hostname_port_from_url(endpoint, 4840).is_err() {
            errors.push((
                "redundant",
                format!("`{endpoint}` is no OPC UA address"),
                "write opc.tcp://HOST:PORT/PATH, for example opc.tcp://plc2:4840".to_owned(),
            ));
        }
    }
    if settings.security.policy.is_deprecated() && !settings.allow_deprecated_security_policy {
        errors.push((
            "security",
            "the security policy is deprecated: it rests on SHA-1, which is broken".to_owned(),
            "use basic256sha256 or better; where the server has nothing else, say `allow_deprecated_security_policy: true`"
                .to_owned(),
        ));
    }
    let Some(reverse) = &settings.reverse_connect else {
        return;
    };
    if reverse.listen.parse::<std::net::SocketAddr>().is_err() {
        errors.push((
            "reverse_connect",
            format!("`{}` is no address to listen at", reverse.listen),
            "write ADDRESS:PORT, for example 0.0.0.0:4841".to_owned(),
        ));
    }
    if !settings.redundant.is_empty() {
        errors.push((
            "reverse_connect",
            "`reverse_connect` and `redundant` do not go together".to_owned(),
            "make a source of each server".to_owned(),
        ));
    }
}

/// How long the gateway waits for a server to call. Servers try every 15 s as a rule (open62541, the OPC Foundation's .NET stack).
pub const WAIT_FOR_CALL: time::Duration = time::Duration::from_secs(40);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use floorgate_yaml::{draft, parse};

    use super::*;

    fn settings(text: &str) -> Settings {
        let mut problems = Problems::default();
        let file = problems.add_file(Path::new("test.yaml"), text.to_owned());
        let node = parse(file, text, &mut problems).unwrap();
        let mut settings = draft::<Settings>(&node, &mut problems).unwrap().value;
        apply(&mut settings, &node);
        settings
    }

    /// What a profile may set.
    fn set(settings: &Settings) -> (Duration, Option<Duration>, u32, Duration, Duration, Duration) {
        (
            settings.publishing_interval,
            settings.sampling_interval,
            settings.items_per_subscription,
            settings.session_timeout,
            settings.keep_alive,
            settings.request_timeout,
        )
    }

    #[test]
    fn each_profile_sets_what_is_known_of_it_and_nothing_else() {
        let (secs, millis) = (Duration::from_secs, Duration::from_millis);
        let plain = set(&settings("endpoint: opc.tcp://plc:4840\n"));
        assert_eq!(
            plain,
            (millis(50), None, 10_000, secs(120), secs(2), secs(4)),
            "without a profile"
        );
        let slow = (millis(200), Some(millis(100)), 1_000);
        let known = [
            (
                "s7-1200",
                (slow.0, slow.1, slow.2, plain.3, secs(5), secs(10)),
                Some(1_000),
            ),
            (
                "s7-1500",
                (slow.0, slow.1, slow.2, plain.3, plain.4, plain.5),
                None,
            ),
            (
                "kepware",
                (plain.0, plain.1, plain.2, secs(60), plain.4, plain.5),
                None,
            ),
            ("ignition", plain, None),
            ("beckhoff", plain, None),
            (
                "codesys",
                (millis(100), Some(millis(100)), plain.2, plain.3, plain.4, plain.5),
                None,
            ),
            ("prosys", (plain.0, plain.1, 800, plain.3, plain.4, plain.5), None),
        ];
        for (name, expected, most) in known {
            let profiled = settings(&format!("endpoint: opc.tcp://plc:4840\nprofile: {name}\n"));
            assert_eq!(set(&profiled), expected, "{name}");
            let most_known = profiled
                .profile
                .and_then(|profile| super::known(profile).monitored_items);
            assert_eq!(most_known, most, "{name}");
            // What is given counts, also where it is the default.
            let given = settings(&format!(
                "endpoint: opc.tcp://plc:4840\nprofile: {name}\npublishing_interval: 50ms\nitems_per_subscription: 10000\n\
                 session_timeout: 2m\nkeep_alive: 2s\nrequest_timeout: 4s\n"
            ));
            // Sampling goes with the publishing interval.
            assert_eq!(set(&given), plain, "{name}");
            let sampled = settings(&format!(
                "endpoint: opc.tcp://plc:4840\nprofile: {name}\nsampling_interval: 10ms\n"
            ));
            assert_eq!(sampled.sampling_interval, Some(millis(10)), "{name}");
        }
    }
}
