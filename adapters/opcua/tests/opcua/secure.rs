//! Certificates, trust and logins.

use std::os::unix::fs::PermissionsExt;

use floorgate_adapter_api::Notice;
use floorgate_adapter_opcua::pki;

use crate::proxy::Proxy;
use crate::run::{Folder, Run, addresses};
use crate::server::{Manner, TestServer, free_address};

fn settings(port: u16, more: &str) -> String {
    format!(
        "endpoint: opc.tcp://127.0.0.1:{port}/\npublishing_interval: 10ms\nreconnect_limit: 500ms\nrequest_timeout: 5s\n{more}"
    )
}

async fn secure_server(folder: &Folder) -> TestServer {
    let keys = folder.0.join("server");
    TestServer::started(Manner {
        keys: Some(keys),
        ..Manner::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_server_is_refused_until_it_is_trusted() {
    let folder = Folder::new();
    let server = secure_server(&folder).await;
    std::fs::write(folder.0.join("password"), "s3cret\n").unwrap();
    let login = "login: {user: operator, password_file: password}\n";
    let mut run = Run::new(&folder, &settings(server.port, login), &addresses(1));
    let seen = run
        .notice("the refusal is told", |notice| {
            matches!(notice, Notice::Offline { .. })
        })
        .await;
    let pki = folder.0.join("pki");
    let contents = pki::show(&pki).unwrap();
    let [rejected] = contents.rejected.as_slice() else {
        panic!("{contents:#?}")
    };
    let hint = format!("floorgate pki trust {}", rejected.thumbprint);
    assert!(format!("{seen:?}").contains(&hint), "{seen:?}");
    let key = std::fs::metadata(&contents.key).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);

    pki::trust(&pki, &rejected.thumbprint, false).unwrap();
    run.shows(0, 0).await;
    let contents = pki::show(&pki).unwrap();
    assert_eq!((contents.trusted.len(), contents.rejected.len()), (1, 0));
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_policy_and_mode_works() {
    let folder = Folder::new();
    let mut server = secure_server(&folder).await;
    for (round, security) in [
        "{policy: basic256sha256, mode: sign}",
        "{policy: basic256sha256, mode: sign-and-encrypt}",
        "{policy: aes128-sha256-rsaoaep, mode: sign}",
        "{policy: aes128-sha256-rsaoaep, mode: sign-and-encrypt}",
        "{policy: aes256-sha256-rsapss, mode: sign}",
        "{policy: aes256-sha256-rsapss, mode: sign-and-encrypt}",
        "{policy: basic256, mode: sign}\nallow_deprecated_security_policy: true",
        "{policy: basic256, mode: sign-and-encrypt}\nallow_deprecated_security_policy: true",
        "{policy: basic128rsa15, mode: sign}\nallow_deprecated_security_policy: true",
        "{policy: basic128rsa15, mode: sign-and-encrypt}\nallow_deprecated_security_policy: true",
    ]
    .into_iter()
    .enumerate()
    {
        let more = format!("security: {security}\ntrust_any_server_certificate: true\n");
        let mut run = Run::new(&folder, &settings(server.port, &more), &addresses(1));
        let value = i32::try_from(round).unwrap() + 1;
        server.set(0, value);
        run.shows(0, value).await;
        run.stop().await;
    }
    let contents = pki::show(&folder.0.join("pki")).unwrap();
    assert!(
        contents.trusted.is_empty(),
        "what is accepted unseen is not trusted by that"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told() {
    let folder = Folder::new();
    let server = secure_server(&folder).await;
    std::fs::write(folder.0.join("password"), "wrong").unwrap();
    let more = "trust_any_server_certificate: true\nlogin: {user: operator, password_file: password}\n";
    let mut run = Run::new(&folder, &settings(server.port, more), &addresses(1));
    let seen = run
        .notice("the refusal is told", |notice| {
            matches!(notice, Notice::Offline { .. })
        })
        .await;
    let seen = format!("{seen:?}");
    assert!(
        seen.contains("BadUserAccessDenied") || seen.contains("BadIdentityToken"),
        "{seen}"
    );
    run.stop().await;
}

/// The server checks what each activation is signed over, and what the password was encrypted with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_session_is_re_activated_over_another_connection() {
    let folder = Folder::new();
    let mut server = secure_server(&folder).await;
    let proxy = Proxy::to(server.port).await;
    std::fs::write(folder.0.join("password"), "s3cret\n").unwrap();
    let more = "trust_any_server_certificate: true\nlogin: {user: operator, password_file: password}\n";
    let mut run = Run::new(&folder, &settings(proxy.port, more), &addresses(1));
    run.shows(0, 0).await;
    for value in 1..=3 {
        proxy.cut();
        run.notice("the connection's end", |notice| {
            matches!(notice, Notice::Offline { .. })
        })
        .await;
        server.set(0, value);
        run.shows(0, value).await;
    }
    server.has_sessions(1).await;
    run.stop().await;
}

/// A server that calls has to be trusted as any other, and is logged in to with a password that nobody can read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_calls_is_spoken_to_encrypted() {
    let folder = Folder::new();
    let mut server = secure_server(&folder).await;
    std::fs::write(folder.0.join("password"), "s3cret\n").unwrap();
    let listen = free_address().await;
    let more = format!(
        "reverse_connect: {{listen: \"{listen}\", server_uri: \"urn:test:server\"}}\n\
         security: {{policy: aes256-sha256-rsapss, mode: sign-and-encrypt}}\n\
         login: {{user: operator, password_file: password}}\n"
    );
    let mut run = Run::new(&folder, &settings(server.port, &more), &addresses(1));
    server.call(listen);
    run.notice(
        "the refusal is told",
        |notice| matches!(notice, Notice::Offline { reason } if reason.told.contains("is not trusted")),
    )
    .await;
    let pki = folder.0.join("pki");
    let rejected = pki::show(&pki).unwrap().rejected;
    pki::trust(&pki, &rejected[0].thumbprint, false).unwrap();
    run.shows(0, 0).await;
    // It is started anew, and calls again.
    server.kill();
    run.notice("its end", |notice| matches!(notice, Notice::Offline { .. }))
        .await;
    server.start().await;
    server.call(listen);
    server.set(0, 3);
    run.shows(0, 3).await;
    server.has_sessions(1).await;
    run.stop().await;
}
