//! Servers of frames that the library's servers do not know, and of those on a pair of terminals.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::device::{Device, crc};

/// A certificate, or a key, that was made for these tests.
pub fn certificate(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/certificates")
        .join(format!("{name}.pem"))
}

/// RTU frames. `_other_end` is kept open, so that the adapter may close and open it as it likes.
pub async fn serve_rtu<T: AsyncRead + AsyncWrite + Unpin>(
    mut stream: T,
    _other_end: impl Send,
    device: Device,
) {
    let mut request = [0; 8];
    while stream.read_exact(&mut request[..2]).await.is_ok() {
        // The device identification (43) is asked for with a byte less, and a queue (24) by its address alone.
        let len = match request[1] {
            24 => 6,
            43 => 7,
            _ => 8,
        };
        if stream.read_exact(&mut request[2..len]).await.is_err() {
            break;
        }
        assert_eq!(
            request[len - 2..len],
            crc(&request[..len - 2]),
            "the adapter's frames have the right checksum"
        );
        let Some(answer) = device.reply(request[0], &request[1..len - 2]) else {
            continue;
        };
        let mut frame = [vec![request[0]], answer].concat();
        frame.extend(crc(&frame));
        if stream.write_all(&frame).await.is_err() {
            break;
        }
    }
}

/// ASCII frames.
pub async fn serve_ascii<T: AsyncRead + AsyncWrite + Unpin>(
    stream: T,
    _other_end: impl Send,
    device: Device,
) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|len| len > 0) {
        let digits = line.strip_prefix(':').and_then(|line| line.strip_suffix("\r\n"));
        let digits = digits.expect("the adapter's frames have their marks");
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits");
        let request: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
        assert_eq!(sum(&request), 0, "the adapter's frames have the right check sum");
        line.clear();
        let Some(answer) = device.reply(request[0], &request[1..request.len() - 1]) else {
            continue;
        };
        let mut frame = [vec![request[0]], answer].concat();
        frame.push(sum(&frame).wrapping_neg());
        let digits: Vec<String> = frame.iter().map(|byte| format!("{byte:02X}")).collect();
        if stream
            .write_all(format!(":{}\r\n", digits.concat()).as_bytes())
            .await
            .is_err()
        {
            break;
        }
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// Connections with ASCII frames.
pub async fn serve_ascii_over_tcp(listener: TcpListener, device: Device) {
    let mut sessions = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        sessions.spawn(serve_ascii(stream, device.open(), device.clone()));
    }
}

/// The answer to a frame of Modbus TCP.
fn answer(device: &Device, frame: &[u8]) -> Option<Vec<u8>> {
    let pdu = device.reply(frame[6], &frame[7..])?;
    let len = u16::try_from(pdu.len() + 1).expect("a short answer");
    Some([&frame[..4], &len.to_be_bytes(), &frame[6..7], &pdu].concat())
}

/// Frames in datagrams.
pub async fn serve_udp(socket: UdpSocket, device: Device) {
    let mut frame = [0; 300];
    while let Ok((len, client)) = socket.recv_from(&mut frame).await {
        if let Some(answer) = answer(&device, &frame[..len]) {
            // The client may be gone.
            let _ = socket.send_to(&answer, client).await;
        }
    }
}

/// Modbus TCP within TLS, for clients with a certificate of the authority.
pub async fn serve_tls(listener: TcpListener, device: Device) {
    let acceptor = acceptor();
    let mut sessions = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, device) = (acceptor.clone(), device.clone());
        sessions.spawn(async move {
            // Who is not let in, or leaves, is none of the server's business.
            let _ = serve_secured(stream, acceptor, device).await;
        });
    }
}

async fn serve_secured(stream: TcpStream, acceptor: TlsAcceptor, device: Device) -> io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let _open = device.open();
    let mut header = [0; 6];
    loop {
        stream.read_exact(&mut header).await?;
        let mut frame = header.to_vec();
        frame.resize(6 + usize::from(u16::from_be_bytes([header[4], header[5]])), 0);
        stream.read_exact(&mut frame[6..]).await?;
        if let Some(answer) = answer(&device, &frame) {
            stream.write_all(&answer).await?;
            stream.flush().await?;
        }
    }
}

fn acceptor() -> TlsAcceptor {
    let read = |name: &str| CertificateDer::from_pem_file(certificate(name)).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(read("authority")).expect("an authority");
    let provider = Arc::new(ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .expect("there is an authority");
    let key = PrivateKeyDer::from_pem_file(certificate("plc.key")).expect("a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the usual versions")
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![read("plc")], key)
        .expect("the key is the certificate's");
    Arc::new(config).into()
}
