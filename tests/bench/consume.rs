//! The consumer: a process of its own at the end of the way.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::observer::{Observer, Said, Watch, now};
use crate::record::{self, Sizes};
use crate::stop::Stop;

/// Consume a topic from its beginning, and say what came when.
#[derive(Debug, Args)]
pub struct Consume {
    /// Broker, `host:port`
    #[arg(long)]
    broker: String,
    /// Topic
    #[arg(long)]
    topic: String,
    /// Its partitions
    #[arg(long)]
    partitions: i32,
    #[command(flatten)]
    watch: Watch,
}

impl Consume {
    /// Runs until the plant has ended and all of it is here.
    pub fn run(self, stop: &Stop) -> Result<()> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.broker)
            .set("group.id", "bench")
            .set("enable.auto.commit", "false")
            .create()?;
        let mut partitions = TopicPartitionList::new();
        for partition in 0..self.partitions {
            partitions.add_partition_offset(&self.topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&partitions)?;
        let mut observer = Observer::new(self.watch);
        let mut sizes = Sizes::default();
        say(&Said::Ready)?;
        while !observer.is_over_now() {
            if stop.is_wanted() {
                bail!("stopped with {} tags not seen", observer.unseen());
            }
            // What is there is taken in one go; the checks of time and files are for in between.
            let mut wait = Duration::from_millis(10);
            for _ in 0..1_000 {
                let Some(message) = consumer.poll(wait) else { break };
                wait = Duration::ZERO;
                match record::read(&message.context("cannot consume")?, &mut sizes) {
                    Some(reading) => observer.see(reading, now()),
                    None => observer.see_foreign(),
                }
            }
            if let Some(said) = observer.advance(now()) {
                say(&said)?;
            }
        }
        say(&Said::Report(observer.report(sizes.mean())))
    }
}

/// Prints a line for the process that started this one.
pub fn say(said: &Said) -> Result<()> {
    println!("{}", serde_json::to_string(said)?);
    Ok(())
}
