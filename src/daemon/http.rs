//! `/metrics`, `/healthz` and `/readyz`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use floorgate_core::plan::Priority;
use floorgate_metrics::Metrics;
use floorgate_publisher::Status;
use prometheus::{Encoder, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::engine::{Pulse, Standing};

/// What the pages tell about.
#[derive(Clone)]
pub struct Pages {
    /// All metrics.
    pub metrics: Metrics,
    /// Whether the engine lives.
    pub pulse: Arc<Pulse>,
    /// How publishing stands.
    pub publishing: Arc<dyn Fn() -> Status + Send + Sync>,
    /// What became of a damaged outbox at this start.
    pub salvaged: Option<String>,
}

/// Listens; the address is the one really bound.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, anyhow::Error> {
    use anyhow::Context as _;
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} for HTTP; set http.listen to a free address"))
}

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, pages: Pages, stop: CancellationToken) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(pages);
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await;
    if let Err(problem) = served {
        tracing::error!(%problem, "HTTP ended");
    }
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&pages.metrics.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(problem) => (StatusCode::INTERNAL_SERVER_ERROR, problem.to_string()).into_response(),
    }
}

/// The process is fit to go on: restarting it would not help.
async fn healthz(State(pages): State<Pages>) -> Response {
    if pages.pulse.is_alive() {
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
async fn readyz(State(pages): State<Pages>) -> Response {
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
    for source in pages.metrics.disconnected() {
        text.push_str("source ");
        text.push_str(&source);
        text.push_str(": not connected, its log says why\n");
    }
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, text).into_response()
}
