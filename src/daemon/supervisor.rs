//! Runs the sources, and starts one again whose task ends unexpectedly.

use std::sync::Arc;
use std::time::Duration;

use floorgate_adapter_api::{Bookmarks, CancellationToken, Intake, Source, SourceContext, SourceId};
use floorgate_config::LoadedSource;
use floorgate_metrics::Metrics;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

use crate::engine::{Requesters, Shelf};

/// How long to wait before a source that ended unexpectedly is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The running sources. Each outlives the configuration with which it was started, as long as it is the same in the next one.
#[derive(Default)]
pub struct Sources(Vec<Running>);

struct Running {
    name: Arc<str>,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Sources {
    /// Starts sources of a plan beside those that run, under their numbers in it. How they are asked for something is handed to `tell` first,
    /// so that it is known when their first values come; `left_off` has the bookmarks of their predecessors.
    pub fn start(
        &mut self,
        planned: impl IntoIterator<Item = (SourceId, LoadedSource)>,
        mut left_off: Shelf,
        intake: &Intake,
        metrics: &Metrics,
        tell: impl FnOnce(Requesters),
    ) {
        let mut requesters = Requesters::default();
        let with_requests = |(number, planned)| {
            let requests = requesters.add(number);
            (number, planned, requests)
        };
        let planned: Vec<(_, LoadedSource, _)> = planned.into_iter().map(with_requests).collect();
        tell(requesters);
        for (number, planned, requests) in planned {
            let stop = CancellationToken::new();
            let context = SourceContext {
                metrics: metrics.source(&planned.name),
                bookmarks: left_off.take(&planned.name),
                name: planned.name.to_string(),
                intake: intake.for_source(number),
                stop: stop.clone(),
                requests,
            };
            self.0.push(Running {
                name: planned.name,
                stop,
                task: AbortOnDropHandle::new(tokio::spawn(supervise(planned.source, context))),
            });
        }
    }

    /// Tells the sources to end that `stays` does not name, and waits for it; what takes longer than `patience` is broken off.
    pub async fn stop_others(&mut self, stays: impl Fn(&str) -> bool, patience: Duration) {
        let mut ending: Vec<Running> = self.0.extract_if(.., |running| !stays(&running.name)).collect();
        for running in &ending {
            running.stop.cancel();
        }
        let ended = async {
            while let Some(last) = ending.last_mut() {
                // A panic was told by its supervisor.
                let _ = (&mut last.task).await;
                ending.pop();
            }
        };
        if tokio::time::timeout(patience, ended).await.is_err() {
            warn!(
                see = "gateway-source-failed",
                "some sources did not end in {patience:?} and are broken off"
            );
            for running in &ending {
                running.task.abort();
            }
            for running in ending {
                let _ = running.task.await;
            }
        }
    }

    /// Ends all of them.
    pub async fn stop(mut self, patience: Duration) {
        self.stop_others(|_| false, patience).await;
    }
}

/// Keeps one source running. A panic ends the task that it happened in and nothing else.
async fn supervise(source: Box<dyn Source>, mut context: SourceContext) {
    loop {
        info!(source = context.name, "starting source");
        // What a run before, perhaps of another configuration, had said of its parts holds no longer.
        context.metrics.begin_stations([]);
        // Whoever ends this ends the source, too.
        let ended = AbortOnDropHandle::new(tokio::spawn(source.run(context.clone()))).await;
        if context.stop.is_cancelled() {
            return;
        }
        match ended {
            Ok(()) => error!(
                source = context.name,
                see = "gateway-source-failed",
                "source ended by itself, starting it again"
            ),
            Err(problem) => {
                error!(source = context.name, %problem, see = "gateway-source-failed", "source failed, starting it again");
            }
        }
        context.metrics.restarts.inc();
        context.metrics.up.set(0);
        // Nor does what it said of its parts hold any longer.
        context.metrics.begin_stations([]);
        // What it handed over may not be stored yet.
        context.bookmarks = Bookmarks::default();
        tokio::select! {
            () = refuse(&context) => {}
            () = context.stop.cancelled() => return,
        }
    }
}

/// Answers for a source that failed what it has left open and what is asked meanwhile, until it is started again.
async fn refuse(context: &SourceContext) {
    let again = tokio::time::Instant::now() + RESTART_PAUSE;
    let (requests, intake) = (&context.requests, &context.intake);
    let reason = "the source failed and is started again";
    let mut answered = requests.fail_open(intake, reason).await;
    while answered.is_ok() {
        let Ok(request) = tokio::time::timeout_at(again, requests.next()).await else {
            return;
        };
        answered = requests.answer(intake, request.id, Err(reason.to_owned())).await;
    }
    tokio::time::sleep_until(again).await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Sender, channel};

    use floorgate_adapter_api::{Batch, Request, RequestId, RunFuture, StationState, intake};

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

    /// A source that fails over the first request that it takes, and answers the next ones.
    #[derive(Default)]
    struct Fragile(AtomicUsize);

    impl Source for Fragile {
        fn run(&self, context: SourceContext) -> RunFuture {
            let runs = self.0.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                loop {
                    let request = context.requests.next().await;
                    assert!(runs > 0, "this source is fragile");
                    let answered = context
                        .requests
                        .answer(&context.intake, request.id, Ok(Vec::new()));
                    answered.await.expect("the gateway takes it");
                }
            })
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_source_that_fails_over_a_request_leaves_none_unanswered() {
        let (sender, batches) = channel();
        let planned = LoadedSource {
            name: "plc".into(),
            adapter: "fragile",
            tags: 0,
            has_source_time: true,
            late_after: None,
            source: Box::new(Fragile::default()),
        };
        let intake = intake(9, sender, |batch, _| batch);
        let metrics = Metrics::new().expect("metrics are registered");
        let mut asked = None;
        let mut sources = Sources::default();
        let planned = [(SourceId(0), planned)];
        sources.start(planned, Shelf::default(), &intake, &metrics, |requesters| {
            asked = Some(requesters);
        });
        let requesters = asked.expect("it is told");
        let ask = |id| {
            let request = Request {
                id: RequestId(id),
                tags: Vec::new(),
            };
            requesters.ask(SourceId(0), request).expect("it is sent");
            let batch: Batch = batches
                .recv_timeout(Duration::from_secs(30))
                .expect("it is answered");
            let answer = batch.answer.expect("it is an answer");
            assert_eq!(answer.request, RequestId(id));
            answer.result
        };
        assert!(ask(1).is_err(), "the source failed over it");
        // While it is not started again it is answered for.
        let mut id = 2;
        while ask(id).is_err() {
            id += 1;
        }
        assert!(batches.try_recv().is_err(), "each is answered once");
        sources.stop(Duration::from_millis(1)).await;
    }

    /// A source that is up, tells at once what it found of an earlier run, and then whenever it is asked; or that panics instead.
    struct Talker {
        panics_first: bool,
        runs: AtomicUsize,
    }

    impl Source for Talker {
        fn run(&self, context: SourceContext) -> RunFuture {
            let panics = self.runs.fetch_add(1, Ordering::SeqCst) == 0 && self.panics_first;
            Box::pin(async move {
                let found = context.bookmarks.get("place").unwrap_or("nothing").to_owned();
                context.metrics.up.set(1);
                context.metrics.begin_stations(["unit 1".to_owned()]);
                context
                    .metrics
                    .station("unit 1", StationState::Online, None, None);
                loop {
                    let asked = context.requests.next().await;
                    assert!(!panics, "the source's own mistake after {found}");
                    let answered = context
                        .requests
                        .answer(&context.intake, asked.id, Err(found.clone()));
                    answered.await.expect("the gateway takes it");
                }
            })
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_source_that_panics_is_down_and_starts_anew_while_the_others_go_on() {
        let (sender, batches) = channel();
        let intake = intake(9, sender, |batch, _| batch);
        let metrics = Metrics::new().expect("metrics are registered");
        let planned = [("panics", true), ("steady", false)].map(|(name, panics_first)| LoadedSource {
            name: name.into(),
            adapter: "talker",
            tags: 0,
            has_source_time: true,
            late_after: None,
            source: Box::new(Talker {
                panics_first,
                runs: AtomicUsize::new(0),
            }),
        });
        let planned = [SourceId(0), SourceId(1)].into_iter().zip(planned);
        let places = ["panics", "steady"]
            .map(|name| (Arc::from(format!("bookmark:place:{name}")), "a place".to_owned()));
        let shelf = crate::engine::of_sources(places.iter().map(|(key, text)| (key, text)));
        let mut asked = None;
        let mut sources = Sources::default();
        sources.start(planned, shelf, &intake, &metrics, |requesters| {
            asked = Some(requesters);
        });
        let requesters = asked.expect("it is told");
        let ask = |source, id| {
            let request = Request {
                id: RequestId(id),
                tags: Vec::new(),
            };
            requesters.ask(source, request).expect("it is sent");
            let batch: Batch = batches
                .recv_timeout(Duration::from_secs(30))
                .expect("it is answered");
            batch
                .answer
                .expect("it is an answer")
                .result
                .expect_err("the texts of this test")
        };
        let (panics, steady) = (metrics.source("panics"), metrics.source("steady"));
        assert_eq!(ask(SourceId(1), 1), "a place");
        assert_eq!(ask(SourceId(0), 2), "the source failed and is started again");
        assert_eq!((panics.up.get(), panics.restarts.get()), (0, 1));
        // Nor are the parts of it that it said were up.
        assert_eq!(panics.outlook().stations, []);
        assert_eq!(steady.outlook().stations.len(), 1);
        assert_eq!(ask(SourceId(1), 3), "a place", "the other one runs on");
        let mut id = 4;
        let found = loop {
            let found = ask(SourceId(0), id);
            if found != "the source failed and is started again" {
                break found;
            }
            id += 1;
        };
        // What it handed over before it panicked may not be stored.
        assert_eq!(found, "nothing");
        assert_eq!((panics.up.get(), panics.restarts.get()), (1, 1));
        assert_eq!((steady.up.get(), steady.restarts.get()), (1, 0));
        sources.stop(Duration::from_millis(1)).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_source_that_does_not_end_is_ended() {
        let (news, heard) = channel();
        let planned = LoadedSource {
            name: "plc".into(),
            adapter: "deaf",
            tags: 0,
            has_source_time: true,
            late_after: None,
            source: Box::new(Deaf(news)),
        };
        let (sender, _inbox) = channel();
        let intake = intake(1, sender, |_, _| ());
        let metrics = Metrics::new().expect("metrics are registered");
        let mut sources = Sources::default();
        sources.start(
            [(SourceId(0), planned)],
            Shelf::default(),
            &intake,
            &metrics,
            drop,
        );
        let next = || heard.recv_timeout(Duration::from_secs(30));
        assert_eq!(next(), Ok("runs"));
        sources
            .stop_others(|name| name == "plc", Duration::from_millis(1))
            .await;
        assert!(heard.try_recv().is_err(), "it stays");
        sources.stop(Duration::from_millis(1)).await;
        assert_eq!(next(), Ok("gone"));
    }
}
