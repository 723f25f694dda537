//! A source that runs as the gateway would run it, and everything that came from it.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use floorgate_metrics::{Metrics, SourceMetrics};
use floorgate_sample::{Quality, Sample, SourceId, TagId, Value};
use floorgate_yaml::{Node, Problems, parse};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Rig;
use crate::{
    Adapter, Admission, Batch, Bookmarks, Continuity, Expects, GapScope, Notice, Source, SourceContext,
    SourceSpec, TagSpec, intake,
};

/// Room in the intake where a test is not about it.
pub const AMPLE: u32 = 10_000;

/// What was received, notices of a batch before its samples.
#[derive(Clone, Debug)]
pub enum Seen {
    /// What the source says of itself.
    Notice(Notice),
    /// A value.
    Sample(Sample),
}

impl Seen {
    /// The sample, where this is one of the tag with this number.
    #[must_use]
    pub fn sample_of(&self, tag: usize) -> Option<&Sample> {
        match self {
            Self::Sample(sample) if sample.tag.index() == tag => Some(sample),
            _ => None,
        }
    }

    /// Whether this is a good sample of the tag with this value.
    #[must_use]
    pub fn shows(&self, tag: usize, value: &Value) -> bool {
        self.sample_of(tag).is_some_and(|sample| {
            sample.quality == Quality::GOOD && sample.value.as_ref().is_some_and(|shown| shown.same(value))
        })
    }

    /// Whether the source says that it is connected.
    #[must_use]
    pub fn is_online(&self) -> bool {
        matches!(self, Self::Notice(Notice::Online(_)))
    }

    /// Whether the source says that it is lost.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        matches!(self, Self::Notice(Notice::Offline { .. }))
    }

    /// Whether this says that changes of the tag may have been missed.
    #[must_use]
    pub fn is_gap_of(&self, tag: usize) -> bool {
        match self {
            Self::Notice(
                Notice::Online(Continuity::New)
                | Notice::Gap {
                    scope: GapScope::Source,
                    ..
                },
            ) => true,
            Self::Notice(Notice::Gap {
                scope: GapScope::Tags(tags),
                ..
            }) => tags.iter().any(|id| id.index() == tag),
            Self::Notice(_) => false,
            Self::Sample(sample) => sample.tag.index() == tag && sample.gap,
        }
    }
}

/// A planned source. It outlives its runs.
pub struct Planned {
    source: Box<dyn Source>,
    patience: Duration,
}

/// Reads YAML that the rig wrote.
pub(super) fn node(text: &str, problems: &mut Problems) -> Node {
    let file = problems.add_file(Path::new("rig.yaml"), text.to_owned());
    match parse(file, text, problems) {
        Some(node) => node,
        None => panic!("the rig's YAML cannot be read: {:?}\n{text}", problems.list()),
    }
}

/// Plans a source over these addresses, all as YAML; tags are numbered in their order. `folder` is where relative
/// paths start and where the adapter keeps its files.
pub fn plan(
    adapter: &dyn Adapter,
    settings: &str,
    addresses: &[String],
    folder: &Path,
) -> (Option<Box<dyn Source>>, Problems) {
    let mut problems = Problems::default();
    let settings = node(settings, &mut problems);
    let nodes: Vec<(String, Node)> = addresses
        .iter()
        .enumerate()
        .map(|(index, address)| (format!("kit/tag{index}"), node(address, &mut problems)))
        .collect();
    let spec = SourceSpec {
        name: "peer",
        settings: &settings,
        tags: (0u32..)
            .zip(&nodes)
            .map(|(id, (name, address))| TagSpec {
                id: TagId(id),
                name,
                address,
                expects: Expects::Anything,
            })
            .collect(),
        base: folder,
        state: folder,
    };
    let source = adapter.plan(spec, &mut problems);
    (source, problems)
}

/// The addresses of all the rig's tags.
pub(super) fn addresses<R: Rig>(rig: &R) -> Vec<String> {
    (0..R::TAGS).map(|tag| rig.address(tag)).collect()
}

impl Planned {
    /// A source over these addresses. What must happen is waited for as long as `patience`.
    pub fn new(
        adapter: &dyn Adapter,
        settings: &str,
        addresses: &[String],
        folder: &Path,
        patience: Duration,
    ) -> Self {
        match plan(adapter, settings, addresses, folder) {
            (Some(source), problems) if !problems.has_errors() => Self { source, patience },
            (_, problems) => panic!("the configuration is refused: {:#?}", problems.list()),
        }
    }

    /// A source over all tags of the rig, then `more`.
    pub(super) fn of<R: Rig>(rig: &R, more: &[String]) -> Self {
        let mut all = addresses(rig);
        all.extend_from_slice(more);
        Self::new(
            &*rig.adapter(),
            &rig.settings(),
            &all,
            &rig.folder(),
            rig.patience(),
        )
    }

    /// Starts a run with room for `capacity` samples in the intake.
    #[must_use]
    pub fn run(&self, capacity: u32) -> Running {
        let (sender, from_source) = std::sync::mpsc::channel();
        let (to_test, received) = tokio::sync::mpsc::unbounded_channel();
        // The intake delivers to a thread, as in the gateway. What waits in the second channel still holds its
        // admission, so that it adds no room.
        std::thread::spawn(move || {
            while let Ok(message) = from_source.recv() {
                if to_test.send(message).is_err() {
                    break;
                }
            }
        });
        let metrics = Metrics::new().expect("metric names are unique").source("peer");
        let stop = CancellationToken::new();
        let context = SourceContext {
            name: "peer".to_owned(),
            bookmarks: Bookmarks::default(),
            intake: intake(capacity, sender, |batch, admission| (batch, admission)).for_source(SourceId(7)),
            stop: stop.clone(),
            metrics: metrics.clone(),
        };
        let task = tokio::spawn(self.source.run(context));
        Running {
            received,
            waiting: VecDeque::new(),
            log: Vec::new(),
            stop,
            metrics,
            task,
            drop_receipts: false,
            patience: self.patience,
        }
    }
}

/// A run of a source.
pub struct Running {
    received: UnboundedReceiver<(Batch, Admission)>,
    waiting: VecDeque<Seen>,
    log: Vec<Seen>,
    stop: CancellationToken,
    /// The source's metrics.
    pub metrics: SourceMetrics,
    task: JoinHandle<()>,
    /// Receipts are dropped unfired, as when the gateway could not store a batch.
    pub drop_receipts: bool,
    patience: Duration,
}

impl Running {
    /// The next thing received within the given time.
    pub async fn next(&mut self, within: Duration) -> Option<Seen> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            if let Some(seen) = self.waiting.pop_front() {
                self.log.push(seen.clone());
                return Some(seen);
            }
            match tokio::time::timeout_at(deadline, self.received.recv()).await {
                Err(_) => return None,
                Ok(None) => panic!(
                    "`run` ended before it was told to stop; received: {:#?}",
                    self.log
                ),
                Ok(Some((batch, admission))) => {
                    assert_eq!(
                        batch.source,
                        SourceId(7),
                        "a batch carries the number of its source"
                    );
                    self.waiting.extend(batch.notices.into_iter().map(Seen::Notice));
                    self.waiting.extend(batch.samples.into_iter().map(Seen::Sample));
                    if let Some(receipt) = batch.receipt
                        && !self.drop_receipts
                    {
                        receipt.fire();
                    }
                    drop(admission);
                }
            }
        }
    }

    /// Everything until `done` says so, that one included.
    pub async fn until(&mut self, what: &str, mut done: impl FnMut(&Seen) -> bool) -> Vec<Seen> {
        let deadline = tokio::time::Instant::now() + self.patience;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let Some(next) = self.next(left).await else {
                panic!(
                    "{what}: not within {:?}; received: {:#?}",
                    self.patience, self.log
                );
            };
            seen.push(next);
            if seen.last().is_some_and(&mut done) {
                return seen;
            }
        }
    }

    /// Everything until each of these tags has shown the value that goes with it.
    pub async fn until_shown(&mut self, what: &str, wanted: &[(usize, Value)]) -> Vec<Seen> {
        let mut open = wanted.to_vec();
        self.until(what, |seen| {
            open.retain(|(tag, value)| !seen.shows(*tag, value));
            open.is_empty()
        })
        .await
    }

    /// Cancels the run and waits for its end, for at most two seconds.
    pub async fn stop(self, when: &str) {
        self.stop.cancel();
        match timeout(Duration::from_secs(2), self.task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!("`run` panicked {when}: {error}"),
            Err(error) => panic!("`run` did not end within 2 s of being told to stop {when}: {error}"),
        }
    }

    /// Drops the run where it stands, as the gateway does after a panic.
    pub async fn abandon(self) {
        self.task.abort();
        assert!(
            self.task.await.is_err_and(|error| error.is_cancelled()),
            "an aborted run ends as cancelled"
        );
    }
}
