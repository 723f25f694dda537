//! The floor: what the two halves of the way cost without a gateway between them.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use floorgate_tests::{Kafka, binary};
use serde::Serialize;
use serde_json::Value;

use crate::consume::{Consumed, Consumer};
use crate::load::{Load, Plant, Protocol};
use crate::measure::Timing;

/// A record of the gateway has about so many bytes with key and headers.
const RECORD_BYTES: usize = 1_000;

/// What each half takes, in ms.
#[derive(Clone, Debug, Serialize)]
pub struct Floor {
    /// From the change to a client's callback; `None` on Modbus, where the floor is the poll.
    pub opcua: Option<Half>,
    /// From the producer's call to the consumer.
    pub kafka: Half,
}

/// Latency of a half, in ms.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Half {
    /// Half of the changes were as fast as this.
    pub p50: f64,
    /// 99 %.
    pub p99: f64,
}

/// Measures both halves, one after the other, on the same load.
pub fn measure(load: &Load, kafka: &Kafka, timing: Timing) -> Result<Floor> {
    let opcua = match load.protocol {
        Protocol::OpcUa => Some(opcua_alone(load, timing)?),
        Protocol::Modbus => None,
    };
    let consumed = kafka_alone(load, kafka, timing)?;
    Ok(Floor {
        opcua,
        kafka: Half {
            p50: consumed.p50,
            p99: consumed.p99,
        },
    })
}

fn opcua_alone(load: &Load, timing: Timing) -> Result<Half> {
    let plant = Plant::start(load)?;
    let output = Command::new(binary("examples/load_check")?)
        .args([&plant.url, &load.tags.to_string(), &timing.seconds.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "load_check ended with {}", output.status);
    let seen: Value = serde_json::from_slice(&output.stdout)?;
    let age = |name: &str| {
        seen["age_ms"][name]
            .as_f64()
            .with_context(|| format!("no {name} in {seen}"))
    };
    Ok(Half {
        p50: age("p50")?,
        p99: age("p99")?,
    })
}

fn kafka_alone(load: &Load, kafka: &Kafka, timing: Timing) -> Result<Consumed> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let topic = format!("bench.floor{}", COUNT.fetch_add(1, Ordering::Relaxed));
    kafka.create_topic(&topic, 6)?;
    let mut consumer = Consumer::start(&kafka.bootstrap(), &topic)?;
    let mut producer = Command::new(std::env::current_exe()?)
        .args([
            "produce",
            &kafka.bootstrap(),
            &topic,
            &load.rate.to_string(),
            &RECORD_BYTES.to_string(),
        ])
        .stdin(Stdio::piped())
        .spawn()?;
    timing.warm_up();
    consumer.begin()?;
    timing.measure();
    let seen = consumer.end();
    drop(producer.stdin.take());
    producer.wait()?;
    seen
}
