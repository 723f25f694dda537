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
    /// Who has them.
    pub plant: Make,
    /// How the gateway reads them.
    pub access: Access,
    /// The gateway publishes in transactions.
    pub transactions: bool,
    /// What the gateway has to reach.
    pub bars: Bars,
    /// What a Telegraf tuned by an expert reaches on the same load. It stores nothing.
    pub telegraf: Bars,
}

/// How tags are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// OPC UA, published every [`PUBLISH_MS`], every change reported.
    OpcUa,
    /// OPC UA with the settings that the gateway is shipped with.
    OpcUaDefaults,
    /// Modbus TCP, polled every [`POLL_MS`].
    Modbus,
}

/// Whose server the plant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Make {
    /// The simulator's, of the same library as the gateway's client.
    Simulator,
    /// An asyncua server, which shares no code with the gateway.
    Asyncua,
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

/// Publishing interval of OPC UA in milliseconds.
pub const PUBLISH_MS: u32 = 10;
/// Publishing interval that the gateway is shipped with, in milliseconds.
const SHIPPED_PUBLISH_MS: u32 = 50;
/// Interval of Modbus polling in milliseconds.
pub const POLL_MS: u32 = 20;

/// All that is measured.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "1k",
        title: "1,000 tags, 1,000 changes/s",
        tags: 1_000,
        rate: 1_000.0,
        plant: Make::Simulator,
        access: Access::OpcUa,
        transactions: false,
        bars: bars(8.0, 16.0, 0.10, 40.0),
        telegraf: bars(8.2, 15.4, 0.20, 49.0),
    },
    Scenario {
        name: "1k-asyncua",
        title: "1,000 tags, 1,000 changes/s, an asyncua server",
        tags: 1_000,
        rate: 1_000.0,
        plant: Make::Asyncua,
        access: Access::OpcUa,
        transactions: false,
        bars: bars(8.0, 16.0, 0.10, 40.0),
        telegraf: NONE,
    },
    Scenario {
        name: "10k",
        title: "10,000 tags, 10,000 changes/s",
        tags: 10_000,
        rate: 10_000.0,
        plant: Make::Simulator,
        access: Access::OpcUa,
        transactions: false,
        bars: bars(10.0, 30.0, 0.25, 80.0),
        telegraf: bars(10.5, 54.0, 0.33, 184.0),
    },
    Scenario {
        name: "30k",
        title: "10,000 tags, 30,000 changes/s",
        tags: 10_000,
        rate: 30_000.0,
        plant: Make::Simulator,
        access: Access::OpcUa,
        transactions: false,
        bars: bars(15.0, 60.0, 0.5, 110.0),
        telegraf: bars(15.6, 100.0, 0.51, 188.0),
    },
    Scenario {
        name: "100k",
        title: "100,000 tags, 10,000 changes/s",
        tags: 100_000,
        rate: 10_000.0,
        plant: Make::Simulator,
        access: Access::OpcUa,
        transactions: false,
        bars: bars(12.0, 40.0, 0.3, 250.0),
        telegraf: bars(17.5, 41.5, 0.34, 1419.0),
    },
    Scenario {
        name: "modbus",
        title: "Modbus, 500 tags, 500 changes/s, 20 ms polling",
        tags: 500,
        rate: 500.0,
        plant: Make::Simulator,
        access: Access::Modbus,
        transactions: false,
        bars: tail(POLL_MS as f64 + 5.0),
        telegraf: NONE,
    },
    Scenario {
        name: "defaults",
        title: "1,000 tags, 1,000 changes/s, settings as shipped",
        tags: 1_000,
        rate: 1_000.0,
        plant: Make::Simulator,
        access: Access::OpcUaDefaults,
        transactions: false,
        bars: tail(200.0),
        telegraf: NONE,
    },
    Scenario {
        name: "1k-transactions",
        title: "1,000 tags, 1,000 changes/s, in transactions",
        tags: 1_000,
        rate: 1_000.0,
        plant: Make::Simulator,
        access: Access::OpcUa,
        transactions: true,
        bars: NONE,
        telegraf: NONE,
    },
];

impl Scenario {
    /// Milliseconds between two bursts of changes, as the gateway receives them and hands them on.
    pub fn burst_ms(&self) -> u32 {
        match self.access {
            Access::OpcUa => PUBLISH_MS,
            Access::OpcUaDefaults => SHIPPED_PUBLISH_MS,
            Access::Modbus => POLL_MS,
        }
    }

    /// Milliseconds between two looks at a node: as fast as the server can, or what the gateway is shipped with.
    pub fn sampling_ms(&self) -> u32 {
        match self.access {
            Access::OpcUaDefaults => SHIPPED_PUBLISH_MS,
            Access::OpcUa | Access::Modbus => 0,
        }
    }

    /// Finds one by name.
    pub fn named(name: &str) -> Result<Self, String> {
        let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
        found
            .copied()
            .ok_or_else(|| format!("no scenario {name:?}; there are {}", names.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scenario_is_found_by_its_name() {
        for scenario in SCENARIOS {
            let found = Scenario::named(scenario.name).map(|found| found.title);
            assert_eq!(found, Ok(scenario.title));
        }
        assert!(Scenario::named("1").is_err());
        assert!(Scenario::named(crate::WARM_UP).is_ok());
    }

    #[test]
    fn bursts_are_as_far_apart_as_the_gateway_hears_of_changes() {
        let burst = |name| Scenario::named(name).map(|scenario| scenario.burst_ms());
        let known = ["1k", "1k-asyncua", "modbus", "defaults"].map(burst);
        assert_eq!(known, [Ok(10), Ok(10), Ok(20), Ok(50)]);
    }
}
