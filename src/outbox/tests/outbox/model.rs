//! Random work against a simple model: after every start, events, watermarks and cells are what the model says.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use floorgate_outbox::{Acknowledged, Cell, Commit, Options, Store, partition_of};
use floorgate_sample::Timestamp;

use super::{Folder, all_rows, assert_contiguous, event, ids, open, options};

/// A linear congruential generator (Knuth's constants); a failing case is named by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[derive(Default)]
struct Model {
    cells: HashMap<String, String>,
    /// Ids and keys of the events that have no partition yet, by topic.
    waiting: BTreeMap<&'static str, VecDeque<(String, String)>>,
    /// Ids in their order, by topic and partition.
    placed: BTreeMap<Place, Vec<String>>,
    /// Where the last event of a topic and a key was placed, with its sequence.
    last: BTreeMap<(&'static str, String), (Place, u64)>,
    pinned: BTreeMap<&'static str, u32>,
    acknowledged: BTreeMap<Place, u64>,
    next_id: u64,
}

/// A topic and a partition.
type Place = (String, u32);

const TOPICS: [&str; 3] = ["alarms", "measurements", "orders"];

impl Model {
    fn commit(&mut self, random: &mut Random, store: &mut Store) {
        let mut commit = Commit::default();
        let added = random.below(6);
        for _ in 0..added {
            let topic = TOPICS[usize::try_from(random.below(3)).expect("small")];
            let (key, id) = (format!("k{}", random.below(9)), self.next_id.to_string());
            self.next_id += 1;
            commit.events.push(event(topic, &key, &id));
            self.waiting.entry(topic).or_default().push_back((id, key));
        }
        // Sometimes many large cells, so that rounds of writing them begin, also while one is under way.
        let (count, length) = if random.below(4) == 0 {
            (300, 2000)
        } else {
            (5, 10)
        };
        for _ in 0..random.below(count) {
            let key = format!("tag:{}", random.below(400));
            let value = (random.below(5) > 0).then(|| {
                let length = usize::try_from(random.below(length)).expect("small");
                format!("{{\"{}\t\n\\\":{}}}", "x".repeat(length), random.below(1000))
            });
            match &value {
                Some(value) => self.cells.insert(key.clone(), value.clone()),
                None => self.cells.remove(&key),
            };
            commit.cells.push(Cell {
                key: key.into(),
                value,
            });
        }
        for lane in store.lanes() {
            let Some(partition) = lane.partition else { continue };
            if lane.depth() > 0 && random.below(3) == 0 {
                let sequence = lane.acknowledged_sequence + 1 + random.below(lane.depth());
                self.acknowledged
                    .insert((lane.topic.to_string(), partition), sequence);
                commit.acknowledged.push(Acknowledged {
                    lane: lane.id,
                    sequence,
                    offset: None,
                });
            }
        }
        let waiting = store.commit(&mut commit).expect("the commit is stored").waiting;
        assert!(commit.is_empty());
        let before = self.next_id - added;
        for topic in TOPICS {
            // Where nothing waited before, the new ones have their places at once.
            let new = |(id, _): &(String, String)| id.parse::<u64>().is_ok_and(|id| id >= before);
            let all = self.waiting.entry(topic).or_default();
            if self.pinned.contains_key(topic) && all.iter().all(new) {
                let count = all.len();
                self.place(topic, count);
            }
        }
        let waits = |(id, _): &&(String, String)| id.parse::<u64>().is_ok_and(|id| id >= before);
        assert_eq!(self.waiting.values().flatten().filter(waits).count(), waiting);
    }

    /// Gives so many events that wait their places.
    fn place(&mut self, topic: &'static str, count: usize) {
        let partitions = self.pinned[topic];
        for (id, key) in self.waiting.entry(topic).or_default().drain(..count) {
            let place = (topic.to_owned(), partition_of(key.as_bytes(), partitions));
            let placed = self.placed.entry(place.clone()).or_default();
            placed.push(id);
            let now = (place, placed.len() as u64);
            if let Some((before, sequence)) = self.last.insert((topic, key), now.clone())
                && before != now.0
            {
                let delivered = self.acknowledged.get(&before).copied().unwrap_or(0);
                assert!(sequence <= delivered, "a key changed its partition too soon");
            }
        }
    }

    /// Whether all that has a place is delivered.
    fn is_delivered(&self, topic: &str) -> bool {
        let mut placed = self.placed.iter().filter(|((of, _), _)| of == topic);
        placed.all(|(place, ids)| self.acknowledged.get(place) == Some(&(ids.len() as u64)))
    }

    fn pin(&mut self, random: &mut Random, store: &mut Store) {
        let topic = TOPICS[usize::try_from(random.below(3)).expect("small")];
        let partitions = u32::try_from(1 + random.below(4)).expect("small");
        let pinned = store
            .pin_topic(&topic.into(), partitions)
            .expect("the topic is pinned");
        if !self.pinned.contains_key(topic) && self.is_delivered(topic) {
            self.pinned.insert(topic, partitions);
        }
        assert_eq!(self.pinned.get(topic).copied(), pinned);
    }

    fn unpin(&mut self, random: &mut Random, store: &mut Store) {
        let topic = TOPICS[usize::try_from(random.below(3)).expect("small")];
        store.unpin_topic(&topic.into()).expect("the count is forgotten");
        self.pinned.remove(topic);
    }

    fn move_some(&mut self, random: &mut Random, store: &mut Store) {
        let most = usize::try_from(1 + random.below(5)).expect("small");
        let moved = store.move_waiting(most).expect("events are moved");
        if let Some(lane) = moved.lanes.first() {
            let topic = TOPICS.into_iter().find(|topic| **topic == *lane.topic);
            self.place(topic.expect("a topic of the model"), moved.events);
        }
    }

    fn check_cells(&self, cells: HashMap<Arc<str>, String>) {
        let cells: HashMap<String, String> = cells
            .into_iter()
            .map(|(key, value)| (key.to_string(), value))
            .collect();
        assert!(cells == self.cells, "the cells are the model's");
    }

    fn check(&self, options: &Options, store: &Store) {
        self.check_cells(store.cells().expect("the cells are read"));
        for (topic, partition, rows) in all_rows(options) {
            let lane = store
                .lanes()
                .iter()
                .find(|lane| *lane.topic == *topic && lane.partition == Some(partition))
                .expect("the lane is known");
            let acknowledged = self
                .acknowledged
                .get(&(topic.clone(), partition))
                .copied()
                .unwrap_or(0);
            assert_eq!(lane.acknowledged_sequence, acknowledged);
            let first = lane.last_sequence + 1 - rows.len() as u64;
            assert!(
                first <= acknowledged.max(1),
                "neither what is undelivered nor the last delivered is deleted"
            );
            assert_contiguous(&rows, first);
            let from = usize::try_from(first - 1).expect("small");
            assert_eq!(ids(&rows), self.placed[&(topic, partition)][from..]);
        }
        let waiting: u64 = store
            .lanes()
            .iter()
            .filter(|lane| lane.partition.is_none())
            .map(floorgate_outbox::Lane::depth)
            .sum();
        let stored: u64 = store
            .lanes()
            .iter()
            .filter(|lane| lane.partition.is_some())
            .map(|lane| lane.last_sequence)
            .sum();
        assert_eq!(waiting + stored, self.next_id);
        assert_eq!(store.stats().expect("it is measured").waiting, waiting);
    }
}

fn run(seed: u64) {
    let folder = Folder::new();
    let options = Options {
        keep: Duration::ZERO,
        ..options(&folder)
    };
    let (mut random, mut model) = (Random(seed), Model::default());
    let (mut store, _) = open(&options);
    let now = Timestamp::from_nanos(i64::MAX);
    for _ in 0..120 {
        match random.below(21) {
            0..=9 => model.commit(&mut random, &mut store),
            10..=15 => {
                store.maintain(now, Duration::ZERO).expect("it works");
            }
            16 => {
                // Also in the middle of a round of writing cells.
                model.check_cells(store.cells().expect("the cells are read"));
                model.pin(&mut random, &mut store);
            }
            17..=18 => model.move_some(&mut random, &mut store),
            19 => model.unpin(&mut random, &mut store),
            _ => {
                drop(store);
                let (opened, restored) = open(&options);
                model.check_cells(restored.cells);
                store = opened;
                model.check(&options, &store);
            }
        }
    }
    model.check(&options, &store);
}

#[test]
fn random_work_agrees_with_the_model() {
    for seed in 0..40 {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("the seed was {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
