//! A stored row as a Kafka record.

use std::borrow::Cow;

use rdkafka::message::{Header, OwnedHeaders};
use thiserror::Error;

/// Kafka header: the lane's epoch, a decimal number.
pub const HEADER_LANE_EPOCH: &str = "floorgate_lane_epoch";
/// Kafka header: the record's place in its lane, a decimal number, contiguous from 1 within an epoch.
pub const HEADER_LANE_SEQUENCE: &str = "floorgate_lane_sequence";
/// Kafka header: what tells the processes that wrote to a lane apart.
pub const HEADER_INCARNATION: &str = "floorgate_incarnation";
/// Kafka header, `true`: the record was sent before and may be on the log already.
pub const HEADER_POSSIBLE_DUPLICATE: &str = "floorgate_possible_duplicate";

/// Headers of our own beside the row's.
const OWN_HEADERS: usize = 4;

/// What every record of a lane carries.
pub(crate) struct LaneMark<'a> {
    pub(crate) epoch: u32,
    pub(crate) sequence: u64,
    pub(crate) incarnation: &'a str,
    pub(crate) possible_duplicate: bool,
}

/// A stored header that cannot be a Kafka header.
#[derive(Debug, Error)]
#[error("stored header line `{line}` is not `name: value`")]
pub(crate) struct HeaderError {
    line: String,
}

/// The headers of a record: the row's own, one `name: value` a line, and the lane's.
pub(crate) fn headers(stored: &str, mark: &LaneMark<'_>) -> Result<OwnedHeaders, HeaderError> {
    let count = stored.bytes().filter(|byte| *byte == b'\n').count() + 1 + OWN_HEADERS;
    let mut headers = OwnedHeaders::new_with_capacity(count);
    for line in stored.lines() {
        let parts = line
            .split_once(':')
            .and_then(|(name, rest)| Some((name, rest.strip_prefix(' ')?)));
        match parts {
            Some((name, value)) if !name.is_empty() && !name.contains('\0') => {
                headers = headers.insert(Header {
                    key: name,
                    value: Some(decode(value).as_ref()),
                });
            }
            _ => {
                return Err(HeaderError {
                    line: line.to_owned(),
                });
            }
        }
    }
    headers = headers
        .insert(Header {
            key: HEADER_LANE_EPOCH,
            value: Some(&mark.epoch.to_string()),
        })
        .insert(Header {
            key: HEADER_LANE_SEQUENCE,
            value: Some(&mark.sequence.to_string()),
        })
        .insert(Header {
            key: HEADER_INCARNATION,
            value: Some(mark.incarnation),
        });
    if mark.possible_duplicate {
        headers = headers.insert(Header {
            key: HEADER_POSSIBLE_DUPLICATE,
            value: Some("true"),
        });
    }
    Ok(headers)
}

/// Undoes the encoding of what cannot stand in a line: `%25`, `%0D` and `%0A`. Anything else stays as it is.
fn decode(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return Cow::Borrowed(value);
    }
    Cow::Owned(
        value
            .replace("%0A", "\n")
            .replace("%0D", "\r")
            .replace("%25", "%"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::message::Headers;

    fn pairs(headers: &OwnedHeaders) -> Vec<(String, String)> {
        headers
            .iter()
            .map(|header| {
                let value = header
                    .value
                    .map(|value| String::from_utf8_lossy(value).into_owned());
                (header.key.to_owned(), value.unwrap_or_default())
            })
            .collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn headers_of_the_row_come_first_and_the_lane_marks_follow() {
        let mark = LaneMark {
            epoch: 2,
            sequence: 17,
            incarnation: "7f3a",
            possible_duplicate: true,
        };
        let headers = headers("ce_type: A\nce_subject: a: b%0A100%25", &mark).unwrap();
        assert_eq!(
            pairs(&headers),
            [
                pair("ce_type", "A"),
                pair("ce_subject", "a: b\n100%"),
                pair(HEADER_LANE_EPOCH, "2"),
                pair(HEADER_LANE_SEQUENCE, "17"),
                pair(HEADER_INCARNATION, "7f3a"),
                pair(HEADER_POSSIBLE_DUPLICATE, "true"),
            ]
        );
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let mark = LaneMark {
            epoch: 1,
            sequence: 1,
            incarnation: "1",
            possible_duplicate: false,
        };
        for stored in ["ce_type", ": A", "ce\0type: A", "a: b\n\nc: d"] {
            assert!(headers(stored, &mark).is_err(), "{stored:?}");
        }
        assert!(headers("", &mark).is_ok());
    }

    #[test]
    fn an_encoded_percent_sign_does_not_make_a_line_feed() {
        assert_eq!(decode("%250A"), "%0A");
    }
}
