//! The worked examples of the mapping language from end to end: a filling line for an MES, one handling unit's way through a warehouse,
//! and a press whose values are read when its cycle is done.

use std::fs;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Gateway, Kafka, OpcUaOptions, OpcUaPeer, Patience, Reader, Record, repository, until};
use serde_json::{Value, json};

use crate::plant::{settings, unique_site};

/// A server with variables, by name, type and first value.
fn server(variables: &[(&str, &'static str, Value)]) -> Result<OpcUaPeer> {
    let mut server = OpcUaPeer::start(OpcUaOptions::default())?;
    for (name, kind, value) in variables {
        server.add(name, kind, value.clone())?;
    }
    Ok(server)
}

/// The settings of the source `plc` at a server.
fn source(server: &OpcUaPeer) -> String {
    format!(
        "adapter: opcua\n    endpoint: {}\n    security: {{policy: none, mode: none}}\n    \
         publishing_interval: 10ms\n    sampling_interval: 0ms\n    reconnect_limit: 1s",
        server.url()
    )
}

/// An example at a site of its own, its nodes those of the peers.
fn example(path: &str, site: &str) -> Result<String> {
    let path = repository().join("mappings/examples").join(path);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let node = format!("nsu={};", OpcUaPeer::NAMESPACE);
    Ok(text
        .replace("acme/busan", &format!("acme/{site}"))
        .replace("nsu=urn:plant;", &node)
        .replace("nsu=urn:warehouse;", &node)
        .replace("{line: 1..40}", "{line: 1..1}"))
}

fn reader(kafka: &Kafka, site: &str, topic: &str) -> Result<Reader> {
    Reader::new(&kafka.bootstrap(), &format!("acme.{site}.{topic}.v1"))
}

/// The first live event whose data satisfies a condition.
fn event(reader: &mut Reader, what: &str, is: impl Fn(&Value) -> bool) -> Result<(Record, Value)> {
    let is_it = |record: &Record| {
        let live = record
            .header("ce_emission")
            .is_ok_and(|emission| emission == "live");
        live && record.json().is_ok_and(|data| is(&data))
    };
    let found = reader.until(what, Patience::Long, |records| records.iter().any(is_it))?;
    let record = found
        .iter()
        .find(|record| is_it(record))
        .context("no such event")?;
    Ok((record.clone(), record.json()?))
}

#[test]
fn a_filling_line_tells_an_mes_what_it_does() -> Result<()> {
    let kafka = Kafka::shared()?;
    let mut plc = server(&[
        ("Line1.WorkOrderId", "String", json!("WO-1")),
        ("Line1.Status", "Int32", json!(2)),
        ("Line1.Lot", "String", json!("L-7")),
        ("Line1.State", "Int32", json!(4)),
        ("Line1.Mode", "Int32", json!(1)),
        ("Line1.Good", "UInt32", json!(100)),
        ("Line1.Scrap", "UInt32", json!(0)),
        ("Line1.ScrapReason", "Int32", json!(17)),
        ("Line1.Temperature", "Double", json!(20.5)),
        ("Line1.Power", "Double", json!(3.5)),
        ("Line1.Recipe", "String", json!("COLA-05")),
        ("Line1.Alarms", "UInt16", json!(0)),
    ])?;
    let site = unique_site();
    let mapping = example("template.yaml", &site)?;
    let mut gateway = Gateway::new(
        &settings(&site, &kafka.bootstrap(), &source(&plc)),
        &[("hall.yaml", &mapping)],
    )?;
    gateway.start()?;
    let mut orders = reader(kafka, &site, "mes.work-order")?;
    orders.at_least(1, Patience::Long)?;

    // The run begins, and the next lot comes to the machine while it goes on.
    plc.set_all(&[("Line1.Status", json!(3)), ("Line1.State", json!(6))])?;
    let (running, _) = event(&mut orders, "the order running", |data| {
        data["status"] == "Running"
    })?;
    let run = running.header("ce_correlationid")?.to_owned();
    plc.set("Line1.Lot", "L-8")?;
    plc.set_all(&[
        ("Line1.Good", json!(112)),
        ("Line1.Scrap", json!(2)),
        ("Line1.Alarms", json!(2)),
    ])?;
    let mut counts = reader(kafka, &site, "mes.production-count")?;
    let (count, data) = event(&mut counts, "the count", |data| data["rawValue"] == 112)?;
    assert_eq!((&data["delta"], &data["total"]), (&json!(12), &json!(112)));
    assert_eq!(count.header("ce_correlationid")?, run);
    assert_eq!(
        (&data["workOrderId"], &data["runId"], &data["lotId"]),
        (&json!("WO-1"), &json!(run), &json!("L-7")),
        "the lot that was loaded when the run began"
    );
    let (_, state) = event(
        &mut reader(kafka, &site, "mes.equipment-state")?,
        "the state",
        |data| data["state"] == "Execute",
    )?;
    assert_eq!(
        (&state["category"], &state["runId"]),
        (&json!("Executing"), &json!(run))
    );
    let (_, scrap) = event(&mut reader(kafka, &site, "mes.scrap")?, "the scrap", |data| {
        data["delta"] == 2
    })?;
    assert_eq!(scrap["reasonCode"], 17);
    let mut alarms = reader(kafka, &site, "mes.alarm")?;
    let (raised, alarm) = event(&mut alarms, "the alarm", |data| data["code"] == "CAP-HOPPER")?;
    assert_eq!(raised.header("ce_type")?, "io.floorgate.mes.AlarmRaised.v1");

    // Another process goes on with run, total and alarm as if it had been the first.
    gateway.kill()?;
    gateway.start()?;
    plc.set("Line1.Good", 115)?;
    let (count, data) = event(&mut counts, "the count after the restart", |data| {
        data["rawValue"] == 115
    })?;
    assert_eq!((&data["delta"], &data["total"]), (&json!(3), &json!(115)));
    assert_eq!(count.header("ce_correlationid")?, run);
    assert_eq!(data["lotId"], "L-7");
    plc.set("Line1.Alarms", 0)?;
    let is_cleared = |data: &Value| data["durationMs"].is_u64();
    let (_, cleared) = event(&mut alarms, "the alarm being cleared", is_cleared)?;
    assert_eq!(cleared["occurrenceId"], alarm["occurrenceId"]);
    plc.set_all(&[
        ("Line1.Status", json!(5)),
        ("Line1.Mode", json!(2)),
        ("Line1.Recipe", json!("COLA-10")),
    ])?;
    let (ended, _) = event(&mut orders, "the end", |data| data["status"] == "Ended")?;
    assert_eq!(ended.header("ce_correlationid")?, run);
    let (_, mode) = event(
        &mut reader(kafka, &site, "mes.equipment-mode")?,
        "the mode",
        |data| data["mode"] == "Maintenance",
    )?;
    assert_eq!(mode["previousMode"], "Produce");
    let (_, recipe) = event(&mut reader(kafka, &site, "mes.recipe")?, "the recipe", |data| {
        data["recipeId"] == "COLA-10"
    })?;
    assert_eq!(recipe["previousRecipeId"], "COLA-05");
    Ok(())
}

/// The warehouse's variables.
fn warehouse() -> Result<OpcUaPeer> {
    server(&[
        ("Inbound.Sscc", "String", json!("")),
        ("Inbound.Item", "String", json!("")),
        ("Inbound.Quantity", "Int32", json!(0)),
        ("Inbound.Lot", "String", json!("")),
        ("Inbound.PurchaseOrder", "String", json!("")),
        ("Crane.Sscc", "String", json!("")),
        ("Crane.OrderId", "String", json!("")),
        ("Crane.OrderUpdateId", "UInt32", json!(0)),
        ("Crane.ActionStatus", "String", json!("WAITING")),
        ("Crane.Location", "String", json!("PARK")),
        ("Crane.InBin", "Boolean", json!(false)),
        ("Pick.Confirmed", "Boolean", json!(false)),
        ("Pick.Sscc", "String", json!("")),
        ("Pick.Task", "String", json!("")),
        ("Pick.Item", "String", json!("")),
        ("Pick.Requested", "Int32", json!(0)),
        ("Pick.Picked", "Int32", json!(0)),
        ("Dock.Departed", "Boolean", json!(false)),
        ("Dock.Sscc", "String", json!("")),
        ("Dock.Shipment", "String", json!("")),
        ("Dock.Carrier", "String", json!("")),
    ])
}

#[test]
fn a_handling_unit_is_followed_from_the_scanner_to_the_dock() -> Result<()> {
    const HU: &str = "340123450000000017";
    let kafka = Kafka::shared()?;
    let mut plc = warehouse()?;
    let site = unique_site();
    let stations = ["inbound", "storage", "picking", "outbound"];
    let texts = stations.map(|station| example(&format!("warehouse/{station}.yaml"), &site));
    let mut mappings = Vec::new();
    for (station, text) in stations.iter().zip(texts) {
        mappings.push((format!("{station}.yaml"), text?));
    }
    let mappings: Vec<(&str, &str)> = mappings.iter().map(|(name, text)| (&**name, &**text)).collect();
    // The crane is a source of its own, as it would be in a plant.
    let crane = source(&plc);
    let sources = format!("{crane}\n  crane:\n    {crane}");
    let mut gateway = Gateway::new(&settings(&site, &kafka.bootstrap(), &sources), &mappings)?;
    gateway.start()?;
    // What was found at the start is there, so that what follows is a change.
    reader(kafka, &site, "wms.transport")?.at_least(1, Patience::Long)?;
    until("both sources being watched", Patience::Long, || {
        Ok((plc.monitored_items()? >= 21).then_some(()))
    })?;

    plc.set_all(&[
        ("Inbound.Item", json!("COLA-05")),
        ("Inbound.Quantity", json!(1200)),
        ("Inbound.Lot", json!("L-7")),
        ("Inbound.PurchaseOrder", json!("PO-4711")),
        ("Inbound.Sscc", json!(HU)),
    ])?;
    plc.set_all(&[
        ("Crane.Sscc", json!(HU)),
        ("Crane.OrderId", json!("TO-9")),
        ("Crane.ActionStatus", json!("RUNNING")),
    ])?;
    plc.set("Crane.Location", "AISLE-2")?;
    plc.set_all(&[
        ("Crane.Location", json!("A-02-17")),
        ("Crane.InBin", json!(true)),
        ("Crane.ActionStatus", json!("FINISHED")),
    ])?;
    plc.set_all(&[
        ("Pick.Sscc", json!(HU)),
        ("Pick.Task", json!("PT-3")),
        ("Pick.Item", json!("COLA-05")),
        ("Pick.Requested", json!(48)),
        ("Pick.Picked", json!(47)),
        ("Pick.Confirmed", json!(true)),
    ])?;
    plc.set_all(&[
        ("Dock.Sscc", json!(HU)),
        ("Dock.Shipment", json!("SH-12")),
        ("Dock.Carrier", json!("ACME-LOG")),
        ("Dock.Departed", json!(true)),
    ])?;

    let mut followed = Vec::new();
    let mut follow = |topic: &str, is: &dyn Fn(&Value) -> bool| -> Result<Value> {
        let (record, data) = event(&mut reader(kafka, &site, topic)?, topic, is)?;
        assert_eq!(record.header("ce_correlationid")?, HU, "{topic}");
        followed.push(record.key.clone().unwrap_or_default());
        Ok(data)
    };
    let received = follow("wms.goods-received", &|data| data["hu"] == HU)?;
    assert_eq!(
        received["items"],
        json!([{"itemId": "COLA-05", "qty": 1200, "unit": "C62", "lot": "L-7"}])
    );
    let moved = follow("wms.storage-moved", &|data| data["to"] == "A-02-17")?;
    assert_eq!(moved["from"], "AISLE-2");
    let put = follow("wms.putaway", &|data| data["hu"] == HU)?;
    assert_eq!(
        (&put["to"], &put["transportOrderId"]),
        (&json!("A-02-17"), &json!("TO-9"))
    );
    let picked = follow("wms.pick", &|data| data["hu"] == HU)?;
    assert_eq!(
        (&picked["qtyRequested"], &picked["qtyPicked"]),
        (&json!(48), &json!(47))
    );
    let dispatched = follow("wms.shipment", &|data| data["shipmentId"] == "SH-12")?;
    assert_eq!(dispatched["hus"], json!([HU]));
    follow("wms.transport", &|data| data["actionStatus"] == "FINISHED")?;
    let path = format!("acme/{site}/warehouse/storage/crane1");
    assert_eq!(
        followed,
        [HU, HU, HU, HU, "SH-12", &path],
        "each in the order of what it is about"
    );
    Ok(())
}

#[test]
fn the_values_of_a_cycle_are_read_when_it_is_done() -> Result<()> {
    let kafka = Kafka::shared()?;
    let mut plc = server(&[
        ("Press.CycleDone", "Boolean", json!(false)),
        ("Press.CycleNo", "UInt32", json!(1)),
        ("Press.PartId", "String", json!("P-1")),
        ("Press.Force", "Double", json!(40.0)),
        ("Press.Position", "Double", json!(12.0)),
    ])?;
    let site = unique_site();
    let mut gateway = Gateway::new(
        &settings(&site, &kafka.bootstrap(), &source(&plc)),
        &[("press.yaml", &example("trigger-snapshot.yaml", &site)?)],
    )?;
    gateway.start()?;
    until("what is watched being watched", Patience::Long, || {
        Ok((plc.monitored_items()? >= 2).then_some(()))
    })?;
    ensure!(
        plc.monitored_items()? == 2,
        "what only a snapshot needs is not watched"
    );
    let mut cycles = reader(kafka, &site, "mes.cycle")?;
    for number in 2..6 {
        plc.set_all(&[
            ("Press.PartId", json!(format!("P-{number}"))),
            ("Press.Force", json!(f64::from(number) + 0.5)),
            ("Press.CycleNo", json!(number)),
            ("Press.CycleDone", json!(true)),
        ])?;
        let (_, cycle) = event(&mut cycles, "the cycle", |data| data["cycleNo"] == number)?;
        assert_eq!(
            (&cycle["snapshot"], &cycle["partId"], &cycle["values"]),
            (
                &json!("complete"),
                &json!(format!("P-{number}")),
                &json!({"force": f64::from(number) + 0.5, "position": 12.0})
            )
        );
        assert_eq!(cycle["quality"]["class"], "good");
        plc.set("Press.CycleDone", false)?;
    }
    Ok(())
}
