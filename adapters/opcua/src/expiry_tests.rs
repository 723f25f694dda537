use std::fs;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use floorgate_adapter_api::{Problems, SourceSpec, Timestamp, days_left};
use floorgate_metrics::Metrics;
use floorgate_yaml::parse;
use opcua::types::ByteString;
use rcgen::{CertificateParams, Issuer, KeyPair, date_time_ymd};

use super::*;
use crate::pki::tests::Folder;
use crate::pki::tests::authority::{authority_params, list_params, params};

/// Days that are far away.
const FAR: i64 = 400;

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A time so many days and some hours from now.
fn after(days: i64) -> Timestamp {
    let now = Timestamp::now().as_nanos();
    Timestamp::from_nanos(now + days * 86_400_000_000_000 + 3_600_000_000_000)
}

/// How many days each thing has left.
#[derive(Clone, Copy)]
struct Days {
    own: i64,
    user: i64,
    plant: i64,
    group: i64,
    list: i64,
}

const ALL_FAR: Days = Days {
    own: FAR,
    user: FAR,
    plant: FAR,
    group: FAR,
    list: FAR,
};

/// A certificate of these properties that ends in so many days, in a file.
fn write(file: &Path, mut params: CertificateParams, days: i64, by: Option<&Issuer<'_, KeyPair>>) -> KeyPair {
    let key = KeyPair::generate().expect("a key");
    let seconds = after(days).as_nanos() / 1_000_000_000;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after =
        date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(seconds).expect("after 1970"));
    let made = match by {
        Some(issuer) => params.signed_by(&key, issuer),
        None => params.self_signed(&key),
    };
    fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    fs::write(file, made.expect("a certificate").der()).expect("it is written");
    key
}

/// A gateway's folder: its own certificate, a plant's authority that is trusted with its list, the group's above it, one that has nothing to do with these, and another
/// server, which is no authority.
fn folder(name: &str, days: Days) -> Folder {
    let folder = Folder::new(name);
    let pki = folder.0.join("pki");
    write(&pki.join("own/cert.der"), params("gateway"), days.own, None);
    write(&folder.0.join("user.der"), params("user"), days.user, None);
    let group = authority_params("group");
    let key = write(&pki.join("issuers/group.der"), group.clone(), days.group, None);
    let group = Issuer::new(group, key);
    let plant = authority_params("plant");
    let key = write(
        &pki.join("trusted/plant.der"),
        plant.clone(),
        days.plant,
        Some(&group),
    );
    let plant = Issuer::new(plant, key);
    let mut list = list_params(1, [], 2100);
    let seconds = after(days.list).as_nanos() / 1_000_000_000;
    list.next_update =
        date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(seconds).expect("after 1970"));
    let list = list.signed_by(&plant).expect("a list");
    fs::write(pki.join("issuers/plant.crl"), list.der()).expect("it is written");
    write(
        &pki.join("trusted/other.der"),
        authority_params("other"),
        FAR,
        None,
    );
    write(&pki.join("trusted/server.der"), params("another server"), 3, None);
    folder
}

/// The plan of a source that has this folder.
fn plan(folder: &Folder, more: &str) -> Plan {
    let text = format!("endpoint: opc.tcp://plc1:4840\n{more}");
    let mut problems = Problems::default();
    let file = problems.add_file(Path::new("floorgate.yaml"), text.clone());
    let settings = parse(file, &text, &mut problems).expect("it is YAML");
    let spec = SourceSpec {
        name: "plc",
        settings: &settings,
        tags: Vec::new(),
        snapshots: Vec::new(),
        base: &folder.0,
        state: &folder.0,
    };
    Plan::new(&spec, &mut problems).expect("it is whole")
}

const WITH_USER: &str = "login: {certificate_file: user.der, key_file: user.pem}\n";

/// What a connection used: a certificate of the gateway that ends in so many days, and a server's.
fn used(own: i64, is_present: bool, server: i64, signer: Option<&str>) -> Certificates {
    Certificates {
        own: pki::Own {
            certificate: "cert.der".into(),
            key: "private.pem".into(),
            application_uri: "urn:gateway".to_owned(),
            thumbprint: String::new(),
            valid_to: after(own),
        },
        is_present,
        server: ByteString::null(),
        application: "urn:server".to_owned(),
        server_valid_to: Some(after(server)),
        signer: signer.map(str::to_owned),
    }
}

/// What is logged of a source in its first look.
async fn said(plan: Plan, used: Option<Certificates>) -> String {
    let registry = Metrics::new().expect("metrics");
    let (_used, watched) = watch::channel(used);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let is_shown = || {
        let families = registry.registry.gather();
        families
            .iter()
            .any(|family| family.name() == "floorgate_certificate_expires_timestamp_seconds")
    };
    tokio::select! {
        never = watch(Arc::new(plan), registry.source("plc"), watched) => match never {},
        () = async { while !is_shown() { tokio::task::yield_now().await } } => {}
    }
    let log = log.0.lock().expect("no panic");
    String::from_utf8_lossy(&log).into_owned()
}

#[tokio::test]
async fn whatever_ends_is_said_ahead_without_a_connection() {
    type Set = fn(&mut Days, i64);
    let kinds: [(&str, Set); 5] = [
        ("the gateway's certificate ends at ", |days, to| days.own = to),
        ("the certificate of the login (", |days, to| days.user = to),
        ("the certificate of the authority CN=plant (", |days, to| {
            days.plant = to;
        }),
        ("the certificate of the authority CN=group (", |days, to| {
            days.group = to;
        }),
        ("the revocation list of CN=plant (", |days, to| days.list = to),
    ];
    for (what, set) in kinds {
        let levels = if what.contains("list") {
            [(20, ""), (2, " WARN "), (0, "ERROR "), (-2, "ERROR ")]
        } else {
            [(40, ""), (20, " WARN "), (5, "ERROR "), (-2, "ERROR ")]
        };
        for (left, level) in levels {
            let mut days = ALL_FAR;
            set(&mut days, left);
            let folder = folder("expiry-ahead", days);
            let said = said(plan(&folder, WITH_USER), None).await;
            let is_told = said.contains(level) && said.contains(what) && said.lines().count() == 1;
            let is_named = said.ends_with("see=\"opcua-certificate-expires\"\n");
            let as_wanted = if level.is_empty() {
                said.is_empty()
            } else {
                is_told && is_named
            };
            assert!(as_wanted, "{what}{left}: {said:?}");
        }
    }
}

#[tokio::test]
async fn the_certificates_of_a_connection_are_said_ahead_too() {
    let folder = folder("expiry-used", ALL_FAR);
    for (days, level) in [
        (30, ""),
        (29, " WARN "),
        (7, " WARN "),
        (6, "ERROR "),
        (-2, "ERROR "),
    ] {
        let server = said(plan(&folder, ""), Some(used(FAR, true, days, None))).await;
        let previous = said(plan(&folder, ""), Some(used(days, false, FAR, None))).await;
        for (said, what) in [
            (server, "the server's certificate ends at "),
            (previous, "the gateway's certificate before the last renewal"),
        ] {
            let lines = usize::from(!level.is_empty());
            assert_eq!(said.lines().count(), lines, "{days}: {said}");
            assert!(said.contains(level), "{days}: {said}");
            assert!(said.is_empty() || said.contains(what), "{days}: {said}");
        }
    }
}

#[test]
fn only_what_a_source_needs_is_looked_at() {
    use Whose::{Authority, Gateway, RevocationList, Server, User};
    let folder = folder("expiry-needed", ALL_FAR);
    let needed = |settings: &str, used: Option<Certificates>| -> Vec<Whose> {
        let all = look(&plan(&folder, settings), used.as_ref());
        all.iter().map(|expiry| expiry.whose).collect()
    };
    let none = "security: {policy: none, mode: none}\n";
    assert_eq!(needed(none, None), []);
    assert_eq!(needed(&format!("{none}{WITH_USER}"), None), [User]);
    let all = [User, Gateway, Authority, Authority, Authority, RevocationList];
    assert_eq!(needed(WITH_USER, None), all, "the server was not seen");
    let unlisted = "allow_unknown_revocation: true\n";
    assert_eq!(needed(unlisted, None), [Gateway, Authority, Authority, Authority]);
    assert_eq!(needed("trust_any_server_certificate: true\n", None), [Gateway]);
    let by = |signer| Some(used(FAR, true, FAR, signer));
    assert_eq!(needed("", by(None)), [Gateway, Server], "it is trusted itself");
    let of_plant = [Gateway, Server, Authority, Authority, RevocationList];
    assert_eq!(needed("", by(Some("CN=plant"))), of_plant);
    assert_eq!(needed("", by(Some("CN=group"))), [Gateway, Server, Authority]);

    let own = look(&plan(&folder, ""), None);
    assert_eq!(days_left(own[0].ends, Timestamp::now()), FAR);
}
