//! A record's headers that say whose it is.

use crate::record::{HEADER_GATEWAY, HEADER_LANE_EPOCH, HEADER_LANE_SEQUENCE, HEADER_TRANSACTIONAL};

/// The header that has the event's id in CloudEvents' binary mode.
const HEADER_ID: &str = "ce_id";

/// What the headers of a gateway's own record say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mark<'a> {
    pub(crate) epoch: u32,
    pub(crate) sequence: u64,
    pub(crate) id: Option<&'a [u8]>,
    /// It was sent in a transaction.
    pub(crate) transactional: bool,
}

impl<'a> Mark<'a> {
    /// `None` where the record is not of this gateway, or lacks what its records have.
    pub(crate) fn read(
        headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
        gateway: &str,
    ) -> Option<Self> {
        let (mut is_ours, mut id, mut epoch, mut sequence, mut transactional) =
            (false, None, None, None, false);
        for (key, value) in headers {
            match key {
                HEADER_GATEWAY => is_ours = value == Some(gateway.as_bytes()),
                HEADER_ID => id = value,
                HEADER_TRANSACTIONAL => transactional = true,
                HEADER_LANE_EPOCH => epoch = number(value),
                HEADER_LANE_SEQUENCE => sequence = number(value),
                _ => {}
            }
        }
        is_ours.then_some(Self {
            epoch: u32::try_from(epoch?).ok()?,
            sequence: sequence?,
            id,
            transactional,
        })
    }
}

fn number(value: Option<&[u8]>) -> Option<u64> {
    std::str::from_utf8(value?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::with_seeds;
    use crate::reconcile::{Claim, Own, Print, Tail};

    fn read<'a>(headers: &[(&'a str, Option<&'a [u8]>)]) -> Option<Mark<'a>> {
        Mark::read(headers.iter().copied(), "gw")
    }

    #[test]
    fn only_whole_headers_of_this_gateway_are_marks() {
        let whole: [(&str, Option<&[u8]>); 4] = [
            (HEADER_GATEWAY, Some(b"gw")),
            (HEADER_LANE_EPOCH, Some(b"7")),
            (HEADER_LANE_SEQUENCE, Some(b"12")),
            (HEADER_ID, Some(b"x")),
        ];
        let mark = Mark {
            epoch: 7,
            sequence: 12,
            id: Some(b"x"),
            transactional: false,
        };
        assert_eq!(read(&whole), Some(mark));
        for missing in 0..3 {
            let mut headers = whole.to_vec();
            headers.remove(missing);
            assert_eq!(read(&headers), None);
        }
    }

    #[test]
    fn no_header_is_too_strange() {
        const KEYS: [&str; 5] = [
            HEADER_GATEWAY,
            HEADER_LANE_EPOCH,
            HEADER_LANE_SEQUENCE,
            HEADER_ID,
            "\u{0}",
        ];
        const VALUES: [Option<&[u8]>; 11] = [
            None,
            Some(b""),
            Some(b"gw"),
            Some(b"gw\0"),
            Some(b"0"),
            Some(b"-1"),
            Some(b"+7"),
            Some(b"4294967296"),
            Some(b"18446744073709551615"),
            Some(b"18446744073709551616"),
            Some(b"\xff\xfe"),
        ];
        with_seeds(200_000, |random| {
            let headers: Vec<_> = (0..random.usize(..7))
                .map(|_| {
                    (
                        KEYS[random.usize(..KEYS.len())],
                        VALUES[random.usize(..VALUES.len())],
                    )
                })
                .collect();
            let claim = Claim {
                epoch: 1,
                base: u64::MAX,
                acknowledged: 0,
                offset: None,
                last: u64::MAX,
                has_sent: true,
            };
            let Some(mark) = read(&headers) else { return };
            assert!(headers.contains(&(HEADER_GATEWAY, Some(b"gw"))));
            let own = Own {
                offset: i64::MAX,
                sequence: mark.sequence,
                print: Print::of(mark.id, b"", b""),
            };
            Tail::default().take(&claim, mark.epoch, own);
        });
    }
}
