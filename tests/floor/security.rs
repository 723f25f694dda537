//! Protected connections to Kafka: who is let in, who is refused, and what the operator is told.

use anyhow::Result;
use floorgate_tests::{Delivery, Kafka, Listener, Patience, until};

use crate::counting::{COUNTER, compare, known, read_to, told};
use crate::plant::{Plant, topic};

/// A plant whose gateway is to reach the broker through a listener, with these settings below `security`. `{ca}`
/// stands for the file of the broker's authority.
pub fn plant(kafka: &Kafka, listener: Listener, security: &str) -> Result<Plant> {
    let plant = Plant::new(&kafka.bootstrap())?;
    let authority = kafka.authority()?.certificate().display().to_string();
    let settings = plant
        .settings()?
        .replace(&kafka.bootstrap(), &kafka.address(listener)?)
        .replace("protocol: plaintext", &security.replace("{ca}", &authority));
    plant.gateway.write("floorgate.yaml", &settings)?;
    Ok(plant)
}

/// Waits until `/readyz` tells a problem, and shows that events wait while nothing has arrived.
fn is_told(plant: &Plant, problem: &str) -> Result<()> {
    let mut page = String::new();
    until(&format!("{problem:?} in /readyz"), Patience::Short, || {
        page = plant.gateway.get("/readyz")?.body;
        Ok(page
            .lines()
            .any(|line| line.starts_with("kafka: ") && line.contains(problem))
            .then_some(()))
    })
    .map_err(|error| error.context(page.clone()))?;
    assert!(page.contains("kafka: not reachable, events are stored"), "{page}");
    assert!(!page.contains("kafka: kafka:"), "{page}");
    assert_eq!(plant.gateway.metric("floorgate_kafka_up")?, Some(0.0));
    plant
        .gateway
        .wait_for_metric("floorgate_outbox_depth", 2.0.., Patience::Short)
}

/// Stops the gateway in order: a broker that cannot be used is no reason for another exit code.
fn stopped(plant: &mut Plant) -> Result<()> {
    let (status, _) = plant.gateway.stop()?;
    assert!(status.success(), "{status}");
    Ok(())
}

/// Waits for the first states of both lines, and then for a change: everything from the first event on is there.
fn everything_arrives(plant: &mut Plant) -> Result<()> {
    let mut reader = plant.reader("equipment-state")?;
    reader.at_least(2, Patience::Long)?;
    plant.plc.set("Line1.State", 6)?;
    let records = reader.until("the change", Patience::Long, |records| {
        records
            .iter()
            .any(|record| record.json().is_ok_and(|data| data["state"] == "Execute"))
    })?;
    let events = Delivery::of(records)?.accepted;
    assert!(events.len() >= 3, "{events:#?}");
    plant
        .gateway
        .wait_for_metric("floorgate_outbox_depth", 0.0..=0.0, Patience::Short)?;
    until("a good word in /readyz", Patience::Short, || {
        let page = plant.gateway.get("/readyz")?.body;
        Ok((page == "ready\nkafka: up\n").then_some(()))
    })
}

#[test]
fn a_broker_of_the_named_authority_is_trusted() -> Result<()> {
    let kafka = Kafka::shared_protected()?;
    let mut plant = plant(kafka, Listener::Tls, "protocol: ssl, ca_file: '{ca}'")?;
    plant.gateway.start()?;
    everything_arrives(&mut plant)
}

#[test]
fn a_broker_of_an_unknown_authority_is_refused() -> Result<()> {
    let kafka = Kafka::shared_protected()?;
    let mut plant = plant(kafka, Listener::Tls, "protocol: ssl")?;
    plant.gateway.start()?;
    is_told(&plant, "verify that kafka.security.ca_file is")
}

#[test]
fn a_certificate_for_another_host_is_refused() -> Result<()> {
    let kafka = Kafka::shared_protected()?;
    let security = "protocol: ssl, ca_file: '{ca}'";
    let mut plant = plant(kafka, Listener::OtherHost, security)?;
    plant.gateway.start()?;
    is_told(&plant, "made for another host")?;
    stopped(&mut plant)?;

    // Told to look away, it connects: it was the host's name alone, and what waited is not lost.
    let settings = plant.settings()?.replace(
        "protocol: ssl",
        "skip_host_verification_insecure: true, protocol: ssl",
    );
    plant.gateway.write("floorgate.yaml", &settings)?;
    plant.gateway.start()?;
    everything_arrives(&mut plant)
}

/// Time alone does it: what worked is refused one day, and comes back by itself when the broker has another certificate.
#[test]
fn a_broker_whose_certificate_has_expired_is_refused_until_it_is_renewed() -> Result<()> {
    let kafka = Kafka::shared_protected()?;
    let security = "protocol: ssl, ca_file: '{ca}'";
    let mut plant = plant(kafka, Listener::Expired, security)?;
    plant.gateway.start()?;
    is_told(&plant, "the certificate has expired, or")?;
    kafka.renew_certificate()?;
    everything_arrives(&mut plant)
}

/// The right to write is taken away while counts flow, and given again: they wait, and nothing else does.
#[test]
fn a_right_that_is_taken_away_under_load_costs_nothing() -> Result<()> {
    let kafka = Kafka::shared_protected()?;
    let (user, password) = Listener::USER;
    let security = format!(
        "protocol: sasl_ssl, ca_file: '{{ca}}', mechanism: SCRAM-SHA-256, username: {user}, \
         password_file: kafka.password"
    );
    let mut plant = plant(kafka, Listener::Sasl, &security)?;
    plant.gateway.write("kafka.password", password)?;
    plant.gateway.start()?;
    known(&plant)?;
    plant.plc.count_up(COUNTER, 1, i64::from(u32::MAX), 4)?;
    told(&plant.gateway, plant.site(), 50)?;
    let counts = topic(plant.site(), "production-count");
    kafka.forbid_writing(&counts, true)?;
    until("the topic in /readyz", Patience::Long, || {
        let page = plant.gateway.get("/readyz")?.body;
        let tells = |line: &str| line.contains(&counts) && line.contains("uthorization");
        Ok(page.lines().any(tells).then_some(()))
    })?;
    plant.plc.set("Line2.State", 6)?;
    plant.reader("equipment-state")?.at_least(3, Patience::Long)?;
    kafka.forbid_writing(&counts, false)?;
    let last = plant.plc.stop_counting(COUNTER)?;
    let mut reader = plant.reader("production-count")?;
    let delivery = Delivery::of(read_to(&mut reader, last)?)?;
    assert_eq!(compare(&delivery.accepted, &(1..=last))?, 0);
    assert_eq!(delivery.repeated, 0, "records came twice");
    assert_eq!(plant.gateway.metric("floorgate_dead_letters")?, Some(0.0));
    Ok(())
}

#[test]
fn a_wrong_password_is_told_and_the_right_one_loses_nothing() -> Result<()> {
    let kafka = Kafka::shared_protected()?;
    let (user, password) = Listener::USER;
    for mechanism in ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] {
        let security = format!(
            "protocol: sasl_ssl, ca_file: '{{ca}}', mechanism: {mechanism}, username: {user}, \
             password_file: kafka.password"
        );
        let mut plant = plant(kafka, Listener::Sasl, &security)?;
        plant.gateway.write("kafka.password", "guessed\n")?;
        plant.gateway.start()?;
        is_told(&plant, "uthentication failed")?;
        stopped(&mut plant)?;
        let output = plant.gateway.output()?;
        assert!(!output.contains("guessed"), "a password in the log: {output}");

        plant.gateway.write("kafka.password", &format!("{password}\n"))?;
        plant.gateway.start()?;
        everything_arrives(&mut plant)?;
        let output = plant.gateway.output()?;
        assert!(!output.contains(password), "a password in the log: {output}");
    }
    Ok(())
}

#[test]
fn a_gateway_is_known_by_its_certificate() -> Result<()> {
    let kafka = Kafka::shared_protected()?;
    let authority = kafka.authority()?;
    let mut plant = plant(
        kafka,
        Listener::ClientCertificate,
        "protocol: ssl, ca_file: '{ca}'",
    )?;
    plant.gateway.start()?;
    is_told(&plant, "see kafka.security.certificate_file")?;
    stopped(&mut plant)?;

    let own = format!(
        "certificate_file: '{}', key_file: '{}', protocol: ssl",
        authority.certificate_of(Listener::CLIENT).display(),
        authority.key_of(Listener::CLIENT).display()
    );
    let settings = plant.settings()?.replace("protocol: ssl", &own);
    plant.gateway.write("floorgate.yaml", &settings)?;
    plant.gateway.start()?;
    everything_arrives(&mut plant)
}

#[test]
fn a_key_may_be_under_a_password() -> Result<()> {
    let kafka = Kafka::shared_protected()?;
    let authority = kafka.authority()?;
    let (key, password) = authority.locked_key_of(Listener::CLIENT);
    let security = format!(
        "protocol: ssl, ca_file: '{{ca}}', certificate_file: '{}', key_file: '{}', \
         key_password_file: key.password",
        authority.certificate_of(Listener::CLIENT).display(),
        key.display()
    );
    let mut plant = plant(kafka, Listener::ClientCertificate, &security)?;
    plant.gateway.write("key.password", &format!("{password}\n"))?;
    plant.gateway.start()?;
    everything_arrives(&mut plant)?;
    stopped(&mut plant)?;
    let output = plant.gateway.output()?;
    assert!(!output.contains(&password), "a password in the log: {output}");
    Ok(())
}
