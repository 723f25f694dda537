//! Topics: whether records may be sent to them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use crate::lane::Lane;
use crate::report::Report;
use crate::topics::{LogBounds, TopicAnswer, TopicProblem};
use crate::worker::{REVIEW_PAUSE, Worker};

/// Pause before a topic is asked about again.
const TOPIC_PAUSE: Duration = Duration::from_secs(10);
/// The same while no broker answers, or the topic has just been made.
const SHORT_PAUSE: Duration = Duration::from_millis(500);

/// A topic as far as it is known.
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) state: TopicState,
    pub(crate) pinned: Option<u32>,
    pub(crate) published: IntCounter,
    pub(crate) wanted: bool,
    /// When it is looked at again although it is open.
    pub(crate) review_at: Instant,
    pub(crate) problem: Option<String>,
    /// Its logs' bounds are asked for.
    pub(crate) reviewed: bool,
    /// Those when they were last asked for.
    pub(crate) bounds: Vec<LogBounds>,
}

impl Topic {
    /// Whether it is open and has that partition.
    pub(crate) fn has(&self, partition: Option<u32>) -> bool {
        match self.state {
            TopicState::Open { partitions } => partition.is_some_and(|own| own < partitions),
            _ => false,
        }
    }
}

/// Whether records may be sent to a topic.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TopicState {
    Unknown,
    Asked,
    Open { partitions: u32 },
    Closed { until: Instant },
}

impl Worker {
    /// The place of a topic in the table, in which it may be new.
    pub(crate) fn topic(&mut self, name: &Arc<str>, pinned: Option<u32>) -> usize {
        if let Some(place) = self.topics.iter().position(|topic| topic.name == *name) {
            let topic = &mut self.topics[place];
            topic.pinned = topic.pinned.or(pinned);
            return place;
        }
        self.topics.push(Topic {
            name: Arc::clone(name),
            state: TopicState::Unknown,
            pinned,
            published: self.metrics.published.with_label_values(&[&**name]),
            wanted: false,
            review_at: Instant::now() + REVIEW_PAUSE,
            problem: None,
            reviewed: false,
            bounds: Vec::new(),
        });
        self.topics.len() - 1
    }

    pub(crate) fn take_answer(&mut self, answer: TopicAnswer) {
        let unreachable = matches!(answer.result, Err(TopicProblem::Unreachable(_)));
        if unreachable {
            self.lost();
        } else {
            self.reached();
        }
        let Some(place) = self.topics.iter().position(|topic| *topic.name == *answer.topic) else {
            return;
        };
        let topic = &mut self.topics[place];
        topic.reviewed &= answer.bounds.is_none() && answer.result.is_ok();
        match answer.result {
            Ok(partitions) => {
                let open = TopicState::Open { partitions };
                let news = std::mem::replace(&mut topic.state, open) != open;
                if news {
                    self.fence.name(&topic.name);
                    // It may have been made anew.
                    topic.review_at = Instant::now();
                }
                if topic.pinned.is_none() {
                    let topic = Arc::clone(&topic.name);
                    self.shared.report(Report::TopicPinned { topic, partitions });
                } else if news && topic.pinned < Some(partitions) {
                    // They are used one day, without being asked for then.
                    self.clients
                        .iter()
                        .for_each(|clients| clients.refresh(&topic.name));
                    tracing::warn!(
                        topic = &*topic.name,
                        partitions,
                        pinned = topic.pinned,
                        see = "gateway-partitions-added",
                        "partitions were added to the topic, and get nothing yet"
                    );
                }
                self.judge_count(place);
                if let Some(bounds) = answer.bounds {
                    self.take_bounds(place, bounds);
                }
            }
            Err(problem) => {
                let short = unreachable || matches!(problem, TopicProblem::Emerging(_));
                let pause = if short { SHORT_PAUSE } else { TOPIC_PAUSE };
                topic.state = TopicState::Closed {
                    until: Instant::now() + pause,
                };
                let text = problem.to_string();
                if topic.problem.as_ref() != Some(&text) && !short {
                    tracing::error!(topic = &*topic.name, see = "gateway-topic-unusable", "{text}");
                }
                topic.problem = Some(text);
            }
        }
    }
    /// Takes which partition count the store has pinned.
    pub(crate) fn take_pinned(&mut self, name: &Arc<str>, partitions: Option<u32>) {
        let place = self.topic(name, None);
        let topic = &mut self.topics[place];
        topic.pinned = partitions;
        if partitions.is_none() {
            // The count that was told last may be an old one.
            topic.wanted = true;
            topic.review_at = Instant::now();
        } else {
            // Those that were added are used from now on.
            let clients = self.clients.iter();
            clients.for_each(|clients| clients.refresh(name));
        }
        self.judge_count(place);
    }

    /// Says where the partitions of an open topic are not those that are used.
    fn judge_count(&mut self, place: usize) {
        let topic = &mut self.topics[place];
        let TopicState::Open { partitions } = topic.state else {
            return;
        };
        let name = &topic.name;
        topic.problem = match topic.pinned {
            None => {
                let is_used = |lane: &Lane| lane.topic == place && lane.partition.is_some();
                self.slots.iter().any(|slot| is_used(&slot.lane)).then(|| {
                    format!(
                        "topic {name} has {partitions} partitions, which are used once its stored events are delivered; new ones wait until then"
                    )
                })
            }
            Some(pinned) if partitions > pinned => Some(format!(
                "topic {name} has {partitions} partitions where it had {pinned}; the first {pinned} stay in use, so that no key changes its \
                 place, until `floorgate outbox repartition {name}`"
            )),
            Some(pinned) if partitions < pinned => Some(format!(
                "topic {name} has {partitions} partitions where it had {pinned}; events of the missing ones wait until they are added again"
            )),
            Some(_) => None,
        };
    }
}
