//! What a server made of the settings of each tag, and of the session: shown beside what was asked for, over a reload and a restart.

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Folder, Gateway, Kafka, Patience, until};
use serde_json::{Value, json};

use crate::plant::{settings, unique_site};
use crate::takeover::simulator;

const MAPPING: &str = r#"
mapping: counters
source: plc
equipment: acme/{site}/load/cell1/counter
tags:
  seldom: {node: "nsu=urn:floorgate:filling-hall;s=Load.T000000", sampling_interval: 1s, queue_size: 200000, counter: {width: 32}}
  often: {node: "nsu=urn:floorgate:filling-hall;s=Load.T000001", counter: {width: 32}}
  parts: {source: drive, holding: 100, type: u16}
events:
  - {type: ProductionCountRecorded, trigger: seldom, kind: good}
  - {type: ProductionCountRecorded, trigger: often, kind: total}
  - {type: PartsSeen, trigger: parts, data: {parts: parts}}
"#;

/// Its tags come before those of the others: a reload that adds it gives these other numbers.
const EARLIER: &str = r"
mapping: a-drive
source: drive
equipment: acme/{site}/load/cell1/drive
tags:
  speed: {holding: 101, type: u16}
events:
  - {type: SpeedSeen, trigger: speed, data: {speed: speed}}
";

/// What a command of the gateway prints.
fn print(gateway: &Gateway, words: &[&str]) -> Result<String> {
    let output = gateway.command(words)?.output()?;
    let problem = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{words:?}: {problem}");
    Ok(String::from_utf8(output.stdout)?)
}

/// The settings of each tag of the counters by its name, which `/tags` and `floorgate tags --json` have alike.
fn told(gateway: &Gateway) -> Result<Vec<(String, Value)>> {
    let page: Value = serde_json::from_str(&gateway.get("/tags/counters/*")?.body)?;
    let rows = page["tags"].as_array().context("no tags")?.clone();
    let printed = print(gateway, &["tags", "counters/*", "--json"])?;
    let printed = printed.lines().map(serde_json::from_str::<Value>);
    let printed = printed.collect::<Result<Vec<Value>, _>>()?;
    let settings = |rows: Vec<Value>| -> Vec<(String, Value)> {
        let each = rows.iter();
        each.map(|row| {
            (
                row["tag"].as_str().unwrap_or_default().to_owned(),
                row["settings"].clone(),
            )
        })
        .collect()
    };
    let (rows, printed) = (settings(rows), settings(printed));
    ensure!(rows == printed, "{rows:?} and {printed:?}");
    Ok(rows)
}

fn until_told(gateway: &Gateway, wanted: &[(String, Value)]) -> Result<()> {
    let mut last = Vec::new();
    until("the settings of all tags", Patience::Long, || {
        // In between the one may be told and the other not.
        last = told(gateway).unwrap_or_default();
        Ok((last == wanted).then_some(()))
    })
    .with_context(|| format!("{last:#?}"))
}

#[test]
fn the_settings_of_each_tag_are_told_as_asked_and_as_revised() -> Result<()> {
    let folder = Folder::new("plant")?;
    let (_plant, url) = simulator(&folder, 2, 20)?;
    let site = unique_site();
    let sources = format!(
        "adapter: opcua\n    endpoint: {url}\n    trust_any_server_certificate: true\n    \
         login: {{user: demo, password_file: password}}\n    \
         publishing_interval: 10ms\n    sampling_interval: 0ms\n    queue_size: 50\n    session_timeout: 20m\n  \
         drive:\n    adapter: modbus\n    connect: tcp://127.0.0.1:9"
    );
    let mapping = MAPPING.replace("{site}", &site);
    let mut gateway = Gateway::new(
        &settings(&site, &Kafka::shared()?.bootstrap(), &sources),
        &[("counters.yaml", &mapping)],
    )?;
    gateway.write("password", "filling-hall")?;
    gateway.start()?;

    let both = |asked: f64, revised: f64| json!({"asked": asked, "revised": revised});
    let of = |sampling: Value, queue: Value| json!({"publishing_interval": both(0.01, 0.01), "sampling_interval": sampling, "queue_size": queue});
    let wanted = [
        ("counters/often", of(both(0.0, 0.0), both(50.0, 50.0))),
        // Of registers nothing is revised.
        ("counters/parts", Value::Null),
        ("counters/seldom", of(both(1.0, 1.0), both(200_000.0, 100_000.0))),
    ];
    let wanted = wanted.map(|(tag, settings)| (tag.to_owned(), settings));
    until_told(&gateway, &wanted)?;
    let table = print(&gateway, &["tags"])?;
    let line = |tag: &str| {
        table
            .lines()
            .find(|line| line.starts_with(tag))
            .unwrap_or_default()
    };
    assert!(
        line("counters/seldom").ends_with("a queue of 100000, not 200000 (see opcua-intervals-revised)"),
        "{table}"
    );
    assert!(line("counters/often").contains("plc"), "{table}");
    assert!(!line("counters/often").contains(", not "), "{table}");

    let source: Value = serde_json::from_str(print(&gateway, &["sources", "plc", "--json"])?.trim())?;
    assert_eq!(source["settings"]["session_timeout"], both(1200.0, 600.0));
    let warned = "the server keeps a session for 600 s without a request, not for 1200 s";
    assert!(gateway.output()?.contains(warned));

    // The source runs on, and its tags have other numbers in the plan.
    let earlier = EARLIER.replace("{site}", &site);
    gateway.write("mappings/a-drive.yaml", &earlier)?;
    gateway.reload()?;
    gateway.wait_for_metric("floorgate_reloads_total{result=\"ok\"}", 1.0.., Patience::Long)?;
    assert_eq!(told(&gateway)?, wanted);
    assert_eq!(
        gateway.metric("floorgate_source_connects_total{source=\"plc\"}")?,
        Some(1.0)
    );

    // The next process asks for no item: what was made of it is stored with the subscription.
    let (status, _) = gateway.stop()?;
    ensure!(status.success(), "{status}");
    let before = gateway.output()?.len();
    gateway.start()?;
    until_told(&gateway, &wanted)?;
    let output = gateway.output()?.split_off(before);
    assert!(output.contains("took over a subscription"), "{output}");
    assert!(!output.contains("made a subscription"), "{output}");
    Ok(())
}
