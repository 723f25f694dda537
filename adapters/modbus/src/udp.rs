//! Modbus TCP frames in datagrams, which the library does not have. Each datagram is one whole frame.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;

use floorgate_adapter_api::Traffic;
use tokio::net::{UdpSocket, lookup_host};
use tokio_modbus::bytes::Bytes;
use tokio_modbus::client::Client;
use tokio_modbus::slave::{Slave, SlaveContext};
use tokio_modbus::{Request, Response};
use tracing::debug;

use crate::pdu;

/// Transaction, protocol, length and unit.
const HEADER: usize = 7;
/// Most datagrams that answer something else while an answer is waited for.
const MOST_OTHERS: usize = 64;

/// A client of a device.
#[derive(Debug)]
pub(crate) struct Datagrams {
    socket: UdpSocket,
    traffic: Option<Traffic>,
    unit: u8,
    transaction: u16,
}

impl Datagrams {
    /// A socket that takes datagrams of the device only. Nothing is sent.
    pub(crate) async fn open(address: &str, traffic: Option<Traffic>) -> io::Result<Self> {
        let device = lookup_host(address).await?.next();
        let device =
            device.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address"))?;
        let own: std::net::IpAddr = if device.is_ipv4() {
            std::net::Ipv4Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        };
        let socket = UdpSocket::bind((own, 0)).await?;
        socket.connect(device).await?;
        // Where the port was used by a socket before, what comes late for that one is no answer of this one's.
        let [low, high, ..] = RandomState::new().build_hasher().finish().to_le_bytes();
        Ok(Self {
            socket,
            traffic,
            unit: 0,
            transaction: u16::from_le_bytes([low, high]),
        })
    }
}

impl SlaveContext for Datagrams {
    fn set_slave(&mut self, slave: Slave) {
        self.unit = slave.0;
    }
}

#[async_trait::async_trait]
impl Client for Datagrams {
    async fn call(&mut self, request: Request<'_>) -> tokio_modbus::Result<Response> {
        let asked = request.function_code();
        self.transaction = self.transaction.wrapping_add(1);
        let sent = self
            .socket
            .send(&frame(self.transaction, self.unit, &request)?)
            .await?;
        if let Some(traffic) = &self.traffic {
            traffic.sent.inc_by(sent as u64);
        }
        // A byte more than any frame has, so that a longer one is noticed.
        let mut bytes = [0; HEADER + pdu::LONGEST + 1];
        for _ in 0..MOST_OTHERS {
            let len = self.socket.recv(&mut bytes).await?;
            if let Some(traffic) = &self.traffic {
                traffic.received.inc_by(len as u64);
            }
            let (transaction, unit, pdu) = open(&bytes[..len])?;
            if transaction != self.transaction {
                debug!(transaction, "a late or repeated datagram thrown away");
                continue;
            }
            return pdu::take((self.unit, asked), unit, pdu);
        }
        let message = format!("{MOST_OTHERS} datagrams that answer nothing that was asked");
        Err(io::Error::new(io::ErrorKind::InvalidData, message).into())
    }

    async fn disconnect(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn frame(transaction: u16, unit: u8, request: &Request<'_>) -> io::Result<Vec<u8>> {
    let mut frame = transaction.to_be_bytes().to_vec();
    frame.extend([0, 0, 0, 0, unit]);
    pdu::put(request, &mut frame)?;
    let len = u16::try_from(frame.len() + 1 - HEADER).map_err(io::Error::other)?;
    frame[4..6].copy_from_slice(&len.to_be_bytes());
    Ok(frame)
}

/// Transaction, unit and PDU of a datagram.
pub(crate) fn open(datagram: &[u8]) -> io::Result<(u16, u8, Bytes)> {
    let [a, b, protocol_a, protocol_b, c, d, unit, pdu @ ..] = datagram else {
        return Err(malformed("is too short"));
    };
    if [*protocol_a, *protocol_b] != [0, 0] {
        return Err(malformed("is not of Modbus"));
    }
    if usize::from(u16::from_be_bytes([*c, *d])) != pdu.len() + 1 {
        return Err(malformed("has another length than it says"));
    }
    let transaction = u16::from_be_bytes([*a, *b]);
    Ok((transaction, *unit, Bytes::copy_from_slice(pdu)))
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a datagram {why}"))
}
