//! Runs the sources, and starts one again whose task ends unexpectedly.

use std::time::Duration;

use floorgate_adapter_api::{CancellationToken, Intake, Source, SourceContext, SourceId};
use floorgate_config::LoadedSource;
use floorgate_metrics::Metrics;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

/// How long to wait before a source that ended unexpectedly is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The running sources of one configuration.
pub struct Sources {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Sources {
    /// Starts every source; the position in `planned` is the source's number in the plan.
    pub fn start(planned: Vec<LoadedSource>, intake: &Intake, metrics: &Metrics) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for (number, planned) in (0_u16..).zip(planned) {
            let context = SourceContext {
                metrics: metrics.source(&planned.name),
                name: planned.name.to_string(),
                intake: intake.for_source(SourceId(number)),
                stop: stop.clone(),
            };
            tasks.spawn(supervise(planned.source, context));
        }
        Self { stop, tasks }
    }

    /// Tells all sources to end and waits for it; what takes longer than `patience` is broken off.
    pub async fn stop(mut self, patience: Duration) {
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, ended).await.is_err() {
            warn!("some sources did not end in {patience:?} and are broken off");
            self.tasks.shutdown().await;
        }
    }
}

/// Keeps one source running. A panic ends the task that it happened in and nothing else.
async fn supervise(source: Box<dyn Source>, context: SourceContext) {
    loop {
        info!(source = context.name, "starting source");
        let ended = tokio::spawn(source.run(context.clone())).await;
        if context.stop.is_cancelled() {
            return;
        }
        match ended {
            Ok(()) => error!(source = context.name, "source ended by itself, starting it again"),
            Err(problem) => error!(source = context.name, %problem, "source failed, starting it again"),
        }
        context.metrics.restarts.inc();
        tokio::select! {
            () = tokio::time::sleep(RESTART_PAUSE) => {}
            () = context.stop.cancelled() => return,
        }
    }
}
