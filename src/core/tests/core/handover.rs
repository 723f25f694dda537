//! A core of another plan, beside a source that runs on: for what did not change it is as if there had been one core.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use floorgate_core::Kept;
use floorgate_core::plan::{EquipmentId, Plan, Rule, RuleKind, RuleSpec, SourceRow, Tag, TagSpec};
use floorgate_sample::{Continuity, GapScope, Notice, Sample, SourceId, TagId, Value};

use super::resume::{Step, same, step, with_deadband};
use super::shapes::{answer, asked, reading};
use super::{Event, GOOD, Gateway, Input, ORDER, STATE, TEMPERATURE, data, names, one, online, plan};

/// Histories that are tried.
const HISTORIES: u64 = 600;
/// What happens in one.
const STEPS: usize = 30;

/// The same plan behind another source with some tags, each of which has a rule, so that all numbers are others.
fn moved(mut plan: Plan, by: u32) -> Plan {
    for rule in &mut plan.rules {
        for input in &mut rule.inputs {
            input.0 += by;
        }
        if let Some(run) = &mut rule.run {
            run.0 += by;
        }
    }
    let rules = (0..by).map(|number| Rule {
        id: format!("other.{number}").into(),
        equipment: EquipmentId(0),
        inputs: [TagId(number)].into(),
        topic: "acme.busan.mes.measurement.v1".into(),
        run: None,
        spec: Arc::new(RuleSpec::of(RuleKind::Measurement { name: "other".into() })),
    });
    plan.rules.splice(..0, rules);
    for tag in &mut plan.tags {
        tag.source.0 += 1;
    }
    let others = (0..by).map(|number| Tag {
        key: format!("other/{number}").into(),
        address: 0,
        source: SourceId(0),
        valid: None,
        spec: Arc::default(),
    });
    plan.tags.splice(..0, others);
    let other = SourceRow {
        name: "other".into(),
        topic: "acme.busan.mes.source-connection.v1".into(),
    };
    plan.sources.insert(0, other);
    plan
}

/// Goes on with a core of another plan in the same process; the source runs on.
fn reload(gateway: Gateway, plan: Plan) -> (Gateway, Vec<Kept>) {
    let mut before = gateway;
    before.store();
    before.cells.extend(before.core.export());
    let now = before.now(0);
    let mut gateway = Gateway {
        time: before.time,
        started: before.started,
        ..Gateway::start(Arc::new(plan), before.cells)
    };
    let kept = gateway
        .core
        .go_on_from(&mut before.core, |name| name == "plc", now);
    (gateway, kept)
}

/// What a source sends under the numbers of the plan with which it was started, under those of now.
struct Numbers {
    source: SourceId,
    tags: HashMap<TagId, TagId>,
}

impl Numbers {
    fn follow(&mut self, kept: &[Kept]) {
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert_eq!(kept[0].before, self.source);
        self.source = kept[0].now;
        let now: HashMap<TagId, TagId> = kept[0].tags.iter().copied().collect();
        for tag in self.tags.values_mut() {
            *tag = now[tag];
        }
    }

    fn of(&self, Step(notices, samples): &Step) -> Step {
        let notice = |notice: &Notice| match notice {
            Notice::Gap {
                scope: GapScope::Tags(tags),
                reason,
            } => Notice::Gap {
                scope: GapScope::Tags(tags.iter().map(|tag| self.tags[tag]).collect()),
                reason: reason.clone(),
            },
            other => other.clone(),
        };
        let sample = |sample: &Sample| Sample {
            tag: self.tags[&sample.tag],
            ..sample.clone()
        };
        Step(
            notices.iter().map(notice).collect(),
            samples.iter().map(sample).collect(),
        )
    }
}

fn apply(gateway: &mut Gateway, source: SourceId, Step(notices, samples): &Step) -> Vec<Event> {
    let mut events = Vec::new();
    let now = gateway.now(5_000_000);
    let input = Input {
        source,
        received: now.wall,
        notices,
        samples,
        now,
    };
    gateway.core.apply(input, &mut events);
    gateway.core.advance(now, &mut events);
    gateway.store();
    events
}

#[test]
fn whatever_happened_a_reload_changes_no_event_of_a_source_that_runs_on() {
    for seed in 0..HISTORIES {
        let mut random = Rng::with_seed(seed);
        let mut whole = Gateway::of(with_deadband());
        let mut parted = Gateway::of(with_deadband());
        (whole.started, parted.started) = (Some(0), Some(0));
        let mut numbers = Numbers {
            source: SourceId(0),
            tags: (0..6).map(|number| (TagId(number), TagId(number))).collect(),
        };
        let mut is_online = true;
        for number in 0..STEPS {
            let step = step(&mut whole, &mut random, &mut is_online);
            if random.u8(..6) == 0 {
                whole.time += 40_000_000_000;
            }
            parted.time = whole.time;
            let undisturbed = apply(&mut whole, SourceId(0), &step);
            let events = apply(&mut parted, numbers.source, &numbers.of(&step));
            same(
                &undisturbed,
                &events,
                &format!("seed {seed}, step {number}: {step:?}"),
            );
            if random.u8(..4) == 0 {
                let plan = match random.u32(..3) {
                    0 => with_deadband(),
                    by => moved(with_deadband(), by),
                };
                let kept;
                (parted, kept) = reload(parted, plan);
                numbers.follow(&kept);
            }
        }
    }
}

#[test]
fn a_source_that_was_lost_or_behind_still_is() {
    let mut gateway = online();
    gateway.tick(&[(STATE, Value::Int(6))]);
    let reason = "test".into();
    assert_eq!(gateway.notice(Notice::Offline { reason }).len(), 2);
    let (mut gateway, _) = reload(gateway, plan());
    let events = gateway.notice(Notice::Online(Continuity::Resumed));
    assert_eq!(
        names(&events),
        ["SourceConnectionChanged"],
        "its states are not known yet"
    );
    let (mut gateway, _) = reload(gateway, plan());
    assert_eq!(
        names(&gateway.notice(Notice::CaughtUp)),
        ["EquipmentStateChanged"]
    );
}

#[test]
fn only_what_is_kept_is_known_at_once() {
    let mut gateway = online();
    gateway.tick(&[(GOOD, Value::UInt(10)), (STATE, Value::Int(6))]);
    gateway.store();
    let mut cells = gateway.cells.clone();
    cells.extend(gateway.core.export());
    let mut fresh = Gateway::start(Arc::new(plan()), cells);
    let now = gateway.now(0);
    let kept = fresh.core.go_on_from(&mut gateway.core, |_| false, now);
    assert_eq!(kept, []);
    fresh.time = gateway.time;
    let events = fresh.notice(Notice::Online(Continuity::New));
    assert_eq!(names(&events), [""; 0], "it is told to be online");
    let events = fresh.tick(&[(GOOD, Value::UInt(12))]);
    assert_eq!(data(&events[0])["gap"], true, "it was started anew");
}

#[test]
fn a_tag_that_another_plan_lets_be_silent_for_less_long_is_told_after_that() {
    let mut gateway = online();
    gateway.started = Some(0);
    gateway.tick(&[(TEMPERATURE, Value::Float64(20.0))]);
    let mut sooner = plan();
    sooner.tags[TEMPERATURE.index()].spec = Arc::new(TagSpec {
        at_least_every: Some(Duration::from_secs(10)),
        ..TagSpec::default()
    });
    let (mut gateway, _) = reload(gateway, sooner);
    gateway.time += 11_000_000_000;
    assert_eq!(names(&gateway.advance()), ["MeasurementRecorded"]);
    let mut never = plan();
    never.tags[TEMPERATURE.index()].spec = Arc::default();
    let (mut gateway, _) = reload(gateway, never);
    gateway.time += 120_000_000_000;
    assert_eq!(names(&gateway.advance()), [""; 0]);
}

#[test]
fn what_waits_by_another_plan_does_not_wait_for_ever() {
    let waits = || {
        let mut plan = plan();
        plan.tags[STATE.index()].spec = Arc::new(TagSpec {
            heartbeat: Some(Duration::from_secs(10)),
            ..TagSpec::default()
        });
        plan.tags[TEMPERATURE.index()].spec = Arc::new(TagSpec {
            debounce: Some(Duration::from_mins(10)),
            ..TagSpec::default()
        });
        let mut gateway = Gateway::start(Arc::new(plan), HashMap::new());
        gateway.started = Some(0);
        gateway.notice(Notice::Online(Continuity::New));
        gateway.tick(&[(STATE, Value::Int(6)), (TEMPERATURE, Value::Float64(20.0))]);
        gateway.tick(&[(TEMPERATURE, Value::Float64(21.0))]);
        gateway
    };
    let simple = || {
        let mut plan = plan();
        plan.tags[TEMPERATURE.index()].spec = Arc::default();
        plan
    };
    let mut restarted = Gateway {
        time: waits().time,
        started: Some(0),
        ..Gateway::start(Arc::new(simple()), waits().cells)
    };
    restarted.batch(&[Notice::Online(Continuity::Resumed), Notice::CaughtUp], &[]);
    let (reloaded, _) = reload(waits(), simple());
    for mut gateway in [restarted, reloaded] {
        let event = one(&gateway.advance());
        assert_eq!(event["value"], 21.0, "it counts at once");
        gateway.time += 600_000_000_000;
        assert_eq!(
            names(&gateway.advance()),
            [""; 0],
            "without a heartbeat none stops"
        );
    }
}

/// The plan of `reading`, with all numbers moved.
fn reading_moved(gateway: &Gateway, by: u32) -> Plan {
    let mut same = plan();
    same.rules.clear();
    same.rules.extend(gateway.plan.rules.iter().map(|rule| Rule {
        id: Arc::clone(&rule.id),
        equipment: rule.equipment,
        inputs: rule.inputs.clone(),
        topic: Arc::clone(&rule.topic),
        run: rule.run,
        spec: Arc::clone(&rule.spec),
    }));
    moved(same, by)
}

#[test]
fn what_a_kept_source_was_asked_for_is_answered_to_the_new_core() {
    let mut gateway = reading();
    gateway.tick(&[(STATE, Value::Int(6))]);
    let request = asked(&mut gateway);
    let same = reading_moved(&gateway, 0);
    let (mut gateway, _) = reload(gateway, same);
    assert!(gateway.core.take_requests().is_empty(), "it was asked for");
    let event = one(&answer(&mut gateway, &request, 7));
    assert_eq!(event["snapshot"], "complete");
    assert!(event["gap"].is_null(), "it was read once: {event}");

    // Not asked for yet: the new core asks, in its own numbers, and uses no number of a request twice.
    gateway.time += 1_000_000_000;
    let step = Step(Vec::new(), gateway.moment(&[(STATE, Value::Int(11))]));
    assert!(apply(&mut gateway, SourceId(1), &step).is_empty());
    let again = reading_moved(&reading(), 2);
    let (mut gateway, kept) = reload(gateway, again);
    assert_eq!(kept[0].tags.first(), Some(&(ORDER, TagId(2))));
    let second = asked(&mut gateway);
    assert_eq!(
        (second.source, second.tags.first()),
        (SourceId(1), Some(&TagId(2)))
    );
    assert!(second.id > request.id);
}
