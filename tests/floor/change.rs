//! A change on the floor is on the broker: payload, headers, key and order.

use anyhow::{Context, Result};
use floorgate_tests::{Delivery, Kafka, Patience, Record};
use serde_json::{Value, json};

use crate::plant::Plant;

/// The records of line 1 whose event is no initial one.
fn live(records: &[Record]) -> Vec<Record> {
    let of_line_1 = |record: &&Record| {
        record
            .key
            .as_deref()
            .is_some_and(|key| key.ends_with("/line1/filler"))
    };
    let is_live = |record: &&Record| {
        record
            .header("ce_emission")
            .is_ok_and(|emission| emission == "live")
    };
    records
        .iter()
        .filter(of_line_1)
        .filter(is_live)
        .cloned()
        .collect()
}

#[test]
fn a_work_order_tells_its_way_in_order() -> Result<()> {
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    plant.gateway.start()?;
    let mut reader = plant.reader("work-order")?;
    // Both lines' first values.
    let initial = reader.at_least(2, Patience::Long)?.to_vec();
    let of_line_1 = initial
        .iter()
        .find(|record| record.key.as_deref().is_some_and(|key| key.contains("line1")));
    let found = of_line_1.context("no initial event of line 1")?;
    assert_eq!(found.header("ce_emission")?, "initial");
    assert_eq!(found.json()?["status"], "AllowedToStart");
    assert_eq!(found.json()?["previousStatus"], Value::Null);

    plant.plc.set("Line1.Good", 7)?;
    let mut times = Vec::new();
    for status in [3, 4, 3, 5] {
        times.push(plant.plc.set("Line1.Status", status)?);
    }
    let records = reader
        .until("four changes", Patience::Short, |records| {
            live(records).len() >= 4
        })?
        .to_vec();
    let delivery = Delivery::of(&records)?;
    assert_eq!(delivery.repeated, 0);
    let changes = live(&delivery.accepted);
    let path = format!("acme/{}/filling/line1/filler", plant.site());
    let mut previous = "AllowedToStart".to_owned();
    let mut sequence = String::new();
    let expected = ["Running", "Interrupted", "Running", "Ended"];
    assert_eq!(changes.len(), expected.len());
    for ((change, status), time) in changes.iter().zip(expected).zip(&times) {
        let data = change.json()?;
        assert_eq!(
            (&data["status"], &data["previousStatus"]),
            (&json!(status), &json!(previous))
        );
        assert_eq!(data["workOrderId"], "WO-1");
        assert_eq!(data["runId"], "WO-1/filling/line1/filler/1");
        assert_eq!(data["equipmentPath"], path);
        assert_eq!(data["quantity"]["good"], 7);
        assert_eq!(data["quality"]["class"], "good");
        assert_eq!(data["timeBasis"], "source");
        assert_eq!(data["gap"], Value::Null, "nothing was missed");
        // The server's time has microseconds and an offset; the event's is UTC with a Z.
        let wanted = time.trim_end_matches("+00:00");
        assert!(
            change.header("ce_time")?.starts_with(wanted),
            "{} is not {time}",
            change.header("ce_time")?
        );
        assert_eq!(data["timestamps"]["source"], change.header("ce_time")?);
        assert_eq!(change.key.as_deref(), Some(path.as_str()));
        for (name, value) in [
            ("content-type", "application/json"),
            ("ce_specversion", "1.0"),
            ("ce_type", "io.floorgate.mes.WorkOrderStatusChanged.v1"),
            ("ce_subject", "work-order/WO-1"),
            ("ce_partitionkey", path.as_str()),
            ("ce_correlationid", "WO-1/filling/line1/filler/1"),
            ("ce_emission", "live"),
        ] {
            assert_eq!(change.header(name)?, value, "{name}");
        }
        for name in [
            "ce_id",
            "ce_source",
            "ce_recordedtime",
            "ce_traceparent",
            "floorgate_gateway",
            "floorgate_lane_epoch",
            "floorgate_incarnation",
        ] {
            assert!(!change.header(name)?.is_empty(), "{name}");
        }
        assert!(!change.has_header("floorgate_possible_duplicate"));
        assert_eq!(change.partition, changes[0].partition, "one key, one partition");
        assert!(
            change.header("ce_sequence")? > sequence.as_str(),
            "the sequence rises as text"
        );
        change.header("ce_sequence")?.clone_into(&mut sequence);
        status.clone_into(&mut previous);
    }
    Ok(())
}

#[test]
fn what_is_written_together_is_seen_together() -> Result<()> {
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    plant.gateway.start()?;
    let mut reader = plant.reader("work-order")?;
    reader.at_least(2, Patience::Long)?;
    // The status comes before the number of the new order, with one source time.
    plant
        .plc
        .set_all(&[("Line1.Status", json!(3)), ("Line1.WorkOrderId", json!("WO-2"))])?;
    let records = reader.until("the change", Patience::Short, |records| !live(records).is_empty())?;
    let change = live(records).remove(0);
    assert_eq!(change.json()?["workOrderId"], "WO-2");
    assert_eq!(change.header("ce_subject")?, "work-order/WO-2");
    assert_eq!(change.json()?["runId"], "WO-2/filling/line1/filler/1");
    Ok(())
}

#[test]
fn every_standard_event_reaches_its_topic() -> Result<()> {
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    plant.gateway.start()?;
    plant.reader("equipment-state")?.at_least(2, Patience::Long)?;
    for (node, value) in [
        ("State", json!(6)),
        ("Good", json!(5)),
        ("Good", json!(12)),
        ("Temp", json!(20.9)),
        ("Temp", json!(21.0)),
        ("Alarms", json!(1)),
        ("Alarms", json!(0)),
    ] {
        plant.plc.set(&format!("Line1.{node}"), value)?;
    }

    let read = |entity: &str, count: usize| -> Result<Vec<Record>> {
        let mut reader = plant.reader(entity)?;
        let what = format!("{count} changes of {entity}");
        let records = reader
            .until(&what, Patience::Short, |records| live(records).len() >= count)?
            .to_vec();
        let found = live(&Delivery::of(&records)?.accepted);
        assert_eq!(found.len(), count, "{entity}: {found:#?}");
        Ok(found)
    };
    let state = read("equipment-state", 1)?[0].json()?;
    assert_eq!(
        (&state["model"], &state["state"], &state["category"]),
        (&json!("packml"), &json!("Execute"), &json!("Executing"))
    );
    assert_eq!(state["previousState"], "Idle");

    let counts = read("production-count", 2)?;
    let (first, second) = (counts[0].json()?, counts[1].json()?);
    assert_eq!(
        (&first["delta"], &first["total"], &first["unit"]),
        (&json!(5), &json!(5), &json!("C62"))
    );
    assert_eq!(
        (&second["delta"], &second["total"], &second["kind"]),
        (&json!(7), &json!(12), &json!("good"))
    );

    // 20.9 lies within the deadband of 20.5; 21.0 does not.
    let measured = read("measurement", 1)?[0].json()?;
    assert_eq!(
        (&measured["value"], &measured["unit"], &measured["name"]),
        (&json!(21.0), &json!("CEL"), &json!("temp"))
    );

    let alarms = read("alarm", 2)?;
    let (raised, cleared) = (alarms[0].json()?, alarms[1].json()?);
    assert_eq!(alarms[0].header("ce_type")?, "io.floorgate.mes.AlarmRaised.v1");
    assert_eq!(alarms[1].header("ce_type")?, "io.floorgate.mes.AlarmCleared.v1");
    assert_eq!(
        (&raised["code"], &raised["severity"]),
        (&json!("E-STOP"), &json!(900))
    );
    assert_eq!(raised["occurrenceId"], cleared["occurrenceId"]);
    Ok(())
}

#[test]
fn bad_quality_is_never_shown_as_good() -> Result<()> {
    const BAD_SENSOR_FAILURE: u32 = 0x808C_0000;
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    plant.gateway.start()?;
    let mut reader = plant.reader("measurement")?;
    reader.at_least(2, Patience::Long)?;
    plant
        .plc
        .set_with("Line1.Temp", &json!(99.0), BAD_SENSOR_FAILURE, None)?;
    plant.plc.set("Line1.Temp", 30.0)?;
    let good = |record: &Record| record.json().is_ok_and(|data| data["value"] == 30.0);
    let records = reader.until("the good value", Patience::Short, |records| {
        records.iter().any(good)
    })?;
    let mut bad = 0;
    for record in records {
        let data = record.json()?;
        let is_bad = data["quality"]["class"] == "bad";
        assert!(data["value"] != 99.0 || is_bad, "{data}");
        bad += usize::from(is_bad);
    }
    assert_eq!(bad, 1, "that the sensor failed is told: {records:#?}");
    Ok(())
}

#[test]
fn a_structured_event_is_one_document() -> Result<()> {
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    let settings = plant.settings()?;
    plant.gateway.write(
        "floorgate.yaml",
        &format!("{settings}events: {{encoding: structured}}\n"),
    )?;
    plant.gateway.start()?;
    let mut reader = plant.reader("equipment-state")?;
    reader.at_least(2, Patience::Long)?;
    plant.plc.set("Line1.State", 6)?;
    let records = reader.at_least(3, Patience::Short)?;
    let record = &records[2];
    assert!(
        record
            .header("content-type")?
            .starts_with("application/cloudevents+json"),
        "{}",
        record.header("content-type")?
    );
    assert!(!record.has_header("ce_type"));
    // How it is delivered is said beside the event in both modes.
    assert!(record.has_header("floorgate_lane_sequence"));
    let event = record.json()?;
    for (name, value) in [
        ("specversion", "1.0"),
        ("type", "io.floorgate.mes.EquipmentStateChanged.v1"),
        ("emission", "live"),
        ("datacontenttype", "application/json"),
    ] {
        assert_eq!(event[name], value, "{name}");
    }
    let path = format!("acme/{}/filling/line1/filler", plant.site());
    assert_eq!(event["partitionkey"], path.as_str());
    assert_eq!(record.key.as_deref(), Some(path.as_str()));
    assert_eq!(event["data"]["state"], "Execute");
    assert_eq!(event["data"]["previousState"], "Idle");
    for name in [
        "id",
        "source",
        "subject",
        "time",
        "recordedtime",
        "sequence",
        "traceparent",
    ] {
        assert!(event[name].is_string(), "{name} in {event}");
    }
    Ok(())
}
