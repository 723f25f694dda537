//! The Modbus TCP side: conveyors and the load block as registers and bits.

use std::{
    collections::BTreeMap,
    future::{Ready, ready},
    sync::{Arc, PoisonError, RwLock},
};

use tokio::net::TcpListener;
use tokio_modbus::{
    ExceptionCode, Request, Response, SlaveRequest,
    server::{
        Service,
        tcp::{Server, accept_tcp_connection},
    },
};
use tokio_util::sync::CancellationToken;

use crate::model::TagValue;

/// Unit that holds the load block.
pub const LOAD_UNIT: u8 = 100;

/// Registers of one load tag: 64 bits, most significant word first.
pub const LOAD_REGISTERS: u32 = 4;

/// Most load tags that the register addresses of one unit hold.
pub const MAX_LOAD_TAGS: u32 = 65_536 / LOAD_REGISTERS;

/// Registers and bits of a conveyor unit; what no tag uses reads as zero.
const CONVEYOR_SIZE: usize = 16;

/// Most registers of one read (Modbus Application Protocol V1.1b3, 6.3).
const MAX_READ_REGISTERS: u16 = 125;
/// Most bits of one read (Modbus Application Protocol V1.1b3, 6.1).
const MAX_READ_BITS: u16 = 2000;

/// What one unit id answers with. Holding and input registers show the same words, coils and discrete inputs the same bits.
#[derive(Debug, Clone, Default)]
struct Unit {
    registers: Vec<u16>,
    bits: Vec<bool>,
}

/// All units. A reader sees all words of one write or none: a request is answered under one lock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Units(Arc<RwLock<BTreeMap<u8, Unit>>>);

/// Where a tag of a conveyor is, by its name within the conveyor; see the table in the README.
fn address(name: &str) -> Option<usize> {
    match name {
        "State" | "Jam" => Some(0),
        "Total" => Some(1),
        "Speed" => Some(3),
        "MotorTemperature" => Some(5),
        _ => None,
    }
}

/// The words of a value in a register, most significant first; `None` for what is no register.
fn words(value: &TagValue) -> Option<Vec<u16>> {
    let wide = |bits: u32| vec![(bits >> 16) as u16, (bits & 0xFFFF) as u16];
    match value {
        TagValue::UInt16(value) => Some(vec![*value]),
        TagValue::Int16(value) => Some(vec![value.cast_unsigned()]),
        TagValue::UInt32(value) => Some(wide(*value)),
        TagValue::Int32(value) => Some(wide(value.cast_unsigned())),
        TagValue::Float(value) => Some(wide(value.to_bits())),
        TagValue::Flag(_) | TagValue::Double(_) | TagValue::Text(_) => None,
    }
}

impl Units {
    pub(crate) fn new(conveyors: u8, load_tags: Option<u32>) -> Self {
        let conveyor = Unit {
            registers: vec![0; CONVEYOR_SIZE],
            bits: vec![false; CONVEYOR_SIZE],
        };
        let mut units: BTreeMap<u8, Unit> = (1..=conveyors).map(|unit| (unit, conveyor.clone())).collect();
        if let Some(tags) = load_tags {
            let registers = vec![0; (tags * LOAD_REGISTERS) as usize];
            units.insert(
                LOAD_UNIT,
                Unit {
                    registers,
                    bits: Vec::new(),
                },
            );
        }
        Self(Arc::new(RwLock::new(units)))
    }

    /// Writes the tags of one moment.
    pub(crate) fn write<'a>(&self, values: impl Iterator<Item = (&'a str, &'a TagValue)>) {
        let mut units = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (tag, value) in values {
            let place = tag.strip_prefix("Conveyor").and_then(|rest| rest.split_once('.'));
            let Some((unit, address)) =
                place.and_then(|(unit, name)| Some((unit.parse().ok()?, address(name)?)))
            else {
                continue;
            };
            let Some(unit): Option<&mut Unit> = units.get_mut(&unit) else {
                continue;
            };
            if let TagValue::Flag(flag) = value {
                unit.bits[address] = *flag;
            } else if let Some(words) = words(value) {
                unit.registers[address..address + words.len()].copy_from_slice(&words);
            }
        }
    }

    /// Writes load tags: the tag's number and its 64 bits.
    pub(crate) fn write_load(&self, values: impl Iterator<Item = (u32, u64)>) {
        let mut units = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(unit) = units.get_mut(&LOAD_UNIT) else {
            return;
        };
        for (tag, bits) in values {
            let first = (tag * LOAD_REGISTERS) as usize;
            for (register, shift) in unit.registers[first..].iter_mut().zip([48, 32, 16, 0]) {
                *register = (bits >> shift & 0xFFFF) as u16;
            }
        }
    }

    fn read(&self, unit: u8, request: &Request<'_>) -> Result<Response, ExceptionCode> {
        let units = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let unit = units.get(&unit).ok_or(ExceptionCode::GatewayTargetDevice)?;
        match *request {
            Request::ReadHoldingRegisters(from, count) => Ok(Response::ReadHoldingRegisters(range(
                &unit.registers,
                from,
                count,
                MAX_READ_REGISTERS,
            )?)),
            Request::ReadInputRegisters(from, count) => Ok(Response::ReadInputRegisters(range(
                &unit.registers,
                from,
                count,
                MAX_READ_REGISTERS,
            )?)),
            Request::ReadCoils(from, count) => Ok(Response::ReadCoils(range(
                &unit.bits,
                from,
                count,
                MAX_READ_BITS,
            )?)),
            Request::ReadDiscreteInputs(from, count) => Ok(Response::ReadDiscreteInputs(range(
                &unit.bits,
                from,
                count,
                MAX_READ_BITS,
            )?)),
            _ => Err(ExceptionCode::IllegalFunction),
        }
    }
}

fn range<T: Clone>(all: &[T], from: u16, count: u16, most: u16) -> Result<Vec<T>, ExceptionCode> {
    if count == 0 || count > most {
        return Err(ExceptionCode::IllegalDataValue);
    }
    let from = usize::from(from);
    all.get(from..from + usize::from(count))
        .map(<[T]>::to_vec)
        .ok_or(ExceptionCode::IllegalDataAddress)
}

impl Service for Units {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        ready(self.read(request.slave, &request.request))
    }
}

/// Serves the units until `stop`; open connections end with it.
pub(crate) async fn serve(
    listener: TcpListener,
    units: Units,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let on_connected = |stream: tokio::net::TcpStream, peer| {
        let units = units.clone();
        async move {
            // Answers are small and must not wait for more to send.
            stream.set_nodelay(true)?;
            accept_tcp_connection(stream, peer, move |_| Ok(Some(units.clone())))
        }
    };
    let on_error = |error: std::io::Error| tracing::debug!(%error, "a modbus connection ended");
    let server = Server::new(listener);
    match stop
        .run_until_cancelled(server.serve(&on_connected, on_error))
        .await
    {
        Some(ended) => ended,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_where_the_table_says_in_the_documented_word_order() {
        let units = Units::new(2, Some(2));
        let values = [
            ("Conveyor2.Total", TagValue::UInt32(0x0102_0304)),
            ("Conveyor2.MotorTemperature", TagValue::Int16(-5)),
            ("Conveyor2.Jam", TagValue::Flag(true)),
        ];
        units.write(values.iter().map(|(tag, value)| (*tag, value)));
        let read = units.read(2, &Request::ReadHoldingRegisters(0, 6));
        assert_eq!(
            read,
            Ok(Response::ReadHoldingRegisters(vec![
                0, 0x0102, 0x0304, 0, 0, 0xFFFB
            ]))
        );
        assert_eq!(
            units.read(2, &Request::ReadCoils(0, 2)),
            Ok(Response::ReadCoils(vec![true, false]))
        );
        let other = units.read(1, &Request::ReadInputRegisters(1, 2));
        assert_eq!(other, Ok(Response::ReadInputRegisters(vec![0, 0])));

        units.write_load([(1, 0x0001_0002_0003_0004)].into_iter());
        let load = units.read(LOAD_UNIT, &Request::ReadInputRegisters(4, 4));
        assert_eq!(load, Ok(Response::ReadInputRegisters(vec![1, 2, 3, 4])));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_the_standards_codes() {
        let units = Units::new(1, None);
        for (unit, request, refusal) in [
            (
                1,
                Request::ReadHoldingRegisters(10, 7),
                ExceptionCode::IllegalDataAddress,
            ),
            (
                1,
                Request::ReadHoldingRegisters(65_535, 2),
                ExceptionCode::IllegalDataAddress,
            ),
            (
                1,
                Request::ReadHoldingRegisters(0, 126),
                ExceptionCode::IllegalDataValue,
            ),
            (
                1,
                Request::ReadHoldingRegisters(0, 0),
                ExceptionCode::IllegalDataValue,
            ),
            (
                1,
                Request::WriteSingleRegister(0, 1),
                ExceptionCode::IllegalFunction,
            ),
            (9, Request::ReadCoils(0, 1), ExceptionCode::GatewayTargetDevice),
        ] {
            assert_eq!(units.read(unit, &request), Err(refusal), "{request:?}");
        }
    }
}
