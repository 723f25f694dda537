//! Certificates that change while the gateway runs: authorities, revocation, renewal, exchange.

use std::fs;
use std::path::{Path, PathBuf};

use floorgate_adapter_api::Notice;
use floorgate_adapter_opcua::pki;
use opcua::crypto::PrivateKey;
use rcgen::{Issuer, KeyPair, SanType, SerialNumber};

use crate::authority::{authority_params, list_params, params};
use crate::run::{Folder, Run, Seen, addresses};
use crate::server::{Manner, TestServer};

fn settings(port: u16, more: &str) -> String {
    format!(
        "endpoint: opc.tcp://127.0.0.1:{port}/\npublishing_interval: 10ms\nsampling_interval: 0ms\nqueue_size: 5000\nreconnect_limit: 500ms\nkeep_alive: 300ms\nrequest_timeout: 5s\n\
         login: {{user: operator, password_file: password}}\n{more}"
    )
}

/// A server with keys in this folder, and a gateway's folder beside it.
async fn server(folder: &Folder, checks_clients: bool) -> TestServer {
    fs::write(folder.0.join("password"), "s3cret").unwrap();
    TestServer::started(Manner {
        keys: Some(folder.0.join("server")),
        checks_clients,
        ..Manner::default()
    })
    .await
}

async fn is_told(run: &mut Run, words: &str) {
    let what = format!("{words:?} is told");
    run.notice(
        &what,
        |notice| matches!(notice, Notice::Offline { reason } if reason.told.contains(words)),
    )
    .await;
}

/// A plant's authority.
struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    /// Makes one, with its certificate in this file.
    fn new(file: &Path) -> Self {
        let params = authority_params("Plant CA");
        let key = KeyPair::generate().unwrap();
        fs::write(file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self(Issuer::new(params, key))
    }

    /// Gives a server a key and a certificate with the number 7.
    fn certify(&self, keys: &Path) {
        let key = PrivateKey::new(2048).unwrap().to_der().unwrap();
        let key = KeyPair::try_from(key.as_bytes()).unwrap();
        let mut params = params("plc");
        params.serial_number = Some(SerialNumber::from(7_u64));
        params.subject_alt_names = vec![SanType::URI("urn:test:server".try_into().unwrap())];
        for sub in ["own", "private"] {
            fs::create_dir_all(keys.join(sub)).unwrap();
        }
        let certificate = params.signed_by(&key, &self.0).unwrap();
        fs::write(keys.join("own/cert.der"), certificate.der()).unwrap();
        fs::write(keys.join("private/private.pem"), key.serialize_pem()).unwrap();
    }

    fn list(&self, file: &Path, revoked: &[u64]) {
        let revoked = revoked.iter().copied().map(SerialNumber::from);
        let params = list_params(1, revoked, 2100);
        fs::write(file, params.signed_by(&self.0).unwrap().der()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_an_authority_is_let_in_until_it_is_revoked() {
    let folder = Folder::new();
    let file = |name: &str| folder.0.join(name);
    let authority = Authority::new(&file("ca.pem"));
    authority.certify(&file("server"));
    let mut server = server(&folder, false).await;
    let mut run = Run::new(&folder, &settings(server.port, ""), &addresses(1));
    let pki = file("pki");
    let trust = |path: PathBuf| pki::trust(&pki, path.to_str().unwrap(), false).unwrap();
    is_told(&mut run, "signed by CN=Plant CA").await;
    trust(file("ca.pem"));
    authority.list(&file("ca.crl"), &[]);
    trust(file("ca.crl"));
    run.shows(0, 0).await;
    let contents = pki::show(&pki).unwrap();
    let trusted: Vec<&str> = contents.trusted.iter().map(|c| c.subject.as_str()).collect();
    assert_eq!(
        trusted,
        ["CN=Plant CA"],
        "the server is trusted by its authority alone"
    );
    run.expires("server").await;

    server.set(0, 1);
    run.shows(0, 1).await;
    authority.list(&file("ca.crl"), &[7]);
    trust(file("ca.crl"));
    is_told(&mut run, "was revoked").await;
    server.has_sessions(0).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_authorities_and_their_lists_end_is_shown_though_there_is_no_server() {
    let folder = Folder::new();
    let file = |name: &str| folder.0.join(name);
    let authority = Authority::new(&file("ca.pem"));
    authority.list(&file("ca.crl"), &[]);
    for name in ["ca.pem", "ca.crl"] {
        pki::trust(&file("pki"), file(name).to_str().unwrap(), false).unwrap();
    }
    fs::write(file("password"), "s3cret").unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let run = Run::new(&folder, &settings(port, ""), &addresses(1));
    run.expires("authority").await;
    run.expires("revocation_list").await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_rejected_is_left() {
    let folder = Folder::new();
    let server = server(&folder, false).await;
    let pki = folder.0.join("pki");
    let certificate = folder.0.join("server/own/cert.der");
    let mut run = Run::new(&folder, &settings(server.port, ""), &addresses(1));
    is_told(&mut run, "is not trusted").await;
    let pki::Trusted::Certificate(trusted) = pki::trust(&pki, certificate.to_str().unwrap(), false).unwrap()
    else {
        panic!("it is a certificate")
    };
    run.shows(0, 0).await;
    pki::reject(&pki, &trusted.thumbprint).unwrap();
    is_told(&mut run, "is not trusted").await;
    server.has_sessions(0).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_taken_without_a_gap() {
    let folder = Folder::new();
    let mut server = server(&folder, false).await;
    let more = "trust_any_server_certificate: true\n";
    let mut run = Run::new(&folder, &settings(server.port, more), &addresses(1));
    run.shows(0, 0).await;
    pki::renew(&folder.0.join("pki"), true).unwrap();
    is_told(&mut run, "a new certificate").await;
    for value in 1..=20 {
        server.set(0, value);
    }
    run.shows(0, 20).await;
    assert_eq!(run.shown(0), (0..=20).collect::<Vec<i64>>());
    assert_eq!(run.metrics.gaps.get(), 0);
    // It is the only session: the one before was closed.
    server.has_sessions(1).await;
    server.holds_subscriptions(1).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_the_new_certificate_is_asked_with_the_one_before() {
    let folder = Folder::new();
    let mut server = server(&folder, true).await;
    let pki = folder.0.join("pki");
    let more = "trust_any_server_certificate: true\n";
    let mut run = Run::new(&folder, &settings(server.port, more), &addresses(1));
    is_told(&mut run, "does not trust the gateway's certificate").await;
    trust_client(&folder, &pki);
    run.shows(0, 0).await;
    pki::renew(&pki, true).unwrap();
    is_told(&mut run, "a new certificate").await;
    server.set(0, 1);
    run.shows(0, 1).await;
    server.has_sessions(1).await;
    run.stop().await;

    // The next one begins with the new one again.
    trust_client(&folder, &pki);
    fs::remove_file(pki.join("own/previous.der")).unwrap();
    let mut run = Run::new(&folder, &settings(server.port, more), &addresses(1));
    run.shows(0, 1).await;
    run.stop().await;
}

/// Has the server trust the gateway's certificate, which it refused.
fn trust_client(folder: &Folder, pki: &Path) {
    let keys = folder.0.join("server");
    let own = fs::read(pki.join("own/cert.der")).unwrap();
    for refused in fs::read_dir(keys.join("rejected")).unwrap() {
        let path = refused.unwrap().path();
        if fs::read(&path).unwrap() == own {
            fs::rename(&path, keys.join("trusted").join(path.file_name().unwrap())).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_another_certificate_is_told_and_comes_back_when_it_is_trusted() {
    let folder = Folder::new();
    let mut server = server(&folder, false).await;
    let pki = folder.0.join("pki");
    let certificate = folder.0.join("server/own/cert.der");
    let mut run = Run::new(&folder, &settings(server.port, ""), &addresses(1));
    is_told(&mut run, "is not trusted").await;
    pki::trust(&pki, certificate.to_str().unwrap(), false).unwrap();
    run.shows(0, 0).await;
    server.kill();
    run.notice("the loss", |notice| matches!(notice, Notice::Offline { .. }))
        .await;
    fs::remove_dir_all(folder.0.join("server")).unwrap();
    server.set(0, 1);
    server.start().await;
    // It is the same loss, which is told once; the certificate is among those that were refused.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let refused = loop {
        if let Some(refused) = pki::show(&pki).unwrap().rejected.pop() {
            break refused;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "it is not among the refused"
        );
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    pki::trust(&pki, &refused.thumbprint, false).unwrap();
    let trusted = std::time::Instant::now();
    let seen = run.shows(0, 1).await;
    assert!(
        trusted.elapsed().as_millis() < 600 + 1_000 + 1_000,
        "{:?}",
        trusted.elapsed()
    );
    let online = |seen: &Seen| {
        matches!(
            seen,
            Seen::Notice(Notice::Online(floorgate_adapter_api::Continuity::New))
        )
    };
    assert!(seen.iter().any(online), "{seen:#?}");
    server.has_sessions(1).await;
    run.stop().await;
}
