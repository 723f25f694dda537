//! A small plant with a gateway, for the tests of this folder: two filling lines on one OPC UA server.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use floorgate_tests::{Gateway, OpcUaOptions, OpcUaPeer, Reader};
use serde_json::{Value, json};

/// The mapping of the filling lines.
/// What a source says of a PLC that encrypts nothing.
pub const NO_SECURITY: &str = "security: {policy: none, mode: none}";

const MAPPING: &str = r#"
mapping: filling
for_each: [{line: 1}, {line: 2}]
source: plc
equipment: acme/{site}/filling/line{line}/filler
tags:
  order:  {node: "nsu=urn:floorgate:test:plant;s=Line{line}.WorkOrderId"}
  status: {node: "nsu=urn:floorgate:test:plant;s=Line{line}.Status", values: isa95-job-state}
  state:  {node: "nsu=urn:floorgate:test:plant;s=Line{line}.State", values: packml-state}
  good:   {node: "nsu=urn:floorgate:test:plant;s=Line{line}.Good", counter: {width: 32}}
  temp:   {node: "nsu=urn:floorgate:test:plant;s=Line{line}.Temp", unit: CEL, deadband: 0.5}
  alarms: {node: "nsu=urn:floorgate:test:plant;s=Line{line}.Alarms", bits: {0: {code: E-STOP, severity: 900, text: Emergency stop}}}
events:
  - {type: WorkOrderStatusChanged, trigger: status, order: order, data: {quantity: {good: good}}}
  - {type: EquipmentStateChanged, trigger: state}
  - {type: ProductionCountRecorded, trigger: good, kind: good}
  - {type: Alarm, trigger: alarms}
  - {type: MeasurementRecorded, trigger: temp}
"#;

/// The variables of one line, with type and first value.
fn variables() -> [(&'static str, &'static str, Value); 6] {
    [
        ("WorkOrderId", "String", json!("WO-1")),
        ("Status", "Int32", json!(2)),
        ("State", "Int32", json!(4)),
        ("Good", "UInt32", json!(0)),
        ("Temp", "Double", json!(20.5)),
        ("Alarms", "UInt16", json!(0)),
    ]
}

/// The lines, their PLC, and a gateway that is configured for them and not started.
pub struct Plant {
    /// The gateway.
    pub gateway: Gateway,
    /// The PLC.
    pub plc: OpcUaPeer,
    site: String,
    bootstrap: String,
    source: String,
}

impl Plant {
    /// Starts the PLC and configures a gateway for it and a broker.
    pub fn new(bootstrap: &str) -> Result<Self> {
        Self::with(bootstrap, OpcUaOptions::default(), NO_SECURITY)
    }

    /// Does the same with a PLC that has something special, and the source's settings for it.
    pub fn with(bootstrap: &str, options: OpcUaOptions, special: &str) -> Result<Self> {
        Self::at(&unique_site(), bootstrap, options, special)
    }

    /// Does the same at a site with a name of its own, so that keys and their partitions are the same in each run; its broker
    /// is no other test's.
    pub fn at(site: &str, bootstrap: &str, options: OpcUaOptions, special: &str) -> Result<Self> {
        let plc = plc(options)?;
        let source = format!(
            "adapter: opcua\n    endpoint: {}\n    {special}\n    \
             publishing_interval: 10ms\n    sampling_interval: 0ms\n    reconnect_limit: 1s",
            plc.url()
        );
        Ok(Self {
            gateway: gateway(site, bootstrap, &source)?,
            plc,
            site: site.to_owned(),
            bootstrap: bootstrap.to_owned(),
            source,
        })
    }

    /// A second gateway with the same configuration, in a folder of its own.
    pub fn another_gateway(&self) -> Result<Gateway> {
        gateway(&self.site, &self.bootstrap, &self.source)
    }

    /// The site's name, which is also the gateway's id.
    pub fn site(&self) -> &str {
        &self.site
    }

    /// Reads the topic of a kind of events.
    pub fn reader(&self, entity: &str) -> Result<Reader> {
        Reader::new(&self.bootstrap, &topic(&self.site, entity))
    }

    /// Gives each event of a count a text of so many bytes.
    pub fn make_counts_large(&self, bytes: usize) -> Result<()> {
        const FILE: &str = "mappings/filling.yaml";
        let count = "kind: good";
        let large = format!("{count}, data: {{text: {{constant: \"{}\"}}}}", "x".repeat(bytes));
        let mapping = std::fs::read_to_string(self.gateway.folder().join(FILE))?;
        self.gateway
            .write(FILE, &mapping.replace(count, &large))
            .map(drop)
    }

    /// The configuration file's text.
    pub fn settings(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.gateway.config())?)
    }
}

/// A PLC with both lines.
pub fn plc(options: OpcUaOptions) -> Result<OpcUaPeer> {
    let mut plc = OpcUaPeer::start(options)?;
    for line in 1..=2 {
        for (name, kind, value) in variables() {
            plc.add(&format!("Line{line}.{name}"), kind, value)?;
        }
    }
    Ok(plc)
}

fn gateway(site: &str, bootstrap: &str, source: &str) -> Result<Gateway> {
    let mapping = MAPPING.replace("{site}", site);
    Gateway::new(&settings(site, bootstrap, source), &[("filling.yaml", &mapping)])
}

/// A site that no other test has, so that its topics are its own.
pub fn unique_site() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(
        "site{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// A configuration with one source, `plc`, whose settings are given.
pub fn settings(site: &str, bootstrap: &str, source: &str) -> String {
    format!(
        r#"gateway: {site}
state_dir: "{{state}}"
mappings: ["mappings/*.yaml"]
sources:
  plc:
    {source}
kafka:
  brokers: ["{bootstrap}"]
  security: {{protocol: plaintext}}
  topics: {{partitions: 3, replication: 1}}
http: {{listen: "127.0.0.1:{{http}}"}}
"#
    )
}

/// The topic of a kind of events at a site.
pub fn topic(site: &str, entity: &str) -> String {
    format!("acme.{site}.mes.{entity}.v1")
}
