//! ASCII frames, which the library does not have: `:`, everything in hexadecimal digits, a check sum, CR and LF
//! (serial line specification V1.02 §2.5.2).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_modbus::bytes::Bytes;
use tokio_modbus::client::Client;
use tokio_modbus::slave::{Slave, SlaveContext};
use tokio_modbus::{Request, Response};

use crate::pdu;

/// Most characters between `:` and the line's end: unit, PDU and check sum, two for each byte.
const LONGEST: usize = 2 * (1 + pdu::LONGEST + 1);

/// A master on a line.
#[derive(Debug)]
pub(crate) struct Ascii<T> {
    line: T,
    unit: u8,
}

impl<T> Ascii<T> {
    pub(crate) fn new(line: T) -> Self {
        Self { line, unit: 0 }
    }
}

impl<T> SlaveContext for Ascii<T> {
    fn set_slave(&mut self, slave: Slave) {
        self.unit = slave.0;
    }
}

#[async_trait::async_trait]
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Client for Ascii<T> {
    async fn call(&mut self, request: Request<'_>) -> tokio_modbus::Result<Response> {
        let asked = request.function_code();
        let mut message = vec![self.unit];
        pdu::put(&request, &mut message)?;
        self.line.write_all(&frame(&message)).await?;
        self.line.flush().await?;
        let mut collected = Collected::default();
        let mut bytes = [0; 256];
        loop {
            let len = self.line.read(&mut bytes).await?;
            for byte in &bytes[..len] {
                let Some(message) = collected.take(*byte)? else {
                    continue;
                };
                return pdu::take((self.unit, asked), message[0], message.slice(1..));
            }
        }
    }

    async fn disconnect(&mut self) -> io::Result<()> {
        self.line.shutdown().await
    }
}

/// The frame of a unit and its PDU.
pub(crate) fn frame(message: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut frame = vec![b':'];
    for byte in message.iter().chain([&check_sum(message)]) {
        frame.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    frame.extend(b"\r\n");
    frame
}

/// What has come of a frame.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// The digits behind the colon; `None` before it.
    digits: Option<Vec<u8>>,
}

impl Collected {
    /// Takes a byte. Returns unit and PDU, at least two bytes, when it was the last one of a frame.
    pub(crate) fn take(&mut self, byte: u8) -> io::Result<Option<Bytes>> {
        // A colon begins a frame wherever it comes; what was before it is noise.
        if byte == b':' {
            self.digits = Some(Vec::new());
            return Ok(None);
        }
        let Some(digits) = &mut self.digits else {
            return Ok(None);
        };
        if byte != b'\n' {
            if digits.len() > LONGEST {
                return Err(malformed("an ASCII frame without an end"));
            }
            digits.push(byte);
            return Ok(None);
        }
        let digits = self.digits.take().unwrap_or_default();
        let digits = digits
            .strip_suffix(b"\r")
            .ok_or_else(|| malformed("an ASCII frame that does not end with CR and LF"))?;
        message(digits).map(Some)
    }
}

/// The bytes of the digits without the check sum, which has to be right.
fn message(digits: &[u8]) -> io::Result<Bytes> {
    let digit = |character: u8| {
        char::from(character)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    let mut bytes =
        bytes.ok_or_else(|| malformed("an ASCII frame with something else than hexadecimal digits"))?;
    if bytes.len() < 3 {
        return Err(malformed("an ASCII frame that is too short"));
    }
    // The sum of all bytes, the check sum included, is 0.
    if check_sum(&bytes) != 0 {
        return Err(malformed("an ASCII frame with a wrong check sum"));
    }
    bytes.pop();
    Ok(bytes.into())
}

/// The longitudinal redundancy check (V1.02 §6.2.1).
fn check_sum(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0_u8, |sum, byte| sum.wrapping_add(*byte))
        .wrapping_neg()
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> io::Result<Vec<Bytes>> {
        let mut collected = Collected::default();
        let taken: io::Result<Vec<Option<Bytes>>> = bytes.iter().map(|byte| collected.take(*byte)).collect();
        Ok(taken?.into_iter().flatten().collect())
    }

    #[test]
    fn a_frame_is_as_the_specification_writes_it() {
        // Function 3 of unit 1, 10 registers from 107 on; its check sum by hand.
        assert_eq!(
            frame(&[0x01, 0x03, 0x00, 0x6B, 0x00, 0x0A]),
            b":0103006B000A87\r\n"
        );
    }

    #[test]
    fn what_was_framed_is_found_behind_noise_and_a_frame_that_broke_off() {
        let message = [0x11, 0x03, 0x02, 0xAB, 0xCD];
        let line = [b"\xff\x00:1103".as_slice(), &frame(&message), b":"].concat();
        assert_eq!(
            all(&line).expect("it is a frame"),
            [Bytes::copy_from_slice(&message)]
        );
        assert_eq!(
            all(&line.to_ascii_lowercase())
                .expect("small letters are digits too")
                .len(),
            1
        );
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for wrong in [
            ":110302ABCD00\r\n",
            ":110302ABCD7\r\n",
            ":110302ABCG72\r\n",
            ":110302ABCD72\n",
            ":00\r\n",
            ":\r\n",
        ] {
            assert!(all(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        let endless = [b":".as_slice(), &[b'0'; 600]].concat();
        assert!(all(&endless).is_err(), "a frame has a longest length");
        assert!(all(&[b'0'; 600]).expect("noise is none").is_empty());
    }
}
