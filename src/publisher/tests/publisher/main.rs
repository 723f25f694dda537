//! The publisher against librdkafka's mock cluster, which speaks Kafka's protocol and fails on demand.

mod engine;
mod errors;
mod flow;
mod restart;
