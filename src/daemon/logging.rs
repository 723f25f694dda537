//! Logs: readable lines on a terminal, priorities for journald, JSON where asked for.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
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
    let wanted = std::env::var("FLOORGATE_LOG").unwrap_or_default();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&wanted))
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

/// What is logged: what is wanted, and nothing of the libraries of OPC UA that is not wanted by a name of theirs.
///
/// They tell each lost connection, each message that cannot be read and each certificate that cannot be used at several levels and in several places; the
/// adapter tells it once, with the paragraph of the runbook. Those of Modbus and Kafka log in another way, which nobody listens to here.
fn filter(wanted: &str) -> EnvFilter {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse_lossy(wanted);
    // It is the beginning of `opcua_client`, `opcua_types` and all others.
    match "opcua=off".parse() {
        Ok(quiet) => filter.add_directive(quiet),
        Err(_) => filter,
    }
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Who is heard of those who each say an error, a bit of news and a detail.
    fn heard(wanted: &str) -> Vec<String> {
        macro_rules! say {
            ($($target:literal),*) => {$(
                tracing::event!(target: $target, Level::ERROR, "error of {}", $target);
                tracing::event!(target: $target, Level::INFO, "news of {}", $target);
                tracing::event!(target: $target, Level::DEBUG, "detail of {}", $target);
            )*};
        }
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter(wanted))
            .with_writer(move || writer.clone())
            .event_format(Journal)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            say!(
                "opcua_client::session",
                "opcua_core",
                "opcua_crypto",
                "opcua_types::encoding",
                "floorgate_adapter"
            );
        });
        let log = log.0.lock().expect("no panic");
        let lines = String::from_utf8_lossy(&log);
        lines.lines().map(|line| line[3..].to_owned()).collect()
    }

    #[test]
    fn libraries_of_opc_ua_are_heard_by_their_names_alone() {
        let own = ["error of floorgate_adapter", "news of floorgate_adapter"];
        assert_eq!(heard(""), own);
        assert_eq!(heard("debug"), [own[0], own[1], "detail of floorgate_adapter"]);
        assert_eq!(
            heard("info,opcua_types=error"),
            ["error of opcua_types::encoding", own[0], own[1]]
        );
    }
}
