//! Values of several registers that the device writes while they are read, and values that need a request each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use floorgate_adapter_api::conformance::{AMPLE, Demands, Planned, Seen, plan_demands};
use floorgate_adapter_api::{Quality, Value};
use floorgate_adapter_modbus::Modbus;

use crate::device::{Device, Server, Wire, answer_pdu};
use crate::rogue::{Asked, Reply, Rogue};
use crate::values::planned;

/// `BadDataUnavailable`.
const UNAVAILABLE: Quality = Quality(0x809E_0000);

/// A device whose value has the same number in both registers, and that is caught writing it by every fourth request.
async fn torn() -> Rogue {
    Rogue::start(false, |asked: Asked| {
        let value = u16::try_from(1 + asked.number / 4).unwrap_or(u16::MAX);
        let old = if asked.number.is_multiple_of(4) {
            value - 1
        } else {
            value
        };
        let words = [old, value];
        Reply::Send(asked.tcp(&answer_pdu(3, &words[..usize::from(asked.count)])))
    })
    .await
}

fn settings(rogue: &Rogue) -> String {
    format!("connect: tcp://{}\npoll_interval: 2ms\n", rogue.address)
}

fn halves(seen: &Seen) -> Option<(u64, u64)> {
    match seen.sample_of(0)?.value {
        Some(Value::UInt(value)) => Some((value >> 16, value & 0xFFFF)),
        _ => None,
    }
}

#[tokio::test]
async fn a_torn_value_is_never_shown_where_it_is_read_twice() {
    for (setting, address) in [
        ("read_twice: true\n", "{holding: 100, type: u32}"),
        ("", "{holding: 100, type: u32, read_twice: true}"),
    ] {
        let rogue = torn().await;
        let mut run = planned(&format!("{}{setting}", settings(&rogue)), &[address]).run(AMPLE);
        let mut values = 0;
        let seen = run
            .until("a hundred values arrive", |seen| {
                values += usize::from(halves(seen).is_some());
                values == 100
            })
            .await;
        for (high, low) in seen.iter().filter_map(halves) {
            assert_eq!(high, low, "{seen:#?}");
        }
        run.stop("while connected").await;
    }
}

#[tokio::test]
async fn a_torn_value_is_shown_where_it_is_read_once() {
    let rogue = torn().await;
    let settings = format!("{}read_twice: true\n", settings(&rogue));
    let address = "{holding: 100, type: u32, read_twice: false}";
    let mut run = planned(&settings, &[address]).run(AMPLE);
    run.until("a torn value", |seen| {
        halves(seen).is_some_and(|(high, low)| high != low)
    })
    .await;
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_value_that_never_stands_still_is_bad_and_what_stands_beside_it_is_not() {
    let moves = Arc::new(AtomicUsize::new(1));
    let moving = Arc::clone(&moves);
    let rogue = Rogue::start(false, move |asked: Asked| {
        let step = moving.load(Ordering::SeqCst) * asked.number;
        let step = u16::try_from(step).unwrap_or(u16::MAX);
        let words: Vec<u16> = [0, step, 7]
            .into_iter()
            .skip(usize::from(asked.start - 100))
            .collect();
        Reply::Send(asked.tcp(&answer_pdu(3, &words[..usize::from(asked.count)])))
    })
    .await;
    let addresses = ["{holding: 100, type: u32}", "{holding: 102}"].map(str::to_owned);
    let demands = Demands {
        snapshots: vec![vec![0, 1]],
        ..Demands::default()
    };
    let planned = Planned::demanding(
        &Modbus,
        &format!("{}read_twice: true\n", settings(&rogue)),
        &addresses,
        &demands,
        &std::env::temp_dir(),
        Duration::from_secs(15),
    );
    let mut run = planned.run(AMPLE);
    let mut is_bad = false;
    let mut is_good = false;
    let seen = run
        .until("the moving value is bad, the other is good", |seen| {
            is_bad |= seen
                .sample_of(0)
                .is_some_and(|sample| sample.quality == UNAVAILABLE);
            is_good |= seen.shows(1, &Value::UInt(7));
            is_bad && is_good
        })
        .await;
    assert!(seen.iter().find_map(halves).is_none(), "{seen:#?}");
    run.ask(&[0, 1]);
    let answered = run.answer().await;
    let qualities: Vec<Quality> = answered.samples.iter().map(|sample| sample.quality).collect();
    assert_eq!(qualities, [UNAVAILABLE, Quality::GOOD], "{answered:#?}");
    moves.store(0, Ordering::SeqCst);
    let seen = run.until_shown("it stands still", &[(0, Value::UInt(0))]).await;
    assert!(
        !seen
            .iter()
            .any(|seen| seen.sample_of(0).is_some_and(|sample| sample.quality.is_bad())),
        "bad is told once: {seen:#?}"
    );
    run.stop("while connected").await;
}

#[tokio::test]
async fn each_value_can_have_a_request_of_its_own() {
    let device = Device::default().with_unit(1, |unit| unit.holding = [(1, 4), (2, 5), (3, 6)].into());
    let mut server = Server::new(Wire::Tcp, device.clone());
    server.start().await;
    let settings = format!("connect: {}\none_request_per_value: true\n", server.connect());
    let addresses = [
        "{holding: 2}",
        "{holding: 1}",
        "{holding: 2, bit: 0}",
        "{holding: 2, type: u32}",
    ];
    let mut run = planned(&settings, &addresses).run(AMPLE);
    let wanted = [
        (0, Value::UInt(5)),
        (1, Value::UInt(4)),
        (2, Value::Bool(true)),
        (3, Value::UInt(0x0005_0006)),
    ];
    run.until_shown("all values arrive", &wanted).await;
    assert_eq!(
        device.tables().asked[..3],
        [(1, 3, 1, 1), (1, 3, 2, 1), (1, 3, 2, 2)]
    );
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_queue_is_a_list_of_what_is_in_it() {
    for wire in [Wire::Tcp, Wire::Udp, Wire::RtuOverTcp, Wire::AsciiOverTcp] {
        let device = Device::default().with_unit(1, |unit| {
            unit.queues = [(10, vec![1, 0xFFFE]), (11, Vec::new())].into();
        });
        let mut server = Server::new(wire, device.clone());
        server.start().await;
        let settings = format!("connect: {}\npoll_interval: 5ms\nretries: 0\n", server.connect());
        let addresses = [
            "{fifo: 10, type: i16}",
            "{fifo: 11, scale: 0.1}",
            "{holding: 10}",
            "{fifo: 12}",
        ];
        let mut run = planned(&settings, &addresses).run(AMPLE);
        let list = |values: Vec<Value>| Value::List(values.into());
        let wanted = [
            (0, list(vec![Value::Int(1), Value::Int(-2)])),
            (1, list(Vec::new())),
            (2, Value::UInt(0)),
        ];
        run.until_shown("the queues arrive", &wanted).await;
        device.unit(1, |unit| {
            unit.queues.insert(11, (0..31).collect());
            unit.queues.insert(10, Vec::new());
        });
        let tenths = (0..31).map(|number| Value::Float64(f64::from(number) / 10.0));
        let wanted = [(0, list(Vec::new())), (1, list(tenths.collect()))];
        let seen = run.until_shown("the changes arrive", &wanted).await;
        assert!(!seen.iter().any(Seen::is_offline), "{wire:?}: {seen:#?}");
        device.unit(1, |unit| {
            unit.queues.insert(10, (0..32).collect());
        });
        let seen = run
            .until("a queue that is too long is no answer", Seen::is_offline)
            .await;
        assert!(
            !seen.iter().any(|seen| seen.sample_of(0).is_some()),
            "{wire:?}: {seen:#?}"
        );
        run.stop("while the peer is away").await;
    }
}

#[test]
fn tags_that_are_read_together_cannot_have_a_request_each() {
    let demands = Demands {
        snapshots: vec![vec![0, 1]],
        ..Demands::default()
    };
    let settings = "connect: tcp://127.0.0.1\none_request_per_value: true";
    let problems = |addresses: [&str; 2]| {
        let addresses = addresses.map(str::to_owned);
        plan_demands(&Modbus, settings, &addresses, &demands, &std::env::temp_dir()).1
    };
    let found = problems(["{holding: 1}", "{holding: 2}"]);
    assert!(
        matches!(found.list(), [problem] if problem.message.contains("`one_request_per_value`")),
        "{:#?}",
        found.list()
    );
    assert!(problems(["{holding: 1, bit: 1}", "{holding: 1}"]).is_empty());
}
