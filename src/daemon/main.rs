//! floorgate: from the plant floor to Kafka.

mod browse;
mod check;
mod cli;
mod control;
mod demo;
mod diff;
mod draft_file;
mod ending;
mod engine;
mod event_line;
mod events;
mod exit;
mod explain;
mod figures;
#[cfg(test)]
mod hostile_tests;
mod http;
mod kafka;
mod logging;
mod opening;
mod operator;
mod pki;
mod plain;
mod printing;
mod probe;
mod record;
mod registry;
mod reload;
mod run;
mod runbook;
mod scroll;
mod simulate;
mod sources;
mod standing;
mod supervisor;
mod table;
mod tags;
mod test;
mod wanted;

use clap::{CommandFactory as _, Parser};

use cli::{Cli, Command, SchemaOf};
use logging::Audience;

/// Memory for Rust and for the C libraries alike. Records are made on one thread and freed on another, which costs glibc's allocator a tenth of
/// the gateway's CPU time.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let cli = Cli::parse();
    let audience = match cli.command {
        Command::Run(_) => logging::start(cli.log_format),
        _ => Audience::People,
    };
    let code = match dispatch(cli.command, audience) {
        Ok(()) => exit::SUCCESS,
        Err(error) => {
            if !exit::is_told(&error) {
                match audience {
                    Audience::People => eprintln!("floorgate: {error:#}"),
                    Audience::Machines => tracing::error!("{error:#}"),
                }
            }
            exit::code(&error)
        }
    };
    exit::leave(code)
}

fn dispatch(command: Command, audience: Audience) -> anyhow::Result<()> {
    match command {
        Command::Run(arguments) => run::run(&arguments.config, audience),
        Command::Check(arguments) => check::check(&arguments.config),
        Command::Diff(arguments) => diff::diff(&arguments),
        Command::Test(arguments) => test::test(&arguments),
        Command::Browse(options) => browse::browse(&options),
        Command::Demo(options) => demo::demo(&options),
        Command::Pki(command) => pki::pki(&command),
        Command::Probe(options) => probe::probe(&options),
        Command::Outbox(command) => operator::outbox(&command),
        Command::Dlq(command) => operator::dlq(&command),
        Command::Replay {
            config,
            which,
            from_topic,
            topic,
            json,
        } => operator::replay(&config, &which, from_topic.as_deref(), &topic, json),
        Command::Record(options) => record::record(&options),
        Command::Events(options) => events::events(&options),
        Command::Explain(options) => explain::explain(&options),
        Command::Sources(options) => sources::sources(&options),
        Command::Tags(options) => tags::tags(&options),
        Command::Runbook(options) => runbook::runbook(&options),
        Command::Simulate(options) => simulate::simulate(&options),
        Command::Schema { of } => {
            print!(
                "{}",
                match of {
                    SchemaOf::Config => floorgate_config::settings_schema(registry::ADAPTERS),
                    SchemaOf::Mapping => floorgate_config::mapping_schema(registry::ADAPTERS),
                    SchemaOf::Test => floorgate_workbench::cases::schema(),
                    SchemaOf::Events => floorgate_config::events_schema(),
                }
            );
            Ok(())
        }
        Command::Reference => {
            print!("{}", floorgate_config::reference(registry::ADAPTERS));
            Ok(())
        }
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "floorgate", &mut std::io::stdout());
            Ok(())
        }
        Command::Version => {
            println!("floorgate {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}
