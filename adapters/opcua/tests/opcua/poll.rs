//! Reading in place of subscriptions.

use std::time::{Duration, Instant};

use floorgate_adapter_api::{Notice, Value};
use opcua::types::{DataValue, DateTime, StatusCode};

use crate::run::{Folder, Run, Seen, addresses, settings};
use crate::server::{Manner, PLANT, TestServer, node_name};
use crate::warnings::Warnings;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polling_reads_the_same_values() {
    let mut server = TestServer::started(Manner::default()).await;
    let folder = Folder::new();
    let mut tags = addresses(3);
    tags.push(format!("node: nsu={PLANT};s=NoSuchNode"));
    let mut run = Run::new(
        &folder,
        &settings(server.port, "mode: poll\npoll_interval: 20ms\n"),
        &tags,
    );
    run.shows(2, 0).await;
    server.set(1, 17);
    run.shows(1, 17).await;
    server.set(1, 18);
    run.shows(1, 18).await;
    let refusals = run
        .log()
        .iter()
        .filter(|s| matches!(s, Seen::Sample(s) if s.tag.0 == 3))
        .count();
    assert_eq!(refusals, 1, "a refusal is said once");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_as_it_was_is_confirmed_and_not_told_again() {
    let mut server = TestServer::started(Manner::default()).await;
    let folder = Folder::new();
    let polls = settings(server.port, "mode: poll\npoll_interval: 20ms\n");
    let mut run = Run::new(&folder, &polls, &addresses(3));
    run.shows(2, 0).await;
    let confirmed = |run: &Run| run.metrics.reading().confirmed;
    let (before, deadline) = (confirmed(&run), Instant::now() + Duration::from_secs(20));
    while confirmed(&run) < before + 9 {
        assert!(Instant::now() < deadline, "a source that answers is not late");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.set(1, 17);
    run.shows(1, 17).await;
    let samples = run.log().iter().filter(|seen| matches!(seen, Seen::Sample(_)));
    assert_eq!(samples.count(), 4, "three at first, and one that changed");
    run.stop().await;
}

/// The lines of a kind, by the name of their paragraph.
fn with(lines: &[String], see: &str) -> Vec<String> {
    let is_of_kind = |line: &&String| line.contains(see);
    lines.iter().filter(is_of_kind).cloned().collect()
}

#[tokio::test]
async fn a_value_that_is_not_good_is_no_refusal_and_of_many_refusals_some_are_named() {
    let mut server = TestServer::started(Manner::default()).await;
    let folder = Folder::new();
    let mut tags = addresses(2);
    let missing = (0..30).map(|number| format!("node: nsu={PLANT};s=Missing{number}"));
    tags.extend(missing);
    tags.push("node: nsu=urn:not:there;s=Missing".to_owned());
    let (warnings, _heard) = Warnings::heard();
    let polls = settings(server.port, "mode: poll\npoll_interval: 20ms\n");
    let mut run = Run::new(&folder, &polls, &tags);
    run.shows(1, 0).await;
    let status = StatusCode::BadSensorFailure;
    server.set_data(0, DataValue::new_at_status(0, DateTime::now(), status));
    let is_bad = |seen: &Seen| matches!(seen, Seen::Sample(sample) if sample.tag.index() == 0 && sample.quality.0 == status.bits());
    run.until("a value that is not good", is_bad).await;
    server.set(1, 5);
    run.shows(1, 5).await;
    assert_eq!(run.metrics.failed_tags.get(), 31);
    let lines = warnings.take();
    assert!(
        !lines.iter().any(|line| line.contains("BadSensorFailure")),
        "{lines:#?}"
    );
    let refused = with(&lines, "opcua-node-refused");
    assert_eq!(with(&lines, "opcua-namespace-missing").len(), 1, "{lines:#?}");
    let more = "the server refuses 11 more tags";
    assert!(refused.len() == 20 && refused[19].contains(more), "{refused:#?}");

    // What comes back is told with a gap, and what is good again without one.
    server.set(0, 6);
    run.shows(0, 6).await;
    assert_eq!(run.metrics.gaps.get(), 0);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polling_that_a_full_gateway_held_up_has_a_gap() {
    let mut server = TestServer::started(Manner::default()).await;
    let folder = Folder::new();
    let settings = settings(server.port, "mode: poll\npoll_interval: 20ms\n");
    let mut run = Run::with_room(&folder, &settings, &addresses(1), 1);
    run.shows(0, 0).await;
    server.set(0, 1);
    while run.metrics.samples.get() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The first change takes up the room; with the second the source stands still.
    server.set(0, 2);
    let mut asked = 0;
    while asked < run.metrics.requests.get() {
        asked = run.metrics.requests.get();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    run.shows(0, 2).await;
    server.set(0, 3);
    let seen = run.shows(0, 3).await;
    assert!(
        matches!(seen.first(), Some(Seen::Notice(Notice::Gap { .. }))),
        "what was while nothing was read may be missed: {seen:#?}"
    );
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_polling_finds_again_has_a_gap() {
    let server = TestServer::started(Manner::default()).await;
    let folder = Folder::new();
    let mut tags = addresses(1);
    tags.push(format!("node: nsu={PLANT};s={}", node_name(50)));
    let mut run = Run::new(
        &folder,
        &settings(server.port, "mode: poll\npoll_interval: 20ms\n"),
        &tags,
    );
    run.until(
        "a refusal",
        |seen| matches!(seen, Seen::Sample(s) if s.tag.0 == 1 && s.quality.is_bad()),
    )
    .await;
    server.add(50);
    let seen = run.shows(1, 0).await;
    let found = seen.iter().find(|seen| seen.shows(1, &Value::Int(0)));
    assert!(
        matches!(found, Some(Seen::Sample(sample)) if sample.gap),
        "{seen:#?}"
    );
    run.stop().await;
}
