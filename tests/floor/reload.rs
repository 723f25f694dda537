//! A changed configuration is taken over beside sources that run on; a wrong one changes nothing.

use anyhow::{Context, Result};
use floorgate_tests::{Delivery, Kafka, OpcUaOptions, OpcUaPeer, OpcUaServer, Patience, Record};

use crate::counting::{COUNTER, compare, known, read_to, written};
use crate::plant::Plant;

/// How often the plant counts until the end.
const STEPS: i64 = 2000;
/// How long it takes for each step, in milliseconds.
const STEP_MS: u32 = 4;

/// An event of the lines that the first mapping does not have.
const SEEN: &str = "  - {type: CountSeen, trigger: good, data: {count: good}}\n";

/// The filling plant, which counts all the time, and a press that comes and goes.
struct Changing {
    plant: Plant,
    press: OpcUaPeer,
    settings: String,
    mapping: String,
    taken_over: u32,
    refused: u32,
}

impl Changing {
    fn new() -> Result<Self> {
        let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
        plant.gateway.start()?;
        known(&plant)?;
        let mut press = OpcUaPeer::start(OpcUaOptions::default())?;
        for tag in ["Force", "Strokes"] {
            press.add(tag, "Int32", 0)?;
        }
        let mapping = plant.gateway.folder().join("mappings/filling.yaml");
        Ok(Self {
            press,
            settings: plant.settings()?,
            mapping: std::fs::read_to_string(mapping)?,
            taken_over: 0,
            refused: 0,
            plant,
        })
    }

    /// Reloads, and gives what the log says of it.
    fn reload(&mut self) -> Result<String> {
        self.taken_over += 1;
        self.plant.gateway.reload()?;
        self.wait_for("ok", self.taken_over)?;
        let output = self.plant.gateway.output()?;
        let told = output
            .lines()
            .rfind(|line| line.contains("configuration taken over"));
        told.map(str::to_owned).context("nothing is told")
    }

    /// Reloads what is wrong.
    fn reload_wrong(&mut self) -> Result<()> {
        self.refused += 1;
        self.plant.gateway.reload()?;
        self.wait_for("refused", self.refused)
    }

    fn wait_for(&self, result: &str, count: u32) -> Result<()> {
        let metric = format!("floorgate_reloads_total{{result=\"{result}\"}}");
        let count = f64::from(count);
        self.plant
            .gateway
            .wait_for_metric(&metric, count..=count, Patience::Long)
    }

    /// Writes the lines' mapping.
    fn map(&self, mapping: &str) -> Result<()> {
        let written = self.plant.gateway.write("mappings/filling.yaml", mapping);
        written.map(drop)
    }

    /// Adds the press: a source, and a file that comes before the other, so that all numbers of the plan are others.
    fn add_press(&self, tag: &str) -> Result<()> {
        let source = format!(
            "  press:\n    adapter: opcua\n    endpoint: {}\n    security: {{policy: none, mode: none}}\n    \
             publishing_interval: 10ms\n    sampling_interval: 0ms\nkafka:",
            self.press.url()
        );
        let settings = self
            .settings
            .replace("\nkafka:", &format!("\n{source}"))
            .replace("  plc:\n", "  # The lines.\n  plc:\n");
        let mapping = format!(
            "mapping: a-press\nsource: press\nequipment: acme/{}/pressing/line1/press\n\
             tags:\n  value: {{node: '{}'}}\nevents:\n  - {{type: MeasurementRecorded, trigger: value}}\n",
            self.plant.site(),
            OpcUaPeer::address(tag)
        );
        self.plant.gateway.write("floorgate.yaml", &settings)?;
        self.plant.gateway.write("mappings/a-press.yaml", &mapping)?;
        Ok(())
    }

    fn wait_for_press(&self, connects: f64) -> Result<()> {
        let metric = "floorgate_source_connects_total{source=\"press\"}";
        self.plant
            .gateway
            .wait_for_metric(metric, connects..=connects, Patience::Long)
    }

    fn remove_press(&self) -> Result<()> {
        self.plant.gateway.write("floorgate.yaml", &self.settings)?;
        std::fs::remove_file(self.plant.gateway.folder().join("mappings/a-press.yaml"))?;
        Ok(())
    }

    /// Lets the plant count on, so that changes come before, during and after each reload.
    fn count_on(&mut self) -> Result<()> {
        let now = self.plant.plc.progress(COUNTER)?.unwrap_or(0);
        written(&mut self.plant, now + 25)
    }
}

fn count(record: &Record, field: &str) -> Result<i64> {
    let data = record.json()?;
    data[field]
        .as_i64()
        .with_context(|| format!("no {field} in {data}"))
}

/// The reloads of the test, one after the other, each with what its line in the log has to say.
fn reloads(changing: &mut Changing) -> Result<()> {
    let says = |told: &str, parts: &[&str]| {
        for part in parts {
            assert!(told.contains(part), "{part} in {told}");
        }
    };
    // An event more, and nothing else.
    let with_event = format!("{}{SEEN}", changing.mapping);
    changing.map(&with_event)?;
    let told = changing.reload()?;
    let added = "filling.1.CountSeen.good, filling.2.CountSeen.good";
    says(
        &told,
        &["rules_added=2", "rules_removed=0", "rules_changed=0", added],
    );
    says(&told, &["sources_kept=1", "sources_restarted=0"]);
    changing.count_on()?;
    // A source and a file before the others.
    changing.add_press("Force")?;
    let told = changing.reload()?;
    says(
        &told,
        &[
            "rules_added=1",
            "rules_changed=0",
            "sources_new=1",
            "sources_kept=1",
        ],
    );
    changing.wait_for_press(1.0)?;
    changing.count_on()?;
    // Another address of the press, and other events of the lines.
    changing.add_press("Strokes")?;
    changing.map(&with_event.replace("code: E-STOP", "code: STOP"))?;
    let told = changing.reload()?;
    says(
        &told,
        &["rules_changed=3", "sources_restarted=1", "restarted=\"press\""],
    );
    changing.wait_for_press(2.0)?;
    changing.count_on()?;
    // Both files are wrong.
    let broken = with_event.replace("trigger: good,", "triger: good,");
    changing.map(&broken.replace("values: packml-state", "values: packml-states"))?;
    changing.add_press("Strokes', uint: 'KGM")?;
    changing.reload_wrong()?;
    let output = changing.plant.gateway.output()?;
    says(&output, &["triger", "packml-states", "uint"]);
    says(&output, &["the configuration is wrong, the old one stays"]);
    changing.count_on()?;
    changing.map(&with_event)?;
    changing.remove_press()?;
    let told = changing.reload()?;
    says(
        &told,
        &[
            "rules_removed=1",
            "sources_gone=1",
            "gone=\"press\"",
            "sources_kept=1",
        ],
    );
    changing.count_on()?;
    // Nothing is another.
    let told = changing.reload()?;
    says(&told, &["rules_added=0", "rules_changed=0", "sources_kept=1"]);
    changing.count_on()
}

#[test]
fn a_changed_mapping_is_taken_over_beside_a_source_that_runs_on() -> Result<()> {
    let mut changing = Changing::new()?;
    changing.plant.plc.count_up(COUNTER, 1, STEPS, STEP_MS)?;
    written(&mut changing.plant, 25)?;
    reloads(&mut changing)?;
    let last = changing.plant.plc.progress(COUNTER)?.unwrap_or(0);
    assert!(last < STEPS, "the plant counted all the time");
    written(&mut changing.plant, STEPS)?;

    let mut plant = changing.plant;
    let mut reader = plant.reader("production-count")?;
    read_to(&mut reader, STEPS)?;
    let counts = Delivery::of(reader.to_end()?)?.accepted;
    assert_eq!(compare(&counts, &(1..=STEPS))?, 0, "no gap");
    assert_eq!(counts.len(), usize::try_from(STEPS)?, "each number once");

    // The new event is there from the first reload on, and for every number.
    let mut seen = plant.reader("count-seen")?;
    seen.until("the new event's last", Patience::Long, |records| {
        records
            .iter()
            .any(|record| count(record, "count").is_ok_and(|count| count == STEPS))
    })?;
    let seen = Delivery::of(seen.to_end()?)?.accepted;
    let numbers: Vec<i64> = seen
        .iter()
        .map(|record| count(record, "count"))
        .collect::<Result<_>>()?;
    let first = *numbers.first().context("there are new events")?;
    assert!(first > 25, "before the reload there was no such rule: {first}");
    assert!(numbers.iter().copied().eq(first..=STEPS), "{numbers:?}");

    // The server and the gateway know of one connection; what the press told is its own.
    assert_eq!(
        (plant.plc.counts()?.sessions_ever, plant.plc.connections()?),
        (1, 1)
    );
    assert_eq!(plant.plc.monitored_items()?, 12);
    for (metric, value) in [
        ("floorgate_source_connects_total{source=\"plc\"}", 1.0),
        ("floorgate_source_gaps_total{source=\"plc\"}", 0.0),
        ("floorgate_late_samples_total", 0.0),
    ] {
        let shown = plant.gateway.metric(metric)?.unwrap_or(0.0);
        assert!((shown - value).abs() < 0.5, "{metric} is {shown}");
    }
    let mut connections = plant.reader("source-connection")?;
    let of_plc = |record: &&Record| record.json().is_ok_and(|data| data["source"] == "plc");
    let connections = Delivery::of(connections.to_end()?)?.accepted;
    let of_plc: Vec<_> = connections.iter().filter(of_plc).collect();
    assert_eq!(of_plc.len(), 1, "{connections:#?}");
    // Nor did anything else of the lines seem to change.
    let mut states = plant.reader("equipment-state")?;
    assert_eq!(Delivery::of(states.to_end()?)?.accepted.len(), 2);
    println!(
        "{STEPS} changes, new events from {first} on, {} reloads",
        changing.taken_over
    );
    Ok(())
}
