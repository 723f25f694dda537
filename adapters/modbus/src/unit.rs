//! The health of a unit: how an exception is taken, and how long a unit that is in trouble is left alone.

use std::time::Duration;

use floorgate_adapter_api::{Pauses, StationState};
use floorgate_sample::{Quality, Reason};
use tokio::time::Instant;
use tokio_modbus::ExceptionCode;

use crate::link::Failure;
use crate::torn::BAD_DATA_UNAVAILABLE;

/// `BadServerTooBusy` (OPC 10000-6 Annex A.2).
const BAD_SERVER_TOO_BUSY: Quality = Quality(0x80EE_0000);
/// `BadNotSupported` (OPC 10000-6 Annex A.2).
const BAD_NOT_SUPPORTED: Quality = Quality(0x803D_0000);

/// The first pause after a failure, before chance spreads it over up to twice its length.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// What an exception means for what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// These registers are refused for good. Where `divisible`, a part of them may be the reason.
    Refused { quality: Quality, divisible: bool },
    /// The unit failed. Where it answers everything else these registers are the reason; otherwise it is in trouble (a
    /// PLC that was stopped), and what it says of registers means nothing.
    Failing(Quality),
    /// The unit cannot answer now and may soon.
    Busy(Quality),
    /// The gateway does not reach the unit.
    Unreachable(Quality),
}

/// MODBUS Application Protocol V1.1b3 §7. Many devices answer 04 where the address is wrong.
pub(crate) fn reaction(exception: ExceptionCode) -> Reaction {
    match exception {
        ExceptionCode::IllegalFunction => Reaction::Refused {
            quality: BAD_NOT_SUPPORTED,
            divisible: false,
        },
        ExceptionCode::IllegalDataAddress | ExceptionCode::IllegalDataValue => Reaction::Refused {
            quality: Quality::BAD_OUT_OF_RANGE,
            divisible: true,
        },
        ExceptionCode::Acknowledge | ExceptionCode::ServerDeviceBusy => Reaction::Busy(BAD_SERVER_TOO_BUSY),
        ExceptionCode::GatewayPathUnavailable | ExceptionCode::GatewayTargetDevice => {
            Reaction::Unreachable(Quality::BAD_NO_COMMUNICATION)
        }
        ExceptionCode::ServerDeviceFailure | ExceptionCode::MemoryParityError | ExceptionCode::Custom(_) => {
            Reaction::Failing(Quality::BAD_DEVICE_FAILURE)
        }
    }
}

/// What each quality stands for that a tag may have.
pub(crate) fn reason(quality: Quality) -> Option<Reason> {
    let (told, see) = match quality {
        BAD_NOT_SUPPORTED => (
            "refused: the unit does not have the function (exception 01)",
            "modbus-tag-refused",
        ),
        Quality::BAD_OUT_OF_RANGE => (
            "refused: there is no such register (exception 02 or 03)",
            "modbus-tag-refused",
        ),
        Quality::BAD_DEVICE_FAILURE => (
            "the unit says that it failed (exception 04 or 08)",
            "modbus-device-failure",
        ),
        BAD_SERVER_TOO_BUSY => (
            "the unit says that it is busy (exception 05 or 06)",
            "modbus-device-busy",
        ),
        Quality::BAD_NO_COMMUNICATION => (
            "not reached: the source is offline, or the gateway before the unit says so (exception 0A or 0B)",
            "modbus-unit-behind-gateway",
        ),
        Quality::BAD_TIMEOUT => ("no answer", "modbus-no-answer"),
        Quality::BAD_COMMUNICATION_ERROR => (
            "no sound answer: the connection broke, or what came was no Modbus",
            "modbus-answer-wrong",
        ),
        Quality::BAD_DECODING_ERROR => (
            "what was read is no value of the tag's type",
            "modbus-value-unusable",
        ),
        BAD_DATA_UNAVAILABLE => ("no two reads in a row agreed", "modbus-value-unusable"),
        _ => return None,
    };
    Some(Reason::new(told, see))
}

/// Quality and divisibility where a failure is a refusal of what was asked.
pub(crate) fn refusal(failure: &Failure) -> Option<(Quality, bool)> {
    match failure {
        Failure::Exception(exception) => match reaction(*exception) {
            Reaction::Refused { quality, divisible } => Some((quality, divisible)),
            Reaction::Failing(quality) => Some((quality, true)),
            Reaction::Busy(_) | Reaction::Unreachable(_) => None,
        },
        _ => None,
    }
}

/// Whether what was asked is refused by name, which only a unit does that is there and well.
pub(crate) fn is_refused(failure: &Failure) -> bool {
    matches!(failure, Failure::Exception(exception) if matches!(reaction(*exception), Reaction::Refused { .. }))
}

/// What tags are where the unit is busy, or not reached by the gateway: of one tag alone only where the unit answers others.
pub(crate) fn put_off(failure: &Failure) -> Option<Quality> {
    match failure {
        Failure::Exception(exception) => match reaction(*exception) {
            Reaction::Busy(quality) | Reaction::Unreachable(quality) => Some(quality),
            Reaction::Failing(_) | Reaction::Refused { .. } => None,
        },
        _ => None,
    }
}

/// Growing pauses, spread by chance, none longer than `longest`.
pub(crate) fn pauses(longest: Duration) -> Pauses {
    floorgate_adapter_api::pauses(FIRST_PAUSE, longest)
}

/// A unit on the link.
pub(crate) struct Unit {
    pub id: u8,
    /// When it last answered with values, or refused something by name.
    pub last_answer: Option<Instant>,
    pub trouble: Option<Trouble>,
    /// Not asked before, though nothing is wrong with it: a late answer may come.
    pub rest: Option<Instant>,
    /// How often a question whether it is there was not answered.
    pub questions: usize,
    /// It has answered since the source was lost last.
    pub is_heard: bool,
    /// How it was shown last, and with which next attempt.
    pub shown: Option<(StationState, Option<Instant>)>,
}

/// How much is borne before the tags of a unit are told to be bad.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// So many failures in a row.
    Retries(u8),
    /// Failures for so long.
    Lasting(Duration),
}

/// Why a unit is left alone for a while.
pub(crate) struct Trouble {
    since: Instant,
    failures: u32,
    /// Not asked before.
    pub next_try: Instant,
    /// How long it is left alone until then.
    pub pause: Duration,
    pauses: Pauses,
    /// What its tags are meanwhile.
    pub quality: Quality,
    /// Why, for people.
    pub reason: Reason,
    /// Whether its tags are bad: when it has failed often or long enough.
    pub told: bool,
    /// The failure ended the connection, which costs the other units of the link time.
    pub costs_link: bool,
}

impl Trouble {
    /// It is left alone from now on for so long.
    pub(crate) fn wait(&mut self, now: Instant, pause: Duration) {
        self.next_try = now + pause;
        self.pause = pause;
    }
}

impl Unit {
    /// One of which nothing is known.
    pub(crate) fn new(id: u8) -> Self {
        Self {
            id,
            last_answer: None,
            trouble: None,
            rest: None,
            questions: 0,
            is_heard: false,
            shown: None,
        }
    }

    /// Notes a failure that is of this quality for the unit's tags. The unit is asked again after a pause that grows
    /// with each failure and is at least `least`.
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        (quality, reason): (Quality, Reason),
        patience: Patience,
        least: Duration,
        longest: Duration,
    ) {
        let trouble = self.trouble.get_or_insert_with(|| Trouble {
            since: now,
            failures: 0,
            next_try: now,
            pause: Duration::ZERO,
            pauses: pauses(longest),
            quality,
            reason: Reason::default(),
            told: false,
            costs_link: false,
        });
        let pause = trouble.pauses.next().unwrap_or(longest).max(least);
        trouble.failures += 1;
        trouble.wait(now, pause);
        trouble.quality = quality;
        trouble.reason = reason;
        trouble.told |= match patience {
            Patience::Retries(retries) => trouble.failures > u32::from(retries),
            Patience::Lasting(time) => now.saturating_duration_since(trouble.since) >= time,
        };
    }

    /// A try has told nothing of it: it is asked again after the next pause, where it is in trouble.
    pub(crate) fn put_off(&mut self, now: Instant, longest: Duration) {
        if let Some(trouble) = &mut self.trouble {
            let pause = trouble.pauses.next().unwrap_or(longest);
            trouble.wait(now, pause);
        }
    }

    /// Whether its tags are known to be bad.
    pub(crate) fn is_down(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_each_exception_names_it() {
        use ExceptionCode as E;
        for (exception, code) in [
            (E::IllegalFunction, "01"),
            (E::IllegalDataAddress, "02"),
            (E::IllegalDataValue, "03"),
            (E::ServerDeviceFailure, "04"),
            (E::Acknowledge, "05"),
            (E::ServerDeviceBusy, "06"),
            (E::MemoryParityError, "08"),
            (E::GatewayPathUnavailable, "0A"),
            (E::GatewayTargetDevice, "0B"),
        ] {
            let quality = match reaction(exception) {
                Reaction::Refused { quality, .. }
                | Reaction::Failing(quality)
                | Reaction::Busy(quality)
                | Reaction::Unreachable(quality) => quality,
            };
            let reason = reason(quality).unwrap_or_default();
            assert!(reason.told.contains(code), "{exception}: {reason}");
            assert_eq!(reason.see.as_deref(), Some(Failure::Exception(exception).see()));
        }
        assert_eq!(reason(Quality::GOOD), None);
    }
}
