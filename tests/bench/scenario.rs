//! What is measured, and what it has to reach.

use serde::Serialize;

/// A load, and the figures that belong to it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// Number of tags: a hundred times a power of ten on OPC UA, a multiple of a hundred on Modbus.
    pub tags: usize,
    /// Changes a second over all tags.
    pub rate: f64,
    /// How the gateway reads them.
    pub access: Access,
    /// What the gateway has to reach.
    pub bars: Bars,
    /// What a Telegraf tuned by an expert reaches on the same load. It stores nothing.
    pub telegraf: Bars,
}

/// How tags are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// OPC UA, 10 ms publishing, every change reported.
    OpcUa,
    /// OPC UA with the settings that the gateway is shipped with.
    OpcUaDefaults,
    /// Modbus TCP, 20 ms polling.
    Modbus,
}

/// Figures, where there are any.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Bars {
    /// Median latency in milliseconds.
    pub p50: Option<f64>,
    /// 99th percentile of latency in milliseconds.
    pub p99: Option<f64>,
    /// Cores of CPU.
    pub cores: Option<f64>,
    /// Peak memory in megabytes.
    pub memory: Option<f64>,
}

const fn bars(p50: f64, p99: f64, cores: f64, memory: f64) -> Bars {
    Bars {
        p50: Some(p50),
        p99: Some(p99),
        cores: Some(cores),
        memory: Some(memory),
    }
}

const fn tail(p99: f64) -> Bars {
    Bars {
        p99: Some(p99),
        ..NONE
    }
}

const NONE: Bars = Bars {
    p50: None,
    p99: None,
    cores: None,
    memory: None,
};

/// Interval of Modbus polling in milliseconds.
pub const POLL_MS: u32 = 20;

/// All that is measured.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "1k",
        title: "1,000 tags, 1,000 changes/s",
        tags: 1_000,
        rate: 1_000.0,
        access: Access::OpcUa,
        bars: bars(8.0, 16.0, 0.10, 40.0),
        telegraf: bars(8.2, 15.4, 0.20, 49.0),
    },
    Scenario {
        name: "10k",
        title: "10,000 tags, 10,000 changes/s",
        tags: 10_000,
        rate: 10_000.0,
        access: Access::OpcUa,
        bars: bars(10.0, 30.0, 0.25, 80.0),
        telegraf: bars(10.5, 54.0, 0.33, 184.0),
    },
    Scenario {
        name: "30k",
        title: "10,000 tags, 30,000 changes/s",
        tags: 10_000,
        rate: 30_000.0,
        access: Access::OpcUa,
        bars: bars(15.0, 60.0, 0.5, 110.0),
        telegraf: bars(15.6, 100.0, 0.51, 188.0),
    },
    Scenario {
        name: "100k",
        title: "100,000 tags, 10,000 changes/s",
        tags: 100_000,
        rate: 10_000.0,
        access: Access::OpcUa,
        bars: bars(12.0, 40.0, 0.3, 250.0),
        telegraf: bars(17.5, 41.5, 0.34, 1419.0),
    },
    Scenario {
        name: "modbus",
        title: "Modbus, 500 tags, 500 changes/s, 20 ms polling",
        tags: 500,
        rate: 500.0,
        access: Access::Modbus,
        bars: tail(POLL_MS as f64 + 5.0),
        telegraf: NONE,
    },
    Scenario {
        name: "defaults",
        title: "1,000 tags, 1,000 changes/s, settings as shipped",
        tags: 1_000,
        rate: 1_000.0,
        access: Access::OpcUaDefaults,
        bars: tail(200.0),
        telegraf: NONE,
    },
];

impl Scenario {
    /// Finds one by name.
    pub fn named(name: &str) -> Result<Self, String> {
        let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
        found
            .copied()
            .ok_or_else(|| format!("no scenario {name:?}; there are {}", names.join(", ")))
    }
}
