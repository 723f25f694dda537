//! Settings of a source.

use std::path::Path;
use std::time;

use floorgate_yaml::{Draft, Duration, Node, Problems, Span, Spanned, draft};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::address::Table;
use crate::decode::WordOrder;
use crate::endpoint::{self, Endpoint, Serial};
use crate::planner::Limits;
use crate::tls::{Identity, Tls};

/// How a Modbus device, or a link with several units, is reached and read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Where the device is: `tcp://HOST[:PORT]` (Modbus TCP, port 502 unless said), `tls://HOST[:PORT]` (Modbus TCP
    /// Security, port 802), `udp://HOST[:PORT]` (port 502), `rtu+tcp://HOST:PORT` or `ascii+tcp://HOST:PORT` (frames of a
    /// serial line through a TCP gateway or terminal server), `rtu:///dev/ttyUSB0` or `ascii:///dev/ttyUSB0` (a serial line).
    pub connect: Spanned<String>,
    /// A second way to the same device, of the same form as `connect`. It is taken when the other cannot be reached or
    /// no unit answers there, and kept until that is so of it.
    pub backup: Option<Spanned<String>>,
    /// Certificates; only with `tls://`, which needs them.
    pub tls: Option<Spanned<Tls>>,
    /// The serial line; only with `rtu://` and `ascii://`.
    pub serial: Option<Spanned<Serial>>,
    /// Unit id (slave address) of tags that name none: 0 to 255 with TCP, TLS and UDP, 1 to 247 otherwise.
    #[serde(default = "unit")]
    pub unit: Spanned<u8>,
    /// How often tags are read that say nothing else with `every`.
    #[serde(default = "poll_interval")]
    pub poll_interval: Spanned<Duration>,
    /// How long an answer, or a connection, may take. After it the connection is dropped and made anew.
    #[serde(default = "timeout")]
    pub timeout: Spanned<Duration>,
    /// How often a request without an answer is sent again, on a new connection, before the unit counts as lost: 0 to 10.
    /// By default 0 with TCP and TLS, which repeat by themselves, and 1 otherwise, where a frame is lost now and then.
    #[schemars(with = "Option<u8>", range(max = 10))]
    pub retries: Option<Spanned<u8>>,
    /// How long a new connection is left alone before the first request.
    #[serde(default)]
    pub pause_after_connect: Duration,
    /// Least time between an answer and the next request. RTU on a serial line never has less than 3.5 characters.
    #[serde(default)]
    pub request_pause: Duration,
    /// Least time between an answer and a request to another unit: how long the line's drivers take to let go of it.
    #[serde(default)]
    pub turnaround: Duration,
    /// Each value is read in a request of its own; only tags of the very same registers share one.
    #[serde(default)]
    pub one_request_per_value: bool,
    /// A value of several registers counts only when two reads in a row agree on it. Of tags that do not say it themselves.
    #[serde(default)]
    pub read_twice: bool,
    /// A unit that does not answer is tried on a second connection, so that the others lose no time; only with `tcp://`,
    /// `tls://` and `udp://`. `false` where the device takes one connection only.
    #[serde(default = "second_connection")]
    pub second_connection: bool,
    /// Most registers of one request, 1 to 125.
    #[serde(default = "max_registers")]
    #[schemars(with = "u16", range(min = 1, max = 125))]
    pub max_registers: Spanned<u16>,
    /// Most coils or discrete inputs of one request, 1 to 2000.
    #[serde(default = "max_bits")]
    #[schemars(with = "u16", range(min = 1, max = 2000))]
    pub max_bits: Spanned<u16>,
    /// Most neighbouring registers that no tag names and that may be read over to save a request (for coils and
    /// discrete inputs sixteen times as many). 0 reads only what is named.
    #[serde(default)]
    #[schemars(with = "u16", range(max = 124))]
    pub max_gap: Spanned<u16>,
    /// The address of the first register in the device's documentation: 0 as on the wire, or 1.
    #[serde(default)]
    #[schemars(with = "u8", range(max = 1))]
    pub base: Spanned<u8>,
    /// Word order of tags that name none.
    #[serde(default)]
    pub word_order: WordOrder,
    /// Longest pause between attempts to reach a lost device or a unit that does not answer. Pauses begin at 50 ms,
    /// double, and are lengthened by chance to up to twice their length.
    #[serde(default = "backoff_max")]
    pub backoff_max: Spanned<Duration>,
    /// How often a tag that the device refuses is tried again.
    #[serde(default = "retry_refused")]
    pub retry_refused: Spanned<Duration>,
}

const fn spanned<T>(value: T) -> Spanned<T> {
    Spanned {
        value,
        span: Span {
            file: floorgate_yaml::FileId(0),
            line: 0,
            column: 0,
            offset: 0,
            len: 0,
        },
    }
}
fn unit() -> Spanned<u8> {
    spanned(1)
}
const fn second_connection() -> bool {
    true
}
fn poll_interval() -> Spanned<Duration> {
    spanned(Duration::from_millis(100))
}
fn timeout() -> Spanned<Duration> {
    spanned(Duration::from_secs(1))
}
fn max_registers() -> Spanned<u16> {
    spanned(MOST_REGISTERS)
}
fn max_bits() -> Spanned<u16> {
    spanned(MOST_BITS)
}
fn backoff_max() -> Spanned<Duration> {
    spanned(Duration::from_secs(30))
}
fn retry_refused() -> Spanned<Duration> {
    spanned(Duration::from_secs(60))
}
/// Most registers that one request can ask for (MODBUS Application Protocol V1.1b3 §6.3, §6.4).
pub(crate) const MOST_REGISTERS: u16 = 125;
/// Most coils or discrete inputs that one request can ask for (V1.1b3 §6.1, §6.2).
pub(crate) const MOST_BITS: u16 = 2000;
/// Shortest interval of polling: below it a timer of the operating system is no schedule.
const SHORTEST_INTERVAL: time::Duration = time::Duration::from_millis(1);

/// Settings that passed every check.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub endpoint: Endpoint,
    /// The second way to it.
    pub backup: Option<Endpoint>,
    /// Certificates, with `tls://`.
    pub identity: Option<Identity>,
    pub unit: u8,
    pub poll_interval: time::Duration,
    pub timeout: time::Duration,
    pub retries: u8,
    pub pause_after_connect: time::Duration,
    pub request_pause: time::Duration,
    pub turnaround: time::Duration,
    pub one_request_per_value: bool,
    pub read_twice: bool,
    pub second_connection: bool,
    pub max_registers: u16,
    pub max_bits: u16,
    pub max_gap: u16,
    pub base: u8,
    pub word_order: WordOrder,
    pub backoff_max: time::Duration,
    pub retry_refused: time::Duration,
}

impl Checked {
    /// What a request to a table may be.
    pub(crate) fn limits(&self, table: Table) -> Limits {
        if table == Table::Fifo {
            // A queue is read by its address alone.
            Limits { most: 1, gap: 0 }
        } else if table.has_bits() {
            Limits {
                most: self.max_bits.into(),
                gap: 16 * u32::from(self.max_gap),
            }
        } else {
            Limits {
                most: self.max_registers.into(),
                gap: self.max_gap.into(),
            }
        }
    }

    /// What addresses are checked against where the settings cannot be read: the defaults.
    pub(crate) fn assumed() -> Self {
        Self {
            endpoint: Endpoint::Tcp(String::new()),
            backup: None,
            identity: None,
            unit: *unit(),
            poll_interval: poll_interval().get(),
            timeout: timeout().get(),
            retries: 0,
            pause_after_connect: time::Duration::ZERO,
            request_pause: time::Duration::ZERO,
            turnaround: time::Duration::ZERO,
            one_request_per_value: false,
            read_twice: false,
            second_connection: second_connection(),
            max_registers: MOST_REGISTERS,
            max_bits: MOST_BITS,
            max_gap: 0,
            base: 0,
            word_order: WordOrder::default(),
            backoff_max: backoff_max().get(),
            retry_refused: retry_refused().get(),
        }
    }
}

/// Decodes and checks. What is wrong is recorded; what is right is returned, with defaults in place of the rest, so
/// that addresses can be checked against it all the same.
pub(crate) fn check(node: &Node, base: &Path, problems: &mut Problems) -> Option<Checked> {
    let before = problems.list().len();
    let Draft {
        value: mut settings,
        whole,
    } = draft::<Settings>(node, problems)?;
    let is_sure = |key| problems.are_silent_on(key, node, before);
    // Where `tls` is a slip of the pen, that it is missing would be said twice.
    let has_certificates = is_sure("tls") && is_sure("connect");
    if whole {
        let checked = check_values(&settings, base, problems);
        if has_certificates {
            check_certificates(&settings, &checked, problems);
        }
        return Some(checked);
    }
    settings.serial = settings.serial.filter(|_| is_sure("serial"));
    settings.backup = settings.backup.filter(|_| is_sure("backup"));
    let mut found = Problems::default();
    let checked = check_values(&settings, base, &mut found);
    if has_certificates {
        check_certificates(&settings, &checked, &mut found);
    }
    problems.adopt_placed(found, None);
    Some(checked)
}

/// A setting, or its default where it does not stand in the file.
fn or_default<T: Copy>(setting: Spanned<T>, default: T) -> T {
    if setting.span == Span::default() {
        default
    } else {
        setting.value
    }
}

fn check_values(settings: &Settings, base: &Path, problems: &mut Problems) -> Checked {
    let assumed = Checked::assumed();
    let endpoint = endpoint::read(&settings.connect, settings.serial.as_ref(), problems);
    let backup = endpoint.as_ref().and_then(|endpoint| {
        endpoint::check_serial(endpoint, settings.serial.as_ref(), problems);
        check_backup(endpoint, settings, problems)
    });
    within(
        "max_registers",
        settings.max_registers,
        1,
        MOST_REGISTERS,
        problems,
    );
    within("max_bits", settings.max_bits, 1, MOST_BITS, problems);
    within("max_gap", settings.max_gap, 0, MOST_REGISTERS - 1, problems);
    if let Some(retries) = settings.retries
        && retries.value > 10
    {
        problems
            .error(
                retries.span,
                format!("`retries: {}` is out of range", retries.value),
            )
            .hint("0 to 10");
    }
    if settings.base.value > 1 {
        problems
            .error(
                settings.base.span,
                format!("`base: {}` is neither 0 nor 1", settings.base.value),
            )
            .hint("0 where the documentation counts registers from 0, 1 where it counts from 1");
    }
    at_least(
        "poll_interval",
        settings.poll_interval,
        SHORTEST_INTERVAL,
        problems,
    );
    at_least(
        "timeout",
        settings.timeout,
        time::Duration::from_millis(5),
        problems,
    );
    at_least(
        "backoff_max",
        settings.backoff_max,
        time::Duration::from_millis(10),
        problems,
    );
    at_least(
        "retry_refused",
        settings.retry_refused,
        time::Duration::from_millis(10),
        problems,
    );
    let is_serial = endpoint.as_ref().is_some_and(Endpoint::is_serial);
    check_unit(settings.unit, is_serial, problems);
    let repeats = is_serial || endpoint.as_ref().is_some_and(Endpoint::is_unproven);
    Checked {
        unit: or_default(settings.unit, assumed.unit),
        poll_interval: settings.poll_interval.get(),
        timeout: settings.timeout.get(),
        retries: settings
            .retries
            .map_or(u8::from(repeats), |retries| retries.value),
        pause_after_connect: settings.pause_after_connect.get(),
        request_pause: settings.request_pause.get(),
        turnaround: settings.turnaround.get(),
        one_request_per_value: settings.one_request_per_value,
        read_twice: settings.read_twice,
        second_connection: settings.second_connection,
        max_registers: or_default(settings.max_registers, MOST_REGISTERS).clamp(1, MOST_REGISTERS),
        max_bits: or_default(settings.max_bits, MOST_BITS).clamp(1, MOST_BITS),
        max_gap: settings.max_gap.value,
        base: settings.base.value.min(1),
        word_order: settings.word_order,
        backoff_max: settings.backoff_max.get(),
        retry_refused: settings.retry_refused.get(),
        endpoint: endpoint.unwrap_or(assumed.endpoint),
        backup,
        identity: settings.tls.as_ref().map(|tls| Identity::new(&tls.value, base)),
    }
}

/// A second address of the same form.
fn check_backup(endpoint: &Endpoint, settings: &Settings, problems: &mut Problems) -> Option<Endpoint> {
    let written = settings.backup.as_ref()?;
    let backup = endpoint::read(written, settings.serial.as_ref(), problems)?;
    if backup == *endpoint {
        problems
            .error(
                written.span,
                format!("`backup: {backup}` is where `connect` leads to"),
            )
            .hint("give the second address of the device, or remove it");
    } else if backup.scheme() != endpoint.scheme() {
        problems
            .error(
                written.span,
                format!("`backup: {backup}` is of another form than `connect: {endpoint}`"),
            )
            .hint(format!("write `{}://…`", endpoint.scheme()));
    }
    Some(backup)
}

/// That there are certificates with TLS, and only with it.
fn check_certificates(settings: &Settings, checked: &Checked, problems: &mut Problems) {
    let endpoint = &checked.endpoint;
    match (&settings.tls, endpoint) {
        (None, Endpoint::Tls(_)) => {
            problems
                .error(settings.connect.span, format!("`{endpoint}` needs `tls`"))
                .hint("write `tls: {ca_file: …, certificate_file: …, key_file: …}`; both sides show a certificate");
        }
        // What stands in for an address that could not be read has no host.
        (Some(tls), other) if !matches!(other, Endpoint::Tls(_)) && *other != Checked::assumed().endpoint => {
            problems
                .error(tls.span, format!("`tls` has no meaning with `{other}`"))
                .hint("write `tls://…` in `connect`, or remove it");
        }
        _ => {}
    }
}

/// On a serial line 0 is the broadcast, which nobody answers, and 248 to 255 are reserved (V1.02 §2.2).
pub(crate) fn check_unit(unit: Spanned<u8>, is_serial: bool, problems: &mut Problems) {
    if !is_serial {
        return;
    }
    match unit.value {
        0 => {
            problems
                .error(
                    unit.span,
                    "unit 0 is the broadcast address of RTU, which no device answers",
                )
                .hint("give the device's slave address, 1 to 247");
        }
        248.. => {
            problems
                .warning(unit.span, format!("unit {} is reserved in RTU", unit.value))
                .hint("slave addresses are 1 to 247");
        }
        _ => {}
    }
}

/// An interval of polling.
pub(crate) fn check_interval(key: &str, interval: Spanned<Duration>, problems: &mut Problems) {
    at_least(key, interval, SHORTEST_INTERVAL, problems);
}

fn within(key: &str, number: Spanned<u16>, least: u16, most: u16, problems: &mut Problems) {
    if !(least..=most).contains(&number.value) {
        problems
            .error(number.span, format!("`{key}: {}` is out of range", number.value))
            .hint(format!("{least} to {most}"));
    }
}

fn at_least(key: &str, duration: Spanned<Duration>, least: time::Duration, problems: &mut Problems) {
    if duration.get() < least {
        problems
            .error(duration.span, format!("`{key}: {}` is too short", duration.value))
            .hint(format!("at least {least:?}"));
    }
}
