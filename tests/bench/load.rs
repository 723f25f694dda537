//! The loads, and one run of a load through the gateway.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Folder, Gateway, Kafka, Patience, Process, binary, free_port, until};
use serde_json::Value;

use crate::consume::Consumer;
use crate::measure::{Run, Timing, Usage};

/// How the plant speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OPC UA, 10 ms publishing.
    OpcUa,
    /// Modbus TCP, 20 ms polling.
    Modbus,
}

/// So many tags that change so often.
#[derive(Debug)]
pub struct Load {
    /// For people and `--only`.
    pub name: &'static str,
    /// How the plant speaks.
    pub protocol: Protocol,
    /// Number of tags.
    pub tags: u32,
    /// Changes a second over all tags.
    pub rate: u32,
    /// The bars: p50 and p99 in milliseconds, CPU in cores, peak memory in MB.
    pub bars: (f64, f64, f64, f64),
}

/// All loads. The bars are those that the gateway promises on two cores.
pub const LOADS: [Load; 5] = [
    Load {
        name: "opcua 1k tags 1k/s",
        protocol: Protocol::OpcUa,
        tags: 1_000,
        rate: 1_000,
        bars: (8.0, 16.0, 0.10, 40.0),
    },
    Load {
        name: "opcua 10k tags 10k/s",
        protocol: Protocol::OpcUa,
        tags: 10_000,
        rate: 10_000,
        bars: (10.0, 30.0, 0.25, 80.0),
    },
    Load {
        name: "opcua 10k tags 30k/s",
        protocol: Protocol::OpcUa,
        tags: 10_000,
        rate: 30_000,
        bars: (15.0, 60.0, 0.50, 110.0),
    },
    Load {
        name: "opcua 100k tags 10k/s",
        protocol: Protocol::OpcUa,
        tags: 100_000,
        rate: 10_000,
        bars: (12.0, 40.0, 0.30, 250.0),
    },
    // One poll and 5 ms; a change waits half a poll on average.
    Load {
        name: "modbus 200 tags 1k/s",
        protocol: Protocol::Modbus,
        tags: 200,
        rate: 1_000,
        bars: (15.0, 25.0, f64::NAN, f64::NAN),
    },
];

/// The plant as a process, and where it is.
pub struct Plant {
    /// The OPC UA server's URL.
    pub url: String,
    modbus: String,
    namespace: String,
    _process: Process,
    // Deleted after the process is gone.
    _folder: Folder,
}

impl Plant {
    /// Starts the simulator with the load.
    pub fn start(load: &Load) -> Result<Self> {
        let folder = Folder::new("plant")?;
        let log = folder.path().join("plant.log");
        let mut command = Command::new(binary("floorgate-simulator")?);
        let what = format!("{}:{}", load.tags, load.rate);
        command.args(["--no-encryption", "--lines", "1", "--conveyors", "1"]);
        command.args([
            "--opcua-port",
            &free_port()?.to_string(),
            "--modbus-port",
            &free_port()?.to_string(),
        ]);
        match load.protocol {
            Protocol::OpcUa => command.args(["--load", &what]),
            // Modbus has no times: the value is the time of the write.
            Protocol::Modbus => command.args(["--modbus-load", &what, "--load-value", "time"]),
        };
        let mut process = Process::start("the plant", &command, &log)?;
        let ready = until("the plant's addresses", Patience::Long, || {
            ensure!(
                process.is_running()?,
                "the plant has ended: {}",
                process.output()?
            );
            let output = process.output()?;
            Ok(output
                .lines()
                .find_map(|line| serde_json::from_str::<Value>(line).ok()))
        })?;
        let text = |name: &str| {
            ready[name]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("no {name}: {ready}"))
        };
        Ok(Self {
            url: text("opcua")?,
            modbus: text("modbus")?,
            namespace: text("namespace")?,
            _process: process,
            _folder: folder,
        })
    }
}

impl Load {
    /// One run: everything is started, warmed up, measured, and stopped.
    pub fn run(&self, kafka: &Kafka, timing: Timing, shipped: bool) -> Result<Run> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let site = format!("bench{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let topic = format!("acme.{site}.mes.measurement.v1");
        let plant = Plant::start(self)?;
        let mut gateway = Gateway::new(
            &self.settings(&site, &kafka.bootstrap(), &plant, shipped),
            &[("load.yaml", &self.mapping(&site, &plant)?)],
        )?;
        kafka.create_topic(&topic, 6)?;
        let mut consumer = Consumer::start(&kafka.bootstrap(), &topic)?;
        gateway.start()?;
        // Every tag has been seen: what follows are changes.
        let first = f64::from(self.tags);
        gateway.wait_for_metric(
            "floorgate_events_total{type=\"MeasurementRecorded\"}",
            first..,
            Patience::Long,
        )?;
        timing.warm_up();
        let pid = gateway.process()?.id();
        consumer.begin()?;
        let before = Usage::of(pid)?;
        timing.measure();
        let after = Usage::of(pid)?;
        let seen = consumer.end()?;
        let cores = (after.cpu_seconds - before.cpu_seconds) / timing.seconds as f64;
        let (status, _) = gateway.stop()?;
        ensure!(status.success(), "the gateway ended with {status}");
        Ok(Run {
            consumed: seen,
            cores,
            peak_mb: after.peak_mb,
        })
    }

    fn settings(&self, site: &str, bootstrap: &str, plant: &Plant, shipped: bool) -> String {
        let source = match (self.protocol, shipped) {
            (Protocol::OpcUa, false) => format!(
                "adapter: opcua\n    endpoint: {}\n    security: {{policy: none, mode: none}}\n    \
                 publishing_interval: 10ms\n    sampling_interval: 0ms",
                plant.url
            ),
            (Protocol::OpcUa, true) => {
                format!(
                    "adapter: opcua\n    endpoint: {}\n    security: {{policy: none, mode: none}}",
                    plant.url
                )
            }
            (Protocol::Modbus, _) => {
                format!(
                    "adapter: modbus\n    connect: tcp://{}\n    unit: 100\n    poll_interval: 20ms",
                    plant.modbus
                )
            }
        };
        format!(
            "gateway: {site}\nstate_dir: \"{{state}}\"\nmappings: [\"mappings/*.yaml\"]\nsources:\n  plc:\n    {source}\n\
             kafka:\n  brokers: [\"{bootstrap}\"]\n  security: {{protocol: plaintext}}\n\
             http: {{listen: \"127.0.0.1:{{http}}\"}}\n"
        )
    }

    /// One instance a tag, so that each tag is a piece of equipment with a key of its own.
    fn mapping(&self, site: &str, plant: &Plant) -> Result<String> {
        let mut text = "mapping: load\nfor_each:\n".to_owned();
        for tag in 0..self.tags {
            match self.protocol {
                Protocol::OpcUa => writeln!(text, "  - {{tag: \"{tag:06}\"}}")?,
                Protocol::Modbus => writeln!(text, "  - {{tag: \"{tag:06}\", register: {}}}", tag * 4)?,
            }
        }
        let address = match self.protocol {
            Protocol::OpcUa => format!("node: \"nsu={};s=Load.T{{tag}}\"", plant.namespace),
            Protocol::Modbus => "input: \"{register}\", type: i64".to_owned(),
        };
        write!(
            text,
            "source: plc\nequipment: acme/{site}/load/line1/t{{tag}}\ntags:\n  value: {{{address}}}\nevents:\n  \
             - {{type: MeasurementRecorded, trigger: value}}\n"
        )?;
        Ok(text)
    }
}
