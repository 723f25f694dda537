//! Every kind of value, from a real server.

use std::time::Duration;

use floorgate_adapter_api::conformance::{AMPLE, Planned};
use floorgate_adapter_api::{Quality, Value};
use floorgate_adapter_modbus::Modbus;

use crate::device::{Device, Server, Wire};

/// A source over these addresses of the device.
pub fn planned(settings: &str, addresses: &[&str]) -> Planned {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    Planned::new(
        &Modbus,
        settings,
        &addresses,
        &std::env::temp_dir(),
        Duration::from_secs(15),
    )
}

#[tokio::test]
async fn every_type_is_decoded() {
    let cases = [
        ("{coil: 3}", Value::Bool(true)),
        ("{discrete: 70}", Value::Bool(true)),
        ("{discrete: 71, type: bool}", Value::Bool(false)),
        ("{holding: 10, bit: 15}", Value::Bool(true)),
        ("{holding: 10}", Value::UInt(0xFFFE)),
        ("{holding: 10, type: i16}", Value::Int(-2)),
        ("{holding: 20, type: u32}", Value::UInt(0x0A0B_0C0D)),
        (
            "{holding: 20, type: u32, word_order: CDAB}",
            Value::UInt(0x0C0D_0A0B),
        ),
        (
            "{holding: 20, type: u32, word_order: BADC}",
            Value::UInt(0x0B0A_0D0C),
        ),
        (
            "{holding: 20, type: i32, word_order: DCBA}",
            Value::Int(0x0D0C_0B0A),
        ),
        ("{holding: 30, type: u64}", Value::UInt(0x0001_0002_0003_0004)),
        (
            "{holding: 30, type: i64, word_order: CDAB}",
            Value::Int(0x0004_0003_0002_0001),
        ),
        ("{input: 40, type: f32}", Value::Float32(23.7)),
        ("{input: 42, type: f64, word_order: DCBA}", Value::Float64(-0.1)),
        ("{input: 50, type: string, length: 7}", Value::text("WO-4711")),
        ("{input: 60, scale: 0.1}", Value::Float64(23.7)),
        ("{input: 60, scale: 0.1, offset: -40}", Value::Float64(-16.3)),
        ("{input: 60, scale: 10}", Value::UInt(2370)),
        ("{input: 60, unit_id: 2}", Value::UInt(9)),
        ("{holding: 65535}", Value::UInt(77)),
    ];
    let device = Device::default().with_unit(1, |unit| {
        unit.coils.insert(3, true);
        unit.discrete.insert(70, true);
        unit.holding = [(10, 0xFFFE), (20, 0x0A0B), (21, 0x0C0D), (65_535, 77)].into();
        unit.holding.extend([(30, 1), (31, 2), (32, 3), (33, 4)]);
        let float = 23.7_f32.to_bits();
        unit.input.extend([
            (40, (float >> 16) as u16),
            (41, (float & 0xFFFF) as u16),
            (60, 237),
        ]);
        let bytes = (-0.1_f64).to_le_bytes();
        unit.input
            .extend((42..).zip(bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))));
        unit.input.extend(
            (50..).zip(
                b"WO-4711\0"
                    .chunks(2)
                    .map(|pair| u16::from_be_bytes([pair[0], pair[1]])),
            ),
        );
    });
    device.unit(2, |unit| {
        unit.input.insert(60, 9);
    });
    let mut server = Server::new(Wire::Tcp, device.clone());
    server.start().await;
    let addresses: Vec<&str> = cases.iter().map(|(address, _)| *address).collect();
    let settings = format!("connect: {}\npoll_interval: 10ms\n", server.connect());
    let mut run = planned(&settings, &addresses).run(AMPLE);
    let wanted: Vec<(usize, Value)> = cases.iter().map(|(_, value)| value.clone()).enumerate().collect();
    run.until_shown("every value arrives as it is", &wanted).await;
    run.stop("while connected").await;
}

#[tokio::test]
async fn addresses_may_count_from_one_and_the_source_may_name_the_word_order() {
    let device = Device::default().with_unit(9, |unit| unit.holding = [(0, 1), (1, 2)].into());
    let mut server = Server::new(Wire::Tcp, device.clone());
    server.start().await;
    let settings = format!(
        "connect: {}\nbase: 1\nunit: 9\nword_order: CDAB\n",
        server.connect()
    );
    let mut run = planned(&settings, &["{holding: 1, type: u32}", "{holding: 2}"]).run(AMPLE);
    run.until_shown(
        "the values arrive",
        &[(0, Value::UInt(0x0002_0001)), (1, Value::UInt(2))],
    )
    .await;
    run.stop("while connected").await;
}

#[tokio::test]
async fn one_poll_is_one_batch_of_few_requests_and_what_stays_the_same_is_not_sent_again() {
    let device = Device::default().with_unit(1, |unit| {
        unit.holding = (100..160).map(|place| (place, place)).collect();
    });
    let mut server = Server::new(Wire::Tcp, device.clone());
    server.start().await;
    let addresses: Vec<String> = (100..150)
        .chain([155, 159])
        .map(|place| format!("{{holding: {place}}}"))
        .collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let settings = format!("connect: {}\npoll_interval: 5ms\nmax_gap: 5\n", server.connect());
    let mut run = planned(&settings, &addresses).run(AMPLE);
    let wanted: Vec<_> = (100..150)
        .chain([155, 159])
        .map(Value::UInt)
        .enumerate()
        .collect();
    run.until_shown("the initial values arrive", &wanted).await;
    let before = run.metrics.requests.get();
    assert!(
        run.next(Duration::from_millis(200)).await.is_none(),
        "nothing changed, nothing is sent"
    );
    assert!(run.metrics.requests.get() > before, "polling goes on meanwhile");
    device.unit(1, |unit| {
        unit.holding.insert(103, 7);
    });
    let seen = run
        .until_shown("the change arrives", &[(3, Value::UInt(7))])
        .await;
    assert_eq!(seen.len(), 1, "only what changed is sent: {seen:#?}");
    run.stop("while connected").await;
    let tables = device.tables();
    assert!(
        tables.asked.iter().all(|asked| *asked == (1, 3, 100, 60)),
        "one request reads all: {:?}",
        tables.asked
    );
    assert_eq!(tables.connections, 1);
}

#[tokio::test]
async fn text_that_is_none_is_bad_without_a_value() {
    let device = Device::default().with_unit(1, |unit| unit.holding = [(0, 0xFFFE)].into());
    let mut server = Server::new(Wire::Tcp, device.clone());
    server.start().await;
    let settings = format!("connect: {}\npoll_interval: 5ms\n", server.connect());
    let mut run = planned(
        &settings,
        &["{holding: 0, type: string, length: 2, encoding: utf8}"],
    )
    .run(AMPLE);
    let seen = run
        .until("the sample arrives", |seen| seen.sample_of(0).is_some())
        .await;
    let sample = seen
        .last()
        .and_then(|seen| seen.sample_of(0))
        .expect("it was awaited");
    assert_eq!(
        (sample.quality, &sample.value),
        (Quality::BAD_DECODING_ERROR, &None)
    );
    device.unit(1, |unit| {
        unit.holding.insert(0, 0x4F4B);
    });
    run.until_shown("good text is good", &[(0, Value::text("OK"))])
        .await;
    run.stop("while connected").await;
}
