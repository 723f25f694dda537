//! What a server tells that is no change of a value, against one that somebody else wrote: alarms, job orders, structures, and a history.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use floorgate_tests::{Gateway, Kafka, NodePeer, OpcUaServer, Patience, Reader, Record, Wire, until};
use serde_json::Value;

use crate::counting::read_to;
use crate::outage::{Outage, TIMES, is_back, is_lost};
use crate::plant::{NO_SECURITY, settings, topic, unique_site};

const MAPPING: &str = r#"
mapping: boiler
source: plc
equipment: acme/{site}/utilities/boiler
tags:
  alarms: {conditions: i=2253}
  order: {events: i=2253, event_type: "nsu=http://opcfoundation.org/UA/ISA95-JOBCONTROL_V2/;i=1006", field: JobOrder.JobOrderID}
  status: {events: i=2253, event_type: "nsu=http://opcfoundation.org/UA/ISA95-JOBCONTROL_V2/;i=1006", field: "JobState[0].StateNumber", values: isa95-job-state}
  message: {events: i=2253, event_type: "nsu=http://opcfoundation.org/UA/ISA95-JOBCONTROL_V2/;i=1006", field: Message}
  recipe: {node: "nsu=urn:floorgate:test:plant;s=Recipe"}
  recipe_id: {node: "nsu=urn:floorgate:test:plant;s=Recipe", field: JobOrderID}
  second: {node: "nsu=urn:floorgate:test:plant;s=Recipe", field: "JobOrderParameters[1].Value"}
  good: {node: "nsu=urn:floorgate:test:plant;s=Good", counter: {width: 32}}
run: {}
events:
  - {type: Alarm, trigger: alarms}
  - {type: WorkOrderStatusChanged, trigger: status, data: {message: message}}
  - {type: RecipeChanged, trigger: recipe_id, data: {parameters: "= [second]", whole: recipe}}
  - {type: ProductionCountRecorded, trigger: good, kind: good}
"#;

/// A server, and a gateway of it that is not started.
struct Boiler {
    plc: NodePeer,
    gateway: Gateway,
    site: String,
    bootstrap: String,
}

impl Boiler {
    fn new(special: &str) -> Result<Self> {
        Self::behind(None, special)
    }

    fn behind(wire: Option<&Arc<Wire>>, special: &str) -> Result<Self> {
        let bootstrap = Kafka::shared()?.bootstrap();
        let site = unique_site();
        let mut plc = NodePeer::start(wire.map(Arc::clone))?;
        plc.add("Good", "UInt32", 0)?;
        plc.set_order("Recipe", "R-1", &[1.5, 2.0])?;
        let source = format!(
            "adapter: opcua\n    endpoint: {}\n    {NO_SECURITY}\n    publishing_interval: 10ms\n    sampling_interval: 10ms\n    \
             reconnect_limit: 1s{special}",
            plc.url()
        );
        let mapping = MAPPING.replace("{site}", &site);
        let gateway = Gateway::new(
            &settings(&site, &bootstrap, &source),
            &[("boiler.yaml", &mapping)],
        )?;
        Ok(Self {
            plc,
            gateway,
            site,
            bootstrap,
        })
    }

    /// Starts the gateway, and waits until it watches everything: a first value is told after all items were made.
    fn start_and_watch(&mut self) -> Result<()> {
        self.gateway.start()?;
        self.reader("recipe")?.at_least(1, Patience::Long).map(drop)
    }

    fn outage(&mut self) -> Result<Outage<'_>> {
        Ok(Outage {
            counts: self.reader("production-count")?,
            server: &mut self.plc,
            gateway: &self.gateway,
            counter: "Good",
            // Conditions have a subscription of their own.
            holds: (2, 5),
        })
    }

    /// Counts to ten with a server that keeps a history, and leaves it until it has forgotten the gateway.
    fn leave_a_historian(&mut self) -> Result<Reader> {
        self.plc.keep_history("Good")?;
        let mut reader = self.reader("production-count")?;
        self.start_and_watch()?;
        self.plc.set("Good", 10)?;
        reader.at_least(1, Patience::Long)?;
        self.gateway.kill()?;
        self.is_forgotten()?;
        Ok(reader)
    }

    /// Waits until the server has forgotten the gateway.
    fn is_forgotten(&mut self) -> Result<()> {
        until("the end of session and subscriptions", Patience::Long, || {
            let counts = self.plc.counts()?;
            Ok(((counts.sessions, counts.subscriptions) == (0, 0)).then_some(()))
        })
    }

    fn reader(&self, entity: &str) -> Result<Reader> {
        Reader::new(&self.bootstrap, &topic(&self.site, entity))
    }
}

/// The type, the emission and the data of each record.
fn told(records: &[Record]) -> Result<Vec<(String, String, Value)>> {
    let of = |record: &Record| {
        let kind = record
            .header("ce_type")?
            .rsplit('.')
            .nth(1)
            .context("a type")?
            .to_owned();
        Ok((kind, record.header("ce_emission")?.to_owned(), record.json()?))
    };
    records.iter().map(of).collect()
}

/// The count, the emission and the gap of each.
fn counted(counts: &[(String, String, Value)]) -> Vec<(u64, &str, bool)> {
    counts
        .iter()
        .map(|(_, emission, data)| {
            let count = data["rawValue"].as_u64().unwrap_or_default();
            (count, &**emission, data["gap"] == true)
        })
        .collect()
}

/// The type, the emission, the code and the gap of an alarm.
fn alarm((kind, emission, data): &(String, String, Value)) -> (&str, &str, &str, bool) {
    let code = data["code"].as_str().unwrap_or_default();
    (kind, emission, code, data["gap"] == true)
}

/// An alarm is told from its rise to its end, also where both are seen only by asking for all of them after a restart.
#[test]
fn conditions_are_raised_acknowledged_and_cleared() -> Result<()> {
    let mut boiler = Boiler::new("")?;
    let mut reader = boiler.reader("alarm")?;
    boiler.plc.set("Boiler.Level", 92.0)?;
    boiler.gateway.start()?;
    reader.at_least(1, Patience::Long)?;
    boiler.plc.set("Boiler.Pressure", 93.0)?;
    reader.at_least(2, Patience::Long)?;
    boiler.plc.acknowledge("Pressure")?;
    boiler.plc.set("Boiler.Pressure", 50.0)?;
    reader.at_least(3, Patience::Long)?;
    // While the gateway is away one alarm ends and another begins, and the server forgets for whom it was to keep that.
    boiler.gateway.kill()?;
    boiler.plc.set("Boiler.Level", 50.0)?;
    boiler.plc.set("Boiler.Pressure", 97.0)?;
    let levels = [("Boiler.Level", 50.0), ("Boiler.Pressure", 97.0)];
    boiler.plc.kill();
    boiler.plc.resume()?;
    for (node, level) in levels {
        boiler.plc.set(node, level)?;
    }
    boiler.gateway.start()?;
    let records = reader.at_least(5, Patience::Long)?;
    let told = told(records)?;
    let seen: Vec<_> = told.iter().map(alarm).collect();
    let (first, rest) = seen.split_at(3);
    assert_eq!(
        first,
        [
            ("AlarmRaised", "initial", "LevelHigh", false),
            ("AlarmRaised", "live", "PressureHigh", false),
            ("AlarmCleared", "live", "PressureHigh", false),
        ]
    );
    let mut rest = rest.to_vec();
    rest.sort_unstable();
    assert_eq!(
        rest,
        [
            ("AlarmCleared", "live", "LevelHigh", true),
            ("AlarmRaised", "live", "PressureHigh", true),
        ]
    );
    let cleared = &told[2].2;
    assert_eq!(cleared["occurrenceId"], told[1].2["occurrenceId"], "{cleared}");
    assert!(
        cleared["ackAt"].is_string() && cleared["durationMs"].is_u64(),
        "{cleared}"
    );
    assert_eq!(cleared["category"], "ExclusiveLimitAlarmType");
    Ok(())
}

/// Orders that a machine tells of side by side have their own states and runs.
#[test]
fn job_orders_come_of_events_and_parts_of_structures() -> Result<()> {
    let mut boiler = Boiler::new("")?;
    let mut reader = boiler.reader("work-order")?;
    let mut recipes = boiler.reader("recipe")?;
    let mut counts = boiler.reader("production-count")?;
    boiler.start_and_watch()?;
    for (order, state) in [("WO-1", 2), ("WO-1", 3), ("WO-2", 2)] {
        boiler.plc.job(order, state)?;
    }
    reader.at_least(3, Patience::Long)?;
    boiler.plc.set("Good", 5)?;
    counts.at_least(1, Patience::Long)?;
    boiler.plc.job("WO-1", 5)?;
    boiler.plc.set_order("Recipe", "R-2", &[4.0])?;
    let orders = told(reader.at_least(4, Patience::Long)?)?;
    let seen: Vec<(&Value, &Value, &Value)> = orders
        .iter()
        .map(|(.., data)| (&data["workOrderId"], &data["previousStatus"], &data["status"]))
        .collect();
    let null = Value::Null;
    let [one, two, allowed, running, ended] =
        ["WO-1", "WO-2", "AllowedToStart", "Running", "Ended"].map(Value::from);
    assert_eq!(
        seen,
        [
            (&one, &null, &allowed),
            (&one, &allowed, &running),
            (&two, &null, &allowed),
            (&one, &running, &ended),
        ]
    );
    assert_eq!(orders[1].2["message"], "WO-1 is at 3");
    let counted = told(counts.records())?;
    assert_eq!(
        counted[0].2["workOrderId"], "WO-1",
        "the order that runs, not the last one told of"
    );
    let recipes = told(recipes.at_least(2, Patience::Long)?)?;
    assert_eq!(recipes[0].1, "initial");
    assert_eq!(recipes[0].2["parameters"], serde_json::json!([2.0]));
    assert_eq!(recipes[0].2["whole"]["JobOrderParameters"][0]["ID"], "P0");
    assert_eq!(recipes[1].2["recipeId"], "R-2");
    assert_eq!(recipes[1].2["previousRecipeId"], "R-1");
    Ok(())
}

/// What a historian kept while nobody listened is told in its order, marked, and once.
#[test]
fn a_history_fills_the_gap() -> Result<()> {
    let mut boiler = Boiler::new("\n    session_timeout: 1s\n    keep_alive: 500ms\n    backfill: 1h")?;
    let mut reader = boiler.leave_a_historian()?;
    for count in [12, 15, 16] {
        boiler.plc.set("Good", count)?;
    }
    boiler.gateway.start()?;
    reader.at_least(4, Patience::Long)?;
    boiler.plc.set("Good", 20)?;
    let counts = told(reader.at_least(5, Patience::Long)?)?;
    let seen = counted(&counts);
    assert_eq!(
        seen,
        [
            (10, "live", false),
            (12, "backfill", true),
            (15, "backfill", false),
            (16, "backfill", false),
            (20, "live", false),
        ]
    );
    Ok(())
}

/// The gateway runs on while it is cut off, longer than the server remembers it.
const CUT_OFF: &str = "\n    session_timeout: 1s\n    keep_alive: 500ms\n    request_timeout: 1s";

/// What a historian kept during an outage is told by the gateway that lived through it, before what is live.
#[test]
fn a_history_fills_an_outage_that_the_gateway_lives_through() -> Result<()> {
    let wire = Arc::new(Wire::lay()?);
    let mut boiler = Boiler::behind(Some(&wire), &format!("{CUT_OFF}\n    backfill: 1h"))?;
    boiler.plc.keep_history("Good")?;
    let mut reader = boiler.reader("production-count")?;
    boiler.start_and_watch()?;
    boiler.plc.set("Good", 10)?;
    reader.at_least(1, Patience::Long)?;
    for round in [20, 30] {
        wire.cut()?;
        is_lost(&boiler.gateway)?;
        boiler.is_forgotten()?;
        let missed: Vec<Value> = [2, 5, 6].map(|step| (round + step).into()).to_vec();
        boiler.plc.set_all("Good", &missed)?;
        wire.mend()?;
        is_back(&boiler.gateway, Instant::now())?;
        read_to(&mut reader, round + 6)?;
        boiler.plc.set("Good", round + 9)?;
        read_to(&mut reader, round + 9)?;
    }
    let counts = told(reader.records())?;
    assert_eq!(
        counted(&counts),
        [
            (10, "live", false),
            (22, "backfill", true),
            (25, "backfill", false),
            (26, "backfill", false),
            (29, "live", false),
            (32, "backfill", true),
            (35, "backfill", false),
            (36, "backfill", false),
            (39, "live", false),
        ]
    );
    Ok(())
}

/// One alarm ends and another begins while a gateway that runs on is cut off.
#[test]
fn conditions_that_changed_during_an_outage_are_told_once() -> Result<()> {
    let wire = Arc::new(Wire::lay()?);
    let mut boiler = Boiler::behind(Some(&wire), CUT_OFF)?;
    let mut reader = boiler.reader("alarm")?;
    boiler.plc.set("Boiler.Level", 92.0)?;
    boiler.start_and_watch()?;
    reader.at_least(1, Patience::Long)?;

    wire.cut()?;
    is_lost(&boiler.gateway)?;
    boiler.is_forgotten()?;
    boiler.plc.set("Boiler.Level", 50.0)?;
    boiler.plc.set("Boiler.Pressure", 97.0)?;
    wire.mend()?;
    is_back(&boiler.gateway, Instant::now())?;
    reader.at_least(3, Patience::Long)?;
    // Another outage in which nothing happens: all is told by the server again, and nothing by the gateway.
    wire.cut()?;
    is_lost(&boiler.gateway)?;
    boiler.is_forgotten()?;
    wire.mend()?;
    is_back(&boiler.gateway, Instant::now())?;
    for (pressure, told) in [(50.0, 4), (97.0, 5)] {
        boiler.plc.set("Boiler.Pressure", pressure)?;
        reader.at_least(told, Patience::Long)?;
    }

    let told = told(reader.records())?;
    let mut seen: Vec<_> = told.iter().map(alarm).collect();
    // What is told because it was asked for has no order.
    seen[1..3].sort_unstable();
    // Whether it ended before the server was asked, or after that, nobody knows.
    seen[3].3 = false;
    assert_eq!(
        seen,
        [
            ("AlarmRaised", "initial", "LevelHigh", false),
            ("AlarmCleared", "live", "LevelHigh", true),
            ("AlarmRaised", "live", "PressureHigh", true),
            ("AlarmCleared", "live", "PressureHigh", false),
            ("AlarmRaised", "live", "PressureHigh", false),
        ]
    );
    Ok(())
}

/// A connection that breaks while a history is read costs nothing: the next one goes on where it was.
#[test]
fn a_history_is_read_on_after_a_broken_connection() -> Result<()> {
    let mut boiler = Boiler::new("\n    session_timeout: 3s\n    keep_alive: 500ms\n    backfill: 1h")?;
    let mut reader = boiler.leave_a_historian()?;
    // It is told in three answers.
    let missed: Vec<Value> = (11..2_511).map(Value::from).collect();
    boiler.plc.set_all("Good", &missed)?;
    boiler.plc.cut("HistoryReadRequest", 1)?;
    boiler.gateway.start()?;
    reader.at_least(2_501, Patience::Long)?;
    boiler.plc.set("Good", 3_000)?;
    let counts = told(reader.at_least(2_502, Patience::Long)?)?;
    let seen = counted(&counts);
    let mut expected = vec![(10, "live", false)];
    expected.extend((11..2_511).map(|count| (count, "backfill", count == 11)));
    expected.push((3_000, "live", false));
    let differs = seen
        .iter()
        .zip(&expected)
        .position(|(seen, expected)| seen != expected);
    let at = differs.unwrap_or(0);
    assert!(
        differs.is_none() && seen.len() == expected.len(),
        "{} of {}, from {at}: {:?}",
        seen.len(),
        expected.len(),
        &seen[at..seen.len().min(at + 5)]
    );
    let line = "floorgate_source_connects_total{source=\"plc\"}";
    let connects = boiler.gateway.metric(line)?;
    assert!(connects >= Some(2.0), "the connection was cut: {connects:?}");
    Ok(())
}

/// Conditions are asked for again where the connection broke over it.
#[test]
fn conditions_are_asked_for_until_they_are_told() -> Result<()> {
    let mut boiler = Boiler::new("")?;
    let mut reader = boiler.reader("alarm")?;
    boiler.plc.set("Boiler.Level", 92.0)?;
    boiler.plc.cut("CallRequest", 0)?;
    boiler.gateway.start()?;
    let alarms = told(reader.at_least(1, Patience::Long)?)?;
    assert_eq!(alarms[0].2["code"], "LevelHigh");
    Ok(())
}

/// That all conditions are told again is nothing that happened: tags of events beside them hear of what happens once.
#[test]
fn a_refresh_of_conditions_is_no_event() -> Result<()> {
    let mut boiler = Boiler::new("")?;
    let mapping = boiler.gateway.folder().join("mappings/boiler.yaml");
    let text = std::fs::read_to_string(&mapping)?
        .replace(
            "run: {}",
            "  seen: {events: i=2253, event_type: i=2915, field: Message}\nrun: {}",
        )
        .replace(
            "  - {type: Alarm, trigger: alarms}",
            "  - {type: Alarm, trigger: alarms}\n  - {type: AlarmSeen, trigger: seen, data: {message: seen}}",
        );
    std::fs::write(&mapping, text)?;
    let (mut alarms, mut seen) = (boiler.reader("alarm")?, boiler.reader("alarm-seen")?);
    boiler.plc.set("Boiler.Level", 92.0)?;
    boiler.start_and_watch()?;
    alarms.at_least(1, Patience::Long)?;
    for (pressure, told) in [(93.0, 2), (50.0, 3)] {
        boiler.plc.set("Boiler.Pressure", pressure)?;
        alarms.at_least(told, Patience::Long)?;
    }
    // The rise, and the end of it; the level that stands was told to those who ask how conditions stand.
    let is_back = |record: &Record| {
        record
            .json()
            .is_ok_and(|data| data["message"] == "Back to normal")
    };
    let events = seen.until("the end", Patience::Long, |records| records.iter().any(is_back))?;
    for (_, _, data) in told(events)? {
        let message = data["message"].as_str().unwrap_or_default();
        assert!(!message.contains("92"), "{data}");
        assert_ne!(data["gap"], true, "{data}");
    }
    Ok(())
}

#[test]
fn a_server_of_happenings_that_is_killed_is_read_again() -> Result<()> {
    let mut boiler = Boiler::new(&format!("\n    {TIMES}"))?;
    boiler.start_and_watch()?;
    boiler.outage()?.dies()
}

#[test]
fn a_server_of_happenings_that_restarts_in_order_is_read_again() -> Result<()> {
    let mut boiler = Boiler::new(&format!("\n    {TIMES}"))?;
    boiler.start_and_watch()?;
    boiler.outage()?.restarts()
}

#[test]
fn a_server_of_happenings_that_stood_still_goes_on() -> Result<()> {
    let mut boiler = Boiler::new(&format!("\n    {TIMES}"))?;
    boiler.start_and_watch()?;
    boiler.outage()?.stands_still()
}

#[test]
fn a_server_of_happenings_that_is_cut_off_in_silence_goes_on() -> Result<()> {
    let wire = Arc::new(Wire::lay()?);
    let mut boiler = Boiler::behind(Some(&wire), &format!("\n    {TIMES}"))?;
    boiler.start_and_watch()?;
    // It looks at its nodes now and then: of two numbers it might see one.
    boiler.outage()?.gets_out_of_reach(&wire, 2)
}
