//! Notices a second gateway of the same name: a cloned machine, or a standby that was started by mistake.
//!
//! Each gateway is the static member of a group of its own, under its own name. A broker lets one process be that member: the one that joined
//! last. The other is told with its next heartbeat, and stops. The group reads nothing and commits nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::groups::GroupInfo;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use crate::client::Quiet;

/// How often a broker is asked whether this process is the member still.
const HEARTBEAT_MS: &str = "1000";
/// A member that is silent for this long is taken to be gone; brokers allow no less than 6 s by default.
const SESSION_MS: &str = "10000";
/// Pause before the place is asked for again.
const PAUSE: Duration = Duration::from_secs(1);
/// After this time a member that sends no heartbeats is certainly gone.
const GHOSTS_GONE: Duration = Duration::from_secs(15);
/// How long a broker may take to say who has the place.
const PATIENCE: Duration = Duration::from_secs(5);
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
        incarnation: &str,
        fenced: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        let own = format!("{}-{incarnation}-{}", group(gateway), std::process::id());
        let mut config = connection.clone();
        config
            .set("client.id", &own)
            .set("group.id", group(gateway))
            .set("group.instance.id", gateway)
            .set("heartbeat.interval.ms", HEARTBEAT_MS)
            .set("session.timeout.ms", SESSION_MS)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false");
        let (topics, named) = channel();
        let mut membership = Membership {
            config,
            gateway: gateway.to_owned(),
            own,
            named,
            topics: Vec::new(),
            told: Arc::default(),
        };
        std::thread::Builder::new()
            .name("kafka-fence".to_owned())
            .spawn(move || {
                if membership.keep() == End::Fenced {
                    fenced();
                }
            })?;
        Ok(Self { topics })
    }

    /// Names a topic that is there.
    pub(crate) fn name(&self, topic: &Arc<str>) {
        // A thread that has ended has told why.
        let _ = self.topics.send(Arc::clone(topic));
    }
}

/// The group of a gateway's name.
pub(crate) fn group(gateway: &str) -> String {
    format!("floorgate-{gateway}")
}

/// Why the membership ended.
#[derive(PartialEq, Eq)]
enum End {
    /// Another process has the place.
    Fenced,
    /// The client is no member any more, for whatever reason.
    Lost,
    /// The publisher stops, or the broker knows no membership.
    Stopped,
}

/// The membership, on its thread.
struct Membership {
    config: ClientConfig,
    gateway: String,
    /// The client's id: no other process has it.
    own: String,
    named: Receiver<Arc<str>>,
    topics: Vec<Arc<str>>,
    /// Whether it took part already.
    told: Arc<AtomicBool>,
}

impl Membership {
    /// Takes part until another process does in its place.
    fn keep(&mut self) -> End {
        let Ok(topic) = self.named.recv() else {
            return End::Stopped;
        };
        self.note(topic);
        loop {
            let end = match self.join() {
                Ok(client) => self.watch(&client),
                Err(error) => {
                    tracing::warn!(%error, see = "gateway-name-not-watched", "cannot look out for a gateway of the same name");
                    End::Lost
                }
            };
            if end == End::Stopped {
                return end;
            }
            // A client that rejoins after the broker was away is sometimes fenced by its own earlier request, or by one of a process
            // before it that came late. Neither sends heartbeats: it is gone when a member has to show itself.
            let Some(is_taken) = self.is_taken() else {
                return End::Stopped;
            };
            if is_taken {
                if self.is_over(GHOSTS_GONE) {
                    return End::Stopped;
                }
                match self.is_taken() {
                    Some(true) => return End::Fenced,
                    Some(false) => {}
                    None => return End::Stopped,
                }
            }
            if self.is_over(PAUSE) {
                return End::Stopped;
            }
        }
    }

    /// A topic is named again whenever it comes back.
    fn note(&mut self, topic: Arc<str>) {
        if !self.topics.contains(&topic) {
            self.topics.push(topic);
        }
    }

    /// Whether the publisher stops within this time.
    fn is_over(&mut self, within: Duration) -> bool {
        let end = Instant::now() + within;
        loop {
            match self
                .named
                .recv_timeout(end.saturating_duration_since(Instant::now()))
            {
                Ok(topic) => self.note(topic),
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
    }

    fn join(&self) -> KafkaResult<BaseConsumer<Member>> {
        let member = Member {
            gateway: self.gateway.clone(),
            told: Arc::clone(&self.told),
        };
        let client = BaseConsumer::from_config_and_context(&self.config, member)?;
        self.subscribe(&client)?;
        Ok(client)
    }

    /// A group has to be about topics: all of them, since one may be deleted.
    fn subscribe(&self, client: &BaseConsumer<Member>) -> KafkaResult<()> {
        let topics: Vec<&str> = self.topics.iter().map(|topic| &**topic).collect();
        client.subscribe(&topics)
    }

    fn watch(&mut self, client: &BaseConsumer<Member>) -> End {
        let mut told = false;
        loop {
            let known = self.topics.len();
            if self.is_over(Duration::ZERO) {
                return End::Stopped;
            }
            if self.topics.len() > known
                && let Err(error) = self.subscribe(client)
            {
                tracing::debug!(%error, "kafka group");
            }
            let news = client.poll(LOOK);
            match client.client().fatal_error() {
                Some((RDKafkaErrorCode::FencedInstanceId, _)) => return End::Lost,
                // A broker older than 2.3 knows no such members.
                Some((_, reason)) => {
                    tracing::warn!(
                        reason,
                        see = "gateway-name-not-watched",
                        "a gateway of the same name would not be noticed"
                    );
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
                    group = group(&self.gateway),
                    see = "gateway-name-not-watched",
                    "the gateway may not join its group, which needs READ on it: another gateway of the same name would not be noticed"
                );
            }
        }
    }

    /// Whether another process has the place; `None` where the publisher stops meanwhile. It is asked until somebody answers: to join without
    /// knowing it would drive out the process that came later, which is the one that goes on.
    fn is_taken(&mut self) -> Option<bool> {
        let mut told = false;
        loop {
            match self.holders() {
                Ok(holders) => {
                    let others = group(&self.gateway) + "-";
                    let is_other = |id: &String| id.starts_with(&others) && *id != self.own;
                    return Some(holders.iter().any(is_other));
                }
                Err(error) if !told => {
                    told = true;
                    tracing::warn!(%error, see = "gateway-name-not-watched", "cannot find out whether another gateway of this name publishes");
                }
                Err(_) => {}
            }
            if self.is_over(PAUSE) {
                return None;
            }
        }
    }

    /// The client ids of the group's members.
    fn holders(&self) -> KafkaResult<Vec<String>> {
        let mut config = self.config.clone();
        config.remove("group.instance.id");
        let client: BaseConsumer<Quiet> = BaseConsumer::from_config_and_context(&config, Quiet)?;
        let groups = client.fetch_group_list(Some(&group(&self.gateway)), PATIENCE)?;
        let members = groups.groups().iter().flat_map(GroupInfo::members);
        Ok(members.map(|member| member.client_id().to_owned()).collect())
    }
}

/// Takes part in the group and reads nothing.
struct Member {
    gateway: String,
    /// Whether one took part already.
    told: Arc<AtomicBool>,
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
