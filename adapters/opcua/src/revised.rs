//! What the server made of the intervals and queues that it was asked for: it may *revise* each of them (OPC 10000-4 §5.13.2 and §5.14.2).

use std::time::{Duration, Instant};

use floorgate_adapter_api::SourceMetrics;
use opcua::client::services::ModifySubscription;
use opcua::client::{Session, UARequest};
use opcua::types::{Error, MonitoredItemCreateResult, MonitoringParameters};
use serde::{Deserialize, Serialize};

use crate::plan::{Plan, SLOW};
use crate::publish::Connected;
use crate::server::reason;
use crate::silence::{FEWEST, Patience};
use crate::subscription::{Group, NOTIFICATIONS_PER_MESSAGE, State, Subscription};

/// How much slower than asked, in milliseconds, is still as asked: servers round.
const ROUNDING: f64 = 0.5;

/// What the server made of the requested subscription.
#[derive(Clone, Copy, Debug)]
pub struct Revised {
    /// The publishing interval that was asked for.
    pub asked: Duration,
    /// The publishing interval.
    pub publishing: Duration,
    /// Publishing intervals between two signs of life.
    pub keep_alive: u32,
    /// Publishing intervals until an unused subscription is deleted.
    pub lifetime: u32,
}

/// What the server made of what was asked for items, over some of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Revisions {
    /// The longest interval at which the server looks at a node.
    slowest_sampling: Duration,
    /// The fewest values that the server keeps of a node; `None` without items.
    smallest_queue: Option<u32>,
    /// An item is sampled more slowly, or has a smaller queue, than was asked for it.
    differ: bool,
}

impl Revised {
    /// As the server answered; where it says that an interval is nothing, what was asked for.
    pub fn new(asked: Duration, publishing_millis: f64, keep_alive: u32, lifetime: u32) -> Self {
        let publishing = duration(publishing_millis);
        Self {
            asked,
            publishing: if publishing.is_zero() { asked } else { publishing },
            keep_alive: keep_alive.max(1),
            lifetime,
        }
    }

    /// How long the subscription may be silent.
    pub fn patience(&self, plan: &Plan) -> Patience {
        Patience::with(
            self.publishing.saturating_mul(self.keep_alive),
            plan.settings.keep_alive.get(),
        )
    }

    /// Whether it gives signs of life less often than `keep_alive`, and not for its publishing interval alone.
    fn is_rarely_heard(&self, keep_alive: Duration) -> bool {
        self.publishing.saturating_mul(self.keep_alive) > keep_alive.max(self.publishing * FEWEST)
    }

    /// Logs and exports it, and warns where it is not what was asked for or too slow for the promise.
    pub fn tell(&self, what: &str, plan: &Plan, metrics: &SourceMetrics) {
        self.tell_intervals(what, plan);
        let seconds = |periods: u32| self.publishing.saturating_mul(periods).as_secs_f64();
        let settings = &plan.settings;
        let (asked, keep_alive) = (settings.keep_alive.get().as_secs_f64(), seconds(self.keep_alive));
        metrics.revised("keep_alive", asked, keep_alive);
        if self.is_rarely_heard(settings.keep_alive.get()) {
            tracing::warn!(
                source = plan.name,
                see = "opcua-intervals-revised",
                "the server gives a sign of life of a subscription every {keep_alive:.1} s, not every {asked:.1} s: a silent one is noticed \
                 within twice that"
            );
        }
        let outlives = settings.session_timeout.get().as_secs_f64() * 2.0;
        let lifetime = seconds(self.lifetime);
        metrics.revised("subscription_lifetime", outlives, lifetime);
        if lifetime < settings.session_timeout.get().as_secs_f64() {
            tracing::warn!(
                source = plan.name,
                see = "opcua-intervals-revised",
                "the server keeps a subscription for {lifetime:.0} s after it was last heard, less than session_timeout: a longer loss is a gap"
            );
        }
    }

    fn tell_intervals(&self, what: &str, plan: &Plan) {
        let millis = self.publishing.as_secs_f64() * 1e3;
        tracing::info!(
            source = plan.name,
            publishing_interval_ms = millis,
            keep_alive_count = self.keep_alive,
            lifetime_count = self.lifetime,
            "{what} a subscription"
        );
        let asked = self.asked.as_secs_f64() * 1e3;
        if (millis - asked).abs() > ROUNDING {
            tracing::warn!(
                source = plan.name,
                see = "opcua-intervals-revised",
                "the server revised the publishing interval from {asked}ms to {millis}ms"
            );
        }
        if self.publishing >= SLOW && !is_slow_on_purpose(plan, self.asked) {
            tracing::warn!(
                source = plan.name,
                see = "opcua-intervals-revised",
                "the publishing interval of {millis}ms alone makes changes late by 200 ms and more"
            );
        }
    }
}

/// Milliseconds as the server gives them, held to what is sensible.
pub fn duration(millis: f64) -> Duration {
    Duration::try_from_secs_f64(millis / 1e3)
        .unwrap_or(Duration::ZERO)
        .min(Duration::from_hours(24))
}

/// Exports how long the server keeps a session without a request, and warns where that is less than was asked for.
pub fn tell_session(timeout: Duration, plan: &Plan, metrics: &SourceMetrics) {
    let asked = plan.settings.session_timeout.get().as_secs_f64();
    let timeout = timeout.as_secs_f64();
    metrics.revised("session_timeout", asked, timeout);
    if timeout + ROUNDING / 1e3 < asked {
        tracing::warn!(
            source = plan.name,
            see = "opcua-intervals-revised",
            "the server keeps a session for {timeout:.0} s without a request, not for {asked:.0} s: after a longer loss there is a new one, and \
             changes may be missed"
        );
    }
}

/// Whether the tags of a subscription were given a slow interval of their own: what is late then is meant to be.
fn is_slow_on_purpose(plan: &Plan, asked: Duration) -> bool {
    asked >= SLOW && asked != plan.settings.publishing_interval.get()
}

impl Revisions {
    /// Takes in what was made of an item.
    pub fn add(&mut self, asked: &MonitoringParameters, revised: &MonitoredItemCreateResult) {
        let slower = revised.revised_sampling_interval > asked.sampling_interval + ROUNDING;
        *self = self.and(Self {
            slowest_sampling: duration(revised.revised_sampling_interval),
            smallest_queue: Some(revised.revised_queue_size),
            differ: slower || revised.revised_queue_size < asked.queue_size,
        });
    }

    /// Over the items of both.
    fn and(self, other: Self) -> Self {
        let queues = self.smallest_queue.into_iter().chain(other.smallest_queue);
        Self {
            slowest_sampling: self.slowest_sampling.max(other.slowest_sampling),
            smallest_queue: queues.min(),
            differ: self.differ || other.differ,
        }
    }
}

impl State {
    /// Over the items of all subscriptions; `None` where nothing is known of those of one of them.
    fn revisions(&self) -> Option<Revisions> {
        let mut each = self.subscriptions.iter().map(|s| s.revisions);
        each.try_fold(Revisions::default(), |all, one| Some(all.and(one?)))
    }
}

/// Has a subscription give a sign of life each so many publishing intervals.
pub async fn modify(
    session: &Session,
    plan: &Plan,
    subscription: &Subscription,
    keep_alive: u32,
) -> Result<Revised, Error> {
    let asked = subscription.asked;
    let response = ModifySubscription::new(subscription.id, session)
        .publishing_interval(asked)
        .max_keep_alive_count(keep_alive)
        .max_lifetime_count(State::lifetime_periods(plan, asked))
        .max_notifications_per_publish(NOTIFICATIONS_PER_MESSAGE)
        .send(session.channel())
        .await?;
    Ok(Revised::new(
        asked,
        response.revised_publishing_interval,
        response.revised_max_keep_alive_count,
        response.revised_lifetime_count,
    ))
}

impl Connected<'_> {
    /// Makes a subscription for tags of a group; it is the last one afterwards. Where the server's publishing interval is a longer one, signs of life are
    /// asked for again in intervals of that.
    pub async fn make_subscription(&mut self, group: Group) -> Result<(), Error> {
        let mut revised = self.state.create(self.session, self.plan, group).await?;
        let periods = State::keep_alive_periods(self.plan, revised.publishing);
        if revised.publishing > revised.asked
            && revised.keep_alive > periods
            && let Some(mut made) = self.state.subscriptions.pop()
        {
            let begun = Instant::now();
            match modify(self.session, self.plan, &made, periods).await {
                Ok(again) => {
                    made.publishing = again.publishing;
                    made.patience = again.patience(self.plan);
                    revised = again;
                }
                Err(error) if self.ends_connection(&error, begun) => {
                    self.state.discarded.push(made.id);
                    return Err(error);
                }
                Err(error) => tracing::debug!("a subscription cannot be changed: {}", reason(&error)),
            }
            self.state.subscriptions.push(made);
        }
        revised.tell("made", self.plan, &self.outlet.metrics);
        Ok(())
    }

    /// Logs and exports what the server made of what was asked for all subscriptions and their items. Warns where it is not what was asked for or
    /// too slow for the promise, once until it changes.
    pub fn report_revisions(&mut self) {
        self.report_tag_settings();
        let (plan, metrics) = (self.plan, &self.outlet.metrics);
        let subscriptions = &self.state.subscriptions;
        let Some(slowest) = subscriptions.iter().max_by_key(|s| s.publishing) else {
            return;
        };
        let (asked, publishing) = (slowest.asked, slowest.publishing);
        metrics.revised(
            "publishing_interval",
            asked.as_secs_f64(),
            publishing.as_secs_f64(),
        );
        let Some(revisions) = self.state.revisions() else {
            return;
        };
        let Some(queue) = revisions.smallest_queue else {
            return;
        };
        let sampling = revisions.slowest_sampling;
        let settings = &plan.settings;
        let interval = settings
            .sampling_interval
            .map_or(asked, floorgate_yaml::Duration::get);
        metrics.revised(
            "sampling_interval",
            interval.as_secs_f64(),
            sampling.as_secs_f64(),
        );
        metrics.revised("queue_size", f64::from(settings.queue_size), f64::from(queue));
        let millis = sampling.as_secs_f64() * 1e3;
        tracing::info!(
            source = plan.name,
            tags = subscriptions.iter().map(|s| s.tags.len()).sum::<usize>(),
            slowest_sampling_ms = millis,
            smallest_queue = queue,
            "tags are monitored"
        );
        let now = Some((publishing, revisions));
        if std::mem::replace(&mut self.state.reported, now) == now {
            return;
        }
        if revisions.differ {
            tracing::warn!(
                source = plan.name,
                see = "opcua-intervals-revised",
                "the server revised sampling interval or queue size: the slowest sampling is {millis}ms, the smallest queue {queue}"
            );
        }
        let each = subscriptions
            .iter()
            .filter(|s| !is_slow_on_purpose(plan, s.asked));
        let both = each.filter_map(|s| Some(s.publishing.saturating_add(s.revisions?.slowest_sampling)));
        if let Some(both) = both.max().filter(|both| *both > SLOW) {
            let both = both.as_secs_f64() * 1e3;
            tracing::warn!(
                source = plan.name,
                see = "opcua-intervals-revised",
                "sampling and publishing together take up to {both}ms, more than 200 ms"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscription::tests::subscription;

    fn revisions(sampling_interval: f64, queue_size: u32) -> Revisions {
        let asked = MonitoringParameters {
            sampling_interval: 50.0,
            queue_size: 10,
            ..Default::default()
        };
        let revised = MonitoredItemCreateResult {
            revised_sampling_interval: sampling_interval,
            revised_queue_size: queue_size,
            ..Default::default()
        };
        let mut revisions = Revisions::default();
        revisions.add(&asked, &revised);
        revisions
    }

    fn state(of_subscriptions: &[Option<Revisions>]) -> State {
        let mut state = State::default();
        for revisions in of_subscriptions {
            state.subscriptions.push(Subscription {
                revisions: *revisions,
                ..subscription()
            });
        }
        state
    }

    #[test]
    fn one_that_is_heard_less_often_than_was_asked_is_found_out() {
        let heard = |publishing, keep_alive| {
            let revised = Revised::new(Duration::from_millis(500), publishing, keep_alive, 1_000);
            revised.is_rarely_heard(Duration::from_secs(2))
        };
        assert!(heard(500.0, 5), "2.5 s");
        assert!(!heard(500.0, 4));
        assert!(!heard(10_000.0, 2), "it is so slow");
        assert!(heard(10_000.0, 3));
    }

    #[test]
    fn an_interval_of_nothing_is_what_was_asked_for() {
        let asked = Duration::from_millis(50);
        for nothing in [0.0, -1.0, f64::NAN] {
            let revised = Revised::new(asked, nothing, 0, 0);
            assert_eq!((revised.publishing, revised.keep_alive), (asked, 1));
        }
    }

    #[test]
    fn what_is_told_is_over_all_subscriptions() {
        let (slow, short) = (revisions(1_000.0, 20), revisions(40.0, 5));
        let both = Revisions {
            slowest_sampling: Duration::from_secs(1),
            smallest_queue: Some(5),
            differ: true,
        };
        let empty = Some(Revisions::default());
        assert_eq!(state(&[Some(slow), Some(short)]).revisions(), Some(both));
        assert_eq!(state(&[Some(short), empty, Some(slow)]).revisions(), Some(both));
        assert_eq!(state(&[Some(slow), None]).revisions(), None, "there may be worse");
        assert_eq!(
            state(&[empty]).revisions().and_then(|all| all.smallest_queue),
            None
        );
    }

    #[test]
    fn more_than_was_asked_for_is_no_difference() {
        assert!(!revisions(20.0, 10).differ);
        assert!(!revisions(50.4, 20).differ, "rounded");
        assert!(revisions(51.0, 10).differ);
        assert!(revisions(50.0, 9).differ);
    }
}
