//! The steps of a script.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use floorgate_adapter_api::{
    Batch, Closed, Continuity, GapScope, Notice, Quality, Receipt, Sample, SourceContext, Timestamp, Value,
};
use floorgate_yaml::Duration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use tokio::sync::watch;

use crate::Play;
use crate::board::Board;

/// One step. A script is a list of them, each a mapping with one key (`stored` is a word).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// The source is connected: `new`, or `resumed` where nothing was missed.
    Online(Connection),
    /// The source is lost, for this reason.
    Offline(String),
    /// The source is silent, for this reason.
    Stale(String),
    /// Changes of all tags may have been missed, for this reason.
    Gap(String),
    /// Values of signals, good, in one batch.
    Samples(BTreeMap<String, Scalar>),
    /// Signals that are bad, each with its status code, in one batch.
    Bad(BTreeMap<String, u32>),
    /// Waits.
    Wait(Duration),
    /// Waits until everything that was sent is durable.
    Stored,
    /// Waits until the test pulls this trigger of the stage.
    Trigger(String),
    /// Panics with this text.
    Panic(String),
}

/// What a connection has to do with the one before it.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Connection {
    /// Nothing: each tag is unknown until its next sample.
    New,
    /// Nothing was missed.
    Resumed,
}

/// A value of a script: a truth value, a number, or text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scalar(pub Value);

impl JsonSchema for Scalar {
    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["boolean", "number", "string"] })
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;

        impl Visitor<'_> for ScalarVisitor {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a truth value, a number or text")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(Value::Bool(value)))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(Value::Int(value)))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar(
                    i64::try_from(value).map_or(Value::UInt(value), Value::Int),
                ))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar(Value::Float64(value)))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar(Value::text(value)))
            }
        }

        deserializer.deserialize_any(ScalarVisitor)
    }
}

impl Step {
    /// The signals that the step names.
    pub(crate) fn signals(&self) -> Vec<&str> {
        match self {
            Self::Samples(values) => values.keys().map(String::as_str).collect(),
            Self::Bad(values) => values.keys().map(String::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

impl Play {
    /// A sample for each tag that shows the signal and is told unasked. The board shows it from now on.
    pub(crate) fn samples<'a>(
        &'a self,
        board: &Board,
        signal: &'a str,
        value: Option<&'a Value>,
        quality: Quality,
    ) -> impl Iterator<Item = Sample> + use<'a> {
        board.show(signal, value, quality);
        self.signals
            .iter()
            .filter(move |shown| shown.signal == signal && !shown.on_demand)
            .map(move |shown| shown.sample(value.cloned(), quality))
    }
}

/// Sends a batch. `count` is raised when it is durable.
pub(crate) async fn send(
    context: &SourceContext,
    board: &Board,
    notices: Vec<Notice>,
    samples: Vec<Sample>,
    count: Option<&watch::Sender<usize>>,
) -> Result<(), Closed> {
    for notice in &notices {
        match notice {
            Notice::Online(_) => {
                context.metrics.connects.inc();
                context.metrics.up.set(1);
            }
            Notice::Offline { .. } => {
                context.metrics.up.set(0);
                board.set_online(false);
            }
            Notice::Gap { .. } => context.metrics.gaps.inc(),
            Notice::Stale { .. } | Notice::CaughtUp | Notice::History => {}
        }
    }
    let comes_online = notices.iter().any(|notice| matches!(notice, Notice::Online(_)));
    context.metrics.samples.inc_by(samples.len() as u64);
    let receipt = count.map(|count| {
        let count = count.clone();
        Receipt::new(move || count.send_modify(|stored| *stored += 1))
    });
    let batch = Batch {
        source: context.intake.source(),
        received: Timestamp::now(),
        notices,
        samples,
        bookmarks: Vec::new(),
        answer: None,
        receipt,
    };
    context.intake.send(batch).await?;
    if comes_online {
        board.set_online(true);
    }
    Ok(())
}

/// Plays the script to its end.
pub(crate) async fn play(play: &Play, board: &Board, context: &SourceContext) -> Result<(), Closed> {
    let (stored, mut durable) = watch::channel(0);
    let mut sent = 0;
    for step in &play.script {
        let (notices, samples) = match step {
            Step::Online(Connection::New) => (vec![Notice::Online(Continuity::New)], Vec::new()),
            Step::Online(Connection::Resumed) => (
                vec![Notice::Online(Continuity::Resumed), Notice::CaughtUp],
                Vec::new(),
            ),
            Step::Offline(reason) => (
                vec![Notice::Offline {
                    reason: reason.clone().into(),
                }],
                Vec::new(),
            ),
            Step::Stale(reason) => (
                vec![Notice::Stale {
                    reason: reason.clone().into(),
                }],
                Vec::new(),
            ),
            Step::Gap(reason) => (
                vec![Notice::Gap {
                    scope: GapScope::Source,
                    reason: reason.clone().into(),
                }],
                Vec::new(),
            ),
            Step::Samples(values) => {
                let good = |(name, value)| play.samples(board, name, Some(value), Quality::GOOD);
                (
                    Vec::new(),
                    values
                        .iter()
                        .map(|(name, value)| (name.as_str(), &value.0))
                        .flat_map(good)
                        .collect(),
                )
            }
            Step::Bad(values) => {
                let bad = |(name, code): (&'_ String, &u32)| -> Vec<Sample> {
                    play.samples(board, name, None, Quality(*code)).collect()
                };
                (Vec::new(), values.iter().flat_map(bad).collect())
            }
            Step::Wait(time) => {
                tokio::time::sleep(time.get()).await;
                continue;
            }
            Step::Stored => {
                // The sender lives until the end of this function.
                let _ = durable.wait_for(|count| *count >= sent).await;
                continue;
            }
            Step::Trigger(name) => {
                play.stage.pulled(name).await;
                continue;
            }
            Step::Panic(text) => panic!("{text}"),
        };
        context.metrics.requests.inc();
        send(context, board, notices, samples, Some(&stored)).await?;
        sent += 1;
    }
    Ok(())
}
