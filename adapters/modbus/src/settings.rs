//! Settings of a source.

use std::fmt;
use std::time;

use floorgate_yaml::{Draft, Duration, Node, Problems, Span, Spanned, Within, draft};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Table;
use crate::decode::WordOrder;
use crate::planner::Limits;

/// How a Modbus device, or a link with several units, is reached and read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Where the device is: `tcp://HOST[:PORT]` (Modbus TCP, port 502 unless said), `rtu+tcp://HOST:PORT` (RTU frames
    /// through a TCP gateway or terminal server) or `rtu:///dev/ttyUSB0` (a serial line).
    pub connect: Spanned<String>,
    /// The serial line; only with `rtu://`.
    pub serial: Option<Spanned<Serial>>,
    /// Unit id (slave address) of tags that name none: 0 to 255 with TCP, 1 to 247 with RTU.
    #[serde(default = "unit")]
    pub unit: Spanned<u8>,
    /// How often tags are read that say nothing else with `every`.
    #[serde(default = "poll_interval")]
    pub poll_interval: Spanned<Duration>,
    /// How long an answer, or a connection, may take. After it the connection is dropped and made anew.
    #[serde(default = "timeout")]
    pub timeout: Spanned<Duration>,
    /// How often a request without an answer is sent again, on a new connection, before the unit counts as lost: 0 to 10.
    /// By default 0 with TCP, which repeats by itself, and 1 with RTU, where noise takes a frame now and then.
    #[schemars(with = "Option<u8>", range(max = 10))]
    pub retries: Option<Spanned<u8>>,
    /// Least time between an answer and the next request. A serial line never has less than 3.5 characters.
    #[serde(default)]
    pub request_pause: Duration,
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

/// A serial line. The defaults are those of the Modbus serial line specification (V1.02 §2.5.1, §3.3).
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Serial {
    /// Bits a second, 300 to 4,000,000; 19200 unless said.
    pub baud: Option<Within<u32, 300, 4_000_000>>,
    /// Parity.
    #[serde(default)]
    pub parity: Parity,
    /// Stop bits, 1 or 2. By default 1, and 2 without parity.
    pub stop_bits: Option<Within<u8, 1, 2>>,
}

/// Parity of a serial line.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Parity {
    /// Even.
    #[default]
    Even,
    /// Odd.
    Odd,
    /// None.
    None,
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
/// Bits a second of a serial line, unless said.
const BAUD: u32 = 19_200;

/// Most registers that one request can ask for (MODBUS Application Protocol V1.1b3 §6.3, §6.4).
pub(crate) const MOST_REGISTERS: u16 = 125;
/// Most coils or discrete inputs that one request can ask for (V1.1b3 §6.1, §6.2).
pub(crate) const MOST_BITS: u16 = 2000;
/// The port that is registered for Modbus TCP.
const TCP_PORT: u16 = 502;
/// Shortest interval of polling: below it a timer of the operating system is no schedule.
const SHORTEST_INTERVAL: time::Duration = time::Duration::from_millis(1);

/// Where the device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Modbus TCP: host and port as the resolver takes them.
    Tcp(String),
    /// RTU frames over TCP.
    RtuOverTcp(String),
    /// RTU on a serial line.
    Rtu { path: String, line: Line },
}

/// A serial line, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub baud: u32,
    pub parity: Parity,
    pub stop_bits: u8,
}

impl Line {
    /// The silence between two frames: 3.5 characters of 11 bits, and 1.75 ms above 19,200 baud (serial line
    /// specification V1.02 §2.5.1.1).
    pub(crate) fn silence(self) -> time::Duration {
        if self.baud > 19_200 {
            time::Duration::from_micros(1_750)
        } else {
            time::Duration::from_micros(38_500_000 / u64::from(self.baud))
        }
    }
}

/// As `connect` was written, for messages.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::RtuOverTcp(address) => write!(f, "rtu+tcp://{address}"),
            Self::Rtu { path, .. } => write!(f, "rtu://{path}"),
        }
    }
}

impl Endpoint {
    /// Whether frames are RTU, where no transaction number tells a late answer from the right one.
    pub(crate) fn is_rtu(&self) -> bool {
        !matches!(self, Self::Tcp(_))
    }
}

/// Settings that passed every check.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub endpoint: Endpoint,
    pub unit: u8,
    pub poll_interval: time::Duration,
    pub timeout: time::Duration,
    pub retries: u8,
    pub request_pause: time::Duration,
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
        if table.has_bits() {
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
            unit: *unit(),
            poll_interval: poll_interval().get(),
            timeout: timeout().get(),
            retries: 0,
            request_pause: time::Duration::ZERO,
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
pub(crate) fn check(node: &Node, problems: &mut Problems) -> Option<Checked> {
    let before = problems.list().len();
    let Draft {
        value: mut settings,
        whole,
    } = draft::<Settings>(node, problems)?;
    if whole {
        return Some(check_values(&settings, problems));
    }
    if !problems.are_silent_on("serial", node, before) {
        settings.serial = None;
    }
    let mut found = Problems::default();
    let checked = check_values(&settings, &mut found);
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

fn check_values(settings: &Settings, problems: &mut Problems) -> Checked {
    let assumed = Checked::assumed();
    let endpoint = endpoint(settings, problems);
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
    let is_rtu = endpoint.as_ref().is_some_and(Endpoint::is_rtu);
    check_unit(settings.unit, is_rtu, problems);
    Checked {
        unit: or_default(settings.unit, assumed.unit),
        poll_interval: settings.poll_interval.get(),
        timeout: settings.timeout.get(),
        retries: settings.retries.map_or(u8::from(is_rtu), |retries| retries.value),
        request_pause: settings.request_pause.get(),
        max_registers: or_default(settings.max_registers, MOST_REGISTERS).clamp(1, MOST_REGISTERS),
        max_bits: or_default(settings.max_bits, MOST_BITS).clamp(1, MOST_BITS),
        max_gap: settings.max_gap.value,
        base: settings.base.value.min(1),
        word_order: settings.word_order,
        backoff_max: settings.backoff_max.get(),
        retry_refused: settings.retry_refused.get(),
        endpoint: endpoint.unwrap_or(assumed.endpoint),
    }
}

/// On a serial line 0 is the broadcast, which nobody answers, and 248 to 255 are reserved (V1.02 §2.2).
pub(crate) fn check_unit(unit: Spanned<u8>, rtu: bool, problems: &mut Problems) {
    if !rtu {
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

fn endpoint(settings: &Settings, problems: &mut Problems) -> Option<Endpoint> {
    let Spanned { value: text, span } = &settings.connect;
    let line = line(settings.serial.map(|serial| serial.value));
    let endpoint = match text.split_once("://") {
        Some(("tcp", authority)) => host_and_port(authority, Some(TCP_PORT)).map(Endpoint::Tcp),
        Some(("rtu+tcp", authority)) => host_and_port(authority, None).map(Endpoint::RtuOverTcp),
        Some(("rtu", path)) if path.starts_with('/') && path.len() > 1 => Some(Endpoint::Rtu {
            path: path.to_owned(),
            line,
        }),
        _ => None,
    };
    if endpoint.is_none() {
        problems.error(*span, format!("`{text}` is no address of a Modbus device")).hint(
            "tcp://HOST[:PORT] for Modbus TCP, rtu+tcp://HOST:PORT for RTU through a gateway, rtu:///dev/ttyUSB0 for a \
             serial line",
        );
    }
    if let (Some(Endpoint::Tcp(_) | Endpoint::RtuOverTcp(_)), Some(serial)) = (&endpoint, &settings.serial) {
        problems
            .error(serial.span, format!("`serial` has no meaning with `{text}`"))
            .hint("remove it; the gateway's own settings rule the line");
    }
    endpoint
}

fn line(serial: Option<Serial>) -> Line {
    let parity = serial.map(|serial| serial.parity).unwrap_or_default();
    let stop_bits = serial.and_then(|serial| serial.stop_bits).map(Within::get);
    Line {
        baud: serial.and_then(|serial| serial.baud).map_or(BAUD, Within::get),
        parity,
        stop_bits: stop_bits.unwrap_or(if parity == Parity::None { 2 } else { 1 }),
    }
}

/// `HOST[:PORT]`, the host a name, an IPv4 address or an IPv6 address in brackets.
fn host_and_port(text: &str, default_port: Option<u16>) -> Option<String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (text, default_port?),
    };
    let plain = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let valid = match plain {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "/:@?#[]".contains(c)),
    };
    (valid && port != 0).then(|| format!("{host}:{port}"))
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
