//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::demo::DemoOptions;
use crate::logging::LogFormat;

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
Exit codes: 0 ended as asked, 1 unexpected error, 2 wrong command line, 3 configuration refused,
4 storage failed, 5 another process has the store.";

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
    /// Show a simulated plant, a broker and the gateway at work, in one command.
    #[command(
        after_help = "Examples:\n  floorgate demo --for 20s\n  floorgate demo --lines 20 --rate 10 --kafka localhost:9092"
    )]
    Demo(DemoOptions),
    /// The gateway's own key and certificate, and the servers it trusts (OPC UA).
    #[command(subcommand)]
    Pki(PkiCommand),
    /// Print the JSON Schema of the configuration or of mappings, for editors.
    Schema {
        /// Which schema.
        #[arg(value_enum)]
        of: SchemaOf,
    },
    /// Print the reference of every setting as Markdown.
    Reference,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SchemaOf {
    /// `floorgate.yaml`.
    Config,
    /// The files under `mappings/`.
    Mapping,
}

#[derive(Debug, Subcommand)]
pub enum PkiCommand {
    /// Make the gateway's key and certificate, unless they are there.
    Init(ConfigArgs),
    /// Show the own certificate, the trusted servers, and those that were refused.
    Show(ConfigArgs),
    /// Trust a server whose certificate was refused.
    #[command(
        after_help = "Example: floorgate pki trust 3a5f…  (the thumbprint that `pki show` prints; its beginning is enough)"
    )]
    Trust {
        /// Thumbprint (or its beginning), or a certificate file.
        certificate: String,
        #[command(flatten)]
        config: ConfigArgs,
    },
}
