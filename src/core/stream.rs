//! Ordering streams: CloudEvents `source` and its contiguous `sequence`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// One ordering stream: a work unit, or a source of the gateway.
#[derive(Debug)]
pub(crate) struct Stream {
    /// CloudEvents `source`.
    pub(crate) urn: Arc<str>,
    /// Rises when the counter was lost.
    pub(crate) epoch: u32,
    /// Number of the last event of the epoch.
    pub(crate) last: u64,
    /// The state is to be stored with the next commit.
    pub(crate) dirty: bool,
    /// The key of its cell.
    cell: Arc<str>,
    /// The headers that its events share, by their type.
    shared_headers: Vec<(Arc<str>, Arc<str>)>,
}

impl Stream {
    /// `urn:floorgate:<gateway>:<parts of the path>`; the counter goes on where it was. Where nothing is stored of it, it
    /// begins in a new epoch.
    pub(crate) fn new(
        gateway: &str,
        path: &str,
        new_epoch: u32,
        stored: &dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let mut urn = format!("urn:floorgate:{gateway}");
        for part in path.split('/').filter(|part| !part.is_empty()) {
            urn.push(':');
            push_escaped(&mut urn, part);
        }
        let cell: Arc<str> = cell(&urn).into();
        let known = stored(&cell).and_then(|text| {
            let (epoch, last) = text.split_once('-')?;
            Some((epoch.parse().ok()?, last.parse().ok()?))
        });
        let (epoch, last) = known.unwrap_or((new_epoch, 0));
        Self {
            urn: urn.into(),
            epoch,
            last,
            dirty: false,
            cell,
            shared_headers: Vec::new(),
        }
    }

    /// The headers that its events of a type share; made once.
    pub(crate) fn shared_headers(
        &mut self,
        event_type: &Arc<str>,
        make: impl Fn(&str) -> String,
    ) -> Arc<str> {
        let known = self.shared_headers.iter().find(|(known, _)| known == event_type);
        if let Some((_, headers)) = known {
            return Arc::clone(headers);
        }
        let headers: Arc<str> = make(&self.urn).into();
        self.shared_headers
            .push((Arc::clone(event_type), Arc::clone(&headers)));
        headers
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.last += 1;
        self.dirty = true;
        self.last
    }

    /// Begins a new epoch, since its counter may have been further than it is known.
    pub(crate) fn renew(&mut self, epoch: u32) {
        self.epoch = epoch.max(self.epoch.saturating_add(1));
        self.last = 0;
        self.dirty = true;
    }

    /// Key and text of the stream's cell.
    pub(crate) fn save(&self) -> (Arc<str>, String) {
        (Arc::clone(&self.cell), format!("{}-{}", self.epoch, self.last))
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
        new_epoch: u32,
        stored: &dyn Fn(&str) -> Option<String>,
    ) -> usize {
        if let Some(&index) = self.by_path.get(path) {
            return index;
        }
        self.all.push(Stream::new(gateway, path, new_epoch, stored));
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
        let stored =
            |key: &str| (key == "stream:urn:floorgate:gw-1:acme:line%201").then(|| "7-41".to_owned());
        let mut stream = Stream::new("gw-1", "acme/line 1", 9, &stored);
        assert_eq!(stream.next(), 42);
        assert_eq!(
            stream.save(),
            ("stream:urn:floorgate:gw-1:acme:line%201".into(), "7-42".into())
        );
    }

    #[test]
    fn a_stream_whose_counter_is_lost_begins_a_later_epoch() {
        let mut stream = Stream::new("gw-1", "acme/line", 9, &|_| None);
        assert_eq!((stream.epoch, stream.next()), (9, 1));
        stream.renew(12);
        assert_eq!((stream.epoch, stream.next()), (12, 1));
        stream.renew(12);
        assert_eq!((stream.epoch, stream.next()), (13, 1));
    }
}
