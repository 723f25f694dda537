//! Topics and lanes in memory, with the changes of the transaction that is being made.
//!
//! Changes are made here first and written with the transaction; [`Catalog::keep`] or [`Catalog::undo`] ends them, so that a
//! commit that failed leaves no sequence given out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::{Connection, params};

use crate::error::Unreadable;
use crate::murmur2::partition_of;
use crate::store::Place;
use crate::{Acknowledged, Error, Event, LaneId, Renewal};

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// The number of partitions over which keys are spread: the count when it was pinned, whatever was added since.
    /// `None` until then, and between [`Store::unpin_topic`](crate::Store::unpin_topic) and the next time.
    pub partitions: Option<u32>,
}

/// A lane: the events of one partition of a topic, numbered without a hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The lane's number.
    pub id: LaneId,
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition; `None` for the events that wait for the topic's partition count.
    pub partition: Option<u32>,
    /// Rises when log and store do not agree and the lane begins anew. The first one is the time of the store's opening in seconds since 1970, so that
    /// a store that was lost and made anew does not go on with the numbers of the old one.
    pub epoch: u32,
    /// The epoch began after this sequence: on the log, the event with the next one has sequence 1.
    pub base: u64,
    /// What goes out up to this sequence may have been published in an earlier epoch.
    pub doubt: u64,
    /// The sequence of the youngest event; 0 before the first.
    pub last_sequence: u64,
    /// All up to and including this one are delivered; 0 before the first. In a lane without partition: moved on.
    pub acknowledged_sequence: u64,
    /// The offset of the record with that sequence, or one that is not above it.
    pub acknowledged_offset: Option<i64>,
}

impl Lane {
    /// How many of its events are not delivered yet.
    #[must_use]
    pub fn depth(&self) -> u64 {
        self.last_sequence.saturating_sub(self.acknowledged_sequence)
    }
}

#[derive(Debug, Default)]
struct TopicLanes {
    /// By partition.
    by_partition: BTreeMap<Option<u32>, usize>,
}

/// All topics and lanes. A lane's id is its index plus one, and so is a topic's.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    topics: Vec<Topic>,
    topic_lanes: Vec<TopicLanes>,
    by_name: HashMap<Arc<str>, usize>,
    lanes: Vec<Lane>,
    /// As they were before the changes under way, by index.
    saved: BTreeMap<usize, Lane>,
    saved_topic: Option<(usize, Topic)>,
    kept_topics: usize,
    kept_lanes: usize,
    /// The epoch of lanes that are made.
    new_epoch: u32,
}

impl Catalog {
    /// Reads topics and lanes. New ones begin with that epoch.
    pub(crate) fn read(connection: &Connection, new_epoch: u32) -> Result<Self, Unreadable> {
        let mut catalog = Self {
            new_epoch,
            ..Self::default()
        };
        let mut statement = connection.prepare("SELECT id, name, partitions FROM topic ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id: u32 = row.get(0)?;
            if id as usize != catalog.topics.len() + 1 {
                return Err(Unreadable::Damaged(format!(
                    "topic {id} follows topic {}",
                    catalog.topics.len()
                )));
            }
            catalog.add_topic(Topic {
                name: row.get(1)?,
                partitions: row.get(2)?,
            });
        }
        for lane in lanes(connection)? {
            let Some(topic) = catalog.by_name.get(&lane.topic).copied() else {
                return Err(Unreadable::Damaged(format!("lane {} has no topic", lane.id)));
            };
            if lane.id.0 as usize != catalog.lanes.len() + 1 {
                return Err(Unreadable::Damaged(format!(
                    "lane {} follows lane {}",
                    lane.id,
                    catalog.lanes.len()
                )));
            }
            if lane.acknowledged_sequence > lane.last_sequence || lane.base > lane.acknowledged_sequence {
                return Err(Unreadable::Damaged(format!(
                    "lane {} has acknowledged {} of {} events, from {} on",
                    lane.id, lane.acknowledged_sequence, lane.last_sequence, lane.base
                )));
            }
            catalog.add_lane(topic, lane);
        }
        catalog.keep();
        Ok(catalog)
    }

    pub(crate) fn topics(&self) -> &[Topic] {
        &self.topics
    }

    pub(crate) fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    pub(crate) fn lane(&self, id: LaneId) -> Option<&Lane> {
        self.lanes.get((id.0 as usize).checked_sub(1)?)
    }

    pub(crate) fn topic_named(&self, name: &str) -> Option<(usize, &Topic)> {
        let index = *self.by_name.get(name)?;
        Some((index, self.topics.get(index)?))
    }

    /// The lane in which events wait for the topic's partition count.
    pub(crate) fn waiting_lane(&self, topic: usize) -> Option<&Lane> {
        let index = *self.topic_lanes.get(topic)?.by_partition.get(&None)?;
        self.lanes.get(index)
    }

    /// The first topic whose count is known while events still wait.
    pub(crate) fn moving(&self) -> Option<usize> {
        (0..self.topics.len()).find(|topic| self.is_moving(*topic))
    }

    fn is_moving(&self, topic: usize) -> bool {
        self.topics
            .get(topic)
            .is_some_and(|topic| topic.partitions.is_some())
            && self.waiting_lane(topic).is_some_and(|lane| lane.depth() > 0)
    }

    /// How many events of a topic have a partition and are not delivered.
    pub(crate) fn undelivered(&self, topic: usize) -> u64 {
        let lanes = self.topic_lanes.get(topic).map(|lanes| &lanes.by_partition);
        let placed = lanes
            .into_iter()
            .flatten()
            .filter(|(partition, _)| partition.is_some());
        placed
            .filter_map(|(_, lane)| self.lanes.get(*lane))
            .map(Lane::depth)
            .sum()
    }

    /// Gives the event its lane and sequence.
    pub(crate) fn place(&mut self, event: &Event) -> Result<Place, Error> {
        let topic = self.topic_or_new(&event.topic);
        let partition = match event.partition {
            Some(partition) => Some(partition),
            None if self.is_moving(topic) => None,
            None => self
                .topics
                .get(topic)
                .and_then(|topic| topic.partitions)
                .map(|partitions| partition_of(event.key.as_bytes(), partitions)),
        };
        let (lane, sequence) = self.next_in(topic, partition)?;
        Ok(Place {
            lane,
            sequence,
            waits: partition.is_none(),
        })
    }

    /// Gives out the next sequence of a lane that may have to be made.
    pub(crate) fn next_in(&mut self, topic: usize, partition: Option<u32>) -> Result<(LaneId, u64), Error> {
        let known = self
            .topic_lanes
            .get(topic)
            .and_then(|lanes| lanes.by_partition.get(&partition))
            .copied();
        let index = match known {
            Some(index) => index,
            None => self.new_lane(topic, partition)?,
        };
        let lane = self
            .change(index)
            .ok_or_else(|| Error::Invalid(format!("there is no lane at {index}")))?;
        if lane.last_sequence >= LaneId::MAX_SEQUENCE {
            return Err(Error::Invalid(format!(
                "lane {} has given out its last sequence",
                lane.id
            )));
        }
        lane.last_sequence += 1;
        Ok((lane.id, lane.last_sequence))
    }

    /// Advances a watermark; never takes it back.
    pub(crate) fn acknowledge(&mut self, acknowledged: Acknowledged) -> Result<(), Error> {
        let Acknowledged {
            lane: id,
            sequence,
            offset,
        } = acknowledged;
        let index = (id.0 as usize).wrapping_sub(1);
        let Some(lane) = self.lanes.get(index).filter(|lane| lane.partition.is_some()) else {
            return Err(Error::Invalid(format!(
                "there is no lane {id} to acknowledge sequence {sequence} in"
            )));
        };
        if sequence > lane.last_sequence {
            return Err(Error::Invalid(format!(
                "sequence {sequence} of lane {id} cannot be acknowledged, its last one is {}",
                lane.last_sequence
            )));
        }
        self.advance(index, sequence, offset);
        Ok(())
    }

    /// Says that the waiting events of a topic are moved up to `sequence`.
    pub(crate) fn moved_on(&mut self, lane: LaneId, sequence: u64) {
        self.advance((lane.0 as usize).wrapping_sub(1), sequence, None);
    }

    fn advance(&mut self, index: usize, sequence: u64, offset: Option<i64>) {
        if self
            .lanes
            .get(index)
            .is_none_or(|lane| sequence <= lane.acknowledged_sequence)
        {
            return;
        }
        if let Some(lane) = self.change(index) {
            lane.acknowledged_sequence = sequence;
            lane.acknowledged_offset = offset.or(lane.acknowledged_offset);
        }
    }

    /// Begins a new epoch after a sequence: everything behind it is to be delivered.
    pub(crate) fn renew(&mut self, index: usize, epoch: u32, base: u64, renewal: &Renewal) {
        let epoch = epoch.max(self.new_epoch);
        if let Some(lane) = self.change(index) {
            lane.acknowledged_offset = renewal.log_end;
            let doubt = renewal.doubt.max(lane.acknowledged_sequence);
            lane.epoch = epoch;
            lane.base = base;
            lane.doubt = lane.doubt.max(doubt).min(lane.last_sequence);
            lane.acknowledged_sequence = base;
        }
    }

    /// Sets or forgets the partition count of a topic.
    pub(crate) fn pin(&mut self, name: &Arc<str>, partitions: Option<u32>) {
        let index = self.topic_or_new(name);
        if let Some(topic) = self.topics.get_mut(index) {
            if index < self.kept_topics {
                self.saved_topic = Some((index, topic.clone()));
            }
            topic.partitions = partitions;
        }
    }

    /// Writes what was changed since the last [`Self::keep`].
    pub(crate) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let new_topics = self.kept_topics..self.topics.len();
        for index in self.saved_topic.iter().map(|(index, _)| *index).chain(new_topics) {
            if let Some(topic) = self.topics.get(index) {
                connection
                    .prepare_cached(
                        "INSERT OR REPLACE INTO topic (id, name, partitions) VALUES (?1, ?2, ?3)",
                    )?
                    .execute(params![topic_id(index), topic.name, topic.partitions])?;
            }
        }
        for (index, before) in &self.saved {
            let Some(lane) = self.lanes.get(*index) else {
                continue;
            };
            if (lane.epoch, lane.base, lane.doubt) != (before.epoch, before.base, before.doubt) {
                connection
                    .prepare_cached("UPDATE lane SET epoch = ?2, base = ?3, doubt = ?4 WHERE id = ?1")?
                    .execute(params![
                        lane.id.0,
                        lane.epoch,
                        lane.base.cast_signed(),
                        lane.doubt.cast_signed()
                    ])?;
            }
            // Without the epoch, which is in an index that each commit would write.
            connection
                .prepare_cached(
                    "UPDATE lane SET last_sequence = ?2, acknowledged_sequence = ?3, acknowledged_offset = ?4 WHERE id = ?1",
                )?
                .execute(params![
                    lane.id.0,
                    lane.last_sequence.cast_signed(),
                    lane.acknowledged_sequence.cast_signed(),
                    lane.acknowledged_offset
                ])?;
        }
        for lane in self.new_lanes() {
            let topic = self.by_name.get(&lane.topic).map_or(0, |index| topic_id(*index));
            connection
                .prepare_cached(
                    "INSERT INTO lane (id, topic, partition, epoch, last_sequence, acknowledged_sequence, acknowledged_offset, base, doubt)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                )?
                .execute(params![
                    lane.id.0,
                    topic,
                    lane.partition,
                    lane.epoch,
                    lane.last_sequence.cast_signed(),
                    lane.acknowledged_sequence.cast_signed(),
                    lane.acknowledged_offset,
                    lane.base.cast_signed(),
                    lane.doubt.cast_signed()
                ])?;
        }
        Ok(())
    }

    /// The lanes made since the last [`Self::keep`].
    pub(crate) fn new_lanes(&self) -> &[Lane] {
        self.lanes.get(self.kept_lanes..).unwrap_or_default()
    }

    /// Ends the changes: they are stored.
    pub(crate) fn keep(&mut self) {
        self.saved.clear();
        self.saved_topic = None;
        self.kept_topics = self.topics.len();
        self.kept_lanes = self.lanes.len();
    }

    /// Ends the changes: everything is as before them.
    pub(crate) fn undo(&mut self) {
        for (index, lane) in std::mem::take(&mut self.saved) {
            if let Some(now) = self.lanes.get_mut(index) {
                *now = lane;
            }
        }
        if let Some((index, topic)) = self.saved_topic.take()
            && let Some(now) = self.topics.get_mut(index)
        {
            *now = topic;
        }
        let kept_lanes = self.kept_lanes;
        self.lanes.truncate(kept_lanes);
        for lanes in &mut self.topic_lanes {
            lanes.by_partition.retain(|_, index| *index < kept_lanes);
        }
        for topic in self.topics.drain(self.kept_topics..) {
            self.by_name.remove(&topic.name);
        }
        self.topic_lanes.truncate(self.kept_topics);
    }

    fn change(&mut self, index: usize) -> Option<&mut Lane> {
        let lane = self.lanes.get_mut(index)?;
        if index < self.kept_lanes {
            self.saved.entry(index).or_insert_with(|| lane.clone());
        }
        Some(lane)
    }

    fn topic_or_new(&mut self, name: &Arc<str>) -> usize {
        match self.by_name.get(name) {
            Some(index) => *index,
            None => self.add_topic(Topic {
                name: Arc::clone(name),
                partitions: None,
            }),
        }
    }

    fn add_topic(&mut self, topic: Topic) -> usize {
        let index = self.topics.len();
        self.by_name.insert(Arc::clone(&topic.name), index);
        self.topics.push(topic);
        self.topic_lanes.push(TopicLanes::default());
        index
    }

    fn new_lane(&mut self, topic: usize, partition: Option<u32>) -> Result<usize, Error> {
        let id = u32::try_from(self.lanes.len() + 1).unwrap_or(u32::MAX);
        let Some(name) = self.topics.get(topic).map(|topic| Arc::clone(&topic.name)) else {
            return Err(Error::Invalid(format!("there is no topic at {topic}")));
        };
        if id > LaneId::MAX {
            return Err(Error::Invalid(format!(
                "there is no lane number left for topic {name}"
            )));
        }
        let lane = Lane {
            id: LaneId(id),
            topic: name,
            partition,
            epoch: self.new_epoch,
            base: 0,
            doubt: 0,
            last_sequence: 0,
            acknowledged_sequence: 0,
            acknowledged_offset: None,
        };
        Ok(self.add_lane(topic, lane))
    }

    /// Adds a lane.
    fn add_lane(&mut self, topic: usize, lane: Lane) -> usize {
        let index = self.lanes.len();
        if let Some(lanes) = self.topic_lanes.get_mut(topic) {
            lanes.by_partition.insert(lane.partition, index);
        }
        self.lanes.push(lane);
        index
    }
}

/// The number of a topic in the file. Topics are few; the truncation is never met.
fn topic_id(index: usize) -> u32 {
    u32::try_from(index + 1).unwrap_or(u32::MAX)
}

/// All lanes as the file has them, by id.
pub(crate) fn lanes(connection: &Connection) -> rusqlite::Result<Vec<Lane>> {
    let mut topics: HashMap<String, Arc<str>> = HashMap::new();
    connection
        .prepare_cached(
            "SELECT lane.id, topic.name, partition, epoch, last_sequence, acknowledged_sequence, acknowledged_offset, base, doubt
             FROM lane LEFT JOIN topic ON topic.id = lane.topic ORDER BY lane.id",
        )?
        .query_map([], |row| {
            let name: Option<String> = row.get(1)?;
            let name = name.unwrap_or_default();
            let topic = topics.entry(name).or_insert_with_key(|name| Arc::from(name.as_str()));
            Ok(Lane {
                id: LaneId(row.get(0)?),
                topic: Arc::clone(topic),
                partition: row.get(2)?,
                epoch: row.get(3)?,
                last_sequence: sequence(row, 4)?,
                acknowledged_sequence: sequence(row, 5)?,
                acknowledged_offset: row.get(6)?,
                base: sequence(row, 7)?,
                doubt: sequence(row, 8)?,
            })
        })?
        .collect()
}

/// A number that is counted up one by one, as the events of a lane are; one that cannot have been reached is a sign of damage.
pub(crate) fn sequence(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    let sequence = u64::try_from(number).ok();
    sequence
        .filter(|sequence| *sequence <= LaneId::MAX_SEQUENCE)
        .ok_or(rusqlite::Error::IntegralValueOutOfRange(column, number))
}
