//! What the server makes of the intervals and queues that it is asked for.

use std::time::Duration;

use floorgate_adapter_api::{Continuity, Notice};

use crate::proxy::Proxy;
use crate::run::{Folder, Run, Seen, addresses, settings};
use crate::server::{Manner, PLANT, TestServer, node_name};
use crate::takeover::{is_resumed, of_user};
use crate::warnings::Warnings;

#[track_caller]
fn assert_told(told: &[String], wanted: &[&str]) {
    let fits = |(line, wanted): (&String, &&str)| line.contains(wanted);
    let all = told.len() == wanted.len() && told.iter().zip(wanted).all(fits);
    assert!(all, "{told:#?} and not {wanted:#?}");
}

/// Publishing and sampling interval in seconds and queue size, as they are exported.
fn exported(run: &Run) -> [Option<f64>; 3] {
    ["publishing_interval", "sampling_interval", "queue_size"].map(|setting| run.revised(setting))
}

pub fn address(number: usize, more: &str) -> String {
    format!("{{node: 'nsu={PLANT};s={}', {more}}}", node_name(number))
}

async fn until_exported(run: &Run, setting: &str) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while run.revised(setting).is_none() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{setting} is not exported"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_a_server_revises_is_exported_and_warned_of() {
    let mut server = TestServer::started(Manner {
        least_publishing_millis: 400.0,
        least_sampling_millis: 250.0,
        longest_queue: 5,
        // Of 400 ms each.
        longest_life: 20,
        longest_session: Duration::from_secs(45),
        ..Manner::default()
    })
    .await;
    let folder = Folder::new();
    let (warnings, _heard) = Warnings::heard();
    let mut run = Run::new(&folder, &settings(server.port, ""), &addresses(2));
    run.shows(1, 0).await;
    assert_eq!(exported(&run), [Some(0.4), Some(0.25), Some(5.0)]);
    assert_eq!(run.revised("subscription_lifetime"), Some(8.0));
    assert_eq!(run.revised("session_timeout"), Some(45.0));
    // Every second interval, and not after as many as were to be of 10 ms.
    assert_eq!(run.revised("keep_alive"), Some(0.8));
    let told = [
        "the server keeps a session for 45 s without a request, not for 120 s",
        "the server revised the publishing interval from 10ms to 400ms",
        "the publishing interval of 400ms alone makes changes late by 200 ms and more",
        "the server keeps a subscription for 8 s after it was last heard, less than session_timeout: a longer loss is a gap",
        "the slowest sampling is 250ms, the smallest queue 5",
        "sampling and publishing together take up to 650ms, more than 200 ms",
    ];
    assert_told(&warnings.of_revision(), &told);

    // Of a server that was started anew nothing of that holds, and all of it is said where it does again.
    server.kill();
    server.start().await;
    run.notice("it begins anew", |notice| {
        *notice == Notice::Online(Continuity::New)
    })
    .await;
    run.shows(1, 0).await;
    assert_told(&warnings.of_revision(), &told);
    server.kill();
    server.manner.least_sampling_millis = 20.0;
    server.manner.longest_queue = 50;
    server.start().await;
    run.notice("it begins anew", |notice| {
        *notice == Notice::Online(Continuity::New)
    })
    .await;
    run.shows(1, 0).await;
    assert_eq!(exported(&run), [Some(0.4), Some(0.02), Some(50.0)]);
    run.stop().await;
}

#[tokio::test]
async fn a_server_that_does_as_it_is_asked_is_not_warned_of() {
    let server = TestServer::started(Manner::default()).await;
    let folder = Folder::new();
    let (warnings, _heard) = Warnings::heard();
    let tag = address(0, "sampling_interval: 190ms, queue_size: 7");
    let mut run = Run::new(&folder, &settings(server.port, ""), &[tag]);
    run.shows(0, 0).await;
    assert_eq!(exported(&run), [Some(0.01), Some(0.19), Some(7.0)]);
    assert_eq!(run.revised("session_timeout"), Some(120.0));
    assert_told(&warnings.of_revision(), &[]);
    run.stop().await;
}

#[tokio::test]
async fn a_node_that_is_taken_back_does_not_hide_the_others() {
    let server = TestServer::started(Manner {
        least_sampling_millis: 50.0,
        ..Manner::default()
    })
    .await;
    let folder = Folder::new();
    let (warnings, _heard) = Warnings::heard();
    let tags = [
        address(0, "sampling_interval: 1s, queue_size: 5"),
        address(50, "queue_size: 7"),
    ];
    let more = "retry_refused_nodes: 1s\n";
    let mut run = Run::new(&folder, &settings(server.port, more), &tags);
    run.shows(0, 0).await;
    assert_eq!(exported(&run), [Some(0.01), Some(1.0), Some(5.0)]);
    assert_told(
        &warnings.of_revision(),
        &[
            "the slowest sampling is 1000ms, the smallest queue 5",
            "sampling and publishing together take up to 1010ms, more than 200 ms",
        ],
    );
    // It is the only one that is asked for now.
    server.add(50);
    run.shows(1, 0).await;
    assert_eq!(exported(&run), [Some(0.01), Some(1.0), Some(5.0)]);
    assert_told(&warnings.of_revision(), &[]);
    run.stop().await;
}

#[tokio::test]
async fn what_holds_on_a_resumed_connection_is_not_warned_of_again() {
    let server = TestServer::started(Manner {
        least_publishing_millis: 150.0,
        ..Manner::default()
    })
    .await;
    let proxy = Proxy::to(server.port).await;
    let folder = Folder::new();
    let (warnings, _heard) = Warnings::heard();
    let tags = [
        address(0, "sampling_interval: 20ms"),
        address(50, "sampling_interval: 100ms"),
    ];
    let more = "retry_refused_nodes: 1s\n";
    let mut run = Run::new(&folder, &settings(proxy.port, more), &tags);
    run.shows(0, 0).await;
    let exports = [Some(0.15), Some(0.1), Some(100.0)];
    assert_eq!(exported(&run), exports);
    assert_told(
        &warnings.of_revision(),
        &["from 10ms to 150ms", "together take up to 250ms"],
    );
    proxy.cut();
    run.notice("the connection is back", |notice| {
        *notice == Notice::Online(Continuity::Resumed)
    })
    .await;
    server.add(50);
    run.shows(1, 0).await;
    assert_eq!(exported(&run), exports);
    assert_told(&warnings.of_revision(), &[]);
    run.stop().await;
}

#[tokio::test]
async fn a_session_is_given_up_when_the_server_has_ended_it() {
    let mut server = TestServer::started(Manner {
        longest_session: Duration::from_secs(3),
        ..Manner::default()
    })
    .await;
    let folder = Folder::new();
    let (warnings, _heard) = Warnings::heard();
    let mut run = Run::new(&folder, &settings(server.port, ""), &addresses(1));
    run.shows(0, 0).await;
    assert_eq!(run.revised("session_timeout"), Some(3.0));
    server.kill();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let mut told = Vec::new();
    // From there on its endpoints are asked for again.
    while !told.iter().any(|line: &String| line.contains("not connected to")) {
        assert!(tokio::time::Instant::now() < deadline, "{told:#?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
        told.extend(warnings.take());
    }
    assert!(
        told.iter().any(|line| line.contains("cannot reconnect")),
        "{told:#?}"
    );
    run.stop().await;
}

/// The layout as it was stored before it held what the server revised.
pub fn of_earlier_version(layout: &str) -> String {
    let mut layout: serde_json::Value = serde_json::from_str(layout).unwrap();
    for subscription in layout["subscriptions"].as_array_mut().unwrap() {
        for since in ["revisions", "made"] {
            subscription.as_object_mut().unwrap().remove(since).unwrap();
        }
    }
    layout.to_string()
}

/// A server that revises what it is asked for, and gives subscriptions over to the user whose password is in the folder.
pub async fn revising() -> (Folder, TestServer) {
    let folder = Folder::new();
    std::fs::write(folder.0.join("password"), "s3cret").unwrap();
    let server = TestServer::started(Manner {
        least_publishing_millis: 30.0,
        least_sampling_millis: 40.0,
        longest_queue: 6,
        keys: Some(folder.0.join("server")),
        ..Manner::default()
    })
    .await;
    (folder, server)
}

#[tokio::test]
async fn a_process_that_takes_over_exports_what_the_server_revised_for_the_one_before() {
    let (folder, server) = revising().await;
    let (warnings, _heard) = Warnings::heard();
    let settings = of_user(server.port) + "retry_refused_nodes: 1s\n";
    let mut first = Run::new(&folder, &settings, &addresses(4));
    let is_complete = |text: &String| text.contains("\"complete\":true");
    while !first.bookmarks.get("layout").is_some_and(is_complete) {
        first.until("the layout", |_| true).await;
    }
    let told = [
        "from 10ms to 30ms",
        "the slowest sampling is 40ms, the smallest queue 6",
    ];
    assert_told(&warnings.of_revision(), &told);
    let stored = first.bookmarks.clone();
    first.kill().await;

    let mut second = Run::after(stored.clone(), &folder, &settings, &addresses(4));
    let online = |notice: &Notice| matches!(notice, Notice::Online(_));
    assert!(is_resumed(&second.notice("it goes on", online).await));
    until_exported(&second, "publishing_interval").await;
    assert_eq!(exported(&second), [Some(0.03), Some(0.04), Some(6.0)]);
    assert_told(&warnings.of_revision(), &told);
    second.kill().await;

    // One node alone says nothing of the others.
    let mut earlier = stored;
    let layout = of_earlier_version(&earlier["layout"]);
    earlier.insert("layout".to_owned(), layout);
    let mut third = Run::after(earlier, &folder, &settings, &addresses(4));
    assert!(is_resumed(&third.notice("it goes on", online).await));
    until_exported(&third, "publishing_interval").await;
    assert_eq!(exported(&third), [Some(0.03), None, None]);
    server.add(3);
    let seen = third.shows(3, 0).await;
    assert!(
        seen.iter()
            .any(|seen| matches!(seen, Seen::Sample(sample) if sample.gap))
    );
    assert_eq!(exported(&third), [Some(0.03), None, None]);
    third.stop().await;
}
