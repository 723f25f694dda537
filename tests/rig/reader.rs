//! What is on the broker, read by a real consumer.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

use crate::wait::{Patience, until};

/// One record as it lies on a partition.
#[derive(Clone, Debug)]
pub struct Record {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The place in the partition.
    pub offset: i64,
    /// Its time in milliseconds since 1970: the producer's, or the broker's where the topic has `message.timestamp.type=LogAppendTime`.
    pub time: i64,
    /// The key, where there is one.
    pub key: Option<String>,
    /// The headers by name, in their order; a name may occur more than once.
    pub headers: Vec<(String, String)>,
    /// The bytes.
    pub value: Vec<u8>,
}

impl Record {
    /// The one header of this name; an error when there is none, or more than one.
    pub fn header(&self, name: &str) -> Result<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key == name);
        let (_, value) = found
            .next()
            .with_context(|| format!("no header {name} in {self:?}"))?;
        ensure!(found.next().is_none(), "header {name} twice in {self:?}");
        Ok(value)
    }

    /// Whether there is a header of this name.
    #[must_use]
    pub fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(key, _)| key == name)
    }

    /// The value as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.value).with_context(|| format!("the value is not JSON: {self:?}"))
    }

    fn of(message: &BorrowedMessage<'_>) -> Result<Self> {
        let mut headers = Vec::new();
        for header in message.headers().into_iter().flat_map(Headers::iter) {
            let value = String::from_utf8(header.value.unwrap_or_default().to_vec())?;
            headers.push((header.key.to_owned(), value));
        }
        Ok(Self {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            time: message.timestamp().to_millis().unwrap_or_default(),
            key: message
                .key()
                .map(|key| String::from_utf8(key.to_vec()))
                .transpose()?,
            headers,
            value: message.payload().unwrap_or_default().to_vec(),
        })
    }
}

/// Reads one topic from its beginning, all partitions, and keeps what it has read.
pub struct Reader {
    consumer: BaseConsumer,
    topic: String,
    assigned: bool,
    records: Vec<Record>,
}

impl Reader {
    /// Makes one; the topic need not exist yet.
    pub fn new(bootstrap: &str, topic: &str) -> Result<Self> {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", format!("floorgate-tests-{}", std::process::id()))
            .set("enable.auto.commit", "false")
            .set("allow.auto.create.topics", "false")
            .set("fetch.wait.max.ms", "50")
            // Unanswered connections to a broker that a test has stopped are part of the test.
            .set("log_level", "0")
            .set("reconnect.backoff.max.ms", "500")
            .create()?;
        Ok(Self {
            consumer,
            topic: topic.to_owned(),
            assigned: false,
            records: Vec::new(),
        })
    }

    /// All that was read so far: in order within a partition.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Reads on until the records read so far satisfy the condition; `what` completes "waited for".
    pub fn until(
        &mut self,
        what: &str,
        patience: Patience,
        mut enough: impl FnMut(&[Record]) -> bool,
    ) -> Result<&[Record]> {
        let topic = self.topic.clone();
        let waited = until(what, patience, || {
            self.poll()?;
            Ok(enough(&self.records).then_some(()))
        });
        waited.with_context(|| {
            let newest: Vec<_> = self.records.iter().rev().take(5).rev().collect();
            format!(
                "{} records read from {topic}, the newest: {newest:#?}",
                self.records.len()
            )
        })?;
        Ok(&self.records)
    }

    /// Reads until at least so many records were read.
    pub fn at_least(&mut self, count: usize, patience: Patience) -> Result<&[Record]> {
        self.until(&format!("{count} records"), patience, |records| {
            records.len() >= count
        })
    }

    /// Reads up to the end that each partition has now.
    pub fn to_end(&mut self) -> Result<&[Record]> {
        until("the topic", Patience::Short, || {
            self.assign().map(|assigned| assigned.then_some(()))
        })?;
        let mut ends = BTreeMap::new();
        for element in self.consumer.assignment()?.elements() {
            let partition = element.partition();
            let marks = self
                .consumer
                .fetch_watermarks(&self.topic, partition, Duration::from_secs(30))?;
            ends.insert(partition, marks.1);
        }
        until("the end of the topic", Patience::Short, || {
            self.poll()?;
            let mut ended = true;
            for element in self.consumer.position()?.elements() {
                let end = ends.get(&element.partition()).copied().unwrap_or_default();
                let reached = matches!(element.offset(), Offset::Offset(next) if next >= end);
                ended &= end == 0 || reached;
            }
            Ok(ended.then_some(()))
        })?;
        Ok(&self.records)
    }

    /// Takes what has arrived.
    fn poll(&mut self) -> Result<()> {
        if !self.assign()? {
            return Ok(());
        }
        while let Some(polled) = self.consumer.poll(Duration::ZERO) {
            // Errors are of the connection; a broker that stays away runs into the time-out.
            if let Ok(message) = polled {
                self.records.push(Record::of(&message)?);
            }
        }
        Ok(())
    }

    /// Takes all partitions from their beginning, once the topic is there; says whether it was.
    fn assign(&mut self) -> Result<bool> {
        if self.assigned {
            return Ok(true);
        }
        let Ok(metadata) = self
            .consumer
            .fetch_metadata(Some(&self.topic), Duration::from_secs(2))
        else {
            return Ok(false);
        };
        let mut partitions = TopicPartitionList::new();
        for topic in metadata.topics() {
            for partition in topic.partitions() {
                partitions.add_partition_offset(&self.topic, partition.id(), Offset::Beginning)?;
            }
        }
        self.assigned = partitions.count() > 0;
        if self.assigned {
            self.consumer.assign(&partitions)?;
        }
        Ok(self.assigned)
    }
}
