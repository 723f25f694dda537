//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::browse::{self, BrowseArgs};
use crate::demo::DemoOptions;
use crate::diff::DiffArgs;
use crate::events::EventsOptions;
use crate::explain::ExplainOptions;
use crate::logging::LogFormat;
use crate::pki::PkiCommand;
use crate::probe::ProbeOptions;
use crate::record::RecordOptions;
use crate::runbook::RunbookOptions;
use crate::simulate::SimulateOptions;
use crate::sources::SourcesOptions;
use crate::tags::TagsOptions;
use crate::test::TestArgs;

/// Turns what machines say into business events on Kafka, each once and in order.
///
/// floorgate reads PLCs and equipment over OPC UA and Modbus, finds what changed, makes business events of it by mappings
/// in YAML, keeps them in a durable outbox and publishes them to Kafka.
#[derive(Debug, Parser)]
#[command(name = "floorgate", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// How log lines look; `FLOORGATE_LOG` sets what is logged (`info`, `debug`, `floorgate=debug`).
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        env = "FLOORGATE_LOG_FORMAT",
        hide_env = true
    )]
    pub log_format: LogFormat,
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 ended as asked, 1 unexpected error or a test failed, 2 wrong command line, 3 configuration refused,
4 storage failed, 5 another process has the store, 6 another gateway of this name took over.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway.
    ///
    /// Reads the configuration, opens the outbox, and runs until SIGTERM or SIGINT. SIGHUP reads configuration and mappings
    /// again; when they are wrong, the old ones stay.
    #[command(after_help = "Example: floorgate run --config /etc/floorgate/floorgate.yaml")]
    Run(ConfigArgs),
    /// Check configuration and mappings without opening a socket.
    ///
    /// Reports everything that is wrong in one run, each with file, line, column and a hint.
    #[command(after_help = "Example: floorgate check --config config/floorgate.yaml")]
    Check(ConfigArgs),
    /// Run the tests of mappings: given these values at these times, exactly these events.
    ///
    /// Tests are YAML beside the mapping, in files that end in `.test.yaml`. No gateway, broker or device is needed.
    #[command(after_help = "\
Examples:
  floorgate test
  floorgate test mappings/filling-line.test.yaml --filter order --coverage
  floorgate test mappings --config /etc/floorgate/floorgate.yaml --junit report.xml
  floorgate test mappings/filling-line.yaml --record monday.rec --at 90s --for 30s >mappings/monday.test.yaml

Exit codes: 0 all passed, 1 one failed, 3 a file of tests or its mapping is wrong.")]
    Test(TestArgs),
    /// Print the events that a mapping would have made of a recording.
    ///
    /// Time is the recording's own. The mapping that was recorded makes the same events, byte by byte; another one is given the tags that it
    /// reads, found by source and address.
    #[command(
        after_help = "Examples:\n  floorgate simulate monday.rec\n  floorgate simulate monday.rec --mapping new.yaml --type WorkOrderStatusChanged\n  floorgate simulate monday.rec --against new.yaml"
    )]
    Simulate(SimulateOptions),
    /// Show what changes for consumers between two mappings: rules, topics, keys, fields.
    ///
    /// Takes mappings, or settings whose mappings are meant. Rules are the same by their ids; what is only inside (guards, addresses,
    /// deadbands) is told apart from what consumers see.
    #[command(after_help = "\
Examples:
  floorgate diff /etc/floorgate/floorgate.yaml config/floorgate.yaml
  git show HEAD:mappings/conveyor.yaml >/tmp/old.yaml; floorgate diff /tmp/old.yaml mappings/conveyor.yaml --exit-code

Exit codes: 0 compared, 1 with --exit-code where they differ, 3 one of them is wrong.")]
    Diff(DiffArgs),
    /// Look at an OPC UA server and write a first mapping of what it has.
    ///
    /// Walks the server's nodes, recognises what is built alike as templates, takes over types, units, ranges and names of values, and maps
    /// what companion specifications say to standard events. It reads only.
    #[command(after_help = browse::EXAMPLES)]
    Browse(Box<BrowseArgs>),
    /// Look at a Modbus device: units, readable ranges, and each value in all types and word orders.
    ///
    /// It reads gently and never writes: functions 1 to 4 and 43/14, one request at a time, with a pause after each.
    #[command(after_help = crate::probe::EXAMPLES)]
    Probe(Box<ProbeOptions>),
    /// The gateway's own key and certificate, and the servers it trusts (OPC UA).
    #[command(subcommand)]
    Pki(PkiCommand),
    /// Show how sources stand: state and since when, the device's own words, what flows and how fast.
    ///
    /// As the gateway that runs knows them.
    #[command(after_help = crate::sources::EXAMPLES)]
    Sources(SourcesOptions),
    /// Show the values of tags, as the gateway that runs knows them.
    ///
    /// Each with its quality, how old it is, how often it comes and which rules it feeds. What is not known is `unknown`.
    #[command(
        after_help = "Examples:\n  floorgate tags\n  floorgate tags 'filling-line/2/*' --watch\n  floorgate tags '*/status' --watch | tee status.txt"
    )]
    Tags(TagsOptions),
    /// Say what to do about a message of the log.
    ///
    /// Warnings and errors carry a name, `see="opcua-server-not-trusted"`: what it means, what it mostly comes from, and what to
    /// do, step by step, in words for who is called at night.
    #[command(after_help = crate::runbook::EXAMPLES)]
    Runbook(RunbookOptions),
    /// Show events as they come.
    ///
    /// From the outbox, in which each event is before it is published; or from Kafka, as a consumer gets it.
    #[command(
        after_help = "Examples:\n  floorgate events\n  floorgate events --type WorkOrderStatusChanged --subject order/WO-4711\n  floorgate events --from-kafka --from 2026-05-04T06:00:00Z --no-follow --json"
    )]
    Events(EventsOptions),
    /// Say why an event was made, and what became of it.
    ///
    /// The rule and its line in the mapping, what changed and what was known beside it, the four times, its place in its lane, and where it is
    /// in Kafka. The outbox keeps events for a while after they were delivered.
    #[command(
        after_help = "Example: floorgate explain 2f6c1d0e  (the event's id, as `ce_id` has it; its beginning is enough)"
    )]
    Explain(ExplainOptions),
    /// Record what sources say, with times and quality, in a file.
    ///
    /// The gateway that runs goes on with its work and sends copies; where none runs, its sources are connected to. `floorgate simulate`
    /// plays the file. What could not be taken in time is left out, and the file says where.
    #[command(after_help = "Example: floorgate record --output monday.rec --for 10m")]
    Record(RecordOptions),
    /// Look into the outbox, whether the gateway runs or not.
    #[command(subcommand)]
    Outbox(OutboxCommand),
    /// Events that Kafka refused for good.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Send events again out of what the outbox keeps, marked `floorgate_replayed`.
    ///
    /// They keep their ids, so that a consumer can tell them from new ones, and go to the topic that is named. What that topic has itself
    /// is not meant, unless `--from-topic` names it too.
    #[command(
        after_help = "Example: floorgate replay --from 2026-05-04T06:00:00Z --to 2026-05-04T07:00:00Z --topic acme.busan.replay"
    )]
    Replay {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        which: Selecting,
        /// Only events of this topic.
        #[arg(long, value_name = "TOPIC")]
        from_topic: Option<String>,
        /// The topic that they go to.
        #[arg(long)]
        topic: String,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show a simulated plant, a broker and the gateway at work, in one command.
    #[command(
        after_help = "Examples:\n  floorgate demo --for 20s\n  floorgate demo --lines 20 --rate 10 --kafka localhost:9092"
    )]
    Demo(DemoOptions),
    /// Print the JSON Schema of the configuration, of mappings or of their tests, for editors.
    Schema {
        /// Which schema.
        #[arg(value_enum)]
        of: SchemaOf,
    },
    /// Print the reference of every setting as Markdown.
    Reference,
    /// Print the completion script of a shell.
    #[command(after_help = "Example: floorgate completion bash | sudo tee /etc/bash_completion.d/floorgate")]
    Completion {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the version.
    Version,
}

/// Where the configuration is.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file.
    #[arg(
        long,
        short,
        value_name = "FILE",
        default_value = "config/floorgate.yaml",
        env = "FLOORGATE_CONFIG"
    )]
    pub config: PathBuf,
}

/// Which events are shown: those to which all of it applies.
#[derive(Clone, Debug, Default, Args)]
pub struct Showing {
    /// Events of this topic.
    #[arg(long)]
    pub topic: Option<String>,
    #[command(flatten)]
    pub which: Selecting,
}

/// Which events are meant: those to which all of it applies.
#[derive(Clone, Debug, Default, Args)]
pub struct Selecting {
    /// Events of this type, such as `WorkOrderStatusChanged`.
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Events about this, as in `ce_subject`.
    #[arg(long)]
    pub subject: Option<String>,
    /// Events derived at this time or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Events derived before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Events that are not delivered yet.
    #[arg(long)]
    pub waiting: bool,
}

#[derive(Debug, Subcommand)]
pub enum OutboxCommand {
    /// How lanes stand: what is stored, delivered, waiting, and what holds it up.
    Status {
        #[command(flatten)]
        config: ConfigArgs,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show the newest events.
    #[command(after_help = "Example: floorgate outbox tail --follow --type WorkOrderStatusChanged")]
    Tail {
        #[command(flatten)]
        config: ConfigArgs,
        /// Print one JSON object a line, with headers and value.
        #[arg(long)]
        json: bool,
        /// How many.
        #[arg(short = 'n', long, default_value_t = 20, value_name = "NUMBER")]
        count: usize,
        /// Go on with events as they come.
        #[arg(short, long)]
        follow: bool,
        #[command(flatten)]
        which: Showing,
    },
    /// Print events as one JSON object a line, lane by lane in order.
    #[command(after_help = "Example: floorgate outbox export --waiting >waiting.jsonl")]
    Export {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        which: Showing,
    },
    /// Use all partitions of a topic to which some were added.
    ///
    /// A key may change its partition by it, so new events of the topic wait until all that are stored are delivered; then the partitions
    /// that it has are used. Let consumers catch up before: one that is behind may read a key's later events from another partition first.
    #[command(after_help = "Example: floorgate outbox repartition acme.busan.mes.work-order.v1")]
    Repartition {
        #[command(flatten)]
        config: ConfigArgs,
        /// The topic.
        topic: String,
    },
    /// Check that the store is whole: its pages, its lanes, every event.
    Verify {
        #[command(flatten)]
        config: ConfigArgs,
        /// Print one JSON object for each finding.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// List dead letters.
    List {
        #[command(flatten)]
        config: ConfigArgs,
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Show a dead letter, with headers and value.
    Show {
        #[command(flatten)]
        config: ConfigArgs,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        /// Its number, as `dlq list` shows it.
        number: u64,
    },
    /// Send dead letters again as new events, marked `floorgate_replayed`.
    Replay {
        #[command(flatten)]
        config: ConfigArgs,
        /// Their numbers.
        numbers: Vec<u64>,
        /// All that there are now.
        #[arg(long)]
        all: bool,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Forget dead letters.
    Drop {
        #[command(flatten)]
        config: ConfigArgs,
        /// Their numbers.
        numbers: Vec<u64>,
        /// All that there are now.
        #[arg(long)]
        all: bool,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SchemaOf {
    /// `floorgate.yaml`.
    Config,
    /// The files under `mappings/`.
    Mapping,
    /// The tests of mappings beside them, `*.test.yaml`.
    Test,
    /// The data of the standard events, for who consumes them.
    Events,
}
