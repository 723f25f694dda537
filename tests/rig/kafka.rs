//! An Apache Kafka broker.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::authority::Authority;
use crate::folder::Folder;
use crate::installation::kafka_jars;
use crate::listeners::{Listener, Listeners};
use crate::ports::free_port;
use crate::process::{Process, Signal};
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

/// One node that is broker and controller (`KRaft`), with topics created on first use, three partitions each.
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
        Self::start_with(QUICK_TO_START, None)
    }

    /// The broker that tests of protected connections share: beside the listener without protection it has one of
    /// each [`Listener`]. It runs until the test process ends.
    pub fn shared_protected() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Kafka, String>> = OnceLock::new();
        let kafka = SHARED.get_or_init(|| {
            Listeners::new()
                .and_then(|listeners| Self::start_with(QUICK_TO_START, Some(listeners)))
                .map_err(|error| format!("{error:#}"))
        });
        kafka.as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// Starts a broker as [`Kafka::start`] does, one that takes longer to start and is fast then.
    pub fn start_for_measuring() -> Result<Self> {
        Self::start_with(QUICK_TO_ANSWER, None)
    }

    fn start_with(manner: Manner, listeners: Option<Listeners>) -> Result<Self> {
        let folder = Folder::new("kafka")?;
        let (port, controller) = (free_port()?, free_port()?);
        let protected = listeners.as_ref().map(Listeners::addresses).unwrap_or_default();
        let mut settings = String::new();
        for (key, value) in [
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", "1".to_owned()),
            (
                "listeners",
                format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{protected}"),
            ),
            (
                "advertised.listeners",
                format!("PLAINTEXT://127.0.0.1:{port}{protected}"),
            ),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("controller.quorum.voters", format!("1@127.0.0.1:{controller}")),
            ("log.dirs", folder.path().join("data").display().to_string()),
            ("num.partitions", "3".to_owned()),
            ("auto.create.topics.enable", "true".to_owned()),
            ("offsets.topic.num.partitions", "1".to_owned()),
            ("offsets.topic.replication.factor", "1".to_owned()),
            ("transaction.state.log.num.partitions", "1".to_owned()),
            ("transaction.state.log.replication.factor", "1".to_owned()),
            ("transaction.state.log.min.isr", "1".to_owned()),
            ("share.coordinator.state.topic.replication.factor", "1".to_owned()),
            ("share.coordinator.state.topic.min.isr", "1".to_owned()),
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
        let mut kafka = Self {
            port,
            process: None,
            manner,
            listeners,
            folder,
        };
        kafka.format()?;
        kafka.resume()?;
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
        ensure!(self.process.is_none(), "the broker runs");
        let settings = self.folder.path().join("server.properties");
        let mut command = self.java("kafka.Kafka")?;
        command.arg(settings);
        let mut process = Process::start("kafka", &command, &self.folder.path().join("kafka.log"))?;
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap())
            .set("log_level", "0")
            .create()?;
        until("the broker's answer", Patience::Long, || {
            ensure!(process.is_running()?, "kafka has ended: {}", process.output()?);
            let metadata = consumer.fetch_metadata(None, Duration::from_millis(500));
            Ok(metadata
                .ok()
                .filter(|known| !known.brokers().is_empty())
                .map(drop))
        })?;
        self.process = Some(process);
        Ok(())
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
        let change = AlterConfig::new(ResourceSpecifier::Topic(name)).set(key, value);
        let results = block_on(self.admin()?.alter_configs([&change], &AdminOptions::new()))?;
        for result in results {
            result.map_err(|(_, error)| anyhow!("cannot set {key} of {name}: {error}"))?;
        }
        Ok(())
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
