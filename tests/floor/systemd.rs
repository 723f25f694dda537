//! The unit, in a real systemd: installed by `make install`, started, watched, reloaded, stopped.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use floorgate_tests::{
    Kafka, Listener, Machine, OpcUaOptions, OpcUaPeer, Patience, Process, binary, free_port, peer_command,
    repository, until,
};
use serde_json::json;

use crate::plant::Plant;
use crate::security::plant as protected_plant;

const UNIT: &str = "floorgate.service";
const CONFIG: &str = "/etc/floorgate/floorgate.yaml";

/// Boots a machine and installs the built program there; `None`, and the reason on standard error, where that cannot be done.
/// The continuous integration says that everything has to run, and then it is an error.
fn installed() -> Result<Option<Machine>> {
    if let Some(reason) = Machine::missing() {
        anyhow::ensure!(
            std::env::var_os("TESTS_COMPLETE").is_none(),
            "not tested: {reason}"
        );
        eprintln!("not tested: {reason}");
        return Ok(None);
    }
    let program = binary("floorgate")?.canonicalize()?;
    let machine = Machine::boot(&[program.parent().context("no folder")?.to_owned()])?;
    let root = repository().canonicalize()?.display().to_string();
    machine.text(&[
        "make",
        "-C",
        &root,
        "install",
        &format!("BINARY={}", program.display()),
    ])?;
    Ok(Some(machine))
}

/// What lies in the state folder and belongs to another than the gateway's user.
fn not_the_gateways(machine: &Machine) -> Result<String> {
    machine.text(&["find", "/var/lib/floorgate", "!", "-user", "floorgate"])
}

/// The plant's configuration and mapping, put where the unit expects them.
fn configure(machine: &Machine, plant: &Plant) -> Result<()> {
    let state = plant.gateway.state().display().to_string();
    machine.write(CONFIG, &plant.settings()?.replace(&state, "/var/lib/floorgate"))?;
    let mapping = std::fs::read_to_string(plant.gateway.folder().join("mappings/filling.yaml"))?;
    machine.text(&["rm", "-rf", "/etc/floorgate/mappings"])?;
    machine.write("/etc/floorgate/mappings/filling.yaml", &mapping)
}

#[test]
fn the_installed_service_runs_is_watched_reloads_and_stops() -> Result<()> {
    let Some(machine) = installed()? else {
        return Ok(());
    };
    // The password is root's, and reaches the service as a credential alone.
    let kafka = Kafka::shared_protected()?;
    let (user, password) = Listener::USER;
    let security = format!(
        "protocol: sasl_ssl, ca_file: /etc/floorgate/kafka-ca.pem, mechanism: SCRAM-SHA-512, username: {user}, \
         password_file: credential:kafka-password"
    );
    let mut plant = protected_plant(kafka, Listener::Sasl, &security)?;
    configure(&machine, &plant)?;
    let authority = std::fs::read_to_string(kafka.authority()?.certificate())?;
    machine.write("/etc/floorgate/kafka-ca.pem", &authority)?;
    machine.write(
        "/etc/systemd/system/floorgate.service.d/test.conf",
        "[Service]\nWatchdogSec=3s\nLoadCredential=kafka-password:/etc/floorgate/secrets/kafka-password\n",
    )?;
    machine.write("/etc/floorgate/secrets/kafka-password", password)?;
    machine.text(&["systemctl", "daemon-reload"])?;
    let show = || {
        machine
            .text(&["journalctl", "--no-pager", "-n", "50", "-u", UNIT])
            .unwrap_or_default()
    };
    machine.text(&["systemctl", "start", UNIT]).with_context(show)?;

    // Type=notify: `start` returned because READY=1 was said.
    assert_eq!(machine.property(UNIT, "ActiveState")?, "active");
    let pid = machine.property(UNIT, "MainPID")?;
    assert_eq!(
        machine.text(&["stat", "-c", "%U", &format!("/proc/{pid}")])?,
        "floorgate"
    );
    assert_eq!(
        machine.text(&["stat", "-c", "%U %a", "/var/lib/floorgate"])?,
        "floorgate 700"
    );
    plant
        .reader("equipment-state")?
        .at_least(2, Patience::Long)
        .with_context(show)?;

    // A tool reaches it as its user, and says so where it is another's.
    let program = machine.text(&["sh", "-c", "command -v floorgate"])?;
    let status = [&program, "outbox", "status", "--config", CONFIG];
    let as_user = |user: &str| {
        let words = [
            &["setpriv", "--reuid", user, "--regid", user, "--clear-groups"][..],
            &status[..],
        ]
        .concat();
        machine.run(&words)
    };
    let told = as_user("floorgate")?;
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        text.contains("0 dead letters") && text.contains("kafka: up"),
        "{told:?}"
    );
    let refused = as_user("daemon")?;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && text.contains("floorgate: "),
        "{refused:?}"
    );

    // The watchdog is fed: the moment of the last sign of life moves on.
    let fed = || machine.property(UNIT, "WatchdogTimestampMonotonic");
    let first = fed()?;
    until("two signs of life", Patience::Short, || {
        Ok((fed()? != first).then_some(()))
    })?;
    let second = fed()?;
    until("a third sign of life", Patience::Short, || {
        Ok((fed()? != second).then_some(()))
    })?;

    // A reload with a wrong configuration fails, tells why, and leaves the service as it was.
    let good = machine.text(&["cat", CONFIG])?;
    machine.write(CONFIG, &good.replace("brokers:", "brokres:"))?;
    assert!(!machine.run(&["systemctl", "reload", UNIT])?.status.success());
    assert!(show().contains("brokres"), "{}", show());
    machine.write(CONFIG, &good)?;
    machine.text(&["systemctl", "reload", UNIT])?;
    plant.plc.set("Line1.State", 6)?;
    plant
        .reader("equipment-state")?
        .at_least(3, Patience::Long)
        .with_context(show)?;
    assert_eq!(
        (
            machine.property(UNIT, "MainPID")?,
            machine.property(UNIT, "NRestarts")?
        ),
        (pid, "0".to_owned())
    );

    machine.text(&["systemctl", "stop", UNIT])?;
    assert_eq!(machine.property(UNIT, "Result")?, "success", "{}", show());
    Ok(())
}

#[test]
fn a_crash_is_restarted_and_a_wrong_configuration_is_not() -> Result<()> {
    let Some(machine) = installed()? else {
        return Ok(());
    };
    // Neither broker nor PLC are there: READY does not wait for them.
    let mut plant = Plant::new(&format!("127.0.0.1:{}", free_port()?))?;
    plant.plc.kill();
    configure(&machine, &plant)?;
    machine.text(&["systemctl", "start", UNIT])?;
    machine.text(&["systemctl", "kill", "--signal=KILL", UNIT])?;
    until("the restart", Patience::Short, || {
        let again =
            machine.property(UNIT, "NRestarts")? == "1" && machine.property(UNIT, "ActiveState")? == "active";
        Ok(again.then_some(()))
    })?;
    machine.text(&["systemctl", "stop", UNIT])?;

    machine.write(CONFIG, "gateway: [")?;
    assert!(!machine.run(&["systemctl", "start", UNIT])?.status.success());
    assert_eq!(machine.property(UNIT, "ExecMainStatus")?, "3");
    assert_eq!(
        machine.property(UNIT, "ActiveState")?,
        "failed",
        "no start that waits for its turn"
    );
    Ok(())
}

#[test]
fn the_sample_configuration_is_right_where_it_is_installed() -> Result<()> {
    let Some(machine) = installed()? else {
        return Ok(());
    };
    machine.text(&["floorgate", "check", "--config", CONFIG])?;
    let root = repository().canonicalize()?.display().to_string();
    machine.write(CONFIG, "# the operator's own\n")?;
    machine.write("/var/lib/floorgate/pki/own/cert.der", "made by root before this")?;
    let program = binary("floorgate")?.canonicalize()?;
    machine.text(&[
        "make",
        "-C",
        &root,
        "install",
        &format!("BINARY={}", program.display()),
    ])?;
    assert_eq!(
        machine.text(&["cat", CONFIG])?,
        "# the operator's own",
        "an upgrade leaves the configuration alone"
    );
    assert_eq!(not_the_gateways(&machine)?, "");
    machine.text(&["make", "-C", &root, "uninstall"])?;
    assert!(
        !machine
            .run(&["test", "-e", "/usr/local/bin/floorgate"])?
            .status
            .success()
    );
    assert!(machine.run(&["test", "-e", CONFIG])?.status.success());
    Ok(())
}

/// The Markdown files of a folder and its folders.
fn pages(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            pages(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    Ok(())
}

#[test]
fn each_link_of_an_installed_page_leads_to_what_is_installed() -> Result<()> {
    let folder = floorgate_tests::Folder::new("installed")?;
    let made = Command::new("make")
        .arg("-C")
        .arg(repository().canonicalize()?)
        .args(["--no-print-directory", "install", "PREFIX=/usr"])
        .arg(format!("DESTDIR={}", folder.path().canonicalize()?.display()))
        .arg(format!(
            "BINARY={}",
            binary("floorgate")?.canonicalize()?.display()
        ))
        .output()?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let documents = folder.path().join("usr/share/doc/floorgate");
    let mut found = Vec::new();
    pages(&documents, &mut found)?;
    let (mut links, mut dead) = (0, Vec::new());
    for page in &found {
        let text = std::fs::read_to_string(page)?;
        for rest in text.split("](").skip(1) {
            let (link, _) = rest.split_once(')').context("a link without end")?;
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            links += 1;
            if !page.parent().context("no folder")?.join(target).exists() {
                dead.push(format!("{}: {link}", page.strip_prefix(&documents)?.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
    assert!(
        found.len() > 5 && links > 40,
        "{links} links on {} pages",
        found.len()
    );
    Ok(())
}

/// A section of the README.
fn section(title: &str) -> Result<String> {
    let readme = std::fs::read_to_string(repository().join("README.md"))?;
    let (_, rest) = readme.split_once(title).context("no such section")?;
    Ok(rest.split("\n## ").next().unwrap_or_default().to_owned())
}

/// The blocks of that language in a section of the README, without their indentation.
fn blocks(title: &str, language: &str) -> Result<Vec<String>> {
    let text = section(title)?;
    let fence = format!("```{language}\n");
    Ok(text
        .split(&fence)
        .skip(1)
        .filter_map(|block| Some(block.split_once("```")?.0))
        .map(|block| {
            let lines = block
                .lines()
                .map(|line| line.strip_prefix("   ").unwrap_or(line).to_owned() + "\n");
            lines.collect()
        })
        .collect())
}

/// The lines of a section of the README that are commands of that kind.
fn commands(title: &str, begin: &str) -> Result<Vec<String>> {
    let text = section(title)?;
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with(begin));
    Ok(lines
        .map(|line| line.split(" # ").next().unwrap_or_default().trim().to_owned())
        .collect())
}

/// The README's way from a real PLC to the first event, word by word but for the addresses: the PLC talks encrypted only, the broker by TLS.
#[test]
fn the_way_to_the_first_event_is_as_the_readme_says() -> Result<()> {
    const SECTION: &str = "## From a real PLC";
    let Some(machine) = installed()? else {
        return Ok(());
    };
    let kafka = Kafka::shared_protected()?;
    let broker = kafka.address(Listener::Tls)?;
    let mut plc = OpcUaPeer::start(OpcUaOptions {
        policies: vec!["Basic256Sha256-SignAndEncrypt"],
        ..OpcUaOptions::default()
    })?;
    plc.add("Line1.WorkOrderId", "String", json!("WO-1"))?;
    plc.add("Line1.Status", "Int32", json!(2))?;
    let [settings, mapping] = &blocks(SECTION, "yaml")?[..] else {
        anyhow::bail!("there is another number of YAML blocks");
    };
    let settings = settings
        .replace("opc.tcp://192.168.10.20:4840", &plc.url())
        .replace("kafka.plant.example:9093", &broker);
    let authority = kafka.authority()?.certificate();
    machine.write(
        "/etc/floorgate/kafka-ca.pem",
        &std::fs::read_to_string(&authority)?,
    )?;
    machine.write(
        CONFIG,
        &format!("{settings}  security: {{ca_file: /etc/floorgate/kafka-ca.pem}}\n"),
    )?;
    // There is no `sudo` in the machine.
    let say = |line: &str| {
        let line = line.replace("sudo -u floorgate", "runuser -u floorgate --");
        machine.text(&["sh", "-c", &line])
    };
    // Whoever looks at the PLC first does so as root: what that leaves is the gateway's all the same.
    let browse = "floorgate browse --source filler-plc --config /etc/floorgate/floorgate.yaml --output /etc/floorgate/mappings/filler.yaml";
    assert!(section(SECTION)?.contains(browse));
    let refused = say(browse)
        .err()
        .context("a PLC that is not trusted is looked at")?;
    assert!(format!("{refused:#}").contains("is not trusted"), "{refused:#}");
    let mapping = mapping.replace("urn:plant", OpcUaPeer::NAMESPACE);
    machine.write("/etc/floorgate/mappings/filler.yaml", &mapping)?;
    let checked = machine.text(&["floorgate", "check", "--config", CONFIG])?;
    assert!(
        checked.contains("1 sources, 2 tags, 1 rules, no errors"),
        "{checked}"
    );

    let [init, show, trust] = &commands(SECTION, "sudo -u floorgate floorgate pki ")?[..] else {
        anyhow::bail!("there is another number of commands");
    };
    let [enable] = &commands(SECTION, "systemctl ")?[..] else {
        anyhow::bail!("the service is not started once");
    };
    say(init)?;
    assert_eq!(not_the_gateways(&machine)?, "");
    assert_eq!(
        machine.text(&["stat", "-c", "%U %a", "/var/lib/floorgate"])?,
        "floorgate 700"
    );
    say(enable)?;
    assert_eq!(machine.property(UNIT, "UnitFileState")?, "enabled");
    let journal = || machine.text(&["journalctl", "--no-pager", "-u", UNIT]);
    until("the refusal in the log", Patience::Long, || {
        Ok(journal()?.contains("is not trusted").then_some(()))
    })
    .with_context(|| journal().unwrap_or_default())?;
    let shown = say(show)?;
    let refused = shown
        .lines()
        .find_map(|line| line.strip_prefix("refused   thumbprint  "));
    say(&trust.replace("THUMBPRINT", refused.with_context(|| shown.clone())?))?;

    let code = blocks(SECTION, "python")?.concat();
    let ca = format!("\"ssl.ca.location\": \"{}\", \"group.id\"", authority.display());
    let code = code
        .replace("kafka.plant.example:9093", &broker)
        .replace("\"group.id\"", &ca);
    let folder = floorgate_tests::Folder::new("readme")?;
    let script = folder.write("consumer.py", &code)?;
    let mut command = peer_command(&script.display().to_string())?;
    command.env("PYTHONUNBUFFERED", "1");
    let mut consumer = Process::start("consumer", &command, &folder.path().join("consumer.log"))?;
    consumer
        .wait_for_output("\"status\":\"AllowedToStart\"", Patience::Long)
        .with_context(|| journal().unwrap_or_default())?;
    plc.set("Line1.Status", 3)?;
    consumer.wait_for_output("\"status\":\"Running\"", Patience::Long)?;
    consumer.kill()?;
    machine.text(&["systemctl", "stop", UNIT])?;
    Ok(())
}

/// The hardened unit sees no serial port; with the drop-in it has those of the group.
#[test]
fn serial_ports_are_the_services_with_the_drop_in() -> Result<()> {
    // The kernel's number of an on-board port, of which there is none: who may open it is told that.
    const PORT: &str = "/dev/ttyS9";
    const MAPPING: &str = "mapping: drive\nsource: drive\nequipment: acme/busan/filling/line1/drive\n\
                           tags:\n  power: {holding: 1, type: u16}\nevents:\n  - {type: MeasurementRecorded, trigger: power}\n";
    let Some(machine) = installed()? else {
        return Ok(());
    };
    machine.text(&["mknod", "-m", "660", PORT, "c", "4", "73"])?;
    machine.text(&["chgrp", "dialout", PORT])?;
    let settings = format!(
        "gateway: serial\nstate_dir: /var/lib/floorgate\nmappings: [mappings/drive.yaml]\n\
         sources: {{drive: {{adapter: modbus, connect: \"rtu://{PORT}\"}}}}\n\
         http: {{listen: \"127.0.0.1:{}\"}}\n\
         kafka: {{brokers: [\"127.0.0.1:{}\"], security: {{protocol: plaintext}}}}\n",
        free_port()?,
        free_port()?
    );
    machine.write(CONFIG, &settings)?;
    machine.write("/etc/floorgate/mappings/drive.yaml", MAPPING)?;
    let told = |what: &str| -> Result<()> {
        until(&format!("{what:?} in the journal"), Patience::Short, || {
            let journal = machine.text(&["journalctl", "--no-pager", "-u", UNIT])?;
            Ok(journal.contains(what).then_some(()))
        })
        .with_context(|| {
            machine
                .text(&["journalctl", "--no-pager", "-u", UNIT])
                .unwrap_or_default()
        })
    };
    machine.text(&["systemctl", "start", UNIT])?;
    told("No such file or directory")?;

    let drop_in = "/etc/systemd/system/floorgate.service.d/serial.conf";
    let documents = "/usr/local/share/doc/floorgate/serial.conf";
    machine.text(&["install", "-D", "-m", "0644", documents, drop_in])?;
    machine.text(&["systemctl", "daemon-reload"])?;
    machine.text(&["systemctl", "restart", UNIT])?;
    told("No such device or address")?;
    machine.text(&["systemctl", "stop", UNIT])?;
    Ok(())
}

#[test]
fn the_unit_is_right_and_hardened() -> Result<()> {
    // On systemd's own scale from 0 (safe) to 10. What is left is the network and the machine's files, read-only; and
    // with the drop-in the serial ports.
    const EXPOSURE: f64 = 1.2;
    const EXPOSURE_WITH_PORTS: f64 = 1.6;
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        anyhow::ensure!(
            std::env::var_os("TESTS_COMPLETE").is_none(),
            "there is no systemd-analyze"
        );
        eprintln!("not tested: there is no systemd-analyze");
        return Ok(());
    }
    let folder = floorgate_tests::Folder::new("unit")?;
    let read = |name: &str| std::fs::read_to_string(repository().join("systemd").join(name));
    let unit = read("floorgate.service")?.replace("/usr/local/bin/floorgate", "/bin/true");
    let path = folder.write("floorgate.service", &unit)?;
    let analyze = |words: &[&str]| Command::new("systemd-analyze").args(words).arg(&path).output();
    let exposure = || -> Result<f64> {
        let judged = String::from_utf8(analyze(&["security", "--offline=yes", "--no-pager"])?.stdout)?;
        let (_, level) = judged
            .rsplit_once("exposure level for floorgate.service: ")
            .context("no level")?;
        Ok(level.split_whitespace().next().unwrap_or_default().parse()?)
    };
    let alone = exposure()?;
    assert!(alone <= EXPOSURE, "{alone}");
    folder.write(
        "floorgate.service.d/serial.conf",
        &read("floorgate.service.d/serial.conf")?,
    )?;
    let with_ports = exposure()?;
    assert!(with_ports <= EXPOSURE_WITH_PORTS, "{with_ports}");
    let verified = analyze(&["verify", "--man=no"])?;
    assert!(
        verified.status.success() && verified.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );
    Ok(())
}
