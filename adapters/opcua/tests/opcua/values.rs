//! Values, refusals and limits.

use floorgate_adapter_api::{Notice, Value};
use opcua::types::{DataValue, DateTime, ExtensionObject, Range, StatusCode, Variant};

use crate::run::{Folder, Run, Seen, addresses, settings};
use crate::server::{Manner, PLANT, TestServer, node_name};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn value_quality_and_times_are_taken_over() {
    let server = TestServer::started(Manner::default()).await;
    let folder = Folder::new();
    let mut run = Run::new(&folder, &settings(server.port, ""), &addresses(2));
    run.shows(0, 0).await;
    let at = DateTime::ymd_hms(2026, 3, 4, 5, 6, 7);
    server.set_data(
        0,
        DataValue {
            value: Some(Variant::from(2.5_f32)),
            status: Some(StatusCode::UncertainSubNormal),
            source_timestamp: Some(at),
            ..DataValue::new_now(0)
        },
    );
    let seen = run
        .until(
            "an uncertain value",
            |seen| matches!(seen, Seen::Sample(s) if s.value == Some(Value::Float32(2.5))),
        )
        .await;
    let Some(Seen::Sample(sample)) = seen.last() else {
        unreachable!()
    };
    assert!(!sample.quality.is_good() && !sample.quality.is_bad());
    assert_eq!(
        sample.source_time.unwrap().to_string(),
        "2026-03-04T05:06:07.000Z"
    );
    assert!(sample.server_time.is_some());
    run.stop().await;
}

/// Whether a value is the one that is meant.
type Is = fn(&Value) -> bool;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_are_none_and_values_of_another_type_are_taken_over_as_they_are() {
    let mut server = TestServer::started(Manner::default()).await;
    let folder = Folder::new();
    let mut run = Run::new(&folder, &settings(server.port, ""), &addresses(1));
    run.shows(0, 0).await;
    let told: [(Variant, Is); 9] = [
        (
            f64::NAN.into(),
            |value| matches!(value, Value::Float64(it) if it.is_nan()),
        ),
        (
            (-0.0_f64).into(),
            |value| matches!(value, Value::Float64(it) if *it == 0.0 && it.is_sign_negative()),
        ),
        (f64::INFINITY.into(), |value| {
            *value == Value::Float64(f64::INFINITY)
        }),
        (f64::NEG_INFINITY.into(), |value| {
            *value == Value::Float64(f64::NEG_INFINITY)
        }),
        (
            f32::NAN.into(),
            |value| matches!(value, Value::Float32(it) if it.is_nan()),
        ),
        ("seven".into(), |value| *value == Value::text("seven")),
        (true.into(), |value| *value == Value::Bool(true)),
        (
            vec![1_i32, 2].into(),
            |value| matches!(value, Value::List(items) if items.len() == 2),
        ),
        (7_i32.into(), |value| *value == Value::Int(7)),
    ];
    for (value, is_it) in told {
        let what = format!("{value:?}");
        server.set(0, value);
        run.until(
            &what,
            |seen| matches!(seen, Seen::Sample(s) if s.quality.is_good() && s.value.as_ref().is_some_and(is_it)),
        )
        .await;
    }
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_holds_small_changes_back_where_it_is_asked_to() {
    let mut server = TestServer::started(Manner::default()).await;
    server.has_range(1, 0.0, 200.0);
    let folder = Folder::new();
    let deadbands = ["5", "10%", "10%"];
    let tags = addresses(3).into_iter().zip(deadbands);
    let tags: Vec<String> = tags
        .map(|(node, deadband)| format!("{node}\nserver_deadband: {deadband}"))
        .collect();
    let mut run = Run::new(&folder, &settings(server.port, ""), &tags);
    // A part of a range that the node does not have is none.
    let mut open = 3;
    run.until("two values and a refusal", |seen| {
        if let Seen::Sample(sample) = seen {
            assert_eq!(sample.quality.is_bad(), sample.tag.0 == 2, "{sample:?}");
            open -= 1;
        }
        open == 0
    })
    .await;
    for (tag, [small, large]) in [(0, [4, 6]), (1, [19, 21])] {
        server.set(tag, small);
        server.set(tag, large);
        run.shows(tag, large).await;
        assert_eq!(run.shown(tag), [0, i64::from(large)]);
    }
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_node_comes_back_when_the_server_has_it() {
    let server = TestServer::started(Manner::default()).await;
    let folder = Folder::new();
    let mut tags = addresses(1);
    tags.push(format!("node: nsu={PLANT};s={}", node_name(50)));
    tags.push("node: nsu=urn:nowhere;s=T0".to_owned());
    let mut run = Run::new(
        &folder,
        &settings(server.port, "retry_refused_nodes: 1s\n"),
        &tags,
    );
    let mut open = 3;
    run.until("one value and two refusals", |seen| {
        if let Seen::Sample(sample) = seen {
            assert_eq!(sample.quality.is_bad(), sample.tag.0 > 0, "{sample:?}");
            open -= 1;
        }
        open == 0
    })
    .await;
    assert_eq!(run.metrics.failed_tags.get(), 2);
    server.add(50);
    let seen = run.shows(1, 0).await;
    assert!(
        matches!(seen.last(), Some(Seen::Sample(sample)) if sample.gap),
        "nobody saw what it did while it was refused: {seen:#?}"
    );
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_small_subscriptions_gets_more_of_them() {
    let manner = Manner {
        nodes: 95,
        most_items_per_subscription: 20,
        ..Manner::default()
    };
    let mut server = TestServer::started(manner).await;
    let folder = Folder::new();
    let mut run = Run::new(
        &folder,
        &settings(server.port, "items_per_subscription: 30\n"),
        &addresses(95),
    );
    let mut missing: std::collections::HashSet<u32> = (0..95).collect();
    run.until("all tags have a value", |seen| {
        if let Seen::Sample(sample) = seen {
            assert!(sample.quality.is_good(), "{sample:?}");
            missing.remove(&sample.tag.0);
        }
        missing.is_empty()
    })
    .await;
    for tag in [0, 40, 94] {
        server.set(tag, 5);
        run.shows(tag, 5).await;
    }
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overflowed_queue_is_a_gap() {
    let mut server = TestServer::started(Manner {
        least_publishing_millis: 400.0,
        ..Manner::default()
    })
    .await;
    let folder = Folder::new();
    let mut run = Run::new(&folder, &settings(server.port, "queue_size: 3\n"), &addresses(1));
    run.shows(0, 0).await;
    for value in 1..=20 {
        server.set(0, value);
    }
    let seen = run.shows(0, 20).await;
    assert!(
        seen.iter()
            .any(|seen| matches!(seen, Seen::Sample(sample) if sample.gap)),
        "17 of 20 values did not fit: {seen:#?}"
    );
    assert!(run.metrics.gaps.get() > 0);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_carries_a_receipt_and_the_next_ones_do_not_wait_for_it() {
    let mut server = TestServer::started(Manner::default()).await;
    let folder = Folder::new();
    let mut run = Run::new(&folder, &settings(server.port, ""), &addresses(1));
    run.receipts = Some(Vec::new());
    run.shows(0, 0).await;
    for value in 1..=5 {
        server.set(0, value);
        run.shows(0, value).await;
    }
    let receipts = run.receipts.take().unwrap();
    assert!(receipts.len() >= 6, "each message carries a receipt");
    assert_eq!(run.shown(0), vec![0, 1, 2, 3, 4, 5]);
    let online = run
        .log()
        .iter()
        .filter(|s| matches!(s, Seen::Notice(Notice::Online(_))))
        .count();
    assert_eq!(online, 1);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_are_asked_for_in_requests_that_the_server_takes() {
    let mut server = TestServer::started(Manner {
        browse_limits: Some((3, 2)),
        most_nodes_per_read: Some(10),
        ..Manner::default()
    })
    .await;
    let folder = Folder::new();
    // It takes some hundred small requests.
    let settings = settings(server.port, "").replace("request_timeout: 1s", "request_timeout: 10s");
    let mut run = Run::new(&folder, &settings, &addresses(1));
    run.shows(0, 0).await;
    let range = Range { low: 1.0, high: 2.0 };
    server.set(0, ExtensionObject::from_message(range));
    run.until("a structure", |seen| matches!(seen, Seen::Sample(s) if s.quality.is_good() && matches!(s.value, Some(Value::Record(_)))))
        .await;
    run.stop().await;
}
