//! Two ways to a device, certificates that are refused, pauses, and a second connection for units that do not answer.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use floorgate_adapter_api::conformance::{AMPLE, Running, Seen};
use floorgate_adapter_api::{GapScope, Notice, Quality, Value};

use crate::device::{Device, Server, Wire};
use crate::rogue::{Asked, Reply, Rogue};
use crate::values::planned;
use crate::wires::certificate;

/// Two servers of which each has its own value, and the settings of both.
fn two(wire: Wire) -> ([Device; 2], [Server; 2], String) {
    let devices =
        [5, 6].map(|value| Device::default().with_unit(1, |unit| unit.holding = [(1, value)].into()));
    let servers = devices.clone().map(|device| Server::new(wire, device));
    let settings = format!(
        "connect: {}\nbackup: {}\npoll_interval: 5ms\ntimeout: 100ms\nbackoff_max: 50ms\n",
        servers[0].url(),
        servers[1].url()
    );
    (devices, servers, settings)
}

async fn offline(run: &mut Running) -> String {
    let seen = run.until("the loss is told", Seen::is_offline).await;
    match seen.last() {
        Some(Seen::Notice(Notice::Offline { reason })) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_backup_is_taken_when_the_first_cannot_be_reached_and_kept_until_it_is_lost() {
    for wire in [Wire::Tcp, Wire::Udp, Wire::RtuOverTcp] {
        let (_, mut servers, settings) = two(wire);
        servers[1].start().await;
        let mut run = planned(&format!("{settings}retries: 0\n"), &["{holding: 1}"]).run(AMPLE);
        run.until_shown("the backup's value arrives", &[(0, Value::UInt(6))])
            .await;
        servers[0].start().await;
        servers[1].stop().await;
        let reason = offline(&mut run).await;
        assert!(
            reason.contains(&servers[1].url()) || wire == Wire::RtuOverTcp,
            "{reason}"
        );
        let seen = run
            .until_shown("the first one's value arrives", &[(0, Value::UInt(5))])
            .await;
        assert!(seen.iter().any(Seen::is_online), "{wire:?}: {seen:#?}");
        servers[0].stop().await;
        run.until("the loss is told", Seen::is_offline).await;
        run.stop("while the peer is away").await;
    }
}

#[tokio::test]
async fn that_neither_way_can_be_taken_is_said_of_both() {
    let (_, servers, settings) = two(Wire::Tcp);
    let mut run = planned(&settings, &["{holding: 1}"]).run(AMPLE);
    let reason = offline(&mut run).await;
    for server in &servers {
        assert!(reason.contains(&server.url()), "{reason}");
    }
    run.stop("while the peer is away").await;
}

#[tokio::test]
async fn where_nobody_answers_the_other_way_is_taken() {
    let (devices, mut servers, settings) = two(Wire::Tcp);
    devices[0].unit(1, |unit| unit.silent = true);
    servers[0].start().await;
    servers[1].start().await;
    let mut run = planned(&settings, &["{holding: 1}"]).run(AMPLE);
    let reason = offline(&mut run).await;
    assert!(reason.starts_with(&servers[0].url()), "{reason}");
    run.until_shown("the backup's value arrives", &[(0, Value::UInt(6))])
        .await;
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_change_of_the_way_while_the_source_is_online_is_a_gap() {
    let (_, mut servers, settings) = two(Wire::Tcp);
    servers[0].start().await;
    servers[1].start().await;
    let mut run = planned(&format!("{settings}retries: 5\n"), &["{holding: 1}"]).run(AMPLE);
    run.until_shown("the value arrives", &[(0, Value::UInt(5))]).await;
    servers[0].stop().await;
    let seen = run
        .until_shown("the backup's value arrives", &[(0, Value::UInt(6))])
        .await;
    let other = servers[1].url();
    let is_told = |seen: &Seen| matches!(seen, Seen::Notice(Notice::Gap { scope: GapScope::Source, reason }) if reason.told.contains(&other));
    assert!(is_told(&seen[0]), "{seen:#?}");
    run.stop("while connected").await;
}

#[tokio::test]
async fn certificates_that_are_not_accepted_are_named() {
    let file = |name: &str| certificate(name).display().to_string();
    let cases = [
        // The device's certificate is of another authority, and for another name.
        (
            ["stranger", "gateway", "gateway.key", "plc.test"],
            "the device's certificate is not accepted",
        ),
        (
            ["authority", "gateway", "gateway.key", "other.test"],
            "the device's certificate is not accepted",
        ),
        // The gateway's own is of another authority, is not there, and is not the key's.
        (
            ["authority", "stranger", "stranger.key", "plc.test"],
            "does not accept the gateway",
        ),
        (
            ["authority", "nobody", "gateway.key", "plc.test"],
            "nobody.pem cannot be used",
        ),
        (
            ["authority", "gateway", "stranger.key", "plc.test"],
            "gateway.pem cannot be used",
        ),
        (
            ["authority", "gateway", "gateway", "plc.test"],
            "gateway.pem cannot be used",
        ),
    ];
    let device = Device::default().with_unit(1, |unit| unit.holding = [(1, 5)].into());
    let mut server = Server::new(Wire::Tls, device);
    server.start().await;
    for ([authority, own, key, name], expected) in cases {
        let settings = format!(
            "connect: {}\nbackoff_max: 50ms\ntls: {{ca_file: {}, certificate_file: {}, key_file: {}, server_name: {name}}}\n",
            server.url(),
            file(authority),
            file(own),
            file(key),
        );
        let mut run = planned(&settings, &["{holding: 1}"]).run(AMPLE);
        let reason = offline(&mut run).await;
        assert!(reason.contains(expected), "{own}: {reason}");
        run.stop("while the peer is away").await;
    }
}

#[tokio::test]
async fn when_certificates_end_is_shown_before_there_is_a_connection_and_the_devices_with_it() {
    let device = Device::default().with_unit(1, |unit| unit.holding = [(1, 5)].into());
    let mut server = Server::new(Wire::Tls, device);
    let settings = format!("connect: {}\nbackoff_max: 50ms\n", server.connect());
    let mut run = planned(&settings, &["{holding: 1}"]).run(AMPLE);
    let ends = |run: &Running, whose: &str| {
        run.gauge_of("floorgate_certificate_expires_timestamp_seconds", "whose", whose)
    };
    offline(&mut run).await;
    shows(&mut run, |run| {
        ends(run, "gateway").is_some() && ends(run, "authority").is_some()
    })
    .await;
    assert_eq!(ends(&run, "server"), None, "it was not seen");
    server.start().await;
    run.until_shown("the value arrives", &[(0, Value::UInt(5))]).await;
    shows(&mut run, |run| ends(run, "server").is_some()).await;
    run.stop("while connected").await;
}

/// Waits until the metrics are so.
async fn shows(run: &mut Running, is_so: impl Fn(&Running) -> bool) {
    let waiting = async {
        while !is_so(run) {
            run.next(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(15), waiting).await;
    assert!(waited.is_ok(), "the metrics show something else");
}

#[tokio::test]
async fn pauses_are_kept() {
    let asked: Arc<Mutex<Vec<(u8, Instant)>>> = Arc::default();
    let noted = Arc::clone(&asked);
    let rogue = Rogue::start(false, move |asked: Asked| {
        noted
            .lock()
            .expect("no panic with the lock held")
            .push((asked.unit, Instant::now()));
        Reply::Send(asked.tcp(&asked.own_addresses()))
    })
    .await;
    let settings = format!(
        "connect: tcp://{}\npoll_interval: 1ms\npause_after_connect: 200ms\nrequest_pause: 5ms\nturnaround: 40ms\n",
        rogue.address
    );
    let begun = Instant::now();
    let addresses = ["{holding: 1}", "{holding: 9}", "{holding: 1, unit_id: 2}"];
    let mut run = planned(&settings, &addresses).run(AMPLE);
    run.until_shown(
        "the values arrive",
        &[(0, Value::UInt(1)), (1, Value::UInt(9)), (2, Value::UInt(1))],
    )
    .await;
    while asked.lock().expect("no panic with the lock held").len() < 12 {
        let next = run.next(Duration::from_millis(5)).await;
        // Twice such an interval is soon over where the machine is busy: a batch that waited so long is a hole.
        assert!(
            next.as_ref().is_none_or(|seen| seen.is_gap_of(0)),
            "nothing changes: {next:?}"
        );
    }
    let asked = std::mem::take(&mut *asked.lock().expect("no panic with the lock held"));
    assert!(asked[0].1 - begun >= Duration::from_millis(200), "{asked:?}");
    for pair in asked.windows(2) {
        let least = if pair[0].0 == pair[1].0 { 5 } else { 40 };
        assert!(pair[1].1 - pair[0].1 >= Duration::from_millis(least), "{asked:?}");
    }
    run.stop("while connected").await;
}

#[tokio::test]
async fn frames_on_a_serial_line_are_as_far_apart_as_its_rate_asks_for() {
    // 3.5 characters of 11 bits.
    const LEAST: Duration = Duration::from_micros(38_500_000 / 300);
    let device = Device::default().with_unit(1, |unit| unit.holding = [(1, 1), (9, 9)].into());
    let mut server = Server::new(Wire::Rtu, device.clone());
    server.start().await;
    let settings = format!(
        "connect: {}\nserial: {{baud: 300}}\npoll_interval: 1ms\n",
        server.connect()
    );
    let mut run = planned(&settings, &["{holding: 1}", "{holding: 9}"]).run(AMPLE);
    run.until_shown("the values arrive", &[(0, Value::UInt(1)), (1, Value::UInt(9))])
        .await;
    while device.tables().asked_at.len() < 5 {
        run.next(Duration::from_millis(5)).await;
    }
    let asked = device.tables().asked_at.clone();
    let apart: Vec<Duration> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(apart.iter().all(|apart| *apart >= LEAST), "{apart:?}");
    run.stop("while connected").await;
}

/// A device of two units of which the second is dead, read until that is known.
async fn one_dead(settings: &str, most_connections: Option<usize>) -> (Device, Server, Running) {
    let device = Device::default()
        .with_unit(1, |unit| unit.holding = [(1, 5)].into())
        .with_unit(2, |unit| unit.silent = true);
    device.tables().most_connections = most_connections;
    let mut server = Server::new(Wire::Tcp, device.clone());
    server.start().await;
    let settings = format!(
        "connect: {}\npoll_interval: 10ms\nbackoff_max: 50ms\n{settings}",
        server.connect()
    );
    let mut run = planned(&settings, &["{holding: 1}", "{holding: 1, unit_id: 2}"]).run(AMPLE);
    run.until("the dead unit is bad", |seen| {
        seen.sample_of(1)
            .is_some_and(|sample| sample.quality == Quality::BAD_TIMEOUT)
    })
    .await;
    (device, server, run)
}

/// Waits until a unit was asked so often since it was known that it is dead; the longest time between two polls of the other.
async fn longest_pause(device: &Device, run: &mut Running, times: usize) -> Duration {
    let start = device.tables().asked.len();
    let count = |unit: u8| {
        device.tables().asked[start..]
            .iter()
            .filter(|asked| asked.0 == unit)
            .count()
    };
    let mut seen = Vec::new();
    while count(2) < times || count(1) < 3 {
        seen.extend(run.next(Duration::from_millis(10)).await);
    }
    let tables = device.tables();
    let polls: Vec<Instant> = tables.asked[start..]
        .iter()
        .zip(&tables.asked_at[start..])
        .filter(|(asked, _)| asked.0 == 1)
        .map(|(_, at)| *at)
        .collect();
    polls
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or_default()
}

#[tokio::test]
async fn a_dead_unit_costs_the_others_no_time_where_the_device_takes_a_second_connection() {
    let (device, _server, mut run) = one_dead("timeout: 1s\n", None).await;
    let longest = longest_pause(&device, &mut run, 3).await;
    assert!(longest < Duration::from_millis(900), "{longest:?}");
    let gaps = run.metrics.gaps.get();
    device.unit(2, |unit| {
        unit.silent = false;
        unit.holding.insert(1, 7);
    });
    let seen = run.until_shown("the unit is back", &[(1, Value::UInt(7))]).await;
    assert!(seen.iter().any(|seen| seen.is_gap_of(1)), "{seen:#?}");
    assert!(
        !seen.iter().any(|seen| seen.is_gap_of(0)),
        "the other lost nothing: {seen:#?}"
    );
    assert_eq!(run.metrics.gaps.get(), gaps + 1);
    run.stop("while connected").await;
}

#[tokio::test]
async fn nor_does_a_dead_unit_of_which_every_tag_was_refused() {
    let device = Device::default()
        .with_unit(1, |unit| unit.holding = [(1, 5)].into())
        .with_unit(2, |unit| unit.missing = [1].into());
    let mut server = Server::new(Wire::Tcp, device.clone());
    server.start().await;
    let settings = format!(
        "connect: {}\npoll_interval: 10ms\nbackoff_max: 50ms\ntimeout: 1s\nretry_refused: 50ms\n",
        server.connect()
    );
    let mut run = planned(&settings, &["{holding: 1}", "{holding: 1, unit_id: 2}"]).run(AMPLE);
    run.until("the tag is refused", |seen| {
        seen.sample_of(1)
            .is_some_and(|sample| sample.quality == Quality::BAD_OUT_OF_RANGE)
    })
    .await;
    let connections = device.tables().connections;
    device.unit(2, |unit| unit.silent = true);
    // It is known when the link was made anew, and a second one besides.
    while device.tables().connections < connections + 2 {
        run.next(Duration::from_millis(10)).await;
    }
    let longest = longest_pause(&device, &mut run, 3).await;
    assert!(longest < Duration::from_millis(900), "{longest:?}");
    device.unit(2, |unit| {
        unit.silent = false;
        unit.missing.clear();
        unit.holding.insert(1, 7);
    });
    run.until_shown("the unit is back", &[(1, Value::UInt(7))]).await;
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_second_connection_that_was_turned_down_once_is_tried_again() {
    let settings = "timeout: 100ms\nretry_refused: 300ms\n";
    let (device, _server, mut run) = one_dead(settings, Some(1)).await;
    longest_pause(&device, &mut run, 3).await;
    device.tables().most_connections = None;
    let aside = async {
        loop {
            let gaps = run.metrics.gaps.get();
            longest_pause(&device, &mut run, 5).await;
            device.unit(1, |unit| {
                let value = unit.holding.entry(1).or_default();
                *value = value.wrapping_add(1);
            });
            if run.metrics.gaps.get() == gaps {
                break;
            }
        }
    };
    let tried = tokio::time::timeout(Duration::from_secs(15), aside).await;
    assert!(tried.is_ok(), "the dead unit costs the other the link still");
    run.stop("while connected").await;
}

#[tokio::test]
async fn where_a_device_takes_one_connection_only_its_dead_unit_is_tried_between_the_polls() {
    let setting = "timeout: 100ms\nsecond_connection: false\n";
    for (setting, most) in [("timeout: 100ms\n", Some(1)), (setting, None)] {
        let (device, _server, mut run) = one_dead(setting, most).await;
        longest_pause(&device, &mut run, 3).await;
        device.unit(2, |unit| {
            unit.silent = false;
            unit.holding.insert(1, 7);
        });
        run.until_shown("the unit is back", &[(1, Value::UInt(7))]).await;
        run.stop("while connected").await;
    }
}
