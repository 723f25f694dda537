//! The peers themselves: a test that stands on them must not be the first to find out that one of them lies.

use anyhow::Result;
use floorgate_tests::{
    Folder, Framing, Kafka, ModbusPeer, OpcUaOptions, OpcUaPeer, Patience, Process, Reader, Signal, Table,
    until,
};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use std::process::Command;

fn produce(kafka: &Kafka, topic: &str, value: &str) -> Result<()> {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .create()?;
    let headers = OwnedHeaders::new().insert(Header {
        key: "ce_id",
        value: Some("7"),
    });
    let record = BaseRecord::to(topic)
        .key("acme/line1")
        .payload(value)
        .headers(headers)
        .partition(0);
    producer.send(record).map_err(|(error, _)| error)?;
    Ok(producer.flush(Patience::Short.duration())?)
}

#[test]
fn a_record_is_read_with_key_headers_and_place() -> Result<()> {
    let kafka = Kafka::shared()?;
    kafka.create_topic("peers.read", 2)?;
    produce(kafka, "peers.read", "{\"a\":1}")?;
    produce(kafka, "peers.read", "{\"a\":2}")?;
    let mut reader = Reader::new(&kafka.bootstrap(), "peers.read")?;
    let records = reader.to_end()?;
    assert_eq!(records.len(), 2);
    let last = &records[1];
    assert_eq!(
        (last.partition, last.offset, last.key.as_deref()),
        (0, 1, Some("acme/line1"))
    );
    assert_eq!(last.header("ce_id")?, "7");
    assert!(
        last.header("ce_type").is_err(),
        "a header that is not there is an error"
    );
    assert_eq!(last.json()?["a"], 2);
    Ok(())
}

#[test]
fn a_killed_broker_comes_back_with_its_records() -> Result<()> {
    let mut kafka = Kafka::start()?;
    produce(&kafka, "kept", "1")?;
    kafka.kill()?;
    kafka.resume()?;
    produce(&kafka, "kept", "2")?;
    let mut reader = Reader::new(&kafka.bootstrap(), "kept")?;
    let values: Vec<_> = reader
        .at_least(2, Patience::Long)?
        .iter()
        .map(|record| record.value.clone())
        .collect();
    assert_eq!(values, [b"1", b"2"]);
    Ok(())
}

#[test]
fn an_opcua_server_keeps_its_variables_over_a_restart() -> Result<()> {
    let mut server = OpcUaPeer::start(OpcUaOptions::default())?;
    server.add("Line1.Status", "Int32", 1)?;
    server.add("Line1.Gone", "Int32", 1)?;
    server.delete("Line1.Gone")?;
    assert!(
        server.set("Line1.Gone", 2).is_err(),
        "a deleted variable cannot be set"
    );
    let time = server.set("Line1.Status", 3)?;
    assert!(time.ends_with("+00:00"), "{time}");
    server.kill();
    server
        .options()
        .namespaces_before
        .push("urn:floorgate:test:intruder");
    server.resume()?;
    server.set("Line1.Status", 4)?;
    server.count_up("Line1.Status", 10, 12, 1)?;
    until("the last number", Patience::Short, || {
        Ok((server.progress("Line1.Status")? == Some(12)).then_some(()))
    })?;
    assert_eq!((server.connections()?, server.monitored_items()?), (0, 0));
    server.stop()
}

#[test]
fn a_modbus_server_takes_values_in_every_table() -> Result<()> {
    for framing in [Framing::Tcp, Framing::Udp, Framing::Rtu, Framing::Ascii] {
        let mut server = ModbusPeer::start(framing, &[1, 7])?;
        server.set_registers(1, Table::Holding, 10, &[1, 2])?;
        server.set_registers(7, Table::Input, 1_999, &[u16::MAX])?;
        server.set_bits(1, Table::Coil, 0, &[true])?;
        server.set_bits(7, Table::Discrete, 17, &[true, false])?;
        assert!(
            server.set_registers(1, Table::Holding, 2_000, &[1]).is_err(),
            "beyond the table"
        );
        server.kill();
        server.resume()?;
        assert_eq!(server.requests()?, 0);
        // The socket that takes all datagrams counts as a connection.
        assert_eq!(server.connections()?, u64::from(framing == Framing::Udp));
    }
    Ok(())
}

#[test]
fn a_process_dies_with_the_test_that_started_it() -> Result<()> {
    let folder = Folder::new("guard")?;
    let mut process = Process::start(
        "sleep",
        Command::new("sleep").arg("600"),
        &folder.path().join("log"),
    )?;
    assert!(process.is_running()?);
    process.abandon();
    assert!(
        !process.wait(Patience::Short.duration())?.success(),
        "killed, as nobody holds the pipe"
    );
    let mut process = Process::start(
        "sleep",
        Command::new("sleep").arg("600"),
        &folder.path().join("log"),
    )?;
    process.signal(Signal::Term)?;
    assert!(!process.wait(Patience::Short.duration())?.success());
    assert!(
        process.signal(Signal::Term).is_err(),
        "a program that ended takes no signal"
    );
    Ok(())
}
