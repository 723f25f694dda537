//! Several servers, and servers that call.

use floorgate_adapter_api::{Continuity, Notice};
use tokio::net::TcpStream;

use crate::run::{Folder, Run, Seen, addresses, settings};
use crate::server::{Manner, TestServer, free_address};

fn of_both(first: &TestServer, second: &TestServer) -> String {
    settings(
        first.port,
        &format!("redundant: [\"opc.tcp://127.0.0.1:{}/\"]\n", second.port),
    )
}

fn begins_anew(seen: &[Seen]) -> bool {
    seen.contains(&Seen::Notice(Notice::Online(Continuity::New)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_server_is_taken_when_one_cannot_be_reached() {
    let mut first = TestServer::started(Manner::default()).await;
    // The same variables, behind another number of their namespace.
    let mut second = TestServer::started(Manner {
        other_first: true,
        ..Manner::default()
    })
    .await;
    let folder = Folder::new();
    for server in [&mut first, &mut second] {
        server.set(0, 5);
    }
    let mut run = Run::new(&folder, &of_both(&first, &second), &addresses(2));
    run.shows(0, 5).await;
    second.has_sessions(0).await;

    let killed = std::time::Instant::now();
    first.kill();
    let seen = run.shows(0, 5).await;
    assert!(begins_anew(&seen), "{seen:#?}");
    // Two keep-alives, the first pause and a second.
    assert!(
        killed.elapsed().as_millis() < 600 + 500 + 1_000,
        "{:?}",
        killed.elapsed()
    );
    second.has_sessions(1).await;
    second.holds_subscriptions(1).await;
    second.set(1, 6);
    run.shows(1, 6).await;

    // It stays where it is when the other is back, and goes there when it has to.
    first.start().await;
    second.set(1, 7);
    run.shows(1, 7).await;
    first.has_sessions(0).await;
    first.set(1, 8);
    second.kill();
    run.shows(1, 8).await;
    run.stop().await;
    first.has_sessions(0).await;
    first.holds_subscriptions(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_better_server_is_taken_by_its_level_and_nothing_is_left_behind() {
    let mut first = TestServer::started(Manner::default()).await;
    let mut second = TestServer::started(Manner::default()).await;
    let folder = Folder::new();
    let mut run = Run::new(&folder, &of_both(&first, &second), &addresses(1));
    run.shows(0, 0).await;
    // Not healthy, and no better than the other: it stays.
    second.set_service_level(50);
    first.set_service_level(50);
    first.set(0, 1);
    run.shows(0, 1).await;
    run.gauge("floorgate_source_service_level", 50.0).await;
    first.set_service_level(255);
    run.gauge("floorgate_source_service_level", 255.0).await;
    first.has_sessions(1).await;

    second.set_service_level(255);
    second.set(0, 2);
    first.set_service_level(199);
    let seen = run.shows(0, 2).await;
    assert!(begins_anew(&seen), "{seen:#?}");
    let told = |seen: &Seen| matches!(seen, Seen::Notice(Notice::Offline { reason }) if reason.told.contains("service level is 199"));
    assert!(seen.iter().any(told), "{seen:#?}");
    first.has_sessions(0).await;
    first.holds_subscriptions(0).await;
    second.has_sessions(1).await;
    run.stop().await;
    second.has_sessions(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_calls_is_heard_and_a_stranger_is_turned_away() {
    let mut server = TestServer::started(Manner::default()).await;
    let folder = Folder::new();
    let listen = free_address().await;
    let call = |uri: &str| {
        settings(
            server.port,
            &format!("reverse_connect: {{listen: \"{listen}\", server_uri: \"{uri}\"}}\n"),
        )
    };
    let mut run = Run::new(&folder, &call("urn:test:server"), &addresses(1));
    // The port is open as soon as the gateway wants the server; somebody else calls first, and says nothing of use.
    let stranger = loop {
        match TcpStream::connect(listen).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
        }
    };
    stranger.try_write(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    server.call(listen);
    run.shows(0, 0).await;
    server.set(0, 3);
    run.shows(0, 3).await;
    assert!(
        TcpStream::connect(listen).await.is_err(),
        "nobody is waited for any more"
    );
    run.stop().await;
}
