//! Reads events from the broker as any consumer would, and makes readable lines of them.

use std::collections::HashSet;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use floorgate_sample::Timestamp;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;

use crate::events::header;

/// An event as a consumer sees it.
#[derive(Debug)]
pub struct Consumed {
    /// When it was consumed.
    pub at: Timestamp,
    /// CloudEvents `id`.
    pub id: String,
    /// Type name without prefix and version.
    pub name: String,
    /// CloudEvents `subject`.
    pub subject: String,
    /// Key of the record.
    pub key: String,
    /// Topic and partition.
    pub lane: (String, i32),
    /// Epoch and sequence in the lane.
    pub place: (u64, u64),
    /// CloudEvents extension `emission` is `initial`.
    pub initial: bool,
    /// The data.
    pub data: Value,
}

/// Reads all topics whose name begins with `prefix`, from their end where they existed before (`only_new`).
pub fn consume(broker: &str, prefix: &'static str, only_new: bool) -> anyhow::Result<Receiver<Consumed>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker)
        .set("group.id", "floorgate-demo")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "10")
        .set("log_level", "0")
        .create()
        .context("cannot make a consumer")?;
    let (sender, receiver) = channel();
    std::thread::Builder::new()
        .name("consumer".to_owned())
        .spawn(move || {
            let mut known = HashSet::new();
            let mut looked: Option<Instant> = None;
            let mut start = if only_new { Offset::End } else { Offset::Beginning };
            loop {
                if looked.is_none_or(|at| at.elapsed() > Duration::from_millis(250)) {
                    looked = Some(Instant::now());
                    if assign_new(&consumer, prefix, &mut known, start).is_ok() {
                        start = Offset::Beginning;
                    }
                }
                if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50))
                    && let Some(event) = read(&message)
                    && sender.send(event).is_err()
                {
                    return;
                }
            }
        })?;
    Ok(receiver)
}

/// Assigns partitions that were not there before.
fn assign_new(
    consumer: &BaseConsumer,
    prefix: &str,
    known: &mut HashSet<(String, i32)>,
    start: Offset,
) -> Result<(), rdkafka::error::KafkaError> {
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(2))?;
    let mut found = TopicPartitionList::new();
    for topic in metadata
        .topics()
        .iter()
        .filter(|topic| topic.name().starts_with(prefix))
    {
        for partition in topic.partitions() {
            if known.insert((topic.name().to_owned(), partition.id())) {
                found.add_partition_offset(topic.name(), partition.id(), start)?;
            }
        }
    }
    if found.count() > 0 {
        consumer.incremental_assign(&found)?;
    }
    Ok(())
}

fn read(message: &BorrowedMessage<'_>) -> Option<Consumed> {
    let header = |name: &str| header(message, name);
    let full = header("ce_type")?;
    Some(Consumed {
        at: Timestamp::now(),
        id: header("ce_id")?,
        name: full.rsplit('.').nth(1)?.to_owned(),
        subject: header("ce_subject")?,
        key: String::from_utf8_lossy(message.key()?).into_owned(),
        lane: (message.topic().to_owned(), message.partition()),
        place: (
            header("floorgate_lane_epoch")?.parse().ok()?,
            header("floorgate_lane_sequence")?.parse().ok()?,
        ),
        initial: header("ce_emission").as_deref() == Some("initial"),
        data: serde_json::from_slice(message.payload()?).ok()?,
    })
}

impl Consumed {
    /// When it happened on the floor, by the device's clock; `None` where the device has none.
    pub fn source_time(&self) -> Option<Timestamp> {
        let text = self.data.get("timestamps")?.get("source")?.as_str()?;
        let time: jiff::Timestamp = text.parse().ok()?;
        i64::try_from(time.as_nanosecond())
            .ok()
            .map(Timestamp::from_nanos)
    }

    /// From the change on the floor to the consumer.
    pub fn latency(&self) -> Option<Duration> {
        self.source_time().map(|time| self.at.since(time))
    }

    /// Time, latency, type, place and subject, what changed.
    pub fn line(&self) -> String {
        let time = self.at.to_string();
        let clock = time.get(11..23).unwrap_or(&time);
        // What was there before the gateway has an age, and no latency.
        let latency = match self.latency() {
            Some(_) if self.initial => "initial  ".to_owned(),
            Some(latency) => format!("{:6.1} ms", latency.as_secs_f64() * 1000.0),
            None => format!("{:>6}   ", "–"),
        };
        format!(
            "{clock}  {latency}  {:<23}  {:<43} {}",
            self.name,
            self.about(),
            self.what()
        )
    }

    /// The place on the floor, and the subject where it says more: a counter, a measured value, an alarm or an order of that place.
    fn about(&self) -> String {
        let place = self.key.splitn(3, '/').nth(2).unwrap_or(&self.key);
        let subject = self.subject.as_str();
        let (_, name) = subject.split_once('/').unwrap_or(("", subject));
        if self.key.ends_with(name) {
            place.to_owned()
        } else {
            format!("{place} {subject}")
        }
    }

    fn what(&self) -> String {
        let text = |name: &str| match &self.data[name] {
            Value::String(text) => text.clone(),
            Value::Null => "–".to_owned(),
            other => other.to_string(),
        };
        let mut what = match self.name.as_str() {
            "WorkOrderStatusChanged" => {
                format!("{} → {}", text("previousStatus"), text("status"))
            }
            "EquipmentStateChanged" => format!("{} → {}", text("previousState"), text("state")),
            "ProductionCountRecorded" => {
                format!("+{} = {}", text("delta"), text("total"))
            }
            "AlarmRaised" | "AlarmCleared" => text("text"),
            "MeasurementRecorded" => format!("{} {}", text("value"), text("unit")),
            "SourceConnectionChanged" => text("state"),
            _ => String::new(),
        };
        if self.data["gap"] == Value::Bool(true) {
            what.push_str("  (gap before)");
        }
        what
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(initial: bool, source: Option<&str>) -> Consumed {
        let at: jiff::Timestamp = "2026-05-04T10:00:01.5Z".parse().expect("a time");
        Consumed {
            at: Timestamp::from_nanos(i64::try_from(at.as_nanosecond()).expect("a time of this century")),
            id: "1".to_owned(),
            name: "EquipmentStateChanged".to_owned(),
            subject: "equipment/filling/line2/filler".to_owned(),
            key: "acme/busan/filling/line2/filler".to_owned(),
            lane: ("acme.busan.mes.equipment-state.v1".to_owned(), 0),
            place: (1, 1),
            initial,
            data: json!({"state": "Idle", "timestamps": {"source": source}}),
        }
    }

    #[test]
    fn lines_stand_in_columns_and_show_no_age_as_latency() {
        let source = Some("2026-05-04T10:00:00.25Z");
        let lines = [(false, source), (true, source), (false, None), (true, None)]
            .map(|(initial, source)| event(initial, source).line());
        let rest = "  EquipmentStateChanged    filling/line2/filler                        – → Idle";
        let shown = ["1250.0 ms", "initial  ", "     –   ", "     –   "];
        assert_eq!(
            lines,
            shown.map(|latency| format!("10:00:01.500  {latency}{rest}"))
        );
    }

    #[test]
    fn a_subject_is_shown_where_it_says_more_than_the_place() {
        let of = |name: &str, subject: &str, data: Value| {
            let mut event = event(false, None);
            (event.name, event.subject, event.data) = (name.to_owned(), subject.to_owned(), data);
            event
        };
        let lines = [
            of(
                "EquipmentStateChanged",
                "equipment/acme/busan/filling/line2/filler",
                json!({"previousState": "Idle", "state": "Execute"}),
            ),
            of(
                "ProductionCountRecorded",
                "counter/good",
                json!({"kind": "good", "delta": 1, "total": 4_294_967_295_u32}),
            ),
            of(
                "MeasurementRecorded",
                "measurement/temperature",
                json!({"name": "temperature", "value": 20.5, "unit": "CEL"}),
            ),
            of(
                "AlarmRaised",
                "alarm/E-STOP",
                json!({"code": "E-STOP", "text": "Emergency stop"}),
            ),
            of(
                "WorkOrderStatusChanged",
                "work-order/WO-L2-00001",
                json!({"previousStatus": "AllowedToStart", "status": "Running"}),
            ),
        ]
        .map(|event| event.line());
        let shown = [
            ("filling/line2/filler", "Idle → Execute"),
            ("filling/line2/filler counter/good", "+1 = 4294967295"),
            ("filling/line2/filler measurement/temperature", "20.5 CEL"),
            ("filling/line2/filler alarm/E-STOP", "Emergency stop"),
            (
                "filling/line2/filler work-order/WO-L2-00001",
                "AllowedToStart → Running",
            ),
        ];
        for (line, (about, what)) in lines.iter().zip(shown) {
            assert!(line.chars().count() <= 120, "{line}");
            assert_eq!(&line[line.len() - what.len() - 1..], format!(" {what}"));
            let (_, rest) = line.split_at(line.find("filling").expect("a place"));
            assert_eq!(rest.strip_suffix(what).map(str::trim_end), Some(about));
        }
    }
}
