//! What comes over the wire as no device sends it: it is an answer of the right length or a failure, and nothing panics.

use fastrand::Rng;
use floorgate_adapter_api::conformance::with_seeds;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_modbus::bytes::Bytes;
use tokio_modbus::client::{Client, Context, rtu, tcp};

use crate::address::Table;
use crate::ascii::{self, Ascii};
use crate::decimal::{Decimal, Linear};
use crate::decode::{Decode, Encoding, Kind, Shown, WordOrder};
use crate::link::{Failure, Link};
use crate::planner::Extent;
use crate::settings::Checked;
use crate::transport::Wire;
use crate::{pdu, udp};

/// Seeds that are tried, always the same ones; `FUZZ_SECONDS` adds others for so long, shared among these tests.
const SEEDS: u64 = 3_000;
/// How many tests share the time.
const TESTS: u32 = 3;

/// The bytes with some places changed, cut, doubled or made up; now and then left as they are.
fn spoil(bytes: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.usize(..4) {
        let at = random.usize(..=bytes.len());
        let end = (at + random.usize(..20)).min(bytes.len());
        match random.usize(..6) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            2 => bytes.truncate(at),
            3 => bytes.insert(at, random.u8(..)),
            4 => bytes.extend((0..random.usize(..300)).map(|_| random.u8(..))),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.u8(..8);
                }
            }
        }
    }
    bytes
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Tcp,
    Rtu,
    Ascii,
}

fn crc(bytes: &[u8]) -> [u8; 2] {
    let step = |crc: u16, _| if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
    let sum = |crc: u16, byte: &u8| (0..8).fold(crc ^ u16::from(*byte), step);
    bytes.iter().fold(0xFFFF, sum).to_le_bytes()
}

impl Framing {
    fn attach(self, line: tokio::io::DuplexStream) -> Context {
        match self {
            Self::Tcp => tcp::attach(Wire::new(line, false)),
            Self::Rtu => rtu::attach(Wire::new(line, true)),
            Self::Ascii => (Box::new(Ascii::new(Wire::new(line, true))) as Box<dyn Client>).into(),
        }
    }

    /// The frame of an answer.
    fn frame(self, request: &[u8], message: &[u8]) -> Vec<u8> {
        match self {
            Self::Tcp => {
                let len = u16::try_from(message.len()).expect("a short message");
                [&request[..4], &len.to_be_bytes(), message].concat()
            }
            Self::Rtu => [message, &crc(message)].concat(),
            Self::Ascii => ascii::frame(message),
        }
    }
}

/// The PDU that answers a request for so many registers or bits.
fn answer(table: Table, count: u32, random: &mut Rng) -> Vec<u8> {
    if table == Table::Fifo {
        let queued = random.u8(..32);
        let lengths = [24, 0, 2 + 2 * queued, 0, queued];
        let words = (0..2 * queued).map(|_| random.u8(..));
        return lengths.into_iter().chain(words).collect();
    }
    let (function, bytes) = match table {
        Table::Coil => (1, count.div_ceil(8)),
        Table::Discrete => (2, count.div_ceil(8)),
        Table::Holding => (3, 2 * count),
        Table::Input | Table::Fifo => (4, 2 * count),
    };
    if random.u8(..8) == 0 {
        return vec![function | 0x80, random.u8(..)];
    }
    let mut pdu = vec![
        function,
        u8::try_from(bytes).expect("a request within its limits"),
    ];
    pdu.extend((0..bytes).map(|_| random.u8(..)));
    pdu
}

async fn read(framing: Framing, random: &mut Rng) {
    let table = *random.choice(Table::ALL.iter()).expect("there are tables");
    let most = if table.has_bits() { 2_000 } else { 125 };
    let extent = Extent {
        start: random.u32(..60_000),
        len: random.u32(1..=most),
    };
    let unit = random.u8(..);
    let message = [vec![unit], answer(table, extent.len, random)].concat();
    let (near, mut far) = duplex(4_096);
    let mut link = Link::over(framing.attach(near), &Checked::assumed());
    let device = async {
        let mut request = [0; 64];
        let len = far.read(&mut request).await.expect("the request comes");
        let right = framing.frame(&request[..len], &message);
        let sent = spoil(&right, random);
        // The other side may have left in the middle.
        let _ = far.write_all(&sent).await;
        drop(far);
        (right == sent).then_some(())
    };
    let (answer, is_right) = tokio::join!(link.read(unit, table, extent), device);
    let is_exception = message[1] >= 0x80;
    match &answer {
        Ok(words) if table.has_bits() => assert_eq!(words.len(), extent.len.div_ceil(8) as usize * 8),
        Ok(words) if table == Table::Fifo => assert!(words.len() <= 31),
        Ok(words) => assert_eq!(words.len(), extent.len as usize),
        Err(Failure::Exception(_)) => assert!(link.is_open()),
        Err(_) => assert!(!link.is_open(), "what is in doubt ends the connection"),
    }
    if is_right.is_some() {
        let is_told = matches!(answer, Err(Failure::Exception(_)));
        assert!(
            answer.is_ok() != is_exception && is_told == is_exception,
            "{answer:?}"
        );
    }
}

#[test]
fn whatever_comes_on_a_connection_is_an_answer_or_a_failure() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    with_seeds(SEEDS, TESTS, |random| {
        for framing in [Framing::Tcp, Framing::Rtu, Framing::Ascii] {
            runtime.block_on(read(framing, random));
        }
    });
}

#[test]
fn whatever_comes_in_a_datagram_is_an_answer_or_a_failure() {
    with_seeds(SEEDS, TESTS, |random| {
        let message = [vec![1], answer(Table::Holding, random.u32(1..=125), random)].concat();
        let right = Framing::Tcp.frame(&[0, 7, 0, 0], &message);
        let sent = spoil(&right, random);
        let opened = udp::open(&sent);
        if let Ok((_, _, pdu)) = opened.as_ref() {
            assert!(pdu.len() + 7 == sent.len());
            let _ = pdu::answer(pdu.clone());
        }
        assert!(opened.is_ok() || sent != right);
        let noise: Vec<u8> = (0..random.usize(..20)).map(|_| random.u8(..)).collect();
        let _ = pdu::answer(Bytes::from(noise));
    });
}

#[test]
fn whatever_is_in_the_registers_is_a_value_or_none() {
    const ORDERS: [WordOrder; 4] = [WordOrder::Abcd, WordOrder::Cdab, WordOrder::Badc, WordOrder::Dcba];
    with_seeds(SEEDS, TESTS, |random| {
        let words: Vec<u16> = (0..random.usize(..130)).map(|_| random.u16(..)).collect();
        let encoding = *random
            .choice([Encoding::Ascii, Encoding::Latin1, Encoding::Utf8].iter())
            .expect("there are some");
        let kind = match random.u8(..5) {
            0 => Kind::Bit(random.u8(..16)),
            1 => Kind::Integer {
                signed: random.bool(),
                shown: *random
                    .choice([Shown::Int, Shown::UInt, Shown::Float].iter())
                    .expect("there are some"),
            },
            2 => Kind::Float32,
            3 => Kind::Float64,
            _ => Kind::Text {
                bytes: random.u16(..300),
                encoding,
                trim: random.bool(),
            },
        };
        let written = |random: &mut Rng| {
            let number = f64::from(random.i32(..)) / f64::from(10_u32.pow(random.u32(..9)));
            Decimal::from_written(number).unwrap_or(Decimal::ONE)
        };
        let decode = Decode {
            kind,
            order: ORDERS[random.usize(..4)],
            linear: Linear::new(written(random), written(random)),
        };
        let _ = decode.value(&words);
    });
}
