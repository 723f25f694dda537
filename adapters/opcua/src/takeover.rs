//! Subscriptions that go on: those of a connection, of a session or of a process before.
//!
//! A subscription outlives its session on the server. The next session takes it over, asks for the messages that did not come, and goes on behind them, so that
//! nothing is missed. Some servers say that they gave a subscription over and never publish again: it is on trial until it gave a sign of life, which it is asked for at
//! once, and one that was silent is not believed again.

use std::time::{Duration, Instant};

use floorgate_adapter_api::{Notice, Receipt};
use tokio::sync::oneshot;

use crate::outlet::Halt;
use crate::plan::{Credentials, Plan};
use crate::publish::{Connected, is_lost};
use crate::recovery::FirstMissed;
use crate::revised::modify;
use crate::server::reason;
use crate::settings::SecurityMode;
use crate::silence::{FEWEST, Patience};
use crate::subscription::{Heritage, State, Subscription};

/// How long a subscription on trial may be silent beside its intervals.
const TRIAL: Duration = Duration::from_millis(500);

/// Whether a subscription that was taken over is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// It was not taken over, or gave a sign of life since.
    Not,
    /// It has not been heard yet.
    Silent,
    /// It has; how often it gives signs of life is still to be set back.
    Passed,
}

impl Connected<'_> {
    /// Takes over the subscriptions of the connection before; their first missed messages, or `None` where they cannot
    /// all be had and everything begins anew.
    pub async fn resume(&mut self, resumed: bool) -> Result<Option<FirstMissed>, Halt> {
        // Numbers of subscriptions mean nothing on a server that was started anew: they may be somebody else's.
        let same_server = self.facts.started.is_some() && self.facts.started == self.state.server_started;
        if !resumed {
            self.state.discarded.forget();
            // Until they are given over they are another session's, whatever becomes of this connection.
            if self.state.heritage == Heritage::Own && !self.state.subscriptions.is_empty() {
                self.state.heritage = Heritage::LeftOver;
            }
        }
        let transfers =
            (!resumed || self.state.heritage != Heritage::Own) && !self.state.subscriptions.is_empty();
        let held = if !transfers {
            self.state.ids()
        } else if same_server && self.state.gives_over != Some(false) {
            match self.state.transfer(self.session).await {
                Ok(held) => held,
                Err(error) => return Err(self.lost_with("taking subscriptions over", &error)),
            }
        } else {
            Vec::new()
        };
        let all = !held.is_empty() && held.len() == self.state.subscriptions.len();
        if all
            && self.state.heritage != Heritage::Stale
            && (!transfers || self.put_on_trial().await?)
            && let Some(first) = self.first_missed().await?
        {
            self.state.heritage = Heritage::Own;
            return Ok(Some(first));
        }
        // Where a program was loaded, structures may be others under the same names.
        self.state.types.were_changed();
        if !same_server {
            self.state.types = self.state.types.anew();
            (self.state.gives_over, self.state.silences) = (None, 0);
        }
        // What the server says of them may be wrong; to delete one that it does not have is no harm.
        let left = if same_server { self.state.ids() } else { held };
        self.state.lose_all(left);
        Ok(None)
    }

    /// Has subscriptions that were taken over give signs of life as often as any. Returns false where the server does not know one.
    async fn put_on_trial(&mut self) -> Result<bool, Halt> {
        for place in 0..self.state.subscriptions.len() {
            match modify(self.session, self.plan, &self.state.subscriptions[place], FEWEST).await {
                Ok(revised) => {
                    let subscription = &mut self.state.subscriptions[place];
                    subscription.trial = Trial::Silent;
                    subscription.publishing = revised.publishing;
                    // A server may count to its next sign of life as it did before.
                    let asked = revised.publishing * revised.keep_alive * 2;
                    subscription.patience = Patience::of(
                        self.plan.settings.keep_alive.get().max(asked) + revised.publishing * 4 + TRIAL,
                    );
                }
                Err(error) if is_lost(error.status()) => {
                    return Err(self.lost_with("taking a subscription over", &error));
                }
                Err(error) => {
                    tracing::debug!("a subscription cannot be taken over: {}", reason(&error));
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Believes subscriptions that gave a sign of life since they were taken over.
    pub async fn end_trials(&mut self) -> Result<(), Halt> {
        let passed = |s: &Subscription| s.trial == Trial::Passed;
        if !self.state.subscriptions.iter().any(passed) {
            return Ok(());
        }
        while let Some(place) = self.state.subscriptions.iter().position(passed) {
            let subscription = &self.state.subscriptions[place];
            let periods = State::keep_alive_periods(self.plan, subscription.publishing);
            let revised = match modify(self.session, self.plan, subscription, periods).await {
                Ok(revised) => revised,
                Err(error) if is_lost(error.status()) => {
                    return Err(self.lost_with("taking a subscription over", &error));
                }
                Err(error) => {
                    let reason = reason(&error);
                    return self
                        .lose(place, format!("the subscription cannot be changed: {reason}"))
                        .await;
                }
            };
            revised.tell("took over", self.plan, &self.outlet.metrics);
            let subscription = &mut self.state.subscriptions[place];
            subscription.publishing = revised.publishing;
            subscription.trial = Trial::Not;
            subscription.patience = revised.patience(self.plan);
            if self.state.gives_over != Some(true) || self.state.silences > 0 {
                (self.state.gives_over, self.state.silences) = (Some(true), 0);
                self.state.layout_told = false;
            }
        }
        self.report_revisions();
        Ok(())
    }

    /// What is stored does not let the next process go on any more, which is durable when this returns.
    pub async fn break_off(&mut self, notice: impl Into<Option<Notice>>) -> Result<(), Halt> {
        let waits = self.state.goes_on;
        let (stored, done) = oneshot::channel();
        let receipt = waits.then(|| {
            Receipt::new(move || {
                let _ = stored.send(());
            })
        });
        let bookmarks = self.state.no_bookmarks();
        self.outlet.tell(notice, bookmarks, receipt).await?;
        if !waits {
            return Ok(());
        }
        tokio::select! {
            biased;
            stored = done => stored.map_err(|_| Halt::Stop),
            () = self.outlet.stop.cancelled() => Err(Halt::Stop),
            lost = self.link.lost() => {
                self.state.goes_on = true;
                Err(Halt::Lost(lost))
            }
        }
    }

    /// Stores what the server holds now, where no message is on its way that would have it with it.
    pub async fn tell_layout(&mut self) -> Result<(), Halt> {
        let bookmarks = self.state.bookmarks(None);
        self.outlet.tell(None, bookmarks, None).await
    }
}

impl State {
    /// A subscription on trial was silent. Twice in a row is no accident.
    pub fn note_silence(&mut self) {
        self.silences = self.silences.saturating_add(1);
        if self.silences > 1 {
            self.gives_over = Some(false);
        }
    }

    /// Whether the subscriptions are worth keeping when the session ends: another may take them over. A server need not give those of a
    /// user without a name to a client that it cannot tell from others (OPC 10000-4 §5.14.7).
    pub fn outlives_session(&self, plan: &Plan) -> bool {
        let is_known =
            plan.settings.security.mode != SecurityMode::None || plan.credentials != Credentials::Anonymous;
        !self.subscriptions.is_empty() && self.gives_over.unwrap_or(is_known)
    }
}

impl Subscription {
    /// It gave a sign of life.
    pub fn hear(&mut self) {
        self.heard = Instant::now();
        if self.trial == Trial::Silent {
            self.trial = Trial::Passed;
        }
    }
}
