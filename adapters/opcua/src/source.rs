//! The running source: connects, serves the connection, and begins again, for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use floorgate_adapter_api::{Attempt, Continuity, NamedFile, RevisedTags, RunFuture, Source, SourceContext};
use opcua::client::Session;
use opcua::types::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::connection::{self, Certificates, Connection};
use crate::drive::{Driver, pauses};
use crate::expiry;
use crate::outlet::{Halt, Outlet};
use crate::pki;
use crate::plan::Plan;
use crate::publish::Connected;
use crate::reason::Reason;
use crate::redundancy::Servers;
use crate::server::Facts;
use crate::settings::Mode;
use crate::snapshot::{Reach, Snapshots};
use crate::subscription::State;
use crate::supervision::{keep_alive, watch_certificates};
use crate::transport::Cutter;

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
        // What was made for a run before is not known of this one.
        context.metrics.revised_tags(RevisedTags::default());
        let state = State::restored(&self.plan, &context.bookmarks);
        let (reach, reached) = watch::channel(Reach::Away("it was not connected yet".to_owned()));
        let snapshots = Snapshots::new(Arc::clone(&self.plan), &context, reached);
        let (used, of_connection) = watch::channel(None);
        let expiring = expiry::watch(Arc::clone(&self.plan), context.metrics.clone(), of_connection);
        let watching = run(Arc::clone(&self.plan), Outlet::new(context, reach), state, used);
        Box::pin(async move {
            tokio::select! {
                () = watching => {}
                never = snapshots.serve() => match never {},
                never = expiring => match never {},
            }
        })
    }
}

/// Whether the session is connected, as its event loop sees it.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// Connections made so far; the number of the present one.
    pub number: u64,
    /// Whether the present one is up.
    pub up: bool,
    /// When the server last answered the question whether it is there.
    pub answered: Option<Instant>,
    /// Whether it goes on with the session of the one before.
    pub resumed: bool,
    /// Why the last one was lost, or could not be made.
    pub reason: Reason,
    /// Whether the server refuses the gateway's certificate.
    pub refused: bool,
    /// Why the gateway leaves the server, where it does.
    pub leaving: Option<Leave>,
}

/// The gateway leaves a server on purpose.
#[derive(Clone, Debug)]
pub struct Leave {
    reason: Reason,
    /// The place of the server to go to, where it is another.
    to: Option<usize>,
}

/// Notices that a connection is not the one any more that it was.
#[derive(Debug)]
pub struct LinkWatch {
    link: watch::Receiver<Link>,
    number: u64,
}

impl LinkWatch {
    /// When the server last answered the question whether it is there.
    pub fn answered(&self) -> Option<Instant> {
        self.link.borrow().answered
    }

    /// Waits until the connection is lost, or is to be left; why.
    pub async fn lost(&mut self) -> Reason {
        let number = self.number;
        let is_over = |link: &Link| link.number != number || !link.up || link.leaving.is_some();
        match self.link.wait_for(is_over).await {
            Ok(link) => match &link.leaving {
                Some(leave) => leave.reason.clone(),
                None => link.reason.clone(),
            },
            Err(_) => Reason::given_up(),
        }
    }
}

/// Connects, and serves each connection, until it is to stop. The certificates of the last one are `used`.
async fn run(
    plan: Arc<Plan>,
    mut outlet: Outlet,
    mut state: State,
    used: watch::Sender<Option<Certificates>>,
) {
    let mut servers = Servers::new(&plan);
    let mut pauses = pauses(plan.settings.reconnect_limit.get());
    while !outlet.stop.is_cancelled() {
        let stop = outlet.stop.clone();
        let target = servers.target();
        let prepared = tokio::select! {
            () = stop.cancelled() => break,
            prepared = connection::prepare(&plan, &target) => prepared,
        };
        let (reason, at_once) = match prepared {
            Ok(connection) => {
                used.send_replace(Some(connection.certificates.clone()));
                let served = serve(&plan, connection, &mut servers, &mut outlet, &mut state);
                let ended = Box::pin(served).await;
                if ended.connected {
                    pauses = self::pauses(plan.settings.reconnect_limit.get());
                }
                let Halt::Lost(reason) = ended.halt else { break };
                let at_once = match ended.leaving {
                    Some(leave) => {
                        servers.leave(leave.to);
                        true
                    }
                    None => {
                        servers.failed(ended.refused, ended.refused && pki::previous(&plan.pki).is_some())
                    }
                };
                (reason, at_once)
            }
            Err(error) => {
                outlet.metrics.error("link");
                (
                    Reason::new(error.with_causes(), error.see()),
                    servers.failed(false, false),
                )
            }
        };
        let pause = if at_once {
            Duration::ZERO
        } else {
            pauses.next().unwrap_or(plan.settings.reconnect_limit.get())
        };
        outlet
            .metrics
            .attempt(Some(Attempt::after(pause)), Some(reason.words()));
        tracing::warn!(
            source = plan.name,
            see = reason.see,
            "not connected to {}: {reason}; next attempt, at {}, in {:.1} s",
            target.endpoint,
            servers.target().endpoint,
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

/// How a session ended.
struct Ended {
    halt: Halt,
    /// Whether it was ever connected.
    connected: bool,
    /// Whether the server refused the gateway's certificate.
    refused: bool,
    /// Whether it was left on purpose.
    leaving: Option<Leave>,
}

/// Runs a session until it cannot be had back, is left, or the source is to stop.
async fn serve(
    plan: &Arc<Plan>,
    connection: Connection,
    servers: &mut Servers,
    outlet: &mut Outlet,
    state: &mut State,
) -> Ended {
    let Connection {
        session,
        event_loop,
        cutter,
        certificates,
    } = connection;
    let (link, watch) = watch::channel(Link::default());
    let (level, levels) = watch::channel(u8::MAX);
    let done = CancellationToken::new();
    let metrics = outlet.metrics.clone();
    cutter.count(metrics.traffic());
    let (target, rivals, is_alone) = (servers.target(), servers.rivals(), servers.is_alone());

    let drive = async {
        let driver = Driver {
            plan,
            cutter: &cutter,
            link: &link,
            metrics: &metrics,
            certificates: &certificates,
            target: &target,
            is_alone,
        };
        tokio::select! {
            reason = driver.drive(event_loop) => link.send_modify(|link| { link.up = false; link.reason = reason; link.number = u64::MAX; }),
            () = done.cancelled() => {}
        }
    };
    let life = async {
        tokio::select! {
            () = keep_alive(plan, &session, &link, &cutter, &metrics, &level) => {}
            () = done.cancelled() => {}
        }
    };
    let leave = async {
        let wish = tokio::select! {
            reason = watch_certificates(plan, &certificates, &target) => Leave { reason, to: None },
            (to, told) = rivals.better(plan, levels) => Leave { reason: Reason::on_purpose(told), to: Some(to) },
            () = done.cancelled() => return,
        };
        link.send_modify(|link| link.leaving = Some(wish));
    };
    let work = async {
        let ended = work(plan, &session, &cutter, watch.clone(), outlet, state, || {
            servers.connected()
        })
        .await;
        let (is_up, leaving) = { (watch.borrow().up, watch.borrow().leaving.clone()) };
        if is_up && (leaving.is_some() || matches!(ended.0, Halt::Stop)) {
            // The session ends cleanly where the server is there to hear it.
            let goes_away = leaving.as_ref().is_some_and(|leave| leave.to.is_some());
            let _ = tokio::time::timeout(FAREWELL, part(plan, &session, state, goes_away)).await;
        }
        done.cancel();
        (ended, leaving)
    };
    let ((), (), (), ((halt, connected), leaving)) = tokio::join!(drive, life, leave, work);
    let refused = link.borrow().refused;
    Ended {
        halt,
        connected,
        refused,
        leaving,
    }
}

/// Closes the session. Subscriptions stay where a later session may take them over, which none does where the gateway `goes_away` to another server.
async fn part(plan: &Plan, session: &Session, state: &State, goes_away: bool) -> Result<(), Error> {
    if state.outlives_session(plan) && !goes_away {
        session.disconnect_without_delete_subscriptions().await
    } else {
        session.disconnect().await
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
    is_another: impl FnOnce() -> bool,
) -> (Halt, bool) {
    let mut served = 0;
    let mut is_another = Some(is_another);
    loop {
        let stop = outlet.stop.clone();
        let link = tokio::select! {
            () = stop.cancelled() => return (Halt::Stop, served > 0),
            link = watch.wait_for(|link| link.number > served && (link.up || link.number == u64::MAX) || link.leaving.is_some()) => link.map(|link| link.clone()),
        };
        let link = match link {
            Ok(Link {
                leaving: Some(leave), ..
            }) => return (Halt::Lost(leave.reason), served > 0),
            Ok(link) if link.up => link,
            Ok(link) => return (Halt::Lost(link.reason), served > 0),
            Err(_) => return (Halt::Lost(Reason::given_up()), served > 0),
        };
        served = link.number;
        if is_another.take().is_some_and(|is_another| is_another()) {
            // Numbers of subscriptions mean nothing on another server.
            state.server_started = None;
        }
        let link_watch = LinkWatch {
            link: watch.clone(),
            number: served,
        };
        let reason = match serve_connection(plan, session, link.resumed, link_watch, outlet, state).await {
            Halt::Stop => return (Halt::Stop, true),
            Halt::Lost(reason) => reason,
        };
        if watch.borrow().leaving.is_some() {
            return (Halt::Lost(reason), true);
        }
        // The connection may be up still, when only a request failed on it.
        let is_up = {
            let link = watch.borrow();
            link.number == served && link.up
        };
        if is_up {
            cutter.cut(reason.clone());
        }
        tracing::warn!(
            source = plan.name,
            see = reason.see,
            "the connection is lost: {reason}"
        );
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
        Err(error) => return Halt::Lost(Reason::failed("reading namespaces and limits", &error)),
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
            self.session.endpoint_info().endpoint.endpoint_url
        );
        let begun = Instant::now();
        if continuity == Continuity::New {
            self.state.owe_history(self.plan);
            self.break_off(None).await?;
        }
        let reach = self.reach();
        self.outlet.online(continuity, reach).await?;
        if self.plan.settings.mode == Mode::Poll {
            return Ok(());
        }
        if let Some(first) = first_missed {
            if self.state.owes_history() {
                // Before what is live, as the connection before would have.
                self.place(false).await?;
                self.backfill(None).await?;
            }
            self.catch_up(first).await?;
        }
        if let Err(error) = self.state.discarded.delete(self.session).await {
            return Err(self.lost_with("deleting a subscription", &error));
        }
        self.place(false).await?;
        self.backfill(Some(begun)).await
    }
}
