//! What the server made of the intervals and queues that it was asked for: it may *revise* each of them (OPC 10000-4 §5.13.2 and §5.14.2).

use std::time::Duration;

use floorgate_adapter_api::SourceMetrics;
use opcua::client::services::ModifySubscription;
use opcua::client::{Session, UARequest};
use opcua::types::{Error, MonitoredItemCreateResult, MonitoringParameters};
use serde::{Deserialize, Serialize};

use crate::plan::{Plan, SLOW};
use crate::publish::{Connected, is_lost};
use crate::server::reason;
use crate::subscription::{Group, NOTIFICATIONS_PER_MESSAGE, State, Subscription, duration};

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

/// How late the sign of life may be that a silent subscription is given up for.
const LATENESS: Duration = Duration::from_millis(250);

impl Revised {
    /// How long the subscription may be silent: one sign of life may be late, or not come. Servers count publishing intervals, and one
    /// that is loaded takes twice as long for each: to be given up sooner would be a gap where nothing was missed.
    pub fn patience(&self) -> Duration {
        self.publishing * self.keep_alive * 2 + LATENESS
    }

    /// Whether it gives signs of life less often than `keep_alive`, and not for its publishing interval alone.
    fn is_rarely_heard(&self, keep_alive: Duration) -> bool {
        self.publishing * self.keep_alive > keep_alive.max(self.publishing)
    }

    /// Logs and exports it, and warns where it is not what was asked for or too slow for the promise.
    pub fn tell(&self, what: &str, plan: &Plan, metrics: &SourceMetrics) {
        self.tell_intervals(what, plan);
        let seconds = |periods: u32| (self.publishing * periods).as_secs_f64();
        let settings = &plan.settings;
        let asked = seconds(State::keep_alive_periods(plan, self.publishing));
        let keep_alive = seconds(self.keep_alive);
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
        .max_lifetime_count(State::lifetime_periods(plan, subscription.publishing))
        .max_notifications_per_publish(NOTIFICATIONS_PER_MESSAGE)
        .send(session.channel())
        .await?;
    Ok(Revised {
        asked,
        publishing: duration(response.revised_publishing_interval),
        keep_alive: response.revised_max_keep_alive_count,
        lifetime: response.revised_lifetime_count,
    })
}

impl Connected<'_> {
    /// Makes a subscription for tags of a group; it is the last one afterwards. Where the server's publishing interval is a longer one, signs of life and
    /// lifetime are asked for again in intervals of that.
    pub async fn make_subscription(&mut self, group: Group) -> Result<(), Error> {
        let mut revised = self.state.create(self.session, self.plan, group).await?;
        let made = self.state.subscriptions.last_mut();
        if let Some(made) = made.filter(|_| revised.publishing > revised.asked) {
            let periods = State::keep_alive_periods(self.plan, revised.publishing);
            if revised.keep_alive > periods {
                match modify(self.session, self.plan, made, periods).await {
                    Ok(again) => {
                        made.publishing = again.publishing;
                        made.patience = again.patience();
                        revised = again;
                    }
                    Err(error) if is_lost(error.status()) => return Err(error),
                    Err(error) => tracing::debug!("a subscription cannot be changed: {}", reason(&error)),
                }
            }
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
    use std::time::Instant;

    use super::*;
    use crate::publish::CHECK;
    use crate::subscription::{Behind, signs_of_life};
    use crate::takeover::Trial;

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
                id: 1,
                generation: 1,
                last: 0,
                tags: Vec::new(),
                items: Vec::new(),
                made: Vec::new(),
                asked: Duration::ZERO,
                is_of_conditions: false,
                told: None,
                publishing: Duration::ZERO,
                revisions: *revisions,
                full: false,
                behind: Behind::Not,
                trial: Trial::Not,
                heard: Instant::now(),
                patience: Duration::ZERO,
            });
        }
        state
    }

    #[test]
    fn a_silent_subscription_is_noticed_within_twice_the_keep_alive() {
        let millis = Duration::from_millis;
        for keep_alive in [1_250, 2_000, 5_000, 60_000].map(millis) {
            for publishing in [10, 50, 200, 333, 1_000].map(millis) {
                let revised = Revised {
                    asked: publishing,
                    publishing,
                    keep_alive: signs_of_life(keep_alive, publishing),
                    lifetime: 1_000,
                };
                let patience = revised.patience();
                assert!(
                    patience + CHECK <= keep_alive * 2,
                    "{keep_alive:?}, {publishing:?}: {patience:?}"
                );
                let sign = publishing * revised.keep_alive;
                assert!(sign * 2 < patience, "one may not come");
            }
        }
        assert_eq!(
            signs_of_life(millis(300), millis(400)),
            1,
            "never less than one interval"
        );
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
