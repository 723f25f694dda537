//! Start and stop of the plant and of the program.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Command, Stdio},
};

use floorgate_simulator::{Load, LoadValue, Options, Plant, PlantError};

use crate::client::{Client, Directory, LINE_TAGS, modbus, plain};

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_plant_frees_its_ports() {
    let plant = Plant::start(plain()).await.expect("a plant");
    let (opcua, modbus_address) = (plant.opcua_address(), plant.modbus_address());
    let client = Client::plain(&plant, "stop").await;
    let _received = client.subscribe(&["Line1.Status".to_owned()]).await;
    let _unit = modbus(modbus_address, 1).await;

    let taken = Plant::start(Options {
        opcua_port: opcua.port(),
        ..plain()
    })
    .await;
    assert!(
        matches!(
            taken,
            Err(PlantError::Listen {
                protocol: "opc ua",
                ..
            })
        ),
        "{taken:?}"
    );
    plant.stop().await.expect("a clean stop");

    let again = Options {
        opcua_port: opcua.port(),
        modbus_port: modbus_address.port(),
        ..plain()
    };
    Plant::start(again)
        .await
        .expect("the ports are free")
        .stop()
        .await
        .expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_out_of_range_are_named() {
    let load = |tags| {
        Some(Load {
            tags,
            rate: 1.0,
            value: LoadValue::Int64,
        })
    };
    for (options, name) in [
        (
            Options {
                rate: f64::NAN,
                ..plain()
            },
            "rate",
        ),
        (
            Options {
                conveyors: 100,
                ..plain()
            },
            "conveyors",
        ),
        (
            Options {
                load: load(0),
                ..plain()
            },
            "load",
        ),
        (
            Options {
                modbus_load: load(16_385),
                ..plain()
            },
            "modbus load",
        ),
    ] {
        match Plant::start(options).await {
            Err(PlantError::Option { name: wrong, .. }) => assert_eq!(wrong, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn the_program_tells_its_endpoints_journals_and_stops_on_sigterm() {
    let directory = Directory::new("program");
    let journal = directory.0.join("journal.jsonl");
    let mut program = Command::new(env!("CARGO_BIN_EXE_floorgate-simulator"))
        .args([
            "--opcua-port",
            "0",
            "--modbus-port",
            "0",
            "--no-encryption",
            "--rate",
            "50",
            "--for",
            "60s",
        ])
        .arg("--journal")
        .arg(&journal)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut output = BufReader::new(program.stdout.take().expect("its output"));
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    let ready: serde_json::Value = serde_json::from_str(&line).expect("json");
    assert!(
        ready["opcua"]
            .as_str()
            .is_some_and(|url| url.starts_with("opc.tcp://127.0.0.1:")),
        "{ready}"
    );
    assert!(
        ready["modbus"]
            .as_str()
            .is_some_and(|address| address.parse::<SocketAddr>().is_ok()),
        "{ready}"
    );

    let killed = Command::new("kill")
        .args(["-TERM", &program.id().to_string()])
        .status()
        .expect("kill");
    assert!(killed.success());
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("the rest");
    assert!(program.wait().expect("an end").success());
    let totals: serde_json::Value = serde_json::from_str(&rest).expect("json");
    let records = std::fs::read_to_string(&journal).expect("the journal");
    let records: Vec<serde_json::Value> = records
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record"))
        .collect();
    let (start, changes): (Vec<_>, Vec<_>) = records.iter().partition(|record| record["old"].is_null());
    assert_eq!(
        start.len(),
        6 * LINE_TAGS.len() + 2 * 5,
        "every tag's value at the start"
    );
    assert_eq!(
        Some(changes.len() as u64),
        totals["changes"].as_u64(),
        "the journal has what was counted"
    );
}
