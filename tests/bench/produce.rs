//! The floor of the Kafka half: a bare idempotent producer that makes the load itself.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};

use crate::record::TAGS_PER_EQUIPMENT;
use crate::stop::Stop;

/// Produce records at a rate until SIGTERM, then say how many.
#[derive(Debug, Args)]
pub struct Produce {
    /// Broker, `host:port`
    #[arg(long)]
    broker: String,
    /// Topic
    #[arg(long)]
    topic: String,
    /// Its partitions
    #[arg(long)]
    partitions: usize,
    /// Number of tags
    #[arg(long)]
    tags: usize,
    /// Records a second
    #[arg(long)]
    rate: f64,
    /// Milliseconds from one burst of records to the next
    #[arg(long)]
    every_ms: u64,
    /// Bytes of a record's value
    #[arg(long)]
    value_bytes: usize,
    /// Bytes of a record's headers, names and values
    #[arg(long)]
    header_bytes: usize,
    /// Number of a record's headers
    #[arg(long)]
    header_count: usize,
}

/// How long it waits for room in the producer's queue before it tries again.
const FULL: Duration = Duration::from_millis(1);

impl Produce {
    /// Runs until SIGTERM.
    pub fn run(&self, stop: &Stop) -> Result<()> {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.broker)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .create()?;
        // The first value of each tag, as a gateway sends it at its start.
        for tag in 0..self.tags {
            self.send(&producer, tag, 0)?;
        }
        let started = Instant::now();
        let every = Duration::from_millis(self.every_ms);
        let mut bursts = 0;
        let mut sent = 0;
        while !stop.is_wanted() {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count of records; the cast saturates"
            )]
            let due = (started.elapsed().as_secs_f64() * self.rate) as usize;
            while sent < due {
                self.send(&producer, sent % self.tags, sent / self.tags + 1)?;
                sent += 1;
            }
            producer.poll(Duration::ZERO);
            bursts += 1;
            let next = started + every * bursts;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        producer
            .flush(Duration::from_secs(30))
            .context("not all records were acknowledged")?;
        println!("{}", serde_json::json!({ "load": sent }));
        Ok(())
    }

    fn send(
        &self,
        producer: &BaseProducer<DefaultProducerContext>,
        tag: usize,
        counter: usize,
    ) -> Result<()> {
        let (equipment, name) = (tag / TAGS_PER_EQUIPMENT, tag % TAGS_PER_EQUIPMENT);
        let key = format!("bench/plant/hall/line{equipment:04}");
        let time = jiff::Timestamp::now().to_string();
        let subject = format!("measurement/t{name:02}");
        let mut value = format!("{{\"name\":\"t{name:02}\",\"value\":{counter},\"rest\":\"");
        pad(&mut value, self.value_bytes.saturating_sub(2));
        value.push_str("\"}");
        let mut headers = OwnedHeaders::new_with_capacity(self.header_count.max(2))
            .insert(Header {
                key: "ce_time",
                value: Some(&time),
            })
            .insert(Header {
                key: "ce_subject",
                value: Some(&subject),
            });
        let others = self.header_count.saturating_sub(2);
        let used = "ce_time".len() + time.len() + "ce_subject".len() + subject.len();
        let size = self.header_bytes.saturating_sub(used) / others.max(1);
        for number in 0..others {
            let name = format!("ce_rest{number:02}");
            let mut text = String::new();
            pad(&mut text, size.saturating_sub(name.len()));
            headers = headers.insert(Header {
                key: &name,
                value: Some(&text),
            });
        }
        let partition = i32::try_from(equipment % self.partitions)?;
        let mut record = BaseRecord::to(&self.topic)
            .partition(partition)
            .key(&key)
            .payload(&value)
            .headers(headers);
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    record = refused;
                    producer.poll(FULL);
                }
                Err((error, _)) => return Err(error).context("cannot produce"),
            }
        }
    }
}

/// Fills a text up to a length.
fn pad(text: &mut String, length: usize) {
    let missing = length.saturating_sub(text.len());
    let _ = write!(text, "{:.<missing$}", "");
}
