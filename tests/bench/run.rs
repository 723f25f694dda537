//! One run of a scenario: the whole way, and the two halves alone.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use floorgate_tests::{Folder, Gateway, Kafka, Process};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use serde::Serialize;

use crate::configuration::{mappings, settings};
use crate::observer::RecordSize;
use crate::plant::{Plant, check};
use crate::scenario::{Access, Scenario};
use crate::stop::Stop;
use crate::watcher::{Watcher, Way};

/// Partitions of the topics: one, as a broker makes them unless it is told otherwise.
const PARTITIONS: i32 = 1;

/// How long the broker is warmed up, besides the seconds before a window: at ten thousand records a second its compiler
/// has then done its work.
const WARM_UP_SECONDS: f64 = 27.0;

/// Size of the floor's records when the whole way is not measured: that of a `MeasurementRecorded`.
const TYPICAL_RECORD: RecordSize = RecordSize {
    value: 520.0,
    headers: 900.0,
    header_count: 15.0,
};

/// What one run has shown.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Plant, gateway, Kafka, consumer; the gateway is the measured process.
    pub gateway: Option<Way>,
    /// Plant and a bare OPC UA client.
    pub opcua: Option<Way>,
    /// A bare producer, Kafka, consumer; the producer is the measured process.
    pub kafka: Option<Way>,
}

/// What all runs share.
pub struct Bench<'a> {
    /// The broker.
    pub kafka: &'a Kafka,
    /// Seconds of the window.
    pub seconds: f64,
    /// Seconds of the windows of the halves.
    pub floor_seconds: f64,
    /// Measure the halves only.
    pub floor_only: bool,
    /// Measure the whole way only.
    pub whole_only: bool,
    /// The wish to end.
    pub stop: &'a Stop,
}

impl Bench<'_> {
    /// Runs a scenario once, with that program as the gateway.
    pub fn run(&self, scenario: &Scenario, program: &Path, number: u32) -> Result<Run> {
        let gateway = (!self.floor_only)
            .then(|| self.gateway(scenario, program, number))
            .transpose()
            .context("the whole way")?;
        if self.whole_only {
            return Ok(Run {
                gateway,
                opcua: None,
                kafka: None,
            });
        }
        let record = gateway.as_ref().map_or(TYPICAL_RECORD, |way| way.report.record);
        let kafka = self
            .kafka_half(scenario, number, record, self.floor_seconds)
            .context("the Kafka half")?;
        let opcua = matches!(scenario.access, Access::OpcUa | Access::OpcUaDefaults)
            .then(|| self.opcua_half(scenario))
            .transpose()
            .context("the OPC UA half")?;
        Ok(Run {
            gateway,
            opcua,
            kafka: Some(kafka),
        })
    }

    /// Lets the broker's Java machine compile what it will run: a cold one takes a core for itself, and is slow.
    pub fn warm_up(&self, scenario: &Scenario) -> Result<()> {
        self.kafka_half(scenario, 0, TYPICAL_RECORD, WARM_UP_SECONDS)
            .context("the warm-up")
            .map(drop)
    }

    fn gateway(&self, scenario: &Scenario, program: &Path, number: u32) -> Result<Way> {
        let folder = Folder::new("bench")?;
        let topic = format!("bench-{}-{number}", scenario.name);
        self.kafka.create_topic(&topic, PARTITIONS)?;
        let mut consumer = self.consumer(scenario, &topic, self.seconds, &folder)?;
        consumer.ready(self.stop)?;
        let plant = Plant::start(scenario, folder.path())?;
        let settings = settings(scenario, &plant.addresses, &self.kafka.bootstrap(), PARTITIONS);
        let mappings = mappings(scenario, &plant.addresses.namespace, &topic)?;
        let mappings: Vec<_> = mappings.iter().map(|(name, text)| (&**name, &**text)).collect();
        let mut gateway = Gateway::new(&settings, &mappings)?.with_program(program);
        gateway.spawn()?;
        let pid = gateway.process()?.id();
        let mut check = || check(gateway.process()?, "the gateway");
        let way = consumer.follow(pid, plant.into_process(), self.stop, &mut check);
        let way = way.with_context(|| gateway.output().unwrap_or_default())?;
        gateway.stop()?;
        self.delete_topic(&topic)?;
        Ok(way)
    }

    fn opcua_half(&self, scenario: &Scenario) -> Result<Way> {
        let folder = Folder::new("bench")?;
        let plant = Plant::start(scenario, folder.path())?;
        let keys = folder.path().join("pki").display().to_string();
        let addresses = plant.addresses.clone();
        let (publishing, sampling) = (
            scenario.burst_ms().to_string(),
            scenario.sampling_ms().to_string(),
        );
        let words = [
            "subscribe",
            "--endpoint",
            &addresses.opcua,
            "--namespace",
            &addresses.namespace,
            "--folder",
            &keys,
            "--publishing-ms",
            &publishing,
            "--sampling-ms",
            &sampling,
        ];
        let mut client = Watcher::start(&words, scenario, self.floor_seconds, folder.path())?;
        client.ready(self.stop)?;
        let pid = client.id();
        client.follow(pid, plant.into_process(), self.stop, &mut || Ok(()))
    }

    fn kafka_half(&self, scenario: &Scenario, number: u32, record: RecordSize, window: f64) -> Result<Way> {
        let folder = Folder::new("bench")?;
        let topic = format!("bench-{}-{number}-floor", scenario.name);
        self.kafka.create_topic(&topic, PARTITIONS)?;
        // The bare producer counts whatever the protocol.
        let counted = Scenario {
            access: Access::OpcUa,
            ..*scenario
        };
        let mut consumer = self.consumer(&counted, &topic, window, &folder)?;
        consumer.ready(self.stop)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["produce", "--broker", &self.kafka.bootstrap(), "--topic", &topic]);
        command.args(["--partitions", &PARTITIONS.to_string()]);
        command.args([
            "--tags",
            &scenario.tags.to_string(),
            "--rate",
            &scenario.rate.to_string(),
            "--every-ms",
            &scenario.burst_ms().to_string(),
        ]);
        for (name, size) in [
            ("--value-bytes", record.value),
            ("--header-bytes", record.headers),
            ("--header-count", record.header_count),
        ] {
            command.args([name, &format!("{size:.0}")]);
        }
        let producer = Process::start("produce", &command, &folder.path().join("produce.log"))?;
        let pid = producer.id();
        let way = consumer.follow(pid, producer, self.stop, &mut || Ok(()))?;
        self.delete_topic(&topic)?;
        Ok(way)
    }

    fn consumer(&self, scenario: &Scenario, topic: &str, window: f64, folder: &Folder) -> Result<Watcher> {
        let (broker, partitions) = (self.kafka.bootstrap(), PARTITIONS.to_string());
        let words = [
            "consume",
            "--broker",
            &broker,
            "--topic",
            topic,
            "--partitions",
            &partitions,
        ];
        Watcher::start(&words, scenario, window, folder.path())
    }

    /// Deletes what was consumed: a run of the heaviest load leaves a gigabyte.
    fn delete_topic(&self, topic: &str) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", self.kafka.bootstrap())
            .create()?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let results = runtime.block_on(admin.delete_topics(&[topic], &AdminOptions::new()))?;
        for result in results {
            result.map_err(|(name, error)| anyhow::anyhow!("cannot delete {name}: {error}"))?;
        }
        Ok(())
    }
}
