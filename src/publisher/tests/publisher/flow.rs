//! Publishing when nothing, or only the network, is in the way.

use std::time::Duration;

use floorgate_publisher::KafkaSettings;
use rdkafka::mocking::MockCluster;

use crate::engine::{Engine, by_the_rule, numbered, read};

#[test]
fn a_record_carries_what_was_stored_and_its_place() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 4, 1).unwrap();
    let mut engine = Engine::start(&brokers);
    engine.commit("t", Some(2), numbered(1..=1));
    engine.drained();

    let seen = read(&brokers, "t", 4);
    assert_eq!(seen.len(), 1);
    let record = &seen[0];
    assert_eq!(
        (record.partition, record.key.as_str(), record.text().as_str()),
        (2, "line1", "event 1")
    );
    assert_eq!(record.timestamp, Some(1_700_000_000_123));
    let header = |name: &str| record.headers.get(name).map(String::as_str);
    assert_eq!(header("ce_type"), Some("Test"));
    assert_eq!(header("ce_subject"), Some("line\n1"));
    let epoch = engine.store.lanes()[0].epoch.to_string();
    assert_eq!(header("floorgate_lane_epoch"), Some(epoch.as_str()));
    assert_eq!(header("floorgate_gateway"), Some("test"));
    assert_eq!(header("floorgate_lane_sequence"), Some("1"));
    assert_eq!(header("floorgate_incarnation"), Some("1"));
    assert_eq!(header("floorgate_possible_duplicate"), None);
    assert_eq!(engine.metrics.published.with_label_values(&["t"]).get(), 1);
    assert_eq!(engine.metrics.kafka_up.get(), 1);
    assert_eq!(
        engine
            .metrics
            .stages()
            .committed_to_acknowledged
            .get_sample_count(),
        1
    );
}

#[test]
fn events_wait_for_the_partition_count_and_then_keep_their_order() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 5, 1).unwrap();
    let mut engine = Engine::start(&brokers);
    engine.commit("t", None, numbered(1..=100));
    engine.until("the pinned count", |engine| {
        engine.store.topics()[0].partitions == Some(5)
    });
    engine.commit("t", None, numbered(101..=200));
    engine.drained();

    let seen = read(&brokers, "t", 5);
    assert_eq!(by_the_rule(&seen), (numbered(1..=200), 0));
    assert!(seen.iter().all(|record| !record.is_marked()));
}

#[test]
fn a_start_without_a_broker_waits_for_one() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 1, 1).unwrap();
    cluster.broker_down(-1).unwrap();
    let mut engine = Engine::start(&brokers);
    engine.commit("t", None, numbered(1..=50));
    engine.until("the broker's absence in the status", |engine| {
        engine
            .publisher()
            .status()
            .problems
            .iter()
            .any(|problem| problem.contains("no broker answers"))
    });
    assert_eq!(engine.metrics.kafka_up.get(), 0);

    cluster.broker_up(-1).unwrap();
    engine.drained();
    assert_eq!(by_the_rule(&read(&brokers, "t", 1)), (numbered(1..=50), 0));
    engine.until("a status without problems", |engine| {
        engine.publisher().status().problems.is_empty()
    });
    assert_eq!(engine.metrics.kafka_up.get(), 1);
}

#[test]
fn an_outage_delays_and_neither_loses_nor_doubles() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 3, 1).unwrap();
    let mut engine = Engine::start(&brokers);
    engine.commit("t", Some(0), numbered(1..=100));
    engine.drained();

    cluster.broker_down(-1).unwrap();
    // More than the hand-over and the rows at hand hold, so that the store is read.
    for batch in 0..12 {
        engine.commit(
            "t",
            Some(0),
            (0..1000).map(|n| format!("{batch} {n} {}", "x".repeat(40))),
        );
    }
    engine.until("kafka_up = 0", |engine| engine.metrics.kafka_up.get() == 0);
    cluster.broker_up(-1).unwrap();
    engine.drained();
    let (kept, dropped) = by_the_rule(&read(&brokers, "t", 1));
    assert_eq!((kept.len(), dropped), (12_100, 0));
}

#[test]
fn a_stop_sends_what_is_stored_and_reports_it() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 1, 1).unwrap();
    cluster
        .broker_round_trip_time(-1, Duration::from_millis(200))
        .unwrap();
    let mut engine = Engine::start(&brokers);
    engine.commit("t", Some(0), numbered(1..=1000));
    let acknowledged = engine.publisher.take().unwrap().stop(Duration::from_secs(20));
    assert_eq!(acknowledged.len(), 1);
    assert_eq!(acknowledged[0].sequence, 1000);
    assert_eq!(acknowledged[0].offset, Some(999));
}

#[test]
fn a_stop_without_a_broker_does_not_wait() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let mut engine = Engine::start(&cluster.bootstrap_servers());
    engine.commit("t", Some(0), numbered(1..=1));
    engine.drained();
    cluster.broker_down(-1).unwrap();
    engine.until("kafka_up = 0", |engine| engine.metrics.kafka_up.get() == 0);
    engine.commit("t", Some(0), numbered(2..=2));
    let begin = std::time::Instant::now();
    assert!(
        engine
            .publisher
            .take()
            .unwrap()
            .stop(Duration::from_secs(15))
            .is_empty()
    );
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(engine.depth(), 1);
}

#[test]
fn small_and_large_bursts_by_turns_keep_their_order() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 1, 1).unwrap();
    let mut engine = Engine::start(&brokers);
    let mut next = 1;
    for size in [1, 2, 200, 3, 300, 16, 17, 1, 500, 4] {
        engine.commit("t", Some(0), numbered(next..=next + size - 1));
        next += size;
        engine.drained();
    }
    let seen = read(&brokers, "t", 1);
    assert_eq!(by_the_rule(&seen), (numbered(1..=next - 1), 0));
    assert!(seen.iter().all(|record| !record.is_marked()));
}

#[test]
fn a_small_bound_on_what_is_in_flight_only_slows() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 4, 1).unwrap();
    let mut settings = KafkaSettings::new(vec![brokers.clone()]);
    settings.security = floorgate_publisher::SecuritySettings::plaintext();
    settings.in_flight_mib = 1;
    let mut engine = Engine::with(settings);
    for partition in 0..4 {
        engine.commit(
            "t",
            Some(partition),
            (0..3000).map(|n| format!("{n} {}", "x".repeat(1000))),
        );
    }
    engine.drained();
    let (kept, dropped) = by_the_rule(&read(&brokers, "t", 4));
    assert_eq!((kept.len(), dropped), (12_000, 0));
}
