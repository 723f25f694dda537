//! The consumer: a process that reads the topic as an application does, and measures.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

/// What the consumer saw between `begin` and `end`. Latencies are from the change on the floor to the consumer, in ms.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Consumed {
    /// Records.
    pub records: u64,
    /// Records a second.
    pub per_second: f64,
    /// Half of them were as fast as this.
    pub p50: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
    /// Values of counting tags that never came, since the topic's beginning.
    pub lost: u64,
    /// Values that came again, since the topic's beginning.
    pub doubled: u64,
    /// Bytes of key, headers and value of an average record.
    pub bytes: f64,
}

/// The consumer's process.
pub struct Consumer {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Consumer {
    /// Starts it; it reads the topic from its beginning.
    pub fn start(bootstrap: &str, topic: &str) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["consume", bootstrap, topic])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let requests = child.stdin.take().context("no input")?;
        let answers = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self {
            child,
            requests,
            answers,
        })
    }

    /// Begins to measure.
    pub fn begin(&mut self) -> Result<()> {
        self.requests
            .write_all(b"begin\n")
            .context("the consumer has ended")
    }

    /// Ends to measure.
    pub fn end(&mut self) -> Result<Consumed> {
        self.requests
            .write_all(b"end\n")
            .context("the consumer has ended")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("the consumer said {line:?}"))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("cannot end the consumer: {error}");
        }
    }
}

const WAITING: u8 = 0;
const MEASURING: u8 = 1;
const ENDED: u8 = 2;
const CLOSED: u8 = 3;

/// What the orchestrating process wants.
static STATE: AtomicU8 = AtomicU8::new(WAITING);

/// What is counted while records come.
struct Tally {
    latencies: Histogram<u64>,
    bytes: u64,
    /// The last value of each key.
    last: HashMap<Vec<u8>, i64>,
    lost: u64,
    doubled: u64,
}

impl Tally {
    fn take(&mut self, message: &impl Message, measure: bool) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let value = message.payload().unwrap_or_default();
        let key = message.key().unwrap_or_default();
        let number = field(value, b"\"value\":").context("no value in the record")?;
        let mut header_bytes = 0;
        let mut time = None;
        for header in message.headers().into_iter().flat_map(Headers::iter) {
            let text = header.value.unwrap_or_default();
            header_bytes += header.key.len() + text.len();
            if header.key == "ce_time" {
                time = Some(text);
            }
        }
        // A value that is a time, as on Modbus, rises by more than one and is its own time.
        let is_time = number > 1_000_000_000_000_000;
        match self.last.insert(key.to_vec(), number) {
            Some(last) if number <= last => self.doubled += 1,
            Some(last) if !is_time => self.lost += (number - last - 1).unsigned_abs(),
            _ => {}
        }
        if measure {
            let happened = if is_time {
                Duration::from_micros(number.unsigned_abs())
            } else {
                parse_time(time.context("no ce_time")?).context("ce_time is no time")?
            };
            let latency = now.saturating_sub(happened).as_micros();
            self.latencies.saturating_record(u64::try_from(latency)?);
            self.bytes += (key.len() + value.len() + header_bytes) as u64;
        }
        Ok(())
    }

    fn result(&self, seconds: f64) -> Consumed {
        let at = |quantile: f64| self.latencies.value_at_quantile(quantile) as f64 / 1e3;
        let records = self.latencies.len();
        Consumed {
            records,
            per_second: records as f64 / seconds,
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: self.latencies.max() as f64 / 1e3,
            lost: self.lost,
            doubled: self.doubled,
            bytes: self.bytes as f64 / records.max(1) as f64,
        }
    }
}

/// The number behind a key of flat JSON: to parse all of it would make the consumer the bottleneck.
fn field(json: &[u8], key: &[u8]) -> Option<i64> {
    let at = json.windows(key.len()).position(|part| part == key)? + key.len();
    let rest = &json[at..];
    let end = rest
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(rest.len());
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

/// An RFC 3339 time in UTC, as the gateway writes it, since 1970.
fn parse_time(text: &[u8]) -> Option<Duration> {
    let time: jiff::Timestamp = std::str::from_utf8(text).ok()?.parse().ok()?;
    Duration::try_from(time.as_duration()).ok()
}

/// The process itself.
pub fn consume(bootstrap: &str, topic: &str) -> Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        // As soon as there is a record: the consumer's own waiting is no part of the measurement.
        .set("fetch.wait.max.ms", "10")
        .set("fetch.min.bytes", "1")
        .create()?;
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(30))?;
    let mut partitions = TopicPartitionList::new();
    for partition in metadata
        .topics()
        .iter()
        .flat_map(rdkafka::metadata::MetadataTopic::partitions)
    {
        partitions.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;
    std::thread::spawn(|| {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            STATE.store(if line == "begin" { MEASURING } else { ENDED }, Ordering::SeqCst);
        }
        STATE.store(CLOSED, Ordering::SeqCst);
    });
    let mut tally = Tally {
        latencies: Histogram::new_with_bounds(1, 600_000_000, 3).map_err(|error| anyhow!("{error}"))?,
        bytes: 0,
        last: HashMap::new(),
        lost: 0,
        doubled: 0,
    };
    let mut began = None;
    loop {
        match STATE.load(Ordering::SeqCst) {
            MEASURING if began.is_none() => began = Some(std::time::Instant::now()),
            ENDED => {
                let seconds = began.map_or(1.0, |at| at.elapsed().as_secs_f64());
                println!("{}", serde_json::to_string(&tally.result(seconds))?);
                STATE.store(WAITING, Ordering::SeqCst);
            }
            CLOSED => return Ok(()),
            _ => {}
        }
        if let Some(message) = consumer.poll(Duration::from_millis(20)) {
            let measure = STATE.load(Ordering::SeqCst) == MEASURING;
            tally.take(&message?, measure)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_found_in_flat_json() {
        assert_eq!(
            field(br#"{"name":"value","value":42,"unit":null}"#, b"\"value\":"),
            Some(42)
        );
        assert_eq!(field(br#"{"value":"text"}"#, b"\"value\":"), None);
    }

    #[test]
    fn times_are_since_1970() {
        assert_eq!(
            parse_time(b"1970-01-01T00:00:01.5Z"),
            Some(Duration::from_millis(1_500))
        );
        assert_eq!(parse_time(b"soon"), None);
    }
}
