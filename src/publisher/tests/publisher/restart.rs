//! What a new process makes of what an earlier one may have sent.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::engine::{Engine, PATIENCE, Seen, by_the_rule, numbered, read};

fn sequences(seen: &[Seen]) -> Vec<(u64, bool)> {
    let of = |record: &Seen| (record.sequence(), record.is_marked());
    seen.iter().map(of).collect()
}

/// An engine with three events that are acknowledged and three whose acknowledgement it does not remember.
fn forgetful(cluster: &MockCluster<'_, rdkafka::producer::DefaultProducerContext>) -> Engine {
    cluster.create_topic("t", 1, 1).unwrap();
    let mut engine = Engine::start(&cluster.bootstrap_servers());
    engine.commit("t", Some(0), numbered(1..=3));
    engine.drained();
    engine.commit("t", Some(0), numbered(4..=6));
    engine
}

#[test]
fn what_is_on_the_log_is_not_sent_again() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let mut engine = forgetful(&cluster);
    engine.dies_before_it_stores_acknowledgements();
    assert_eq!(engine.depth(), 3);
    engine.commit("t", Some(0), numbered(7..=8));
    engine.drained();
    let seen = read(&brokers, "t", 1);
    assert_eq!(by_the_rule(&seen), (numbered(1..=8), 0));
    assert_eq!(engine.metrics.possible_duplicates.get(), 0);
    assert_eq!(engine.reconciled("settled"), 1);
}

#[test]
fn a_lane_that_was_never_acknowledged_is_found_from_the_start_of_the_log() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 2, 1).unwrap();
    let mut engine = Engine::start(&brokers);
    engine.commit("t", Some(0), numbered(1..=300));
    engine.commit("t", Some(1), numbered(1..=3));
    engine.dies_before_it_stores_acknowledgements();
    assert_eq!(engine.depth(), 303);
    engine.commit("t", Some(0), numbered(301..=301));
    engine.drained();
    let seen = read(&brokers, "t", 2);
    assert_eq!((seen.len(), by_the_rule(&seen).1), (304, 0));
    assert_eq!(engine.reconciled("settled"), 2);
}

#[test]
fn other_gateways_on_the_partition_are_not_taken_for_this_one() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let mut engine = forgetful(&cluster);
    engine.dies_before_it_stores_acknowledgements();
    engine.drained();
    let mut other = Engine::named("other", &brokers);
    other.commit("t", Some(0), numbered(1..=20));
    other.drained();
    engine.commit("t", Some(0), numbered(7..=8));
    engine.dies_before_it_stores_acknowledgements();
    engine.drained();
    let seen = read(&brokers, "t", 1);
    assert_eq!(seen.len(), 28);
    let own: Vec<Seen> = seen
        .into_iter()
        .filter(|record| record.headers["floorgate_gateway"] == "test")
        .collect();
    assert_eq!(by_the_rule(&own), (numbered(1..=8), 0));
}

#[test]
fn without_the_right_to_read_what_may_be_on_the_log_is_marked() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let mut engine = forgetful(&cluster);
    let _ = engine.publisher.take().unwrap().stop(PATIENCE);
    cluster.request_errors(
        RDKafkaApiKey::Fetch,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 8],
    );
    engine.publish();
    engine.commit("t", Some(0), numbered(7..=8));
    engine.drained();
    cluster.clear_request_errors(RDKafkaApiKey::Fetch);
    let seen = read(&brokers, "t", 1);
    let expected: Vec<(u64, bool)> = (1..=6)
        .map(|n| (n, false))
        .chain((4..=6).map(|n| (n, true)))
        .chain((7..=8).map(|n| (n, false)))
        .collect();
    assert_eq!(sequences(&seen), expected);
    assert_eq!(by_the_rule(&seen), (numbered(1..=8), 3));
    assert_eq!(engine.metrics.possible_duplicates.get(), 3);
    assert_eq!(engine.reconciled("forbidden"), 1);
}

#[test]
fn a_log_that_was_made_anew_gets_all_that_is_kept_in_a_new_epoch() {
    let cluster = MockCluster::new(1).unwrap();
    let mut engine = forgetful(&cluster);
    let _ = engine.publisher.take().unwrap().stop(PATIENCE);
    let epoch = u64::from(engine.store.lanes()[0].epoch);
    let other = MockCluster::new(1).unwrap();
    other.create_topic("t", 1, 1).unwrap();
    let brokers = other.bootstrap_servers();
    engine.settings.brokers = brokers.split(',').map(str::to_owned).collect();
    engine.publish();
    engine.until("the new epoch", |engine| engine.reconciled("truncated") == 1);
    engine.commit("t", Some(0), numbered(7..=8));
    engine.drained();
    let seen = read(&brokers, "t", 1);
    let expected: Vec<(u64, bool)> = (1..=8).map(|n| (n, n <= 6)).collect();
    assert_eq!(sequences(&seen), expected);
    assert_eq!(by_the_rule(&seen), (numbered(1..=8), 0));
    assert!(seen.iter().all(|record| record.epoch() > epoch));
    assert_eq!(engine.reconciled("truncated"), 1);

    // The new epoch is found again like any other.
    engine.commit("t", Some(0), numbered(9..=10));
    engine.dies_before_it_stores_acknowledgements();
    engine.drained();
    assert_eq!(by_the_rule(&read(&brokers, "t", 1)), (numbered(1..=10), 0));
}

#[test]
fn a_store_that_is_an_older_copy_goes_on_in_a_new_epoch() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 1, 1).unwrap();
    let mut engine = Engine::start(&brokers);
    engine.commit("t", Some(0), numbered(1..=3));
    engine.drained();
    let backup = engine.backup();
    engine.commit("t", Some(0), numbered(4..=6));
    engine.drained();
    let epoch = u64::from(engine.store.lanes()[0].epoch);

    let mut engine = engine.restore(backup);
    assert_eq!(engine.depth(), 0);
    engine.publisher().prepare([Arc::from("t")]);
    engine.until("the new epoch", |engine| engine.reconciled("rolled_back") == 1);
    engine.commit("t", Some(0), ["other event".to_owned()]);
    engine.drained();
    let seen = read(&brokers, "t", 1);
    let last = seen.last().unwrap();
    assert_eq!(
        (last.text().as_str(), last.sequence(), last.is_marked()),
        ("other event", 1, false)
    );
    assert!(last.epoch() > epoch, "{}", last.epoch());
    assert_eq!(seen.len(), 7);
}

/// Where the clock was set back and the outbox was lost, epochs begin anew below those that consumers have seen.
#[test]
fn a_lane_that_begins_looks_for_later_epochs_on_the_log() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 2, 1).unwrap();
    let later = 4_000_000_000_u32;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .create()
        .unwrap();
    let text = later.to_string();
    let headers = [
        ("floorgate_gateway", "test"),
        ("floorgate_lane_epoch", text.as_str()),
        ("floorgate_lane_sequence", "1"),
    ];
    let headers = headers
        .into_iter()
        .fold(OwnedHeaders::new(), |all, (key, value)| {
            all.insert(Header {
                key,
                value: Some(value),
            })
        });
    let record = BaseRecord::to("t").partition(0).key("line1").payload("earlier");
    producer.send(record.headers(headers)).unwrap();
    producer.flush(PATIENCE).unwrap();

    let mut engine = Engine::start(&brokers);
    engine.commit("t", Some(0), numbered(1..=3));
    engine.commit("t", Some(1), numbered(1..=3));
    engine.drained();
    let seen = read(&brokers, "t", 2);
    let epochs = |partition| -> Vec<u64> {
        let of = seen.iter().filter(|record| record.partition == partition);
        of.map(Seen::epoch).collect()
    };
    assert_eq!(epochs(0), [0, 1, 1, 1].map(|more| u64::from(later) + more));
    assert!(epochs(1).iter().all(|epoch| *epoch < u64::from(later)));
    assert!(seen.iter().all(|record| !record.is_marked()));
    assert_eq!(
        (engine.reconciled("rolled_back"), engine.reconciled("settled")),
        (1, 0)
    );
}

#[test]
fn partitions_without_a_leader_are_named_and_hold_up_no_other() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 3, 1).unwrap();
    let mut engine = Engine::start(&brokers);
    for partition in 0..3 {
        engine.commit("t", Some(partition), numbered(1..=3));
    }
    engine.drained();
    let _ = engine.publisher.take().unwrap().stop(PATIENCE);
    for partition in [0, 2] {
        cluster.partition_leader("t", partition, None).unwrap();
    }
    engine.publish();
    for partition in 0..3 {
        engine.commit("t", Some(partition), numbered(4..=6));
    }
    engine.until("the other partition", |engine| engine.acknowledged("t", 1) == 6);
    engine.until("both partitions in the status", |engine| {
        let problems = engine.publisher().status().problems;
        [0, 2].iter().all(|partition| {
            let text = format!("partition {partition} of topic t cannot be read: ");
            problems.iter().any(|problem| problem.starts_with(&text))
        })
    });
    assert_eq!((engine.acknowledged("t", 0), engine.acknowledged("t", 2)), (3, 3));
    for partition in [0, 2] {
        cluster.partition_leader("t", partition, Some(1)).unwrap();
    }
    engine.drained();
    let seen = read(&brokers, "t", 3);
    assert_eq!((seen.len(), by_the_rule(&seen).1), (18, 0));
    assert!(seen.iter().all(|record| !record.is_marked()));
    engine.until("a status without problems", |engine| {
        engine.publisher().status().problems.is_empty()
    });
}

/// Whoever stops has ceased to act on reports: a new epoch is not stored any more.
#[test]
fn a_stop_waits_for_no_epoch_that_nobody_begins() {
    let cluster = MockCluster::new(1).unwrap();
    let mut engine = forgetful(&cluster);
    engine.drained();
    let _ = engine.publisher.take().unwrap().stop(PATIENCE);
    let other = MockCluster::new(1).unwrap();
    other.create_topic("t", 1, 1).unwrap();
    let brokers = other.bootstrap_servers();
    engine.settings.brokers = brokers.split(',').map(str::to_owned).collect();
    engine.publish();
    engine.publisher().prepare([Arc::from("t")]);
    let end = Instant::now() + PATIENCE;
    while engine.reconciled("truncated") == 0 {
        assert!(Instant::now() < end, "the log was not found to be another");
        std::thread::park_timeout(Duration::from_millis(2));
    }
    let publisher = engine.publisher.take().unwrap();
    let (stopped, waits) = channel();
    std::thread::spawn(move || stopped.send(publisher.stop(Duration::from_hours(1))));
    assert!(waits.recv_timeout(PATIENCE).is_ok(), "it waits for the epoch");
}
