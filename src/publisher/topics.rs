//! Finds out about topics, and creates them, on a thread of its own: every question here may take as long as a broker is silent.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;

use crate::client::Quiet;
use crate::settings::TopicSettings;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the question for the bounds of one partition's log may take.
const BOUNDS_PATIENCE: Duration = Duration::from_secs(1);
/// How long the question for a cleanup policy may take at least; publishing waits for it. A cluster that tells none is silent.
const POLICY_PATIENCE: Duration = Duration::from_secs(1);
/// How much longer than the question for the partitions it may take, so that a cluster that is slow is not taken for one that tells none.
const POLICY_SHARE: u32 = 10;
/// The client for questions is dropped when none came for this long.
const IDLE: Duration = Duration::from_secs(20);
/// Replicas of a new topic, where the cluster has that many brokers and the operator says nothing.
const USUAL_REPLICATION: usize = 3;

/// Why a topic cannot be published to.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum TopicProblem {
    #[error("no broker answers: {0}")]
    Unreachable(String),
    #[error("topic {0} does not exist, and creating topics is switched off")]
    Missing(String),
    #[error("topic {topic} does not exist and cannot be created: {reason}")]
    NotCreated { topic: String, reason: String },
    #[error("topic {topic} is refused by the broker: {reason}")]
    Refused { topic: String, reason: String },
    #[error("topic {0} is being created")]
    Emerging(String),
    #[error(
        "topic {0} has cleanup.policy=compact, which deletes events that share a key; set it to delete or choose another topic"
    )]
    Compacted(String),
}

/// What became of a question.
#[derive(Clone, Debug)]
pub(crate) struct TopicAnswer {
    pub(crate) topic: String,
    /// The topic's partition count.
    pub(crate) result: Result<u32, TopicProblem>,
    /// Where the logs of its partitions begin and end, as far as they tell, where that was asked.
    pub(crate) bounds: Option<Vec<LogBounds>>,
}

/// The first offset of a partition's log, and the one after its last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogBounds {
    pub(crate) low: i64,
    pub(crate) high: i64,
}

/// What is asked about a topic.
struct Question {
    topic: String,
    /// It is open already, and its logs' bounds are asked too.
    again: bool,
}

/// Asks in the background.
pub(crate) struct TopicKeeper {
    questions: Option<Sender<Question>>,
    thread: Option<JoinHandle<()>>,
}

impl TopicKeeper {
    /// Starts the thread; `answer` is called from it.
    pub(crate) fn start(
        mut connection: ClientConfig,
        settings: TopicSettings,
        answer: impl Fn(TopicAnswer) + Send + 'static,
    ) -> std::io::Result<Self> {
        // A log ends where it ends, and not where someone's open transaction begins.
        connection.set("isolation.level", "read_uncommitted");
        let (questions, asked) = channel();
        let thread = std::thread::Builder::new()
            .name("kafka-topics".to_owned())
            .spawn(move || {
                Keeper {
                    connection,
                    settings,
                    client: None,
                    tells_policies: true,
                }
                .run(&asked, &answer);
            })?;
        Ok(Self {
            questions: Some(questions),
            thread: Some(thread),
        })
    }

    /// Asks about a topic; it is created if it is missing and may be created. One answer follows.
    pub(crate) fn ask(&self, topic: &str) {
        self.send(topic, false);
    }

    /// Asks about an open topic again, and for its logs' bounds. One answer follows.
    pub(crate) fn review(&self, topic: &str) {
        self.send(topic, true);
    }

    fn send(&self, topic: &str, again: bool) {
        if let Some(questions) = &self.questions {
            let topic = topic.to_owned();
            // The thread ends only when this sender is gone.
            let _ = questions.send(Question { topic, again });
        }
    }

    /// Ends the thread, without waiting for a silent broker.
    pub(crate) fn stop(mut self) {
        self.questions = None;
        drop(self.thread.take());
    }
}

struct Keeper {
    connection: ClientConfig,
    settings: TopicSettings,
    client: Option<AdminClient<Quiet>>,
    /// A cluster that does not answer for one topic's configuration is not asked for the others' by the same client.
    tells_policies: bool,
}

impl Keeper {
    fn run(mut self, asked: &Receiver<Question>, answer: &impl Fn(TopicAnswer)) {
        loop {
            let first = match asked.recv_timeout(IDLE) {
                Ok(question) => question,
                Err(RecvTimeoutError::Timeout) => {
                    self.client = None;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut topics: VecDeque<Question> = std::iter::once(first).chain(asked.try_iter()).collect();
            while let Some(Question { topic, again }) = topics.pop_front() {
                let result = self.resolve(&topic);
                if let Err(unreachable @ TopicProblem::Unreachable(_)) = &result {
                    // The silence is the cluster's: nobody waits for it once per topic.
                    for Question { topic, .. } in topics.drain(..) {
                        answer(TopicAnswer {
                            topic,
                            result: Err(unreachable.clone()),
                            bounds: None,
                        });
                    }
                    self.client = None;
                }
                let bounds = match (&self.client, &result) {
                    (Some(client), Ok(partitions)) if again => Some(bounds(client, &topic, *partitions)),
                    _ => None,
                };
                answer(TopicAnswer {
                    topic,
                    result,
                    bounds,
                });
            }
        }
    }

    fn resolve(&mut self, topic: &str) -> Result<u32, TopicProblem> {
        if self.client.is_none() {
            let client = AdminClient::from_config_and_context(&self.connection, Quiet)
                .map_err(|error| TopicProblem::Unreachable(error.to_string()))?;
            self.client = Some(client);
            self.tells_policies = true;
        }
        let Some(client) = &self.client else {
            return Err(TopicProblem::Unreachable(
                "the client could not be made".to_owned(),
            ));
        };
        let asked = Instant::now();
        match partitions(client, topic)? {
            Found::Partitions(count) => {
                if self.tells_policies {
                    let patience = (asked.elapsed() * POLICY_SHARE).clamp(POLICY_PATIENCE, PATIENCE);
                    self.tells_policies = refuse_compacted(client, topic, patience)?;
                }
                Ok(count)
            }
            Found::Nothing { .. } if !self.settings.create => Err(TopicProblem::Missing(topic.to_owned())),
            Found::Nothing { brokers } => {
                create(client, &self.settings, topic, brokers)?;
                match partitions(client, topic)? {
                    Found::Partitions(count) => Ok(count),
                    Found::Nothing { .. } => Err(TopicProblem::Emerging(topic.to_owned())),
                }
            }
        }
    }
}

enum Found {
    Partitions(u32),
    Nothing { brokers: usize },
}

fn partitions(client: &AdminClient<Quiet>, topic: &str) -> Result<Found, TopicProblem> {
    let metadata = client
        .inner()
        .fetch_metadata(Some(topic), PATIENCE)
        .map_err(|error| unreachable_or_refused(topic, &error))?;
    let brokers = metadata.brokers().len();
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Ok(Found::Nothing { brokers });
    };
    match found.error().map(RDKafkaErrorCode::from) {
        None => {}
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            return Ok(Found::Nothing { brokers });
        }
        Some(RDKafkaErrorCode::LeaderNotAvailable) => return Err(TopicProblem::Emerging(topic.to_owned())),
        Some(code) => {
            return Err(TopicProblem::Refused {
                topic: topic.to_owned(),
                reason: code.to_string(),
            });
        }
    }
    match u32::try_from(found.partitions().len()) {
        Ok(count) if count > 0 => Ok(Found::Partitions(count)),
        _ => Err(TopicProblem::Emerging(topic.to_owned())),
    }
}

/// The bounds of a topic's logs, up to a partition that tells none for now.
fn bounds(client: &AdminClient<Quiet>, topic: &str, partitions: u32) -> Vec<LogBounds> {
    let of = |partition| {
        let partition = i32::try_from(partition).ok()?;
        let bounds = client.inner().fetch_watermarks(topic, partition, BOUNDS_PATIENCE);
        bounds.ok().map(|(low, high)| LogBounds { low, high })
    };
    (0..partitions).map_while(of).collect()
}

fn unreachable_or_refused(topic: &str, error: &KafkaError) -> TopicProblem {
    match error.rdkafka_error_code() {
        Some(
            code @ (RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::InvalidTopic),
        ) => TopicProblem::Refused {
            topic: topic.to_owned(),
            reason: code.to_string(),
        },
        Some(code) => TopicProblem::Unreachable(code.to_string()),
        None => TopicProblem::Unreachable(error.to_string()),
    }
}

fn create(
    client: &AdminClient<Quiet>,
    settings: &TopicSettings,
    topic: &str,
    brokers: usize,
) -> Result<(), TopicProblem> {
    let not_created = |reason: String| TopicProblem::NotCreated {
        topic: topic.to_owned(),
        reason,
    };
    let usual = brokers.clamp(1, USUAL_REPLICATION);
    let replication = settings.replication.map_or(usual, usize::from);
    let replication = i32::try_from(replication).unwrap_or(i32::MAX);
    let new = NewTopic::new(
        topic,
        i32::from(settings.partitions),
        TopicReplication::Fixed(replication),
    )
    // Whatever the brokers do with topics of which nothing is said.
    .set("cleanup.policy", "delete");
    let options = AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE));
    let results =
        wait(client.create_topics([&new], &options)).map_err(|error| not_created(error.to_string()))?;
    match results.into_iter().next() {
        Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => {
            Err(not_created(code.to_string()))
        }
        _ => {
            tracing::info!(
                topic,
                partitions = settings.partitions,
                replication,
                "kafka topic created"
            );
            Ok(())
        }
    }
}

/// Refuses a topic whose older events vanish by key. Returns whether the cluster told: one that does not, or forbids asking, is not
/// held against the topic.
fn refuse_compacted(
    client: &AdminClient<Quiet>,
    topic: &str,
    patience: Duration,
) -> Result<bool, TopicProblem> {
    let options = AdminOptions::new().request_timeout(Some(patience));
    let described = wait(client.describe_configs([&ResourceSpecifier::Topic(topic)], &options));
    let policy = match described.map(|results| results.into_iter().next()) {
        Ok(Some(Ok(resource))) => resource
            .get("cleanup.policy")
            .and_then(|entry| entry.value.clone()),
        Ok(Some(Err(code))) => {
            tracing::debug!(topic, %code, "the cluster does not tell the topic's cleanup.policy");
            return Ok(true);
        }
        Ok(None) => None,
        Err(error) => {
            tracing::debug!(topic, %error, "the cluster does not tell cleanup policies");
            return Ok(false);
        }
    };
    match policy {
        Some(policy) if policy.split(',').any(|part| part.trim() == "compact") => {
            Err(TopicProblem::Compacted(topic.to_owned()))
        }
        _ => Ok(true),
    }
}

/// Waits for an answer of the administration client, which completes it from a thread of its own.
fn wait<T>(answer: impl Future<Output = rdkafka::error::KafkaResult<T>>) -> rdkafka::error::KafkaResult<T> {
    match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime.block_on(answer),
        Err(_) => Err(KafkaError::AdminOp(RDKafkaErrorCode::Fail)),
    }
}
