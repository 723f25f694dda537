//! Ordering streams: CloudEvents `source` and its contiguous `sequence`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// One ordering stream: a work unit, or a source of the gateway.
#[derive(Debug)]
pub(crate) struct Stream {
    /// CloudEvents `source`.
    pub(crate) urn: Arc<str>,
    /// Number of the last event.
    pub(crate) last: u64,
    /// The state is to be stored with the next commit.
    pub(crate) dirty: bool,
}

impl Stream {
    /// `urn:floorgate:<gateway>:<parts of the path>`; the counter goes on where it was.
    pub(crate) fn new(gateway: &str, path: &str, stored: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut urn = format!("urn:floorgate:{gateway}");
        for part in path.split('/').filter(|part| !part.is_empty()) {
            urn.push(':');
            push_escaped(&mut urn, part);
        }
        let last = stored(&cell(&urn))
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        Self {
            urn: urn.into(),
            last,
            dirty: false,
        }
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.last += 1;
        self.dirty = true;
        self.last
    }

    /// Key and text of the stream's cell.
    pub(crate) fn save(&self) -> (String, String) {
        (cell(&self.urn), self.last.to_string())
    }
}

fn cell(urn: &str) -> String {
    format!("stream:{urn}")
}

/// Percent-encodes what a URN's parts may not contain (RFC 8141 §2.2), the colon included: it parts them.
fn push_escaped(urn: &mut String, part: &str) {
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            urn.push(char::from(byte));
        } else {
            let _ = write!(urn, "%{byte:02X}");
        }
    }
}

/// The streams of a plan, each once.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub(crate) all: Vec<Stream>,
    by_path: HashMap<Arc<str>, usize>,
}

impl Streams {
    /// The number of the stream of a path.
    pub(crate) fn of(
        &mut self,
        gateway: &str,
        path: &Arc<str>,
        stored: &dyn Fn(&str) -> Option<String>,
    ) -> usize {
        if let Some(&index) = self.by_path.get(path) {
            return index;
        }
        self.all.push(Stream::new(gateway, path, stored));
        let index = self.all.len() - 1;
        self.by_path.insert(Arc::clone(path), index);
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_goes_on_where_it_was() {
        let stored = |key: &str| (key == "stream:urn:floorgate:gw-1:acme:line%201").then(|| "41".to_owned());
        let mut stream = Stream::new("gw-1", "acme/line 1", &stored);
        assert_eq!(stream.next(), 42);
        assert_eq!(
            stream.save(),
            ("stream:urn:floorgate:gw-1:acme:line%201".into(), "42".into())
        );
    }
}
