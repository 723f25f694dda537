//! Conveyors and load on Modbus.

use std::time::Instant;

use floorgate_simulator::{LOAD_UNIT, Load, LoadValue, Options, Plant, model::TagValue};
use tokio_modbus::{ExceptionCode, client::Reader};

use crate::client::{PATIENCE, modbus, plain};

#[tokio::test(flavor = "multi_thread")]
async fn conveyors_show_the_journalled_values_in_their_registers() {
    let plant = Plant::start(Options {
        rate: 50.0,
        lines: 0,
        ..plain()
    })
    .await
    .expect("a plant");
    let mut units = [
        modbus(plant.modbus_address(), 1).await,
        modbus(plant.modbus_address(), 2).await,
    ];
    let deadline = Instant::now() + PATIENCE;
    let mut jams = [0, 0];
    let mut totals = [0, 0];
    while jams.contains(&0) || totals.iter().any(|total| *total < 100) {
        assert!(Instant::now() < deadline, "jams {jams:?}, totals {totals:?}");
        for (place, unit) in units.iter_mut().enumerate() {
            let words = unit
                .read_holding_registers(0, 6)
                .await
                .expect("a link")
                .expect("registers");
            let total = u32::from(words[1]) << 16 | u32::from(words[2]);
            let speed = f32::from_bits(u32::from(words[3]) << 16 | u32::from(words[4]));
            assert!(total >= totals[place], "the total went back");
            assert!([6, 10, 11, 12].contains(&words[0]), "state {}", words[0]);
            // One read is one moment: the belt stands in every state but Execute.
            assert_eq!(
                speed > 0.0,
                words[0] == 6,
                "state {} with speed {speed}",
                words[0]
            );
            assert!(
                (150..=700).contains(&words[5].cast_signed()),
                "motor temperature {}",
                words[5]
            );
            totals[place] = total;
            if unit
                .read_discrete_inputs(0, 1)
                .await
                .expect("a link")
                .expect("bits")[0]
            {
                jams[place] += 1;
            }
        }
    }
    let journal = plant.journal();
    for (conveyor, total) in ["Conveyor1.Total", "Conveyor2.Total"].into_iter().zip(totals) {
        let known = |value: &TagValue| matches!(value, TagValue::UInt32(value) if *value == total);
        assert!(
            journal
                .iter()
                .any(|record| &*record.tag == conveyor && known(&record.new)),
            "{conveyor} {total}"
        );
    }
    let refused = units[0].read_holding_registers(100, 1).await.expect("a link");
    assert_eq!(refused, Err(ExceptionCode::IllegalDataAddress));
    plant.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn modbus_load_rises() {
    let load = Load {
        tags: 30,
        rate: 3_000.0,
        value: LoadValue::Int64,
    };
    let plant = Plant::start(Options {
        modbus_load: Some(load),
        ..plain()
    })
    .await
    .expect("a plant");
    let mut unit = modbus(plant.modbus_address(), LOAD_UNIT).await;
    let mut last = [0_u64; 30];
    let deadline = Instant::now() + PATIENCE;
    while last.iter().any(|counter| *counter < 100) {
        assert!(Instant::now() < deadline, "{last:?}");
        let words = unit
            .read_input_registers(0, 120)
            .await
            .expect("a link")
            .expect("registers");
        for (counter, words) in last.iter_mut().zip(words.chunks(4)) {
            let now = words.iter().fold(0, |value, word| value << 16 | u64::from(*word));
            assert!(now >= *counter);
            *counter = now;
        }
        assert!(
            last.iter().max().unwrap() - last.iter().min().unwrap() <= 1,
            "uneven: {last:?}"
        );
    }
    plant.stop().await.expect("a clean stop");
}
