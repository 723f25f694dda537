//! `/metrics`, `/status`, `/tags`, `/healthz` and `/readyz`.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use floorgate_core::plan::Priority;
use floorgate_metrics::Metrics;
use floorgate_publisher::Status;
use globset::Glob;
use prometheus::{Encoder, TextEncoder};
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::engine::{Message, Pulse, Standing};
use crate::standing::{Standings, TagRow};
use crate::wanted::Wanted;

/// What the pages tell about.
#[derive(Clone)]
pub struct Pages {
    /// Whether the engine lives.
    pub pulse: Arc<Pulse>,
    /// How publishing stands.
    pub publishing: Arc<dyn Fn() -> Status + Send + Sync>,
    /// How sources and tags stand.
    pub standings: Arc<Standings>,
    /// Who knows of tags what is known of them.
    pub engine: Sender<Message>,
    /// What became of a damaged outbox at this start.
    pub salvaged: Option<String>,
}

/// How far the start has come.
#[derive(Clone)]
enum Stage {
    /// The outbox is not open, for this reason.
    Waits(String),
    /// The engine runs.
    Runs(Pages),
}

/// The pages. They answer once there is something to tell.
pub struct Front {
    listener: Option<TcpListener>,
    metrics: Metrics,
    stop: CancellationToken,
    stage: watch::Sender<Stage>,
}

/// What a request is answered from.
#[derive(Clone)]
struct Source {
    metrics: Metrics,
    stage: watch::Receiver<Stage>,
}

impl Front {
    /// Listens at an address, until `stop`.
    pub async fn bind(
        address: SocketAddr,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address} for HTTP; set http.listen to a free address")
        })?;
        tracing::info!(address = %listener.local_addr()?, "HTTP listens");
        let (stage, _) = watch::channel(Stage::Waits(String::new()));
        Ok(Self {
            listener: Some(listener),
            metrics,
            stop,
            stage,
        })
    }

    /// Whether the pages answer.
    pub fn is_up(&self) -> bool {
        self.listener.is_none()
    }

    /// Says that the gateway waits for its outbox, and why.
    pub fn wait(&mut self, reason: &str) {
        self.show(Stage::Waits(reason.to_owned()));
    }

    /// Tells about the engine from now on.
    pub fn run(&mut self, pages: Pages) {
        self.show(Stage::Runs(pages));
    }

    fn show(&mut self, stage: Stage) {
        self.stage.send_replace(stage);
        if let Some(listener) = self.listener.take() {
            let source = Source {
                metrics: self.metrics.clone(),
                stage: self.stage.subscribe(),
            };
            tokio::spawn(serve(listener, source, self.stop.clone()));
        }
    }
}

/// Serves until `stop`.
async fn serve(listener: TcpListener, source: Source, stop: CancellationToken) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/tags", get(all_tags))
        .route("/tags/{*names}", get(tags))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(source);
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await;
    if let Err(problem) = served {
        tracing::error!(%problem, see = "gateway-side-door", "HTTP ended");
    }
}

async fn metrics(State(source): State<Source>) -> Response {
    let mut families = source.metrics.registry.gather();
    if matches!(&*source.stage.borrow(), Stage::Waits(_)) {
        // What is in the outbox is not known.
        families.retain(|family| !family.name().starts_with("floorgate_outbox_"));
    }
    let mut text = Vec::new();
    match TextEncoder::new().encode(&families, &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(problem) => (StatusCode::INTERNAL_SERVER_ERROR, problem.to_string()).into_response(),
    }
}

/// How sources stand, as `floorgate sources --json` has them, and the tags that are bad or late.
async fn status(State(source): State<Source>) -> Response {
    let stage = source.stage.borrow().clone();
    match stage {
        Stage::Runs(pages) => {
            let standings = &pages.standings;
            let page = json!({
                "sources": standings.rows(),
                "bad_tags": standings.bad(),
                "late_tags": standings.late(),
            });
            json_page(StatusCode::OK, &page)
        }
        Stage::Waits(reason) => waits_page(&reason),
    }
}

/// How all tags stand.
async fn all_tags(State(source): State<Source>) -> Response {
    standing_tags(&source, &[]).await
}

/// How the tags stand whose names match a pattern.
async fn tags(State(source): State<Source>, Path(names): Path<String>) -> Response {
    match Glob::new(&names) {
        Ok(names) => standing_tags(&source, &[names]).await,
        Err(problem) => (StatusCode::BAD_REQUEST, format!("{problem}\n")).into_response(),
    }
}

/// The page of tags. It is written as it is: its tree would take far more memory than its text.
#[derive(Serialize)]
struct AllTags {
    tags: Vec<TagRow>,
}

async fn standing_tags(source: &Source, names: &[Glob]) -> Response {
    let stage = source.stage.borrow().clone();
    let pages = match stage {
        Stage::Runs(pages) => pages,
        Stage::Waits(reason) => return waits_page(&reason),
    };
    let told = async {
        let wanted = Wanted::of(names).ok()?;
        let (told, tags) = oneshot::channel();
        pages.engine.send(Message::Tags(wanted, told)).ok()?;
        let tags = tags.await.ok()?;
        // Many tags make much text.
        let rows = move || {
            serde_json::to_string(&AllTags {
                tags: pages.standings.tags(tags),
            })
            .ok()
        };
        tokio::task::spawn_blocking(rows).await.ok()?
    };
    match told.await {
        Some(page) => json_page(StatusCode::OK, &page),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the gateway stops\n").into_response(),
    }
}

fn waits_page(reason: &str) -> Response {
    let waits = json!({ "waits_for_outbox": reason });
    json_page(StatusCode::SERVICE_UNAVAILABLE, &waits)
}

fn json_page(status: StatusCode, page: &impl fmt::Display) -> Response {
    let text = format!("{page}\n");
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// The process is fit to go on: restarting it would not help.
async fn healthz(State(source): State<Source>) -> Response {
    let is_alive = match &*source.stage.borrow() {
        Stage::Waits(_) => true,
        Stage::Runs(pages) => pages.pulse.is_alive(),
    };
    if is_alive {
        "ok\n".into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the engine gives no sign of life\n",
        )
            .into_response()
    }
}

/// Events can be taken in. Kafka being away is no reason not to be ready: the outbox takes them. A source being away is none either: nothing
/// here would bring it back. Both are told all the same.
async fn readyz(State(source): State<Source>) -> Response {
    let stage = source.stage.borrow().clone();
    let pages = match stage {
        Stage::Runs(pages) => pages,
        Stage::Waits(reason) => {
            let text = format!("not ready\noutbox: {reason}\n");
            return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
        }
    };
    let publishing = (pages.publishing)();
    let mut text = String::new();
    let standing = pages.pulse.standing();
    let ready = pages.pulse.is_alive() && standing == Standing::Good;
    text.push_str(if ready { "ready\n" } else { "not ready\n" });
    if !pages.pulse.is_alive() {
        text.push_str("engine: no sign of life\n");
    }
    text.push_str(match standing {
        Standing::Good => "",
        Standing::Full => "outbox: no space left on its disk, or it is as large as `outbox.max_mib` lets it be; sources wait\n",
        Standing::Locked => "outbox: another program holds its lock, sources wait\n",
    });
    text.push_str(match pages.pulse.left_out() {
        None => "",
        Some(Priority::High) => {
            "outbox: nearly full of waiting events, only changes of high priority make events\n"
        }
        Some(_) => "outbox: nearly full of waiting events, changes of low priority make no events\n",
    });
    if let Some(line) = &pages.salvaged {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str(if publishing.kafka_up {
        "kafka: up\n"
    } else {
        "kafka: not reachable, events are stored\n"
    });
    for problem in publishing.problems {
        text.push_str("kafka: ");
        text.push_str(&problem);
        text.push('\n');
    }
    for name in source.metrics.disconnected() {
        text.push_str("source ");
        text.push_str(&name);
        text.push_str(": not connected, its log says why\n");
    }
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, text).into_response()
}
