//! What is inside of every frame, a function and its data, for the frames that the library does not know.

use std::io;

use tokio_modbus::bytes::Bytes;
use tokio_modbus::{ExceptionCode, ExceptionResponse, FunctionCode, ProtocolError, Request, Response};

/// Most bytes of a PDU (MODBUS Application Protocol V1.1b3 §4.1).
pub(crate) const LONGEST: usize = 253;

/// Appends a request. Only what reads can be sent.
pub(crate) fn put(request: &Request<'_>, frame: &mut Vec<u8>) -> io::Result<()> {
    frame.push(request.function_code().value());
    match request {
        Request::ReadCoils(start, count)
        | Request::ReadDiscreteInputs(start, count)
        | Request::ReadInputRegisters(start, count)
        | Request::ReadHoldingRegisters(start, count) => {
            frame.extend(start.to_be_bytes());
            frame.extend(count.to_be_bytes());
        }
        // The type of the interface that a device identification is read through (V1.1b3 §6.21).
        Request::ReadDeviceIdentification(code, object) => frame.extend([0x0E, code.value(), *object]),
        Request::Custom(_, data) => frame.extend(data.iter()),
        other => {
            let message = format!("function {} is never sent", other.function_code().value());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    }
    Ok(())
}

/// The answer to a request of this function to a unit, from what a unit said.
pub(crate) fn take(
    (wanted, asked): (u8, FunctionCode),
    unit: u8,
    pdu: Bytes,
) -> tokio_modbus::Result<Response> {
    let result = answer(pdu)?;
    if unit != wanted {
        let message = format!("unit {unit} instead of {wanted}");
        return Err(ProtocolError::HeaderMismatch { message, result }.into());
    }
    let function = match &result {
        Ok(response) => response.function_code(),
        Err(exception) => exception.function,
    };
    // By value: the library has two names for a function that it does not know itself.
    if function.value() != asked.value() {
        let request = asked;
        return Err(ProtocolError::FunctionCodeMismatch { request, result }.into());
    }
    Ok(result.map_err(|exception: ExceptionResponse| -> ExceptionCode { exception.exception }))
}

/// What a PDU says, whatever was asked.
pub(crate) fn answer(pdu: Bytes) -> io::Result<Result<Response, ExceptionResponse>> {
    match pdu.first() {
        Some(0x80..) if pdu.len() == 2 => ExceptionResponse::try_from(pdu).map(Err),
        // Functions 1 to 4 say how much they bring: what is longer or shorter is the answer to something else.
        Some(1..=4)
            if pdu
                .get(1)
                .is_none_or(|bytes| pdu.len() != 2 + usize::from(*bytes)) =>
        {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the length of the answer is not what it says",
            ))
        }
        Some(..0x80) if pdu.len() <= LONGEST => Response::try_from(pdu).map(Ok),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message of {} bytes is no answer", pdu.len()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_as_long_as_it_says() {
        for pdu in [&[3, 2, 0, 5][..], &[1, 1, 0xFF], &[0x83, 2]] {
            assert!(answer(Bytes::copy_from_slice(pdu)).is_ok(), "{pdu:?}");
        }
        // The last one is a request, for a register at 512.
        for pdu in [&[3, 2, 0][..], &[3, 2, 0, 5, 0], &[4], &[3, 2, 0, 0, 1]] {
            assert!(answer(Bytes::copy_from_slice(pdu)).is_err(), "{pdu:?}");
        }
    }
}
