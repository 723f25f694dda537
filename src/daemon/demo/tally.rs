//! Counts what was consumed and holds it against what the plant did.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

use floorgate_simulator::Record;
use hdrhistogram::Histogram;

use super::consumer::Consumed;

/// What a consumer has seen.
pub struct Tally {
    by_type: BTreeMap<String, u64>,
    /// Microseconds from the change on the floor to the consumer.
    latency: Histogram<u64>,
    initial: u64,
    doubled: u64,
    holes: u64,
    lanes: HashMap<(String, i32), (u64, u64)>,
    ids: HashSet<String>,
    /// Type, key and source time in microseconds of what was consumed.
    seen: HashSet<(&'static str, String, i64)>,
    /// The earliest source time seen of each: what the plant did before nobody was there to see.
    first: HashMap<(&'static str, String), i64>,
}

impl Default for Tally {
    fn default() -> Self {
        // One minute and three digits are within what the histogram can hold.
        #[allow(clippy::unwrap_used)]
        let latency = Histogram::new_with_bounds(1, 60_000_000, 3).unwrap();
        Self {
            by_type: BTreeMap::new(),
            latency,
            initial: 0,
            doubled: 0,
            holes: 0,
            lanes: HashMap::new(),
            ids: HashSet::new(),
            seen: HashSet::new(),
            first: HashMap::new(),
        }
    }
}

/// The event types that a change of a line's tag must make.
const WATCHED: &[(&str, &str)] = &[
    ("Status", "WorkOrderStatusChanged"),
    ("State", "EquipmentStateChanged"),
];

impl Tally {
    /// Takes an event, by the consumer's rule: the next sequence of its lane, or a double, or a hole.
    pub fn add(&mut self, event: &Consumed) {
        *self.by_type.entry(event.name.clone()).or_default() += 1;
        let mut is_double = !self.ids.insert(event.id.clone());
        let last = self.lanes.insert(event.lane.clone(), event.place);
        if let Some(last) = last
            && last.0 == event.place.0
        {
            match event.place.1 {
                next if next <= last.1 => {
                    is_double = true;
                    self.lanes.insert(event.lane.clone(), last);
                }
                next => self.holes += next - last.1 - 1,
            }
        }
        self.doubled += u64::from(is_double);
        // The source time of an initial value may be long ago.
        self.initial += u64::from(event.initial);
        if !event.initial
            && let Some(latency) = event.latency()
        {
            let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            self.latency.saturating_record(micros);
        }
        let watched = WATCHED.iter().find(|(_, name)| *name == event.name);
        if let (Some((_, name)), Some(time)) = (watched, event.source_time()) {
            let micros = time.as_nanos() / 1000;
            self.seen.insert((name, event.key.clone(), micros));
            let first = self.first.entry((name, event.key.clone())).or_insert(micros);
            *first = micros.min(*first);
        }
    }

    /// How many watched changes of the plant's journal were not consumed.
    pub fn missing(&self, journal: &[Record]) -> usize {
        journal
            .iter()
            .filter(|record| record.old.is_some())
            .filter(|record| {
                let Some((line, tag)) = record
                    .tag
                    .strip_prefix("Line")
                    .and_then(|rest| rest.split_once('.'))
                else {
                    return false;
                };
                let Some((_, name)) = WATCHED.iter().find(|(watched, _)| *watched == tag) else {
                    return false;
                };
                let suffix = format!("/line{line}/");
                let Some(((_, key), first)) = self
                    .first
                    .iter()
                    .find(|((n, key), _)| n == name && key.contains(&suffix))
                else {
                    return true;
                };
                record.time > *first && !self.seen.contains(&(*name, key.clone(), record.time))
            })
            .count()
    }

    /// The line that refreshes.
    pub fn status(&self, elapsed: Duration, changes: u64) -> String {
        let events: u64 = self.by_type.values().sum();
        format!(
            " {:>4} s   plant {changes} changes   consumed {events} events ({:.0}/s)   latency p50 {} p99 {}   doubled {}",
            elapsed.as_secs(),
            events as f64 / elapsed.as_secs_f64().max(0.1),
            self.quantile(0.5),
            self.quantile(0.99),
            self.doubled
        )
    }

    fn quantile(&self, quantile: f64) -> String {
        self.milliseconds(self.latency.value_at_quantile(quantile))
    }

    fn milliseconds(&self, micros: u64) -> String {
        if self.latency.is_empty() {
            return "–".to_owned();
        }
        format!("{:.1} ms", micros as f64 / 1000.0)
    }

    /// The summary at the end.
    pub fn summary(&self, elapsed: Duration, journal: &[Record], depth: Option<u64>) -> String {
        let mut text = String::new();
        let events: u64 = self.by_type.values().sum();
        let _ = writeln!(text, "\n{events} events in {:.1} s", elapsed.as_secs_f64());
        for (name, count) in &self.by_type {
            let _ = writeln!(text, "  {count:>8}  {name}");
        }
        let _ = writeln!(
            text,
            "latency from the change on the floor to the consumer ({} events with a source time, {} initial ones left out)\n  p50 {}   p99 {}   max {}",
            self.latency.len(),
            self.initial,
            self.quantile(0.5),
            self.quantile(0.99),
            self.milliseconds(self.latency.max())
        );
        let missing = self.missing(journal) as u64 + self.holes;
        text.push_str(&outcome(missing, self.doubled, depth));
        text
    }
}

/// The summary's last line. What was not consumed while the outbox holds events is not known to be lost.
fn outcome(missing: u64, doubled: u64, depth: Option<u64>) -> String {
    match depth {
        Some(0) => format!("lost {missing}   doubled {doubled}   outbox depth 0\n"),
        Some(depth) => format!(
            "not consumed {missing}   doubled {doubled}   outbox depth {depth}: stored, and not yet taken by the broker\n"
        ),
        None => format!("lost {missing}   doubled {doubled}   outbox depth unknown\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_in_the_outbox_is_not_lost() {
        assert_eq!(outcome(2, 1, Some(0)), "lost 2   doubled 1   outbox depth 0\n");
        assert_eq!(outcome(2, 0, None), "lost 2   doubled 0   outbox depth unknown\n");
        assert_eq!(
            outcome(2, 0, Some(3)),
            "not consumed 2   doubled 0   outbox depth 3: stored, and not yet taken by the broker\n"
        );
    }

    #[test]
    fn what_comes_twice_is_one_double() {
        let consumed = |sequence| Consumed {
            at: floorgate_sample::Timestamp::from_nanos(0),
            id: format!("id-{sequence}"),
            name: "MeasurementRecorded".to_owned(),
            subject: String::new(),
            key: "acme/busan".to_owned(),
            lane: ("topic".to_owned(), 0),
            place: (1, sequence),
            initial: false,
            data: serde_json::Value::Null,
        };
        let mut tally = Tally::default();
        for sequence in [1, 2, 2, 3] {
            tally.add(&consumed(sequence));
        }
        assert_eq!((tally.doubled, tally.holes), (1, 0));
    }

    #[test]
    fn there_is_no_latency_of_nothing() {
        let text = Tally::default().summary(Duration::from_secs(1), &[], Some(0));
        assert!(text.contains("p50 –   p99 –   max –"), "{text}");
    }
}
