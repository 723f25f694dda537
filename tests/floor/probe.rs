//! `floorgate probe`: what is found in a device that nobody has configured yet.

use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use floorgate_tests::{
    Folder, Framing, Gateway, Kafka, ModbusPeer, Patience, Process, Reader, Table, binary, free_port, until,
};
use serde_json::{Value, json};

use crate::plant::{settings, topic, unique_site};

/// 21.5, 3.14159 and 1450.25 with the low word first, as a meter would have them.
const FLOATS: [u16; 6] = [0x0000, 0x41AC, 0x0FD0, 0x4049, 0x4800, 0x44B5];

/// A meter with holes between its ranges, which answers requests of 20 registers, and one that is plain. Others are silent.
fn meters(framing: Framing) -> Result<ModbusPeer> {
    let devices = vec![
        json!({"unit": 1, "holding": [[0, 99], [200, 249], [1003, 1203]], "input": [[30, 41]], "most": 20}),
        json!({"unit": 7}),
    ];
    // Together longer than one answer, so that more follows.
    let identity = json!({
        "0": "Acme Instruments", "1": "PX-7", "2": "1.4", "4": "Power meter",
        "128": "a".repeat(120), "129": "b".repeat(120), "130": "serial 0815",
    });
    let mut peer = ModbusPeer::with_devices(framing, devices, &identity)?;
    peer.set_registers(1, Table::Holding, 200, &FLOATS)?;
    peer.set_registers(1, Table::Holding, 10, &[0xFFFE, 1, 4_464])?;
    // "WO-1001"
    peer.set_registers(1, Table::Holding, 1100, &[0x574F, 0x2D31, 0x3030, 0x3100])?;
    peer.set_bits(1, Table::Coil, 5, &[true, true, false, true])?;
    Ok(peer)
}

fn url(framing: Framing, port: u16) -> String {
    match framing {
        Framing::Tcp => format!("modbus://127.0.0.1:{port}"),
        other => format!("modbus+{}://127.0.0.1:{port}", other.scheme()),
    }
}

fn command(words: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary("floorgate")?);
    command.arg("probe").args(words).args(["--pace", "0s"]);
    Ok(command)
}

fn probe(words: &[&str]) -> Result<Output> {
    Ok(command(words)?.output()?)
}

fn found(words: &[&str]) -> Result<Value> {
    let output = probe(&[words, &["--json"]].concat())?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A table of a unit that answers.
fn table<'a>(found: &'a Value, unit: usize, name: &str) -> Result<&'a Value> {
    let tables = found["units"][unit]["tables"].as_array().context("no tables")?;
    let is_named = |table: &&Value| table["table"] == name;
    tables.iter().find(is_named).with_context(|| format!("no {name}"))
}

#[test]
fn units_ranges_limits_and_identification_are_found_by_reading_alone() -> Result<()> {
    // pymodbus glues datagrams to one that it was kept from answering, so that none of its units can be silent over UDP.
    for framing in [Framing::Tcp, Framing::Rtu, Framing::Ascii] {
        let mut peer = meters(framing)?;
        let url = url(framing, peer.port());
        let words = [
            url.as_str(),
            "--units",
            "1,2,7",
            "--range",
            "0-2999",
            "--timeout",
            "300ms",
        ];
        let found = found(&words)?;
        let units: Vec<_> = found["units"]
            .as_array()
            .context("no units")?
            .iter()
            .map(|unit| &unit["unit"])
            .collect();
        assert_eq!(units, [1, 7], "{framing:?}");
        assert_eq!(found["silent"][0]["unit"], 2);
        assert_eq!(found["silent"][0]["reason"], "no answer within 300ms");

        let holding = table(&found, 0, "holding")?;
        assert_eq!(
            holding["ranges"],
            json!([{"from": 0, "to": 99}, {"from": 200, "to": 249}, {"from": 1003, "to": 1203}])
        );
        assert_eq!(holding["largest_request"], json!({"count": 20, "exact": true}));
        let input = table(&found, 0, "input")?;
        assert_eq!(input["ranges"], json!([{"from": 30, "to": 41}]));
        assert_eq!(
            input["largest_request"],
            json!({"count": 12, "exact": false}),
            "no more could be tried"
        );
        assert_eq!(table(&found, 0, "coil")?["set"], json!([5, 6, 8]));
        let plain = table(&found, 1, "holding")?;
        assert_eq!(plain["ranges"], json!([{"from": 0, "to": 1999}]));
        assert_eq!(plain["largest_request"], json!({"count": 125, "exact": true}));

        let identity = found["units"][0]["identification"]
            .as_array()
            .context("no identification")?;
        let said: Vec<_> = identity
            .iter()
            .map(|object| (&object["id"], &object["text"]))
            .collect();
        assert_eq!(
            identity[0],
            json!({"id": 0, "name": "vendor name", "text": "Acme Instruments"})
        );
        assert_eq!(said.len(), 7, "{said:?}");
        assert_eq!(
            said[6],
            (&json!(130), &json!("serial 0815")),
            "of the part that followed"
        );

        let time = &found["units"][0]["response_time"];
        let (least, median) = (time["min_ms"].as_f64(), time["median_ms"].as_f64());
        assert!(
            least > Some(0.0) && least <= median && median < Some(300.0),
            "{time}"
        );
        assert_eq!(found["complete"], true);
        let taken = match framing {
            Framing::Tcp => json!({"taken": true}),
            _ => Value::Null,
        };
        assert_eq!(found["second_connection"], taken, "{framing:?}");
        assert_eq!(
            peer.functions()?,
            [1, 2, 3, 4, 24, 43],
            "{framing:?}: it only reads"
        );
        let requests = found["requests"].as_u64().context("no count")?;
        assert!(requests < 1_500, "{requests} requests");
    }
    Ok(())
}

#[test]
fn the_right_value_is_seen_in_every_word_order() -> Result<()> {
    let peer = meters(Framing::Tcp)?;
    let url = url(Framing::Tcp, peer.port());
    let words = [
        url.as_str(),
        "--units",
        "1",
        "--at",
        "holding:200-205",
        "--at",
        "holding:1100-1103",
    ];
    let output = probe(&words)?;
    let page = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(0), "{page}");
    let row = |address: &str| -> Result<Vec<&str>> {
        let row = page
            .lines()
            .find(|line| line.starts_with(address))
            .context(page.clone())?;
        Ok(row.split_whitespace().collect())
    };
    let head = row("ADDRESS")?;
    assert_eq!(
        head,
        [
            "ADDRESS", "HEX", "U16", "I16", "TEXT", "WITH", "NEXT", "ABCD", "CDAB", "BADC", "DCBA"
        ]
    );
    assert_eq!(
        row("200 ")?[..8],
        ["200", "0000", "0", "0", "..", "f32", "2.36e-41", "21.5*"]
    );
    assert_eq!(row("202 ")?[7], "3.14159*");
    assert_eq!(row("204 ")?[7], "1450.25*");
    assert!(
        page.contains("of 5 pairs that are not 0, plausible as f32: ABCD 1, CDAB 3, BADC 0, DCBA 1"),
        "{page}"
    );
    assert!(
        page.contains("text at 1100 of 4 registers, ABCD: \"WO-1001\""),
        "{page}"
    );
    assert!(!page.contains('\u{1b}'), "no colour where nobody looks: {page}");
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let found = found(&words)?;
    let first = &table(&found, 0, "holding")?["registers"][0];
    let float = &first["wide"][0];
    assert_eq!((&first["address"], &float["type"]), (&json!(200), &json!("f32")));
    let order = json!({"word_order": "CDAB", "value": 21.5, "plausible": true});
    assert_eq!(float["orders"][1], order);
    Ok(())
}

#[test]
fn nobody_there_and_what_is_no_address_end_with_a_way_out() -> Result<()> {
    let nobody = format!("modbus://127.0.0.1:{}", free_port()?);
    let peer = meters(Framing::Tcp)?;
    let silent = url(Framing::Tcp, peer.port());
    for (words, code, told, end) in [
        (
            vec![nobody.as_str()],
            1,
            "see that address and port are right",
            " (see modbus-device-unreachable)\n",
        ),
        (
            vec![silent.as_str(), "--units", "3-4", "--timeout", "50ms"],
            1,
            "try --units all",
            " (see modbus-no-answer)\n",
        ),
        (vec!["opc.tcp://plc:4840"], 2, "modbus://HOST[:PORT]", "\n"),
        (
            vec![silent.as_str(), "--at", "200-210"],
            2,
            "holding:100-109",
            "\n",
        ),
        (
            vec![silent.as_str(), "--kinds", "registers"],
            2,
            "holding, input, coil and discrete",
            "\n",
        ),
    ] {
        let output = probe(&words)?;
        let errors = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(code), "{words:?}: {errors}");
        assert!(
            errors.contains(told) && errors.ends_with(end),
            "{words:?}: {errors}"
        );
        assert!(output.stdout.is_empty(), "{words:?}");
    }
    Ok(())
}

#[test]
fn what_was_found_is_kept_where_someone_ends_it() -> Result<()> {
    let mut peer = meters(Framing::Tcp)?;
    // Unit 1 is looked at in no time, and of unit 7 nobody sees the end.
    peer.delay(7, 0.1)?;
    let folder = Folder::new("probe")?;
    let url = url(Framing::Tcp, peer.port());
    let command = command(&[
        &url,
        "--units",
        "1,7",
        "--kinds",
        "holding,input",
        "--step",
        "1",
        "--json",
    ])?;
    let log = folder.path().join("log");
    let mut process = Process::start("floorgate", &command, &log)?;
    until("questions to unit 7", Patience::Long, || {
        Ok((peer.requests_of(7)? > 3).then_some(()))
    })?;
    process.interrupt()?;
    assert_eq!(process.wait(Patience::Short.duration())?.code(), Some(0));
    let said = std::fs::read_to_string(log)?;
    let (json, rest) = said.split_once('\n').context(said.clone())?;
    assert!(rest.contains("ended by Ctrl-C"), "{rest}");
    let found: Value = serde_json::from_str(json)?;
    assert_eq!(found["complete"], false);
    assert_eq!(table(&found, 0, "holding")?["largest_request"]["count"], 20);
    let missed = found["missed"].to_string();
    assert!(
        missed.contains("unit 7: holding 0-9999 was looked at in part only"),
        "{missed}"
    );
    assert!(
        missed.contains("unit 7: input 0-9999 was not looked at any more"),
        "{missed}"
    );
    Ok(())
}

#[test]
fn a_saved_mapping_passes_the_check_and_its_changes_are_on_the_broker() -> Result<()> {
    let mut peer = meters(Framing::Tcp)?;
    peer.set_registers(7, Table::Holding, 3, &[42])?;
    let site = unique_site();
    let bootstrap = Kafka::shared()?.bootstrap();
    let source = format!(
        "adapter: modbus\n    connect: tcp://127.0.0.1:{}\n    poll_interval: 20ms\n    max_registers: 20",
        peer.port()
    );
    let mut gateway = Gateway::new(&settings(&site, &bootstrap, &source), &[])?;
    let path = gateway.config().with_file_name("mappings").join("meter.yaml");
    std::fs::create_dir_all(path.parent().context("a folder")?)?;
    let equipment = format!("acme/{site}/utilities/meters/meter");
    let file = path.to_string_lossy().into_owned();
    let url = url(Framing::Tcp, peer.port());
    let words = [
        url.as_str(),
        "--units",
        "1,7",
        "--range",
        "0-1299",
        "--timeout",
        "300ms",
        "--save",
        &file,
        "--equipment",
        &equipment,
    ];
    let output = probe(&words)?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mapping = std::fs::read_to_string(&path)?;
    let float = mapping.lines().find(|line| line.contains("{holding: 202,"));
    let float = float.with_context(|| mapping.clone())?;
    for part in ["f32", "CDAB", "a guess; or u16 4048", "read: 3.14159"] {
        assert!(float.contains(part), "{part}: {float}");
    }
    assert_eq!(
        probe(&words)?.status.code(),
        Some(1),
        "a file that is there is not written over"
    );

    let check = gateway.check()?;
    assert_eq!(check.code, Some(0), "{}\n{mapping}", check.output);
    gateway.start()?;
    let mut reader = Reader::new(&bootstrap, &topic(&site, "measurement"))?;
    reader.at_least(5, Patience::Long)?;
    // 22.5 is 0x41B40000.
    peer.set_registers(1, Table::Holding, 200, &[0x0000, 0x41B4])?;
    reader.until("the new value", Patience::Long, |records| {
        records
            .iter()
            .any(|record| record.json().is_ok_and(|data| data["value"] == 22.5))
    })?;
    Ok(())
}

#[test]
fn units_that_are_built_alike_become_one_template() -> Result<()> {
    let units = [1, 2, 3];
    let devices = units.iter().map(|unit| json!({"unit": unit})).collect();
    let mut peer = ModbusPeer::with_devices(Framing::Tcp, devices, &json!({}))?;
    for unit in units {
        peer.set_registers(unit, Table::Holding, 200, &FLOATS)?;
    }
    let source = format!("adapter: modbus\n    connect: tcp://127.0.0.1:{}", peer.port());
    let gateway = Gateway::new(&settings("templates", "127.0.0.1:9", &source), &[])?;
    let path = gateway.write("mappings/meter.yaml", "")?;
    std::fs::remove_file(&path)?;
    let file = path.to_string_lossy().into_owned();
    let url = url(Framing::Tcp, peer.port());
    let output = probe(&[&url, "--units", "1-3", "--range", "0-299", "--save", &file])?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mapping = std::fs::read_to_string(&path)?;
    assert!(mapping.contains("for_each: {unit: 1..3}"), "{mapping}");
    assert_eq!(mapping.matches("unit_id: \"{unit}\"").count(), 3, "{mapping}");
    let check = gateway.check()?;
    assert_eq!(check.code, Some(0), "{}\n{mapping}", check.output);
    assert!(check.output.contains("9 tags"), "{}", check.output);
    Ok(())
}

/// Of units that a gateway answers for, one line tells; the folder of the mapping is made.
#[test]
fn units_of_which_nothing_is_readable_are_told_together() -> Result<()> {
    let units: Vec<Value> = (1..=4).map(|unit| json!({"unit": unit})).collect();
    let mut peer = ModbusPeer::with_devices(Framing::Tcp, units, &json!({}))?;
    peer.set_registers(1, Table::Holding, 4, &[7])?;
    for unit in 2..=4 {
        for table in [Table::Holding, Table::Input, Table::Coil, Table::Discrete] {
            peer.exception(unit, table, 4)?;
        }
    }
    let folder = Folder::new("probe")?;
    let file = folder.path().join("new/meter.yaml");
    let url = url(Framing::Tcp, peer.port());
    let saved = file.display().to_string();
    let output = probe(&[&url, "--units", "1-4", "--range", "0-299", "--save", &saved])?;
    let said = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(0), "{said}");
    let together = "units 2-4: they answer, and nothing is readable: exception 04 (server device failure)\n";
    assert!(said.contains(together), "{said}");
    let connections = "requests\nconnections             a second one is taken\n";
    assert!(said.contains(connections), "{said}");
    assert!(
        said.contains("not looked at: units 2-4: holding ") && !said.contains("unit 3"),
        "{said}"
    );
    assert!(file.is_file(), "{said}");
    Ok(())
}
