//! Notices a second gateway of the same name: a cloned machine, or a standby that was started by mistake.
//!
//! Each gateway is the static member of a group of its own, under its own name. A broker lets one process be that member: the one that joined
//! last. The other is told with its next heartbeat, and stops. The group reads nothing and commits nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

/// How often a broker is asked whether this process is the member still.
const HEARTBEAT_MS: &str = "1000";
/// A member that is silent for this long is taken to be gone; brokers allow no less than 6 s by default.
const SESSION_MS: &str = "10000";
/// Pause before a client that cannot be made is tried again.
const PAUSE: Duration = Duration::from_secs(10);
/// One look for news.
const LOOK: Duration = Duration::from_millis(500);

/// Holds the membership, on a thread of its own.
pub(crate) struct Fence {
    topics: Sender<Arc<str>>,
}

impl Fence {
    /// Starts the thread; `fenced` is called from it when another process has taken this one's place.
    pub(crate) fn start(
        connection: &ClientConfig,
        gateway: &str,
        fenced: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        let mut config = connection.clone();
        config
            .set("group.id", group(gateway))
            .set("group.instance.id", gateway)
            .set("heartbeat.interval.ms", HEARTBEAT_MS)
            .set("session.timeout.ms", SESSION_MS)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false");
        let gateway = gateway.to_owned();
        let (topics, named) = channel();
        std::thread::Builder::new()
            .name("kafka-fence".to_owned())
            .spawn(move || {
                if keep(&config, &gateway, &named) == End::Fenced {
                    fenced();
                }
            })?;
        Ok(Self { topics })
    }

    /// Names a topic that is there. A group has to be about one; the first that is named will do.
    pub(crate) fn name(&self, topic: &Arc<str>) {
        // A thread that has ended has told why.
        let _ = self.topics.send(Arc::clone(topic));
    }
}

/// The group of a gateway's name.
fn group(gateway: &str) -> String {
    format!("floorgate-{gateway}")
}

/// Why the membership ended.
#[derive(PartialEq, Eq)]
enum End {
    Fenced,
    /// The publisher stops, or the broker knows no membership.
    Stopped,
}

fn keep(config: &ClientConfig, gateway: &str, named: &Receiver<Arc<str>>) -> End {
    let group = group(gateway);
    let Ok(topic) = named.recv() else {
        return End::Stopped;
    };
    let client = loop {
        let member = Member {
            gateway: gateway.to_owned(),
            told: AtomicBool::new(false),
        };
        let made = BaseConsumer::from_config_and_context(config, member).and_then(|client| {
            client.subscribe(&[&topic])?;
            Ok(client)
        });
        match made {
            Ok(client) => break client,
            Err(error) => tracing::warn!(group, %error, "cannot look out for a gateway of the same name"),
        }
        std::thread::sleep(PAUSE);
        if named.try_recv() == Err(TryRecvError::Disconnected) {
            return End::Stopped;
        }
    };
    let mut told = false;
    loop {
        if named.try_recv() == Err(TryRecvError::Disconnected) {
            return End::Stopped;
        }
        let news = client.poll(LOOK);
        match client.client().fatal_error() {
            Some((RDKafkaErrorCode::FencedInstanceId, _)) => return End::Fenced,
            // A broker older than 2.3 knows no such members.
            Some((_, reason)) => {
                tracing::warn!(group, reason, "a gateway of the same name would not be noticed");
                return End::Stopped;
            }
            None => {}
        }
        if let Some(Err(error)) = news
            && error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed)
            && !told
        {
            told = true;
            tracing::warn!(
                group,
                "the gateway may not join its group, which needs READ on it: another gateway of the same name would not be noticed"
            );
        }
    }
}

/// Takes part in the group and reads nothing.
struct Member {
    gateway: String,
    /// Whether it took part already.
    told: AtomicBool,
}

impl ClientContext for Member {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        // The producer's client tells the same of the brokers.
        tracing::debug!(target: "librdkafka", facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka group");
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, client: &BaseConsumer<Self>, _: RDKafkaRespErr, _: &mut TopicPartitionList) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::info!("holds the place of gateway {} in Kafka", self.gateway);
        }
        if let Err(error) = client.assign(&TopicPartitionList::new()) {
            tracing::debug!(%error, "kafka group");
        }
    }
}
