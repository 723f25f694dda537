//! What the core does when time passes: values that have settled, longest silences, heartbeats that stopped, and rules that wait.

use std::sync::Arc;
use std::time::Duration;

use floorgate_sample::{Notice, Quality, Reason, SourceId, TagId, Timestamp};

use crate::clock::Timer;
use crate::detect::{Cause, Change, settle};
use crate::envelope::Event;
use crate::machine::{Core, Now, change_without_sample};
use crate::plan::{RuleId, TagSpec};

/// Events that timers make in one call: what an outage of hours left is told in parts, so that what is stored together has a bound.
const MOST_EVENTS: usize = 5_000;

impl TagSpec {
    /// Whether the tag has timers.
    pub(crate) fn is_timed(&self) -> bool {
        self.debounce.is_some() || self.at_least_every.is_some() || self.heartbeat.is_some()
    }
}

impl Core {
    /// Runs the timers that are due; what they make is appended to `events`. After some thousands the rest is left for the next
    /// call, which [`Core::next_deadline`] then asks for at once.
    pub fn advance(&mut self, now: Now, events: &mut Vec<Event>) {
        self.real = self.clock.at(now);
        self.run_some_timers((self.real, now.wall), MOST_EVENTS, events);
        self.emitter.begin(now.wall, now.wall);
        self.pay(events);
    }

    /// When [`Core::advance`] has something to do next, on the monotonic clock.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        if self.owes() {
            return Some(Duration::ZERO);
        }
        self.timers.next().map(|due| self.clock.monotonic(due))
    }

    /// Runs the timers that are due by then, one after the other, each as of its own time.
    pub(crate) fn run_timers(&mut self, until: Duration, wall: Timestamp, events: &mut Vec<Event>) {
        self.run_some_timers((until, wall), usize::MAX, events);
    }

    fn run_some_timers(
        &mut self,
        (until, wall): (Duration, Timestamp),
        most: usize,
        events: &mut Vec<Event>,
    ) {
        self.until = until;
        let before = events.len();
        while events.len() - before < most
            && let Some((due, timer)) = self.timers.pop(until)
        {
            self.at = due;
            self.emitter.begin(wall, wall);
            self.moment = self.moment.wrapping_add(1);
            match timer {
                Timer::Tag(tag) => self.tag_is_due(tag, due, events),
                Timer::Rule(rule) => self.rule_is_due(rule, due, events),
            }
        }
        self.at = until;
    }

    /// Puts the timers of all tags and rules in.
    pub(crate) fn queue_all(&mut self) {
        for index in 0..u32::try_from(self.tags.len()).unwrap_or(u32::MAX) {
            self.queue_tag(TagId(index));
        }
        for index in 0..u32::try_from(self.rules.len()).unwrap_or(u32::MAX) {
            self.queue_rule(RuleId(index));
        }
    }

    pub(crate) fn queue_tag(&mut self, tag: TagId) {
        if let Some(waiting) = self.tags[tag.index()].waiting.as_deref_mut() {
            let due = waiting.due();
            self.timers.queue(Timer::Tag(tag), due, &mut waiting.entries);
        }
    }

    pub(crate) fn queue_rule(&mut self, rule: RuleId) {
        if let Some(progress) = self.rules[rule.0 as usize].progress_mut() {
            let due = progress.due();
            self.timers.queue(Timer::Rule(rule), due, &mut progress.entries);
        }
    }

    /// Whether the timers of a tag, and of the rules that it triggers, may judge: its source is watched, and its value known where
    /// that is asked. Where they may not, they are put off until they may.
    pub(crate) fn may_judge(&mut self, tag: TagId, has_to_be_known: bool) -> bool {
        let source = self.plan.tags[tag.index()].source;
        let is_watched = self.late.knows(tag) || self.sources[source.index()].is_watched();
        if is_watched && (!has_to_be_known || self.view().value(tag).is_some()) {
            return true;
        }
        self.put_off(tag)
    }

    fn put_off(&mut self, tag: TagId) -> bool {
        let source = self.plan.tags[tag.index()].source;
        if !std::mem::replace(&mut self.tags[tag.index()].put_off, true) {
            self.sources[source.index()].put_off.push(tag);
        }
        false
    }

    /// Puts the timers in again that were put off, of a tag and of the rules that it triggers. It stays among those that are put off.
    pub(crate) fn queue_again(&mut self, tag: TagId) {
        self.queue_tag(tag);
        for rule in self.rules_of(tag) {
            self.queue_rule(rule);
        }
    }

    /// A source is watched again: what was put off for it is looked at.
    pub(crate) fn end_putting_off(&mut self, source: SourceId) {
        if !self.sources[source.index()].is_watched() {
            return;
        }
        for tag in std::mem::take(&mut self.sources[source.index()].put_off) {
            self.tags[tag.index()].put_off = false;
            self.queue_again(tag);
        }
    }

    /// A value of a tag with timers came; `changed` where it is another one.
    pub(crate) fn watch(&mut self, tag: TagId, changed: bool) {
        let spec = &self.plan.tags[tag.index()].spec;
        let (silence, heartbeat) = (spec.at_least_every, spec.heartbeat);
        let at = self.at;
        let state = &mut self.tags[tag.index()];
        let is_known = state.latest.is_some();
        if let Some(interval) = silence.filter(|_| is_known) {
            let waiting = state.waiting();
            if waiting.silence.is_none() {
                let is_overdue = std::mem::take(&mut waiting.overdue);
                waiting.silence = Some(if is_overdue { at } else { at + interval });
            }
        }
        if let Some(interval) = heartbeat.filter(|_| is_known) {
            let waiting = state.waiting();
            if changed || waiting.heartbeat.is_none() && !waiting.stopped {
                waiting.heartbeat = Some(at + interval);
            }
            if changed && std::mem::take(&mut waiting.stopped) {
                self.gates.returned.push(tag);
            }
        }
        self.queue_tag(tag);
    }

    /// An event told of the tag: its longest silence begins anew.
    pub(crate) fn put_off_silence(&mut self, tag: TagId) {
        if let Some(interval) = self.plan.tags[tag.index()].spec.at_least_every {
            let due = self.at + interval;
            // What nobody was there to tell in time is told once.
            let due = if due <= self.until {
                self.until + interval
            } else {
                due
            };
            let waiting = self.tags[tag.index()].waiting();
            waiting.silence = Some(due);
            waiting.overdue = false;
            self.touch(tag);
            self.queue_tag(tag);
        }
    }

    /// Tells the values that were unknown when their longest silence ended, and are known now.
    pub(crate) fn end_overdue_silences(&mut self, source: SourceId) {
        let index = Arc::clone(&self.index);
        for tag in &index.source(source).told_again {
            let state = &mut self.tags[tag.index()];
            if let Some(waiting) = state.waiting.as_deref_mut()
                && state.latest.is_some()
                && std::mem::take(&mut waiting.overdue)
            {
                waiting.silence = Some(self.at);
                self.queue_tag(*tag);
            }
        }
    }

    fn tag_is_due(&mut self, tag: TagId, due: Duration, events: &mut Vec<Event>) {
        let Some(waiting) = self.tags[tag.index()].waiting.as_deref_mut() else {
            return;
        };
        waiting.entries.taken(due);
        let is_due = |deadline: Option<Duration>| deadline.is_some_and(|deadline| deadline <= due);
        let settles = is_due(waiting.candidate.as_ref().map(|candidate| candidate.due));
        let is_silent = is_due(waiting.silence);
        let has_stopped = is_due(waiting.heartbeat);
        // A second heartbeat may stop while the first one has.
        let source = &self.sources[self.plan.tags[tag.index()].source.index()];
        let beats_on = has_stopped && source.stopped > 0 && !source.catching_up;
        if (settles || has_stopped && !beats_on) && !self.may_judge(tag, false) {
            return;
        }
        if settles {
            // Stored with the next commit: noted before the state becomes dirty by itself.
            self.touch(tag);
            let gaps = self.sources[self.plan.tags[tag.index()].source.index()].gaps;
            let state = &mut self.tags[tag.index()];
            state.see_gaps(gaps);
            let change = settle(state, tag);
            self.gates.see(tag);
            self.pending.extend(change);
            self.close_moment(events);
        }
        if is_silent {
            self.break_silence(tag, events);
        }
        if has_stopped {
            self.heartbeat_stops(tag, events);
        }
        self.queue_tag(tag);
    }

    /// Nothing changed for the tag's longest silence. While its value is unknown the silence goes on: the first value that is
    /// known again ends it.
    fn break_silence(&mut self, tag: TagId, events: &mut Vec<Event>) {
        let source = &self.sources[self.plan.tags[tag.index()].source.index()];
        let known = self.view().value(tag).cloned();
        let (caught_up, gaps) = (!source.catching_up, source.gaps);
        let value = known.filter(|_| caught_up);
        let waiting = self.tags[tag.index()].waiting();
        waiting.silence = None;
        waiting.overdue = value.is_none();
        self.touch(tag);
        let Some(value) = value else { return };
        let state = &mut self.tags[tag.index()];
        state.see_gaps(gaps);
        let change = Change {
            cause: Cause::Silence,
            previous: Some(value.clone()),
            value: Some(value),
            gap: state.gap,
            ..change_without_sample(tag, state.counted_quality)
        };
        self.pending.push(change);
        self.close_moment(events);
        // Where no rule told anything, the next silence begins all the same.
        if self.tags[tag.index()].waiting().silence.is_none() {
            self.put_off_silence(tag);
        }
    }

    fn heartbeat_stops(&mut self, tag: TagId, events: &mut Vec<Event>) {
        let row = &self.plan.tags[tag.index()];
        let (source, spec) = (row.source, &row.spec);
        let reason = format!(
            "its heartbeat, tag {:?}, has not changed for {} s",
            spec.name,
            spec.heartbeat.unwrap_or_default().as_secs_f64()
        );
        self.touch(tag);
        let waiting = self.tags[tag.index()].waiting();
        waiting.heartbeat = None;
        if std::mem::replace(&mut waiting.stopped, true) {
            return;
        }
        self.sources[source.index()].stopped += 1;
        let reason = Reason::new(reason, "gateway-heartbeat-stopped");
        self.notice(source, &Notice::Stale { reason }, events);
    }

    /// Heartbeats that beat again: where it was the last one, the source is there again.
    pub(crate) fn heartbeats_return(&mut self, events: &mut Vec<Event>) {
        while let Some(tag) = self.gates.returned.pop() {
            let id = self.plan.tags[tag.index()].source;
            let source = &mut self.sources[id.index()];
            source.stopped = source.stopped.saturating_sub(1);
            if source.stopped == 0 {
                self.is_there_again(id, events);
            }
        }
    }

    /// The source's session begins or ends: heartbeats are counted from here.
    pub(crate) fn restart_heartbeats(&mut self, source: SourceId, connected: bool) {
        self.sources[source.index()].stopped = 0;
        for (tag, interval) in self.heartbeats_of(source) {
            let due = connected.then(|| self.at + interval);
            let waiting = self.tags[tag.index()].waiting();
            waiting.stopped = false;
            waiting.heartbeat = due;
            self.touch(tag);
            self.queue_tag(tag);
        }
    }

    /// The source goes on where an earlier process left off: so do its heartbeats. What fell due while nobody listened counts anew.
    pub(crate) fn go_on_heartbeats(&mut self, source: SourceId) {
        let mut stopped = 0;
        for (tag, interval) in self.heartbeats_of(source) {
            let at = self.at;
            let waiting = self.tags[tag.index()].waiting();
            stopped += u32::from(waiting.stopped);
            if !waiting.stopped && waiting.heartbeat.is_none_or(|due| due < at) {
                waiting.heartbeat = Some(at + interval);
            }
            self.queue_tag(tag);
        }
        self.sources[source.index()].stopped = stopped;
    }

    fn heartbeats_of(&self, source: SourceId) -> Vec<(TagId, Duration)> {
        let tags = self.index.source(source).heartbeats.iter();
        tags.filter_map(|tag| Some((*tag, self.plan.tags[tag.index()].spec.heartbeat?)))
            .collect()
    }

    /// The source begins anew: a value that had not settled is not the one that is so now, and nobody saw whether a condition held on.
    pub(crate) fn give_up_waiting(&mut self, source: SourceId) {
        let index = Arc::clone(&self.index);
        for tag in &index.source(source).settling {
            let waiting = self.tags[tag.index()].waiting.as_deref_mut();
            if waiting.is_some_and(|waiting| waiting.candidate.take().is_some()) {
                self.touch(*tag);
            }
        }
        for rule in &index.source(source).shaped {
            self.mark_waiting(*rule);
        }
    }
}

/// A value that another tag says not to hold.
pub(crate) const NOT_VALID: Quality = Quality::BAD;
