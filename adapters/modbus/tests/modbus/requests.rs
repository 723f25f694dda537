//! Tags that are read together when they are asked for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use floorgate_adapter_api::conformance::{AMPLE, Answered, Demands, Planned, Seen, plan_demands};
use floorgate_adapter_api::{Quality, Value};
use floorgate_adapter_modbus::Modbus;
use floorgate_yaml::Problem;
use tokio_modbus::ExceptionCode;

use crate::device::{Device, Server, Wire};
use crate::rogue::{Asked, Reply, Rogue};

const TCP: &str = "connect: tcp://127.0.0.1";

fn owned(addresses: &[&str]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

/// A snapshot of all tags, in which all but the first `watched` are read on demand.
fn snapshot(tags: usize, watched: usize) -> Demands {
    let tags: Vec<u32> = (0..).take(tags).collect();
    Demands {
        on_demand: tags[watched..].to_vec(),
        snapshots: vec![tags[watched..].to_vec()],
    }
}

/// A source of which all but the first tags are read on demand.
pub fn planned(settings: &str, addresses: &[&str], watched: usize) -> Planned {
    Planned::demanding(
        &Modbus,
        settings,
        &owned(addresses),
        &snapshot(addresses.len(), watched),
        &std::env::temp_dir(),
        Duration::from_secs(15),
    )
}

/// What is wrong with a snapshot of all these tags.
fn problems(settings: &str, addresses: &[&str]) -> Vec<Problem> {
    let demands = snapshot(addresses.len(), 0);
    let folder = std::env::temp_dir();
    let (source, problems) = plan_demands(&Modbus, settings, &owned(addresses), &demands, &folder);
    assert_eq!(source.is_none(), problems.has_errors(), "{:#?}", problems.list());
    problems.list().to_vec()
}

fn values(answered: &Answered) -> Vec<(usize, Value)> {
    assert_eq!(answered.answer.result, Ok(()), "{answered:#?}");
    let value = |sample: &floorgate_adapter_api::Sample| Some((sample.tag.index(), sample.value.clone()?));
    let mut values: Vec<_> = answered.samples.iter().filter_map(value).collect();
    values.sort_by_key(|(tag, _)| *tag);
    values
}

fn reason(answered: Answered) -> String {
    assert!(answered.samples.is_empty(), "{answered:#?}");
    answered.answer.result.expect_err("it failed")
}

#[test]
fn tags_that_no_request_can_read_together_are_named() {
    let near = [
        "{holding: 100, type: u32}",
        "{holding: 102}",
        "{holding: 103, bit: 3}",
    ];
    assert_eq!(problems(TCP, &near).len(), 0);
    let gap = format!("{TCP}\nmax_gap: 7");
    assert_eq!(problems(&gap, &["{holding: 100}", "{holding: 108}"]).len(), 0);
    assert_eq!(problems(TCP, &["{coil: 0}", "{coil: 2}", "{coil: 1}"]).len(), 0);
    let cases: [(&str, &[&str], &str); 5] = [
        (
            TCP,
            &["{holding: 100}", "{holding: 101, unit_id: 7}", "{input: 102}"],
            "`kit/tag1` (unit 7, holding 101), `kit/tag2` (unit 1, input 102) are of another unit or another table than \
             `kit/tag0` (unit 1, holding 100)",
        ),
        (
            TCP,
            &["{holding: 100}", "{holding: 224, type: u32}"],
            "`kit/tag1` (unit 1, holding 224) is beyond the 125 that one request can read from `kit/tag0`",
        ),
        (
            "connect: tcp://127.0.0.1\nmax_registers: 4",
            &["{holding: 102}", "{holding: 98}"],
            "`kit/tag0` (unit 1, holding 102) is beyond the 4 that one request can read from `kit/tag1`",
        ),
        (
            "connect: tcp://127.0.0.1\nbase: 1",
            &["{holding: 100}", "{holding: 102}"],
            "`kit/tag1` (unit 1, holding 102) is behind registers that no tag names, seen from `kit/tag0`",
        ),
        (
            "connect: tcp://127.0.0.1\nmax_bits: 8",
            &["{discrete: 0}", "{discrete: 8}"],
            "`kit/tag1` (unit 1, discrete 8) is beyond the 8",
        ),
    ];
    for (settings, addresses, message) in cases {
        let found = problems(settings, addresses);
        assert!(
            matches!(&found[..], [problem] if problem.message.contains(message)
                && problem.message.starts_with("`kit/snapshot`")
                && problem.span.is_some()
                && problem.hint.as_ref().is_some_and(|hint| hint.contains("make two events"))),
            "{message}: {found:#?}"
        );
    }
}

#[test]
fn a_snapshot_is_not_held_against_settings_that_are_wrong() {
    let found = problems(
        "connect: tcp://127.0.0.1\nmax_registers: many",
        &["{holding: 100}", "{holding: 300}"],
    );
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[tokio::test]
async fn a_snapshot_is_one_request_and_decoded_as_a_poll_is() {
    let device = Device::default().with_unit(1, |unit| {
        unit.holding = [
            (1, 1),
            (100, 0x0A0B),
            (101, 0x0C0D),
            (102, 237),
            (103, 8),
            (104, 0x80FF),
        ]
        .into();
    });
    let mut server = Server::new(Wire::Tcp, device.clone());
    server.start().await;
    let settings = format!("connect: {}\npoll_interval: 5ms\n", server.connect());
    let addresses = [
        "{holding: 1}",
        "{holding: 103, bit: 3}",
        "{holding: 100, type: u32, word_order: CDAB}",
        "{holding: 102, scale: 0.1}",
        "{holding: 104, type: string, length: 4}",
    ];
    let mut run = planned(&settings, &addresses, 1).run(AMPLE);
    run.until_shown("the watched tag arrives", &[(0, Value::UInt(1))])
        .await;
    run.ask(&[4, 1, 2, 3]);
    let answered = run.answer().await;
    let read = values(&answered);
    assert_eq!(
        read,
        [
            (1, Value::Bool(true)),
            (2, Value::UInt(0x0C0D_0A0B)),
            (3, Value::Float64(23.7)),
        ]
    );
    let text = answered.samples.iter().find(|sample| sample.tag.index() == 4);
    assert_eq!(
        text.map(|sample| (sample.value.clone(), sample.quality)),
        Some((None, Quality::BAD_DECODING_ERROR)),
        "that is no text: {answered:#?}"
    );
    let asked = device.tables().asked.clone();
    let of_snapshot: Vec<_> = asked.iter().filter(|asked| asked.2 >= 100).collect();
    assert_eq!(of_snapshot, [&(1, 3, 100, 6)], "one request for all of them");
    run.ask(&[0, 4]);
    let apart = reason(run.answer().await);
    assert!(apart.contains("cannot be read in one request"), "{apart}");
    run.stop("while connected").await;
}

#[tokio::test]
async fn an_exception_is_the_answer_and_disturbs_nothing() {
    for exception in [
        ExceptionCode::IllegalDataAddress,
        ExceptionCode::ServerDeviceFailure,
    ] {
        let device = Device::default().with_unit(1, |unit| {
            unit.missing = [900].into();
            unit.says_failure = exception == ExceptionCode::ServerDeviceFailure;
        });
        let mut server = Server::new(Wire::Tcp, device.clone());
        server.start().await;
        let settings = format!(
            "connect: {}\npoll_interval: 5ms\ntimeout: 100ms\n",
            server.connect()
        );
        let mut run = planned(&settings, &["{holding: 1}", "{holding: 900}"], 1).run(AMPLE);
        run.until_shown("the watched tag arrives", &[(0, Value::UInt(0))])
            .await;
        for _ in 0..3 {
            run.ask(&[1]);
            let told = reason(run.answer().await);
            let code = format!(
                "unit 1, holding 900 to 900: exception {:02X}",
                u8::from(exception)
            );
            assert!(told.starts_with(&code), "{told}");
        }
        device.unit(1, |unit| unit.holding = [(1, 7)].into());
        let seen = run.until_shown("watching goes on", &[(0, Value::UInt(7))]).await;
        assert_eq!(seen.len(), 1, "nothing else is told: {seen:#?}");
        assert_eq!(device.tables().connections, 1, "an exception ends no connection");
        run.stop("while connected").await;
    }
}

#[tokio::test]
async fn a_late_answer_fails_the_request_and_is_taken_for_nobodys() {
    static SNAPSHOTS: AtomicUsize = AtomicUsize::new(0);
    let rogue = Rogue::start(true, |asked: Asked| {
        let answer = asked.rtu(&asked.own_addresses());
        let is_late = asked.start == 500 && SNAPSHOTS.fetch_add(1, Ordering::SeqCst) < 2;
        if is_late {
            Reply::Late(Duration::from_millis(150), answer)
        } else {
            Reply::Send(answer)
        }
    })
    .await;
    let settings = format!(
        "connect: rtu+tcp://{}\npoll_interval: 5ms\ntimeout: 100ms\nbackoff_max: 50ms\nretries: 1\n",
        rogue.address
    );
    let addresses = ["{holding: 100}", "{holding: 500}", "{holding: 501}"];
    let mut run = planned(&settings, &addresses, 1).run(AMPLE);
    let mut seen = run
        .until_shown("the watched tag arrives", &[(0, Value::UInt(100))])
        .await;
    let mut failures = 0;
    let answered = loop {
        run.ask(&[1, 2]);
        let answered = run.answer().await;
        if answered.answer.result.is_ok() {
            break answered;
        }
        let told = reason(answered);
        if told.starts_with("unit 1, holding 500 to 501: no answer within 100ms") {
            failures += 1;
        } else {
            let is_away = [
                "the unit is left alone for a while",
                "the unit is left alone for a moment",
                "the source is not connected",
            ]
            .iter()
            .any(|known| told.starts_with(known));
            assert!(is_away, "{told}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert_eq!(failures, 2, "the two that were late");
    assert_eq!(values(&answered), [(1, Value::UInt(500)), (2, Value::UInt(501))]);
    while let Some(more) = run.next(Duration::from_millis(200)).await {
        seen.push(more);
    }
    let strange = seen
        .iter()
        .filter_map(|seen| seen.sample_of(0)?.value.as_ref())
        .find(|value| **value != Value::UInt(100));
    assert_eq!(strange, None, "another's value: {seen:#?}");
    assert!(rogue.connections() >= 3, "each time-out ends its connection");
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_unit_that_does_not_answer_is_not_waited_for_by_each_request() {
    let device = Device::default()
        .with_unit(1, |unit| unit.silent = true)
        .with_unit(2, |_| {});
    let mut server = Server::new(Wire::Tcp, device.clone());
    server.start().await;
    let settings = format!(
        "connect: {}\npoll_interval: 5ms\ntimeout: 200ms\nbackoff_max: 1h\n",
        server.connect()
    );
    let addresses = ["{holding: 1, unit_id: 2}", "{holding: 1}"];
    let mut run = planned(&settings, &addresses, 1).run(AMPLE);
    run.until_shown("the other unit's tag arrives", &[(0, Value::UInt(0))])
        .await;
    run.ask(&[1]);
    let told = reason(run.answer().await);
    assert!(told.contains("no answer within 200ms"), "{told}");
    // It is asked again after pauses that grow from 50 ms on.
    for again in 0.. {
        run.ask(&[1]);
        let told = reason(run.answer().await);
        if told.starts_with("the unit is left alone for a while") {
            break;
        }
        assert!(again < 5, "{told}");
    }
    run.until("the connection was made anew", |seen| seen.is_gap_of(0))
        .await;
    assert_eq!(run.unclaimed(), 0);
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_source_that_is_only_asked_connects_when_it_is() {
    let device = Device::default().with_unit(1, |unit| unit.holding = [(1, 5)].into());
    let mut server = Server::new(Wire::Tcp, device.clone());
    server.start().await;
    let settings = format!(
        "connect: {}\ntimeout: 100ms\nbackoff_max: 20ms\n",
        server.connect()
    );
    let mut run = planned(&settings, &["{holding: 1}"], 0).run(AMPLE);
    for round in 0..2 {
        // After a loss it is left alone for a moment.
        let answered = loop {
            run.ask(&[0]);
            let answered = run.answer().await;
            if answered.answer.result.is_ok() || round == 0 {
                break answered;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert_eq!(values(&answered), [(0, Value::UInt(5))]);
        run.until("it is online", Seen::is_online).await;
        server.stop().await;
        run.ask(&[0]);
        assert!(run.answer().await.answer.result.is_err(), "it is away");
        run.until("the loss is told", Seen::is_offline).await;
        server.start().await;
    }
    run.stop("while connected").await;
}
