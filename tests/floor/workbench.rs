//! The README's way from an unknown machine to a proven mapping, command by command as it stands there.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use floorgate_tests::{
    Framing, Kafka, ModbusPeer, OpcUaOptions, OpcUaPeer, Patience, Process, Table, binary, repository, until,
};
use floorgate_tests::{Gateway, Reader};
use serde_json::json;

use crate::plant::{NO_SECURITY, topic, unique_site};

/// The commands of the README's block, without what it says of them.
fn commands() -> Result<Vec<String>> {
    let page = std::fs::read_to_string(repository().join("README.md"))?;
    let (_, section) = page
        .split_once("## From an unknown machine to a proven mapping")
        .context("no such section")?;
    let is_of_commands = |block: &&str| block.starts_with("\nfloorgate ");
    let block = section.split("```").find(is_of_commands).context("no commands")?;
    let without_comment = |line: &str| line.split("  #").next().unwrap_or_default().trim().to_owned();
    Ok(block
        .lines()
        .map(without_comment)
        .filter(|line| !line.is_empty())
        .collect())
}

/// Where the commands run, and what stands for the README's machines.
struct Bench {
    gateway: Gateway,
    plc: OpcUaPeer,
    meter: ModbusPeer,
    site: String,
    /// The id of an event of its own.
    id: String,
}

impl Bench {
    /// What the shell would be told here in place of what the README says.
    fn words(&self, line: &str) -> Vec<String> {
        let equipment = format!("acme/{}/filling", self.site);
        let machine = format!("acme/{}/utilities/power/meter", self.site);
        let line = line
            .replace("opc.tcp://192.168.10.20:4840", &self.plc.url())
            .replace(
                "modbus://192.168.10.21",
                &format!("modbus://127.0.0.1:{}", self.meter.port()),
            )
            .replace("--for 10m", "--for 4s")
            .replace("2f6c1d0e", &self.id);
        let mut words: Vec<String> = line.split_whitespace().skip(1).map(str::to_owned).collect();
        let more: &[&str] = match words.first().map(String::as_str) {
            Some("browse") => &[
                "--security-policy",
                "none",
                "--security-mode",
                "none",
                "--equipment",
                &equipment,
            ],
            // Of a device that somebody knows a little.
            Some("probe") => &[
                "--units",
                "1",
                "--range",
                "0-9",
                "--pace",
                "0s",
                "--equipment",
                &machine,
            ],
            _ => &[],
        };
        words.extend(more.iter().map(|word| (*word).to_owned()));
        words
    }

    fn command(&self, line: &str) -> Result<Command> {
        let mut command = Command::new(binary("floorgate")?);
        command.args(self.words(line)).current_dir(self.gateway.folder());
        command.env("FLOORGATE_CONFIG", self.gateway.config());
        Ok(command)
    }

    fn run(&self, line: &str) -> Result<String> {
        let (line, into) = match line.split_once(" >") {
            Some((line, file)) => (line, Some(file)),
            None => (line, None),
        };
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(line)?.output()?;
        let (told, problem) = (
            String::from_utf8(stdout)?,
            String::from_utf8_lossy(&stderr).into_owned(),
        );
        ensure!(status.success(), "{line}: {status}\n{told}{problem}");
        if let Some(file) = into {
            std::fs::write(self.gateway.folder().join(file), &told)?;
        }
        Ok(format!("{told}{problem}"))
    }
}

fn bench(kafka: &Kafka) -> Result<Bench> {
    let mut plc = OpcUaPeer::start(OpcUaOptions::default())?;
    for line in 1..=2 {
        plc.add(&format!("Line{line}.Temp"), "Double", 20.5)?;
        plc.add(&format!("Line{line}.Good"), "UInt32", 0)?;
    }
    let mut meter = ModbusPeer::with_devices(
        Framing::Tcp,
        vec![json!({"unit": 1, "holding": [[0, 9]]})],
        &json!({}),
    )?;
    // 21.5 with the low word first.
    meter.set_registers(1, Table::Holding, 4, &[0x0000, 0x41AC])?;
    let site = unique_site();
    let settings = format!(
        r#"gateway: {site}
state_dir: "{{state}}"
mappings: ["mappings/filler.yaml", "mappings/conveyor.yaml"]
sources:
  plc:
    adapter: opcua
    endpoint: {}
    {NO_SECURITY}
    publishing_interval: 20ms
  conveyors:
    adapter: modbus
    connect: tcp://127.0.0.1:{}
    poll_interval: 100ms
kafka:
  brokers: ["{}"]
  security: {{protocol: plaintext}}
http: {{listen: "127.0.0.1:{{http}}"}}
"#,
        plc.url(),
        meter.port(),
        kafka.bootstrap()
    );
    let gateway = Gateway::new(&settings, &[])?;
    std::fs::create_dir_all(gateway.folder().join("mappings"))?;
    Ok(Bench {
        gateway,
        plc,
        meter,
        site,
        id: String::new(),
    })
}

fn text(folder: &Path, name: &str) -> Result<String> {
    std::fs::read_to_string(folder.join(name)).context(name.to_owned())
}

#[test]
fn the_way_from_an_unknown_machine_to_a_proven_mapping_is_as_the_readme_says() -> Result<()> {
    let kafka = Kafka::shared()?;
    let mut bench = bench(kafka)?;
    let folder = bench.gateway.folder().to_path_buf();
    let mut done = Vec::new();
    for line in commands()? {
        let line = &*line;
        let name = line.split_whitespace().nth(1).context("no command")?.to_owned();
        match &*name {
            "run" => {
                bench.gateway.start()?;
                Reader::new(&kafka.bootstrap(), &topic(&bench.site, "measurement"))?
                    .at_least(3, Patience::Long)?;
            }
            "sources" => {
                let mut shown = Process::start(&name, &bench.command(line)?, &folder.join("sources.log"))?;
                for source in ["plc  online", "conveyors  online"] {
                    shown.wait_for_output(source, Patience::Long)?;
                }
            }
            "tags" => {
                let mut shown = Process::start(&name, &bench.command(line)?, &folder.join("tags.log"))?;
                bench.plc.count_up("Line1.Good", 1, 100_000, 20)?;
                shown.wait_for_output("good", Patience::Long)?;
            }
            "events" => {
                let mut shown = Process::start(&name, &bench.command(line)?, &folder.join("events.log"))?;
                shown.wait_for_output("MeasurementRecorded", Patience::Long)?;
                let told = bench.run("floorgate events --no-follow --json")?;
                let row: serde_json::Value = serde_json::from_str(told.lines().last().context("no event")?)?;
                bench.id = row["id"].as_str().context("no id")?.to_owned();
            }
            "simulate" if line.contains("new.yaml") => {
                let mapping = text(&folder, "mappings/filler.yaml")?;
                std::fs::write(
                    folder.join("new.yaml"),
                    mapping.replace(".Good\"}", ".Good\", unit: C62}"),
                )?;
                let told = bench.run(line)?;
                ensure!(told.contains("unit"), "{told}");
            }
            "explain" => {
                let id = bench.id.clone();
                let told = until("the event to be explained", Patience::Long, || {
                    let told = bench.run(line)?;
                    Ok(told.contains("offset").then_some(told))
                })?;
                ensure!(told.contains(&id) && told.contains("because"), "{told}");
            }
            "browse" | "probe" | "check" | "record" | "simulate" | "test" | "diff" => {
                let told = bench.run(line)?;
                let expected = match &*name {
                    "check" => "no errors",
                    "record" => " samples in ",
                    "simulate" => "MeasurementRecorded",
                    "test" if line.contains("--coverage") => "passed",
                    "diff" => "consumers see",
                    _ => "",
                };
                ensure!(told.contains(expected), "{line}: {told}");
            }
            other => bail!("the README has a command that nobody runs: {other}"),
        }
        done.push(name);
    }
    ensure!(done.len() == 14, "{done:?}");
    ensure!(
        text(&folder, "mappings/conveyor.yaml")?.contains("f32"),
        "the meter's float"
    );
    Ok(())
}
