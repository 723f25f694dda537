//! The publish loop of a connected session.
//!
//! Invariants:
//! - Messages of a subscription are handed on in the order of their numbers, each once. [`Subscription::last`] is moved only after
//!   a message was handed on as a whole, so that after a broken connection the rest is asked for again.
//! - A message is acknowledged only after its receipt fired.
//! - A publish request is sent for each one that was answered and handed on: while the gateway takes nothing, the
//!   server is asked for nothing.
//!
//! [`Subscription::last`]: crate::subscription::Subscription::last

use std::sync::Arc;
use std::time::{Duration, Instant};

use floorgate_adapter_api::Attempt;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use opcua::client::services::Publish;
use opcua::client::{Session, UARequest};
use opcua::types::{Error, NotificationMessage, PublishResponse, StatusCode, SubscriptionAcknowledgement};

use crate::given_up::{GivenUp, MOST_GIVEN_UP};
use crate::items::{Refusals, failed};
use crate::outlet::{Halt, Outlet};
use crate::plan::Plan;
use crate::reason::Reason;
use crate::refresh;
use crate::server::Facts;
use crate::silence::CHECK;
use crate::source::LinkWatch;
use crate::subscription::{Behind, State, Stored, Subscription, is_newer, next};
use crate::takeover::Trial;

/// Most samples in one batch.
const SAMPLES_PER_BATCH: usize = 5_000;
/// Publish requests in flight for each subscription: one is answered while the next waits at the server, and one is on its way.
const REQUESTS_PER_SUBSCRIPTION: usize = 3;
/// Publish requests in flight at most; each may hold a message in memory.
const MOST_REQUESTS: usize = 20;
/// Pause after a publish request that failed for another reason than a lost connection.
const FAILURE_PAUSE: Duration = Duration::from_millis(250);

/// A connected session and all that is known around it.
pub struct Connected<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The session.
    pub session: &'a Arc<Session>,
    /// Where samples go.
    pub outlet: &'a mut Outlet,
    /// What is known across connections.
    pub state: &'a mut State,
    /// What this session found out.
    pub facts: Facts,
    /// Whether changes from before the connection may still come.
    pub catching_up: bool,
    /// Whether the connection is still the same.
    pub link: LinkWatch,
}

impl Connected<'_> {
    /// Publishes until the connection is lost or the source is to stop.
    pub async fn publish(&mut self) -> Halt {
        match self.publish_until_halt().await {
            Ok(never) => match never {},
            Err(halt) => halt,
        }
    }

    async fn publish_until_halt(&mut self) -> Result<std::convert::Infallible, Halt> {
        let session = self.session;
        let (mut in_flight, mut refreshes) = (FuturesUnordered::new(), FuturesUnordered::new());
        for standing in self.state.conditions.values_mut() {
            standing.ask_again(Instant::now());
        }
        let mut most = MOST_REQUESTS;
        let mut checked = Instant::now();
        let mut retry = self.retry_later();
        let timeout = self.publish_timeout();
        let (mut asked, mut given_up) = (0, GivenUp::default());
        loop {
            let wanted =
                (self.state.subscriptions.len() * REQUESTS_PER_SUBSCRIPTION).min(most) + given_up.open;
            while in_flight.len() < wanted {
                let tag = Asked {
                    number: asked,
                    generation: self.state.generation(),
                };
                in_flight.push(send(session, self.acknowledgements(), timeout, tag));
                asked += 1;
                self.outlet.metrics.requests.inc();
            }
            for subscription in self.look_after_conditions().await? {
                self.outlet.metrics.requests.inc();
                let timeout = self.plan.settings.request_timeout.get();
                refreshes.push(refresh::ask(session, subscription, timeout));
            }
            let check = self.next_check(checked, retry).into();
            tokio::select! {
                biased;
                () = self.outlet.stop.cancelled() => return Err(Halt::Stop),
                lost = self.link.lost() => return Err(Halt::Lost(lost)),
                Some(answer) = refreshes.next() => self.refresh_answered(answer)?,
                Some((answer, tag)) = in_flight.next() => {
                    given_up.answered(tag.number);
                    match answer {
                        Ok(response) => {
                            let (id, more) = (response.subscription_id, response.more_notifications);
                            let is_keep_alive = is_keep_alive(&response.notification_message);
                            self.response(response).await?;
                            if let Some(subscription) = self.state.subscriptions.iter_mut().find(|s| s.id == id) {
                                subscription.behind.answered(tag.number, is_keep_alive, more, asked);
                            }
                        }
                        Err(error) => {
                            let requests = in_flight.len().saturating_sub(given_up.open);
                            self.publish_failed(&error, tag.generation, requests, &mut most).await?;
                        }
                    }
                }
                () = tokio::time::sleep_until(check) => {
                    checked = Instant::now();
                    if self.check_signs_of_life().await? {
                        // Requests that are never answered must not stand in the way of new ones. Those that are have what others say.
                        if in_flight.len() > MOST_GIVEN_UP {
                            // What their answers hold, should they come, is missing then, and asked for again.
                            in_flight.clear();
                        }
                        given_up = GivenUp { before: asked, open: in_flight.len() };
                    }
                    if Instant::now() >= retry {
                        retry = self.retry_later();
                        self.retry_refused().await?;
                    }
                }
            }
            self.end_trials().await?;
            if self.state.discarded.is_waiting() {
                self.replace_discarded().await?;
            }
            self.tell_caught_up().await?;
            self.state.forget_history();
        }
    }

    /// Longer than the server may be silent, so that no answer is thrown away that is only late.
    fn publish_timeout(&self) -> Duration {
        let patience = self
            .state
            .subscriptions
            .iter()
            .map(|subscription| subscription.patience.most())
            .max();
        patience.unwrap_or_default() * 10 + Duration::from_mins(1)
    }

    fn acknowledgements(&mut self) -> Vec<SubscriptionAcknowledgement> {
        let mut acknowledgements = Vec::new();
        while let Ok(stored) = self.state.stored.try_recv() {
            let known = self
                .state
                .subscriptions
                .iter()
                .find(|s| s.generation == stored.generation);
            if let Some(subscription) = known {
                acknowledgements.push(SubscriptionAcknowledgement {
                    subscription_id: subscription.id,
                    sequence_number: stored.sequence,
                });
            }
        }
        acknowledgements
    }

    async fn response(&mut self, response: PublishResponse) -> Result<(), Halt> {
        let known = self
            .state
            .subscriptions
            .iter()
            .position(|s| s.id == response.subscription_id);
        let Some(place) = known else {
            self.state.discarded.stray(response.subscription_id);
            return Ok(());
        };
        let (message, has_more) = (response.notification_message, response.more_notifications);
        let (sequence, sent) = (message.sequence_number, message.publish_time);
        let is_keep_alive = is_keep_alive(&message);
        let subscription = &mut self.state.subscriptions[place];
        let (id, last) = (subscription.id, subscription.last);
        if subscription.trial == Trial::Silent && !(is_newer(sequence, last) || sequence == last) {
            return self
                .lose(
                    place,
                    format!("the subscription that was taken over is at {sequence} and not behind {last}"),
                )
                .await;
        }
        subscription.hear();
        if sequence != next(last) {
            // A keep-alive has the number of the next message (OPC 10000-4 §5.14.1), so `last` repeated is a message that came twice.
            if !is_newer(sequence, last) {
                if is_keep_alive {
                    // Some servers number these as they like.
                    self.state.hear(place, sent);
                }
                return Ok(());
            }
            if !self.recover(place, sequence).await? {
                return Ok(());
            }
        }
        let is_there = |state: &State| state.subscriptions.get(place).is_some_and(|s| s.id == id);
        // The place may have changed only if the subscription was lost, and then nothing is left to do here.
        if !is_keep_alive && is_there(self.state) {
            self.hand_on(place, message).await?;
        }
        if is_there(self.state) && !has_more {
            self.state.hear(place, sent);
        }
        Ok(())
    }

    /// Hands on what a message holds.
    pub async fn hand_on(&mut self, place: usize, message: NotificationMessage) -> Result<(), Halt> {
        let sequence = message.sequence_number;
        let objects = message.notification_data.unwrap_or_default();
        self.know_types_of(&objects).await?;
        let (mut samples, ended) = self.samples(objects);
        self.tell_losses().await?;
        let stored = Stored {
            generation: self.state.subscriptions[place].generation,
            sequence,
        };
        {
            let begun = Instant::now();
            while samples.len() > SAMPLES_PER_BATCH {
                let rest = samples.split_off(SAMPLES_PER_BATCH);
                // Half of a message is no place to go on from.
                let bookmarks = self.state.no_bookmarks();
                self.outlet
                    .message(std::mem::replace(&mut samples, rest), bookmarks, None)
                    .await?;
            }
            let id = self.state.subscriptions[place].id;
            let bookmarks = self.state.bookmarks(Some((id, sequence)));
            self.outlet
                .message(samples, bookmarks, self.state.receipt(stored))
                .await?;
            if begun.elapsed() > CHECK {
                // The gateway was full: not the server was silent, it was not asked.
                for subscription in &mut self.state.subscriptions {
                    subscription.heard = Instant::now();
                }
            }
        }
        self.state.subscriptions[place].last = sequence;
        match ended {
            // Said to the session that it was taken from, among its messages: it is this one that has it now. Another that takes it meanwhile leaves it silent.
            Some(StatusCode::GoodSubscriptionTransferred)
                if self.state.subscriptions[place].behind != Behind::Not =>
            {
                Ok(())
            }
            Some(status) => {
                self.lose(place, format!("the server ended the subscription: {status}"))
                    .await
            }
            None => Ok(()),
        }
    }

    /// Gives up a subscription whose messages cannot be relied on, and says so.
    pub async fn lose(&mut self, place: usize, reason: String) -> Result<(), Halt> {
        let notice = self.state.lose(place, self.plan, reason);
        self.outlet.metrics.gaps.inc();
        self.break_off(notice).await
    }

    /// Makes new subscriptions for those that were lost.
    async fn replace_discarded(&mut self) -> Result<(), Halt> {
        if let Err(error) = self.state.discarded.delete(self.session).await {
            return Err(self.lost_with("deleting a subscription", &error));
        }
        self.place(false).await
    }

    /// Has tags monitored, and hands on which are refused.
    pub async fn place(&mut self, again: bool) -> Result<(), Halt> {
        if self.unplaced(again).is_empty() {
            self.count_refused();
            return Ok(());
        }
        self.break_off(None).await?;
        let begun = Instant::now();
        let mut refusals = Refusals::default();
        let placed = self.place_tags(again, &mut refusals).await;
        if !refusals.samples.is_empty() {
            self.outlet.samples(refusals.samples).await?;
        }
        placed?;
        self.tell_layout().await?;
        self.outlet
            .metrics
            .request_seconds
            .observe(begun.elapsed().as_secs_f64());
        for subscription in &mut self.state.subscriptions {
            subscription.heard = Instant::now();
        }
        Ok(())
    }

    async fn retry_refused(&mut self) -> Result<(), Halt> {
        if self.state.refused.is_empty() {
            return Ok(());
        }
        self.read_facts().await?;
        self.break_off(None).await?;
        self.remove_refused_items().await?;
        self.place(true).await
    }

    /// Asks for the server's namespaces anew: a node that was missing may have come with one of its own.
    pub async fn read_facts(&mut self) -> Result<(), Halt> {
        let read = tokio::select! {
            biased;
            () = self.outlet.stop.cancelled() => return Err(Halt::Stop),
            lost = self.link.lost() => return Err(Halt::Lost(lost)),
            read = Facts::read(self.session, self.plan) => read,
        };
        let facts = read.map_err(|error| self.lost_with("reading the namespaces", &error))?;
        if !facts.uris.is_empty() {
            // How many nodes it takes may have been found out meanwhile. One that does not tell its namespaces now still has those that are known.
            let nodes_per_read = facts.nodes_per_read.min(self.facts.nodes_per_read);
            self.facts = Facts {
                nodes_per_read,
                ..facts
            };
            self.outlet.reach.send_replace(self.reach());
        }
        Ok(())
    }

    /// When refused tags are tried again.
    fn retry_later(&self) -> Instant {
        let pause = self.plan.settings.retry_refused_nodes.get();
        self.outlet.metrics.retry(Some(Attempt::after(pause)));
        Instant::now() + pause
    }

    /// When something has to be looked at that nothing wakes for: a subscription may be silent by then, or refused tags are tried again.
    fn next_check(&self, checked: Instant, retry: Instant) -> Instant {
        let soon = checked + CHECK;
        if !self.state.conditions.is_empty() {
            return soon;
        }
        let silent = self.state.subscriptions.iter().map(Subscription::is_silent_at);
        silent.fold(retry, Instant::min).max(soon)
    }

    /// Gives up subscriptions that are silent; whether there were any.
    async fn check_signs_of_life(&mut self) -> Result<bool, Halt> {
        let mut found = false;
        let answered = self.link.answered();
        let now = Instant::now();
        let is_silent = |s: &Subscription| s.is_silent(answered, now);
        while let Some(place) = self.state.subscriptions.iter().position(is_silent) {
            let silent = self.state.subscriptions[place].heard.elapsed().as_secs_f64();
            self.outlet.metrics.error("timeout");
            if self.state.subscriptions[place].trial == Trial::Silent {
                self.state.note_silence();
            }
            self.lose(place, format!("the subscription was silent for {silent:.1} s"))
                .await?;
            found = true;
        }
        Ok(found)
    }

    async fn publish_failed(
        &mut self,
        error: &Error,
        generation: u64,
        requests: usize,
        most: &mut usize,
    ) -> Result<(), Halt> {
        let status = error.status();
        match status {
            // The server was only slow with it; the next one is on its way.
            StatusCode::BadTimeout => self.outlet.metrics.error("timeout"),
            StatusCode::BadTooManyPublishRequests => {
                *most = requests.max(1);
                tracing::debug!(
                    source = self.plan.name,
                    "the server takes {most} publish requests at a time"
                );
            }
            StatusCode::BadNoSubscription => {
                self.outlet.metrics.error("status");
                // What was asked before the youngest subscriptions were made says nothing of them.
                let is_old = |s: &Subscription| s.generation <= generation;
                while let Some(place) = self.state.subscriptions.iter().position(is_old) {
                    self.lose(place, "the server has no subscription any more".to_owned())
                        .await?;
                }
            }
            // A message that is too large may have no end, and nothing after it would be heard.
            _ if is_lost(status) || status == StatusCode::BadEncodingLimitsExceeded => {
                return Err(self.lost_with("publishing", error));
            }
            _ => {
                self.outlet.metrics.error("status");
                tracing::warn!(
                    source = self.plan.name,
                    see = "opcua-publishing-failed",
                    "{}",
                    failed("a publish request failed", error)
                );
                tokio::select! {
                    () = self.outlet.stop.cancelled() => return Err(Halt::Stop),
                    () = tokio::time::sleep(FAILURE_PAUSE) => {}
                }
            }
        }
        Ok(())
    }

    /// Whether a failed request says that the connection is lost. One that alone is not answered in time, while the server is there, does not.
    pub fn ends_connection(&self, error: &Error, begun: Instant) -> bool {
        let answered = || self.link.answered().is_some_and(|answered| answered > begun);
        let is_alone = error.status() == StatusCode::BadTimeout && answered();
        is_lost(error.status()) && !is_alone
    }

    /// The connection is not to be used any longer, because of a failed request.
    pub fn lost_with(&self, what: &str, error: &Error) -> Halt {
        let kind = if error.status() == StatusCode::BadTimeout {
            "timeout"
        } else {
            "status"
        };
        self.outlet.metrics.error(kind);
        Halt::Lost(Reason::failed(what, error))
    }
}

/// A publish request that is on its way.
struct Asked {
    /// How many were sent on the connection before it.
    number: u64,
    /// The youngest subscription when it was sent.
    generation: u64,
}

async fn send(
    session: &Session,
    acknowledgements: Vec<SubscriptionAcknowledgement>,
    timeout: Duration,
    tag: Asked,
) -> (Result<PublishResponse, Error>, Asked) {
    let request = Publish::new(session).acks(acknowledgements).timeout(timeout);
    (request.send(session.channel()).await, tag)
}

/// Whether a message says only that its subscription lives and has nothing to report.
fn is_keep_alive(message: &NotificationMessage) -> bool {
    message.notification_data.as_ref().is_none_or(Vec::is_empty)
}

/// Whether a status says that connection or session cannot be used any longer.
pub fn is_lost(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadTimeout
            | StatusCode::BadConnectionClosed
            | StatusCode::BadNotConnected
            | StatusCode::BadCommunicationError
            | StatusCode::BadSecureChannelClosed
            | StatusCode::BadSecureChannelIdInvalid
            | StatusCode::BadSecureChannelTokenUnknown
            | StatusCode::BadSessionIdInvalid
            | StatusCode::BadSessionClosed
            | StatusCode::BadSessionNotActivated
            | StatusCode::BadShutdown
            | StatusCode::BadServerHalted
            | StatusCode::BadTcpInternalError
    )
}
