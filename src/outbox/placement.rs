//! A topic's partition count becomes known, or is to be another: its waiting events go to their lanes.

use std::sync::Arc;

use rusqlite::params;

use crate::murmur2::partition_of;
use crate::{Error, Lane, LaneId, Store};

/// What a step of moving did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// How many events were moved.
    pub events: usize,
    /// The lanes that got some, as they are now.
    pub lanes: Vec<Lane>,
    /// No event of a topic with a known count waits any more.
    pub done: bool,
}

impl Store {
    /// Pins the number of partitions of a topic, durably: a key keeps its partition when partitions are added, until [`Self::unpin_topic`].
    ///
    /// Returns the pinned count, which is an earlier one if there is one; `None` where nothing is pinned yet, since events that have a
    /// partition by an earlier count are not delivered. Events that waited for the count are then moved by [`Self::move_waiting`].
    /// `partitions` has to be at least 1.
    pub fn pin_topic(&mut self, name: &Arc<str>, partitions: u32) -> Result<Option<u32>, Error> {
        if partitions == 0 {
            return Err(Error::Invalid(format!("topic {name} cannot have 0 partitions")));
        }
        if let Some((index, topic)) = self.catalog.topic_named(name) {
            if topic.partitions.is_some() {
                return Ok(topic.partitions);
            }
            if self.catalog.undelivered(index) > 0 {
                return Ok(None);
            }
        }
        self.set_partitions(name, Some(partitions))?;
        Ok(Some(partitions))
    }

    /// Forgets a topic's partition count, durably, so that another one can be pinned. Meanwhile its new events wait, and those that have
    /// a partition go out: all that was stored of a key is on the log before the first of its events can go to another partition.
    ///
    /// Nothing changes where no count is pinned.
    pub fn unpin_topic(&mut self, name: &Arc<str>) -> Result<(), Error> {
        match self.catalog.topic_named(name) {
            Some((_, topic)) if topic.partitions.is_some() => self.set_partitions(name, None),
            _ => Ok(()),
        }
    }

    fn set_partitions(&mut self, name: &Arc<str>, partitions: Option<u32>) -> Result<(), Error> {
        self.catalog.pin(name, partitions);
        self.growing(|store| {
            store.transact("pin a topic", |transaction, catalog, _| {
                catalog.write(transaction)
            })
        })
    }

    /// Whether events wait that can be moved.
    #[must_use]
    pub fn moving(&self) -> bool {
        self.catalog.moving().is_some()
    }

    /// Whether no event waits for its delivery.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.catalog.lanes().iter().all(|lane| lane.depth() == 0)
    }

    /// Moves at most `max_events` of the waiting events of one topic to their lanes, in order, in one synced transaction.
    ///
    /// To be called, between commits, until it is done; meanwhile the topic's new events queue behind the waiting ones. The moved events are
    /// not returned: the publisher reads them.
    pub fn move_waiting(&mut self, max_events: usize) -> Result<Moved, Error> {
        let mut moved = Moved {
            events: 0,
            lanes: Vec::new(),
            done: true,
        };
        let Some(topic) = self.catalog.moving() else {
            return Ok(moved);
        };
        let (Some(from), Some(partitions)) = (
            self.catalog.waiting_lane(topic).cloned(),
            self.catalog
                .topics()
                .get(topic)
                .and_then(|topic| topic.partitions),
        ) else {
            return Ok(moved);
        };
        let waiting = self
            .waiting(&from, max_events)
            .map_err(|error| Error::sqlite(&self.options.path, "read its waiting events", error))?;
        let mut changes = Vec::with_capacity(waiting.len());
        for (position, key) in waiting {
            match self
                .catalog
                .next_in(topic, Some(partition_of(key.as_bytes(), partitions)))
            {
                Ok((lane, sequence)) => changes.push((position, lane, sequence)),
                Err(error) => {
                    self.catalog.undo();
                    return Err(error);
                }
            }
        }
        let Some((position, ..)) = changes.last() else {
            return Err(Error::damaged(
                &self.options.path,
                format!("lane {} has none of its {} waiting events", from.id, from.depth()),
            ));
        };
        self.catalog.moved_on(from.id, LaneId::sequence_of(*position));
        self.growing(|store| {
            store.transact("move waiting events", |transaction, catalog, _| {
                let mut update =
                    transaction.prepare_cached("UPDATE event SET position = ?2 WHERE position = ?1")?;
                for (position, lane, sequence) in &changes {
                    update.execute(params![position, lane.position(*sequence)])?;
                }
                catalog.write(transaction)
            })
        })?;
        self.note_reached();

        moved.events = changes.len();
        let mut lanes: Vec<LaneId> = changes.into_iter().map(|(_, lane, _)| lane).collect();
        lanes.sort_unstable();
        lanes.dedup();
        moved.lanes = lanes
            .into_iter()
            .filter_map(|id| self.catalog.lane(id).cloned())
            .collect();
        moved.done = !self.moving();
        Ok(moved)
    }

    /// Position and key of the next waiting events.
    fn waiting(&self, lane: &Lane, max_events: usize) -> rusqlite::Result<Vec<(i64, String)>> {
        self.connection
            .prepare_cached("SELECT position, key FROM event WHERE position > ?1 AND position <= ?2 ORDER BY position LIMIT ?3")?
            .query_map(
                params![
                    lane.id.position(lane.acknowledged_sequence),
                    lane.id.position(lane.last_sequence),
                    i64::try_from(max_events.max(1)).unwrap_or(i64::MAX)
                ],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?
            .collect()
    }
}
