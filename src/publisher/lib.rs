//! Publication to Kafka.

mod settings;

pub use settings::{Compression, KafkaSettings, Mechanism, Protocol, SecuritySettings, TopicSettings};
