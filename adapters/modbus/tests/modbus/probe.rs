//! A look at a device that nobody has configured yet, over each kind of link.

use std::time::{Duration, Instant};

use floorgate_adapter_api::Scalar;
use floorgate_adapter_modbus::probe::{AddressRange, Findings, Look, Progress, Report, Watch, probe};
use tokio_modbus::ExceptionCode;

use crate::device::{Device, Server, Wire};
use crate::rogue::{Reply, Rogue};

/// Who looks at nothing.
struct Nobody;

impl Watch for Nobody {
    fn asked(&self, _progress: &Progress) {}
}

fn look(connect: &str, units: &str, range: &str) -> Look {
    let parse = "the test's words are right";
    Look {
        target: connect.parse().expect(parse),
        units: Some(units.parse().expect(parse)),
        tables: vec!["holding".parse().expect(parse), "coils".parse().expect(parse)],
        ranges: vec![range.parse().expect(parse)],
        step: 10,
        at: Vec::new(),
        wide: false,
        timeout: Duration::from_millis(100),
        pace: Duration::from_millis(1),
    }
}

async fn found(look: &Look) -> Report {
    let mut findings = Findings::default();
    probe(look, &Nobody, &mut findings)
        .await
        .expect("the device is there");
    findings.report(look, 0)
}

fn range(from: u32, to: u32) -> AddressRange {
    AddressRange { from, to }
}

#[tokio::test]
async fn a_device_is_found_over_each_link_and_is_only_read() {
    for wire in Wire::ALL {
        let device = Device::default()
            .with_unit(2, |unit| {
                unit.missing = (100..150).chain(300..400).collect();
                unit.most = Some(20);
                unit.holding.insert(160, 7);
                unit.coils.insert(5, true);
            })
            .with_unit(3, |unit| unit.silent = true)
            .with_unit(4, |unit| unit.exception = Some(ExceptionCode::IllegalFunction));
        let mut server = Server::new(wire, device.clone());
        server.start().await;
        let report = found(&look(&server.target(), "1-4", "0-399")).await;
        let units: Vec<u8> = report.units.iter().map(|unit| unit.unit).collect();
        assert_eq!(units, [2, 4], "{wire:?}: an exception is an answer");
        let silent: Vec<_> = report
            .silent
            .iter()
            .map(|silent| (silent.unit, silent.reason.as_str()))
            .collect();
        assert_eq!(
            silent,
            [
                (1, "exception 0B (gateway target device failed to respond)"),
                (3, "no answer within 100ms")
            ],
            "{wire:?}"
        );
        let tables = &report.units[0].tables;
        assert_eq!(tables[0].ranges, [range(0, 99), range(150, 299)], "{wire:?}");
        let largest = tables[0].largest_request.expect("something was read");
        assert_eq!((largest.count, largest.exact), (20, true), "{wire:?}");
        let value = tables[0]
            .registers
            .iter()
            .find(|register| register.address == 160);
        assert_eq!(value.map(|register| register.u16), Some(7));
        assert_eq!(tables[1].set, [5]);
        assert!(
            report.units[1].tables.iter().all(|table| !table.supported),
            "{wire:?}"
        );
        assert!(report.complete && report.missed.is_empty(), "{:?}", report.missed);
        let asked = device.tables().asked.clone();
        let mut functions: Vec<u8> = asked.iter().map(|(_, function, ..)| *function).collect();
        functions.sort_unstable();
        functions.dedup();
        assert_eq!(functions, [1, 3, 24, 43], "{wire:?}");
        server.stop().await;
    }
}

#[tokio::test]
async fn it_pauses_after_each_answer_and_the_pause_is_no_response_time() {
    let device = Device::default().with_unit(1, |_| {});
    let mut server = Server::new(Wire::Tcp, device.clone());
    server.start().await;
    let mut look = look(&server.connect(), "1", "0-999");
    look.pace = Duration::from_millis(30);
    let started = Instant::now();
    let report = found(&look).await;
    let asked = u32::try_from(device.tables().asked.len()).expect("few");
    assert!(
        asked > 10 && started.elapsed() >= look.pace * (asked - 1),
        "{asked} in {:?}",
        started.elapsed()
    );
    let time = report.units[0].response_time.expect("there were answers");
    assert!(time.median_ms < 30.0, "{time:?}");
}

#[tokio::test]
async fn a_busy_device_is_asked_again_later() {
    let device = Device::default().with_unit(1, |unit| {
        unit.missing = (50..65_000).collect();
        unit.exception = Some(ExceptionCode::ServerDeviceBusy);
    });
    let mut server = Server::new(Wire::Tcp, device.clone());
    server.start().await;
    let look = look(&server.connect(), "1", "0-99");
    let free = async {
        while device.tables().asked.len() < 2 {
            tokio::task::yield_now().await;
        }
        device.unit(1, |unit| unit.exception = None);
    };
    let (report, ()) = tokio::join!(found(&look), free);
    assert_eq!(report.units[0].tables[0].ranges, [range(0, 49)]);
    let asked = device.tables().asked.clone();
    assert_eq!(
        asked[..3],
        [(1, 3, 0, 1); 3],
        "the same question, until it is answered"
    );
    assert_eq!(report.missed, [""; 0]);
}

#[tokio::test]
async fn a_device_that_takes_any_unit_is_looked_at_once_and_that_is_said() {
    let mut device = Device::default();
    for unit in (0..=10).chain([255]) {
        device = device.with_unit(unit, |unit| unit.missing = (50..65_000).collect());
    }
    let mut server = Server::new(Wire::Tcp, device);
    server.start().await;
    let mut look = look(&server.connect(), "1", "0-99");
    look.units = None;
    let report = found(&look).await;
    assert_eq!(report.units.len(), 12);
    assert_eq!(report.units[0].tables[0].ranges, [range(0, 49)]);
    assert!(report.units[1..].iter().all(|unit| unit.tables.is_empty()));
    assert!(
        report.missed[0].contains("only unit 1 was looked at"),
        "{:?}",
        report.missed
    );
}

#[tokio::test]
async fn a_device_that_goes_away_leaves_what_was_found() {
    let device = Device::default().with_unit(1, |_| {});
    let mut server = Server::new(Wire::Tcp, device.clone());
    server.start().await;
    let look = look(&server.connect(), "1", "0-9999");
    let mut findings = Findings::default();
    let going = async {
        while device.tables().asked.len() < 20 {
            tokio::task::yield_now().await;
        }
        server.stop().await;
    };
    let (looked, ()) = tokio::join!(probe(&look, &Nobody, &mut findings), going);
    let lost = looked.expect_err("nobody is there any more").to_string();
    assert!(lost.contains("cannot be reached"), "{lost}");
    let report = findings.report(&look, 0);
    assert!(!report.complete);
    assert_eq!(report.units[0].tables[0].ranges[0].from, 0);
    assert!(
        report.missed.iter().any(|missed| missed.contains("in part only")),
        "{:?}",
        report.missed
    );
}

#[tokio::test]
async fn a_second_connection_is_tried_at_the_end_where_there_are_connections() {
    for wire in [Wire::Tcp, Wire::Tls, Wire::Udp, Wire::RtuOverTcp] {
        for most in [Some(1), None] {
            let device = Device::default().with_unit(1, |_| {});
            device.tables().most_connections = most;
            let mut server = Server::new(wire, device.clone());
            server.start().await;
            let mut look = look(&server.target(), "1", "0-9");
            let mut findings = Findings::default();
            probe(&look, &Nobody, &mut findings).await.expect("it is there");
            let has_connections = matches!(wire, Wire::Tcp | Wire::Tls);
            let second = findings.report(&look, 0).second_connection;
            let taken = second.as_ref().map(|second| second.taken);
            // Tests' TLS server takes as many as there are.
            let has_room = most.is_none() || wire == Wire::Tls;
            assert_eq!(taken, has_connections.then_some(has_room), "{wire:?} {second:?}");
            let written = ("second_connection".to_owned(), Scalar::Bool(false));
            let settings = findings.survey(&look).0.settings;
            assert_eq!(settings.contains(&written), taken == Some(false), "{settings:?}");

            look.at = vec!["holding:0-3".parse().expect("the test's words are right")];
            assert_eq!(found(&look).await.second_connection, None, "it wants these alone");
            server.stop().await;
        }
    }
}

/// A device that serves who came last: the second connection is answered, and the first one is closed for it.
#[tokio::test]
async fn a_second_connection_that_ends_the_first_is_none() {
    let rogue = Rogue::start(false, |asked| Reply::Send(asked.tcp(&asked.own_addresses()))).await;
    let mut look = look(&format!("tcp://{}", rogue.address), "1", "0-9");
    look.tables = vec!["holding".parse().expect("the test's words are right")];
    let second = found(&look).await.second_connection.expect("it was tried");
    assert!(!second.taken);
    let reason = second.reason.expect("it is told");
    assert_eq!(reason, "the first one: the device closed the connection");
}

#[tokio::test]
async fn each_unit_says_whether_it_has_queues() {
    let device = Device::default()
        .with_unit(1, |unit| unit.queues = [(0, vec![7, 8, 9])].into())
        .with_unit(2, |unit| unit.queues = [(5, vec![1])].into())
        .with_unit(3, |unit| {
            unit.exception = Some(ExceptionCode::ServerDeviceFailure);
        });
    let mut server = Server::new(Wire::Tcp, device.clone());
    server.start().await;
    let mut look = look(&server.connect(), "1-3", "0-9");
    let report = found(&look).await;
    let queues: Vec<_> = report
        .units
        .iter()
        .map(|unit| unit.queues.clone().expect("it was asked"))
        .collect();
    assert_eq!((queues[0].supported, queues[0].at_0), (Some(true), Some(3)));
    assert_eq!((queues[1].supported, queues[1].at_0), (Some(true), None));
    assert!(
        queues[1]
            .answer
            .as_deref()
            .is_some_and(|answer| answer.starts_with("exception 02"))
    );
    let asked = |unit: u8| {
        let tables = device.tables();
        let asked = tables
            .asked
            .iter()
            .filter(|asked| (asked.0, asked.1) == (unit, 24));
        asked.copied().collect::<Vec<_>>()
    };
    assert_eq!(asked(1), [(1, 24, 0, 1)], "one question");
    assert_eq!(asked(2), [(2, 24, 0, 1)]);
    assert_eq!(
        queues[2].supported, None,
        "a unit that fails with everything says nothing of it"
    );

    look.at = vec!["holding:0-3".parse().expect("the test's words are right")];
    let report = found(&look).await;
    assert!(report.units.iter().all(|unit| unit.queues.is_none()));
    assert_eq!(asked(1).len(), 1, "who names addresses wants these alone");
}
