//! Where an event is in Kafka.

use std::time::Instant;

use anyhow::Context as _;
use floorgate_publisher::{HEADER_POSSIBLE_DUPLICATE, HEADER_REPLAYED, KafkaSettings};
use rdkafka::consumer::Consumer as _;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::Serialize;

use crate::control::EventRow;
use crate::events::{PATIENCE, consumer, header, start_at};

/// How long before the event was recorded its record may say that it was made: clocks differ.
const EARLIER_MS: i64 = 60_000;

/// A record of the event.
#[derive(Debug, Serialize)]
pub struct Delivery {
    topic: String,
    partition: i32,
    offset: i64,
    /// When, by the record.
    at: Option<String>,
    replayed: bool,
    #[serde(rename = "possibleDuplicate")]
    possible_duplicate: bool,
}

impl Delivery {
    pub fn text(&self) -> String {
        let Self {
            topic,
            partition,
            offset,
            at,
            replayed,
            possible_duplicate,
        } = self;
        let at = at.as_deref().unwrap_or("an unknown time");
        let mut text = format!("topic {topic}, partition {partition}, offset {offset}, at {at}");
        for (is_so, mark) in [
            (*replayed, ", replayed"),
            (*possible_duplicate, ", possibly twice"),
        ] {
            if is_so {
                text.push_str(mark);
            }
        }
        text
    }
}

/// The records of an event in the partition to which it belongs, from about its time on.
pub fn find(settings: &KafkaSettings, event: &EventRow) -> anyhow::Result<Vec<Delivery>> {
    let Some(partition) = event
        .partition
        .and_then(|partition| i32::try_from(partition).ok())
    else {
        return Ok(Vec::new());
    };
    let consumer = consumer(settings)?;
    let (_, end) = consumer
        .fetch_watermarks(&event.topic, partition, PATIENCE)
        .with_context(|| format!("no broker tells of topic {}", event.topic))?;
    let recorded: jiff::Timestamp = event.recorded.parse()?;
    let from = recorded.as_millisecond() - EARLIER_MS;
    let Some(start) = start_at(&consumer, &event.topic, partition, from)? else {
        return Ok(Vec::new());
    };
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&event.topic, partition, Offset::Offset(start))?;
    consumer.assign(&list)?;
    let mut found = Vec::new();
    let begun = Instant::now();
    let mut next = start;
    while next < end {
        anyhow::ensure!(
            begun.elapsed() < PATIENCE,
            "the broker took longer than {PATIENCE:?}"
        );
        let Some(message) = consumer.poll(PATIENCE) else {
            continue;
        };
        let message = message.context("cannot read the partition")?;
        next = message.offset() + 1;
        let header = |name: &str| header(&message, name);
        let id = header("ce_id").or_else(|| {
            let value: serde_json::Value = serde_json::from_slice(message.payload()?).ok()?;
            Some(value.get("id")?.as_str()?.to_owned())
        });
        if id.as_deref() == Some(event.id.as_str()) {
            let at = message
                .timestamp()
                .to_millis()
                .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
            found.push(Delivery {
                topic: event.topic.clone(),
                partition,
                offset: message.offset(),
                at: at.map(|at| format!("{at:.3}")),
                replayed: header(HEADER_REPLAYED).is_some(),
                possible_duplicate: header(HEADER_POSSIBLE_DUPLICATE).is_some(),
            });
        }
    }
    Ok(found)
}
