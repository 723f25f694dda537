//! Recordings: what a gateway's core was given, in a file.
//!
//! A recording holds each call that changed the core, with the time that it was made at: batches of sources, answers to requests, timers that
//! ran, and what was left out while the outbox filled. It begins with the cells of the core and the names of sources and tags. The same
//! mapping makes the same bytes of it, since the core is pure; another mapping finds the tags that it reads by source and address.
//!
//! # The file
//! The line `floorgate recording 1`, then blocks: length (4 bytes, little-endian) and CRC-32 (4 bytes) of what follows, and that: a raw
//! DEFLATE stream (RFC 1951). The first block is the [`Header`] as JSON. Each other block is columns, each a length and bytes: `calls`,
//! `texts`, `times`, `tags`, `forms`, `values`, `stamps` (the columns' own description is at `Columns`). Numbers are LEB128; signed ones are folded (0, -1, 1, -2, …). A block depends on no other but for the
//! names, so that a damaged one costs only itself. A file that ends within a block is whole up to there.

mod columns;
mod entry;
mod pack;
#[cfg(test)]
mod tests;
mod unpack;

use std::io::{self, Read, Write as _};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

pub use entry::{Call, Entry, Header, NamedTag, Names, state_of};
pub use pack::Packer;

/// The first line of a recording.
const FIRST_LINE: &[u8] = b"floorgate recording 1\n";
/// The largest block, packed; a longer one is damage.
const LARGEST_BLOCK: usize = 64 * 1024 * 1024;
/// The largest block, unpacked: what a file says that it holds is not believed beyond it. The names of half a million tags are less.
const LARGEST_CONTENT: u64 = 128 * 1024 * 1024;
/// What the entries of a block take in memory at most, beside their texts. A recorder's blocks take a fraction of it.
const LARGEST_ENTRIES: usize = 256 * 1024 * 1024;

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the recording")]
    Io(#[from] io::Error),
    /// Something else, or a later format.
    #[error("not a recording of this version of floorgate: its first line is not `floorgate recording 1`")]
    NoRecording,
    /// Bytes are not what was written.
    #[error("the recording is damaged at byte {at}: {what}")]
    Damaged {
        /// The block's place in the file.
        at: u64,
        /// What is wrong with it.
        what: String,
    },
}

/// What a recording begins with.
#[must_use]
pub fn beginning(header: &Header) -> Vec<u8> {
    let mut bytes = FIRST_LINE.to_vec();
    bytes.extend(frame(&serde_json::to_vec(header).unwrap_or_default()));
    bytes
}

/// A block of the file.
fn frame(content: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::with_capacity(content.len() / 2), Compression::new(3));
    // A vector takes what it is given.
    let packed = encoder
        .write_all(content)
        .and_then(|()| encoder.finish())
        .unwrap_or_default();
    let length = u32::try_from(packed.len()).unwrap_or(u32::MAX);
    let mut block = Vec::with_capacity(packed.len() + 8);
    block.extend(length.to_le_bytes());
    block.extend(crc32fast::hash(&packed).to_le_bytes());
    block.extend(packed);
    block
}

/// Reads a recording block by block.
#[derive(Debug)]
pub struct Recording<R> {
    input: R,
    at: u64,
    /// What the gateway was when it was recorded.
    pub header: Header,
    /// The file ended within a block.
    is_cut: bool,
}

impl<R: Read> Recording<R> {
    /// Reads the beginning.
    pub fn open(mut input: R) -> Result<Self, Error> {
        let mut line = [0; FIRST_LINE.len()];
        match input.read_exact(&mut line) {
            Ok(()) if line == *FIRST_LINE => {}
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error.into()),
            _ => return Err(Error::NoRecording),
        }
        let mut recording = Self {
            input,
            at: FIRST_LINE.len() as u64,
            header: Header::default(),
            is_cut: false,
        };
        let damaged = |what: String| Error::Damaged {
            at: FIRST_LINE.len() as u64,
            what,
        };
        let content = recording
            .content()?
            .ok_or_else(|| damaged("it ends before its header".to_owned()))?;
        recording.header = serde_json::from_slice(&content).map_err(|error| damaged(error.to_string()))?;
        Ok(recording)
    }

    /// What the next block holds; `None` at the end.
    pub fn next_block(&mut self) -> Result<Option<Vec<Entry>>, Error> {
        let at = self.at;
        let Some(content) = self.content()? else {
            return Ok(None);
        };
        let entries = unpack::entries(&content, LARGEST_ENTRIES).map_err(|what| Error::Damaged {
            at,
            what: what.to_owned(),
        })?;
        Ok(Some(entries))
    }

    /// Whether the file ended within a block: the process or the disk that wrote it ended before. Known at the end.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// A block's content, unpacked.
    fn content(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut head = [0; 8];
        let Some(()) = self.fill(&mut head)? else {
            return Ok(None);
        };
        let at = self.at;
        let damaged = |what: &str| Error::Damaged {
            at,
            what: what.to_owned(),
        };
        let word = |place: usize| {
            u32::from_le_bytes([head[place], head[place + 1], head[place + 2], head[place + 3]])
        };
        let length = word(0) as usize;
        if length > LARGEST_BLOCK {
            return Err(damaged("a block is too long"));
        }
        let mut packed = vec![0; length];
        let Some(()) = self.fill(&mut packed)? else {
            self.is_cut = true;
            return Ok(None);
        };
        if crc32fast::hash(&packed) != word(4) {
            return Err(damaged("a block's sum is wrong"));
        }
        let mut content = Vec::new();
        let mut decoder = DeflateDecoder::new(&*packed).take(LARGEST_CONTENT + 1);
        decoder
            .read_to_end(&mut content)
            .map_err(|_| damaged("a block cannot be unpacked"))?;
        if content.len() as u64 > LARGEST_CONTENT {
            return Err(damaged("a block is too long when it is unpacked"));
        }
        self.at = at + 8 + length as u64;
        Ok(Some(content))
    }

    /// Reads so many bytes; `None` where the file ends before.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<Option<()>, Error> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => {
                    self.is_cut = filled > 0;
                    return Ok(None);
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(()))
    }
}
