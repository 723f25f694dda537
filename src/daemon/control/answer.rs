//! Answers requests out of the store. The same code serves the socket and a tool that has the store to itself.

use std::collections::BTreeMap;

use floorgate_outbox::{
    DeadLetter, Error as StoreError, Event, Lane, LaneState, Reader, Selection, StoredEvent,
};
use floorgate_publisher::{Status, stored_headers};
use floorgate_sample::Timestamp;
use serde::Serialize;

use super::rows::{EventRow, Finding, LaneRow, LetterRow, Outcome, Summary, TraceRow};
use super::{Fault, Request, Which};
use crate::engine::{Order, Resend};
use crate::exit;

/// Events that are explained at most.
const MOST_FOUND: usize = 20;
/// Events that are read, or ordered to be sent, at a time.
const PAGE: usize = 256;
/// Events that a search for the newest looks at in each lane.
const NEWEST_LOOK: usize = 10_000;
/// Findings that are told at most of damaged pages.
const MOST_FINDINGS: usize = 100;

/// Where answers come from and orders go to.
pub struct Desk<'a> {
    pub reader: Reader,
    /// The publisher's words, where one runs.
    pub publishing: Option<Status>,
    /// The sizes of the database and its log in bytes.
    pub sizes: (u64, u64),
    /// Does what is ordered, durably.
    pub order: &'a mut dyn FnMut(Order) -> Result<(), Fault>,
}

/// Why an answer ends before its end.
pub enum Stop {
    Fault(Fault),
    /// Nobody listens any more.
    Gone,
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Fault(Fault {
            code: error.exit_code(),
            text: format!("{:#}", anyhow::Error::from(error)),
        })
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Takes rows; false when nobody listens any more.
pub type Rows<'a> = &'a mut dyn FnMut(serde_json::Value) -> bool;

pub(super) fn give(rows: Rows<'_>, row: &impl Serialize) -> Result<(), Stop> {
    let row = serde_json::to_value(row).map_err(|error| Fault {
        text: error.to_string(),
        code: exit::UNEXPECTED,
    })?;
    if rows(row) { Ok(()) } else { Err(Stop::Gone) }
}

impl Desk<'_> {
    /// Answers a request row by row.
    pub fn answer(&mut self, request: Request, rows: Rows<'_>) -> Result<(), Stop> {
        match request {
            Request::Status => self.status(rows),
            Request::Newest { count, which } => self.newest(count, &which, rows),
            Request::After { places, which } => {
                let places: BTreeMap<u32, u64> = places.into_iter().collect();
                let after = |lane: u32| places.get(&lane).copied().unwrap_or(0);
                self.events(&which, after, &mut |state, stored| {
                    give(rows, &EventRow::of(state, &stored))
                })
            }
            Request::Export { which } => self.events(&which, |_| 0, &mut |state, stored| {
                give(rows, &EventRow::of(state, &stored))
            }),
            Request::Explain { id } => {
                for (lane, stored) in self.reader.find(&id, MOST_FOUND)? {
                    give(rows, &TraceRow::of(&lane, &stored))?;
                }
                Ok(())
            }
            Request::Verify => self.verify(rows),
            Request::Letters => self.letters(&[], &mut |letter| give(rows, &LetterRow::of(&letter, false))),
            Request::Letter { number } => {
                self.letters(&[number], &mut |letter| give(rows, &LetterRow::of(&letter, true)))
            }
            Request::SettleLetters { numbers, replay } => self.settle_letters(&numbers, replay, rows),
            Request::Replay { which, topic } => self.replay(&which, &topic, rows),
            Request::Repartition { topic } => self.repartition(&topic, rows),
            // The server answers it itself.
            Request::Record
            | Request::Watch
            | Request::Sources
            | Request::LateTags
            | Request::BadTags
            | Request::RevisedTags
            | Request::LastGood => Err(Stop::Fault(Fault {
                text: "no gateway runs whose sources could be seen".to_owned(),
                code: exit::UNEXPECTED,
            })),
        }
    }

    fn status(&self, rows: Rows<'_>) -> Result<(), Stop> {
        let states = self.reader.lane_states()?;
        for state in &states {
            give(rows, &LaneRow::of(state))?;
        }
        let publishing = self.publishing.as_ref();
        let summary = Summary {
            running: publishing.is_some(),
            waiting: states.iter().map(|state| state.lane.depth()).sum(),
            store_bytes: self.sizes.0,
            log_bytes: self.sizes.1,
            dead_letters: self.reader.count_dead_letters()?,
            kafka_up: publishing.map(|status| status.kafka_up),
            problems: publishing
                .map(|status| status.problems.clone())
                .unwrap_or_default(),
        };
        give(rows, &summary)
    }

    fn newest(&self, count: usize, which: &Which, rows: Rows<'_>) -> Result<(), Stop> {
        let selection = selection(which)?;
        let mut found = Vec::new();
        let states = self.reader.lane_states()?;
        for state in states.iter().filter(|state| selection.has_lane(&state.lane)) {
            let look_at = if selection == Selection::default() {
                count
            } else {
                NEWEST_LOOK
            };
            let newest = self
                .reader
                .newest_events(&state.lane, count, look_at, &selection)?;
            found.extend(newest.into_iter().map(|stored| (state, stored)));
            // No more than what is asked for stays in memory, with one lane's.
            found.sort_by_key(|(_, stored)| stored.event.recorded);
            found.drain(..found.len().saturating_sub(count));
        }
        for (state, stored) in &found {
            give(rows, &EventRow::of(state, stored))?;
        }
        Ok(())
    }

    /// All events that are meant, lane by lane, page by page.
    fn events(
        &self,
        which: &Which,
        after: impl Fn(u32) -> u64,
        each: &mut dyn FnMut(&LaneState, StoredEvent) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let selection = selection(which)?;
        for state in self.reader.lane_states()? {
            if !selection.has_lane(&state.lane) {
                continue;
            }
            let mut last = after(state.lane.id.get());
            if which.waiting {
                last = last.max(state.lane.acknowledged_sequence);
            }
            loop {
                let (events, looked_at) = self.reader.stored_events(&state.lane, last, PAGE, &selection)?;
                for stored in events {
                    each(&state, stored)?;
                }
                match looked_at {
                    // What came after the question was asked is not part of the answer: it would never end.
                    Some(sequence) if sequence < state.lane.last_sequence => last = sequence,
                    _ => break,
                }
            }
        }
        Ok(())
    }

    fn verify(&self, rows: Rows<'_>) -> Result<(), Stop> {
        let mut findings = Vec::new();
        for finding in self.reader.damaged_pages(MOST_FINDINGS)? {
            findings.push((None, finding));
        }
        for state in self.reader.lane_states()? {
            if let Some(finding) = self.reader.holes(&state)? {
                findings.push((Some(state), finding));
            }
        }
        for (state, finding) in findings {
            let lane = state.map(|state| state.lane);
            let finding = Finding {
                topic: lane.as_ref().map(|lane| lane.topic.to_string()),
                partition: lane.as_ref().and_then(|lane| lane.partition),
                problem: finding,
            };
            give(rows, &finding)?;
        }
        self.events(&Which::default(), |_| 0, &mut |state, stored| {
            let Err(error) = stored_headers(&stored.event) else {
                return Ok(());
            };
            let finding = Finding {
                topic: Some(state.lane.topic.to_string()),
                partition: state.lane.partition,
                problem: format!("event {} cannot be sent: {error}", stored.sequence),
            };
            give(rows, &finding)
        })
    }

    /// Dead letters, page by page; all of them where no number is given.
    fn letters(
        &self,
        numbers: &[u64],
        each: &mut dyn FnMut(DeadLetter) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        for number in numbers {
            let letter = self.reader.dead_letter(*number)?.ok_or_else(|| Fault {
                text: format!(
                    "there is no dead letter {number}; `floorgate dlq list` shows those that there are"
                ),
                code: exit::UNEXPECTED,
            })?;
            each(letter)?;
        }
        let mut last = 0;
        while numbers.is_empty() {
            let page = self.reader.dead_letters(last, PAGE)?;
            let Some(newest) = page.last() else { break };
            last = newest.number;
            page.into_iter().try_for_each(&mut *each)?;
        }
        Ok(())
    }

    fn settle_letters(&mut self, numbers: &[u64], replay: bool, rows: Rows<'_>) -> Result<(), Stop> {
        let mut letters = Vec::new();
        // Those that come while these are sent again are not part of it: one that is refused again would go round for ever.
        self.letters(numbers, &mut |letter| {
            letters.push(letter.number);
            Ok(())
        })?;
        for page in letters.chunks(PAGE) {
            let mut order = Resend::default();
            for number in page {
                if let Some(letter) = self.reader.dead_letter(*number)?.filter(|_| replay) {
                    order.events.push(again(letter.event));
                }
                order.letters.push(*number);
            }
            (self.order)(Order::Resend(order))?;
        }
        let count = letters.len() as u64;
        give(rows, &Outcome { count })
    }

    fn replay(&mut self, which: &Which, topic: &str, rows: Rows<'_>) -> Result<(), Stop> {
        let selection = selection(which)?;
        let mut count = 0;
        // What went there before is not sent there again, unless it is asked for.
        let is_meant =
            |lane: &Lane| selection.has_lane(lane) && (selection.topic.is_some() || *lane.topic != *topic);
        // Lane by lane with a fixed end: what is sent again may go to a topic that is meant itself.
        for state in self.reader.lane_states()? {
            let mut last = 0;
            while is_meant(&state.lane) && last < state.lane.last_sequence {
                let (events, looked_at) = self.reader.stored_events(&state.lane, last, PAGE, &selection)?;
                let Some(sequence) = looked_at else { break };
                let meant = events
                    .into_iter()
                    .filter(|stored| stored.sequence <= state.lane.last_sequence);
                let mut order = Resend::default();
                for stored in meant {
                    order.events.push(Event {
                        topic: topic.into(),
                        ..again(stored.event)
                    });
                }
                count += order.events.len() as u64;
                if !order.events.is_empty() {
                    (self.order)(Order::Resend(order))?;
                }
                last = sequence;
            }
        }
        give(rows, &Outcome { count })
    }

    fn repartition(&mut self, topic: &str, rows: Rows<'_>) -> Result<(), Stop> {
        let refuse = |text: String| Fault {
            text,
            code: exit::UNEXPECTED,
        };
        if !self.reader.topics()?.iter().any(|known| *known.name == *topic) {
            return Err(refuse(format!(
                "the outbox knows no topic {topic}; `floorgate outbox status` lists them"
            ))
            .into());
        }
        let told = self.publishing.as_ref();
        let told = told.and_then(|status| status.partitions.iter().find(|(name, _)| **name == *topic));
        let mut count = 0;
        for lane in self.reader.lanes()? {
            let (depth, Some(partition)) = (lane.depth(), lane.partition.filter(|_| *lane.topic == *topic))
            else {
                continue;
            };
            count += depth;
            if let Some((_, partitions)) =
                told.filter(|(_, partitions)| depth > 0 && partition >= *partitions)
            {
                return Err(refuse(format!(
                    "{depth} events wait for partition {partition} of topic {topic}, which has {partitions} partitions; all others would wait for them"
                ))
                .into());
            }
        }
        (self.order)(Order::Repartition(topic.into()))?;
        give(rows, &Outcome { count })
    }
}

/// The event as it is stored anew: where its key belongs, with a mark.
fn again(event: Event) -> Event {
    let mark = format!("{}: true", floorgate_publisher::HEADER_REPLAYED);
    let mut headers: Vec<&str> = event.headers.lines().filter(|line| *line != mark).collect();
    headers.push(&mark);
    Event {
        headers: headers.join("\n"),
        partition: None,
        ..event
    }
}

fn selection(which: &Which) -> Result<Selection, Fault> {
    let time = |name: &str, text: &Option<String>| -> Result<Option<Timestamp>, Fault> {
        let Some(text) = text else { return Ok(None) };
        let time: jiff::Timestamp = text.parse().map_err(|error| Fault {
            text: format!("--{name} {text} is no time such as 2026-05-04T13:00:00Z: {error}"),
            code: exit::USAGE,
        })?;
        let nanos = i64::try_from(time.as_nanosecond()).map_err(|_| Fault {
            text: format!("--{name} {text} is beyond the times that events can have"),
            code: exit::USAGE,
        })?;
        Ok(Some(Timestamp::from_nanos(nanos)))
    };
    Ok(Selection {
        topic: which.topic.clone(),
        kind: which.kind.clone(),
        subject: which.subject.clone(),
        from: time("from", &which.from)?,
        to: time("to", &which.to)?,
        waiting: which.waiting,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use floorgate_outbox::{Commit, Options, Store, partition_of};

    use super::*;

    #[test]
    fn partitions_are_not_taken_anew_while_events_wait_for_one_that_is_gone() {
        let folder = std::env::temp_dir().join(format!("floorgate-answer-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the folder is made");
        let path = folder.join("outbox.db");
        let (mut store, _) = Store::open(&Options::new(&path)).expect("the store opens");
        let topic: Arc<str> = "orders".into();
        store.pin_topic(&topic, 3).expect("it is pinned");
        let key = ["a", "b", "c", "d"]
            .into_iter()
            .find(|key| partition_of(key.as_bytes(), 3) == 2);
        let event = Event {
            topic: Arc::clone(&topic),
            key: key.expect("one of them goes there").into(),
            partition: None,
            id: "1".to_owned(),
            kind: "Test".into(),
            subject: "test".into(),
            recorded: Timestamp::now(),
            shared_headers: "".into(),
            headers: String::new(),
            value: Vec::new(),
            trace: String::new(),
        };
        let mut commit = Commit {
            events: vec![event],
            ..Commit::default()
        };
        store.commit(&mut commit).expect("it is stored");
        let ask = |partitions| {
            let (mut orders, mut rows) = (Vec::new(), Vec::new());
            let mut desk = Desk {
                reader: Reader::open(&path).expect("the reader opens"),
                publishing: Some(Status {
                    partitions: vec![(Arc::clone(&topic), partitions)],
                    ..Status::default()
                }),
                sizes: (0, 0),
                order: &mut |order| {
                    orders.push(order);
                    Ok(())
                },
            };
            let request = Request::Repartition {
                topic: topic.to_string(),
            };
            let answered = desk.answer(request, &mut |row| {
                rows.push(row);
                true
            });
            (answered, orders.len(), rows)
        };
        let (answered, orders, _) = ask(2);
        let Err(Stop::Fault(fault)) = answered else {
            panic!("it is not refused");
        };
        assert!(
            fault.text.contains("partition 2 of topic orders, which has 2"),
            "{fault}"
        );
        assert_eq!(orders, 0);
        let (answered, orders, rows) = ask(6);
        assert!(answered.is_ok());
        assert_eq!((orders, rows), (1, vec![serde_json::json!({"count": 1})]));
        drop(store);
        std::fs::remove_dir_all(&folder).expect("the folder goes");
    }
}
