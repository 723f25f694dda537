//! `floorgate browse` against a real server: what it writes runs as it stands, and what it could not see is said.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Check, Gateway, Kafka, OpcUaOptions, OpcUaPeer, Patience, Process, Reader, until};
use serde_json::Value;

use crate::plant::{NO_SECURITY, settings, topic, unique_site};

/// Ends at a closed port: nothing listens on it.
const NOBODY: &str = "opc.tcp://127.0.0.1:1/";

/// A gateway whose source is the server, without mappings.
fn gateway(plc: &OpcUaPeer, site: &str, bootstrap: &str, special: &str) -> Result<Gateway> {
    let source = format!(
        "adapter: opcua\n    endpoint: {}\n    {special}\n    publishing_interval: 10ms\n    sampling_interval: 0ms",
        plc.url()
    );
    let gateway = Gateway::new(&settings(site, bootstrap, &source), &[])?;
    std::fs::create_dir_all(gateway.folder().join("mappings"))?;
    Ok(gateway)
}

/// Runs a command to its end.
fn run(mut command: Command) -> Result<(Check, String)> {
    let output = command.output()?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8(output.stdout)?;
    Ok((
        Check {
            code: output.status.code(),
            output: errors,
        },
        text,
    ))
}

fn file(gateway: &Gateway, name: &str) -> Result<String> {
    let path = gateway.folder().join("mappings").join(name);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

fn checks(gateway: &Gateway) -> Result<()> {
    let check = gateway.check()?;
    ensure!(
        check.code == Some(0) && check.output.contains("no errors"),
        "{}",
        check.output
    );
    Ok(())
}

/// From a server that nobody has configured to events of it in Kafka.
#[test]
fn what_is_found_is_checked_and_told() -> Result<()> {
    let kafka = Kafka::shared()?;
    let site = unique_site();
    let mut plc = OpcUaPeer::start(OpcUaOptions::default())?;
    plc.add_hall()?;
    let mut gateway = gateway(&plc, &site, &kafka.bootstrap(), NO_SECURITY)?;
    let equipment = format!("acme/{site}/filling");
    let words = [
        "browse",
        "--source",
        "plc",
        "--equipment",
        &equipment,
        "--output",
        "mappings/plc.yaml",
    ];
    let (said, printed) = run(gateway.command(&words)?)?;
    assert_eq!((said.code, printed.as_str()), (Some(0), ""), "{}", said.output);
    assert!(
        said.output.contains(
            "1 templates with 3 instances, 7 events, 3 of them by companion specifications; 3 could not"
        ),
        "{}",
        said.output
    );
    assert!(
        said.output
            .contains("Hall/Line1/Filler/Secret: BadUserAccessDenied"),
        "{}",
        said.output
    );
    let lines = file(&gateway, "plc.yaml")?;
    for expected in [
        "\nfor_each: {line: 1..3}\n",
        "Could not be looked at (3):\n#   Hall/Line1/Filler/Secret: BadUserAccessDenied",
        "s=Line{line}.Filler.Temperature\", unit: CEL, range: [0, 150]}  # of the bowl",
        "      0: Closed\n      1: Open\n      2: Moving\n",
        "  - {type: EquipmentStateChanged, trigger: state, data: {blocked: blocked}}\n",
        "  # recipe:",
    ] {
        assert!(lines.contains(expected), "{expected:?} is not in\n{lines}");
    }
    assert!(!lines.contains("Line1.Filler.Secret"), "{lines}");
    checks(&gateway)?;

    gateway.start()?;
    let of = |reader: &mut Reader, what: &str, is: &dyn Fn(&Value) -> bool| -> Result<Value> {
        let records = reader.until(what, Patience::Long, |records| {
            records
                .iter()
                .any(|record| record.json().is_ok_and(|data| is(&data)))
        })?;
        let found = records.iter().filter_map(|record| record.json().ok()).find(is);
        found.context("it was there")
    };
    let mut measurements = Reader::new(&kafka.bootstrap(), &topic(&site, "measurement"))?;
    of(&mut measurements, "the first temperature", &|data| {
        data["value"] == 21.5
    })?;
    plc.set("Line2.Filler.Temperature", 42.5)?;
    let told = of(&mut measurements, "the new temperature", &|data| {
        data["value"] == 42.5
    })?;
    assert_eq!(
        (&told["name"], &told["unit"]),
        (&"temperature".into(), &"CEL".into()),
        "{told}"
    );
    assert_eq!(told["equipmentPath"], format!("acme/{site}/filling/Line2"));
    let mut states = Reader::new(&kafka.bootstrap(), &topic(&site, "equipment-state"))?;
    plc.set("Line3.Filler.Status.StateCurrent", 6)?;
    let told = of(&mut states, "the state of a line", &|data| {
        data["state"] == "Execute"
    })?;
    assert_eq!(
        (&told["model"], &told["blocked"]),
        (&"packml".into(), &false.into()),
        "{told}"
    );
    let told = of(&mut states, "the state of the robot", &|data| {
        data["model"] == "machinery"
    })?;
    assert_eq!(
        (&told["state"], &told["category"]),
        (&"Executing".into(), &"Executing".into()),
        "{told}"
    );
    assert_eq!(told["equipmentPath"], format!("acme/{site}/filling/Robot"));
    Ok(())
}

#[test]
fn only_what_is_asked_for_is_looked_at_and_nothing_is_written_over() -> Result<()> {
    let mut plc = OpcUaPeer::start(OpcUaOptions::default())?;
    plc.add_hall()?;
    let gateway = gateway(&plc, "site", "127.0.0.1:1", NO_SECURITY)?;
    let url = plc.url();
    let look = |words: &[&str]| -> Result<Value> {
        let all = [&["browse", &url, "--security-policy", "none", "--json"], words].concat();
        let (said, printed) = run(gateway.command(&all)?)?;
        ensure!(said.code == Some(0), "{}", said.output);
        Ok(serde_json::from_str(&printed)?)
    };
    let paths = |found: &Value| -> Vec<String> {
        let names = |point: &Value| {
            let path = point["path"].as_array().into_iter().flatten();
            path.filter_map(Value::as_str).collect::<Vec<_>>().join("/")
        };
        found["points"]
            .as_array()
            .into_iter()
            .flatten()
            .map(names)
            .collect()
    };
    let all = look(&[])?;
    assert_eq!(paths(&all).len(), 25, "{all}");
    assert_eq!(
        (&all["partial"], &all["missed"][0]),
        (
            &false.into(),
            &"Hall/Line1/Filler/Secret: BadUserAccessDenied".into()
        )
    );
    assert_eq!(
        paths(&look(&["--path", "Objects/Hall/Line2", "--depth", "1"])?),
        ["Speed"]
    );
    let address = OpcUaPeer::address("Line3.Filler");
    assert_eq!(
        paths(&look(&["--path", &address, "--include", "*", "--exclude", "R*"])?),
        ["Temperature", "Door"]
    );
    let temperatures = paths(&look(&[
        "--include",
        "**/Temperature",
        "--exclude",
        "Hall/Line1",
    ])?);
    assert_eq!(
        temperatures,
        ["Hall/Line2/Filler/Temperature", "Hall/Line3/Filler/Temperature"]
    );
    plc.limit_requests(5)?;
    assert_eq!(
        look(&[])?["points"],
        all["points"],
        "requests that are refused are halved"
    );
    let ended = look(&["--most-nodes", "7"])?;
    assert_eq!(ended["partial"], true, "{ended}");

    let (said, _) = run(gateway.command(&[
        "browse",
        &url,
        "--security-policy",
        "none",
        "--path",
        "Hall/Line9",
    ])?)?;
    assert_eq!(said.code, Some(1));
    assert!(
        said.output
            .contains("there is no `Line9` in `Hall`; it has `Line1`, `Line2`, `Line3`"),
        "{}",
        said.output
    );
    gateway.write("mappings/plc.yaml", "mine")?;
    let (said, _) = run(gateway.command(&["browse", NOBODY, "--output", "mappings/plc.yaml"])?)?;
    assert_eq!(said.code, Some(1));
    assert!(
        said.output.contains("mappings/plc.yaml is there already"),
        "{}",
        said.output
    );
    assert_eq!(file(&gateway, "plc.yaml")?, "mine");
    let (said, _) = run(gateway.command(&["browse", NOBODY, "--output", "mappings/plc.yaml/plc.yaml"])?)?;
    assert!(
        said.output.contains("folder mappings/plc.yaml cannot be made"),
        "{}",
        said.output
    );
    Ok(())
}

#[test]
fn who_the_server_is_and_who_asks_is_proved() -> Result<()> {
    let mut plc = OpcUaPeer::start(OpcUaOptions {
        policies: vec!["Basic256Sha256-SignAndEncrypt"],
        user: Some(("walker", "right")),
        ..OpcUaOptions::default()
    })?;
    plc.add_hall()?;
    let gateway = gateway(&plc, "site", "127.0.0.1:1", "request_timeout: 4s")?;
    let url = plc.url();
    gateway.write("password", "right\n")?;
    gateway.write("wrong", "guessed\n")?;
    let look = |password: &str, more: &[&str]| -> Result<(Check, String)> {
        let user = ["browse", &url, "--user", "walker", "--password-file", password];
        run(gateway.command(&[&user[..], more].concat())?)
    };
    let (said, printed) = look("password", &[])?;
    assert_eq!((said.code, printed.as_str()), (Some(1), ""), "{}", said.output);
    assert!(
        said.output.contains("is not trusted: compare the thumbprint")
            && said
                .output
                .trim_end()
                .ends_with(" (see opcua-server-not-trusted)"),
        "{}",
        said.output
    );
    let thumbprint = said
        .output
        .split("--trust ")
        .nth(1)
        .and_then(|rest| rest.split([',', ';', ' ']).next());
    let thumbprint = thumbprint.context("no thumbprint")?.trim().to_owned();
    assert!(
        said.output
            .contains(&format!("floorgate pki trust {thumbprint} --config ")),
        "{}",
        said.output
    );

    // Once is once: the next look is refused again.
    let (said, printed) = look("password", &["--trust", &thumbprint])?;
    assert_eq!(said.code, Some(0), "{}", said.output);
    assert!(
        printed.contains("#       login: {user: walker, password_file: password}\n"),
        "{printed}"
    );
    assert!(
        !printed.contains("security:"),
        "the usual security is not written\n{printed}"
    );
    let (said, _) = look("password", &["--trust", "0000"])?;
    assert_eq!(said.code, Some(1), "{}", said.output);
    let (said, _) = run(gateway.command(&["pki", "trust", "0000"])?)?;
    assert_eq!(said.code, Some(1), "{}", said.output);
    assert!(
        said.output
            .trim_end()
            .ends_with(" (see opcua-certificate-not-taken)"),
        "{}",
        said.output
    );
    let (said, _) = run(gateway.command(&["pki", "trust", &thumbprint])?)?;
    assert_eq!(said.code, Some(0), "{}", said.output);
    let (said, _) = look("password", &[])?;
    assert_eq!(said.code, Some(0), "{}", said.output);

    let (said, printed) = look("wrong", &[])?;
    assert_eq!((said.code, printed.as_str()), (Some(1), ""), "{}", said.output);
    assert!(
        (said.output.contains("BadUserAccessDenied") || said.output.contains("BadIdentityToken"))
            && said.output.trim_end().ends_with(" (see opcua-login-refused)"),
        "{}",
        said.output
    );
    assert!(!said.output.contains("guessed"), "{}", said.output);
    let (said, _) = look("password", &["--security-policy", "none"])?;
    assert_eq!(said.code, Some(3), "{}", said.output);
    assert!(said.output.contains("send_password_in_clear"), "{}", said.output);
    let (said, _) = run(gateway.command(&["browse", NOBODY])?)?;
    assert_eq!(said.code, Some(1));
    assert!(
        said.output.contains("does not answer")
            && said.output.contains("Connection refused")
            && said
                .output
                .trim_end()
                .ends_with(" (see opcua-server-unreachable)"),
        "{}",
        said.output
    );
    Ok(())
}

/// Ctrl-C in the middle: what was read by then is a mapping that checks.
#[test]
fn an_interrupted_look_keeps_what_it_found() -> Result<()> {
    let mut plc = OpcUaPeer::start(OpcUaOptions::default())?;
    plc.add_machines(50, 20)?;
    let gateway = gateway(&plc, "site", "127.0.0.1:1", NO_SECURITY)?;
    // The top, the hall and its machines, and four of the five requests for the values.
    plc.hold_browse(7)?;
    let command = gateway.command(&["browse", "--source", "plc", "--output", "mappings/plc.yaml"])?;
    let mut process = Process::start("browse", &command, &gateway.folder().join("browse.log"))?;
    until("a request that waits", Patience::Short, || {
        Ok((plc.holding_browse()? > 0).then_some(()))
    })?;
    process.interrupt()?;
    let status = process.wait(Patience::Short.duration())?;
    let output = process.output()?;
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(output.contains("ended before all was seen"), "{output}");
    let mapping = file(&gateway, "plc.yaml")?;
    assert!(
        mapping.contains("THE LOOK WAS ENDED BEFORE ALL WAS SEEN"),
        "{mapping}"
    );
    assert!(
        mapping.contains("# Could not be looked at")
            && mapping.contains("nodes were found, and not what is below them"),
        "{mapping}"
    );
    assert!(
        mapping.contains("for_each: {machine: [\"0000\", \"0001\","),
        "{mapping}"
    );
    assert_eq!(mapping.matches("range: [0, 100]").count(), 20, "{mapping}");
    checks(&gateway)
}
