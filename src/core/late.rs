//! What comes late: changes from before a source was back, each taken as of the time at which it happened.
//!
//! A source hands over what it kept tag by tag, or many tags together; nobody knows of a tag how far it is before its own changes
//! say so. A late change therefore lets time pass for its own tag and the rules that it triggers only. All else waits until
//! the source has caught up.

use std::collections::HashSet;
use std::time::Duration;

use floorgate_sample::{Sample, SourceId, TagId, Timestamp};
use foldhash::fast::FixedState;

use crate::envelope::Event;
use crate::machine::{Core, Input};

/// The late changes of a batch, as far as they are taken.
#[derive(Debug, Default)]
pub(crate) struct Late {
    /// The tags that change in the moment that is taken.
    tags: HashSet<TagId, FixedState>,
    /// The latest time of the batch so far.
    at: Option<Duration>,
}

impl Late {
    /// Whether it is known of a tag what happened to it by the time that is taken.
    pub(crate) fn knows(&self, tag: TagId) -> bool {
        self.tags.contains(&tag)
    }
}

/// What the time on a sample is before its receipt, in nanoseconds. `None` where it has none.
fn behind(sample: &Sample, received: Timestamp) -> Option<i64> {
    let time = sample.source_time.or(sample.server_time)?;
    Some(received.as_nanos().saturating_sub(time.as_nanos()))
}

impl Core {
    /// Lets pass what had passed for the tags of a moment when it happened. `samples` are those of the batch from there on.
    pub(crate) fn replay_to<'a>(
        &mut self,
        samples: impl Iterator<Item = &'a Sample>,
        input: Input<'_>,
        events: &mut Vec<Event>,
    ) {
        let mut samples = samples.peekable();
        let Some(&first) = samples.peek() else { return };
        self.late.tags.clear();
        let Some(then) = self.happened_at(first, input) else {
            // When it happened is not known: it begins now, and nothing had passed before it.
            (self.at, self.until) = (self.real, self.real);
            return;
        };
        for sample in samples.take_while(|sample| sample.source_time == first.source_time) {
            let row = self.plan.tags.get(sample.tag.index());
            if row.is_some_and(|row| row.source == input.source) && self.late.tags.insert(sample.tag) {
                self.queue_again(sample.tag);
            }
        }
        self.run_timers(then, input.now.wall, events);
        self.emitter.begin(input.received, input.now.wall);
    }

    /// When something happened that comes late, on the core's clock. `None` where nothing says so.
    fn happened_at(&mut self, sample: &Sample, input: Input<'_>) -> Option<Duration> {
        let source = &self.sources[input.source.index()];
        let ahead = source.ahead.usual().unwrap_or(0);
        let age = behind(sample, input.received)?.saturating_sub(ahead);
        let age = u64::try_from(age).map_or(Duration::ZERO, Duration::from_nanos);
        // A device's clock may be anything: it happened after what was seen, and before now.
        let then = self.real.saturating_sub(age).max(source.watched).min(self.real);
        // Late changes come in their order; a device's clock that was set back does not turn time back.
        let then = self.late.at.map_or(then, |at| then.max(at));
        if sample.source_time.is_some() {
            self.late.at = Some(then);
        }
        Some(then)
    }

    /// A source is watched until now.
    pub(crate) fn note_watched(&mut self, source: SourceId) {
        let source = &mut self.sources[source.index()];
        if source.is_watched() {
            source.watched = self.real;
        }
    }

    /// Takes from a change that comes as it happens what the gateway's clock is ahead of the device's. The first of a tag in a session may
    /// have happened long before.
    pub(crate) fn compare_clocks(&mut self, source: SourceId, sample: &Sample, received: Timestamp) {
        let source = &mut self.sources[source.index()];
        if let Some(ahead) = behind(sample, received).filter(|_| source.is_watched()) {
            source.dirty |= source.ahead.note(ahead);
        }
    }

    /// The batch is over: it is now again.
    pub(crate) fn end_replay(&mut self) {
        self.late.tags.clear();
        self.late.at = None;
        (self.at, self.until) = (self.real, self.real);
    }
}
