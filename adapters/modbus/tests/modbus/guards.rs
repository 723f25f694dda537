//! What is held back: values of a source that is not there yet, and a trial for which nobody can be asked just now.

use std::time::Duration;

use floorgate_adapter_api::StationState;
use floorgate_adapter_api::conformance::{Running, Seen};
use floorgate_adapter_api::{GapScope, Notice, Quality, Value};
use tokio_modbus::ExceptionCode;

use crate::device::Device;
use crate::isolation::device_and_run;

/// Whether a unit is known to be away.
fn is_offline(run: &Running, unit: &str) -> bool {
    let stations = run.metrics.outlook().stations;
    let mut own = stations.iter().filter(|station| station.name == unit);
    own.any(|station| station.state == StationState::Offline)
}

#[tokio::test]
async fn nothing_is_told_of_a_source_before_it_is_there() {
    // One unit says of one request that it failed, and of another that it is busy, for longer than is borne; of the other one it is
    // not known yet that it is away. Bad values of the first are known before the source is.
    let failed = ExceptionCode::ServerDeviceFailure;
    let device = Device::default()
        .with_unit(1, |unit| {
            unit.answers = [(1, failed), (10, ExceptionCode::ServerDeviceBusy)].into();
        })
        .with_unit(2, |unit| unit.silent = true);
    let addresses = ["{holding: 1}", "{holding: 10}", "{holding: 1, unit_id: 2}"];
    let settings = "retries: 10\ntimeout: 20ms\n";
    let (device, _server, mut run) = device_and_run(device, settings, &addresses).await;
    let waiting = async {
        while !is_offline(&run, "unit 1") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(15), waiting).await;
    assert!(waited.is_ok(), "{:#?}", run.metrics.outlook());
    device.unit(1, |unit| unit.answers.clear());
    let seen = run.until("the source is there", Seen::is_online).await;
    let samples = seen.iter().filter(|seen| matches!(seen, Seen::Sample(_)));
    assert_eq!(samples.count(), 0, "{seen:#?}");
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_trial_waits_while_those_that_are_there_are_being_asked_what_they_are_silent_over() {
    let device = Device::default()
        .with_unit(1, |unit| unit.holding = [(1, 5), (2, 6)].into())
        .with_unit(2, |unit| unit.silent = true);
    let addresses = ["{holding: 1}", "{holding: 2}", "{holding: 1, unit_id: 2}"];
    let (device, _server, mut run) = device_and_run(device, "", &addresses).await;
    run.until_shown("the values", &[(0, Value::UInt(5)), (1, Value::UInt(6))])
        .await;
    let is_bad = |tag: usize| {
        move |seen: &Seen| {
            seen.sample_of(tag)
                .is_some_and(|sample| sample.quality == Quality::BAD_TIMEOUT)
        }
    };
    run.until("the other unit is away", is_bad(2)).await;
    // The one request of the unit that is there is not answered until it is known which of its tags is the reason. That takes longer
    // than the pauses of the other unit.
    device.unit(1, |unit| unit.mute = [2].into());
    run.until("the tag is bad", is_bad(1)).await;
    device.unit(1, |unit| unit.holding = [(1, 7)].into());
    run.until_shown("the other one is read", &[(0, Value::UInt(7))])
        .await;
    // The reason is found, and what was missed until then is told.
    let waiting = async {
        while run.metrics.failed_tags.get() != 1 {
            run.next(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(15), waiting).await;
    assert!(waited.is_ok(), "{} tags", run.metrics.failed_tags.get());
    device.unit(1, |unit| unit.holding = [(1, 8)].into());
    run.until_shown("it is read on", &[(0, Value::UInt(8))]).await;

    // The dead unit is still tried on a connection of its own: the first one is never lost by it.
    let tries = || device.tables().asked.iter().filter(|asked| asked.0 == 2).count();
    let before = tries();
    while tries() < before + 3 {
        let seen = run.next(Duration::from_millis(20)).await;
        let is_gap = |seen: &Seen| {
            matches!(
                seen,
                Seen::Notice(Notice::Gap {
                    scope: GapScope::Source,
                    ..
                })
            )
        };
        assert!(!seen.as_ref().is_some_and(is_gap), "{seen:#?}");
        device.unit(1, |unit| {
            let value = unit.holding.entry(1).or_default();
            *value = value.wrapping_add(1);
        });
    }
    run.stop("while connected").await;
}

#[tokio::test]
async fn that_the_gateway_itself_stood_still_is_a_gap() {
    let device = Device::default().with_unit(1, |unit| unit.holding = [(1, 5)].into());
    let (device, _server, mut run) = device_and_run(device, "timeout: 500ms\n", &["{holding: 1}"]).await;
    run.until_shown("the value arrives", &[(0, Value::UInt(5))]).await;
    // All of this test has one thread: nothing goes on meanwhile.
    std::thread::sleep(Duration::from_secs(2));
    device.unit(1, |unit| unit.holding = [(1, 6)].into());
    let seen = run.until_shown("it is read on", &[(0, Value::UInt(6))]).await;
    let is_said = |seen: &Seen| matches!(seen, Seen::Notice(Notice::Gap { reason, .. }) if reason.told.contains("stood still"));
    assert!(seen.iter().any(is_said), "{seen:#?}");
    run.stop("while connected").await;
}
