//! Requests that get no answer of use, of a unit that answers others: each is found out, and costs nothing else.

use std::time::Duration;

use floorgate_adapter_api::conformance::{AMPLE, Running, Seen};
use tokio_modbus::ExceptionCode;

use crate::device::{Device, Server, Wire};
use crate::isolation::device_and_run;
use crate::mute::holding;

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
