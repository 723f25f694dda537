//! Reads the end of partitions, on a thread of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use floorgate_sample::Timestamp;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use thiserror::Error;

use crate::client::Quiet;
use crate::fence::group;
use crate::reading::Reading;
use crate::reconcile::{Claim, Tail};

/// How long what a dead process or producer still has on its way is waited for before the log is looked at once more.
const SETTLING: Duration = Duration::from_millis(250);
/// Questions that come so shortly after each other are answered together.
const GATHERING: Duration = Duration::from_millis(20);
/// How long the end of other programs' transactions is waited for at once: mostly they are short.
const OPEN_TRANSACTION_PATIENCE: Duration = Duration::from_millis(300);
/// Pause before it is looked again whether a transaction has ended.
const OPEN_TRANSACTION_PAUSE: Duration = Duration::from_millis(50);
/// How long the broker may be silent.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How long one look for the next record takes at most.
const LOOK: Duration = Duration::from_millis(100);
/// The client is dropped when no question came for this long.
const IDLE: Duration = Duration::from_secs(20);

/// What is asked about a lane.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// The lane's place in the publisher's table.
    pub(crate) place: usize,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) claim: Claim,
    /// When the first row was recorded that may be on the log, where none of the lane has an offset.
    pub(crate) since: Option<Timestamp>,
}

/// Why nothing can be said about a lane.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum LogProblem {
    /// The gateway may not read the topic.
    #[error("reading topic {0} is not allowed")]
    Forbidden(String),
    /// The topic or the partition is not there any more.
    #[error("topic {0} is not there any more")]
    Missing(String),
    /// Someone's transaction is not ended, and what was committed after it began cannot be read.
    #[error("a transaction that is not ended hides the end of topic {0}")]
    Hidden(String),
    /// It is worth trying again.
    #[error("partition {partition} of topic {topic} cannot be read: {reason}")]
    Unreadable {
        topic: String,
        partition: i32,
        reason: String,
    },
}

/// What was found out.
#[derive(Clone, Debug)]
pub(crate) struct LogAnswer {
    pub(crate) place: usize,
    /// The claim that was asked about.
    pub(crate) claim: Claim,
    pub(crate) result: Result<Tail, LogProblem>,
    /// So many records were read, others' too.
    pub(crate) read: u64,
}

/// Reads in the background.
pub(crate) struct LogReader {
    questions: Option<Sender<Question>>,
    thread: Option<JoinHandle<()>>,
}

impl LogReader {
    /// Starts the thread; `answer` is called from it.
    pub(crate) fn start(
        connection: &ClientConfig,
        gateway: String,
        in_transactions: bool,
        answer: impl Fn(LogAnswer) + Send + 'static,
    ) -> std::io::Result<Self> {
        let mut config = connection.clone();
        config
            // The client wants a name of a group; it is never joined, and nothing is stored in it.
            .set("group.id", group(&gateway))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("fetch.wait.max.ms", "20")
            .set("queued.max.messages.kbytes", "4096");
        let (questions, asked) = channel();
        let thread = std::thread::Builder::new()
            .name("kafka-log".to_owned())
            .spawn(move || {
                Logs {
                    config,
                    gateway,
                    in_transactions,
                    all: None,
                    committed: None,
                }
                .run(&asked, &answer);
            })?;
        Ok(Self {
            questions: Some(questions),
            thread: Some(thread),
        })
    }

    /// Asks about a lane. One answer follows.
    pub(crate) fn ask(&self, question: Question) {
        if let Some(questions) = &self.questions {
            // The thread ends only when this sender is gone.
            let _ = questions.send(question);
        }
    }

    /// Ends the thread, without waiting for a silent broker.
    pub(crate) fn stop(mut self) {
        self.questions = None;
        drop(self.thread.take());
    }
}

/// Answers with what was read.
fn tell(readings: impl IntoIterator<Item = Reading>, answer: &impl Fn(LogAnswer)) {
    for reading in readings {
        answer(LogAnswer {
            place: reading.question.place,
            claim: reading.question.claim,
            read: reading.read,
            result: Ok(reading.tail),
        });
    }
}

type Client = BaseConsumer<Quiet>;

impl ConsumerContext for Quiet {}

struct Logs {
    config: ClientConfig,
    gateway: String,
    /// This process publishes in transactions.
    in_transactions: bool,
    /// Reads all records.
    all: Option<Client>,
    /// Reads committed records only.
    committed: Option<Client>,
}

impl Logs {
    fn run(mut self, asked: &Receiver<Question>, answer: &impl Fn(LogAnswer)) {
        loop {
            let first = match asked.recv_timeout(IDLE) {
                Ok(question) => question,
                Err(RecvTimeoutError::Timeout) => {
                    self.forget_clients();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut topics: BTreeMap<Arc<str>, Vec<Reading>> = BTreeMap::new();
            let mut next = Some(first);
            while let Some(question) = next {
                let readings = topics.entry(Arc::clone(&question.topic)).or_default();
                readings.push(Reading::new(question));
                next = asked.recv_timeout(GATHERING).ok();
            }
            // Where something cannot be read, or nothing was sent and nothing is there, that is said at once.
            topics.retain(|topic, readings| {
                self.look(topic, readings, answer);
                let (done, left) = readings.drain(..).partition(Reading::is_vain);
                *readings = left;
                tell(done, answer);
                !readings.is_empty()
            });
            if topics.is_empty() {
                continue;
            }
            std::thread::sleep(SETTLING);
            for (topic, mut readings) in topics {
                self.look(&topic, &mut readings, answer);
                tell(readings, answer);
            }
        }
    }

    /// Reads what there is of a topic's partitions by now. Those that cannot be read are answered and left out.
    fn look(&mut self, topic: &str, readings: &mut Vec<Reading>, answer: &impl Fn(LogAnswer)) {
        if self.try_read(topic, readings).is_err() {
            // One partition without a leader holds up no other.
            readings.retain_mut(|reading| {
                let Err(problem) = self.try_read(topic, std::slice::from_mut(reading)) else {
                    return true;
                };
                answer(reading.fails(problem));
                false
            });
        }
        readings.retain(|reading| {
            if reading.hidden {
                answer(reading.fails(LogProblem::Hidden(topic.to_owned())));
            }
            !reading.hidden
        });
    }

    fn try_read(&mut self, topic: &str, readings: &mut [Reading]) -> Result<(), LogProblem> {
        let result = if self.in_transactions {
            self.read_committed(topic, readings)
        } else {
            self.read_all(topic, readings)
        };
        let Err(error) = result else {
            return Ok(());
        };
        // A client that failed may stay in that state.
        self.forget_clients();
        Err(match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => LogProblem::Forbidden(topic.to_owned()),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                LogProblem::Missing(topic.to_owned())
            }
            // Also a partition that has no leader for now, which the client does not know either.
            _ => LogProblem::Unreadable {
                topic: topic.to_owned(),
                // More than one is read only before each is read alone.
                partition: readings.first().map_or(0, |reading| reading.question.partition),
                reason: error.to_string(),
            },
        })
    }

    fn forget_clients(&mut self) {
        self.all = None;
        self.committed = None;
    }

    /// Reads all records; where some of the gateway's turn out to have been sent in transactions, by an earlier process, only the committed ones.
    fn read_all(&mut self, topic: &str, readings: &mut [Reading]) -> Result<(), KafkaError> {
        let client = client(&mut self.all, &self.config, "read_uncommitted")?;
        let high = |partition| client.fetch_watermarks(topic, partition, PATIENCE).map(Some);
        read(client, topic, readings, &self.gateway, high)?;
        for reading in readings.iter_mut().filter(|reading| reading.transactional) {
            reading.begin_again();
            self.read_committed(topic, std::slice::from_mut(reading))?;
        }
        Ok(())
    }

    fn read_committed(&mut self, topic: &str, readings: &mut [Reading]) -> Result<(), KafkaError> {
        let all = client(&mut self.all, &self.config, "read_uncommitted")?;
        let client = client(&mut self.committed, &self.config, "read_committed")?;
        let end_of_patience = Instant::now() + OPEN_TRANSACTION_PATIENCE;
        let bounds = |partition| {
            // A transaction of anyone that is open hides what others committed after it began.
            let (_, end) = all.fetch_watermarks(topic, partition, PATIENCE)?;
            loop {
                let (low, high) = client.fetch_watermarks(topic, partition, PATIENCE)?;
                if high >= end {
                    return Ok(Some((low, high)));
                }
                if Instant::now() > end_of_patience {
                    return Ok(None);
                }
                std::thread::sleep(OPEN_TRANSACTION_PAUSE);
            }
        };
        read(client, topic, readings, &self.gateway, bounds)
    }
}

/// The client of that isolation, which is made where it is not there.
fn client<'a>(
    place: &'a mut Option<Client>,
    config: &ClientConfig,
    isolation: &str,
) -> Result<&'a Client, KafkaError> {
    if let Some(client) = place {
        return Ok(client);
    }
    let mut config = config.clone();
    config.set("isolation.level", isolation);
    Ok(place.insert(BaseConsumer::from_config_and_context(&config, Quiet)?))
}

/// Reads partitions of a topic up to their ends. `bounds` tells where a log begins and ends; nothing where a transaction hides the end.
fn read(
    client: &Client,
    topic: &str,
    readings: &mut [Reading],
    gateway: &str,
    bounds: impl Fn(i32) -> Result<Option<(i64, i64)>, KafkaError>,
) -> Result<(), KafkaError> {
    let mut assignment = TopicPartitionList::new();
    for reading in &mut *readings {
        let partition = reading.question.partition;
        let Some((low, high)) = bounds(partition)? else {
            (reading.hidden, reading.done) = (true, true);
            continue;
        };
        let next = reading.reach(client, low, high)?;
        if !reading.done {
            assignment.add_partition_offset(topic, partition, Offset::Offset(next))?;
        }
    }
    if assignment.count() == 0 {
        return Ok(());
    }
    client.assign(&assignment)?;
    let mut heard = Instant::now();
    while readings.iter().any(|reading| !reading.done) {
        // What comes of a partition that is read says nothing of the others.
        let of = |partition: i32, readings: &mut [Reading]| {
            readings
                .iter()
                .position(|reading| reading.question.partition == partition && !reading.done)
        };
        let mut silence = RDKafkaErrorCode::OperationTimedOut;
        match client.poll(LOOK) {
            Some(Ok(record)) => {
                if let Some(place) = of(record.partition(), readings) {
                    readings[place].take(&record, gateway);
                    heard = Instant::now();
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                if let Some(place) = of(partition, readings) {
                    readings[place].done = true;
                    heard = Instant::now();
                }
            }
            Some(Err(error)) if is_fatal(&error) => return Err(error),
            Some(Err(error)) => {
                tracing::debug!(topic, %error, "reading the end of a topic");
                silence = error.rdkafka_error_code().unwrap_or(silence);
            }
            None => {}
        }
        if heard.elapsed() > PATIENCE {
            return Err(KafkaError::MessageConsumption(silence));
        }
    }
    client.unassign()
}

/// Errors that do not pass while one waits.
fn is_fatal(error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(|code| {
        matches!(
            code,
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::AutoOffsetReset
        )
    })
}
