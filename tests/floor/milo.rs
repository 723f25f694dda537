//! A server written in Java, by others than the rest of the peers: Eclipse Milo, encrypted as a gateway talks when it is told nothing else.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Counts, Delivery, Gateway, Kafka, MiloPeer, OpcUaServer, Patience, Reader, Record};
use serde_json::{Value, json};

use crate::counting::{compare, read_to};
use crate::outage::{TIMES, holds, is_back, is_lost, silence_is_noticed};
use crate::plant::{settings, topic, unique_site};

/// Tags and events of a counter, and of what tells that it is watched.
pub const COUNTING: &str = r#"
tags:
  good: {node: "nsu=urn:floorgate:test:plant;s=Good", counter: {width: 32}}
  mode: {node: "nsu=urn:floorgate:test:plant;s=Mode"}
events:
  - {type: ProductionCountRecorded, trigger: good, kind: good}
  - {type: ModeSeen, trigger: mode}
"#;

/// A server and a gateway that trust one another; the gateway is not started.
pub struct Cell {
    pub plc: MiloPeer,
    pub gateway: Gateway,
    site: String,
    bootstrap: String,
}

impl Cell {
    pub fn new(variables: &[(&str, &str, Value)], mapping: &str) -> Result<Self> {
        Self::with(MiloPeer::start(variables, None)?, mapping, "")
    }

    fn with(mut plc: MiloPeer, mapping: &str, special: &str) -> Result<Self> {
        let bootstrap = Kafka::shared()?.bootstrap();
        let site = unique_site();
        let source = format!(
            "adapter: opcua\n    endpoint: {}\n    publishing_interval: 10ms\n    sampling_interval: 0ms\n    {TIMES}\n    \
             reconnect_limit: 1s{special}",
            plc.url()
        );
        let mapping = format!("mapping: cell\nsource: plc\nequipment: acme/{site}/milo/cell{mapping}");
        let gateway = Gateway::new(&settings(&site, &bootstrap, &source), &[("cell.yaml", &mapping)])?;
        let pki = |words: &[&str]| -> Result<()> {
            let output = gateway.command(&[&["pki"], words].concat())?.output()?;
            let errors = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "pki {words:?}: {errors}");
            Ok(())
        };
        pki(&["init"])?;
        pki(&["trust", plc.certificate().to_str().context("the path")?])?;
        plc.trust(&gateway.state().join("pki/own/cert.der"))?;
        Ok(Self {
            plc,
            gateway,
            site,
            bootstrap,
        })
    }

    /// A server with a counter, and a gateway that has seen it at 0.
    pub fn counting(user: Option<(&str, &str)>, special: &str) -> Result<Self> {
        let variables = [("Good", "UInt32", json!(0)), ("Mode", "Int32", json!(1))];
        let mut cell = Self::with(MiloPeer::start(&variables, user)?, COUNTING, special)?;
        cell.gateway.write("plc.password", "s3cret\n")?;
        cell.gateway.start()?;
        // All items are made before a first value is told.
        cell.reader("mode-seen")?.at_least(1, Patience::Long)?;
        Ok(cell)
    }

    pub fn reader(&self, entity: &str) -> Result<Reader> {
        Reader::new(&self.bootstrap, &topic(&self.site, entity))
    }

    /// Waits until the server has exactly one session, with one subscription and so many items.
    pub fn is_alone(&mut self, items: u64) -> Result<Counts> {
        holds(&mut self.plc, 1, items)
    }
}

/// Two values of a type, and what an event shows of them.
struct Kind {
    name: &'static str,
    sent: [Value; 2],
    shown: [Value; 2],
}

/// Each built-in type whose values are told as they are.
fn kinds() -> Vec<Kind> {
    let same = |name, sent: [Value; 2]| Kind {
        name,
        shown: sent.clone(),
        sent,
    };
    let other = |name, sent, shown| Kind { name, sent, shown };
    vec![
        same("Boolean", [json!(true), json!(false)]),
        same("SByte", [json!(-128), json!(127)]),
        same("Byte", [json!(0), json!(255)]),
        same("Int16", [json!(-32_768), json!(32_767)]),
        same("UInt16", [json!(0), json!(65_535)]),
        same("Int32", [json!(i32::MIN), json!(i32::MAX)]),
        same("UInt32", [json!(0), json!(u32::MAX)]),
        // What a reader of JSON may round is told as text.
        other(
            "Int64",
            [json!(i64::MIN), json!(-5)],
            [json!(i64::MIN.to_string()), json!(-5)],
        ),
        other(
            "UInt64",
            [json!(7), json!(u64::MAX)],
            [json!(7), json!(u64::MAX.to_string())],
        ),
        same("Float", [json!(0.1), json!(-1.5)]),
        same("Double", [json!(0.1), json!(1e300)]),
        same("String", [json!("Läuft"), json!("Hält")]),
        other(
            "DateTime",
            [
                json!("2026-01-02T03:04:05.1234567Z"),
                json!("1699-12-31T23:59:59Z"),
            ],
            [
                json!("2026-01-02T03:04:05.123456700Z"),
                json!("1699-12-31T23:59:59.000Z"),
            ],
        ),
        same(
            "Guid",
            [
                json!("09087e75-8e5e-499b-954f-f2a9603db28a"),
                json!("00000000-0000-0000-0000-000000000001"),
            ],
        ),
        other(
            "ByteString",
            [json!("AP8="), json!("aGFsdA==")],
            [json!("00ff"), json!("68616c74")],
        ),
        same("XmlElement", [json!("<a>1</a>"), json!("<b/>")]),
        same("NodeId", [json!("ns=1;s=Line1"), json!("i=2253")]),
        other(
            "ExpandedNodeId",
            [json!("svr=1;nsu=urn:x;s=Line1"), json!("ns=1;i=7")],
            [json!("svr=1;nsu=urn:x;s=Line1"), json!("svr=0;ns=1;i=7")],
        ),
        same("StatusCode", [json!(0x800A_0000_u32), json!(0)]),
        same("QualifiedName", [json!("Halt"), json!("Lauf")]),
        same("LocalizedText", [json!("Halt"), json!("Lauf")]),
        // An enumeration of the server's own is its number.
        same("Container", [json!(0), json!(5)]),
    ]
}

/// A variable of each type and one with an array of each, and some with arrays of more dimensions: name, type, what it has first and then, and what is shown of both.
fn variables() -> Vec<(String, &'static str, [Value; 2], [Value; 2])> {
    let mut variables = Vec::new();
    for Kind { name, sent, shown } in kinds() {
        let arrays = |[one, other]: &[Value; 2]| [json!([one, other]), json!([other])];
        let (many, shown_of_many) = (arrays(&sent), arrays(&shown));
        variables.push((name.to_owned(), name, sent, shown));
        if name != "Container" {
            variables.push((format!("{name}Array"), name, many, shown_of_many));
        }
    }
    let mixed = [json!([1.5, 2.5]), json!([3.5])];
    variables.push(("VariantArray".to_owned(), "Variant", mixed.clone(), mixed));
    // Rows of columns.
    let tables = [
        ("Int32", json!([[1, 2, 3], [4, 5, 6]]), json!([[7], [8]])),
        (
            "String",
            json!([["a", "b"], ["c", "d"]]),
            json!([["e", "f", "g"]]),
        ),
        (
            "Boolean",
            json!([[[true], [false]], [[false], [false]]]),
            json!([[[true]]]),
        ),
    ];
    for (kind, first, then) in tables {
        let values = [first, then];
        variables.push((format!("{kind}Table"), kind, values.clone(), values));
    }
    variables
}

#[test]
fn values_and_arrays_of_every_type_arrive_once_with_their_times() -> Result<()> {
    let variables = variables();
    let mut mapping = String::from("\ntags:\n");
    for (name, ..) in &variables {
        writeln!(
            mapping,
            "  {name}: {{node: \"nsu=urn:floorgate:test:plant;s={name}\"}}"
        )?;
    }
    mapping.push_str("events:\n");
    for (name, ..) in &variables {
        writeln!(
            mapping,
            "  - {{type: ValueSeen, trigger: {name}, data: {{of: {{constant: {name}}}, value: {name}}}}}"
        )?;
    }
    let begin = variables
        .iter()
        .map(|(name, kind, [first, _], _)| (&**name, *kind, first.clone()));
    let mut cell = Cell::new(&begin.collect::<Vec<_>>(), &mapping)?;
    let mut reader = cell.reader("value-seen")?;
    // OPC UA counts in tenths of microseconds.
    let time = |round: usize, place: usize| format!("2026-02-0{round}T04:05:{place:02}.1234567");
    let mut expected = Vec::new();
    for round in 1..=2 {
        for (place, (name, _, sent, shown)) in variables.iter().enumerate() {
            let time = time(round, place);
            cell.plc
                .set_at(name, sent[round - 1].clone(), &format!("{time}Z"))?;
            expected.push((name.clone(), shown[round - 1].clone(), format!("{time}00Z")));
        }
        if round == 1 {
            cell.gateway.start()?;
        }
        reader.at_least(round * variables.len(), Patience::Long)?;
    }
    let delivery = Delivery::of(reader.records())?;
    let seen = |record: &Record| -> Result<(String, Value, String)> {
        let data = record.json()?;
        ensure!(
            data["quality"]["class"] == "good" && data["gap"].is_null(),
            "{data}"
        );
        let name = data["of"].as_str().context("no name")?.to_owned();
        Ok((name, data["value"].clone(), record.header("ce_time")?.to_owned()))
    };
    let seen: Vec<_> = delivery.accepted.iter().map(seen).collect::<Result<_>>()?;
    // The first values may come in any order, the changes in that of the server.
    let (first, then) = seen.split_at(variables.len());
    let mut first = first.to_vec();
    first.sort_by(|one, other| one.2.cmp(&other.2));
    assert_eq!([&first, then].concat(), expected);
    cell.is_alone(variables.len() as u64)?;
    Ok(())
}

#[test]
fn structures_are_decoded_by_the_definitions_of_the_server() -> Result<()> {
    const MAPPING: &str = r#"
tags:
  order: {node: "nsu=urn:floorgate:test:plant;s=Order"}
  id: {node: "nsu=urn:floorgate:test:plant;s=Order", field: Id}
  second: {node: "nsu=urn:floorgate:test:plant;s=Order", field: "Steps[1].Seconds"}
  orders: {node: "nsu=urn:floorgate:test:plant;s=Orders"}
  reject: {node: "nsu=urn:floorgate:test:plant;s=Reject"}
events:
  - {type: OrderSeen, trigger: id, data: {order: order, second: second}}
  - {type: OrdersSeen, trigger: orders, data: {orders: orders}}
  - {type: RejectSeen, trigger: reject, data: {reject: reject}}
"#;
    let steps = json!([{"Name": "fill", "Seconds": 1.5}, {"Name": "cap", "Seconds": 0.25}]);
    let least = json!({"Id": "WO-1", "Container": 0});
    let full = json!({"Id": "WO-2", "Quantity": 500, "Container": 5, "Steps": steps, "Speeds": [1.0, 2.5], "Due": "2026-05-01T00:00:00Z"});
    let variables = [
        ("Order", "Order", least.clone()),
        ("Orders", "Order", json!([least, full])),
        ("Reject", "Reject", json!({"Code": 7})),
    ];
    let mut cell = Cell::new(&variables, MAPPING)?;
    cell.plc.twist_types()?;
    let mut shown = full.clone();
    shown["Due"] = json!("2026-05-01T00:00:00.000Z");
    let part = |reader: &mut Reader, count: usize, name: &str| -> Result<Value> {
        let records = reader.at_least(count, Patience::Long)?;
        Ok(records[count - 1].json()?[name].take())
    };
    let (mut order, mut orders) = (cell.reader("order-seen")?, cell.reader("orders-seen")?);
    let mut reject = cell.reader("reject-seen")?;
    cell.gateway.start()?;
    assert_eq!(part(&mut order, 1, "order")?, least);
    assert_eq!(part(&mut orders, 1, "orders")?, json!([least, shown]));
    assert_eq!(part(&mut reject, 1, "reject")?, json!({"Code": 7}));
    cell.plc.set("Order", full.clone())?;
    cell.plc.set("Orders", json!([full]))?;
    cell.plc.set("Reject", json!({"Reason": "no cap"}))?;
    assert_eq!(part(&mut order, 2, "order")?, shown);
    assert_eq!(part(&mut order, 2, "second")?, 0.25);
    assert_eq!(part(&mut orders, 2, "orders")?, json!([shown]));
    assert_eq!(part(&mut reject, 2, "reject")?, json!({"Reason": "no cap"}));
    Ok(())
}

#[test]
fn bad_values_and_events_are_told_as_what_they_are() -> Result<()> {
    const MAPPING: &str = r#"
tags:
  level: {node: "nsu=urn:floorgate:test:plant;s=Level"}
  message: {events: i=2253, event_type: i=2130, field: Message}
  severity: {events: i=2253, event_type: i=2130, field: Severity}
events:
  - {type: MeasurementRecorded, trigger: level}
  - {type: Told, trigger: message, data: {message: message, severity: severity}}
"#;
    let mut cell = Cell::new(&[("Level", "Double", json!(1.5))], MAPPING)?;
    let (mut levels, mut told) = (cell.reader("measurement")?, cell.reader("told")?);
    cell.gateway.start()?;
    levels.at_least(1, Patience::Long)?;
    // BadSensorFailure and UncertainLastUsableValue.
    cell.plc.set_status("Level", 2.5, 0x808C_0000)?;
    cell.plc.set_status("Level", 3.5, 0x4090_0000)?;
    cell.plc.set("Level", 4.5)?;
    let of = |record: &Record| -> Result<Value> {
        let data = record.json()?;
        Ok(json!([data["value"], data["quality"]["class"]]))
    };
    let records = levels.at_least(4, Patience::Long)?;
    let seen: Vec<Value> = records.iter().map(of).collect::<Result<_>>()?;
    assert_eq!(
        seen,
        [
            json!([1.5, "good"]),
            json!([null, "bad"]),
            json!([3.5, "uncertain"]),
            json!([4.5, "good"]),
        ]
    );
    for severity in [500, 500, 100] {
        cell.plc.tell(&["the cap is missing".to_owned()], severity)?;
    }
    let records = told.at_least(3, Patience::Long)?;
    let of = |record: &Record| -> Result<Value> {
        let data = record.json()?;
        Ok(json!([
            data["message"],
            data["severity"],
            record.header("ce_emission")?
        ]))
    };
    let seen: Vec<Value> = records.iter().map(of).collect::<Result<_>>()?;
    let one = |severity: u16| json!(["the cap is missing", severity, "live"]);
    assert_eq!(seen, [one(500), one(500), one(100)]);
    Ok(())
}

/// A server ends, and what it counted until it was there again is a gap.
fn is_read_again(end: impl FnOnce(&mut MiloPeer) -> Result<()>) -> Result<()> {
    let login = "\n    login: {user: line-gateway, password_file: plc.password}";
    let mut cell = Cell::counting(Some(("line-gateway", "s3cret")), login)?;
    let (mut reader, mut connection) = (
        cell.reader("production-count")?,
        cell.reader("source-connection")?,
    );
    cell.plc.count_up("Good", 1, 50, 5)?;
    read_to(&mut reader, 50)?;
    end(&mut cell.plc)?;
    is_lost(&cell.gateway)?;
    cell.plc.begin_with("Good", 60);
    cell.plc.resume()?;
    is_back(&cell.gateway, Instant::now())?;
    read_to(&mut reader, 60)?;
    cell.plc.count_up("Good", 61, 100, 5)?;
    let delivery = Delivery::of(read_to(&mut reader, 100)?)?;
    assert_eq!(
        compare(&delivery.accepted, &(1..=100))?,
        1,
        "the step to 60, and no other"
    );
    assert_eq!(delivery.repeated, 0);
    let counts = cell.is_alone(2)?;
    assert_eq!(counts.sessions_ever, 1, "none was made and left");
    let records = connection.at_least(3, Patience::Long)?;
    let states: Vec<Value> = records
        .iter()
        .map(|record| Ok(record.json()?["state"].take()))
        .collect::<Result<_>>()?;
    assert_eq!(states, ["Online", "Offline", "Online"]);
    Ok(())
}

#[test]
fn a_server_that_was_killed_is_read_again_and_what_was_missed_is_said() -> Result<()> {
    is_read_again(|plc| {
        plc.kill();
        Ok(())
    })
}

#[test]
fn a_server_that_was_restarted_in_order_is_read_again_and_what_was_missed_is_said() -> Result<()> {
    is_read_again(OpcUaServer::shut_down)
}

#[test]
fn a_server_that_stood_still_goes_on_and_no_change_is_missed() -> Result<()> {
    let login = "\n    login: {user: line-gateway, password_file: plc.password}\n    queue_size: 5000";
    let mut cell = Cell::counting(Some(("line-gateway", "s3cret")), login)?;
    let mut reader = cell.reader("production-count")?;
    // It catches up by itself with what it did not count while it stood still.
    cell.plc.count_up("Good", 1, 600, 5)?;
    read_to(&mut reader, 20)?;
    cell.plc.pause()?;
    silence_is_noticed(&cell.gateway, Instant::now())?;
    cell.plc.go_on()?;
    is_back(&cell.gateway, Instant::now())?;
    let delivery = Delivery::of(read_to(&mut reader, 600)?)?;
    assert_eq!(compare(&delivery.accepted, &(1..=600))?, 0);
    assert_eq!(delivery.repeated, 0);
    let counts = cell.is_alone(2)?;
    assert_eq!(counts.sessions_ever, 1, "the session was re-activated");
    Ok(())
}

/// In one of two subscriptions nothing happens for longer than it may be silent, since its publishing interval is nearly as long as that.
#[test]
fn a_slow_subscription_in_which_nothing_happens_is_not_lost() -> Result<()> {
    const MAPPING: &str = r#"
tags:
  good: {node: "nsu=urn:floorgate:test:plant;s=Good", counter: {width: 32}}
  mode: {node: "nsu=urn:floorgate:test:plant;s=Mode", publishing_interval: 300ms}
events:
  - {type: ProductionCountRecorded, trigger: good, kind: good}
  - {type: ModeSeen, trigger: mode}
"#;
    let variables = [("Good", "UInt32", json!(0)), ("Mode", "Int32", json!(1))];
    let mut cell = Cell::new(&variables, MAPPING)?;
    let (mut counts, mut modes) = (cell.reader("production-count")?, cell.reader("mode-seen")?);
    cell.gateway.start()?;
    modes.at_least(1, Patience::Long)?;
    // Two seconds.
    cell.plc.count_up("Good", 1, 200, 10)?;
    read_to(&mut counts, 200)?;
    cell.plc.set("Mode", 2)?;
    let records = modes.at_least(2, Patience::Long)?;
    assert_ne!(records[1].json()?["gap"], true, "{}", cell.gateway.output()?);
    assert_eq!(compare(counts.records(), &(1..=200))?, 0);
    let counts = holds(&mut cell.plc, 2, 2)?;
    assert_eq!(counts.sessions_ever, 1);
    cell.gateway.wait_for_metric(
        "floorgate_source_gaps_total{source=\"plc\"}",
        0.0..=0.0,
        Patience::Short,
    )
}
