//! How units are shown to people.

use std::time::{Duration, SystemTime};

use floorgate_adapter_api::StationState::{Connecting, LeftAlone, Offline, Online};
use floorgate_adapter_api::conformance::{AMPLE, Running, Seen};
use floorgate_adapter_api::{StationState, Value};
use floorgate_metrics::Outlook;
use tokio_modbus::ExceptionCode;

use crate::device::{Device, Server, Wire};
use crate::isolation::device_and_run;
use crate::requests;

/// The units of the numbers 1, 2 and 10, or the first of them, as they are to stand.
fn own<const UNITS: usize>(states: [StationState; UNITS]) -> Vec<(String, StationState)> {
    let units = ["unit 1", "unit 2", "unit 10"].map(str::to_owned);
    units.into_iter().zip(states).collect()
}

fn states(run: &Running) -> Vec<(String, StationState)> {
    let stations = run.metrics.outlook().stations.into_iter();
    stations.map(|station| (station.name, station.state)).collect()
}

/// Waits until the units of the numbers 1, 2 and 10, or the first of them, stand so.
async fn stand<const UNITS: usize>(run: &mut Running, expected: [StationState; UNITS]) {
    let expected = own(expected);
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
    assert_eq!(dead.see.as_deref(), Some("modbus-no-answer"));
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

/// How often the device was asked for a unit.
fn asked(device: &Device, unit: u8) -> usize {
    let tables = device.tables();
    tables.asked.iter().filter(|asked| asked.0 == unit).count()
}

#[tokio::test]
async fn a_unit_that_is_only_read_on_demand_is_no_station_and_keeps_no_trial_from_another() {
    let device = three();
    let mut server = Server::new(Wire::Tcp, device.clone());
    server.start().await;
    let settings = format!(
        "connect: {}\npoll_interval: 5ms\nbackoff_max: 100ms\ntimeout: 100ms\nretries: 0\n",
        server.connect()
    );
    let addresses = [
        "{holding: 1}",
        "{holding: 1, unit_id: 2}",
        "{holding: 1, unit_id: 10}",
    ];
    let mut run = requests::planned(&settings, &addresses, 2).run(AMPLE);
    run.until_shown("the values", &[(0, Value::UInt(5)), (1, Value::UInt(5))])
        .await;
    stand(&mut run, [Online, Online]).await;
    run.ask(&[2]);
    assert_eq!(run.answer().await.answer.result, Ok(()));
    assert_eq!(states(&run), own([Online, Online]), "it is not polled");

    // When it is asked for and dead, nothing tries it but the next request.
    device.unit(10, |unit| unit.silent = true);
    run.ask(&[2]);
    assert!(run.answer().await.answer.result.is_err());
    let told = asked(&device, 10);
    device.unit(2, |unit| unit.silent = true);
    stand(&mut run, [Online, Offline]).await;
    assert_eq!(run.metrics.outlook().attempt, None, "the source is there");
    // The other one is tried on a connection of its own, so that the first one is never lost by it.
    device.unit(1, |unit| unit.holding = [(1, 7)].into());
    run.until_shown("polls go on", &[(0, Value::UInt(7))]).await;
    let before = asked(&device, 2);
    while asked(&device, 2) < before + 3 {
        let seen = run.next(Duration::from_millis(5)).await;
        assert!(!seen.as_ref().is_some_and(|seen| seen.is_gap_of(0)), "{seen:#?}");
        device.unit(1, |unit| *unit.holding.entry(1).or_default() += 1);
    }
    assert_eq!(asked(&device, 10), told);
    assert_eq!(states(&run), own([Online, Offline]));
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_source_that_is_only_asked_has_no_stations_and_no_attempts() {
    let device = three();
    let mut server = Server::new(Wire::Tcp, device.clone());
    server.start().await;
    let settings = format!("connect: {}\ntimeout: 100ms\nretries: 0\n", server.connect());
    let mut run = requests::planned(&settings, &["{holding: 1}"], 0).run(AMPLE);
    run.ask(&[0]);
    assert_eq!(run.answer().await.answer.result, Ok(()));
    run.until("it is online", Seen::is_online).await;
    device.unit(1, |unit| unit.silent = true);
    run.ask(&[0]);
    assert!(run.answer().await.answer.result.is_err());
    run.until("it is lost", Seen::is_offline).await;
    let outlook = run.metrics.outlook();
    let failure = outlook
        .failure
        .as_ref()
        .and_then(|failure| failure.see.as_deref());
    assert_eq!(failure, Some("modbus-no-answer"));
    let no_more = Outlook {
        failure: None,
        ..outlook
    };
    assert_eq!(no_more, Outlook::default());
    run.stop("while it is away").await;
}
