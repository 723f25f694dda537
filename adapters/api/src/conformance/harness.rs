//! A source that runs as the gateway would run it, and everything that came from it.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::time::Duration;

use floorgate_metrics::{Metrics, SourceMetrics};
use floorgate_sample::{Answer, Quality, RequestId, Sample, SourceId, TagId, Value};
use floorgate_yaml::{Node, Problems, parse};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Rig;
use crate::{
    Adapter, Admission, Batch, Bookmarks, Continuity, GapScope, Notice, Request, Requester, SnapshotSpec,
    Source, SourceContext, SourceSpec, TagSpec, intake, requests,
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

    /// Whether the source says that nothing is known of its tags.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Notice(Notice::Offline { .. } | Notice::Stale { .. }))
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

/// What came of a request.
#[derive(Clone, Debug)]
pub struct Answered {
    /// How it ended.
    pub answer: Answer,
    /// What was read.
    pub samples: Vec<Sample>,
}

/// What is asked of a source beside watching its tags.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    /// Numbers of the tags that are read only when they are asked for.
    pub on_demand: Vec<u32>,
    /// Numbers of tags that are read together.
    pub snapshots: Vec<Vec<u32>>,
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
    plan_demands(adapter, settings, addresses, &Demands::default(), folder)
}

/// The same with what is asked of the source beside. A snapshot's place is that of its first tag, its rule is called `kit/snapshot`.
pub fn plan_demands(
    adapter: &dyn Adapter,
    settings: &str,
    addresses: &[String],
    demands: &Demands,
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
                on_demand: demands.on_demand.contains(&id),
            })
            .collect(),
        snapshots: demands
            .snapshots
            .iter()
            .map(|tags| SnapshotSpec {
                tags: tags.iter().copied().map(TagId).collect(),
                at: nodes[tags[0] as usize].1.span,
                rule: "kit/snapshot",
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
        Self::demanding(
            adapter,
            settings,
            addresses,
            &Demands::default(),
            folder,
            patience,
        )
    }

    /// The same with what is asked of the source beside.
    pub fn demanding(
        adapter: &dyn Adapter,
        settings: &str,
        addresses: &[String],
        demands: &Demands,
        folder: &Path,
        patience: Duration,
    ) -> Self {
        match plan_demands(adapter, settings, addresses, demands, folder) {
            (Some(source), problems) if !problems.has_errors() => Self { source, patience },
            (_, problems) => panic!("the configuration is refused: {:#?}", problems.list()),
        }
    }

    /// A source over all tags of the rig, then `more`.
    pub(super) fn of<R: Rig>(rig: &R, more: &[String]) -> Self {
        Self::of_demanding(rig, more, &Demands::default())
    }

    /// The same with what is asked of the source beside.
    pub(super) fn of_demanding<R: Rig>(rig: &R, more: &[String], demands: &Demands) -> Self {
        let mut all = addresses(rig);
        all.extend_from_slice(more);
        Self::demanding(
            &*rig.adapter(),
            &rig.settings(),
            &all,
            demands,
            &rig.folder(),
            rig.patience(),
        )
    }

    /// Starts a run with room for `capacity` samples in the intake.
    #[must_use]
    pub fn run(&self, capacity: u32) -> Running {
        self.run_after(HashMap::new(), capacity)
    }

    /// The same for a process that finds these bookmarks.
    pub(super) fn run_after(&self, bookmarks: HashMap<String, String>, capacity: u32) -> Running {
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
        let all_metrics = Metrics::new().expect("metric names are unique");
        let metrics = all_metrics.source("peer");
        let stop = CancellationToken::new();
        let (requester, requests) = requests(64);
        let context = SourceContext {
            name: "peer".to_owned(),
            bookmarks: Bookmarks::new(bookmarks.clone()),
            intake: intake(capacity, sender, |batch, admission| (batch, admission)).for_source(SourceId(7)),
            stop: stop.clone(),
            metrics: metrics.clone(),
            requests,
        };
        let task = tokio::spawn(self.source.run(context));
        Running {
            received,
            waiting: VecDeque::new(),
            answers: VecDeque::new(),
            requester,
            asked: 0,
            log: Vec::new(),
            stop,
            metrics,
            all_metrics,
            task,
            bookmarks,
            drop_receipts: false,
            patience: self.patience,
        }
    }
}

/// A run of a source.
pub struct Running {
    received: UnboundedReceiver<(Batch, Admission)>,
    waiting: VecDeque<Seen>,
    answers: VecDeque<Answered>,
    requester: Requester,
    asked: u64,
    log: Vec<Seen>,
    stop: CancellationToken,
    /// The source's metrics.
    pub metrics: SourceMetrics,
    all_metrics: Metrics,
    task: JoinHandle<()>,
    bookmarks: HashMap<String, String>,
    /// Receipts are dropped unfired, as when the gateway could not store a batch.
    pub drop_receipts: bool,
    patience: Duration,
}

impl Running {
    /// What is exported as a gauge of the source where a label has this value.
    #[must_use]
    pub fn gauge_of(&self, name: &str, label: &str, value: &str) -> Option<f64> {
        let families = self.all_metrics.registry.gather();
        let family = families.iter().find(|family| family.name() == name)?;
        let metric = family.get_metric().iter().find(|metric| {
            let mut labels = metric.get_label().iter();
            labels.any(|of| of.name() == label && of.value() == value)
        })?;
        Some(metric.get_gauge().get_value())
    }

    /// The next thing received within the given time.
    pub async fn next(&mut self, within: Duration) -> Option<Seen> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            if let Some(seen) = self.waiting.pop_front() {
                self.log.push(seen.clone());
                return Some(seen);
            }
            if !self.receive(deadline).await {
                return None;
            }
        }
    }

    /// Takes one batch; false where none came in time.
    async fn receive(&mut self, deadline: tokio::time::Instant) -> bool {
        let (batch, admission) = match tokio::time::timeout_at(deadline, self.received.recv()).await {
            Err(_) => return false,
            Ok(None) => panic!(
                "`run` ended before it was told to stop; received: {:#?}",
                self.log
            ),
            Ok(Some(received)) => received,
        };
        assert_eq!(
            batch.source,
            SourceId(7),
            "a batch carries the number of its source"
        );
        if let Some(answer) = batch.answer {
            assert!(
                batch.notices.is_empty() && batch.bookmarks.is_empty(),
                "an answer carries what was read and nothing else: {:#?}",
                batch.notices
            );
            self.answers.push_back(Answered {
                answer,
                samples: batch.samples,
            });
        } else {
            self.waiting.extend(batch.notices.into_iter().map(Seen::Notice));
            self.waiting.extend(batch.samples.into_iter().map(Seen::Sample));
        }
        for bookmark in batch.bookmarks {
            self.bookmarks.insert(bookmark.name.to_owned(), bookmark.text);
        }
        if let Some(receipt) = batch.receipt
            && !self.drop_receipts
        {
            receipt.fire();
        }
        drop(admission);
        true
    }

    /// What a process finds that comes after this one.
    pub(super) fn bookmarks(&self) -> HashMap<String, String> {
        self.bookmarks.clone()
    }

    /// Waits until the source's metrics are so. What arrives meanwhile is kept.
    pub(super) async fn until_metrics(&mut self, what: &str, is_so: impl Fn(&SourceMetrics) -> bool) {
        let deadline = tokio::time::Instant::now() + self.patience;
        while !is_so(&self.metrics) {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{what}: not within {:?}",
                self.patience
            );
            let soon = tokio::time::Instant::now() + Duration::from_millis(5);
            self.receive(soon.min(deadline)).await;
        }
    }

    /// Asks for tags; the number of the request.
    pub fn ask(&mut self, tags: &[u32]) -> RequestId {
        let id = RequestId(self.asked);
        self.asked += 1;
        let tags = tags.iter().copied().map(TagId).collect();
        if let Err(unsent) = self.requester.try_send(Request { id, tags }) {
            panic!("a request cannot be sent: {unsent}");
        }
        id
    }

    /// The next answer. What else arrives meanwhile is kept.
    pub async fn answer(&mut self) -> Answered {
        let deadline = tokio::time::Instant::now() + self.patience;
        while self.answers.is_empty() {
            assert!(
                self.receive(deadline).await,
                "a request is answered: not within {:?}; received: {:#?}",
                self.patience,
                self.log
            );
        }
        self.answers.pop_front().expect("there is one")
    }

    /// Answers that came and were not asked after.
    #[must_use]
    pub fn unclaimed(&self) -> usize {
        self.answers.len()
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
