//! An adapter without a protocol: it plays a script, or follows a [`Stage`] that a test holds in its hands.
//!
//! It exists to keep the seam honest. It uses nothing but the contract, so that what works with it and not with
//! another adapter is that adapter's business, and tests of the gateway need no network.

mod board;
mod script;
mod stage;

use std::sync::Arc;

use floorgate_adapter_api::{Adapter, Quality, Reason, RunFuture, Source, SourceContext, SourceSpec, TagId};
use floorgate_yaml::{Problems, Severity, Spanned, salvage};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use board::Board;
use script::Step;
pub use stage::Stage;

/// The adapter named `scripted`.
#[derive(Clone, Debug, Default)]
pub struct Scripted {
    stage: Arc<Stage>,
}

/// What a scripted source does.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Played once from the start of each run. Afterwards the source follows the test's stage where `follow` is true,
    /// and else waits to be stopped.
    #[serde(default)]
    script: Vec<Spanned<Step>>,
    /// Whether the source follows the stage after the script.
    #[serde(default)]
    follow: bool,
}

/// Which value of the script or the stage a tag shows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Address {
    /// Its name in the script or on the stage.
    #[schemars(with = "String")]
    signal: Spanned<String>,
}

/// A planned source.
struct ScriptedSource {
    play: Arc<Play>,
}

/// What a run needs to know.
struct Play {
    script: Vec<Step>,
    follow: bool,
    signals: Vec<Shown>,
    stage: Arc<Stage>,
}

/// A tag and the signal that it shows.
struct Shown {
    signal: String,
    tag: TagId,
    /// It is told only to who asks.
    on_demand: bool,
}

impl Scripted {
    /// An adapter whose sources follow this stage and wait for its triggers.
    #[must_use]
    pub fn on(stage: Arc<Stage>) -> Self {
        Self { stage }
    }
}

impl Adapter for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn reason(&self, quality: Quality) -> Option<Reason> {
        (!quality.is_good()).then(|| "the stage does not vouch for it".into())
    }

    fn settings_schema(&self, generator: &mut SchemaGenerator) -> Schema {
        Settings::json_schema(generator)
    }

    fn address_schema(&self, generator: &mut SchemaGenerator) -> Schema {
        Address::json_schema(generator)
    }

    fn has_source_time(&self) -> bool {
        false
    }

    fn address_keys(&self) -> &'static [&'static str] {
        &["signal"]
    }

    fn plan(&self, spec: SourceSpec<'_>, problems: &mut Problems) -> Option<Box<dyn Source>> {
        let before = problems.list().len();
        let settings: Option<Settings> = salvage(spec.settings, problems);
        let signals: Vec<Shown> = spec
            .tags
            .iter()
            .filter_map(|tag| {
                salvage::<Address>(tag.address, problems).map(|address| Shown {
                    signal: address.signal.value,
                    tag: tag.id,
                    on_demand: tag.on_demand,
                })
            })
            .collect();
        let settings = settings?;
        for step in &settings.script {
            for name in step.value.signals() {
                if !signals.iter().any(|known| known.signal == name) {
                    problems
                        .error(
                            step.span,
                            format!("the script names `{name}`, which no tag shows"),
                        )
                        .hint(format!("give a tag `signal: {name}`, or remove it from the step"));
                }
            }
        }
        if problems.list()[before..]
            .iter()
            .any(|problem| problem.severity == Severity::Error)
        {
            return None;
        }
        let play = Play {
            script: settings.script.into_iter().map(|step| step.value).collect(),
            follow: settings.follow,
            signals,
            stage: Arc::clone(&self.stage),
        };
        Some(Box::new(ScriptedSource { play: Arc::new(play) }))
    }
}

impl Source for ScriptedSource {
    fn run(&self, context: SourceContext) -> RunFuture {
        let play = Arc::clone(&self.play);
        Box::pin(async move {
            let stop = context.stop.clone();
            let up = context.metrics.up.clone();
            let board = Board::default();
            // Closed: the gateway takes nothing more, and there is nothing left to do but to wait.
            let whole = async {
                if script::play(&play, &board, &context).await.is_ok() && play.follow {
                    let _ = stage::follow(&play, &board, &context).await;
                }
                std::future::pending::<()>().await;
            };
            let asked = async {
                let _ = board.answer(&play, &context).await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = whole => {}
                () = asked => {}
            }
            up.set(0);
        })
    }
}
