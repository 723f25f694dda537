//! How units are shown to people.

use std::time::{Duration, SystemTime};

use floorgate_adapter_api::StationState::{Connecting, LeftAlone, Offline, Online};
use floorgate_adapter_api::conformance::{Running, Seen};
use floorgate_adapter_api::{StationState, Value};
use tokio_modbus::ExceptionCode;

use crate::device::Device;
use crate::isolation::device_and_run;

fn states(run: &Running) -> Vec<(String, StationState)> {
    let stations = run.metrics.outlook().stations.into_iter();
    stations.map(|station| (station.name, station.state)).collect()
}

/// Waits until the units of the numbers 1, 2 and 10 stand so.
async fn stand(run: &mut Running, expected: [StationState; 3]) {
    let expected: Vec<(String, StationState)> = [1, 2, 10]
        .into_iter()
        .map(|unit| format!("unit {unit}"))
        .zip(expected)
        .collect();
    let waiting = async {
        while states(run) != expected {
            run.next(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(15), waiting).await;
    assert!(waited.is_ok(), "{:#?}", run.metrics.outlook());
}

const ADDRESSES: [&str; 3] = [
    "{holding: 1}",
    "{holding: 1, unit_id: 10}",
    "{holding: 1, unit_id: 2}",
];

fn three() -> Device {
    [1, 2, 10].into_iter().fold(Device::default(), |device, id| {
        device.with_unit(id, |unit| unit.holding = [(1, 5)].into())
    })
}

#[tokio::test]
async fn each_unit_is_shown_with_its_own_words_and_its_next_attempt() {
    let (device, _server, mut run) = device_and_run(three(), "", &ADDRESSES).await;
    run.until_shown(
        "all values",
        &[(0, Value::UInt(5)), (1, Value::UInt(5)), (2, Value::UInt(5))],
    )
    .await;
    stand(&mut run, [Online, Online, Online]).await;
    assert_eq!(run.metrics.outlook().stations[2].last_error, None);

    device.unit(10, |unit| unit.silent = true);
    stand(&mut run, [Online, Online, Offline]).await;
    let lost = run.metrics.outlook();
    let dead = &lost.stations[2];
    let error = dead.last_error.as_deref().unwrap_or_default();
    assert!(
        error.contains("unit 10") && error.contains("no answer within 100ms"),
        "{error}"
    );
    let next = dead.attempt.expect("it is tried again");
    assert!(next.pause <= Duration::from_millis(100), "backoff_max: {next:?}");
    assert!(next.at <= SystemTime::now() + next.pause, "{next:?}");
    assert_eq!(lost.stations[0].attempt, None);
    assert_eq!(lost.attempt, None, "the source is there");

    device.unit(10, |unit| unit.silent = false);
    stand(&mut run, [Online, Online, Online]).await;
    let back = &run.metrics.outlook().stations[2];
    assert_eq!(back.attempt, None);
    assert!(back.last_error.is_some(), "what was wrong is still known");
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_unit_that_fails_for_the_first_time_is_left_alone_while_its_values_hold() {
    let settings = "retries: 10\nsecond_connection: false\n";
    let (device, _server, mut run) = device_and_run(three(), settings, &ADDRESSES).await;
    stand(&mut run, [Online, Online, Online]).await;
    device.unit(2, |unit| unit.exception = Some(ExceptionCode::ServerDeviceBusy));
    stand(&mut run, [Online, LeftAlone, Online]).await;
    let error = run.metrics.outlook().stations[1].last_error.clone();
    assert!(error.is_some_and(|error| error.contains("exception 06")));
    device.unit(2, |unit| unit.exception = None);
    stand(&mut run, [Online, Online, Online]).await;
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_source_that_is_away_shows_when_it_is_tried_again() {
    let (_, mut server, mut run) = device_and_run(three(), "", &ADDRESSES).await;
    stand(&mut run, [Online, Online, Online]).await;
    server.stop().await;
    run.until("it is lost", Seen::is_offline).await;
    stand(&mut run, [Offline, Offline, Offline]).await;
    let waiting = async {
        // The attempt at the connection, not the one that its units had before.
        loop {
            let lost = run.metrics.outlook();
            let refused = |error: &String| error.contains("refused");
            let is_refused = |error: &Option<String>| error.as_ref().is_some_and(refused);
            let next = lost.attempt.filter(|next| !next.pause.is_zero());
            if next.is_some()
                && lost
                    .stations
                    .iter()
                    .any(|station| is_refused(&station.last_error))
            {
                return next;
            }
            run.next(Duration::from_millis(5)).await;
        }
    };
    let next = tokio::time::timeout(Duration::from_secs(15), waiting).await;
    let next = next.expect("in time").expect("it is tried again");
    assert!(next.pause <= Duration::from_millis(100), "{next:?}");
    server.start().await;
    stand(&mut run, [Online, Online, Online]).await;
    assert_eq!(run.metrics.outlook().attempt, None);
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_unit_that_was_never_asked_is_only_waited_for() {
    let device = three();
    device.unit(10, |unit| unit.silent = true);
    let (_, _server, mut run) = device_and_run(device, "timeout: 10s\n", &ADDRESSES).await;
    stand(&mut run, [Online, Online, Connecting]).await;
    run.stop("while it waits").await;
}
