//! Topics: whether records may be sent to them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use crate::report::Report;
use crate::topics::{TopicAnswer, TopicProblem};
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
    /// Why it is not known what the log has.
    pub(crate) log_problem: Option<String>,
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
            log_problem: None,
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
        let Some(topic) = self.topics.iter_mut().find(|topic| *topic.name == *answer.topic) else {
            return;
        };
        match answer.result {
            Ok(partitions) => {
                let open = TopicState::Open { partitions };
                let news = std::mem::replace(&mut topic.state, open) != open;
                topic.problem = None;
                if news {
                    self.fence.name(&topic.name);
                }
                match topic.pinned {
                    None => {
                        topic.pinned = Some(partitions);
                        let topic = Arc::clone(&topic.name);
                        self.shared.report(Report::TopicPinned { topic, partitions });
                    }
                    Some(pinned) if partitions > pinned => {
                        let text = format!(
                            "topic {} has {partitions} partitions where it had {pinned}; the first {pinned} stay in use, so that no key changes its place",
                            topic.name
                        );
                        if news {
                            tracing::warn!(topic = &*topic.name, "{text}");
                        }
                        topic.problem = Some(text);
                    }
                    Some(pinned) if partitions < pinned => {
                        topic.problem = Some(format!(
                            "topic {} has {partitions} partitions where it had {pinned}; events of the missing ones wait",
                            topic.name
                        ));
                    }
                    Some(_) => {}
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
                    tracing::error!(topic = &*topic.name, "{text}");
                }
                topic.problem = Some(text);
            }
        }
    }
}
