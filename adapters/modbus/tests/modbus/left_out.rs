//! Requests that get no answer of use, of a unit that answers others: each is found out, and costs nothing else.

use std::collections::HashSet;
use std::time::Duration;

use floorgate_adapter_api::conformance::{AMPLE, Demands, Planned, Running, Seen};
use floorgate_adapter_api::{Quality, Value};
use floorgate_adapter_modbus::Modbus;
use tokio_modbus::ExceptionCode;

use crate::device::{Device, Server, Wire};
use crate::isolation::device_and_run;
use crate::mute::{asked, holding, offlines, tags, until_found};

const BAD_SERVER_TOO_BUSY: Quality = Quality(0x80EE_0000);

/// Waits until the device was asked so often more.
async fn until_asked(device: &Device, run: &mut Running, more: usize) -> Vec<Seen> {
    let before = device.tables().asked.len();
    let mut seen = Vec::new();
    while device.tables().asked.len() < before + more {
        seen.extend(run.next(Duration::from_millis(5)).await);
    }
    seen
}

/// Waits until each of these tags is bad.
async fn until_bad(run: &mut Running, tags: &[usize]) -> Vec<Seen> {
    let mut open = tags.to_vec();
    run.until("the tags are bad", |seen| {
        let is_bad = |tag: usize| seen.sample_of(tag).is_some_and(|sample| sample.quality.is_bad());
        open.retain(|tag| !is_bad(*tag));
        open.is_empty()
    })
    .await
}

#[tokio::test]
async fn a_source_of_which_every_tag_is_refused_comes_back() {
    let device = holding(&[]);
    device.unit(1, |unit| unit.missing = [1, 2].into());
    let addresses = ["{holding: 1}", "{holding: 2}"];
    let settings = "retry_refused: 50ms\n";
    let (device, _server, mut run) = device_and_run(device, settings, &addresses).await;
    until_bad(&mut run, &[0, 1]).await;
    device.unit(1, |unit| unit.silent = true);
    run.until("the loss is told", Seen::is_offline).await;
    device.unit(1, |unit| unit.silent = false);
    run.until("a refusal is an answer", Seen::is_online).await;
    until_bad(&mut run, &[0, 1]).await;
    run.stop("while connected").await;
}

#[tokio::test]
async fn nothing_is_told_of_a_source_that_is_away() {
    for exception in [None, Some(ExceptionCode::ServerDeviceFailure)] {
        let device = holding(&[]);
        device.unit(1, |unit| unit.missing = [1].into());
        let mut server = Server::new(Wire::Tcp, device.clone());
        server.start().await;
        let settings = format!(
            "connect: {}\npoll_interval: 5ms\nbackoff_max: 20ms\nretry_refused: 50ms\nretries: 1\ntimeout: 10s\n",
            server.connect()
        );
        let mut run = crate::values::planned(&settings, &["{holding: 1}"]).run(AMPLE);
        until_bad(&mut run, &[0]).await;
        // One failure is borne, but the connection cannot be made anew.
        server.stop().await;
        run.until("the loss is told", Seen::is_offline).await;
        device.unit(1, |unit| unit.exception = exception);
        server.start().await;
        let mut seen = until_asked(&device, &mut run, 3).await;
        device.unit(1, |unit| unit.exception = None);
        if !seen.iter().any(Seen::is_online) {
            seen.extend(run.until("it is back", Seen::is_online).await);
        }
        let first = seen
            .iter()
            .find(|seen| matches!(seen, Seen::Sample(_)) || seen.is_online());
        assert!(first.is_some_and(Seen::is_online), "{exception:?}: {seen:#?}");
        run.stop("while connected").await;
    }
}

#[tokio::test]
async fn what_is_known_of_a_silent_request_outlives_that_another_is_left_out() {
    let places = [1, 50, 90];
    let (addresses, shown) = tags(&places);
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let (device, _server, mut run) = device_and_run(holding(&places), "max_gap: 0\n", &addresses).await;
    run.until_shown("the values arrive", &shown).await;
    let mute = HashSet::from([50, 90]);
    let before = device.tables().asked.len();
    device.unit(1, |unit| unit.mute = mute.clone());
    let seen = until_found(&mut run, &shown, &[1, 2]).await;
    assert_eq!(offlines(&seen), 1, "{seen:#?}");
    let asked = asked(&device, before, &mute);
    assert_eq!(
        asked.iter().filter(|asked| asked.1).count(),
        6,
        "three silences each: {asked:?}"
    );
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_unit_of_which_every_tag_is_refused_shows_that_a_second_connection_is_served() {
    let device = Device::default()
        .with_unit(1, |unit| unit.missing = [1].into())
        .with_unit(2, |unit| unit.holding = [(1, 5)].into());
    let addresses = ["{holding: 1}", "{holding: 1, unit_id: 2}"];
    let (device, _server, mut run) = device_and_run(device, "", &addresses).await;
    run.until_shown("the other unit's value arrives", &[(1, Value::UInt(5))])
        .await;
    device.unit(2, |unit| unit.silent = true);
    until_bad(&mut run, &[1]).await;
    device.unit(2, |unit| unit.silent = false);
    run.until_shown("it is back", &[(1, Value::UInt(5))]).await;
    run.stop("while connected").await;
}

#[tokio::test]
async fn each_of_many_dead_units_is_tried() {
    let dead = [2, 3, 4];
    let mut device = holding(&[1]);
    for unit in dead {
        device = device.with_unit(unit, |unit| unit.holding = [(1, 5)].into());
    }
    let own = dead.map(|unit| format!("{{holding: 1, unit_id: {unit}}}"));
    let addresses = ["{holding: 1}", &own[0], &own[1], &own[2]];
    let settings = "timeout: 200ms\n";
    let (device, _server, mut run) = device_and_run(device, settings, &addresses).await;
    let value = |tag| (tag, Value::UInt(5));
    run.until_shown("the values arrive", &[value(1), value(2), value(3)])
        .await;
    for unit in dead {
        device.unit(unit, |unit| unit.silent = true);
    }
    until_bad(&mut run, &[1, 2, 3]).await;
    device.unit(4, |unit| unit.silent = false);
    run.until_shown("the last of them is tried, too", &[value(3)])
        .await;
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_request_that_the_gateway_gives_up_is_found_out_and_the_others_are_read() {
    // As one of several requests, and as the first of them; alone, and with others in a request.
    for (places, bad) in [(vec![1, 50, 90], 1), (vec![1, 50, 90], 0), (vec![1, 2, 3, 50], 1)] {
        let (addresses, shown) = tags(&places);
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        for is_so_from_the_start in [false, true] {
            let device = holding(&places);
            let answers = || [(places[bad], ExceptionCode::GatewayTargetDevice)].into();
            if is_so_from_the_start {
                device.unit(1, |unit| unit.answers = answers());
            }
            let (device, _server, mut run) = device_and_run(device, "max_gap: 0\n", &addresses).await;
            if !is_so_from_the_start {
                run.until_shown("the values arrive", &shown).await;
                device.unit(1, |unit| unit.answers = answers());
            }
            let mut seen = until_bad(&mut run, &[bad]).await;
            while run.metrics.failed_tags.get() != 1 {
                seen.extend(run.next(Duration::from_millis(5)).await);
            }
            let changed = |place: &u16| (*place, *place + 1_000);
            device.unit(1, |unit| unit.holding = places.iter().map(changed).collect());
            let values = places.iter().map(|place| Value::UInt(u64::from(*place) + 1_000));
            let mut others: Vec<(usize, Value)> = values.enumerate().collect();
            others.remove(bad);
            seen.extend(run.until_shown("all others are read", &others).await);
            let is_first = places[bad] == 1 || places[1] == 2;
            assert!(
                offlines(&seen) <= usize::from(is_first),
                "{places:?}, {bad}: {seen:#?}"
            );
            let is_so = |seen: &Seen| {
                seen.sample_of(bad)
                    .is_some_and(|sample| sample.quality == Quality::BAD_NO_COMMUNICATION)
            };
            assert!(seen.iter().any(is_so), "{seen:#?}");
            assert_eq!(device.tables().connections, 1, "an exception ends no connection");
            run.stop("while connected").await;
        }
    }
}

#[tokio::test]
async fn a_request_over_which_the_unit_is_always_busy_is_bad_and_keeps_nothing_from_the_others() {
    let places = [1, 50, 90];
    let (addresses, shown) = tags(&places);
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    for busy in [0, 1] {
        let (device, _server, mut run) = device_and_run(holding(&places), "max_gap: 0\n", &addresses).await;
        run.until_shown("the values arrive", &shown).await;
        device.unit(1, |unit| {
            unit.answers = [(places[busy], ExceptionCode::ServerDeviceBusy)].into();
            unit.holding.insert(90, 7);
        });
        let mut seen = run
            .until_shown("what is behind it is read", &[(2, Value::UInt(7))])
            .await;
        seen.extend(until_bad(&mut run, &[busy]).await);
        let is_so = |seen: &Seen| {
            seen.sample_of(busy)
                .is_some_and(|sample| sample.quality == BAD_SERVER_TOO_BUSY)
        };
        assert!(seen.last().is_some_and(is_so), "{seen:#?}");
        seen.extend(until_asked(&device, &mut run, 12).await);
        assert_eq!(offlines(&seen), 0, "{seen:#?}");
        device.unit(1, |unit| unit.answers.clear());
        let seen = run.until_shown("it is read again", &shown[busy..=busy]).await;
        assert!(seen.iter().any(|seen| seen.is_gap_of(busy)), "{seen:#?}");
        assert_eq!(device.tables().connections, 1);
        run.stop("while connected").await;
    }
}

#[tokio::test]
async fn a_silent_tag_is_tried_again_though_refused_ones_are_due_at_every_poll() {
    let places = [1, 20, 50];
    let addresses = places.map(|place| format!("{{holding: {place}, every: 200ms}}"));
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let shown = tags(&places).1;
    let device = holding(&places);
    device.unit(1, |unit| {
        unit.missing = [20].into();
        unit.mute = [50].into();
    });
    let settings = "max_gap: 0\nretry_refused: 100ms\n";
    let (device, _server, mut run) = device_and_run(device, settings, &addresses).await;
    until_found(&mut run, &shown, &[1, 2]).await;
    device.unit(1, |unit| unit.mute.clear());
    run.until_shown("it is read again", &shown[2..]).await;
    run.stop("while connected").await;
}

#[tokio::test]
async fn bits_of_one_register_are_not_told_apart() {
    let bits = (0..16).map(|bit| format!("{{holding: 50, bit: {bit}}}"));
    let addresses: Vec<String> = ["{holding: 1}".to_owned()].into_iter().chain(bits).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let device = holding(&[1]);
    device.unit(1, |unit| unit.mute = [50].into());
    let (device, _server, mut run) = device_and_run(device, "max_gap: 0\n", &addresses).await;
    let all: Vec<usize> = (1..=16).collect();
    until_bad(&mut run, &all).await;
    while run.metrics.failed_tags.get() != 16 {
        run.next(Duration::from_millis(5)).await;
    }
    let asked = asked(&device, 0, &HashSet::from([50]));
    assert_eq!(asked.iter().filter(|asked| asked.1).count(), 3, "{asked:?}");
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_silent_register_that_is_asked_for_on_demand_costs_the_polls_a_connection_and_no_more() {
    let device = holding(&[1]);
    device.unit(1, |unit| unit.mute = [50].into());
    let mut server = Server::new(Wire::Tcp, device.clone());
    server.start().await;
    let settings = format!(
        "connect: {}\npoll_interval: 5ms\ntimeout: 100ms\n",
        server.connect()
    );
    let demands = Demands {
        on_demand: vec![1],
        snapshots: vec![vec![1]],
    };
    let addresses = ["{holding: 1}", "{holding: 50}"].map(str::to_owned);
    let folder = std::env::temp_dir();
    let limit = Duration::from_secs(15);
    let mut run = Planned::demanding(&Modbus, &settings, &addresses, &demands, &folder, limit).run(AMPLE);
    run.until_shown("the watched tag arrives", &[(0, Value::UInt(1))])
        .await;
    for value in [7, 8] {
        run.ask(&[1]);
        let answered = run.answer().await;
        let told = answered.answer.result.expect_err("it is not answered");
        assert!(told.contains("no answer within 100ms"), "{told}");
        device.unit(1, |unit| unit.holding = [(1, value)].into());
        let shown = (0, Value::UInt(u64::from(value)));
        let seen = run.until_shown("watching goes on", &[shown]).await;
        assert_eq!(offlines(&seen), 0, "{seen:#?}");
        assert!(seen.iter().any(|seen| seen.is_gap_of(0)), "{seen:#?}");
    }
    // Whether the unit has gone, the next poll says.
    device.unit(1, |unit| unit.silent = true);
    run.ask(&[1]);
    assert!(run.answer().await.answer.result.is_err());
    run.until("the loss is told", Seen::is_offline).await;
    run.stop("while connected").await;
}

#[tokio::test]
async fn what_is_read_is_not_withheld_until_all_that_is_silent_was_asked() {
    let places = [1, 50, 60, 70, 80, 90, 100];
    let (addresses, shown) = tags(&places);
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mute = HashSet::from([50, 60, 70, 80, 90, 100]);
    let device = holding(&places);
    device.unit(1, |unit| unit.mute = mute.clone());
    let settings = "max_gap: 0\ntimeout: 300ms\n";
    let (device, _server, mut run) = device_and_run(device, settings, &addresses).await;
    run.until_shown("what is answered is shown", &shown[..1]).await;
    let asked = asked(&device, 0, &mute);
    let silences = asked.iter().filter(|asked| asked.1).count();
    // The first may be the unit's, and another poll may have begun.
    assert!(silences <= 3, "{asked:?}");
    run.stop("while connected").await;
}

#[tokio::test]
async fn what_a_gateway_gives_up_now_and_then_is_neither_bad_nor_left_out() {
    let places = [1, 50];
    let (addresses, shown) = tags(&places);
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let settings = "max_gap: 0\nretries: 5\n";
    let (device, _server, mut run) = device_and_run(holding(&places), settings, &addresses).await;
    run.until_shown("the values arrive", &shown).await;
    device.unit(1, |unit| {
        unit.answers = [(50, ExceptionCode::GatewayTargetDevice)].into();
    });
    let asked = || device.tables().asked.iter().filter(|asked| asked.2 == 50).count();
    let before = asked();
    let mut seen = Vec::new();
    while asked() < before + 2 {
        seen.extend(run.next(Duration::from_millis(5)).await);
    }
    device.unit(1, |unit| {
        unit.answers.clear();
        unit.holding = [(1, 1), (50, 51)].into();
    });
    seen.extend(run.until_shown("it is read again", &[(1, Value::UInt(51))]).await);
    let is_bad = |seen: &Seen| seen.sample_of(1).is_some_and(|sample| sample.quality.is_bad());
    assert!(!seen.iter().any(is_bad), "{seen:#?}");
    assert_eq!(run.metrics.failed_tags.get(), 0);
    run.stop("while connected").await;
}
