//! How one source stands, from what it says of itself and what comes of it.

use std::time::Duration;

use floorgate_adapter_api::{Notice, Reason, Sample};
use floorgate_sample::Timestamp;

use super::Moment;

/// How a source stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was started, and has not said anything yet.
    Connecting,
    /// Values flow.
    Online,
    /// It is connected and silent for longer than it should be, or its heartbeat has stopped.
    Stale,
    /// It is lost.
    Offline,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Online => "online",
            Self::Stale => "stale",
            Self::Offline => "offline",
        }
    }
}

/// A state, since when, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Stands {
    pub state: State,
    pub since: Timestamp,
    pub reason: Option<Reason>,
}

/// A source, as it stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What it said last.
    said: Stands,
    /// What the gateway sees of it that it has not said: that a heartbeat stopped, or that its task has ended.
    seen: Option<Stands>,
    pub last_connect: Option<Timestamp>,
    pub last_gap: Option<(Timestamp, Reason)>,
    pub last_sample: Option<Timestamp>,
    /// When the last good value came; of an earlier process up to a minute before that.
    pub last_good: Option<Timestamp>,
    /// Without a good value for this long it is late.
    pub late_after: Option<Duration>,
    /// When the last good value came, or it began to be waited for, on the clock of what is watched.
    good: Duration,
    /// When that was by the wall clock.
    good_since: Timestamp,
    pub is_late: bool,
}

impl Standing {
    /// A source that starts now.
    pub fn new(late_after: Option<Duration>, now: Moment) -> Self {
        Self {
            said: Stands {
                state: State::Connecting,
                since: now.wall,
                reason: None,
            },
            seen: None,
            last_connect: None,
            last_gap: None,
            last_sample: None,
            last_good: None,
            late_after,
            good: now.watched,
            good_since: now.wall,
            is_late: false,
        }
    }

    /// How it stands: what the gateway sees counts before what the source said.
    pub fn stands(&self) -> &Stands {
        self.seen.as_ref().unwrap_or(&self.said)
    }

    /// Since when no good value has come.
    pub fn quiet_since(&self) -> Timestamp {
        self.good_since
    }

    /// It says something of itself.
    pub fn take(&mut self, notice: &Notice, received: Timestamp) {
        match notice {
            Notice::Online(_) => {
                self.last_connect = Some(received);
                self.say(State::Online, None, received);
            }
            Notice::Offline { reason } => self.say(State::Offline, Some(reason), received),
            Notice::Stale { reason } => self.say(State::Stale, Some(reason), received),
            Notice::Gap { reason, .. } => self.last_gap = Some((received, reason.clone())),
            Notice::CaughtUp | Notice::History => {}
        }
    }

    fn say(&mut self, state: State, reason: Option<&Reason>, since: Timestamp) {
        // What was seen was of the time before.
        self.seen = None;
        if self.said.state != state {
            self.said.since = since;
        }
        self.said.state = state;
        self.said.reason = reason.cloned();
    }

    /// What the gateway sees of it that it has not said; `None` where all is as it said.
    pub fn see(&mut self, seen: Option<(State, Reason)>, now: Timestamp) {
        let seen = seen.filter(|_| self.said.state == State::Online);
        self.seen = seen.map(|(state, reason)| {
            let before = self.seen.take().filter(|before| before.state == state);
            Stands {
                state,
                since: before.map_or(now, |before| before.since),
                reason: Some(reason),
            }
        });
    }

    /// Values came. Returns whether it was late until now.
    pub fn receive(&mut self, samples: &[Sample], received: Timestamp, now: Moment) -> bool {
        if samples.is_empty() {
            return false;
        }
        self.last_sample = Some(received);
        if !samples.iter().any(|sample| sample.quality.is_good()) {
            return false;
        }
        self.be_good(received, now)
    }

    /// Values were read that are as they were, and were not handed on. Returns whether it was late until now.
    pub fn confirm(&mut self, now: Moment) -> bool {
        self.said.state == State::Online && self.be_good(now.wall, now)
    }

    fn be_good(&mut self, at: Timestamp, now: Moment) -> bool {
        self.last_good = Some(at);
        self.good = now.watched;
        self.good_since = at;
        std::mem::take(&mut self.is_late)
    }

    /// Whether it becomes late by now.
    pub fn becomes_late(&mut self, now: Moment) -> bool {
        self.is_overdue(now) && !std::mem::replace(&mut self.is_late, true)
    }

    /// It is late after another time from now on, and no longer late where that has not passed.
    pub fn be_late_after(&mut self, late_after: Option<Duration>, now: Moment) {
        self.late_after = late_after;
        self.is_late &= self.is_overdue(now);
    }

    fn is_overdue(&self, now: Moment) -> bool {
        self.late_after
            .is_some_and(|late_after| now.watched.saturating_sub(self.good) >= late_after)
    }
}

#[cfg(test)]
mod tests {
    use floorgate_adapter_api::{Continuity, GapScope, Quality, TagId, Value};

    use super::*;

    fn lost(reason: &str) -> Notice {
        Notice::Offline {
            reason: Reason::new(reason.to_owned(), "pump-lost"),
        }
    }

    fn sample(quality: Quality) -> Sample {
        Sample {
            tag: TagId(0),
            value: quality.is_good().then_some(Value::Int(1)),
            quality,
            source_time: None,
            server_time: None,
            gap: false,
        }
    }

    #[test]
    fn what_it_says_is_told_with_since_when_and_why() {
        let mut source = Standing::new(None, Moment::at(1));
        let told = |source: &Standing| {
            let Stands { state, since, reason } = source.stands().clone();
            (state, since, reason)
        };
        assert_eq!(told(&source), (State::Connecting, Moment::at(1).wall, None));
        source.take(&lost("connection refused"), Moment::at(2).wall);
        source.take(&lost("no route to host"), Moment::at(3).wall);
        let reason = Some(Reason::new("no route to host", "pump-lost"));
        assert_eq!(told(&source), (State::Offline, Moment::at(2).wall, reason));
        source.take(&Notice::Online(Continuity::New), Moment::at(4).wall);
        assert_eq!(told(&source), (State::Online, Moment::at(4).wall, None));
        assert_eq!(source.last_connect, Some(Moment::at(4).wall));
        let gap = Notice::Gap {
            scope: GapScope::Source,
            reason: "the queue overflowed".into(),
        };
        source.take(&gap, Moment::at(5).wall);
        assert_eq!(told(&source), (State::Online, Moment::at(4).wall, None));
        assert_eq!(
            source.last_gap,
            Some((Moment::at(5).wall, "the queue overflowed".into()))
        );
    }

    #[test]
    fn what_the_gateway_sees_counts_until_the_source_says_something() {
        let mut source = Standing::new(None, Moment::at(0));
        let stopped = || Some((State::Stale, "its heartbeat stopped".into()));
        source.see(stopped(), Moment::at(1).wall);
        assert_eq!(source.stands().state, State::Connecting, "it was never there");
        source.take(&Notice::Online(Continuity::New), Moment::at(2).wall);
        source.see(stopped(), Moment::at(3).wall);
        source.see(stopped(), Moment::at(4).wall);
        assert_eq!(
            (source.stands().state, source.stands().since),
            (State::Stale, Moment::at(3).wall)
        );
        source.see(None, Moment::at(5).wall);
        assert_eq!(
            (source.stands().state, source.stands().since),
            (State::Online, Moment::at(2).wall)
        );
        source.see(stopped(), Moment::at(6).wall);
        source.take(&lost("connection reset"), Moment::at(7).wall);
        assert_eq!(
            (source.stands().state, source.stands().since),
            (State::Offline, Moment::at(7).wall)
        );
    }

    #[test]
    fn it_is_late_once_until_a_good_value_comes() {
        let mut source = Standing::new(Some(Duration::from_secs(10)), Moment::at(100));
        assert!(!source.becomes_late(Moment::at(109)));
        assert!(source.becomes_late(Moment::at(110)), "it never had a value");
        assert!(!source.becomes_late(Moment::at(111)), "it is late already");
        assert!(!source.receive(&[sample(Quality::BAD)], Moment::at(112).wall, Moment::at(112)));
        assert!(source.is_late, "a bad value is none");
        assert_eq!(
            (source.last_sample, source.last_good),
            (Some(Moment::at(112).wall), None)
        );
        assert!(source.receive(
            &[sample(Quality::BAD), sample(Quality::GOOD)],
            Moment::at(113).wall,
            Moment::at(113)
        ));
        assert!(!source.is_late);
        assert!(!source.becomes_late(Moment::at(122)));
        assert!(source.becomes_late(Moment::at(123)));
        assert_eq!(source.quiet_since(), Moment::at(113).wall);
        assert!(!Standing::new(None, Moment::at(0)).becomes_late(Moment::at(9_999)));
        assert!(
            !source.confirm(Moment::at(124)),
            "nothing is read of a source that is not there"
        );
        source.take(&Notice::Online(Continuity::New), Moment::at(125).wall);
        assert!(
            source.confirm(Moment::at(125)),
            "what is read and as it was is a good value"
        );
        assert_eq!(
            (source.is_late, source.last_good),
            (false, Some(Moment::at(125).wall))
        );
    }
}
