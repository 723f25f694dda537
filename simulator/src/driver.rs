//! The thread that lets time pass: plays due moments, writes due load, keeps the journal.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant, SystemTime},
};

use crate::{
    LoadValue, PlantError, Record,
    journal::Journal,
    load::{LATE, Schedule},
    modbus::Units,
    model::{Change, Hall, Protocol, Tag},
    opcua_server::{OpcUaServer, load_variant},
};

/// How often due load is written.
const TICK: Duration = Duration::from_millis(1);

/// Longest sleep of a hall in which little happens; new subscribers wait for it.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// Most moments played before the thread looks at the load and at the wish to stop again.
const MOMENTS_A_TURN: usize = 1_000;

/// What has been counted so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) changes: AtomicU64,
    pub(crate) opcua_load: AtomicU64,
    pub(crate) modbus_load: AtomicU64,
    pub(crate) late: AtomicU64,
}

pub(crate) struct Driver {
    pub(crate) hall: Hall,
    /// Seconds of the hall's time in one second.
    pub(crate) rate: f64,
    pub(crate) opcua: OpcUaServer,
    pub(crate) units: Units,
    pub(crate) opcua_load: Option<Schedule>,
    pub(crate) modbus_load: Option<Schedule>,
    pub(crate) journal: Journal,
    pub(crate) counters: Arc<Counters>,
    /// Names of the hall's tags, by place.
    pub(crate) names: Vec<Arc<str>>,
    pub(crate) clock: WriteClock,
}

/// Gives each write its time: the wall clock in microseconds, but never the same or an earlier one twice, so that a
/// time tells which moment a value belongs to even when the wall clock is set back.
#[derive(Debug, Default)]
pub(crate) struct WriteClock {
    last: i64,
}

impl WriteClock {
    pub(crate) fn now(&mut self) -> i64 {
        let since_1970 = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let wall = i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX);
        self.last = wall.max(self.last.saturating_add(1));
        self.last
    }
}

impl Driver {
    /// Shows the hall as it is at the start, before anyone can connect.
    pub(crate) fn show_start(&mut self, now: i64) -> Result<(), PlantError> {
        let (names, tags) = (&self.names, self.hall.tags());
        let record = |(name, tag): (&Arc<str>, &Tag)| Record {
            time: now,
            protocol: tag.protocol,
            tag: Arc::clone(name),
            old: None,
            new: tag.value.clone(),
        };
        self.journal.append(names.iter().zip(tags).map(record))?;
        self.units
            .write(tags.iter().map(|tag| (tag.name.as_str(), &tag.value)));
        if let Some(schedule) = self
            .modbus_load
            .as_ref()
            .filter(|load| load.load().value == LoadValue::Time)
        {
            let tags = schedule.load().tags;
            self.units
                .write_load((0..tags).map(|tag| (tag, now.cast_unsigned())));
        }
        Ok(())
    }

    /// Lives until `stop` is told or dropped.
    pub(crate) fn run(mut self, stop: &Receiver<()>) -> Result<(), PlantError> {
        let start = Instant::now();
        let mut changes = Vec::new();
        loop {
            self.play(start.elapsed(), &mut changes)?;
            self.write_opcua_load(start.elapsed())?;
            self.write_modbus_load(start.elapsed());
            self.opcua.tell_new_items();
            match stop.recv_timeout(self.pause(start.elapsed())) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn pause(&self, elapsed: Duration) -> Duration {
        if self.opcua_load.is_some() || self.modbus_load.is_some() {
            let into_tick = elapsed.subsec_nanos() % TICK.subsec_nanos();
            return TICK.saturating_sub(Duration::from_nanos(into_tick.into()));
        }
        match self.hall.next_due() {
            Some(due) if self.rate > 0.0 => {
                let due = Duration::try_from_secs_f64(due.as_secs_f64() / self.rate).unwrap_or(Duration::MAX);
                due.saturating_sub(elapsed).min(LONGEST_PAUSE)
            }
            _ => LONGEST_PAUSE,
        }
    }

    fn play(&mut self, elapsed: Duration, changes: &mut Vec<Change>) -> Result<(), PlantError> {
        let now = elapsed.mul_f64(self.rate);
        let late = elapsed.saturating_sub(LATE).mul_f64(self.rate);
        for _ in 0..MOMENTS_A_TURN {
            let Some(due) = self.hall.advance(now, changes) else {
                break;
            };
            if !changes.is_empty() {
                let count = changes.len() as u64;
                if due < late {
                    self.counters.late.fetch_add(count, Ordering::Relaxed);
                }
                self.write_moment(changes)?;
                self.counters.changes.fetch_add(count, Ordering::Relaxed);
                changes.clear();
            }
        }
        Ok(())
    }

    /// The journal comes first, so that nobody reads a value which the journal does not know.
    fn write_moment(&mut self, changes: &[Change]) -> Result<(), PlantError> {
        let now = self.clock.now();
        let (names, tags) = (&self.names, self.hall.tags());
        let record = |change: &Change| Record {
            time: now,
            protocol: tags[change.tag].protocol,
            tag: Arc::clone(&names[change.tag]),
            old: Some(change.old.clone()),
            new: change.new.clone(),
        };
        self.journal.append(changes.iter().map(record))?;
        // All changes of a moment are of one machine, and so of one protocol.
        match changes.first().map(|change| tags[change.tag].protocol) {
            Some(Protocol::OpcUa) => self
                .opcua
                .write(changes.iter().map(|change| (change.tag, &change.new)), now),
            Some(Protocol::Modbus) => {
                self.units
                    .write(changes.iter().map(|change| (&*names[change.tag], &change.new)));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn write_opcua_load(&mut self, elapsed: Duration) -> Result<(), PlantError> {
        let Some(schedule) = &mut self.opcua_load else {
            return Ok(());
        };
        let value = schedule.load().value;
        loop {
            let (writes, late) = schedule.take(elapsed);
            let now = self.clock.now();
            let mut count = 0;
            let values = writes.inspect(|_| count += 1);
            self.opcua.write_load(
                values.map(|write| (write.tag, load_variant(value, write.counter, now))),
                now,
            )?;
            if count == 0 {
                return Ok(());
            }
            self.counters.opcua_load.fetch_add(count, Ordering::Relaxed);
            self.counters.late.fetch_add(late, Ordering::Relaxed);
        }
    }

    fn write_modbus_load(&mut self, elapsed: Duration) {
        let Some(schedule) = &mut self.modbus_load else {
            return;
        };
        let value = schedule.load().value;
        loop {
            let (writes, late) = schedule.take(elapsed);
            let now = self.clock.now();
            let mut count = 0;
            let values = writes.inspect(|_| count += 1);
            self.units.write_load(values.map(|write| {
                let bits = match value {
                    LoadValue::Int64 => write.counter.cast_unsigned(),
                    LoadValue::Double => (write.counter as f64).to_bits(),
                    LoadValue::Time => now.cast_unsigned(),
                };
                (write.tag, bits)
            }));
            if count == 0 {
                return;
            }
            self.counters.modbus_load.fetch_add(count, Ordering::Relaxed);
            self.counters.late.fetch_add(late, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::WriteClock;

    #[test]
    fn no_two_writes_have_the_same_time() {
        let mut clock = WriteClock::default();
        let times: Vec<_> = (0..10_000).map(|_| clock.now()).collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
