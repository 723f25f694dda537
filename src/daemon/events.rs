//! `floorgate events`: events as they come, from the outbox or as consumers get them.

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use floorgate_publisher::{KafkaSettings, connection};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::metadata::MetadataTopic;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};
use serde_json::{Map, Value, json};

use crate::check;
use crate::cli::{ConfigArgs, Showing};
use crate::event_line::line;
use crate::kafka;
use crate::operator;
use crate::printing::goes_on;

/// How long a broker may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long one look for the next record takes at most.
const LOOK: Duration = Duration::from_millis(100);

/// Which events are shown, and where they are read.
#[derive(Debug, Args)]
pub struct EventsOptions {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    which: Showing,
    /// How many of those that are there already.
    #[arg(short = 'n', long, default_value_t = 10, value_name = "NUMBER")]
    count: usize,
    /// End when those that are there are shown.
    #[arg(long)]
    no_follow: bool,
    /// Read them from Kafka, as a consumer gets them, and not from the outbox.
    #[arg(long, conflicts_with = "waiting")]
    from_kafka: bool,
    /// Print one JSON object a line, with headers and value.
    #[arg(long)]
    json: bool,
}

/// Shows events.
pub fn events(options: &EventsOptions) -> anyhow::Result<()> {
    if options.from_kafka {
        return from_kafka(options);
    }
    operator::events(
        &options.config,
        &options.which,
        options.count,
        !options.no_follow,
        options.json,
    )
}

fn from_kafka(options: &EventsOptions) -> anyhow::Result<()> {
    let wanted = Wanted::of(&options.which)?;
    let loaded = check::read(&options.config.config)?;
    let settings = kafka::settings(&loaded.settings.kafka, &loaded.base)?;
    let consumer = consumer(&settings)?;
    let topics = loaded.plan.topics();
    let is_wanted = |topic: &str| {
        options
            .which
            .topic
            .as_deref()
            .is_none_or(|wanted| wanted == topic)
    };
    let mut ends = assign(
        &consumer,
        topics.iter().map(AsRef::as_ref).filter(|topic| is_wanted(topic)),
        options,
        wanted.from,
    )?;
    let mut out = io::stdout().lock();
    let mut earlier = Vec::new();
    let mut heard = Instant::now();
    loop {
        if ends.is_empty() && !earlier.is_empty() {
            earlier.sort_by(|a: &Record, b| a.recorded.cmp(&b.recorded));
            let first = if wanted.from.is_some() {
                0
            } else {
                earlier.len().saturating_sub(options.count)
            };
            for record in earlier.drain(..).skip(first) {
                if !print(&mut out, &record, options.json)? {
                    return Ok(());
                }
            }
        }
        if ends.is_empty() && options.no_follow {
            return Ok(());
        }
        match consumer.poll(LOOK) {
            None if !ends.is_empty() && heard.elapsed() > PATIENCE => bail!("the broker does not answer"),
            None => {}
            Some(Err(error)) => return Err(error).context("cannot read events from Kafka"),
            Some(Ok(message)) => {
                heard = Instant::now();
                let place = (message.topic().to_owned(), message.partition());
                let is_earlier = ends.contains_key(&place);
                if ends.get(&place).is_some_and(|end| message.offset() + 1 >= *end) {
                    ends.remove(&place);
                }
                let Some(record) = Record::of(&message).filter(|record| wanted.is(record)) else {
                    continue;
                };
                if is_earlier {
                    earlier.push(record);
                } else if !print(&mut out, &record, options.json)? {
                    return Ok(());
                }
            }
        }
    }
}

/// A consumer that reads what is committed, and is a member of no group.
pub fn consumer(settings: &KafkaSettings) -> anyhow::Result<BaseConsumer> {
    connection(settings, "floorgate-events")?
        .set("enable.auto.commit", "false")
        // A name is asked for all the same.
        .set("group.id", "floorgate-events")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "10")
        .create()
        .context("cannot make a consumer")
}

/// Assigns the topics' partitions where reading is to begin. Returns the offsets behind which everything is new.
fn assign<'t>(
    consumer: &BaseConsumer,
    topics: impl Iterator<Item = &'t str>,
    options: &EventsOptions,
    from: Option<i64>,
) -> anyhow::Result<HashMap<(String, i32), i64>> {
    let mut list = TopicPartitionList::new();
    let mut ends = HashMap::new();
    for topic in topics {
        let metadata = consumer
            .fetch_metadata(Some(topic), PATIENCE)
            .context("no broker answers")?;
        for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
            let (first, end) = consumer
                .fetch_watermarks(topic, partition.id(), PATIENCE)
                .with_context(|| format!("cannot look at topic {topic}"))?;
            let start = match from {
                Some(from) => start_at(consumer, topic, partition.id(), from)?.unwrap_or(end),
                None => end
                    .saturating_sub(i64::try_from(options.count).unwrap_or(i64::MAX))
                    .max(first),
            };
            list.add_partition_offset(topic, partition.id(), Offset::Offset(start))?;
            if start < end {
                ends.insert((topic.to_owned(), partition.id()), end);
            }
        }
    }
    ensure!(
        list.count() > 0,
        "none of the topics is there; see with `floorgate outbox status` whether anything was published"
    );
    consumer.assign(&list)?;
    Ok(ends)
}

/// The first offset at this time (milliseconds since 1970) or later; none where there is no such record.
pub fn start_at(
    consumer: &BaseConsumer,
    topic: &str,
    partition: i32,
    from: i64,
) -> anyhow::Result<Option<i64>> {
    let mut times = TopicPartitionList::new();
    times.add_partition_offset(topic, partition, Offset::Offset(from))?;
    let found = consumer
        .offsets_for_times(times, PATIENCE)
        .context("cannot ask for the time")?;
    let offset = found.elements().first().map(TopicPartitionListElem::offset);
    Ok(match offset {
        Some(Offset::Offset(offset)) => Some(offset),
        _ => None,
    })
}

/// Which events are wanted.
struct Wanted<'a> {
    which: &'a Showing,
    from: Option<i64>,
    until: Option<i64>,
}

impl<'a> Wanted<'a> {
    fn of(which: &'a Showing) -> anyhow::Result<Self> {
        let millis = |name: &str, text: &Option<String>| {
            let time = text.as_deref().map(str::parse::<jiff::Timestamp>).transpose();
            time.map(|time| time.map(jiff::Timestamp::as_millisecond))
                .with_context(|| format!("--{name}: not a time such as 2026-05-04T06:00:00Z"))
        };
        Ok(Self {
            which,
            from: millis("from", &which.which.from)?,
            until: millis("to", &which.which.to)?,
        })
    }

    fn is(&self, record: &Record) -> bool {
        let is =
            |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        let recorded = record
            .recorded
            .parse::<jiff::Timestamp>()
            .map(jiff::Timestamp::as_millisecond);
        is(&self.which.which.kind, &record.kind)
            && is(&self.which.which.subject, &record.subject)
            && recorded.is_ok_and(|at| {
                self.from.is_none_or(|from| at >= from) && self.until.is_none_or(|until| at < until)
            })
    }
}

/// A header of a record, as text.
pub fn header(message: &BorrowedMessage<'_>, name: &str) -> Option<String> {
    let header = message.headers()?.iter().find(|header| header.key == name)?;
    Some(String::from_utf8_lossy(header.value?).into_owned())
}

/// A record as a consumer gets it.
struct Record {
    recorded: String,
    time: String,
    kind: String,
    subject: String,
    topic: String,
    partition: i32,
    offset: i64,
    key: String,
    headers: Map<String, Value>,
    value: Value,
}

impl Record {
    /// None for what is no event.
    fn of(message: &BorrowedMessage<'_>) -> Option<Self> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers: Map<String, Value> = message.headers().map_or_else(Map::new, |headers| {
            let one = |header: rdkafka::message::Header<'_, &[u8]>| {
                Some((header.key.to_owned(), Value::String(text(header.value?))))
            };
            headers.iter().filter_map(one).collect()
        });
        let value: Value = serde_json::from_slice(message.payload()?).ok()?;
        // Of a structured event the attributes are in the value.
        let attribute = |name: &str| {
            let header = headers.get(&format!("ce_{name}"));
            header
                .or_else(|| value.get(name))
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        Some(Self {
            recorded: attribute("recordedtime")?,
            time: attribute("time")?,
            kind: attribute("type")?.rsplit('.').nth(1)?.to_owned(),
            subject: attribute("subject")?,
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(text).unwrap_or_default(),
            headers,
            value,
        })
    }
}

/// Prints one. Returns whether anybody reads it.
fn print(out: &mut dyn Write, record: &Record, json: bool) -> io::Result<bool> {
    let written = if json {
        let Record {
            recorded,
            kind,
            subject,
            topic,
            partition,
            offset,
            key,
            headers,
            value,
            ..
        } = record;
        let row = json!({
            "recorded": recorded, "topic": topic, "partition": partition, "offset": offset, "type": kind,
            "subject": subject, "key": key, "headers": headers, "value": value,
        });
        writeln!(out, "{row}")
    } else {
        let mut text = String::new();
        let value = record.value.to_string();
        line(
            &mut text,
            &record.time,
            &record.kind,
            &record.subject,
            value.as_bytes(),
        );
        writeln!(out, "{text}")
    };
    goes_on(written.and_then(|()| out.flush()))
}
