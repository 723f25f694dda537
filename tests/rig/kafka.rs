//! An Apache Kafka broker.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigEntry, ConfigSource, NewPartitions, NewTopic,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::authority::Authority;
use crate::folder::Folder;
use crate::installation::kafka_jars;
use crate::listeners::{Listener, Listeners};
use crate::peer::peer_command;
use crate::ports::free_port;
use crate::process::{Process, Signal};
use crate::proxy::Proxy;
use crate::wait::{Patience, until};

/// How a broker is started.
#[derive(Debug)]
struct Manner {
    /// Options of the Java machine.
    java: &'static [&'static str],
    /// Lines of the broker's configuration.
    settings: &'static str,
}

/// Soon there, for tests.
const QUICK_TO_START: Manner = Manner {
    java: &[
        "-Xms128m",
        "-Xmx512m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Xshare:auto",
    ],
    settings: "",
};
/// Fast once it is there, for measuring. It writes its data to the disk steadily: left to the kernel, half a minute's records go out at
/// once, and whoever else syncs on that disk waits for them, which a gateway with a disk of its own never does.
const QUICK_TO_ANSWER: Manner = Manner {
    java: &[
        "-Xms1g",
        "-Xmx1g",
        "-XX:+UseG1GC",
        "-XX:MaxGCPauseMillis=10",
        "-Xshare:auto",
    ],
    settings: "log.flush.interval.ms=250\nlog.flush.scheduler.interval.ms=250\n\
        log.initial.task.delay.ms=1000\n",
};

/// Who a node is, and where it is found.
#[derive(Clone, Copy, Debug)]
struct Place {
    id: usize,
    /// Where it listens.
    port: u16,
    /// Where it tells clients to look for it.
    advertised: u16,
    controller: u16,
}

impl Place {
    fn new(id: usize) -> Result<Self> {
        let port = free_port()?;
        Ok(Self {
            id,
            port,
            advertised: port,
            controller: free_port()?,
        })
    }
}

/// A node that is broker and controller (`KRaft`), with topics created on first use, three partitions each.
#[derive(Debug)]
pub struct Kafka {
    port: u16,
    process: Option<Process>,
    manner: Manner,
    /// The protected listeners, where there are any.
    listeners: Option<Listeners>,
    // Deleted after the process is gone.
    folder: Folder,
}

impl Kafka {
    /// The broker that tests share; whoever stops one starts its own. It runs until the test process ends.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Kafka, String>> = OnceLock::new();
        let kafka = SHARED.get_or_init(|| Self::start().map_err(|error| format!("{error:#}")));
        kafka.as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// Starts a broker on ports and data of its own, and waits until it answers.
    pub fn start() -> Result<Self> {
        Self::start_with(Place::new(1)?, QUICK_TO_START, None)
    }

    /// Does the same with a broker that is reached through a proxy alone.
    pub fn start_behind(proxy: &Proxy) -> Result<Self> {
        let place = Place {
            port: proxy.broker(),
            advertised: proxy.port(),
            ..Place::new(1)?
        };
        Self::start_with(place, QUICK_TO_START, None)
    }

    /// Starts nodes that have all records together: what most of them have is acknowledged, and as long as most are there nothing is amiss.
    pub fn cluster(nodes: usize) -> Result<Vec<Self>> {
        let places = (1..=nodes).map(Place::new).collect::<Result<Vec<_>>>()?;
        let new = |place: &Place| Self::new(*place, &places, QUICK_TO_START, None);
        let mut nodes = places.iter().map(new).collect::<Result<Vec<_>>>()?;
        // None of them answers alone.
        for node in &mut nodes {
            node.spawn()?;
        }
        for node in &mut nodes {
            node.answers()?;
        }
        Ok(nodes)
    }

    /// The broker that tests of protected connections share: beside the listener without protection it has one of
    /// each [`Listener`]. It runs until the test process ends.
    pub fn shared_protected() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Kafka, String>> = OnceLock::new();
        let kafka = SHARED.get_or_init(|| {
            Listeners::new()
                .and_then(|listeners| Self::start_with(Place::new(1)?, QUICK_TO_START, Some(listeners)))
                .map_err(|error| format!("{error:#}"))
        });
        kafka.as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// Starts a broker as [`Kafka::start`] does, one that takes longer to start and is fast then.
    pub fn start_for_measuring() -> Result<Self> {
        Self::start_with(Place::new(1)?, QUICK_TO_ANSWER, None)
    }

    fn start_with(place: Place, manner: Manner, listeners: Option<Listeners>) -> Result<Self> {
        let mut kafka = Self::new(place, &[place], manner, listeners)?;
        kafka.resume()?;
        Ok(kafka)
    }

    /// Makes one of several nodes, without starting it.
    fn new(place: Place, all: &[Place], manner: Manner, listeners: Option<Listeners>) -> Result<Self> {
        let folder = Folder::new("kafka")?;
        let Place {
            id,
            port,
            advertised,
            controller,
        } = place;
        let voter = |place: &Place| format!("{}@127.0.0.1:{}", place.id, place.controller);
        let voters: Vec<String> = all.iter().map(voter).collect();
        let (replicas, most) = (all.len().to_string(), (all.len() / 2 + 1).to_string());
        let protected = listeners.as_ref().map(Listeners::addresses).unwrap_or_default();
        let mut settings = String::new();
        for (key, value) in [
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", id.to_string()),
            (
                "listeners",
                format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{protected}"),
            ),
            (
                "advertised.listeners",
                format!("PLAINTEXT://127.0.0.1:{advertised}{protected}"),
            ),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("controller.quorum.voters", voters.join(",")),
            ("log.dirs", folder.path().join("data").display().to_string()),
            ("num.partitions", "3".to_owned()),
            ("default.replication.factor", replicas.clone()),
            ("min.insync.replicas", most.clone()),
            ("auto.create.topics.enable", "true".to_owned()),
            ("offsets.topic.num.partitions", "1".to_owned()),
            ("offsets.topic.replication.factor", replicas.clone()),
            ("transaction.state.log.num.partitions", "1".to_owned()),
            ("transaction.state.log.replication.factor", replicas.clone()),
            ("transaction.state.log.min.isr", most.clone()),
            (
                "share.coordinator.state.topic.replication.factor",
                replicas.clone(),
            ),
            ("share.coordinator.state.topic.min.isr", most.clone()),
            ("group.initial.rebalance.delay.ms", "0".to_owned()),
            // A broker that was killed may come back after this, instead of after 9 s.
            ("broker.session.timeout.ms", "3000".to_owned()),
            ("log.cleaner.enable", "false".to_owned()),
        ] {
            writeln!(settings, "{key}={value}")?;
        }
        settings.push_str(manner.settings);
        if let Some(listeners) = &listeners {
            settings.push_str(&listeners.settings(&folder)?);
        }
        folder.write("server.properties", &settings)?;
        let kafka = Self {
            port: advertised,
            process: None,
            manner,
            listeners,
            folder,
        };
        kafka.format()?;
        Ok(kafka)
    }

    /// `host:port`, for `bootstrap.servers`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `host:port` of a protected listener; an error when this broker has none.
    pub fn address(&self, listener: Listener) -> Result<String> {
        Ok(self.protected()?.address(listener))
    }

    /// Has [`Listener::Expired`] show a certificate that has not expired, from the next connection on.
    pub fn renew_certificate(&self) -> Result<()> {
        self.protected()?;
        let renewed = self
            .folder
            .path()
            .join(Listener::Tls.store())
            .display()
            .to_string();
        let place = Listener::Expired.place_of_certificate();
        let change = AlterConfig::new(ResourceSpecifier::Broker(1)).set(&place, &renewed);
        self.alter(&change)
    }

    /// Forbids [`Listener::USER`] to write to a topic, or allows it again.
    pub fn forbid_writing(&self, topic: &str, forbid: bool) -> Result<()> {
        let mut command = peer_command("access.py")?;
        let what = if forbid { "forbid" } else { "allow" };
        let output = command
            .args([&self.bootstrap(), what, topic, Listener::USER.0])
            .output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// The authority that signed the certificates of the protected listeners, and those that they ask clients for.
    pub fn authority(&self) -> Result<&Authority> {
        Ok(self.protected()?.authority())
    }

    /// Stops it in order (SIGTERM).
    pub fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the broker does not run")?;
        process.signal(Signal::Term)?;
        process.wait(Patience::Long.duration())?;
        Ok(())
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the broker does not run")?.kill()
    }

    /// Starts it again after `stop` or `kill`, on the same port and data.
    pub fn resume(&mut self) -> Result<()> {
        self.spawn()?;
        self.answers()
    }

    fn spawn(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the broker runs");
        let settings = self.folder.path().join("server.properties");
        let mut command = self.java("kafka.Kafka")?;
        command.arg(settings);
        let log = self.folder.path().join("kafka.log");
        self.process = Some(Process::start("kafka", &command, &log)?);
        Ok(())
    }

    /// Waits until it answers.
    fn answers(&mut self) -> Result<()> {
        let consumer = self.consumer()?;
        let process = self.running()?;
        until("the broker's answer", Patience::Long, || {
            ensure!(process.is_running()?, "kafka has ended: {}", process.output()?);
            let metadata = consumer.fetch_metadata(None, Duration::from_millis(500));
            Ok(metadata
                .ok()
                .filter(|known| !known.brokers().is_empty())
                .map(drop))
        })
    }

    fn consumer(&self) -> Result<BaseConsumer> {
        Ok(ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap())
            .set("log_level", "0")
            .create()?)
    }

    /// The place in its cluster of the node that leads a partition, from 0 on.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<Option<usize>> {
        let metadata = self
            .consumer()?
            .fetch_metadata(Some(topic), Duration::from_secs(30))?;
        let partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
        let leader = partitions
            .filter(|of| of.id() == partition)
            .map(MetadataPartition::leader)
            .next();
        Ok(leader.and_then(|id| usize::try_from(id - 1).ok()))
    }

    /// Creates a topic with so many partitions.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<()> {
        let admin = self.admin()?;
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        let results = block_on(admin.create_topics([&topic], &options))?;
        for result in results {
            result.map_err(|(name, error)| anyhow!("cannot create {name}: {error}"))?;
        }
        Ok(())
    }

    /// Adds partitions to a topic, so that it has this many.
    pub fn add_partitions(&self, name: &str, partitions: usize) -> Result<()> {
        let admin = self.admin()?;
        let more = NewPartitions::new(name, partitions);
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        for result in block_on(admin.create_partitions([&more], &options))? {
            result.map_err(|(name, error)| anyhow!("cannot add partitions to {name}: {error}"))?;
        }
        Ok(())
    }

    /// Deletes a topic with all that is in it, and waits until it is gone.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        let admin = self.admin()?;
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        for result in block_on(admin.delete_topics(&[name], &options))? {
            result.map_err(|(name, error)| anyhow!("cannot delete {name}: {error}"))?;
        }
        Ok(())
    }

    /// Deletes all records of a topic, as their age would.
    pub fn expire(&self, name: &str) -> Result<()> {
        let admin = self.admin()?;
        let metadata = admin
            .inner()
            .fetch_metadata(Some(name), Duration::from_secs(30))?;
        let mut records = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
            records.add_partition_offset(name, partition.id(), Offset::End)?;
        }
        let deleted = block_on(admin.delete_records(&records, &AdminOptions::new()))?;
        for partition in deleted.elements() {
            partition.error()?;
        }
        Ok(())
    }

    /// Lets it stand still (SIGSTOP): connections stay open, and nothing answers.
    pub fn pause(&mut self) -> Result<()> {
        self.running()?.signal(Signal::Stop)
    }

    /// Lets it go on after [`Kafka::pause`].
    pub fn go_on(&mut self) -> Result<()> {
        self.running()?.signal(Signal::Continue)
    }

    fn running(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the broker does not run")
    }

    /// Gives a topic one setting of its own, and takes back any other that it had.
    pub fn set_topic(&self, name: &str, key: &str, value: &str) -> Result<()> {
        self.alter(&AlterConfig::new(ResourceSpecifier::Topic(name)).set(key, value))
    }

    fn alter(&self, change: &AlterConfig<'_>) -> Result<()> {
        let results = block_on(self.admin()?.alter_configs([change], &AdminOptions::new()))?;
        for result in results {
            result.map_err(|(what, error)| anyhow!("cannot change {what:?}: {error}"))?;
        }
        Ok(())
    }

    /// A setting that a topic has of its own; nothing where the broker's counts.
    pub fn topic_setting(&self, name: &str, key: &str) -> Result<Option<String>> {
        let topic = ResourceSpecifier::Topic(name);
        let results = block_on(self.admin()?.describe_configs([&topic], &AdminOptions::new()))?;
        let settings = results.into_iter().next().context("no answer")?;
        let settings = settings.map_err(|error| anyhow!("cannot look at {name}: {error}"))?;
        let own = |entry: &&ConfigEntry| entry.source == ConfigSource::DynamicTopic;
        Ok(settings
            .get(key)
            .filter(own)
            .and_then(|entry| entry.value.clone()))
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        Ok(ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap())
            .create()?)
    }

    /// Gives the data folder its identity, as the first start of a broker demands.
    fn format(&self) -> Result<()> {
        let mut command = self.java("kafka.tools.StorageTool")?;
        command.args(["format", "--cluster-id", "Zmxvb3JnYXRlLXRlc3RzMQ", "--config"]);
        command.arg(self.folder.path().join("server.properties"));
        if self.listeners.is_some() {
            for user in Listeners::scram_users() {
                command.args(["--add-scram", &user]);
            }
        }
        let output = command.output().context("cannot start java")?;
        ensure!(
            output.status.success(),
            "cannot format: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn protected(&self) -> Result<&Listeners> {
        self.listeners
            .as_ref()
            .context("the broker has no protected listeners")
    }

    fn java(&self, class: &str) -> Result<Command> {
        let mut command = Command::new("java");
        command
            .args(self.manner.java)
            .args(["-XX:-UsePerfData", "-Djava.awt.headless=true"])
            .arg("-cp")
            .arg(kafka_jars()?.join("*"))
            .arg(class)
            .current_dir(self.folder.path());
        Ok(command)
    }
}

/// Waits for a future of rdkafka, which completes on a thread of its own.
fn block_on<F: Future>(future: F) -> F::Output {
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
