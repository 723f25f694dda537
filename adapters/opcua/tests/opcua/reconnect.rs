//! Lost connections, restarted servers, frozen peers.

use std::time::{Duration, Instant};

use floorgate_adapter_api::{Continuity, Notice, Value};

use crate::proxy::Proxy;
use crate::run::{Folder, Run, Seen, addresses, settings};
use crate::server::{FOREIGN, Manner, TestServer};

/// Two keep-alives, the longest pause, and a second: so soon a source is back after a fault has ended.
const WITHIN: Duration = Duration::from_millis(600 + 500 + 1_000);

fn is_online(notice: &Notice) -> bool {
    matches!(notice, Notice::Online(_))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_connection_loses_nothing() {
    let mut server = TestServer::started(Manner::default()).await;
    let proxy = Proxy::to(server.port).await;
    let folder = Folder::new();
    let mut run = Run::new(
        &folder,
        &settings(proxy.port, "queue_size: 5000\n"),
        &addresses(3),
    );
    run.shows(0, 0).await;
    let mut value = 0;
    for _ in 0..3 {
        // Values go on through the cut and the outage.
        for step in 0..300 {
            value += 1;
            server.set(0, value);
            if step == 100 {
                proxy.refuse(true);
                proxy.cut();
            }
            if step == 250 {
                proxy.refuse(false);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let seen = run.shows(0, value).await;
        assert!(
            seen.contains(&Seen::Notice(Notice::Online(Continuity::Resumed))),
            "the session was re-activated"
        );
        if !seen.contains(&Seen::Notice(Notice::CaughtUp)) {
            run.notice("the end of what was missed", |notice| *notice == Notice::CaughtUp)
                .await;
        }
        let place = |wanted: &dyn Fn(&Seen) -> bool| run.log().iter().rposition(wanted);
        let caught_up = place(&|seen| *seen == Seen::Notice(Notice::CaughtUp));
        // The last value that was certainly set before the connection was back.
        let missed = Value::Int(i64::from(value) - 50);
        assert!(
            caught_up > place(&|seen| seen.shows(0, &missed)),
            "what is known is of the past as long as {missed} has not come: {:#?}",
            run.log()
        );
    }
    let expected: Vec<i64> = (0..=i64::from(value)).collect();
    assert_eq!(run.shown(0), expected, "each value once, in order");
    let gaps = run
        .log()
        .iter()
        .filter(|s| matches!(s, Seen::Sample(s) if s.gap))
        .count();
    assert_eq!(
        (gaps, run.metrics.gaps.get()),
        (0, 0),
        "nothing was missed, and nothing said to be"
    );
    let ends = run
        .log()
        .iter()
        .filter(|s| **s == Seen::Notice(Notice::CaughtUp))
        .count();
    assert_eq!(ends, 3, "once for each connection that was resumed");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_with_reordered_namespaces_gives_no_foreign_value() {
    let mut server = TestServer::started(Manner::default()).await;
    let folder = Folder::new();
    let mut run = Run::new(&folder, &settings(server.port, ""), &addresses(3));
    server.set(1, 11);
    run.shows(1, 11).await;
    for round in 1..=3 {
        server.kill();
        run.notice("the loss is told", |notice| {
            matches!(notice, Notice::Offline { .. })
        })
        .await;
        server.manner.other_first = !server.manner.other_first;
        server.set(1, 11 + round);
        server.start().await;
        let started = Instant::now();
        let seen = run.notice("the server is back", is_online).await;
        assert!(started.elapsed() < WITHIN, "{:?}", started.elapsed());
        assert!(
            seen.contains(&Seen::Notice(Notice::Online(Continuity::New))),
            "the server knows nothing of before"
        );
        run.shows(1, 11 + round).await;
        server.set(2, 100 + round);
        run.shows(2, 100 + round).await;
        server.has_sessions(1).await;
        server.holds_subscriptions(1).await;
    }
    for tag in 0..3 {
        assert!(
            !run.shown(tag).contains(&i64::from(FOREIGN)),
            "a value of another node"
        );
    }
    let offline = run
        .log()
        .iter()
        .filter(|s| matches!(s, Seen::Notice(Notice::Offline { .. })))
        .count();
    assert_eq!(offline, 3, "each loss is told once");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_peer_is_noticed_and_nothing_is_lost() {
    let mut server = TestServer::started(Manner::default()).await;
    let proxy = Proxy::to(server.port).await;
    let folder = Folder::new();
    // A slow server may take longer to answer, as long as anything comes from it.
    let settings =
        settings(proxy.port, "queue_size: 5000\n").replace("request_timeout: 1s", "request_timeout: 10s");
    let mut run = Run::new(&folder, &settings, &addresses(1));
    run.shows(0, 0).await;
    proxy.freeze(true);
    for value in 1..=50 {
        server.set(0, value);
    }
    let frozen = Instant::now();
    run.notice(
        "the frozen peer is noticed",
        |notice| matches!(notice, Notice::Offline { reason } if reason.told.contains("no sign of life")),
    )
    .await;
    let limit = Duration::from_millis(2 * 300 + 1_000);
    assert!(
        frozen.elapsed() < limit,
        "two keep-alives and a second: {:?}",
        frozen.elapsed()
    );
    proxy.cut();
    proxy.freeze(false);
    let ended = Instant::now();
    run.notice("the peer is back", is_online).await;
    assert!(ended.elapsed() < WITHIN, "{:?}", ended.elapsed());
    run.shows(0, 50).await;
    assert_eq!(run.shown(0), (0..=50).collect::<Vec<i64>>());
    server.has_sessions(1).await;
    server.holds_subscriptions(1).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_gateway_stops_publishing_and_loses_nothing_that_fits_the_queue() {
    let mut server = TestServer::started(Manner::default()).await;
    let folder = Folder::new();
    let more = "queue_size: 5000\n";
    let mut run = Run::with_room(&folder, &settings(server.port, more), &addresses(1), 10);
    run.shows(0, 0).await;
    for value in 1..=500 {
        server.set(0, value);
        if value % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    run.shows(0, 500).await;
    assert_eq!(run.shown(0), (0..=500).collect::<Vec<i64>>());
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_longer_than_the_session_is_resumed_by_another() {
    // The server lets only a known user take over subscriptions.
    let folder = Folder::new();
    let keys = Some(folder.0.join("server"));
    let mut server = TestServer::started(Manner {
        keys,
        ..Manner::default()
    })
    .await;
    let proxy = Proxy::to(server.port).await;
    std::fs::write(folder.0.join("password"), "s3cret").unwrap();
    let more = "queue_size: 5000\nsession_timeout: 5s\ntrust_any_server_certificate: true\nlogin: {user: operator, password_file: password}\n";
    let settings = settings(proxy.port, more).replace("security: {policy: none, mode: none}\n", "");
    let mut run = Run::new(&folder, &settings, &addresses(2));
    run.shows(0, 0).await;
    proxy.refuse(true);
    proxy.cut();
    let cut = Instant::now();
    let mut value = 0;
    // Longer than the session, shorter than its subscriptions.
    while cut.elapsed() < Duration::from_millis(5_500) {
        value += 1;
        server.set(0, value);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    proxy.refuse(false);
    let seen = run.shows(0, value).await;
    assert!(
        seen.contains(&Seen::Notice(Notice::Online(Continuity::Resumed))),
        "the subscription was taken over"
    );
    assert_eq!(run.metrics.gaps.get(), 0, "nothing was missed");
    assert_eq!(run.shown(0), (0..=i64::from(value)).collect::<Vec<i64>>());
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_drops_each_connection_at_once_is_not_asked_in_a_tight_loop() {
    let server = TestServer::started(Manner::default()).await;
    let proxy = Proxy::to(server.port).await;
    let folder = Folder::new();
    let run = Run::new(&folder, &settings(proxy.port, ""), &addresses(1));
    let begun = Instant::now();
    for connects in 1..=5 {
        while run.metrics.connects.get() < connects {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        proxy.cut();
    }
    assert!(
        begun.elapsed() > 4 * Duration::from_millis(250),
        "five connections within {:?}",
        begun.elapsed()
    );
    run.stop().await;
}
