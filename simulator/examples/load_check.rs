//! Looks at the load as one client sees it: `load_check URL TAGS SECONDS` subscribes to every load tag with 10 ms publishing
//! and prints how many changes came, whether any is missing, doubled or out of order, and how old they were.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, anyhow};
use opcua::{
    client::{ClientBuilder, DataChangeCallback, IdentityToken},
    types::{
        DataValue, EndpointDescription, MessageSecurityMode, MonitoredItemCreateRequest, MonitoringMode,
        MonitoringParameters, NodeId, TimestampsToReturn, UserTokenPolicy, Variant,
    },
};

/// Tags of one subscription; a plant's client splits a hundred thousand tags as well.
const TAGS_A_SUBSCRIPTION: u32 = 10_000;

/// What was seen of the tags of one subscription.
#[derive(Default)]
struct Seen {
    last: Vec<i64>,
    received: u64,
    lost: u64,
    doubled_or_out_of_order: u64,
    /// Microseconds from the write to the callback.
    ages: Vec<u64>,
}

impl Seen {
    fn take(&mut self, tag: usize, value: &DataValue, measure: bool) {
        let counter = match value.value {
            Some(Variant::Int64(counter)) => counter,
            Some(Variant::Double(counter)) => whole(counter),
            _ => return,
        };
        let last = std::mem::replace(&mut self.last[tag], counter);
        // The first value is the state at the subscription's start.
        if last < 0 {
            return;
        }
        match counter - last {
            1 => {}
            ..=0 => self.doubled_or_out_of_order += 1,
            step => self.lost += step.unsigned_abs() - 1,
        }
        self.received += 1;
        if let Some(written) = value.source_timestamp.filter(|_| measure) {
            let written = written.as_chrono().timestamp_micros().unsigned_abs();
            let now = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
            self.ages.push(now.saturating_sub(written));
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "counters are whole and far below 2⁵³"
)]
fn whole(counter: f64) -> i64 {
    counter as i64
}

fn item(namespace: u16, tag: u32) -> MonitoredItemCreateRequest {
    let parameters = MonitoringParameters {
        // Zero would be replaced by a handle of the library's choice.
        client_handle: tag + 1,
        sampling_interval: 0.0,
        queue_size: 100,
        discard_oldest: true,
        ..Default::default()
    };
    let node = NodeId::new(namespace, format!("Load.T{tag:06}"));
    MonitoredItemCreateRequest::new(node.into(), MonitoringMode::Reporting, parameters)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, tags, seconds] = &arguments[..] else {
        return Err(anyhow!("wants URL TAGS SECONDS"));
    };
    let (tags, seconds): (u32, u64) = (tags.parse()?, seconds.parse()?);

    let mut client = ClientBuilder::new()
        .application_name("load check")
        .application_uri("urn:floorgate:load-check")
        .pki_dir(std::env::temp_dir().join("floorgate-load-check"))
        .min_publish_interval(Duration::from_millis(1))
        .max_message_size(64 << 20)
        .max_chunk_count(0)
        .max_array_length(1_000_000)
        .client()
        .map_err(|errors| anyhow!("client settings: {}", errors.join(", ")))?;
    let endpoint: EndpointDescription = (
        url.as_str(),
        "None",
        MessageSecurityMode::None,
        UserTokenPolicy::anonymous(),
    )
        .into();
    let (session, event_loop) = client
        .connect_to_endpoint_directly(endpoint, IdentityToken::Anonymous)
        .context("no connection")?;
    let event_loop = event_loop.spawn();
    session.wait_for_connection().await;
    let namespace = session
        .get_namespace_index(floorgate_simulator::NAMESPACE_URI)
        .await
        .context("no namespace")?;

    let measure = Arc::new(AtomicBool::new(false));
    let mut parts = Vec::new();
    for first in (0..tags).step_by(TAGS_A_SUBSCRIPTION as usize) {
        let count = TAGS_A_SUBSCRIPTION.min(tags - first);
        let seen = Arc::new(Mutex::new(Seen {
            last: vec![-1; count as usize],
            ..Seen::default()
        }));
        let (into, measure) = (Arc::clone(&seen), Arc::clone(&measure));
        let callback = DataChangeCallback::new(move |value, item| {
            let measure = measure.load(Ordering::Relaxed);
            if let Ok(mut seen) = into.lock() {
                seen.take((item.client_handle() - 1 - first) as usize, &value, measure);
            }
        });
        let subscription = session
            .create_subscription(Duration::from_millis(10), 10_000, 100, 0, 0, true, callback)
            .await?;
        for from in (first..first + count).step_by(1_000) {
            let items = (from..(from + 1_000).min(first + count))
                .map(|tag| item(namespace, tag))
                .collect();
            let created = session
                .create_monitored_items(subscription, TimestampsToReturn::Both, items)
                .await?;
            anyhow::ensure!(
                created.iter().all(|item| item.result.status_code.is_good()),
                "an item is refused"
            );
        }
        parts.push(seen);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    measure.store(true, Ordering::Relaxed);
    let start = Instant::now();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let elapsed = start.elapsed().as_secs_f64();

    let (mut total, mut ages) = (Seen::default(), Vec::new());
    for part in &parts {
        let mut part = part.lock().map_err(|_| anyhow!("a callback panicked"))?;
        total.received += part.received;
        total.lost += part.lost;
        total.doubled_or_out_of_order += part.doubled_or_out_of_order;
        ages.append(&mut part.ages);
    }
    ages.sort_unstable();
    let age = |per_mille: usize| {
        let place = ages.len().saturating_sub(1) * per_mille / 1_000;
        ages.get(place).map_or(0.0, |age| *age as f64 / 1e3)
    };
    println!(
        "{}",
        serde_json::json!({
            "changes_per_second": (ages.len() as f64 / elapsed).round(), "received": total.received, "lost": total.lost,
            "doubled_or_out_of_order": total.doubled_or_out_of_order,
            "age_ms": {"p50": age(500), "p99": age(990), "max": age(1_000)},
        })
    );
    let _ = session.disconnect().await;
    let _ = event_loop.await;
    Ok(())
}
