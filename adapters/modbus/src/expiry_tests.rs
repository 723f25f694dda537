use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use floorgate_adapter_api::days_left;
use floorgate_metrics::Metrics;
use floorgate_yaml::{Problems, decode, parse};
use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use super::*;

/// Days that are far away.
const FAR: i64 = 400;

/// A folder that is removed with its test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

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

/// A certificate of this name that ends in so many days and an hour.
fn params(name: &str, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let ends = Timestamp::now().as_nanos() / 1_000_000_000 + days * 86_400 + 3_600;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after =
        date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(ends).expect("after 1970"));
    params
}

/// How many days each certificate has left.
#[derive(Clone, Copy)]
struct Days {
    own: i64,
    between: i64,
    plant: i64,
    other: i64,
    device: i64,
}

const ALL_FAR: Days = Days {
    own: FAR,
    between: FAR,
    plant: FAR,
    other: FAR,
    device: FAR,
};

/// Files as settings name them, and what a device presents that the plant's authority vouches for.
fn made(name: &str, days: Days) -> (Folder, Identity, Presented) {
    let folder = std::env::temp_dir().join(format!("floorgate-modbus-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let folder = Folder(folder);
    let key = || KeyPair::generate().expect("a key");
    let itself =
        |params: &CertificateParams, key: &KeyPair| params.self_signed(key).expect("a certificate").pem();
    let mut plant = params("plant", days.plant);
    plant.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let of_plant = key();
    let authorities = itself(&plant, &of_plant) + &itself(&params("other", days.other), &key());
    let plant = Issuer::new(plant, of_plant);
    let device = params("device", days.device).signed_by(&key(), &plant);
    let own =
        itself(&params("gateway", days.own), &key()) + &itself(&params("between", days.between), &key());
    let write = |name: &str, text: &str| fs::write(folder.0.join(name), text).expect("it is written");
    write("ca.pem", &authorities);
    write("own.pem", &own);
    let text = "{ca_file: ca.pem, certificate_file: own.pem, key_file: own.key}";
    let mut problems = Problems::default();
    let file = problems.add_file(Path::new("floorgate.yaml"), text.to_owned());
    let settings = parse(file, text, &mut problems).expect("it is YAML");
    let tls = decode(&settings, &mut problems).expect("it is whole");
    let identity = Identity::new(&tls, &folder.0);
    (
        folder,
        identity,
        vec![device.expect("a certificate").der().clone()],
    )
}

/// What is logged of a source in its first look.
async fn said(identity: Identity) -> String {
    let registry = Metrics::new().expect("metrics");
    let metrics = registry.source("press");
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
        never = watch("press", &metrics, Some(identity)) => match never {},
        () = async { while !is_shown() { tokio::task::yield_now().await } } => {}
    }
    let log = log.0.lock().expect("no panic");
    String::from_utf8_lossy(&log).into_owned()
}

#[tokio::test]
async fn whatever_ends_is_said_a_month_and_a_week_ahead_without_a_connection() {
    type Set = fn(&mut Days, i64);
    let kinds: [(&str, Set); 3] = [
        ("the gateway's certificate (", |days, to| days.own = to),
        ("the certificate of CN=between, which goes with", |days, to| {
            days.between = to;
        }),
        ("the certificate of the authority CN=plant (", |days, to| {
            days.plant = to;
        }),
    ];
    for (what, set) in kinds {
        for (left, level) in [(40, ""), (20, " WARN "), (5, "ERROR "), (-2, "ERROR ")] {
            let mut days = ALL_FAR;
            set(&mut days, left);
            let (_folder, identity, _) = made("ahead", days);
            let said = said(identity).await;
            let is_told = said.contains(level) && said.contains(what) && said.lines().count() == 1;
            let is_named = said.ends_with("see=\"modbus-certificate-expires\"\n");
            let as_wanted = if level.is_empty() {
                said.is_empty()
            } else {
                is_told && is_named
            };
            assert!(as_wanted, "{what}{left}: {said:?}");
        }
    }
}

#[test]
fn of_a_device_that_was_seen_its_own_authority_alone_is_looked_at() {
    use Whose::{Authority, Gateway, Server};
    let days = Days {
        device: 20,
        other: 3,
        ..ALL_FAR
    };
    let (_folder, identity, presented) = made("seen", days);
    let told = |presented: &Presented| -> Vec<(Whose, i64)> {
        let now = Timestamp::now();
        let all = look(&identity, presented);
        all.iter()
            .map(|expiry| (expiry.whose, days_left(expiry.ends, now)))
            .collect()
    };
    let (own, plant) = ([(Gateway, FAR), (Gateway, FAR)], (Authority, FAR));
    assert_eq!(told(&Vec::new()), [own[0], own[1], plant, (Authority, 3)]);
    assert_eq!(told(&presented), [own[0], own[1], (Server, 20), plant]);
}
