//! Tags that are read together when they are asked for.

use std::time::Duration;

use floorgate_adapter_api::conformance::{AMPLE, Demands, Planned, Running};
use floorgate_adapter_api::{Quality, Value};
use floorgate_adapter_opcua::OpcUa;
use opcua::types::{DataValue, DateTime, StatusCode};

use crate::proxy::Proxy;
use crate::run::{Folder, addresses, settings};
use crate::server::{Manner, PLANT, TestServer};

/// A run in which the first tag is watched and the others are read on demand.
fn run(folder: &Folder, settings: &str, addresses: &[String]) -> Running {
    let demands = Demands {
        on_demand: (0..).take(addresses.len()).skip(1).collect(),
        ..Demands::default()
    };
    let patience = Duration::from_secs(20);
    Planned::demanding(&OpcUa, settings, addresses, &demands, &folder.0, patience).run(AMPLE)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_bad_and_the_others_have_their_values_and_times() {
    let mut server = TestServer::started(Manner::default()).await;
    server.set(0, 41);
    server.set(1, 42);
    let at = DateTime::ymd_hms(2026, 1, 2, 3, 4, 5);
    server.set_data(2, DataValue::new_at_status(7, at, StatusCode::BadSensorFailure));
    let mut tags = addresses(3);
    tags.push(format!("node: nsu={PLANT};s=NoSuchNode"));
    tags.push("node: nsu=urn:test:nowhere;s=T0".to_owned());
    for mode in ["", "mode: poll\npoll_interval: 10ms\n"] {
        let folder = Folder::new();
        let mut run = run(&folder, &settings(server.port, mode), &tags);
        run.until_shown("the watched tag arrives", &[(0, Value::Int(41))])
            .await;
        run.ask(&[0, 1, 2, 3, 4]);
        let answered = run.answer().await;
        assert_eq!(answered.answer.result, Ok(()));
        let of = |tag: usize| {
            let mut found = answered.samples.iter().filter(|sample| sample.tag.index() == tag);
            let sample = found.next().expect("each tag is answered");
            assert!(found.next().is_none(), "once: {answered:#?}");
            sample
        };
        for (tag, value) in [(0, 41), (1, 42)] {
            let sample = of(tag);
            assert_eq!(
                (sample.value.clone(), sample.quality),
                (Some(Value::Int(value)), Quality::GOOD)
            );
            assert!(
                sample.source_time.is_some() && sample.server_time.is_some(),
                "both times: {sample:?}"
            );
        }
        for (tag, status) in [
            (2, StatusCode::BadSensorFailure),
            (3, StatusCode::BadNodeIdUnknown),
            (4, StatusCode::BadNodeIdUnknown),
        ] {
            let sample = of(tag);
            assert_eq!(
                (sample.value.clone(), sample.quality),
                (None, Quality(status.bits())),
                "tag {tag}"
            );
        }
        assert_eq!(
            run.metrics.failed_tags.get(),
            0,
            "no tag that is watched is refused"
        );
        run.stop("while connected").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_the_server_divides_what_is_read() {
    let manner = Manner {
        nodes: 10,
        most_nodes_per_read: Some(4),
        ..Manner::default()
    };
    let mut server = TestServer::started(manner).await;
    for number in 0_i32..10 {
        server.set(number.unsigned_abs() as usize, number);
    }
    let folder = Folder::new();
    let mut run = run(&folder, &settings(server.port, ""), &addresses(10));
    run.until_shown("the watched tag arrives", &[(0, Value::Int(0))])
        .await;
    run.ask(&(0..10).collect::<Vec<u32>>());
    let answered = run.answer().await;
    assert_eq!(answered.answer.result, Ok(()));
    let mut values: Vec<_> = answered
        .samples
        .iter()
        .map(|sample| (i64::from(sample.tag.0), sample.value.clone()))
        .collect();
    values.sort_by_key(|(tag, _)| *tag);
    let expected: Vec<_> = (0..10).map(|number| (number, Some(Value::Int(number)))).collect();
    assert_eq!(values, expected);
    run.stop("while connected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_and_a_broken_connection_are_answers_in_time() {
    let server = TestServer::started(Manner::default()).await;
    let proxy = Proxy::to(server.port).await;
    let folder = Folder::new();
    let mut run = run(&folder, &settings(proxy.port, ""), &addresses(3));
    run.until_shown("the watched tag arrives", &[(0, Value::Int(0))])
        .await;
    proxy.freeze(true);
    for _ in 0..3 {
        run.ask(&[1, 2]);
    }
    let begun = std::time::Instant::now();
    for _ in 0..3 {
        let answered = run.answer().await;
        assert!(answered.answer.result.is_err(), "{answered:#?}");
    }
    // They are asked side by side; `request_timeout` is 1 s.
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    proxy.freeze(false);
    proxy.cut();
    loop {
        run.ask(&[1, 2]);
        match run.answer().await.answer.result {
            Ok(()) => break,
            Err(reason) => assert!(!reason.is_empty()),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(run.unclaimed(), 0);
    run.stop("while connected").await;
}
