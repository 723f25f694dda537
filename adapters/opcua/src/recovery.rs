//! What was missed: messages that did not come are asked for again, and it is known when there are no more of them.
//!
//! A connection that resumes has two kinds of changes from before: messages that were sent and did not arrive, which are
//! republished, and what the server has queued since, which it publishes with its first messages. Until both are handed
//! on, what is known of a tag may be of the past.

use floorgate_adapter_api::Notice;
use opcua::types::NotificationMessage;

use crate::items::failed;
use crate::outlet::Halt;
use crate::publish::{Connected, is_lost};
use crate::server::reason;
use crate::subscription::{Behind, missing, next, republish};

/// For each subscription its number on the server and its first missed message, where there is one.
pub type FirstMissed = Vec<(u32, Option<NotificationMessage>)>;

impl Connected<'_> {
    /// Asks for the messages before `until` that did not come. Where one cannot be had, the subscription is lost.
    pub async fn recover(&mut self, place: usize, until: u32) -> Result<bool, Halt> {
        let subscription = &self.state.subscriptions[place];
        let (id, last) = (subscription.id, subscription.last);
        tracing::debug!(
            source = self.plan.name,
            subscription = id,
            last,
            until,
            "messages are missing"
        );
        for sequence in missing(last, until).unwrap_or_default() {
            match republish(self.session, id, sequence).await {
                Ok(Some(message)) => self.hand_on(place, message).await?,
                Ok(None) => break,
                Err(error) if is_lost(error.status()) => return Err(self.lost_with("republish", &error)),
                Err(error) => {
                    self.outlet.metrics.error("status");
                    tracing::debug!("republishing failed: {}", reason(&error));
                    break;
                }
            }
            if self.state.subscriptions.get(place).is_none_or(|s| s.id != id) {
                return Ok(false);
            }
        }
        if next(self.state.subscriptions[place].last) == until {
            return Ok(true);
        }
        let first = next(self.state.subscriptions[place].last);
        self.lose(
            place,
            format!("the server has no message {first} to {until} any more"),
        )
        .await?;
        Ok(false)
    }

    /// After a connection was lost: asks each subscription for the message after its last. `None` where the server has
    /// one of the subscriptions no more.
    pub async fn first_missed(&mut self) -> Result<Option<FirstMissed>, Halt> {
        let mut first = Vec::with_capacity(self.state.subscriptions.len());
        for subscription in &self.state.subscriptions {
            match republish(self.session, subscription.id, next(subscription.last)).await {
                Ok(message) => first.push((subscription.id, message)),
                Err(error) if is_lost(error.status()) => return Err(self.lost_with("republish", &error)),
                Err(error) => {
                    let reason = failed("a subscription is gone", &error);
                    tracing::warn!(
                        source = self.plan.name,
                        subscription = subscription.id,
                        see = "opcua-changes-missed",
                        "{reason}"
                    );
                    return Ok(None);
                }
            }
        }
        Ok(Some(first))
    }

    /// Hands on what was missed, and asks for more of it until the server has nothing more.
    pub async fn catch_up(&mut self, first: FirstMissed) -> Result<(), Halt> {
        for subscription in &mut self.state.subscriptions {
            subscription.behind = Behind::Unheard;
        }
        self.catching_up = true;
        for (id, mut message) in first {
            // A message may end its subscription. Whether its end here is the end or a hole, the number of the next
            // published message tells.
            while let Some(missed) = message.take()
                && let Some(place) = self.place_of(id)
            {
                self.hand_on(place, missed).await?;
                let Some(place) = self.place_of(id) else { break };
                let last = self.state.subscriptions[place].last;
                match republish(self.session, id, next(last)).await {
                    Ok(next) => message = next,
                    Err(error) if is_lost(error.status()) => return Err(self.lost_with("republish", &error)),
                    Err(error) => {
                        self.lose(place, failed("the subscription is gone", &error))
                            .await?;
                    }
                }
            }
        }
        for subscription in &mut self.state.subscriptions {
            subscription.heard = std::time::Instant::now();
        }
        Ok(())
    }

    /// Says that what is known holds, once no subscription can have anything from before.
    pub async fn tell_caught_up(&mut self) -> Result<(), Halt> {
        let behind = |s: &crate::subscription::Subscription| s.behind != Behind::Not;
        if self.catching_up && !self.state.subscriptions.iter().any(behind) {
            self.catching_up = false;
            self.outlet.notice(Notice::CaughtUp).await?;
        }
        Ok(())
    }

    fn place_of(&self, id: u32) -> Option<usize> {
        self.state.subscriptions.iter().position(|s| s.id == id)
    }
}
