//! One line for each event, and what holds for the events of every case.
//!
//! A line leaves out what is as one expects it: a time that is the step's and the source's, good quality, the usual topic
//! and key. What is not so stands between subject and data.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

use floorgate_core::Event;
use floorgate_core::plan::{COMMON_FIELDS, Plan};
use floorgate_workbench::cases::{ORIGIN, Told, offset};
use serde_json::{Map, Value as Json};

use super::schema;

/// Makes the lines of one case.
pub(super) struct Printer<'p> {
    plan: &'p Plan,
    /// Ids in the order in which they were first shown.
    ids: Vec<String>,
}

impl<'p> Printer<'p> {
    pub(super) fn new(plan: &'p Plan) -> Self {
        Self {
            plan,
            ids: Vec::new(),
        }
    }

    pub(super) fn line(&mut self, told: &Told) -> Result<String, String> {
        match told {
            Told::Failure(at, reason) => Ok(format!("{:<7} failure: {reason}", offset(*at))),
            Told::Event(at, event) => self.event(*at, event),
        }
    }

    fn event(&mut self, at: Duration, event: &Event) -> Result<String, String> {
        let mut data = data(event)?;
        let mut line = format!(
            "{:<7} {:<23} {:<7} {}",
            offset(at),
            event.name,
            header(event, "emission").unwrap_or_default(),
            event.subject.escape_debug()
        );
        for (name, value) in self.remarks(at, event, &mut data) {
            if value.is_empty() {
                let _ = write!(line, "  {name}");
            } else {
                let _ = write!(line, "  {name}={value}");
            }
        }
        let _ = write!(line, "  {}", Json::Object(data));
        Ok(self.with_short_ids(&line))
    }

    /// What is not as one expects it. The fields that every event has are taken out of the data.
    fn remarks(
        &self,
        at: Duration,
        event: &Event,
        data: &mut Map<String, Json>,
    ) -> Vec<(&'static str, String)> {
        let mut remarks = Vec::new();
        let mut taken: HashMap<&str, Json> = COMMON_FIELDS
            .iter()
            .filter_map(|name| Some((*name, data.shift_remove(*name)?)))
            .collect();
        let mut take = |name: &str| taken.remove(name).unwrap_or_default();
        if take("gap") == true {
            remarks.push(("gap", String::new()));
        }
        let quality = take("quality");
        if quality["class"] != "good" || quality["statusCode"] != "0x00000000" {
            let text = format!("{}/{}", word(&quality["class"]), word(&quality["statusCode"]));
            remarks.push(("quality", text));
        }
        let basis = take("timeBasis");
        let usual_basis = if is_of_a_source(event) {
            "received"
        } else {
            "source"
        };
        if basis != usual_basis {
            remarks.push(("basis", word(&basis)));
        }
        if event.time != ORIGIN.after(at) {
            remarks.push(("time", when(event.time.as_nanos())));
        }
        let times = take("timestamps");
        let time = event.time.to_string();
        for name in ["source", "server"] {
            // The time that the event has is said already.
            if let Some(text) = times[name].as_str().filter(|text| basis != name || *text != time) {
                remarks.push((name, text.to_owned()));
            }
        }
        let received = ORIGIN.after(at).to_string();
        if times["received"] != received.as_str() {
            remarks.push(("received", word(&times["received"])));
        }
        if let Some(correlation) = header(event, "correlationid") {
            remarks.push(("correlation", correlation.to_owned()));
        }
        let is_in_subject = event
            .subject
            .split_once('/')
            .is_some_and(|(_, rest)| rest == &*event.key);
        if !is_in_subject && self.plan.equipment.len() > 1 {
            remarks.push(("key", event.key.to_string()));
        }
        let rule = word(&take("mapping")["ruleId"]);
        if !is_of_a_source(event) && !rule.contains(&format!(".{}.", written_as(event))) {
            remarks.push(("rule", rule));
        }
        if self.usual_topic(event).as_deref() != Some(&*event.topic) {
            remarks.push(("topic", event.topic.to_string()));
        }
        remarks
    }

    /// The topic of a standard event where nobody says otherwise; none of the plant's own types, so that it is shown.
    fn usual_topic(&self, event: &Event) -> Option<String> {
        let entity = match written_as(event) {
            "WorkOrderStatusChanged" => "work-order",
            "EquipmentStateChanged" => "equipment-state",
            "ProductionCountRecorded" => "production-count",
            "Alarm" => "alarm",
            "MeasurementRecorded" => "measurement",
            "SourceConnectionChanged" => "source-connection",
            _ => return None,
        };
        let path = if is_of_a_source(event) {
            self.plan
                .equipment
                .first()
                .map_or("", |equipment| &*equipment.path)
        } else {
            &*event.key
        };
        let mut levels = path.split('/');
        Some(format!("{}.{}.mes.{entity}.v1", levels.next()?, levels.next()?))
    }

    /// Ids differ from one release to the next; that two are the same is what matters.
    fn with_short_ids(&mut self, line: &str) -> String {
        let mut text = String::new();
        let mut rest = line;
        while let Some(at) = rest
            .char_indices()
            .map(|(at, _)| at)
            .find(|at| is_id(&rest[*at..]))
        {
            let id = &rest[at..at + ID_LENGTH];
            let number = self.ids.iter().position(|known| known == id).unwrap_or_else(|| {
                self.ids.push(id.to_owned());
                self.ids.len() - 1
            });
            let _ = write!(text, "{}<uuid-{}>", &rest[..at], number + 1);
            rest = &rest[at + ID_LENGTH..];
        }
        text + rest
    }
}

/// What holds for the events of every case: ids are unique, no stream has a hole, and what an event says of itself is
/// what its record says.
pub(super) fn check(plan: &Plan, told: &[Told]) -> Result<(), String> {
    let published: Json = serde_json::from_str(&floorgate_config::events_schema()).expect("a schema");
    let mut ids = HashSet::new();
    let mut streams: HashMap<String, u64> = HashMap::new();
    for told in told {
        let Told::Event(at, event) = told else { continue };
        let about = format!("{} at {}", event.name, offset(*at));
        if !ids.insert(event.id) {
            return Err(format!("{about}: the id {} was there before", event.id));
        }
        let source = header(event, "source").unwrap_or_default();
        let sequence = header(event, "sequence").unwrap_or_default();
        let (epoch, number) = sequence.split_once('-').unwrap_or_default();
        let last = streams.entry(format!("{source} {epoch}")).or_default();
        *last += 1;
        if number.parse() != Ok(*last) {
            return Err(format!(
                "{about}: sequence {sequence} of {source} where {last} is next"
            ));
        }
        let data = Json::Object(data(event)?);
        // The plant's own types have no schema.
        if let Some(definition) = published["$defs"].get(&*event.name) {
            schema::holds(definition, &data, "").map_err(|reason| format!("{about}: {reason}"))?;
        }
        if is_of_a_source(event) {
            if data["source"] != *event.key {
                return Err(format!("{about}: its key is {:?}", event.key));
            }
            continue;
        }
        let rule = plan
            .rules
            .iter()
            .find(|rule| data["mapping"]["ruleId"] == *rule.id)
            .ok_or_else(|| format!("{about}: no rule is {}", data["mapping"]["ruleId"]))?;
        let path = &*plan.equipment[rule.equipment.0 as usize].path;
        let is_key = &*event.key == path || rule.spec.key.is_some();
        if data["equipmentPath"] != path || !is_key || event.topic != rule.topic {
            return Err(format!(
                "{about}: its equipment, key or topic is not that of its rule"
            ));
        }
        if data["mapping"]["version"] != *rule.spec.version {
            return Err(format!("{about}: its version is not the mapping's"));
        }
    }
    Ok(())
}

fn data(event: &Event) -> Result<Map<String, Json>, String> {
    match serde_json::from_slice(&event.value) {
        Ok(Json::Object(data)) => Ok(data),
        _ => Err(format!(
            "the data of {} is no JSON object: {}",
            event.name,
            String::from_utf8_lossy(&event.value)
        )),
    }
}

fn header<'e>(event: &'e Event, name: &str) -> Option<&'e str> {
    let lines = event.shared_headers.lines().chain(event.headers.lines());
    let mut attributes = lines.filter_map(|line| line.strip_prefix("ce_")?.split_once(": "));
    attributes
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}

fn is_of_a_source(event: &Event) -> bool {
    &*event.name == "SourceConnectionChanged"
}

/// The type as a mapping has it.
fn written_as(event: &Event) -> &str {
    match &*event.name {
        "AlarmRaised" | "AlarmCleared" => "Alarm",
        name => name,
    }
}

/// Text without its quotes.
fn word(json: &Json) -> String {
    json.as_str().map_or_else(|| json.to_string(), str::to_owned)
}

const ID_LENGTH: usize = 36;

fn is_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= ID_LENGTH
        && bytes[..ID_LENGTH]
            .iter()
            .enumerate()
            .all(|(place, byte)| match place {
                8 | 13 | 18 | 23 => *byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            })
}

/// A point in time as the case has it, also one before its beginning.
fn when(nanos: i64) -> String {
    let since = nanos - ORIGIN.as_nanos();
    let sign = if since < 0 { "-" } else { "" };
    format!("{sign}{}", offset(Duration::from_nanos(since.unsigned_abs())))
}
