//! The floor of the OPC UA half: a bare client with one subscription, which does nothing with what it receives.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use opcua::client::{ClientBuilder, DataChangeCallback, IdentityToken, Session};
use opcua::types::{
    EndpointDescription, MessageSecurityMode, MonitoredItemCreateRequest, MonitoringMode,
    MonitoringParameters, NodeId, TimestampsToReturn, UserTokenPolicy, Variant,
};

use crate::consume::say;
use crate::observer::{Observer, Reading, RecordSize, Said, Watch, now};
use crate::stop::Stop;

/// Subscribe to all load tags, and say what came when.
#[derive(Debug, Args)]
pub struct Subscribe {
    /// Address of the server
    #[arg(long)]
    endpoint: String,
    /// Namespace of the load tags
    #[arg(long)]
    namespace: String,
    /// Folder for the client's files
    #[arg(long)]
    folder: PathBuf,
    /// Publishing interval
    #[arg(long)]
    publishing_ms: u32,
    /// Sampling interval, 0 for as fast as the server can
    #[arg(long)]
    sampling_ms: u32,
    #[command(flatten)]
    watch: Watch,
}

/// Items of one request: it then fits into one chunk of 64 KiB.
const CHUNK: usize = 500;

impl Subscribe {
    /// Runs until the plant's end is told.
    pub fn run(self, stop: &Stop) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(self.observe(stop))
    }

    async fn observe(self, stop: &Stop) -> Result<()> {
        let session = self.connect().await?;
        let observer = Arc::new(Mutex::new(Observer::new(self.watch.clone())));
        let seen = Arc::clone(&observer);
        let callback = DataChangeCallback::new(move |value, item| {
            let mut observer = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let time = value
                .source_timestamp
                .map(|time| time.as_chrono().timestamp_micros());
            match (value.value, time) {
                (Some(Variant::Int64(value)), Some(time)) => {
                    let tag = item.client_handle() as usize - 1;
                    observer.see(Reading { tag, value, time }, now());
                }
                _ => observer.see_foreign(),
            }
        });
        let interval = Duration::from_millis(self.publishing_ms.into());
        let subscription = session
            .create_subscription(interval, 1000, 100, 0, 0, true, callback)
            .await?;
        let namespace = session.get_namespace_index(&self.namespace).await?;
        say(&Said::Ready)?;
        let tags: Vec<u32> = (0..u32::try_from(self.watch.tags)?).collect();
        for chunk in tags.chunks(CHUNK) {
            let items = chunk.iter().map(|tag| {
                let parameters = MonitoringParameters {
                    client_handle: tag + 1,
                    sampling_interval: self.sampling_ms.into(),
                    queue_size: 100,
                    ..Default::default()
                };
                let node = NodeId::new(namespace, format!("Load.T{tag:06}"));
                MonitoredItemCreateRequest::new(node.into(), MonitoringMode::Reporting, parameters)
            });
            let created = session
                .create_monitored_items(subscription, TimestampsToReturn::Both, items.collect())
                .await?;
            for item in created {
                let status = item.result.status_code;
                ensure!(status.is_good(), "the server refuses an item: {status}");
            }
        }
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let mut observer = observer.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(said) = observer.advance(now()) {
                say(&said)?;
            }
            if observer.is_over_now() {
                return say(&Said::Report(observer.report(RecordSize::default())));
            }
            if stop.is_wanted() {
                bail!("stopped with {} tags not seen", observer.unseen());
            }
        }
    }

    async fn connect(&self) -> Result<Arc<Session>> {
        let client = ClientBuilder::new()
            .application_name("bench")
            .application_uri("urn:floorgate:bench")
            .pki_dir(&self.folder)
            .create_sample_keypair(false)
            .trust_server_certs(true)
            .min_publish_interval(Duration::from_millis(1))
            .max_message_size(32 << 20)
            .max_chunk_count(512)
            .max_array_length(100_000)
            .session_retry_limit(0)
            .client();
        let mut client =
            client.map_err(|errors| anyhow::anyhow!("client settings: {}", errors.join(", ")))?;
        let endpoint: EndpointDescription = (
            self.endpoint.as_str(),
            "None",
            MessageSecurityMode::None,
            UserTokenPolicy::anonymous(),
        )
            .into();
        let (session, events) = client
            .connect_to_endpoint_directly(endpoint, IdentityToken::Anonymous)
            .with_context(|| format!("cannot connect to {}", self.endpoint))?;
        events.spawn();
        let connected = tokio::time::timeout(Duration::from_secs(30), session.wait_for_connection()).await;
        ensure!(connected == Ok(true), "no session with {}", self.endpoint);
        Ok(session)
    }
}
