//! The event loop of a session, which connects, and reconnects.

use std::pin::pin;
use std::time::{Duration, Instant};

use floorgate_adapter_api::{Attempt, Pauses, SourceMetrics};
use futures_util::StreamExt;
use opcua::client::{SessionConnectMode, SessionEventLoop, SessionPollResult};
use opcua::types::StatusCode;
use tokio::sync::watch;

use crate::connection::{self, Certificates, Target};
use crate::plan::Plan;
use crate::reason::{self, Reason};
use crate::revised;
use crate::settings::Policy;
use crate::source::Link;
use crate::transport::{Cutter, LimitedConnector};

/// The first pause between two attempts to connect, at least.
pub const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The time in which a session comes about, in times for an answer: the channel is opened, which is hard work for small servers, the session made and
/// activated, once more where it was another's.
pub const ANSWERS_OF_A_SESSION: u32 = 5;
/// How often it is looked whether an attempt to connect stands still.
const LOOK: Duration = Duration::from_secs(1);

/// Pauses between attempts: doubling, each lengthened by a random part of itself, for ever; none is longer than the longest.
pub fn pauses(longest: Duration) -> Pauses {
    floorgate_adapter_api::pauses(FIRST_PAUSE, longest)
}

/// What polls a session's event loop.
pub struct Driver<'a> {
    pub plan: &'a Plan,
    pub cutter: &'a Cutter,
    pub link: &'a watch::Sender<Link>,
    pub metrics: &'a SourceMetrics,
    pub certificates: &'a Certificates,
    pub target: &'a Target,
    pub is_alone: bool,
}

impl Driver<'_> {
    /// Polls the event loop, which connects, and reconnects; returns why the session is given up.
    pub async fn drive(&self, event_loop: SessionEventLoop<LimitedConnector>) -> Reason {
        let (plan, link) = (self.plan, self.link);
        let mut events = pin!(event_loop.enter());
        let mut lost_since: Option<Instant> = None;
        let mut connected_since = Instant::now();
        let mut pauses = pauses(plan.settings.reconnect_limit.get());
        let limit = plan.settings.request_timeout.get() * ANSWERS_OF_A_SESSION;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = tokio::time::sleep(LOOK) => {
                    // The next event is that it failed.
                    self.cutter.cut_opening(limit);
                    continue;
                }
            };
            let Some(event) = event else { break };
            match event {
                Ok(SessionPollResult::Reconnected(mode)) => {
                    self.cutter.opened();
                    self.metrics.connects.inc();
                    connected_since = Instant::now();
                    let resumed = matches!(mode, SessionConnectMode::ReactivatedSession(_));
                    if let Some(timeout) = self.cutter.session_timeout().filter(|_| !resumed) {
                        revised::tell_session(timeout, plan, self.metrics);
                    }
                    link.send_modify(|link| {
                        link.number += 1;
                        link.up = true;
                        link.resumed = resumed;
                    });
                }
                Ok(SessionPollResult::ConnectionLost(status)) => {
                    self.metrics.error("link");
                    lost_since = Some(Instant::now());
                    let reason = self.cutter.take_reason().unwrap_or_else(|| Reason::ended(status));
                    link.send_modify(|link| {
                        link.up = false;
                        link.reason = reason;
                    });
                    let lasted = connected_since.elapsed();
                    if lasted > plan.settings.reconnect_limit.get() {
                        pauses = self::pauses(plan.settings.reconnect_limit.get());
                    }
                    if lasted < FIRST_PAUSE {
                        // A server that takes the connection and then drops it must not be asked in a tight loop.
                        tokio::time::sleep(pauses.next().unwrap_or(FIRST_PAUSE)).await;
                    }
                }
                Ok(SessionPollResult::ReconnectFailed(status)) => {
                    self.cutter.opened();
                    self.metrics.error("link");
                    let told = match self.cutter.take_reason() {
                        Some(reason) => {
                            link.send_modify(|link| link.reason.clone_from(&reason));
                            reason
                        }
                        None => self.told(status),
                    };
                    // After the session's time the server has none to re-activate: begin with its endpoints again.
                    let asked = plan.settings.session_timeout.get();
                    let kept = self.cutter.session_timeout().unwrap_or(asked);
                    let hopeless = lost_since.is_none_or(|since| since.elapsed() > kept);
                    if hopeless
                        || !self.is_alone
                        || is_about_security(status)
                        || self.is_exchanged(status).await
                    {
                        return told;
                    }
                    let pause = pauses.next().unwrap_or(plan.settings.reconnect_limit.get());
                    self.metrics
                        .attempt(Some(Attempt::after(pause)), Some(told.words()));
                    tracing::warn!(
                        source = plan.name,
                        see = told.see,
                        "cannot reconnect: {told}; next attempt in {:.1} s",
                        pause.as_secs_f64()
                    );
                    tokio::time::sleep(pause).await;
                }
                Ok(_) => {}
                Err(status) => return self.told(status),
            }
        }
        link.borrow().reason.clone()
    }

    /// A status that a connection was not made with, in words.
    fn told(&self, status: StatusCode) -> Reason {
        let told = told(self.plan, status);
        self.link.send_modify(|link| {
            link.reason.clone_from(&told);
            link.refused = is_refused(status);
        });
        told
    }

    /// Whether the server has another certificate now, with which it cannot understand what is said to the one before. Servers answer that in any way.
    async fn is_exchanged(&self, status: StatusCode) -> bool {
        let answered = !matches!(status, StatusCode::BadCommunicationError | StatusCode::BadTimeout);
        answered
            && self.plan.settings.security.policy != Policy::None
            && connection::is_exchanged(self.plan, self.target, self.certificates).await == Some(true)
    }
}

/// A status of the server in words, with the way out where the server refuses the gateway's certificate. What the gateway
/// itself refuses of the server's was found out before.
pub fn told(plan: &Plan, status: StatusCode) -> Reason {
    let told = if is_refused(status) && plan.settings.security.policy != Policy::None {
        let own = plan.pki.join("own/cert.der");
        format!(
            "{status}: the server does not trust the gateway's certificate; have it trust {}",
            own.display()
        )
    } else {
        status.to_string()
    };
    Reason::new(told, reason::see(status))
}

/// Whether a status says that the server does not take the gateway's certificate.
fn is_refused(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadCertificateUntrusted | StatusCode::BadSecurityChecksFailed
    )
}

/// Whether a status says that certificates, keys or logins have changed.
fn is_about_security(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadCertificateInvalid
            | StatusCode::BadCertificateUntrusted
            | StatusCode::BadSecurityChecksFailed
            | StatusCode::BadSecurityPolicyRejected
            | StatusCode::BadIdentityTokenRejected
            | StatusCode::BadIdentityTokenInvalid
            | StatusCode::BadUserAccessDenied
    )
}
