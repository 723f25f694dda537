//! The running source: connects, serves the connection, and begins again, for ever.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use floorgate_adapter_api::{Continuity, NamedFile, RunFuture, Source, SourceContext, SourceMetrics};
use futures_util::StreamExt;
use opcua::client::{Session, SessionConnectMode, SessionPollResult};
use opcua::types::{Error, ReadValueId, StatusCode, TimestampsToReturn, VariableId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::connection::{self, Connection};
use crate::outlet::{Halt, Outlet};
use crate::plan::Plan;
use crate::publish::{Connected, is_lost};
use crate::server::{Facts, read, reason};
use crate::settings::{Mode, Policy};
use crate::snapshot::{Reach, Snapshots};
use crate::subscription::State;
use crate::transport::Cutter;

/// The first pause between two attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// How long a clean end of the session may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// An OPC UA server that is laid out and not connected yet.
pub struct OpcUaSource {
    plan: Arc<Plan>,
}

impl OpcUaSource {
    /// A source for a plan.
    pub fn new(plan: Plan) -> Self {
        Self { plan: Arc::new(plan) }
    }
}

impl Source for OpcUaSource {
    fn files(&self) -> Vec<NamedFile> {
        self.plan.files.clone()
    }

    fn run(&self, context: SourceContext) -> RunFuture {
        let state = State::restored(&self.plan, &context.bookmarks);
        let (reach, reached) = watch::channel(Reach::Away("it was not connected yet".to_owned()));
        let snapshots = Snapshots::new(Arc::clone(&self.plan), &context, reached);
        let watching = run(Arc::clone(&self.plan), Outlet::new(context, reach), state);
        Box::pin(async move {
            tokio::select! {
                () = watching => {}
                never = snapshots.serve() => match never {},
            }
        })
    }
}

/// Whether the session is connected, as its event loop sees it.
#[derive(Clone, Debug, Default)]
struct Link {
    /// Connections made so far; the number of the present one.
    number: u64,
    /// Whether the present one is up.
    up: bool,
    /// Whether it goes on with the session of the one before.
    resumed: bool,
    /// Why the last one was lost, or could not be made.
    reason: String,
}

/// Notices that a connection is not the one any more that it was.
#[derive(Debug)]
pub struct LinkWatch {
    link: watch::Receiver<Link>,
    number: u64,
}

impl LinkWatch {
    /// Waits until the connection is lost; why.
    pub async fn lost(&mut self) -> String {
        let number = self.number;
        match self.link.wait_for(|link| link.number != number || !link.up).await {
            Ok(link) => link.reason.clone(),
            Err(_) => "the session was given up".to_owned(),
        }
    }
}

async fn run(plan: Arc<Plan>, mut outlet: Outlet, mut state: State) {
    let mut pauses = pauses(plan.settings.reconnect_limit.get());
    while !outlet.stop.is_cancelled() {
        let stop = outlet.stop.clone();
        let prepared = tokio::select! {
            () = stop.cancelled() => break,
            prepared = connection::prepare(&plan) => prepared,
        };
        let reason = match prepared {
            Ok(connection) => {
                let (halt, connected) = serve(&plan, connection, &mut outlet, &mut state).await;
                if connected {
                    pauses = self::pauses(plan.settings.reconnect_limit.get());
                }
                match halt {
                    Halt::Stop => break,
                    Halt::Lost(reason) => reason,
                }
            }
            Err(error) => {
                outlet.metrics.error("link");
                error.with_causes()
            }
        };
        let pause = pauses.next().unwrap_or(plan.settings.reconnect_limit.get());
        tracing::warn!(
            source = plan.name,
            "not connected: {reason}; next attempt in {:.1} s",
            pause.as_secs_f64()
        );
        if outlet.offline(reason).await.is_err() {
            break;
        }
        tokio::select! {
            () = outlet.stop.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    outlet.metrics.up.set(0);
}

/// Pauses between attempts: doubling, each lengthened by a random part of itself, for ever.
fn pauses(longest: Duration) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_jitter()
        // Without a seed every source of every gateway would pause alike, and all would come back at once.
        .with_jitter_seed(RandomState::new().build_hasher().finish())
        .with_min_delay(FIRST_PAUSE.min(longest))
        .with_max_delay(longest)
        .without_max_times()
        .build()
}

/// Runs a session until it cannot be had back or the source is to stop; whether it was ever connected.
async fn serve(plan: &Plan, connection: Connection, outlet: &mut Outlet, state: &mut State) -> (Halt, bool) {
    let Connection {
        session,
        event_loop,
        cutter,
    } = connection;
    let (link, watch) = watch::channel(Link::default());
    let done = CancellationToken::new();
    let metrics = outlet.metrics.clone();

    let drive = async {
        let driven = drive(plan, event_loop, &cutter, &link, &metrics);
        tokio::select! {
            reason = driven => link.send_modify(|link| { link.up = false; link.reason = reason; link.number = u64::MAX; }),
            () = done.cancelled() => {}
        }
    };
    let life = async {
        tokio::select! {
            () = keep_alive(plan, &session, watch.clone(), &cutter, &metrics) => {}
            () = done.cancelled() => {}
        }
    };
    let work = async {
        let ended = work(plan, &session, &cutter, watch.clone(), outlet, state).await;
        if matches!(ended.0, Halt::Stop) && watch.borrow().up {
            // The session ends cleanly where the server is there to hear it.
            let _ = tokio::time::timeout(FAREWELL, part(plan, &session, state)).await;
        }
        done.cancel();
        ended
    };
    let ((), (), ended) = tokio::join!(drive, life, work);
    ended
}

/// Closes the session. Subscriptions stay where a later process may take them over.
async fn part(plan: &Plan, session: &Session, state: &State) -> Result<(), Error> {
    if state.outlives_session(plan) {
        session.disconnect_without_delete_subscriptions().await
    } else {
        session.disconnect().await
    }
}

/// Polls the session's event loop, which connects, and reconnects; returns why the session is given up.
async fn drive(
    plan: &Plan,
    event_loop: opcua::client::SessionEventLoop<crate::transport::LimitedConnector>,
    cutter: &Cutter,
    link: &watch::Sender<Link>,
    metrics: &SourceMetrics,
) -> String {
    let mut events = pin!(event_loop.enter());
    let mut lost_since: Option<Instant> = None;
    let mut connected_since = Instant::now();
    let mut pauses = pauses(plan.settings.reconnect_limit.get());
    while let Some(event) = events.next().await {
        match event {
            Ok(SessionPollResult::Reconnected(mode)) => {
                metrics.connects.inc();
                connected_since = Instant::now();
                let resumed = matches!(mode, SessionConnectMode::ReactivatedSession(_));
                link.send_modify(|link| {
                    link.number += 1;
                    link.up = true;
                    link.resumed = resumed;
                });
            }
            Ok(SessionPollResult::ConnectionLost(status)) => {
                metrics.error("link");
                lost_since = Some(Instant::now());
                let reason = cutter.take_reason().unwrap_or_else(|| status.to_string());
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
                metrics.error("link");
                let told = told(plan, status);
                link.send_modify(|link| link.reason.clone_from(&told));
                // After the session's time the server has none to re-activate: begin with its endpoints again.
                let hopeless =
                    lost_since.is_none_or(|since| since.elapsed() > plan.settings.session_timeout.get());
                if hopeless || is_about_security(status) {
                    return told;
                }
                let pause = pauses.next().unwrap_or(plan.settings.reconnect_limit.get());
                tracing::warn!(
                    source = plan.name,
                    "cannot reconnect: {told}; next attempt in {:.1} s",
                    pause.as_secs_f64()
                );
                tokio::time::sleep(pause).await;
            }
            Ok(_) => {}
            Err(status) => return told(plan, status),
        }
    }
    link.borrow().reason.clone()
}

/// A status of the server in words, with the way out where the server refuses the gateway's certificate. What the gateway
/// itself refuses of the server's was found out before.
pub fn told(plan: &Plan, status: StatusCode) -> String {
    let is_refused = matches!(
        status,
        StatusCode::BadCertificateUntrusted | StatusCode::BadSecurityChecksFailed
    );
    if is_refused && plan.settings.security.policy != Policy::None {
        let own = plan.pki.join("own/cert.der");
        format!(
            "{status}: the server does not trust the gateway's certificate; have it trust {}",
            own.display()
        )
    } else {
        status.to_string()
    }
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

/// Asks the server for its state now and then, and cuts a connection on which no answer comes.
async fn keep_alive(
    plan: &Plan,
    session: &Session,
    mut link: watch::Receiver<Link>,
    cutter: &Cutter,
    metrics: &SourceMetrics,
) {
    let timeout = plan.settings.request_timeout.get();
    loop {
        let Ok(number) = link.wait_for(|link| link.up).await.map(|link| link.number) else {
            return;
        };
        tokio::time::sleep(plan.settings.keep_alive.get()).await;
        let state = ReadValueId::new_value(VariableId::Server_ServerStatus_State.into());
        let begun = Instant::now();
        metrics.requests.inc();
        match read(session, vec![state], TimestampsToReturn::Neither, timeout).await {
            Ok(_) => metrics.request_seconds.observe(begun.elapsed().as_secs_f64()),
            Err(error) if is_lost(error.status()) => {
                let same = { link.borrow().number == number && link.borrow().up };
                if same {
                    metrics.error("timeout");
                    cutter.cut(format!("the server gives no sign of life: {}", reason(&error)));
                    if link
                        .wait_for(|link| link.number != number || !link.up)
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            }
            // An answer, even a refusal, is a sign of life.
            Err(_) => {}
        }
    }
}

/// Serves each connection of a session.
async fn work(
    plan: &Plan,
    session: &Arc<Session>,
    cutter: &Cutter,
    mut watch: watch::Receiver<Link>,
    outlet: &mut Outlet,
    state: &mut State,
) -> (Halt, bool) {
    let mut served = 0;
    loop {
        let stop = outlet.stop.clone();
        let link = tokio::select! {
            () = stop.cancelled() => return (Halt::Stop, served > 0),
            link = watch.wait_for(|link| link.number > served && (link.up || link.number == u64::MAX)) => link.map(|link| link.clone()),
        };
        let link = match link {
            Ok(link) if link.up => link,
            Ok(link) => return (Halt::Lost(link.reason), served > 0),
            Err(_) => return (Halt::Lost("the session was given up".to_owned()), served > 0),
        };
        served = link.number;
        let link_watch = LinkWatch {
            link: watch.clone(),
            number: served,
        };
        let reason = match serve_connection(plan, session, link.resumed, link_watch, outlet, state).await {
            Halt::Stop => return (Halt::Stop, true),
            Halt::Lost(reason) => reason,
        };
        // The connection may be up still, when only a request failed on it.
        let is_up = {
            let link = watch.borrow();
            link.number == served && link.up
        };
        if is_up {
            cutter.cut(reason.clone());
        }
        tracing::warn!(source = plan.name, "the connection is lost: {reason}");
        if outlet.offline(reason).await.is_err() {
            return (Halt::Stop, true);
        }
    }
}

async fn serve_connection(
    plan: &Plan,
    session: &Arc<Session>,
    resumed: bool,
    link: LinkWatch,
    outlet: &mut Outlet,
    state: &mut State,
) -> Halt {
    let facts = match Facts::read(session, plan).await {
        Ok(facts) => facts,
        Err(error) => return Halt::Lost(crate::items::failed("reading namespaces and limits", &error)),
    };
    let mut connected = Connected {
        plan,
        session,
        outlet,
        state,
        facts,
        catching_up: false,
        link,
    };
    match connected.begin(resumed).await {
        Ok(()) if plan.settings.mode == Mode::Poll => connected.poll().await,
        Ok(()) => connected.publish().await,
        Err(halt) => halt,
    }
}

impl Connected<'_> {
    /// What is needed to ask the server for something beside the work of this connection.
    pub fn reach(&self) -> Reach {
        Reach::Here {
            session: Arc::clone(self.session),
            namespaces: self.facts.namespaces.clone().into(),
            nodes_per_read: self.facts.nodes_per_read,
            types: self.state.types.clone(),
        }
    }

    /// Goes on with the subscriptions that are there, or begins anew.
    async fn begin(&mut self, resumed: bool) -> Result<(), Halt> {
        let first_missed = self.resume(resumed).await?;
        let continuity = if first_missed.is_some() {
            Continuity::Resumed
        } else {
            Continuity::New
        };
        self.state.server_started = self.facts.started;
        self.outlet.metrics.up.set(1);
        tracing::info!(
            source = self.plan.name,
            tags = self.plan.laid_out.tags.len(),
            ?continuity,
            "connected to {}",
            self.plan.settings.endpoint
        );
        if continuity == Continuity::New {
            self.break_off(None).await?;
        }
        let reach = self.reach();
        self.outlet.online(continuity, reach).await?;
        if self.plan.settings.mode == Mode::Poll {
            return Ok(());
        }
        if let Some(first) = first_missed {
            self.catch_up(first).await?;
        }
        if let Err(error) = self.state.delete_discarded(self.session).await {
            return Err(self.lost_with("deleting a subscription", &error));
        }
        self.place(false).await?;
        if continuity == Continuity::New {
            let stop = self.outlet.stop.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Halt::Stop),
                read = self.backfill() => read?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_sources_pause_alike() {
        let first = || pauses(Duration::from_secs(15)).take(4).collect::<Vec<Duration>>();
        assert_ne!(first(), first());
        assert!(first()[0] >= FIRST_PAUSE);
    }
}
