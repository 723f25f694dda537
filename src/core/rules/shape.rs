//! When a rule looks: at once, at an edge, when values that belong together are there, at the end of a window.
//!
//! What a rule waits for is its *progress*, a part of its cell, so that a restart in between changes nothing.

use std::sync::Arc;
use std::time::Duration;

use floorgate_sample::{Quality, TagId, Value};
use serde_json::Value as Json;

use crate::clock::Timer;
use crate::detect::{Cause, Change};
use crate::envelope::Event;
use crate::machine::{Core, change_without_sample};
use crate::plan::{Counter, Rule, RuleId, RuleKind, Shape, Slot};
use crate::shedding::Owed;

use super::progress::ByShape;
use super::seen::Seen;
use super::snapshot;
use super::window::Moment;
use super::{Fields, Note, Outcome, Progress, RunOf, count, edge, evaluate, expect, leave_out};

/// A change that a rule makes an event of now.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) change: Change,
    /// Whether the condition of an alarm began or ceased to hold.
    pub(crate) rising: Option<bool>,
    /// Further fields of the event.
    pub(crate) fields: Fields,
    /// Inputs that did not come in time.
    pub(crate) missing: Vec<Slot>,
    /// What the rule saw when it happened, where that was before now.
    pub(crate) seen: Option<Seen>,
    /// Tells events of one change apart.
    pub(crate) part: u32,
}

impl Due {
    pub(crate) fn new(change: Change) -> Self {
        Self {
            change,
            rising: None,
            fields: Vec::new(),
            missing: Vec::new(),
            seen: None,
            part: 0,
        }
    }

    pub(crate) fn edge(change: Change, rising: bool) -> Self {
        Self {
            rising: Some(rising),
            ..Self::new(change)
        }
    }
}

/// Whether a rule tells what was counted in spans of time.
fn tells_spans(rule: &Rule) -> bool {
    matches!(rule.spec.shape, Shape::Window(_)) && matches!(rule.spec.kind, RuleKind::ProductionCount { .. })
}

fn place_of<'a>(core: &'a Core, rule: &'a Rule) -> Option<edge::Place<'a>> {
    let Shape::Edge(spec) = &rule.spec.shape else {
        return None;
    };
    let trigger = rule.inputs.first()?;
    Some(edge::Place {
        spec,
        tag: &core.plan.tags[trigger.index()].spec,
        inputs: &rule.inputs,
        tells_initial: matches!(rule.spec.kind, RuleKind::Alarm { .. }),
    })
}

impl Core {
    /// Lets a rule see a change, or leave it out.
    pub(crate) fn show(&mut self, id: RuleId, change: &Change, events: &mut Vec<Event>) {
        let index = id.0 as usize;
        if self.rules[index].progress.is_none() {
            let was_dirty = self.rules[index].is_dirty();
            self.tell(id, change, &Note::NONE, events);
            self.touched(id, was_dirty);
            return;
        }
        let plan = Arc::clone(&self.plan);
        let rule = &plan.rules[index];
        let was_dirty = self.rules[index].is_dirty();
        let mut change = change.clone();
        change.received.get_or_insert(self.emitter.received());
        let mut due = Vec::new();
        let moved = self.see(id, rule, &change, (&mut due, events));
        // Its gap is told with what the rule tells later; that of a window is its own.
        let keeps_gap = !matches!(rule.spec.shape, Shape::Window(_));
        let state = &mut self.rules[index];
        let progress = state.progress.as_deref_mut().filter(|_| keeps_gap);
        let took = progress.is_some_and(|progress| progress.take_gap(&change));
        state.dirty |= moved || took;
        self.tags[change.tag.index()].taken |= moved || !due.is_empty();
        for due in due {
            self.fire(id, rule, due, events);
        }
        self.touched(id, was_dirty);
        self.queue_rule(id);
    }

    /// What a change brings a rule nearer to. Returns whether there is anything to store.
    fn see(
        &mut self,
        id: RuleId,
        rule: &Rule,
        change: &Change,
        (due, events): (&mut Vec<Due>, &mut Vec<Event>),
    ) -> bool {
        let at = self.at;
        let now = self.moment_at(self.at);
        let Some(mut progress) = self.rules[id.0 as usize].progress.take() else {
            return false;
        };
        let tag = &self.plan.tags[change.tag.index()].spec;
        let moved = match (&rule.spec.shape, &mut progress.shape) {
            (Shape::Edge(_), ByShape::Edge(edge)) => place_of(self, rule).is_some_and(|place| {
                let seen = || self.seen(id, rule, (change.tag, change.value.as_ref()));
                edge.see(place, change, (at, &seen), due)
            }),
            (Shape::Join { tags, within }, ByShape::Join(join)) => {
                let seen = self.seen(id, rule, (change.tag, change.value.as_ref()));
                join.see((&rule.inputs, *tags), change, (at, *within), (seen, due))
            }
            (Shape::Expect { states, within }, ByShape::Expect(expect)) => {
                expect.see((states, *within), tag, change, at, due)
            }
            (Shape::Transitions(transitions), _) => {
                due.extend(expect::forbidden(transitions, tag, change));
                // The next one is judged from here.
                change.gap
            }
            (Shape::Window(spec), ByShape::Window(window)) if tells_spans(rule) => {
                let run = self.run_of_rule(id, rule);
                // What was counted in another run is told of that one, and what comes late belongs to the window of its time.
                let is_other = window.run_id() != run.as_ref().map(|run| &*run.id);
                if is_other || window.due().is_some_and(|due| due <= now.clock) {
                    due.extend(self.counted(id, rule.inputs[0], window));
                    for told in due.drain(..) {
                        self.fire(id, rule, told, events);
                    }
                }
                let begins = change.cause == Cause::Initial && change.tag == rule.inputs[0];
                if begins {
                    window.count_from(now.wall);
                }
                if is_other {
                    window.begin_run(now.wall, run.clone());
                }
                let untold = self.count_only(id, change);
                if untold {
                    window.open_for(*spec, now, run);
                }
                untold || begins || is_other
            }
            (Shape::Window(spec), ByShape::Window(window)) => window.see(*spec, change, now, due),
            _ => {
                due.push(Due::new(change.clone()));
                false
            }
        };
        self.rules[id.0 as usize].progress = Some(progress);
        moved
    }

    /// A time of the core's clock by both clocks.
    pub(super) fn moment_at(&self, clock: Duration) -> Moment {
        let lag = self.real.saturating_sub(clock);
        let real = self.clock.wall().unwrap_or(self.emitter.recorded());
        Moment {
            wall: real.before(lag),
            clock,
        }
    }

    /// Marks that nobody watched while a rule waited.
    pub(crate) fn mark_waiting(&mut self, id: RuleId) {
        let now = self.at;
        let state = &mut self.rules[id.0 as usize];
        let was_dirty = state.dirty;
        state.dirty |= state
            .progress
            .as_deref_mut()
            .is_some_and(|progress| progress.mark(now));
        self.touched(id, was_dirty);
    }

    /// Marks that something of a tag may have been missed while the rules that it triggers waited.
    pub(crate) fn mark_waiting_for(&mut self, tag: TagId) {
        for rule in self.rules_of(tag) {
            self.mark_waiting(rule);
        }
    }

    /// The time for which a rule waited is over.
    pub(crate) fn rule_is_due(&mut self, id: RuleId, at: Duration, events: &mut Vec<Event>) {
        let plan = Arc::clone(&self.plan);
        let rule = &plan.rules[id.0 as usize];
        let Some(mut progress) = self.rules[id.0 as usize].progress.take() else {
            return;
        };
        progress.entries.taken(at);
        let mut due = Vec::new();
        let unanswered = snapshot::overdue(&mut progress.asked, at);
        let is_ripe = progress.ripe().is_some_and(|ripe| ripe <= at);
        let has_value = matches!(&progress.shape, ByShape::Window(window) if window.has_value());
        let needs_value = has_value || matches!(rule.spec.shape, Shape::Edge(_));
        let mut tags = rule.waits_for().iter();
        let may_judge = is_ripe && tags.all(|tag| self.may_judge(*tag, needs_value));
        let was_dirty = self.rules[id.0 as usize].is_dirty();
        if may_judge {
            self.ripen(rule, id, &mut progress, at, &mut due);
        }
        // What was put off is put in again when it may be judged; nothing else may be left that is due.
        let is_left = progress.due().is_some_and(|left| left <= at);
        self.rules[id.0 as usize].progress = Some(progress);
        self.rules[id.0 as usize].dirty |= may_judge || !unanswered.is_empty();
        for asked in unanswered {
            self.tell_read(id, asked, &Err("no answer in time".to_owned()), &[], events);
        }
        for due in due {
            self.fire(id, rule, due, events);
        }
        self.touched(id, was_dirty);
        if may_judge || !is_left {
            self.queue_rule(id);
        } else if let Some(progress) = self.rules[id.0 as usize].progress_mut() {
            // What waits for values beside it is not put off.
            let asked = progress.asked.first().map(|asked| asked.due);
            self.timers.queue(Timer::Rule(id), asked, &mut progress.entries);
        }
    }

    fn ripen(&mut self, rule: &Rule, id: RuleId, progress: &mut Progress, at: Duration, due: &mut Vec<Due>) {
        let Some(&trigger) = rule.inputs.first() else {
            return;
        };
        let known = self.view().value(trigger);
        match (&rule.spec.shape, &mut progress.shape) {
            (Shape::Edge(_), ByShape::Edge(edge)) => {
                if let Some(place) = place_of(self, rule) {
                    edge.ripen(place, at, due);
                }
            }
            (Shape::Join { tags, .. }, ByShape::Join(join)) => join.expire((&rule.inputs, *tags), due),
            (Shape::Expect { states, .. }, ByShape::Expect(expect)) => {
                let tag = &self.plan.tags[trigger.index()].spec;
                let name = expect::name_of(tag, known).unwrap_or_else(|| "unknown".to_owned());
                let about = self.about(trigger, known);
                expect.expire(states, about, &name, due);
            }
            (Shape::Window(spec), ByShape::Window(window)) => {
                if tells_spans(rule) {
                    due.extend(self.counted(id, trigger, window));
                    if due.is_empty() && self.has_counted(id) {
                        // There may be room for it at the end of the next one.
                        window.open_for(*spec, self.moment_at(self.until), self.run_of_rule(id, rule));
                    }
                } else {
                    window.close(*spec, trigger, self.moment_at(self.until), due);
                }
            }
            _ => {}
        }
    }

    /// A change that is none of the tag's: what is known of it now.
    fn about(&self, tag: TagId, known: Option<&Value>) -> Change {
        let state = &self.tags[tag.index()];
        let quality = if known.is_some() {
            state.counted_quality
        } else {
            Quality::UNCERTAIN
        };
        Change {
            cause: Cause::Value,
            value: known.cloned(),
            gap: state.gap,
            ..change_without_sample(tag, quality)
        }
    }

    /// Makes the event of a rule whose time has come.
    fn fire(&mut self, id: RuleId, rule: &Rule, due: Due, events: &mut Vec<Event>) {
        let Due {
            mut change,
            rising,
            mut fields,
            missing,
            seen,
            part,
        } = due;
        if let Some(slot) = rule.spec.sequence {
            let missed = self.missed(id, rule, slot);
            if let Some(missed) = missed.filter(|missed| *missed > 0) {
                change.gap = true;
                fields.push(("missed".into(), Json::from(missed)));
            }
        }
        if !missing.is_empty() {
            change.quality = Quality::UNCERTAIN;
            let name = |slot: &Slot| {
                let tag = rule.inputs.get(usize::from(slot.0))?;
                Some(Json::from(&*self.plan.tags[tag.index()].spec.name))
            };
            fields.push(("missing".into(), missing.iter().filter_map(name).collect()));
        }
        let mut note = Note {
            rising,
            fields,
            missing,
            read: Vec::new(),
            part,
            run: RunOf::Now,
            tell_only: tells_spans(rule),
        };
        if rule.spec.snapshot.is_some() {
            let seen = seen.unwrap_or_else(|| self.seen(id, rule, (change.tag, change.value.as_ref())));
            self.ask(id, rule, &change, note, seen);
            self.evict(id, events);
            return;
        }
        if let Some(seen) = seen {
            note.read = seen.read();
            note.run = RunOf::Then(seen.run);
        }
        self.tell(id, &change, &note, events);
    }

    /// Tells what is more than may wait for values without them.
    fn evict(&mut self, id: RuleId, events: &mut Vec<Event>) {
        let progress = self.rules[id.0 as usize].progress.as_deref_mut();
        let surplus = progress.map(|progress| snapshot::surplus(&mut progress.asked));
        for asked in surplus.into_iter().flatten() {
            let failed = Err("too many of its events wait for values".to_owned());
            self.tell_read(id, asked, &failed, &[], events);
        }
    }

    /// How many numbers of the PLC were skipped before this event. `None` where that is not known.
    fn missed(&mut self, id: RuleId, rule: &Rule, slot: Slot) -> Option<u64> {
        let tag = *rule.inputs.get(usize::from(slot.0))?;
        let view = self.view().beside(rule.inputs.first().copied());
        let counter: Option<Counter> = self.plan.tags[tag.index()].spec.counter;
        let number = count::count_of(view.value(tag)?, counter)?;
        let state = &mut self.rules[id.0 as usize];
        let last = state.progress.as_mut()?.sequence.replace(number);
        state.dirty |= last != Some(number);
        Some(count::step(counter, last?, number).delta.saturating_sub(1))
    }

    /// Makes the event of a change, unless there is no room for it.
    pub(super) fn tell(&mut self, id: RuleId, change: &Change, note: &Note, events: &mut Vec<Event>) {
        let rule = &self.plan.rules[id.0 as usize];
        let run = match &note.run {
            RunOf::Then(run) => run.clone(),
            RunOf::Now => self.run_of_rule(id, rule),
        };
        let state = &mut self.rules[id.0 as usize];
        let view = super::View {
            hidden: &note.missing,
            read: &note.read,
            ..super::View::new(&self.plan, &self.tags, &self.sources).beside(Some(change.tag))
        };
        let outcome = Outcome {
            events,
            failures: &mut self.failures,
        };
        if self.shedding.leaves_out(rule.spec.priority) {
            if rule.spec.shape != Shape::Every {
                state.owe(Some(Owed::Change));
                self.shedding.note(rule.spec.priority);
            } else if leave_out(rule, state, change, view, &mut self.emitter, outcome) {
                self.shedding.note(rule.spec.priority);
            }
            return;
        }
        let scene = super::Scene {
            rule,
            change,
            note,
            run: run.as_ref(),
            moment: self.moment,
        };
        evaluate(scene, state, view, &mut self.emitter, outcome);
    }
}
