//! What happens when a broker refuses, or loses an answer.

use std::collections::HashSet;
use std::time::Duration;

use floorgate_sample::Timestamp;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::engine::{Engine, LONG_AGO, Seen, by_the_rule, numbered, read};

fn marked(engine: &Engine) -> u64 {
    engine.metrics.possible_duplicates.get()
}

#[test]
fn lost_answers_and_moved_leaders_are_the_clients_business() {
    let cluster = MockCluster::new(3).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 1, 3).unwrap();
    let mut engine = Engine::start(&brokers);
    engine.commit("t", Some(0), numbered(1..=1));
    engine.drained();
    let errors = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    ];
    // One record at a time: unlike a broker, the mock cluster would take a later batch while an earlier one is refused.
    for (number, error) in (2..).zip(errors) {
        cluster.partition_leader("t", 0, Some(number % 3 + 1)).unwrap();
        cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
        engine.commit("t", Some(0), [format!("event {number}")]);
        engine.drained();
    }
    assert_eq!(by_the_rule(&read(&brokers, "t", 1)).0, numbered(1..=5));
    assert_eq!(marked(&engine), 0);
}

#[test]
fn a_refused_record_holds_its_lane_and_nothing_else_until_a_stub_is_stored() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 2, 1).unwrap();
    let mut engine = Engine::start(&brokers);
    let too_large = vec![b'x'; 1_100_000];
    engine.takes_no_burials = true;
    engine.commit("t", Some(0), numbered(1..=2));
    engine.commit_bytes("t", Some(0), [too_large]);
    engine.commit("t", Some(0), numbered(4..=5));
    engine.until("the held lane in the status", |engine| {
        let problems = engine.publisher().status().problems;
        problems
            .iter()
            .any(|problem| problem.contains("topic t partition 0 is held at sequence 3"))
    });
    engine.commit("t", Some(1), numbered(1..=100));
    engine.until("the other lane", |engine| engine.acknowledged("t", 1) == 100);
    assert_eq!(engine.acknowledged("t", 0), 2);
    assert_eq!(read(&brokers, "t", 1).len(), 2);
    engine.takes_no_burials = false;
    engine.drained();
    let seen = read(&brokers, "t", 2);
    let of_lane = seen.iter().filter(|record| record.partition == 0);
    assert_eq!(of_lane.map(Seen::sequence).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

#[test]
fn a_lane_goes_on_when_a_refusal_was_for_a_moment() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 2, 1).unwrap();
    let mut engine = Engine::start(&brokers);
    engine.commit("t", Some(0), numbered(1..=10));
    engine.commit("t", Some(1), numbered(1..=10));
    engine.drained();
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD],
    );
    engine.commit("t", Some(0), numbered(11..=30));
    engine.drained();
    assert_eq!(by_the_rule(&read(&brokers, "t", 1)), (numbered(1..=30), 0));
    assert_eq!(marked(&engine), 0);
    assert!(engine.reconciled("settled") > 0, "the log was looked at");
    assert!(
        engine
            .metrics
            .publish_errors
            .with_label_values(&["InvalidRecord"])
            .get()
            > 0
    );
}

#[test]
fn a_fatal_error_replaces_the_producer_and_order_is_kept() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 1, 1).unwrap();
    let mut engine = Engine::start(&brokers);
    engine.commit("t", Some(0), numbered(1..=10));
    engine.drained();
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER],
    );
    engine.commit("t", Some(0), numbered(11..=20));
    engine.drained();
    engine.commit("t", Some(0), numbered(21..=30));
    engine.drained();
    let seen = read(&brokers, "t", 1);
    assert_eq!(by_the_rule(&seen).0, numbered(1..=30));
    // This cluster takes a batch although the one before it was refused, which a broker does not: what comes again is marked.
    let mut ids = HashSet::new();
    for record in &seen {
        assert!(
            ids.insert(record.sequence()) || record.is_marked(),
            "{} came twice",
            record.text()
        );
    }
    assert!(engine.metrics.publish_errors.with_label_values(&["Fatal"]).get() > 0);
    assert!(engine.reconciled("settled") > 0, "the log was looked at");
}

#[test]
fn a_fatal_error_of_large_bursts_replaces_both_producers() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 1, 1).unwrap();
    let mut engine = Engine::start(&brokers);
    engine.commit("t", Some(0), numbered(1..=100));
    engine.drained();
    engine.commit("t", Some(0), numbered(101..=200));
    engine.drained();
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER],
    );
    engine.commit("t", Some(0), numbered(201..=300));
    engine.drained();
    engine.commit("t", Some(0), numbered(301..=303));
    engine.drained();
    engine.commit("t", Some(0), numbered(304..=400));
    engine.drained();
    assert_eq!(by_the_rule(&read(&brokers, "t", 1)).0, numbered(1..=400));
    assert!(engine.metrics.publish_errors.with_label_values(&["Fatal"]).get() > 0);
    assert_eq!(engine.metrics.kafka_up.get(), 1);
}

#[test]
fn a_missing_topic_is_named_and_holds_up_only_itself() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("here", 1, 1).unwrap();
    let mut settings = floorgate_publisher::KafkaSettings::new(vec![brokers.clone()]);
    settings.security = floorgate_publisher::SecuritySettings::plaintext();
    settings.topics.create = false;
    let mut engine = Engine::with(settings);
    engine.commit("absent", None, numbered(1..=5));
    engine.commit("here", None, numbered(1..=5));
    engine.until("the missing topic in the status", |engine| {
        engine.publisher().status().problems
            == ["topic absent does not exist, and creating topics is switched off"]
    });
    engine.until("the other topic", |engine| engine.acknowledged("here", 0) == 5);

    cluster.create_topic("absent", 2, 1).unwrap();
    engine.drained();
    assert_eq!(by_the_rule(&read(&brokers, "absent", 2)), (numbered(1..=5), 0));
}

/// The records that stand in the place of dead letters: their sequences, and whether they are empty.
fn stubs(seen: &[Seen]) -> Vec<(u64, bool)> {
    let stubs = seen
        .iter()
        .filter(|record| record.headers.contains_key("floorgate_dead_letter"));
    stubs
        .map(|record| (record.sequence(), record.value.is_empty()))
        .collect()
}

#[test]
fn a_record_that_is_refused_for_good_becomes_a_dead_letter_and_a_stub_goes_out() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 1, 1).unwrap();
    let mut engine = Engine::start(&brokers);
    engine.commit("t", Some(0), numbered(1..=2));
    engine.drained();
    // Twice: a refusal may be for a moment.
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD; 2],
    );
    engine.commit("t", Some(0), numbered(3..=3));
    engine.drained();
    engine.commit("t", Some(0), numbered(4..=5));
    engine.drained();
    // The client itself refuses what is too large.
    let large = vec![b'x'; engine.settings.max_record_bytes as usize];
    engine.commit_bytes(
        "t",
        Some(0),
        [b"event 6".to_vec(), large.clone(), b"event 8".to_vec()],
    );
    engine.drained();

    let seen = read(&brokers, "t", 1);
    assert_eq!(
        seen.iter().map(Seen::sequence).collect::<Vec<_>>(),
        (1..=8).collect::<Vec<_>>()
    );
    assert_eq!(stubs(&seen), [(3, true), (7, true)]);
    assert_eq!(seen[6].headers["ce_subject"], "line\n1");
    let letters = engine.dead_letters();
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0].event.value, b"event 3");
    assert_eq!(letters[1].event.value, large);
    assert!(letters[1].reason.contains("too large"), "{}", letters[1].reason);

    // A new process finds the stubs on the log, as it would find any other record.
    engine.commit("t", Some(0), numbered(9..=9));
    engine.dies_before_it_stores_acknowledgements();
    engine.drained();
    let seen = read(&brokers, "t", 1);
    assert_eq!(
        seen.iter().map(Seen::sequence).collect::<Vec<_>>(),
        (1..=9).collect::<Vec<_>>()
    );
}

#[test]
fn a_producer_that_the_broker_forgot_goes_on_and_order_is_kept() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 1, 1).unwrap();
    let mut engine = Engine::start(&brokers);
    engine.commit("t", Some(0), numbered(1..=10));
    engine.drained();
    for (number, error) in [
        (11, RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID),
        (42, RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH),
    ] {
        cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
        // One record: unlike a broker, the mock cluster would take a later batch while an earlier one is refused.
        engine.commit("t", Some(0), numbered(number..=number));
        engine.drained();
        engine.commit("t", Some(0), numbered(number + 1..=number + 30));
        engine.drained();
    }
    assert_eq!(by_the_rule(&read(&brokers, "t", 1)), (numbered(1..=72), 0));
    assert_eq!(marked(&engine), 0);
    assert!(engine.dead_letters().is_empty());
}

#[test]
fn what_only_the_broker_finds_too_large_becomes_a_dead_letter_and_what_follows_flows() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 1, 1).unwrap();
    let mut engine = Engine::start(&brokers);
    engine.commit("t", Some(0), numbered(1..=2));
    engine.drained();
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE; 2],
    );
    engine.commit("t", Some(0), numbered(3..=3));
    engine.until("the first refusal", |engine| {
        engine.refusals("MessageSizeTooLarge") > 0
    });
    engine.commit("t", Some(0), numbered(4..=6));
    engine.drained();
    let seen = read(&brokers, "t", 1);
    assert_eq!(
        seen.iter().map(Seen::sequence).collect::<Vec<_>>(),
        (1..=6).collect::<Vec<_>>()
    );
    assert_eq!(stubs(&seen), [(3, true)]);
    let letters = engine.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].event.value, b"event 3");
    assert!(letters[0].reason.contains("too large"), "{}", letters[0].reason);
}

#[test]
fn the_right_to_write_that_is_taken_away_is_told_and_waited_for() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 1, 1).unwrap();
    cluster.create_topic("other", 1, 1).unwrap();
    let mut engine = Engine::start(&brokers);
    engine.commit("t", Some(0), numbered(1..=2));
    engine.commit("other", Some(0), numbered(1..=2));
    engine.drained();
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 10],
    );
    engine.commit("t", Some(0), numbered(3..=3));
    engine.until("both refusals", |engine| {
        engine.refusals("TopicAuthorizationFailed") == 2
    });
    // The second one may be the client's own, which remembers the first: the broker was not asked then.
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    engine.commit("t", Some(0), numbered(4..=6));
    engine.until("the held lane in the status", |engine| {
        let problems = engine.publisher().status().problems;
        problems.iter().any(|problem| {
            problem.contains("topic t partition 0 is held at sequence 3") && problem.contains("uthorization")
        })
    });
    // The lane's next attempt is ten seconds away.
    engine.commit("other", Some(0), numbered(3..=100));
    engine.until("the other topic", |engine| engine.acknowledged("other", 0) == 100);
    assert_eq!(engine.acknowledged("t", 0), 2);
    engine.drained();
    engine.until("a status without problems", |engine| {
        engine.publisher().status().problems.is_empty()
    });
    assert_eq!(by_the_rule(&read(&brokers, "t", 1)), (numbered(1..=6), 0));
    assert!(engine.dead_letters().is_empty());
    assert_eq!(marked(&engine), 0);
}

#[test]
fn a_leader_that_goes_while_records_are_on_their_way_costs_nothing() {
    let cluster = MockCluster::new(3).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 1, 3).unwrap();
    cluster.partition_leader("t", 0, Some(1)).unwrap();
    let mut settings =
        floorgate_publisher::KafkaSettings::new(brokers.split(',').map(str::to_owned).collect());
    settings.security = floorgate_publisher::SecuritySettings::plaintext();
    // Bursts are small then, and there are many of them.
    settings.max_record_bytes = 100_000;
    let mut engine = Engine::with(settings);
    engine.commit("t", Some(0), numbered(1..=1));
    engine.drained();
    // At each moment some are on their way: they are answered more slowly than anything here happens.
    cluster
        .broker_round_trip_time(-1, Duration::from_millis(50))
        .unwrap();
    engine.commit("t", Some(0), numbered(2..=1500));
    for (acknowledged, old, new) in [
        (1, 1, 2),
        (200, 2, 3),
        (400, 3, 1),
        (600, 1, 2),
        (800, 2, 3),
        (1000, 3, 1),
    ] {
        engine.until("acknowledgements", |engine| {
            engine.acknowledged("t", 0) > acknowledged
        });
        cluster.broker_up(-1).unwrap();
        cluster.partition_leader("t", 0, Some(new)).unwrap();
        cluster.broker_down(old).unwrap();
    }
    engine.drained();
    cluster.broker_up(-1).unwrap();
    // A broker would know again what the mock cluster takes twice.
    assert_eq!(by_the_rule(&read(&brokers, "t", 1)).0, numbered(1..=1500));
    assert_eq!(marked(&engine), 0);
    assert_eq!(
        engine.reconciled("settled"),
        0,
        "the client sends again by itself"
    );
}

#[test]
fn a_dead_leader_with_all_that_may_be_on_its_way_holds_up_no_other() {
    let cluster = MockCluster::new(2).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 2, 1).unwrap();
    for (partition, leader) in [(0, 1), (1, 2)] {
        cluster.partition_leader("t", partition, Some(leader)).unwrap();
    }
    let mut settings =
        floorgate_publisher::KafkaSettings::new(brokers.split(',').map(str::to_owned).collect());
    settings.security = floorgate_publisher::SecuritySettings::plaintext();
    settings.in_flight_mib = 1;
    let mut engine = Engine::with(settings);
    for partition in 0..2 {
        engine.commit("t", Some(partition), numbered(1..=1));
    }
    engine.drained();
    cluster.broker_down(1).unwrap();
    // Several times what may be on its way.
    let text = "x".repeat(1000);
    engine.commit("t", Some(0), (2..=3000).map(|number| format!("{number} {text}")));
    engine.commit("t", Some(1), numbered(2..=2000));
    engine.until("the other partition", |engine| {
        engine.acknowledged("t", 1) == 2000
    });
    assert_eq!(engine.acknowledged("t", 0), 1);
    cluster.broker_up(1).unwrap();
    engine.drained();
    let (kept, dropped) = by_the_rule(&read(&brokers, "t", 2));
    assert_eq!((kept.len(), dropped), (5000, 0));
    assert_eq!(marked(&engine), 0);
}

#[test]
fn a_time_that_is_refused_goes_out_as_the_present_one() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 1, 1).unwrap();
    let mut engine = Engine::start(&brokers);
    let begin = Timestamp::now();
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP],
    );
    engine.commit("t", Some(0), numbered(1..=1));
    engine.drained();
    let seen = read(&brokers, "t", 1);
    assert_eq!(by_the_rule(&seen), (numbered(1..=1), 0));
    assert!(seen[0].timestamp >= Some(begin.as_nanos() / 1_000_000));
    assert_eq!(seen[0].headers["ce_recordedtime"], LONG_AGO.to_string());
    assert!(engine.dead_letters().is_empty());
}

#[test]
fn of_a_backlog_whose_time_is_refused_one_refusal_is_enough() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.create_topic("t", 1, 1).unwrap();
    let mut engine = Engine::start(&brokers);
    let begin = Timestamp::now();
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP],
    );
    engine.commit("t", Some(0), numbered(1..=300));
    engine.recorded = begin;
    engine.commit("t", Some(0), numbered(301..=302));
    engine.drained();
    // The backlog is through.
    engine.recorded = LONG_AGO;
    engine.commit("t", Some(0), numbered(303..=303));
    engine.drained();

    let seen = read(&brokers, "t", 1);
    assert_eq!(by_the_rule(&seen), (numbered(1..=303), 0));
    let in_millis = |time: Timestamp| time.as_nanos() / 1_000_000;
    for record in &seen {
        let time = record.timestamp.unwrap();
        let is_right = match record.sequence() {
            1..=300 => time > in_millis(begin),
            301..=302 => time == in_millis(begin),
            _ => time == in_millis(LONG_AGO),
        };
        assert!(is_right, "{} {time}", record.sequence());
    }
    assert_eq!(seen[299].headers["ce_recordedtime"], LONG_AGO.to_string());
    assert_eq!(engine.refusals("InvalidTimestamp"), 1);
    assert_eq!(engine.reconciled("settled"), 1);
    assert_eq!(marked(&engine), 0);
}
