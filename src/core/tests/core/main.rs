//! The core as the engine drives it: batches in, events and cells out.

mod counters;
mod equipment_state;
mod failures;
mod gaps;
mod handover;
mod heartbeats;
mod hostile;
mod late;
mod machine;
mod moments;
mod moved;
mod plant;
mod probe;
mod random;
mod replay;
mod resume;
mod shapes;
mod shedding;
mod timers;
mod trace;
mod two_sources;
mod waiting;
mod windows;
mod work_order;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use floorgate_core::plan::Plan;
use floorgate_core::{Core, Encoding, Event, Failures, Input, Now, Settings};
use floorgate_sample::{Continuity, Notice, Sample, SourceId, TagId, Timestamp, Value};
use serde_json::Value as Json;

use plant::{ALARMS, GOOD, ORDER, STATE, STATUS, TEMPERATURE, plan, sample};

/// A core whose cells survive it.
struct Gateway {
    plan: Arc<Plan>,
    core: Core,
    cells: HashMap<Arc<str>, String>,
    time: i64,
    /// When the process started, where its monotonic clock runs.
    started: Option<i64>,
    /// How long what is sent is on its way.
    delay: i64,
}

impl Gateway {
    /// A gateway that never ran before, its source online.
    fn of(plan: Plan) -> Self {
        let mut gateway = Self::start(Arc::new(plan), HashMap::new());
        gateway.notice(Notice::Online(Continuity::New));
        gateway
    }

    fn start(plan: Arc<Plan>, cells: HashMap<Arc<str>, String>) -> Self {
        let settings = Settings {
            gateway: "gw".into(),
            type_prefix: "io.floorgate".into(),
            encoding: Encoding::Binary,
            stream_epoch: 1,
            incarnation: uuid::Uuid::nil(),
        };
        let core = Core::new(Arc::clone(&plan), settings, &|key| cells.get(key).cloned());
        Self {
            plan,
            core,
            cells,
            time: 0,
            started: None,
            delay: 5_000_000,
        }
    }

    fn restart(mut self) -> Self {
        self.store();
        Self {
            time: self.time,
            started: self.started.map(|_| self.time),
            delay: self.delay,
            ..Self::start(self.plan, self.cells)
        }
    }

    fn store(&mut self) {
        let mut cells = Vec::new();
        self.core.save(&mut cells);
        self.cells.extend(cells);
    }

    fn notice(&mut self, notice: Notice) -> Vec<Event> {
        self.batch(&[notice], &[])
    }

    /// Samples of one moment, a second after the last.
    fn tick(&mut self, samples: &[(TagId, Value)]) -> Vec<Event> {
        let samples = self.moment(samples);
        self.batch(&[], &samples)
    }

    fn moment(&mut self, samples: &[(TagId, Value)]) -> Vec<Sample> {
        self.time += 1_000_000_000;
        let time = Timestamp::from_nanos(self.time);
        samples
            .iter()
            .map(|(tag, value)| sample(*tag, value.clone(), time))
            .collect()
    }

    /// The moment of its evaluation, some nanoseconds after its time.
    fn now(&self, after: i64) -> Now {
        let passed = self.started.map_or(0, |started| self.time + after - started);
        Now {
            wall: Timestamp::from_nanos(self.time + after),
            monotonic: Duration::from_nanos(passed.unsigned_abs()),
        }
    }

    /// What its timers and debts make.
    fn advance(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let now = self.now(0);
        self.core.advance(now, &mut events);
        self.store();
        events
    }

    fn batch(&mut self, notices: &[Notice], samples: &[Sample]) -> Vec<Event> {
        let (events, failures) = self.try_batch(notices, samples);
        assert_eq!(failures, Failures::default());
        events
    }

    fn try_batch(&mut self, notices: &[Notice], samples: &[Sample]) -> (Vec<Event>, Failures) {
        let mut events = Vec::new();
        let now = self.now(self.delay);
        let received = now.wall;
        self.core.apply(
            Input {
                source: SourceId(0),
                received,
                notices,
                samples,
                now,
            },
            &mut events,
        );
        self.store();
        (events, self.core.take_failures())
    }
}

fn online() -> Gateway {
    Gateway::of(plan())
}

fn data(event: &Event) -> Json {
    serde_json::from_slice(&event.value).unwrap_or_default()
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| &*event.name).collect()
}

fn one(events: &[Event]) -> Json {
    assert_eq!(events.len(), 1, "{:?}", names(events));
    data(&events[0])
}
