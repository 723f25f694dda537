//! Where a device is, as `connect` and `backup` say it.

use std::fmt;
use std::time;

use floorgate_yaml::{Problems, Spanned, Within};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The port that is registered for Modbus TCP, which UDP uses too.
const PORT: u16 = 502;
/// The port that is registered for Modbus/TCP Security.
const SECURE_PORT: u16 = 802;
/// Bits a second of a serial line, unless said.
const BAUD: u32 = 19_200;

/// What an address may be, for who wrote something else.
const FORMS: &str = "tcp://HOST[:PORT] for Modbus TCP, tls://HOST[:PORT] for Modbus TCP Security, udp://HOST[:PORT], \
                     rtu+tcp://HOST:PORT for RTU through a gateway, ascii+tcp://HOST:PORT for ASCII through one, \
                     rtu:///dev/ttyUSB0 or ascii:///dev/ttyUSB0 for a serial line";

/// A serial line. The defaults are those of the Modbus serial line specification (V1.02 §2.5.1, §2.5.2, §3.3).
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Serial {
    /// Bits a second, 300 to 4,000,000; 19200 unless said.
    pub baud: Option<Within<u32, 300, 4_000_000>>,
    /// Data bits, 7 or 8. By default 8 with `rtu://`, which needs them, and 7 with `ascii://`.
    pub data_bits: Option<Spanned<Within<u8, 7, 8>>>,
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

/// Where the device is: host and port as the resolver takes them, or a serial line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Modbus TCP.
    Tcp(String),
    /// Modbus TCP within TLS.
    Tls(String),
    /// Modbus TCP frames in datagrams.
    Udp(String),
    /// RTU frames over TCP.
    RtuOverTcp(String),
    /// ASCII frames over TCP.
    AsciiOverTcp(String),
    /// RTU on a serial line.
    Rtu { path: String, line: Line },
    /// ASCII on a serial line.
    Ascii { path: String, line: Line },
}

/// A serial line, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub baud: u32,
    pub data_bits: u8,
    pub parity: Parity,
    pub stop_bits: u8,
}

impl Line {
    fn of(serial: Option<Serial>, default_data_bits: u8) -> Self {
        let parity = serial.map(|serial| serial.parity).unwrap_or_default();
        let stop_bits = serial.and_then(|serial| serial.stop_bits).map(Within::get);
        let data_bits = serial.and_then(|serial| serial.data_bits);
        Self {
            baud: serial.and_then(|serial| serial.baud).map_or(BAUD, Within::get),
            data_bits: data_bits.map_or(default_data_bits, |bits| bits.value.get()),
            parity,
            stop_bits: stop_bits.unwrap_or(if parity == Parity::None { 2 } else { 1 }),
        }
    }

    /// The silence between two frames of RTU: 3.5 characters of 11 bits, and 1.75 ms above 19,200 baud (serial line
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
        let (Self::Tcp(place)
        | Self::Tls(place)
        | Self::Udp(place)
        | Self::RtuOverTcp(place)
        | Self::AsciiOverTcp(place)
        | Self::Rtu { path: place, .. }
        | Self::Ascii { path: place, .. }) = self;
        write!(f, "{}://{place}", self.scheme())
    }
}

impl Endpoint {
    /// What stands before `://`.
    pub(crate) fn scheme(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Tls(_) => "tls",
            Self::Udp(_) => "udp",
            Self::RtuOverTcp(_) => "rtu+tcp",
            Self::AsciiOverTcp(_) => "ascii+tcp",
            Self::Rtu { .. } => "rtu",
            Self::Ascii { .. } => "ascii",
        }
    }

    /// Whether frames are those of a serial line, where no transaction number tells a late answer from the right one, and
    /// where units are slaves.
    pub(crate) fn is_serial(&self) -> bool {
        !matches!(self, Self::Tcp(_) | Self::Tls(_) | Self::Udp(_))
    }

    /// Whether it is opened without anybody having answered.
    pub(crate) fn is_unproven(&self) -> bool {
        matches!(self, Self::Udp(_))
    }
}

/// An address that stands in the file under a key. What is wrong with it is reported.
pub(crate) fn read(
    written: &Spanned<String>,
    serial: Option<&Spanned<Serial>>,
    problems: &mut Problems,
) -> Option<Endpoint> {
    let Spanned { value: text, span } = written;
    let endpoint = parse(text, serial.map(|serial| serial.value));
    if endpoint.is_none() {
        problems
            .error(*span, format!("`{text}` is no address of a Modbus device"))
            .hint(FORMS);
    }
    endpoint
}

fn parse(text: &str, serial: Option<Serial>) -> Option<Endpoint> {
    let (scheme, place) = text.split_once("://")?;
    let path = || (place.starts_with('/') && place.len() > 1).then(|| place.to_owned());
    Some(match scheme {
        "tcp" => Endpoint::Tcp(host_and_port(place, Some(PORT))?),
        "tls" => Endpoint::Tls(host_and_port(place, Some(SECURE_PORT))?),
        "udp" => Endpoint::Udp(host_and_port(place, Some(PORT))?),
        "rtu+tcp" => Endpoint::RtuOverTcp(host_and_port(place, None)?),
        "ascii+tcp" => Endpoint::AsciiOverTcp(host_and_port(place, None)?),
        "rtu" => Endpoint::Rtu {
            path: path()?,
            line: Line::of(serial, 8),
        },
        "ascii" => Endpoint::Ascii {
            path: path()?,
            line: Line::of(serial, 7),
        },
        _ => return None,
    })
}

/// That a line is described only where there is one, and as its frames need it.
pub(crate) fn check_serial(endpoint: &Endpoint, serial: Option<&Spanned<Serial>>, problems: &mut Problems) {
    let Some(serial) = serial else { return };
    match endpoint {
        Endpoint::Rtu { line, .. } => {
            if let Some(bits) = serial.value.data_bits.filter(|_| line.data_bits != 8) {
                problems
                    .error(bits.span, "RTU needs 8 data bits")
                    .hint("remove `data_bits`, or use `ascii://` where the devices speak ASCII");
            }
        }
        Endpoint::Ascii { .. } => {}
        other => {
            problems
                .error(serial.span, format!("`serial` has no meaning with `{other}`"))
                .hint("remove it; the gateway's own settings rule the line");
        }
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

/// The host of `HOST:PORT`, without the brackets of an IPv6 address.
pub(crate) fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host)
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
