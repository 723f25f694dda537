//! The nonce that the next activation of a session is signed over, and that a password is encrypted with.
//!
//! It is that of the server's last answer to `CreateSession` or `ActivateSession` (OPC 10000-4 §5.7.3). The library keeps it in the place of the
//! secure channel's own, so that each channel that is opened or renewed writes over it: a server that checks signatures would then never
//! re-activate a session on another connection, and keep the old one beside a new one until its time is over.

use opcua::client::transport::SecureChannelState;

/// What the nonces of a session and its channel are, by looking after each message.
#[derive(Debug, Default)]
pub struct Nonces {
    /// Channel and token that the channel's nonce is of; zeros while there is none.
    token: (u32, u32),
    of_channel: Vec<u8>,
    of_session: Option<Vec<u8>>,
}

impl Nonces {
    /// Looks at the channel; where it was opened or renewed since the last look, the session's nonce is put back. The channel's own has been used by
    /// then: keys are derived when it comes.
    pub fn look(&mut self, state: &SecureChannelState) {
        let mut channel = state.secure_channel().write();
        let token = (channel.secure_channel_id(), channel.token_id());
        if let Some(nonce) = self.seen(token, channel.remote_nonce()) {
            channel.set_remote_nonce(nonce);
        }
    }

    /// Takes note of what is there, and gives what belongs there instead.
    fn seen(&mut self, token: (u32, u32), nonce: &[u8]) -> Option<&[u8]> {
        let is_of_channel = token != self.token && token != (0, 0);
        self.token = token;
        if is_of_channel {
            self.of_channel = nonce.to_vec();
            return self.of_session.as_deref();
        }
        if nonce != self.of_channel && Some(nonce) != self.of_session.as_deref() {
            self.of_session = Some(nonce.to_vec());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_channel_overwrites_is_put_back() {
        let mut nonces = Nonces::default();
        assert_eq!(nonces.seen((7, 1), b"channel"), None, "there is no session yet");
        for of_session in [b"created", b"activat"] {
            assert_eq!(nonces.seen((7, 1), of_session), None);
        }
        assert_eq!(nonces.seen((7, 2), b"renewed"), Some(&b"activat"[..]));
        assert_eq!(nonces.seen((7, 2), b"activat"), None, "as it was put back");
        // The connection is lost. The next channel may have the same number.
        assert_eq!(nonces.seen((0, 0), b"activat"), None);
        assert_eq!(nonces.seen((7, 2), b"another"), Some(&b"activat"[..]));
        assert_eq!(nonces.seen((7, 2), b"newest"), None);
        assert_eq!(nonces.seen((0, 0), b"newest"), None);
        assert_eq!(nonces.seen((8, 1), b"last"), Some(&b"newest"[..]));
    }
}
