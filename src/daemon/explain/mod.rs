//! `floorgate explain`: why an event was made, and what became of it.

mod deliveries;
mod rule;

use std::fmt::Write as _;
use std::io::{self, Write as _};

use anyhow::{Context as _, bail};
use clap::Args;
use floorgate_config::{Which, read_mappings};
use floorgate_yaml::Problems;
use serde_json::{Value, json};

use crate::check;
use crate::cli::ConfigArgs;
use crate::control::{Client, Request, TraceRow, ask};
use crate::kafka;
use crate::plain::plain;
use crate::registry::ADAPTERS;
use crate::run::store_options;
use deliveries::Delivery;
use rule::Made;

/// Which event is explained.
#[derive(Debug, Args)]
pub struct ExplainOptions {
    /// The event's id (`ce_id`); its beginning is enough.
    id: String,
    #[command(flatten)]
    config: ConfigArgs,
    /// Do not look into Kafka for where the event is.
    #[arg(long)]
    without_kafka: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Explains an event that the outbox keeps.
pub fn explain(options: &ExplainOptions) -> anyhow::Result<()> {
    let loaded = check::read(&options.config.config)?;
    let state = loaded.state_dir();
    let mut client = Client::of(&state, &store_options(&loaded.settings, &state))?;
    let mut found: Vec<TraceRow> = Vec::new();
    let request = Request::Explain {
        id: options.id.clone(),
    };
    ask(&mut client, &request, |row| {
        found.push(serde_json::from_value(row).context("the gateway is of another version than this tool")?);
        Ok(true)
    })?;
    let Some(first) = found.first() else {
        bail!(
            "the outbox has no event whose id begins with {}; what was delivered is kept for `outbox.keep`, and `floorgate events --json` shows ids",
            options.id
        );
    };
    if let Some(other) = found.iter().find(|row| row.event.id != first.event.id) {
        bail!(
            "more than one id begins with {}: {} and {}; give more of it",
            options.id,
            first.event.id,
            other.event.id
        );
    }
    let mut problems = Problems::default();
    let which = Which {
        settings: Some(&options.config.config),
        files: None,
    };
    let mappings = read_mappings(which, ADAPTERS, &mut problems);
    let made = mappings
        .as_ref()
        .and_then(|mappings| Made::of(&first.event, mappings, &problems));
    let deliveries = if options.without_kafka {
        Err("not asked".to_owned())
    } else {
        kafka::settings(&loaded.settings.kafka, &loaded.base)
            .and_then(|settings| deliveries::find(&settings, &first.event))
            .map_err(|error| format!("{error:#}"))
    };
    let mut out = io::stdout().lock();
    if options.json {
        let (deliveries, reason) = match deliveries {
            Ok(deliveries) => (json!(deliveries), Value::Null),
            Err(reason) => (Value::Null, json!(reason)),
        };
        let row =
            json!({"event": found, "rule": made, "deliveries": deliveries, "deliveriesUnknown": reason});
        writeln!(out, "{row}")?;
        return Ok(());
    }
    write!(out, "{}", text(&found, made.as_ref(), &deliveries))?;
    Ok(())
}

fn text(found: &[TraceRow], made: Option<&Made>, deliveries: &Result<Vec<Delivery>, String>) -> String {
    let Some(first) = found.first() else {
        return String::new();
    };
    let event = &first.event;
    let data = data(&event.value);
    let mut text = String::new();
    // Writing to text does not fail.
    let _ = writeln!(text, "{}  {}", event.kind, plain(&event.subject));
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<10} {}", plain(value));
    };
    row("id", &event.id);
    if let Some(made) = made {
        row("rule", &made.rule);
        row("written", &made.place);
        let lines = made.excerpt.lines().chain(made.changed.as_deref());
        lines.for_each(|line| row("", line));
    } else {
        let rule = data.pointer("/mapping/ruleId").and_then(Value::as_str);
        row("rule", rule.unwrap_or("none: it is about a source"));
        if rule.is_some() {
            row("written", "the configuration has no such rule any more");
        }
    }
    for (number, reason) in reasons(first, made).iter().enumerate() {
        row(if number == 0 { "because" } else { "" }, reason);
    }
    let times = times(event, data);
    for (number, line) in times.iter().enumerate() {
        row(if number == 0 { "times" } else { "" }, line);
    }
    for copy in found {
        let partition = copy
            .event
            .partition
            .map_or_else(|| "not known yet".to_owned(), |partition| partition.to_string());
        let sequence = copy.event.sequence.map_or_else(
            || "of an earlier epoch".to_owned(),
            |sequence| sequence.to_string(),
        );
        row(
            "lane",
            &format!(
                "topic {}, partition {partition}, epoch {}, sequence {sequence}: {}",
                copy.event.topic,
                copy.epoch,
                match (copy.event.delivered, deliveries) {
                    (true, _) => "delivered",
                    (false, Ok(deliveries)) if !deliveries.is_empty() => "delivered, which is not stored yet",
                    (false, _) => "waits",
                }
            ),
        );
    }
    match deliveries {
        Ok(deliveries) if deliveries.is_empty() => row("in Kafka", "it is not there"),
        Ok(deliveries) => {
            for delivery in deliveries {
                row("in Kafka", &delivery.text());
            }
        }
        Err(reason) => row("in Kafka", &format!("not known: {reason}")),
    }
    text
}

/// The data of an event, of a structured one too.
fn data(value: &Value) -> &Value {
    value
        .get("data")
        .filter(|_| value.get("specversion").is_some())
        .unwrap_or(value)
}

/// What happened, in words.
fn reasons(row: &TraceRow, made: Option<&Made>) -> Vec<String> {
    let Some(trace) = &row.trace else {
        return vec!["what it was made of is not stored: it is about a source, was sent again, or took the place of one that was refused".to_owned()];
    };
    let named = |value: &Value| made.map_or_else(|| value.to_string(), |made| made.named(value));
    let (before, now) = (named(&trace["before"]), named(&trace["now"]));
    let trigger = made.map_or("the trigger", |made| &made.trigger);
    let mut reasons = vec![match trace["cause"].as_str() {
        Some("initial") => {
            format!("{trigger} was {now} when it was first read: no change, and said to be `initial`")
        }
        Some("value") => format!("{trigger} changed from {before} to {now}"),
        Some("quality") => format!("the quality of {trigger} changed, or it is known again; it is {now}"),
        Some("lost") => format!("{trigger} is bad or unknown; it was {before}"),
        Some("silence") => format!("{trigger} did not change for its longest silence; it is {now}"),
        _ => format!("{trigger}: {trace}"),
    }];
    if let Some(inputs) = trace["inputs"].as_object() {
        let inputs: Vec<String> = inputs
            .iter()
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        reasons.push(format!("beside it: {}", inputs.join(", ")));
    }
    reasons.extend(made.iter().flat_map(|made| made.timers.iter().cloned()));
    reasons
}

/// The four times of an event, each with how long after the one before it.
fn times(event: &crate::control::EventRow, data: &Value) -> Vec<String> {
    let of = |name: &str| {
        data.pointer(&format!("/timestamps/{name}"))
            .and_then(Value::as_str)
    };
    let mut before: Option<jiff::Timestamp> = None;
    let mut lines = Vec::new();
    for (name, text) in [
        ("by the device", of("source")),
        ("by the server", of("server")),
        ("received", of("received")),
        ("recorded", Some(event.recorded.as_str())),
    ] {
        let Some(text) = text else { continue };
        let at: Option<jiff::Timestamp> = text.parse().ok();
        let after = before
            .zip(at)
            .map(|(before, at)| at.as_nanosecond() - before.as_nanosecond());
        let after = after.map_or_else(String::new, |nanos| format!("  {:+.3} ms", nanos as f64 / 1e6));
        lines.push(format!("{name:<13} {text}{after}"));
        before = at.or(before);
    }
    lines
}
