//! Logs: readable lines on a terminal, priorities for journald, JSON where asked for.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// journald's form under systemd, text elsewhere.
    #[default]
    Auto,
    /// One readable line each.
    Text,
    /// One JSON object each.
    Json,
    /// Priority prefixes that journald understands, no times (journald has its own).
    Journal,
}

/// Who reads what is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Text may have several lines and excerpts.
    People,
    /// One record for each thing that is said.
    Machines,
}

/// Starts logging to standard error. `FLOORGATE_LOG` filters by level and module (`info`, `floorgate=debug`).
pub fn start(format: LogFormat) -> Audience {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .with_env_var("FLOORGATE_LOG")
        .from_env_lossy()
        // The client library reports each lost connection at several levels; the adapter says it once.
        .add_directive(quiet("opcua_client=off"))
        .add_directive(quiet("opcua_core=off"))
        .add_directive(quiet("opcua_crypto=error"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let format = match format {
        LogFormat::Auto if std::env::var_os("JOURNAL_STREAM").is_some() => LogFormat::Journal,
        other => other,
    };
    match format {
        LogFormat::Journal => builder.event_format(Journal).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Auto | LogFormat::Text => {
            builder
                .with_target(false)
                .with_ansi(std::io::stderr().is_terminal())
                .init();
            return Audience::People;
        }
    }
    Audience::Machines
}

fn quiet(directive: &str) -> tracing_subscriber::filter::Directive {
    directive
        .parse()
        .unwrap_or_else(|_| tracing::level_filters::LevelFilter::INFO.into())
}

/// `<priority>message fields`, as sd-daemon(3) has it.
struct Journal;

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        write!(writer, "<{priority}>")?;
        for span in context
            .event_scope()
            .into_iter()
            .flat_map(tracing_subscriber::registry::Scope::from_root)
        {
            write!(writer, "{}", span.name())?;
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                && !fields.is_empty()
            {
                write!(writer, "{{{fields}}}")?;
            }
            write!(writer, ": ")?;
        }
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
