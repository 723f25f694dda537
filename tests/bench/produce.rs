//! The Kafka half alone: a producer with the gateway's own settings and nothing before it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, ThreadedProducer};

/// Writes records of so many bytes at an even rate, the time of writing in `ce_time`, until standard input is closed.
pub fn produce(bootstrap: &str, topic: &str, rate: u32, bytes: usize) -> Result<()> {
    const KEYS: u64 = 1_000;
    // What a record has beside the padding: key, header, and the JSON around the padding.
    const AROUND: usize = 90;
    static CLOSED: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(|| {
        for _ in std::io::stdin().lines().map_while(Result::ok) {}
        CLOSED.store(true, Ordering::SeqCst);
    });
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "0")
        .create()?;
    let padding = "x".repeat(bytes.saturating_sub(AROUND));
    let start = Instant::now();
    let mut written = 0_u64;
    while !CLOSED.load(Ordering::SeqCst) {
        let due = start.elapsed().as_micros() * u128::from(rate) / 1_000_000;
        while u128::from(written) < due {
            let key = format!("acme/bench/load/line1/t{:06}", written % KEYS);
            let value = format!("{{\"value\":{},\"padding\":\"{padding}\"}}", written / KEYS);
            let time = jiff::Timestamp::now().to_string();
            let headers = OwnedHeaders::new().insert(Header {
                key: "ce_time",
                value: Some(&time),
            });
            let record = BaseRecord::to(topic).key(&key).payload(&value).headers(headers);
            if producer.send(record).is_err() {
                // The queue is full: the broker does not keep up, and the latency shows it.
                break;
            }
            written += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
