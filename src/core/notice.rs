//! What a source says of itself.

use std::sync::Arc;

use floorgate_sample::{Continuity, GapScope, Notice, Quality, Reason, SourceId};

use crate::detect::{Audience, Cause, Change};
use crate::envelope::Event;
use crate::machine::{Core, change_without_sample};
use crate::rules::source_event;
use crate::source::Connection;

impl Core {
    pub(crate) fn notice(&mut self, id: SourceId, notice: &Notice, events: &mut Vec<Event>) {
        let was_watched = self.sources[id.index()].is_watched();
        self.take_notice(id, notice, events);
        let source = &mut self.sources[id.index()];
        // Until when it was watched is stored while it is not.
        source.dirty |= source.is_watched() != was_watched;
    }

    fn take_notice(&mut self, id: SourceId, notice: &Notice, events: &mut Vec<Event>) {
        match notice {
            Notice::Gap {
                scope: GapScope::Source,
                ..
            } => {
                self.sources[id.index()].note_gap();
                let index = Arc::clone(&self.index);
                for rule in &index.source(id).shaped {
                    self.mark_waiting(*rule);
                }
            }
            Notice::Gap {
                scope: GapScope::Tags(tags),
                ..
            } => {
                for tag in tags {
                    let Some(state) = self.tags.get_mut(tag.index()) else {
                        continue;
                    };
                    if !std::mem::replace(&mut state.gap, true) {
                        self.touch(*tag);
                    }
                    self.mark_waiting_for(*tag);
                }
            }
            Notice::Online(continuity) => {
                let source = &mut self.sources[id.index()];
                source.online = true;
                source.catching_up = *continuity == Continuity::Resumed;
                let first = !std::mem::replace(&mut source.begun, true);
                if *continuity == Continuity::New {
                    source.session = source.session.wrapping_add(1);
                    source.note_gap();
                    self.begin_to_watch(id);
                    self.drop_held(id);
                    self.give_up_waiting(id);
                }
                if first && *continuity == Continuity::Resumed {
                    self.go_on(id);
                    self.go_on_heartbeats(id);
                } else {
                    self.restart_heartbeats(id, true);
                }
                let source = &mut self.sources[id.index()];
                source.online = source.stopped == 0;
                if source.online {
                    self.tell_connection(id, Connection::Online, None, events);
                    self.end_putting_off(id);
                }
                self.ask_again(id);
            }
            // It is about the batch that it stands in.
            Notice::History => {}
            Notice::CaughtUp => {
                self.sources[id.index()].catching_up = false;
                if self.sources[id.index()].online {
                    self.know_again(id, events);
                }
                self.queue_debts();
            }
            Notice::Offline { reason } => {
                self.sources[id.index()].online = false;
                self.restart_heartbeats(id, false);
                self.tell_connection(id, Connection::Offline, Some(reason), events);
                self.for_state_tags(id, true, events);
            }
            Notice::Stale { reason } => {
                self.sources[id.index()].online = false;
                self.tell_connection(id, Connection::Stale, Some(reason), events);
                self.for_state_tags(id, true, events);
            }
        }
    }

    /// Of what was never watched nothing was missed: a tag that tells what happens is from here on, whether or not anything does.
    fn begin_to_watch(&mut self, id: SourceId) {
        let (index, source) = (Arc::clone(&self.index), &self.sources[id.index()]);
        let (gaps, session) = (source.gaps, source.session);
        for tag in &index.source(id).happening {
            let state = &mut self.tags[tag.index()];
            if !state.has_cell() {
                (state.gaps_seen, state.session, state.gap) = (gaps, session, false);
                self.touch(*tag);
            }
        }
    }

    /// What kept a source from being online is over, and its session went on meanwhile.
    pub(crate) fn is_there_again(&mut self, id: SourceId, events: &mut Vec<Event>) {
        let source = &mut self.sources[id.index()];
        source.online = true;
        let caught_up = !source.catching_up;
        self.tell_connection(id, Connection::Online, None, events);
        if caught_up {
            self.know_again(id, events);
        }
    }

    /// What is known of a source holds now.
    fn know_again(&mut self, id: SourceId, events: &mut Vec<Event>) {
        self.take_held(id);
        self.for_state_tags(id, false, events);
        self.end_overdue_silences(id);
        self.end_putting_off(id);
    }

    /// The source goes on where an earlier process left off: what was known then, since its session began, is known.
    fn go_on(&mut self, id: SourceId) {
        let session = self.sources[id.index()].session;
        let tags = self.plan.tags.iter().zip(&mut self.tags);
        for (_, state) in tags.filter(|(tag, state)| tag.source == id && state.session == session) {
            state.resume();
        }
        // A longest silence that the mapping did not have before begins now.
        let index = Arc::clone(&self.index);
        for tag in &index.source(id).told_again {
            self.watch(*tag, false);
        }
    }

    fn tell_connection(
        &mut self,
        id: SourceId,
        state: Connection,
        reason: Option<&Reason>,
        events: &mut Vec<Event>,
    ) {
        let source = &mut self.sources[id.index()];
        if source.told != Some(state) {
            let previous = source.told.replace(state);
            source.dirty = true;
            let topic = &self.plan.sources[id.index()].topic;
            events.push(source_event(
                &mut self.emitter,
                source,
                topic,
                previous,
                state,
                reason,
            ));
        }
    }

    /// Tells the states of a source's equipment as unknown, or as known again. No other rule of their tags sees that: what waits goes on
    /// over a loss.
    fn for_state_tags(&mut self, id: SourceId, lost: bool, events: &mut Vec<Event>) {
        let index = Arc::clone(&self.index);
        let mut stored = Vec::new();
        for rule in &index.source(id).states {
            let Some(&tag) = self.plan.rules[rule.0 as usize].inputs.first() else {
                continue;
            };
            // What was sent in an earlier session only is not known.
            let is_known = self.view().value(tag).is_some();
            let state = &mut self.tags[tag.index()];
            if state.lost == lost || state.counted.is_none() || !lost && !is_known {
                continue;
            }
            state.lost = lost;
            state.see_gaps(self.sources[id.index()].gaps);
            let quality = if lost {
                Quality::BAD_NO_COMMUNICATION
            } else {
                state.counted_quality
            };
            let change = Change {
                cause: if lost { Cause::Lost } else { Cause::Quality },
                previous: state.counted.clone(),
                value: if lost { None } else { state.latest.clone() },
                gap: state.gap,
                audience: Audience::States,
                ..change_without_sample(tag, quality)
            };
            self.pending.push(change);
            stored.push(tag);
        }
        for tag in stored {
            self.touch(tag);
        }
        self.close_moment(events);
    }
}
