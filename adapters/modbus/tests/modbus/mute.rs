//! A request that is never answered, of a unit that answers others.

use std::time::Duration;

use floorgate_adapter_api::conformance::Seen;
use floorgate_adapter_api::{Quality, Value};

use crate::device::Device;
use crate::isolation::device_and_run;

#[tokio::test]
async fn a_register_that_is_never_answered_is_found_out_and_the_others_go_on() {
    for retries in [0, 2] {
        let device = Device::default().with_unit(1, |unit| {
            unit.holding = [(1, 1), (50, 1), (51, 2), (52, 3)].into();
        });
        let settings = format!("max_gap: 0\nretries: {retries}\nretry_refused: 100ms\n");
        let addresses = ["{holding: 1}", "{holding: 50}", "{holding: 51}", "{holding: 52}"];
        let (device, _server, mut run) = device_and_run(device, &settings, &addresses).await;
        let all = [1, 1, 2, 3].map(Value::UInt);
        let all: Vec<(usize, Value)> = all.into_iter().enumerate().collect();
        run.until_shown("the values arrive", &all).await;
        // Of the second request one register has gone, and the device keeps silent over it.
        device.unit(1, |unit| {
            unit.mute.insert(51);
            unit.holding.insert(50, 7);
            unit.holding.insert(52, 8);
        });
        let mut open = vec![(1, Value::UInt(7)), (3, Value::UInt(8))];
        let mut is_bad = false;
        run.until("the others are read, and it is bad", |seen| {
            open.retain(|(tag, value)| !seen.shows(*tag, value));
            is_bad |= seen
                .sample_of(2)
                .is_some_and(|sample| sample.quality == Quality::BAD_TIMEOUT);
            open.is_empty() && is_bad
        })
        .await;
        // A change is seen, and the tag that is not answered stays bad meanwhile.
        device.unit(1, |unit| {
            unit.holding.insert(1, 9);
        });
        let mut seen = run.until_shown("a change arrives", &[(0, Value::UInt(9))]).await;
        // It is tried again meanwhile, which is no news, and none of the other tags.
        let before = device.tables().asked.len();
        let tries = || {
            let asked = &device.tables().asked;
            asked[before..].iter().filter(|asked| asked.2 == 51).count()
        };
        while tries() < 3 {
            seen.extend(run.next(Duration::from_millis(5)).await);
        }
        let bad = |seen: &&Seen| matches!(seen, Seen::Sample(sample) if sample.quality.is_bad() && sample.tag.0 != 2);
        assert_eq!(seen.iter().filter(bad).count(), 0, "{seen:#?}");
        assert!(
            !seen.iter().any(|seen| seen.shows(2, &Value::UInt(2))),
            "{seen:#?}"
        );
        device.unit(1, |unit| unit.mute.clear());
        run.until_shown("it is read again", &[(2, Value::UInt(2))]).await;
        run.stop("while connected").await;
    }
}
