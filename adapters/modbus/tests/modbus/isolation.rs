//! Devices that are busy, half there or not there at all, and what stays untouched by it.

use std::time::Duration;

use floorgate_adapter_api::conformance::{AMPLE, Running, Seen};
use floorgate_adapter_api::{Notice, Quality, Value};
use tokio_modbus::ExceptionCode;

use crate::device::{Device, Server, Wire};
use crate::values::planned;

/// A device of its own on a server of its own.
pub async fn device_and_run(device: Device, settings: &str, addresses: &[&str]) -> (Device, Server, Running) {
    let mut server = Server::new(Wire::Tcp, device.clone());
    server.start().await;
    let timeout = if settings.contains("timeout") {
        ""
    } else {
        "timeout: 100ms\n"
    };
    let settings = format!(
        "connect: {}\npoll_interval: 5ms\nbackoff_max: 100ms\n{timeout}{settings}",
        server.connect()
    );
    let run = planned(&settings, addresses).run(AMPLE);
    (device, server, run)
}

#[tokio::test]
async fn each_exception_means_what_it_means_and_none_ends_the_connection() {
    let cases = [
        (ExceptionCode::IllegalFunction, Some(0x803D_0000)),
        (ExceptionCode::IllegalDataAddress, Some(0x803C_0000)),
        (ExceptionCode::IllegalDataValue, Some(0x803C_0000)),
        (ExceptionCode::ServerDeviceFailure, None),
        (ExceptionCode::MemoryParityError, None),
        (ExceptionCode::Acknowledge, None),
        (ExceptionCode::ServerDeviceBusy, None),
        (ExceptionCode::GatewayPathUnavailable, None),
        (ExceptionCode::GatewayTargetDevice, None),
    ];
    for (exception, refused) in cases {
        let device = Device::default().with_unit(1, |unit| unit.exception = Some(exception));
        let addresses = ["{holding: 1}", "{holding: 2}"];
        let (device, _server, mut run) = device_and_run(device, "retry_refused: 50ms\n", &addresses).await;
        if let Some(quality) = refused {
            let mut open = vec![0, 1];
            let seen = run
                .until("both tags are bad", |seen| {
                    open.retain(|tag| {
                        seen.sample_of(*tag)
                            .is_none_or(|sample| sample.quality != Quality(quality))
                    });
                    open.is_empty()
                })
                .await;
            assert!(
                !seen.iter().any(Seen::is_offline),
                "{exception}: a refusal is an answer: {seen:#?}"
            );
        } else {
            let seen = run
                .until("a unit that cannot answer is lost", Seen::is_offline)
                .await;
            let code = format!("exception {:02X}", u8::from(exception));
            assert!(
                matches!(seen.last(), Some(Seen::Notice(Notice::Offline { reason })) if reason.told.contains(&code)),
                "{exception}: {seen:#?}"
            );
        }
        device.unit(1, |unit| unit.exception = None);
        run.until_shown("the values arrive", &[(0, Value::UInt(0)), (1, Value::UInt(0))])
            .await;
        assert_eq!(
            device.tables().connections,
            1,
            "{exception}: the connection stays"
        );
        run.stop("while connected").await;
    }
}

#[tokio::test]
async fn a_unit_that_is_busy_for_a_moment_is_only_late() {
    let device = Device::default().with_unit(1, |unit| unit.holding = [(1, 5)].into());
    let (device, _server, mut run) = device_and_run(device, "timeout: 10s\n", &["{holding: 1}"]).await;
    run.until_shown("the value arrives", &[(0, Value::UInt(5))]).await;
    device.unit(1, |unit| unit.exception = Some(ExceptionCode::ServerDeviceBusy));
    let asked = device.tables().asked.len();
    while device.tables().asked.len() < asked + 3 {
        assert!(
            run.next(Duration::from_millis(5)).await.is_none(),
            "a busy device is no news yet"
        );
    }
    device.unit(1, |unit| unit.exception = None);
    let seen = run.until("the hole is told", |seen| seen.is_gap_of(0)).await;
    assert_eq!(seen.len(), 1, "{seen:#?}");
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_dead_unit_does_not_stop_the_others() {
    let device = (1..=4).fold(Device::default(), |device, id| {
        device.with_unit(id, |unit| unit.holding = [(1, u16::from(id))].into())
    });
    device.unit(3, |unit| unit.silent = true);
    let addresses: Vec<String> = (1..=4)
        .map(|id| format!("{{holding: 1, unit_id: {id}}}"))
        .collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let (device, _server, mut run) = device_and_run(device, "", &addresses).await;
    let others = [(0, Value::UInt(1)), (1, Value::UInt(2)), (3, Value::UInt(4))];
    let mut bad = false;
    let mut open = others.to_vec();
    let seen = run
        .until("the others' values arrive, and that unit 3 is bad", |seen| {
            open.retain(|(tag, value)| !seen.shows(*tag, value));
            bad |= seen
                .sample_of(2)
                .is_some_and(|sample| sample.quality == Quality::BAD_TIMEOUT && sample.value.is_none());
            open.is_empty() && bad
        })
        .await;
    assert!(
        !seen.iter().any(Seen::is_offline),
        "one dead unit is not the end of the source: {seen:#?}"
    );
    for value in 10..15 {
        for id in [1, 2, 4] {
            device.unit(id, |unit| unit.holding = [(1, value)].into());
        }
        let wanted = others.clone().map(|(tag, _)| (tag, Value::UInt(value.into())));
        let seen = run.until_shown("the others' changes arrive", &wanted).await;
        assert!(
            !seen.iter().any(|seen| seen.sample_of(2).is_some()),
            "bad is told once: {seen:#?}"
        );
    }
    device.unit(3, |unit| unit.silent = false);
    let seen = run
        .until_shown("the dead unit is back", &[(2, Value::UInt(3))])
        .await;
    assert!(
        seen.iter().any(|seen| seen.is_gap_of(2)),
        "what it did meanwhile is unknown: {seen:#?}"
    );
    run.stop("while connected").await;
}

#[tokio::test]
async fn refused_registers_are_found_left_out_and_taken_back() {
    let device = Device::default().with_unit(1, |unit| {
        unit.holding = (0..100).map(|place| (place, place)).collect();
        unit.missing = [31, 77].into();
    });
    let addresses: Vec<String> = (0..100).map(|place| format!("{{holding: {place}}}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let (device, _server, mut run) = device_and_run(device, "retry_refused: 300ms\n", &addresses).await;
    let mut open: Vec<u16> = (0..100).collect();
    let seen = run
        .until("98 tags are good and 2 are bad", |seen| {
            open.retain(|place| {
                let bad = seen
                    .sample_of(usize::from(*place))
                    .is_some_and(|sample| sample.quality.is_bad());
                !seen.shows(usize::from(*place), &Value::UInt((*place).into())) && !bad
            });
            open.is_empty()
        })
        .await;
    let bad: Vec<usize> = (0..100)
        .filter(|tag| {
            seen.iter()
                .any(|seen| seen.sample_of(*tag).is_some_and(|s| s.quality.is_bad()))
        })
        .collect();
    assert_eq!(bad, [31, 77]);
    assert_eq!(run.metrics.failed_tags.get(), 2);
    // Once it is known, three requests read everything else.
    let start = device.tables().asked.len();
    let plan = [(1, 3, 0, 31), (1, 3, 32, 45), (1, 3, 78, 22)];
    while !device.tables().asked[start..]
        .windows(6)
        .any(|asked| asked[..3] == plan && asked[3..] == plan)
    {
        assert!(
            run.next(Duration::from_millis(5)).await.is_none(),
            "nothing changed"
        );
        assert!(
            device.tables().asked.len() < start + 2_000,
            "the plan is never {plan:?}"
        );
    }
    device.unit(1, |unit| unit.missing.clear());
    let wanted = [(31, Value::UInt(31)), (77, Value::UInt(77))];
    let seen = run
        .until_shown("the registers are there after all", &wanted)
        .await;
    assert!(
        seen.iter().any(|seen| seen.is_gap_of(31)) && seen.iter().any(|seen| seen.is_gap_of(77)),
        "{seen:#?}"
    );
    let start = device.tables().asked.len();
    while !device.tables().asked[start..].contains(&(1, 3, 0, 100)) {
        assert!(
            run.next(Duration::from_millis(5)).await.is_none(),
            "nothing changed"
        );
        assert!(
            device.tables().asked.len() < start + 2_000,
            "one request reads all again"
        );
    }
    assert_eq!(run.metrics.failed_tags.get(), 0);
    assert_eq!(
        device.tables().connections,
        1,
        "exceptions never end the connection"
    );
    run.stop("while connected").await;
}

/// 100 registers that hold their own address, on a device that is read well.
async fn hundred(settings: &str, change: impl FnOnce(&mut crate::device::Unit)) -> (Device, Server, Running) {
    let device = Device::default().with_unit(1, |unit| {
        unit.holding = (0..100).map(|place| (place, place)).collect();
        change(unit);
    });
    let addresses: Vec<String> = (0..100).map(|place| format!("{{holding: {place}}}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    device_and_run(device, settings, &addresses).await
}

#[tokio::test]
async fn a_device_that_fails_for_a_while_is_asked_as_before_when_it_is_back() {
    let (device, _server, mut run) = hundred("", |_| {}).await;
    let values: Vec<_> = (0..100).map(Value::UInt).enumerate().collect();
    run.until_shown("every value arrives", &values).await;
    device.unit(1, |unit| {
        unit.exception = Some(ExceptionCode::ServerDeviceFailure);
    });
    let seen = run.until("a stopped PLC is lost", Seen::is_offline).await;
    assert!(
        matches!(seen.last(), Some(Seen::Notice(Notice::Offline { reason })) if reason.told.contains("exception 04")),
        "{seen:#?}"
    );
    let asked = device.tables().asked.len();
    while device.tables().asked.len() < asked + 10 {
        assert!(
            run.next(Duration::from_millis(5)).await.is_none(),
            "no tag is refused for it"
        );
    }
    device.unit(1, |unit| {
        unit.exception = None;
        unit.holding.insert(7, 4711);
    });
    let mut values = values;
    values[7].1 = Value::UInt(4711);
    let seen = run.until_shown("every value arrives again", &values).await;
    assert!(seen.first().is_some_and(Seen::is_online), "{seen:#?}");
    assert_eq!(run.metrics.failed_tags.get(), 0);
    assert_eq!(device.tables().asked.last(), Some(&(1, 3, 0, 100)));
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_register_that_makes_the_device_fail_is_found() {
    let (device, _server, mut run) = hundred("", |unit| {
        unit.missing = [31].into();
        unit.says_failure = true;
    })
    .await;
    let mut open: Vec<usize> = (0..100).collect();
    run.until("99 tags are good and one is bad", |seen| {
        open.retain(|place| {
            let wanted = if *place == 31 {
                seen.sample_of(31)
                    .is_some_and(|sample| sample.quality == Quality::BAD_DEVICE_FAILURE)
            } else {
                seen.shows(*place, &Value::UInt(*place as u64))
            };
            !wanted
        });
        open.is_empty()
    })
    .await;
    while run.metrics.failed_tags.get() != 1 {
        run.next(Duration::from_millis(5)).await;
    }
    // From then on the unit is sound.
    let start = device.tables().asked.len();
    while device.tables().asked.len() < start + 20 {
        let next = run.next(Duration::from_millis(5)).await;
        assert!(!next.is_some_and(|seen| seen.is_offline()));
    }
    run.stop("while connected").await;
}

#[tokio::test]
async fn what_was_refused_for_a_moment_is_taken_back_at_once_when_one_tag_is() {
    let (device, _server, mut run) = hundred("retry_refused: 1s\n", |unit| {
        unit.exception = Some(ExceptionCode::IllegalDataAddress);
    })
    .await;
    while run.metrics.failed_tags.get() < 100 {
        run.next(Duration::from_millis(5)).await;
    }
    device.unit(1, |unit| unit.exception = None);
    let before = device.tables().asked.len();
    let values: Vec<_> = (0..100).map(Value::UInt).enumerate().collect();
    let begun = std::time::Instant::now();
    run.until_shown("every value arrives", &values).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let asked = device.tables().asked.len() - before;
    assert!(asked < 200, "{asked} requests");
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_request_that_was_refused_for_a_moment_is_not_shortened_for_good() {
    let (device, _server, mut run) = hundred("", |_| {}).await;
    let values: Vec<_> = (0..100).map(Value::UInt).enumerate().collect();
    run.until_shown("every value arrives", &values).await;
    let refused = device.tables().asked.len();
    device.unit(1, |unit| unit.refuses = 1);
    while !device.tables().asked[refused..].contains(&(1, 3, 0, 50)) {
        run.next(Duration::from_millis(5)).await;
    }
    let start = device.tables().asked.len();
    while !device.tables().asked[start..]
        .windows(2)
        .any(|asked| asked == [(1, 3, 0, 100); 2])
    {
        run.next(Duration::from_millis(5)).await;
        assert!(device.tables().asked.len() < start + 200, "requests stay short");
    }
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_device_of_short_requests_is_read_in_short_requests() {
    let device = Device::default().with_unit(1, |unit| {
        unit.holding = (0..60).map(|place| (place, place)).collect();
        unit.most = Some(20);
    });
    let addresses: Vec<String> = (0..60).map(|place| format!("{{holding: {place}}}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let (device, _server, mut run) = device_and_run(device, "", &addresses).await;
    let wanted: Vec<_> = (0..60).map(Value::UInt).enumerate().collect();
    let seen = run.until_shown("every value arrives", &wanted).await;
    assert!(
        !seen
            .iter()
            .any(|seen| matches!(seen, Seen::Sample(sample) if sample.quality.is_bad())),
        "{seen:#?}"
    );
    let start = device.tables().asked.len();
    while device.tables().asked.len() < start + 40 {
        // A request that is refused a second time is a hole for those that had a value.
        let next = run.next(Duration::from_millis(5)).await;
        assert!(
            next.is_none_or(|seen| seen.is_gap_of(0) || seen.is_gap_of(59)),
            "nothing changed"
        );
    }
    assert!(
        device.tables().asked[start + 20..]
            .iter()
            .all(|(.., count)| *count <= 20),
        "long requests are given up"
    );
    assert_eq!(run.metrics.failed_tags.get(), 0);
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_hole_that_must_not_be_read_over_is_found() {
    let device = Device::default().with_unit(1, |unit| {
        unit.holding = [(10, 1), (13, 2)].into();
        unit.missing = [11].into();
    });
    let (device, _server, mut run) =
        device_and_run(device, "max_gap: 8\n", &["{holding: 10}", "{holding: 13}"]).await;
    run.until_shown("both values arrive", &[(0, Value::UInt(1)), (1, Value::UInt(2))])
        .await;
    assert_eq!(run.metrics.failed_tags.get(), 0);
    assert!(device.tables().asked.contains(&(1, 3, 10, 4)), "it was tried");
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_frozen_device_is_lost_and_comes_back() {
    let device = Device::default().with_unit(1, |unit| unit.holding = [(1, 5)].into());
    let (device, _server, mut run) = device_and_run(device, "", &["{holding: 1}"]).await;
    run.until_shown("the value arrives", &[(0, Value::UInt(5))]).await;
    device.unit(1, |unit| unit.silent = true);
    let seen = run.until("the loss is told", Seen::is_offline).await;
    assert!(
        matches!(seen.last(), Some(Seen::Notice(Notice::Offline { reason })) if reason.told.contains("no answer within 100ms")),
        "{seen:#?}"
    );
    // It takes connections and does not answer: that is not online.
    assert!(run.next(Duration::from_millis(500)).await.is_none());
    assert!(
        device.tables().connections >= 2,
        "each time-out ends its connection"
    );
    device.unit(1, |unit| {
        unit.silent = false;
        unit.holding.insert(1, 6);
    });
    let seen = run
        .until_shown("the new value arrives", &[(0, Value::UInt(6))])
        .await;
    assert!(seen.first().is_some_and(Seen::is_online), "{seen:#?}");
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_device_that_is_not_there_is_named_once() {
    for wire in Wire::ALL {
        let server = Server::new(wire, Device::default());
        let settings = format!("connect: {}\nbackoff_max: 20ms\n", server.connect());
        let mut run = planned(&settings, &["{holding: 1}"]).run(AMPLE);
        let seen = run.until("the loss is told", Seen::is_offline).await;
        assert!(
            matches!(&seen[..], [Seen::Notice(Notice::Offline { reason })] if reason.told.starts_with(&server.url())),
            "{seen:#?}"
        );
        assert!(
            run.next(Duration::from_millis(200)).await.is_none(),
            "attempts to connect are no news"
        );
        run.stop("while the peer is away").await;
    }
}

#[tokio::test]
async fn tags_with_their_own_interval_are_read_at_it() {
    let device = Device::default().with_unit(1, |unit| unit.holding = [(1, 5), (2, 6)].into());
    let addresses = ["{holding: 1}", "{holding: 2, every: 10m}"];
    let (device, _server, mut run) = device_and_run(device, "", &addresses).await;
    run.until_shown("both values arrive", &[(0, Value::UInt(5)), (1, Value::UInt(6))])
        .await;
    let count = |place| {
        device
            .tables()
            .asked
            .iter()
            .filter(|asked| asked.2 == place)
            .count()
    };
    let before = count(1);
    while count(1) < before + 20 {
        assert!(
            run.next(Duration::from_millis(5)).await.is_none(),
            "nothing changed"
        );
    }
    assert_eq!(count(2), 1, "the slow tag was read once");
    run.stop("while connected").await;
}
