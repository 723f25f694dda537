//! Runs the sources, and starts one again whose task ends unexpectedly.

use std::sync::Arc;
use std::time::Duration;

use floorgate_adapter_api::{Bookmarks, CancellationToken, Intake, Source, SourceContext, SourceId};
use floorgate_config::LoadedSource;
use floorgate_metrics::Metrics;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

use crate::engine::Shelf;

/// How long to wait before a source that ended unexpectedly is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The running sources of one configuration.
pub struct Sources {
    stop: CancellationToken,
    tasks: JoinSet<()>,
    names: Vec<Arc<str>>,
}

impl Sources {
    /// Starts every source; the position in `planned` is the source's number in the plan.
    pub fn start(planned: Vec<LoadedSource>, mut shelf: Shelf, intake: &Intake, metrics: &Metrics) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let names = planned.iter().map(|planned| Arc::clone(&planned.name)).collect();
        for (number, planned) in (0_u16..).zip(planned) {
            let context = SourceContext {
                metrics: metrics.source(&planned.name),
                bookmarks: shelf.take(&planned.name),
                name: planned.name.to_string(),
                intake: intake.for_source(SourceId(number)),
                stop: stop.clone(),
            };
            tasks.spawn(supervise(planned.source, context));
        }
        Self { stop, tasks, names }
    }

    /// Their names.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
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
async fn supervise(source: Box<dyn Source>, mut context: SourceContext) {
    loop {
        info!(source = context.name, "starting source");
        // Whoever ends this ends the source, too.
        let ended = AbortOnDropHandle::new(tokio::spawn(source.run(context.clone()))).await;
        if context.stop.is_cancelled() {
            return;
        }
        match ended {
            Ok(()) => error!(source = context.name, "source ended by itself, starting it again"),
            Err(problem) => error!(source = context.name, %problem, "source failed, starting it again"),
        }
        context.metrics.restarts.inc();
        // What it handed over may not be stored yet.
        context.bookmarks = Bookmarks::default();
        tokio::select! {
            () = tokio::time::sleep(RESTART_PAUSE) => {}
            () = context.stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use floorgate_adapter_api::{RunFuture, intake};

    use super::*;

    /// A source that does not end when it is told to.
    struct Deaf(Sender<&'static str>);

    struct Gone(Sender<&'static str>);

    impl Drop for Gone {
        fn drop(&mut self) {
            let _ = self.0.send("gone");
        }
    }

    impl Source for Deaf {
        fn run(&self, _: SourceContext) -> RunFuture {
            let gone = Gone(self.0.clone());
            Box::pin(async move {
                let _ = gone.0.send("runs");
                std::future::pending::<()>().await;
            })
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_source_that_does_not_end_is_ended() {
        let (news, heard) = channel();
        let planned = LoadedSource {
            name: "plc".into(),
            adapter: "deaf",
            tags: 0,
            source: Box::new(Deaf(news)),
        };
        let (sender, _inbox) = channel();
        let intake = intake(1, sender, |_, _| ());
        let metrics = Metrics::new().expect("metrics are registered");
        let sources = Sources::start(vec![planned], Shelf::default(), &intake, &metrics);
        let next = || heard.recv_timeout(Duration::from_secs(30));
        assert_eq!(next(), Ok("runs"));
        sources.stop(Duration::from_millis(1)).await;
        assert_eq!(next(), Ok("gone"));
    }
}
