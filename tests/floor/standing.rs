//! How sources and tags stand: the table, `/status`, and what is told as late.

use anyhow::{Context, Result};
use floorgate_tests::{
    Framing, Gateway, Kafka, ModbusPeer, OpcUaOptions, OpcUaPeer, Patience, Process, Reader, Record, Table,
    peer_command, until,
};
use serde_json::{Value, json};

use crate::plant::{NO_SECURITY, settings, topic, unique_site};

const MAPPING: &str = r#"
mapping: hall
source: plc
equipment: acme/{site}/filling/line1/filler
tags:
  speed: {node: "nsu=urn:floorgate:test:plant;s=Line1.Speed", unit: MTS}
  total: {source: drive, holding: 100, type: u16, counter: {width: 16}, late_after: 2s}
events:
  - {type: MeasurementRecorded, trigger: speed}
  - {type: ProductionCountRecorded, trigger: total, kind: total}
"#;

/// A gateway that reads a PLC over OPC UA and a drive over Modbus.
struct Hall {
    gateway: Gateway,
    plc: OpcUaPeer,
    drive: ModbusPeer,
    site: String,
}

impl Hall {
    fn start() -> Result<Self> {
        Self::late_after("1h")
    }

    /// Both sources are late when nothing good comes of them for so long.
    fn late_after(late_after: &str) -> Result<Self> {
        let mut plc = OpcUaPeer::start(OpcUaOptions::default())?;
        plc.add("Line1.Speed", "Double", 1.5)?;
        let mut drive = ModbusPeer::start(Framing::Tcp, &[1])?;
        drive.set_registers(1, Table::Holding, 100, &[7])?;
        let site = unique_site();
        let sources = format!(
            "adapter: opcua\n    endpoint: {}\n    queue_size: 20\n    {NO_SECURITY}\n    late_after: {late_after}\n  drive:\n    adapter: modbus\n    \
             connect: tcp://127.0.0.1:{}\n    poll_interval: 20ms\n    backoff_max: 1s\n    late_after: {late_after}",
            plc.url(),
            drive.port()
        );
        let mut gateway = Gateway::new(
            &settings(&site, &Kafka::shared()?.bootstrap(), &sources),
            &[("hall.yaml", &MAPPING.replace("{site}", &site))],
        )?;
        gateway.start()?;
        Ok(Self {
            gateway,
            plc,
            drive,
            site,
        })
    }

    /// What a command of the gateway prints.
    fn print(&self, words: &[&str]) -> Result<String> {
        let output = self.gateway.command(words)?.output()?;
        let text = String::from_utf8(output.stdout)?;
        let problem = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{words:?}: {text}{problem}");
        Ok(text)
    }

    /// A source as `floorgate sources --json` has it.
    fn source(&self, name: &str) -> Result<Value> {
        let text = self.print(&["sources", name, "--json"])?;
        serde_json::from_str(text.trim()).with_context(|| text.clone())
    }

    /// Waits until a source is as it is to be.
    fn wait_for(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        until(&format!("source {name}: {what}"), Patience::Long, || {
            last = self.source(name)?;
            Ok(is(&last).then(|| last.clone()))
        })
        .with_context(|| last.to_string())
    }
}

/// `/status` has what `floorgate sources` has, and the one tag that is bad by the server's word.
fn status_tells_the_same(hall: &Hall) -> Result<()> {
    let page = hall.gateway.get("/status")?;
    assert_eq!(page.status, 200);
    assert!(page.head.contains("application/json"), "{}", page.head);
    let page: Value = serde_json::from_str(&page.body)?;
    for row in page["sources"].as_array().context("no sources")? {
        let printed = hall.source(row["source"].as_str().unwrap_or_default())?;
        for fact in [
            "adapter",
            "state",
            "since",
            "reason",
            "see",
            "tags",
            "settings",
            "last_connect",
            "late",
        ] {
            assert_eq!(row[fact], printed[fact], "{fact}");
        }
    }
    assert_eq!(page["sources"].as_array().map(Vec::len), Some(2));
    // What is of a source that is away is told by the source.
    let bad = page["bad_tags"].as_array().context("no bad tags")?;
    let [bad] = &bad[..] else {
        anyhow::bail!("{page}");
    };
    assert_eq!(
        [
            &bad["tag"],
            &bad["source"],
            &bad["quality"],
            &bad["reason"],
            &bad["see"]
        ],
        [
            "hall/speed",
            "plc",
            "bad",
            "BadSensorFailure",
            "opcua-value-not-good"
        ]
    );
    Ok(())
}

/// Consumers are told why a source was lost, and where it stands what to do.
fn the_event_tells_what_it_was_lost_for(hall: &Hall) -> Result<()> {
    let bootstrap = Kafka::shared()?.bootstrap();
    let mut reader = Reader::new(&bootstrap, &topic(&hall.site, "source-connection"))?;
    let is_loss = |event: &Value| (&event["source"], &event["state"]) == (&json!("drive"), &json!("Offline"));
    let is_there = |record: &Record| record.json().is_ok_and(|event| is_loss(&event));
    let records = reader.until("the loss", Patience::Long, |records| records.iter().any(is_there))?;
    let losses = records.iter().filter(|record| is_there(record));
    let [event] = &losses.map(Record::json).collect::<Result<Vec<_>>>()?[..] else {
        anyhow::bail!("{records:?}");
    };
    assert!(
        event["reason"].as_str().is_some_and(|reason| !reason.is_empty()),
        "{event}"
    );
    let see = event["see"].as_str().context("no paragraph")?;
    let may_be = ["modbus-connection-closed", "modbus-device-unreachable"];
    assert!(may_be.contains(&see), "{event}");
    Ok(())
}

#[test]
fn the_table_tells_state_reason_and_what_flows_of_each_source() -> Result<()> {
    let mut hall = Hall::start()?;
    let flows = |row: &Value| {
        row["state"] == "online"
            && ["received_bytes_per_s", "sent_bytes_per_s", "requests_per_s"]
                .iter()
                .all(|figure| row["flow"][figure].as_f64().is_some_and(|figure| figure > 0.0))
            && row["flow"]["round_trip_ms"]["p50"].as_f64() > Some(0.0)
    };
    let drive = hall.wait_for("drive", "online, and bytes flow", flows)?;
    assert_eq!((&drive["adapter"], &drive["tags"]), (&json!("modbus"), &json!(1)));
    assert_eq!(
        (&drive["late_after_s"], &drive["late"]),
        (&json!(3600.0), &json!(false))
    );
    let plc = hall.wait_for("plc", "online, and bytes flow", flows)?;
    assert_eq!(plc["reason"], Value::Null);
    assert_eq!(
        plc["settings"]["queue_size"],
        json!({"asked": 20.0, "revised": 20.0})
    );
    hall.wait_for("plc", "its server runs", |row| row["server"]["state"] == 0)?;
    hall.wait_for("drive", "12 bytes sent with each request", |row| {
        let requests = row["total"]["requests"].as_u64();
        row["total"]["sent_bytes"].as_u64() == requests.map(|requests| 12 * requests)
    })?;

    hall.drive.kill();
    // Whatever it was lost for, what keeps it away then is that nobody is there.
    let see = "modbus-device-unreachable";
    let lost = hall.wait_for("drive", "offline", |row| {
        row["state"] == "offline" && row["see"] == see
    })?;
    let reason = lost["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("refused"), "{lost}");
    assert!(lost["since"].as_str() > drive["since"].as_str(), "{lost}");
    assert_eq!(hall.source("plc")?["state"], "online");
    let tag: Value = serde_json::from_str(hall.print(&["tags", "hall/total", "--json"])?.trim())?;
    assert_eq!((&tag["value"], &tag["quality"]), (&Value::Null, &json!("bad")));
    assert_eq!(tag["last_good"]["value"], 7);
    let reason_of_tag = tag["reason"].as_str().unwrap_or_default();
    assert!(reason_of_tag.starts_with("not reached"), "{tag}");
    assert_eq!(tag["see"], "modbus-unit-behind-gateway");
    // OPC 10000-4 §7.39.1: BadSensorFailure.
    hall.plc.set_with("Line1.Speed", &json!(2.5), 0x808C_0000, None)?;
    let mut tags = String::new();
    until("a tag is bad by the server's word", Patience::Long, || {
        tags = hall.print(&["tags"])?;
        Ok(tags.contains("BadSensorFailure").then_some(()))
    })
    .with_context(|| tags.clone())?;
    let line = tags.lines().find(|line| line.starts_with("hall/speed"));
    assert!(
        line.is_some_and(
            |line| line.contains(" plc ") && line.ends_with("BadSensorFailure (see opcua-value-not-good)")
        ),
        "{tags}"
    );
    assert!(hall.print(&["tags"])?.contains("unknown, was 7"));
    let table = hall.print(&["sources"])?;
    let line = table
        .lines()
        .find(|line| line.starts_with("drive"))
        .context("no line")?;
    assert!(
        line.contains("offline") && line.contains(&format!("{reason} (see {see})")),
        "{table}"
    );
    assert!(table.contains("2 sources, 1 not online"), "{table}");

    status_tells_the_same(&hall)?;
    the_event_tells_what_it_was_lost_for(&hall)?;

    hall.plc.kill();
    let lost = hall.wait_for("plc", "its next attempt", |row| {
        row["state"] == "offline" && row["next_attempt"]["pause_s"].as_f64() > Some(0.0)
    })?;
    assert!(
        lost["next_attempt"]["at"].as_str() > lost["since"].as_str(),
        "{lost}"
    );
    hall.drive.resume()?;
    let back = hall.wait_for("drive", "online again", |row| row["state"] == "online")?;
    assert_eq!(
        (&back["reason"], &back["see"], &back["total"]["gaps"]),
        (&Value::Null, &Value::Null, &json!(1))
    );
    Ok(())
}

/// What did not change meanwhile the server does not tell again.
#[test]
fn a_tag_is_bad_with_its_status_also_after_a_connection_that_was_resumed() -> Result<()> {
    let mut hall = Hall::start()?;
    hall.wait_for("plc", "online", |row| row["state"] == "online")?;
    hall.plc.set_with("Line1.Speed", &json!(2.5), 0x808C_0000, None)?;
    let bad = |hall: &Hall| -> Result<Value> {
        let page: Value = serde_json::from_str(&hall.gateway.get("/status")?.body)?;
        Ok(page["bad_tags"].clone())
    };
    let before = until("it is bad", Patience::Long, || {
        let told = bad(&hall)?;
        Ok((told[0]["reason"] == "BadSensorFailure").then_some(told))
    })?;
    hall.plc.drop_connections()?;
    let row = hall.wait_for("plc", "connected again", |row| {
        row["state"] == "online" && row["total"]["connects"] == 2
    })?;
    assert_eq!(row["total"]["gaps"], 0, "it was resumed: {row}");
    assert_eq!(bad(&hall)?, before);
    let all: Value = serde_json::from_str(&hall.gateway.get("/tags/hall/s*")?.body)?;
    let [tag] = &all["tags"].as_array().context("no tags")?[..] else {
        anyhow::bail!("{all}");
    };
    assert_eq!(
        [
            &tag["tag"],
            &tag["source"],
            &tag["quality"],
            &tag["reason"],
            &tag["see"]
        ],
        [
            "hall/speed",
            "plc",
            "bad",
            "BadSensorFailure",
            "opcua-value-not-good"
        ]
    );
    assert_eq!(
        (&tag["value"], &tag["last_good"]["value"], &tag["since"]),
        (&Value::Null, &json!(1.5), &before[0]["since"])
    );
    let all: Value = serde_json::from_str(&hall.gateway.get("/tags")?.body)?;
    let good = &all["tags"][1];
    assert_eq!(
        (&good["tag"], &good["value"], &good["quality"], &good["status"]),
        (&json!("hall/total"), &json!(7), &json!("good"), &json!(0))
    );
    assert_eq!(hall.gateway.get("/tags/[")?.status, 400);
    let tag: Value = serde_json::from_str(hall.print(&["tags", "hall/speed", "--json"])?.trim())?;
    assert_eq!(
        [&tag["quality"], &tag["reason"], &tag["at"]],
        [&json!("bad"), &json!("BadSensorFailure"), &before[0]["since"]]
    );
    Ok(())
}

#[test]
fn a_source_of_which_nothing_good_comes_is_late_and_one_that_answers_is_not() -> Result<()> {
    let mut hall = Hall::late_after("2s")?;
    let late = |source: &str| format!("floorgate_source_late{{source=\"{source}\"}}");
    hall.gateway
        .wait_for_metric(&late("plc"), 1.0..=1.0, Patience::Long)?;
    let row = hall.source("plc")?;
    assert_eq!((&row["state"], &row["late"]), (&json!("late"), &json!(true)));
    assert_eq!(row["since"], row["last_good"]);
    // Its tag has not changed for as long, but each poll is answered.
    hall.gateway
        .wait_for_metric("floorgate_tags_late{source=\"drive\"}", 1.0..=1.0, Patience::Long)?;
    assert_eq!(hall.source("drive")?["late"], false);
    assert_eq!(hall.gateway.metric(&late("drive"))?, Some(0.0));

    hall.plc.set("Line1.Speed", 2.5)?;
    until("the log says that it is late no more", Patience::Long, || {
        let log = hall.gateway.output()?;
        Ok(log.contains("the source is late no more").then_some(()))
    })?;
    let log = hall.gateway.output()?;
    let line = log.lines().find(|line| line.contains("the source is late:"));
    assert!(line.is_some_and(|line| line.contains("plc")), "{log}");
    Ok(())
}

#[test]
fn a_view_that_is_told_to_end_gives_the_terminal_back() -> Result<()> {
    let hall = Hall::start()?;
    for (command, text) in [("tags", "hall/total"), ("sources", "REQUESTS/S")] {
        let watch = hall.gateway.command(&[command, "--watch"])?;
        let output = peer_command("terminal.py")?
            .arg(text)
            .arg(watch.get_program())
            .args(watch.get_args())
            .current_dir(hall.gateway.folder())
            .output()?;
        let told: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let expected = json!({"ended": 0, "taken": true, "given_back": true});
        assert_eq!(told, expected, "{command}");
    }
    Ok(())
}

#[test]
fn a_tag_that_does_not_change_is_late_until_it_does() -> Result<()> {
    let mut hall = Hall::start()?;
    let late = "floorgate_tags_late{source=\"drive\"}";
    hall.gateway.wait_for_metric(late, 1.0..=1.0, Patience::Long)?;
    let row = hall.source("drive")?;
    assert_eq!((&row["late_tags"], &row["state"]), (&json!(1), &json!("online")));
    let page: Value = serde_json::from_str(&hall.gateway.get("/status")?.body)?;
    let told = &page["late_tags"][0];
    assert_eq!((&told["tag"], &told["value"]), (&json!("hall/total"), &json!(7)));
    let tag = |hall: &Hall| -> Result<Value> {
        let text = hall.print(&["tags", "hall/total", "--json"])?;
        Ok(serde_json::from_str(text.trim())?)
    };
    let shown = tag(&hall)?;
    assert_eq!(shown["late_since"], told["since"]);
    assert_eq!(
        (&shown["value"], &shown["quality"]),
        (&json!(7), &json!("good")),
        "it is late and no worse"
    );
    assert!(hall.print(&["tags"])?.contains("late"));
    let log = hall.gateway.output()?;
    assert_eq!(log.matches("the tag is late").count(), 1, "{log}");
    let watch = |words: &[&str]| {
        let log = hall.gateway.folder().join(format!("{}.log", words[0]));
        Process::start(words[0], &hall.gateway.command(words)?, &log)
    };
    let mut tags = watch(&["tags", "*/total", "--watch"])?;
    tags.wait_for_output("hall/total  7  good  late since", Patience::Long)?;
    let mut sources = watch(&["sources", "drive", "--watch", "--json"])?;
    sources.wait_for_output("\"late_tags\":1,", Patience::Long)?;

    hall.drive.set_registers(1, Table::Holding, 100, &[8])?;
    until("the log says that it changes", Patience::Long, || {
        Ok(hall
            .gateway
            .output()?
            .contains("the tag changes again")
            .then_some(()))
    })?;
    hall.gateway.wait_for_metric(late, 0.0..=0.0, Patience::Long)?;
    sources.wait_for_output("\"late_tags\":0,", Patience::Long)?;
    tags.wait_for_output("hall/total  8  good\n", Patience::Long)?;
    // The other one has none of it.
    hall.plc.set("Line1.Speed", 2.5)?;
    assert_eq!(hall.source("plc")?["late_tags"], 0);
    let (status, _) = hall.gateway.stop()?;
    assert!(status.success(), "{status}");
    Ok(())
}

/// Values flow on: the server says that it is not well, and an operator sees that.
#[test]
fn a_server_that_says_that_it_is_not_running_is_told() -> Result<()> {
    let mut hall = Hall::start()?;
    for (state, name) in [(1, "Failed"), (3, "Suspended"), (4, "Shutdown")] {
        hall.plc.say_state(state)?;
        let row = hall.wait_for("plc", name, |row| row["server"]["state"] == state)?;
        assert_eq!(row["state"], "online", "{row}");
        let line = format!("the server's state is {name}, and not Running");
        hall.gateway.process()?.wait_for_output(&line, Patience::Short)?;
        let table = hall.print(&["sources"])?;
        assert!(
            table.contains(&format!("not running, its state is {name}")),
            "{table}"
        );
        let status: Value = serde_json::from_str(&hall.gateway.get("/status")?.body)?;
        assert!(
            status.to_string().contains(&format!("\"state\":{state},")),
            "{status}"
        );
        hall.plc.set("Line1.Speed", f64::from(state))?;
        let tag = ["tags", "hall/speed", "--json"];
        until("the value", Patience::Short, || {
            let tag: Value = serde_json::from_str(hall.print(&tag)?.trim())?;
            let is = (&tag["value"], &tag["quality"]) == (&f64::from(state).into(), &json!("good"));
            Ok(is.then_some(()))
        })?;
    }
    hall.plc.say_state(0)?;
    hall.gateway
        .process()?
        .wait_for_output("the server is running again", Patience::Long)?;
    hall.wait_for("plc", "its server runs", |row| row["server"]["state"] == 0)?;
    assert!(!hall.print(&["sources"])?.contains("not running"));
    Ok(())
}
