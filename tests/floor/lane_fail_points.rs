//! A gateway that dies at the calls by which its lanes come into being, begin anew, or have an event set aside.

use anyhow::{Result, ensure};
use floorgate_tests::{
    Call, Delivery, Faults, Folder, Kafka, Moment, Patience, Reader, Record, free_port, until,
};

use crate::copies::copy_outbox;
use crate::counting::{COUNTER, compare, known, read_to};
use crate::operator::ask;
use crate::plant::{Plant, topic};

/// The call of the first death is one of these. From one to the next there are more and more. `KILLS` in the environment asks for each call.
const FIRST: i32 = 6;

/// The call of the next death.
fn after(number: i32, random: &mut fastrand::Rng) -> i32 {
    if std::env::var_os("KILLS").is_some() {
        return number + 1;
    }
    number + random.i32(1..=number.max(FIRST))
}

/// A plant that is at rest, with a gateway that is down, and the gateway's outbox as it was then.
struct AtRest {
    plant: Plant,
    faults: Faults,
    outbox: Folder,
    counts: String,
}

impl AtRest {
    /// Ends what the gateway of this plant does.
    fn new(mut plant: Plant) -> Result<Self> {
        let (status, _) = plant.gateway.stop()?;
        ensure!(status.success(), "{status}");
        let outbox = Folder::new("outbox")?;
        copy_outbox(&plant.gateway.state(), outbox.path())?;
        Ok(Self {
            faults: Faults::under(&mut plant.gateway)?,
            counts: topic(plant.site(), "production-count"),
            plant,
            outbox,
        })
    }

    /// The gateway stored counts up to this one, and has never reached a broker.
    fn unsent(last: i64, change: impl FnOnce(&Plant) -> Result<()>) -> Result<Self> {
        let nowhere = format!("127.0.0.1:{}", free_port()?);
        let mut plant = Plant::new(&nowhere)?;
        change(&plant)?;
        plant.gateway.start()?;
        let stored = |name: &str| format!("floorgate_events_total{{type=\"{name}\"}}");
        plant
            .gateway
            .wait_for_metric(&stored("EquipmentStateChanged"), 2.0.., Patience::Long)?;
        plant.plc.count_up(COUNTER, 1, last, 4)?;
        let all = f64::from(i32::try_from(last)?);
        plant
            .gateway
            .wait_for_metric(&stored("ProductionCountRecorded"), all..=all, Patience::Long)?;
        let here = plant.settings()?.replace(&nowhere, &Kafka::shared()?.bootstrap());
        plant.gateway.write("floorgate.yaml", &here)?;
        Self::new(plant)
    }

    /// Lets the gateway come up with that outbox before an empty topic, which has a setting perhaps, and die at one call after the other of those
    /// that it makes; after each death the next process does the rest. Each time the log is to become whole, and be as it has to be.
    fn die_on_the_way(
        &mut self,
        setting: Option<(&str, &str)>,
        is_whole: impl Fn(&[Record]) -> bool,
        check: impl Fn(&Plant, &[Record]) -> Result<()>,
    ) -> Result<()> {
        let kafka = Kafka::shared()?;
        let port = kafka.bootstrap().rsplit_once(':').map(|(_, port)| port.parse());
        let calls = [
            ("writes", Call::Write),
            ("syncs", Call::Sync),
            ("sends to Kafka", Call::Send(port.unwrap_or(Ok(0))?)),
        ];
        let mut random = fastrand::Rng::new();
        let mut is_there = false;
        for (name, call) in calls {
            for moment in [Moment::Before, Moment::After] {
                let (mut number, mut deaths) = (after(0, &mut random), 0);
                loop {
                    if is_there {
                        kafka.delete_topic(&self.counts)?;
                    }
                    kafka.create_topic(&self.counts, 3)?;
                    is_there = true;
                    if let Some((key, value)) = setting {
                        kafka.set_topic(&self.counts, key, value)?;
                    }
                    copy_outbox(self.outbox.path(), &self.plant.gateway.state())?;
                    self.faults.die_at(call, moment, number)?;
                    let came_through = self.goes_on(&is_whole)?;
                    self.faults.live()?;
                    if !came_through {
                        Faults::have_killed(&mut self.plant.gateway)?;
                        ensure!(
                            self.goes_on(&is_whole)?,
                            "it ended: {}",
                            self.plant.gateway.output()?
                        );
                    }
                    let mut reader = Reader::new(&kafka.bootstrap(), &self.counts)?;
                    check(&self.plant, reader.to_end()?)?;
                    self.plant.gateway.kill()?;
                    if came_through {
                        break;
                    }
                    deaths += 1;
                    number = after(number, &mut random);
                }
                println!("died {moment:?} {deaths} of {number} {name}");
                ensure!(deaths > 0, "it never died");
            }
        }
        Ok(())
    }

    /// Starts the gateway, and waits until the log is whole; whether it is, and the gateway has not ended before.
    fn goes_on(&mut self, is_whole: &impl Fn(&[Record]) -> bool) -> Result<bool> {
        let mut reader = Reader::new(&Kafka::shared()?.bootstrap(), &self.counts)?;
        self.plant.gateway.spawn()?;
        until("an end or all that is to be on the log", Patience::Long, || {
            if !self.plant.gateway.process()?.is_running()? {
                return Ok(Some(false));
            }
            Ok(is_whole(reader.to_end()?).then_some(true))
        })
    }
}

/// Each count once, in order, without a gap.
fn is_each_once(records: &[Record], last: i64) -> Result<()> {
    let delivery = Delivery::of(records)?;
    ensure!(delivery.repeated == 0, "{} came twice", delivery.repeated);
    ensure!(compare(&delivery.accepted, &(1..=last))? == 0, "there are gaps");
    Ok(())
}

fn is_marked(record: &Record) -> bool {
    record.has_header("floorgate_possible_duplicate")
}

#[test]
fn whichever_call_a_gateway_dies_at_while_lanes_come_into_being_nothing_is_lost_or_doubled() -> Result<()> {
    const LAST: i64 = 30;
    let mut plant = AtRest::unsent(LAST, |_| Ok(()))?;
    plant.die_on_the_way(
        None,
        |records| records.len() >= 30,
        |_, records| {
            ensure!(!records.iter().any(is_marked), "sent on suspicion");
            is_each_once(records, LAST)
        },
    )
}

#[test]
fn whichever_call_a_gateway_dies_at_while_events_are_set_aside_each_is_kept_once() -> Result<()> {
    const LAST: i64 = 3;
    let mut plant = AtRest::unsent(LAST, |plant| plant.make_counts_large(4_000))?;
    // An event is too large with its text, and a stub has none.
    plant.die_on_the_way(
        Some(("max.message.bytes", "3000")),
        |records| records.len() >= 3,
        |plant, records| {
            let delivery = Delivery::of(records)?;
            let stubs = delivery
                .accepted
                .iter()
                .filter(|record| record.has_header("floorgate_dead_letter"));
            ensure!(stubs.count() == 3 && delivery.repeated == 0, "{records:?}");
            let letters = ask(&plant.gateway, &["dlq", "list", "--json"])?.rows()?;
            let ids: Vec<_> = letters
                .iter()
                .map(|letter| letter["id"].as_str().unwrap_or_default())
                .collect();
            let of_stubs: Vec<_> = delivery
                .accepted
                .iter()
                .map(|stub| stub.header("ce_id"))
                .collect::<Result<_>>()?;
            ensure!(ids == of_stubs, "{ids:?} and {of_stubs:?}");
            Ok(())
        },
    )
}

#[test]
fn whichever_call_a_gateway_dies_at_while_an_epoch_begins_all_that_is_kept_is_in_it() -> Result<()> {
    const LAST: i64 = 20;
    let mut plant = Plant::new(&Kafka::shared()?.bootstrap())?;
    plant.gateway.start()?;
    known(&plant)?;
    plant.plc.count_up(COUNTER, 1, LAST, 4)?;
    read_to(&mut plant.reader("production-count")?, LAST)?;
    let counts = topic(plant.site(), "production-count");
    let mut plant = AtRest::new(plant)?;
    // They are delivered, and the log does not have them.
    Kafka::shared()?.delete_topic(&counts)?;
    plant.die_on_the_way(
        None,
        |records| records.len() >= 20,
        |_, records| {
            ensure!(records.iter().all(is_marked), "sent again without a mark");
            is_each_once(records, LAST)
        },
    )
}
