//! Where the device is, as the command line says it: the settings of a source, in one line.

use std::path::Path;
use std::time::Duration;

use floorgate_adapter_api::Scalar;
use floorgate_adapter_api::{Node, NodeKind};
use floorgate_yaml::{Problems, Span};

use crate::settings::{self, Checked};

/// How it is written.
const FORMS: &str = "modbus://HOST[:PORT] for Modbus TCP, modbus+udp://HOST[:PORT], modbus+rtu+tcp://HOST:PORT or \
                     modbus+ascii+tcp://HOST:PORT through a gateway, \
                     modbus+rtu:///dev/ttyUSB0?baud=19200&parity=even&stop_bits=1 or modbus+ascii:///dev/ttyUSB0 for a serial \
                     line, modbus+tls://HOST[:PORT]?ca_file=FILE&certificate_file=FILE&key_file=FILE";

/// A device's address, checked.
#[derive(Clone, Debug)]
pub struct Target {
    /// The settings of a source that reads the device, in the order in which they are to be written.
    pub(super) settings: Vec<(String, Scalar)>,
    pub(super) checked: Checked,
}

/// The address cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {hint}")]
pub struct WrongTarget {
    message: String,
    hint: String,
}

impl std::str::FromStr for Target {
    type Err = WrongTarget;

    /// The adapter's own form of `connect` with `modbus+` before it, or `modbus://` for Modbus TCP; parameters of a serial
    /// line, or the certificates, follow as a query.
    fn from_str(text: &str) -> Result<Self, WrongTarget> {
        let wrong = |message: String| WrongTarget {
            message,
            hint: FORMS.to_owned(),
        };
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        let connect = match place.split_once("://") {
            Some(("modbus", rest)) => format!("tcp://{rest}"),
            Some((scheme, rest)) => format!("{}://{rest}", scheme.strip_prefix("modbus+").unwrap_or(scheme)),
            None => return Err(wrong(format!("`{text}` is no address of a Modbus device"))),
        };
        let mut settings = vec![("connect".to_owned(), Scalar::Text(connect))];
        let parameters = query
            .split('&')
            .filter(|part| !part.is_empty())
            .map(|part| {
                let (key, value) = part
                    .split_once('=')
                    .ok_or_else(|| wrong(format!("`{part}` of `{text}` has no value")))?;
                let value = value
                    .parse()
                    .map_or_else(|_| Scalar::Text(value.to_owned()), Scalar::Int);
                Ok((key.to_owned(), value))
            })
            .collect::<Result<Vec<_>, WrongTarget>>()?;
        if !parameters.is_empty() {
            let key = if settings.iter().any(|(_, connect)| is_secure(connect)) {
                "tls"
            } else {
                "serial"
            };
            settings.push((key.to_owned(), Scalar::Map(parameters)));
        }
        let mut problems = Problems::default();
        let checked = settings::check(
            &node(&Scalar::Map(settings.clone())),
            Path::new(""),
            &mut problems,
        );
        match (checked, problems.list().first()) {
            (Some(checked), None) => Ok(Self { settings, checked }),
            (_, problem) => Err(WrongTarget {
                message: problem.map_or_else(|| text.to_owned(), |problem| problem.message.clone()),
                hint: FORMS.to_owned(),
            }),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.checked.endpoint.fmt(f)
    }
}

impl Target {
    /// The same with another time-out, and with a pause between an answer and the next question.
    #[must_use]
    pub fn with_times(mut self, timeout: Duration, pace: Duration) -> Self {
        if timeout != self.checked.timeout {
            let written = Scalar::Text(format!("{}ms", timeout.as_millis()));
            self.settings.push(("timeout".to_owned(), written));
        }
        self.checked.timeout = timeout;
        self.checked.request_pause = pace;
        self
    }
}

fn is_secure(connect: &Scalar) -> bool {
    matches!(connect, Scalar::Text(text) if text.starts_with("tls://"))
}

fn node(scalar: &Scalar) -> Node {
    let kind = match scalar {
        Scalar::Bool(value) => NodeKind::Bool(*value),
        Scalar::Int(number) => NodeKind::Int((*number).into()),
        Scalar::Float(number) => NodeKind::Float(*number),
        Scalar::Text(text) => NodeKind::Text(text.clone()),
        Scalar::Map(entries) => NodeKind::Map(
            entries
                .iter()
                .map(|(key, value)| (key.clone(), Span::default(), node(value)))
                .collect(),
        ),
    };
    Node {
        span: Span::default(),
        kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Endpoint, Line, Parity};

    #[test]
    fn an_address_is_the_settings_of_a_source_in_one_line() {
        for (text, endpoint) in [
            ("modbus://10.0.0.7", Endpoint::Tcp("10.0.0.7:502".to_owned())),
            ("modbus://plc:5020", Endpoint::Tcp("plc:5020".to_owned())),
            ("modbus+tcp://[::1]:5020", Endpoint::Tcp("[::1]:5020".to_owned())),
            ("tcp://10.0.0.7", Endpoint::Tcp("10.0.0.7:502".to_owned())),
            (
                "modbus+rtu+tcp://moxa:4001",
                Endpoint::RtuOverTcp("moxa:4001".to_owned()),
            ),
            (
                "modbus+rtu:///dev/ttyUSB0?baud=9600&parity=none",
                Endpoint::Rtu {
                    path: "/dev/ttyUSB0".to_owned(),
                    line: Line {
                        baud: 9600,
                        data_bits: 8,
                        parity: Parity::None,
                        stop_bits: 2,
                    },
                },
            ),
        ] {
            let target: Target = text.parse().expect(text);
            assert_eq!(target.checked.endpoint, endpoint, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_forms() {
        for (text, told) in [
            ("10.0.0.7", "`10.0.0.7` is no address"),
            ("modbus://", "`tcp://` is no address"),
            ("opc.tcp://plc:4840", "is no address"),
            ("modbus+rtu+tcp://moxa", "is no address"),
            ("modbus+rtu:///dev/ttyS0?baud=fast", "fast"),
            ("modbus+rtu:///dev/ttyS0?speed=9600", "speed"),
            ("modbus+rtu:///dev/ttyS0?baud", "`baud` of"),
            ("modbus://plc?baud=9600", "`serial` has no meaning"),
        ] {
            let wrong = text.parse::<Target>().expect_err(text).to_string();
            assert!(
                wrong.contains(told) && wrong.contains("modbus://HOST"),
                "{text}: {wrong}"
            );
        }
    }
}
