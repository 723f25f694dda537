//! What comes from a server, chunk by chunk (OPC 10000-6 §6.7.2), before the library takes it.
//!
//! A chunk passes when it is there as a whole, and the last one of a message when the message was [looked at](crate::nesting). For that each is decrypted here and again in the
//! library, which offers no other place. What is wrong with a chunk itself is left to the library, which names it. Of a message no more is kept than it may be large.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use opcua::client::transport::SecureChannelState;
use opcua::core::comms::message_chunk::{MessageChunk, MessageIsFinalType};
use opcua::core::comms::message_chunk_info::ChunkInfo;
use opcua::core::comms::security_header::SecurityHeader;
use opcua::types::{BinaryDecodable as _, CreateSessionResponse, NodeId, ObjectId};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::bytes::{Buf as _, Bytes, BytesMut};
use tokio_util::io::poll_read_buf;

use crate::nesting;
use crate::reason::Reason;
use crate::revised::duration;
use crate::transport::Cutter;

/// Kind, whether it is the last, and size.
const HEADER: usize = 8;
/// With the channel, its token, and the numbers of sequence and request.
const LEAST: usize = HEADER + 16;
/// Most of an answer that opens the channel: it is decrypted with the gateway's key, which takes milliseconds for some hundred bytes, and anybody may have sent it.
const MOST_OPENING: usize = 8 << 10;
/// What is read in one go at most.
const READ: usize = 16 << 10;

/// A stream of which only that is read which the library can take.
pub struct Gate<S> {
    stream: S,
    channel: Arc<SecureChannelState>,
    cutter: Cutter,
    /// Largest message, in bytes and in chunks.
    most: (usize, usize),
    /// What came.
    came: BytesMut,
    /// How much of it may pass.
    passes: usize,
    /// The server has answered the greeting.
    is_greeted: bool,
    /// A message that is not there as a whole.
    begun: Option<Begun>,
}

/// The chunks of a message up to now.
struct Begun {
    request: u32,
    /// Of the last chunk.
    sequence: u32,
    bytes: Vec<u8>,
    count: usize,
    /// Where each chunk but the first begins.
    chunks: Vec<usize>,
}

impl<S> Gate<S> {
    /// Nothing has come yet.
    pub fn new(stream: S, channel: Arc<SecureChannelState>, cutter: Cutter, most: (usize, usize)) -> Self {
        Self {
            stream,
            channel,
            cutter,
            most,
            came: BytesMut::new(),
            passes: 0,
            is_greeted: false,
            begun: None,
        }
    }

    /// How large the chunk is that comes first, where it is there as a whole and may pass.
    fn first(&mut self) -> Result<Option<usize>, String> {
        let Some(header) = self.came.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let is_of_channel = match &header[..3] {
            b"MSG" | b"OPN" | b"CLO" => true,
            b"ACK" | b"ERR" | b"RHE" => false,
            _ => return Err("what it says is not OPC UA".to_owned()),
        };
        let size = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size <= HEADER || (is_of_channel && size < LEAST) || size > self.most.0 {
            return Err(format!("it sent a chunk of {size} bytes"));
        }
        if is_of_channel && !self.is_greeted {
            return Err("it sent a message before it was greeted".to_owned());
        }
        if self.came.len() < size {
            return Ok(None);
        }
        self.is_greeted |= header.starts_with(b"ACK");
        if is_of_channel {
            let chunk = Bytes::copy_from_slice(&self.came[..size]);
            self.look_at(chunk)?;
        }
        Ok(Some(size))
    }

    fn look_at(&mut self, chunk: Bytes) -> Result<(), String> {
        let Some((chunk, info)) = opened(&self.channel, chunk)? else {
            return Ok(());
        };
        let MessageChunk { data } = chunk;
        let body = &data[info.body_offset..];
        let (request, sequence) = (
            info.sequence_header.request_id,
            info.sequence_header.sequence_number,
        );
        let mut begun = self.begun.take().unwrap_or_else(|| Begun {
            request,
            sequence: sequence.wrapping_sub(1),
            bytes: Vec::new(),
            count: 0,
            chunks: Vec::new(),
        });
        // The library leaves those out that do not follow each other.
        if (begun.request, begun.sequence.wrapping_add(1)) != (request, sequence) {
            return Err("it sent chunks of several messages at a time".to_owned());
        }
        let (most_bytes, most_chunks) = self.most;
        begun.count += 1;
        if begun.bytes.len().saturating_add(body.len()) > most_bytes || begun.count > most_chunks {
            return Err(format!(
                "it sent a message of more than {most_bytes} bytes or {most_chunks} chunks"
            ));
        }
        let place = begun.bytes.len();
        if place > 0 && begun.chunks.last() != Some(&place) {
            begun.chunks.push(place);
        }
        match info.message_header.is_final {
            MessageIsFinalType::Intermediate => {
                begun.sequence = sequence;
                begun.bytes.extend_from_slice(body);
                self.begun = Some(begun);
                Ok(())
            }
            MessageIsFinalType::FinalError => Ok(()),
            MessageIsFinalType::Final => {
                let message = if begun.bytes.is_empty() {
                    body
                } else {
                    begun.bytes.extend_from_slice(body);
                    &begun.bytes
                };
                nesting::look_at_answer(message, &begun.chunks)
                    .map_err(|refused| format!("it sent a message that cannot be read: {refused}"))?;
                let context = self.channel.secure_channel().read().context_arc();
                if let Some(timeout) = session_timeout(message, &context.read().context()) {
                    self.cutter.session_made(timeout);
                }
                Ok(())
            }
        }
    }
}

/// How long the server keeps the session without a request, where the message says that it made one (OPC 10000-4 §5.7.2): the library keeps that to itself.
fn session_timeout(mut message: &[u8], context: &opcua::types::Context<'_>) -> Option<Duration> {
    let encoding = NodeId::decode(&mut message, context).ok()?;
    if encoding != ObjectId::CreateSessionResponse_Encoding_DefaultBinary {
        return None;
    }
    let response = CreateSessionResponse::decode(&mut message, context).ok()?;
    let timeout = duration(response.revised_session_timeout);
    // Of none at all nothing can be made.
    (response.response_header.service_result.is_good() && !timeout.is_zero()).then_some(timeout)
}

/// A chunk without its security; `None` where the library is to say what is wrong with it.
fn opened(state: &SecureChannelState, chunk: Bytes) -> Result<Option<(MessageChunk, ChunkInfo)>, String> {
    let channel = state.secure_channel().read();
    let policy = channel.security_policy();
    let raw = MessageChunk { data: chunk.clone() };
    // Without a whole header the library would decrypt what is not there.
    let Ok(outside) = raw.chunk_info(&channel) else {
        return Err("it sent a chunk whose header cannot be read".to_owned());
    };
    let secured = chunk.len() - outside.sequence_header_offset;
    match &outside.security_header {
        SecurityHeader::Asymmetric(header) => {
            if header.security_policy_uri.as_ref() != policy.to_uri() {
                let uri = &header.security_policy_uri;
                return Err(format!(
                    "it answered with the security policy `{uri}`, which was not asked for"
                ));
            }
            if secured > MOST_OPENING {
                return Err(format!("it opened the channel with {secured} bytes"));
            }
        }
        // The library takes it for granted that there is a signature.
        SecurityHeader::Symmetric(_) if secured < policy.symmetric_signature_size() => {
            return Err(format!("it sent a chunk of {} bytes", chunk.len()));
        }
        SecurityHeader::Symmetric(_) => {}
    }
    // Where the sizes do not fit a key, the library panics.
    let opening = AssertUnwindSafe(|| channel.verify_and_remove_security(chunk));
    let Ok(opened) = catch_unwind(opening) else {
        return Err("it sent a chunk that cannot be decrypted".to_owned());
    };
    let Ok(chunk) = opened else { return Ok(None) };
    let info = chunk.chunk_info(&channel).ok();
    Ok(info.map(|info| (chunk, info)))
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let gate = &mut *self;
        while gate.passes == 0 {
            match gate.first() {
                Ok(Some(size)) => gate.passes = size,
                Ok(None) => {
                    gate.came.reserve(READ);
                    let read = ready!(poll_read_buf(Pin::new(&mut gate.stream), cx, &mut gate.came))?;
                    if read == 0 {
                        // What is not whole ends the connection in the library.
                        gate.passes = gate.came.len();
                        break;
                    }
                }
                Err(told) => {
                    let error = io::Error::new(io::ErrorKind::InvalidData, told.clone());
                    gate.cutter.refuse(Reason::new(told, "opcua-message-too-large"));
                    return Poll::Ready(Err(error));
                }
            }
        }
        let passing = gate.passes.min(buffer.remaining());
        buffer.put_slice(&gate.came[..passing]);
        gate.came.advance(passing);
        gate.passes -= passing;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use opcua::types::{
        BinaryEncodable, ContextOwned, CreateSubscriptionResponse, ResponseHeader, StatusCode,
    };

    use super::*;

    fn encoded(encoding: ObjectId, body: &impl BinaryEncodable) -> Vec<u8> {
        let context = ContextOwned::default();
        let mut bytes = NodeId::from(encoding).encode_to_vec(&context.context());
        bytes.extend(body.encode_to_vec(&context.context()));
        bytes
    }

    fn told(message: &[u8]) -> Option<Duration> {
        session_timeout(message, &ContextOwned::default().context())
    }

    #[test]
    fn how_long_a_session_is_kept_is_read_of_the_answer_that_made_one() {
        let answer = |status, revised_session_timeout| {
            let response = CreateSessionResponse {
                response_header: ResponseHeader {
                    service_result: status,
                    ..ResponseHeader::null()
                },
                revised_session_timeout,
                ..Default::default()
            };
            encoded(ObjectId::CreateSessionResponse_Encoding_DefaultBinary, &response)
        };
        let good = answer(StatusCode::Good, 30_000.0);
        assert_eq!(told(&good), Some(Duration::from_secs(30)));
        assert_eq!(told(&good[..good.len() / 2]), None, "not whole");
        for without in [0.0, -1.0, f64::NAN] {
            assert_eq!(told(&answer(StatusCode::Good, without)), None, "{without}");
        }
        assert_eq!(told(&answer(StatusCode::BadTooManySessions, 30_000.0)), None);
        let other = CreateSubscriptionResponse::default();
        let other = encoded(
            ObjectId::CreateSubscriptionResponse_Encoding_DefaultBinary,
            &other,
        );
        assert_eq!(told(&other), None);
    }
}
