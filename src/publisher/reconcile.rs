//! What the end of a partition says about a lane. No input or output here.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher};

use floorgate_outbox::Acknowledged;

/// What tells one record from another: the `ce_id` where it stands in a header, and the bytes of key and value, in which it stands otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Print {
    id: Option<u64>,
    content: u64,
}

impl Print {
    pub(crate) fn of(id: Option<&[u8]>, key: &[u8], value: &[u8]) -> Self {
        let mut content = DefaultHasher::new();
        content.write_usize(key.len());
        content.write(key);
        content.write(value);
        Self {
            id: id.map(|id| {
                let mut hasher = DefaultHasher::new();
                hasher.write(id);
                hasher.finish()
            }),
            content: content.finish(),
        }
    }

    /// Whether the record is that of the row.
    fn is_of(self, row: Self) -> bool {
        self.content == row.content && self.id.is_none_or(|id| Some(id) == row.id)
    }
}

/// What the store says of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) epoch: u32,
    /// The epoch began after this sequence: a record's number on the log is less by it.
    pub(crate) base: u64,
    /// Everything up to here was acknowledged.
    pub(crate) acknowledged: u64,
    /// The offset of that record, or one that is not above it; `None` where none was ever told.
    pub(crate) offset: Option<i64>,
    /// The last sequence that was given out.
    pub(crate) last: u64,
    /// Something may have been sent whose outcome is not known.
    pub(crate) has_sent: bool,
}

impl Claim {
    /// Whether a record of this epoch was acknowledged, and has to be there.
    pub(crate) fn has_acknowledged(&self) -> bool {
        self.acknowledged > self.base
    }
}

/// A record of the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) offset: i64,
    /// As the store numbers it.
    pub(crate) sequence: u64,
    pub(crate) print: Print,
}

/// The end of a partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    /// The log's first offset.
    pub(crate) low: i64,
    /// The offset after its last record.
    pub(crate) high: i64,
    /// The last acknowledged record, where it is found at the claim's offset or after it.
    pub(crate) acknowledged: Option<Own>,
    /// The lane's records from there on with a sequence above the acknowledged one, in the log's order.
    pub(crate) records: Vec<Own>,
    /// So many of them are before the acknowledged one: consumers passed them over, and wait for them to come again.
    pub(crate) before: usize,
    /// Something of this gateway that the store knows nothing of: a later epoch, or a sequence that was never given out.
    pub(crate) foreign: bool,
    /// The highest epoch of this gateway's records.
    pub(crate) epoch: u32,
    /// The log ends, or ended when it was first looked at, before the claim's offset.
    pub(crate) ends_before: bool,
    /// The log begins before anything of the claim can have been sent: nothing of it has expired.
    pub(crate) is_whole: bool,
}

impl Tail {
    /// Takes the log's bounds.
    pub(crate) fn reach(&mut self, claim: &Claim, low: i64, high: i64) {
        (self.low, self.high) = (low, high);
        self.ends_before |= claim.offset.is_some_and(|offset| offset >= high);
    }

    /// Takes a record of the lane from the log: its epoch, and itself with the sequence that it has there.
    pub(crate) fn take(&mut self, claim: &Claim, epoch: u32, on_log: Own) {
        let own = Own {
            sequence: on_log.sequence.saturating_add(claim.base),
            ..on_log
        };
        self.epoch = self.epoch.max(epoch);
        if self.ends_before {
            // A new epoch follows whatever it has.
        } else if epoch > claim.epoch || (epoch == claim.epoch && own.sequence > claim.last) {
            self.foreign = true;
            // It decides by itself, and there may be much of it.
            self.records = Vec::new();
        } else if epoch == claim.epoch {
            if own.sequence == claim.acknowledged {
                if self.acknowledged.is_none() {
                    self.before = self.records.len();
                }
                self.acknowledged = Some(own);
            }
            if own.sequence > claim.acknowledged && !self.foreign {
                self.records.push(own);
            }
        }
    }
}

/// What follows for the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Everything up to this sequence is on the log; the last of it has this offset, if it was found here. Beyond a hole there are
    /// records up to `highest`, which come twice when the hole is filled in order.
    Settled {
        sequence: u64,
        offset: Option<i64>,
        highest: u64,
    },
    /// Older records were deleted from the log, and those of the lane may have been among them.
    Unknown,
    /// The last acknowledged record is not where it was: the log was truncated, or the topic deleted and made anew.
    Truncated,
    /// The log has records of this gateway that the store does not have: the store is an older copy, or there are two.
    RolledBack,
}

/// Compares the store's claim with the log. `row` gives the print of the stored row with a sequence.
pub(crate) fn judge<E>(
    claim: &Claim,
    tail: &Tail,
    mut row: impl FnMut(u64) -> Result<Option<Print>, E>,
) -> Result<Verdict, E> {
    let mut is_same =
        |own: &Own| -> Result<bool, E> { Ok(row(own.sequence)?.is_some_and(|row| own.print.is_of(row))) };
    if tail.ends_before {
        return Ok(Verdict::Truncated);
    }
    let has_expired = match claim.offset {
        Some(offset) if claim.has_acknowledged() => offset < tail.low,
        // It is where the log ended before the epoch.
        Some(offset) => offset + 1 < tail.low,
        None => claim.has_sent && tail.low > 0 && !tail.is_whole,
    };
    let mut begins_later = false;
    match tail.acknowledged {
        Some(own) if !is_same(&own)? => return Ok(Verdict::RolledBack),
        None if has_expired => {
            begins_later = true;
        }
        None if claim.has_acknowledged() => return Ok(Verdict::Truncated),
        _ => {}
    }
    if tail.foreign {
        return Ok(Verdict::RolledBack);
    }
    let mut settled = claim.acknowledged;
    let (mut offset, mut highest) = (None, claim.acknowledged);
    if begins_later {
        // A lane goes out in order: what was before the first record that is left, was on the log.
        match tail.records.first() {
            None => return Ok(Verdict::Unknown),
            Some(own) => settled = own.sequence.saturating_sub(1),
        }
    }
    for (place, own) in tail.records.iter().enumerate() {
        if !is_same(own)? {
            return Ok(Verdict::RolledBack);
        }
        highest = highest.max(own.sequence);
        if own.sequence == settled + 1 && place >= tail.before {
            settled = own.sequence;
            offset = Some(own.offset);
        }
    }
    Ok(Verdict::Settled {
        sequence: settled,
        offset,
        highest: highest.max(settled),
    })
}

/// Whether a log that has lost something has lost what was acknowledged since it was known to be whole: `claim` is of then, and everything up
/// to the last one has to be there now. Told by the numbers, since the rows may be deleted already.
pub(crate) fn has_lost(claim: &Claim, last: Acknowledged, tail: &Tail) -> bool {
    let there: HashSet<u64> = tail.records.iter().map(|own| own.sequence).collect();
    let first = match claim.offset {
        // The log's older records were deleted, and what is left is looked at.
        Some(offset) if claim.has_acknowledged() && offset < tail.low && tail.acknowledged.is_none() => {
            match there.iter().min() {
                Some(first) => *first,
                None => return tail.ends_before || last.offset.is_some_and(|offset| offset >= tail.low),
            }
        }
        _ if claim.has_acknowledged() && tail.acknowledged.is_none() => return true,
        _ => claim.acknowledged + 1,
    };
    tail.ends_before || !(first..=last.sequence).all(|sequence| there.contains(&sequence))
}

#[cfg(test)]
mod tests {
    use floorgate_outbox::LaneId;

    use super::*;

    const CLAIM: Claim = Claim {
        epoch: 1,
        base: 0,
        acknowledged: 3,
        offset: Some(10),
        last: 6,
        has_sent: true,
    };

    fn print(sequence: u64) -> Print {
        Print::of(Some(&sequence.to_be_bytes()), b"line1", b"value")
    }

    fn own(offset: i64, sequence: u64) -> Own {
        Own {
            offset,
            sequence,
            print: print(sequence),
        }
    }

    fn tail(records: &[Own]) -> Tail {
        Tail {
            low: 0,
            high: 20,
            acknowledged: Some(own(10, 3)),
            records: records.to_vec(),
            before: 0,
            foreign: false,
            epoch: 1,
            ends_before: false,
            is_whole: false,
        }
    }

    fn verdict(claim: &Claim, tail: &Tail) -> Verdict {
        let row = |sequence| Ok::<_, ()>((sequence <= claim.last).then(|| print(sequence)));
        judge(claim, tail, row).unwrap()
    }

    fn settled(sequence: u64, offset: Option<i64>) -> Verdict {
        Verdict::Settled {
            sequence,
            offset,
            highest: sequence,
        }
    }

    #[test]
    fn what_is_found_without_a_hole_is_delivered() {
        assert_eq!(verdict(&CLAIM, &tail(&[])), settled(3, None));
        let found = tail(&[own(11, 4), own(13, 5)]);
        assert_eq!(verdict(&CLAIM, &found), settled(5, Some(13)));
        let with_hole = tail(&[own(11, 4), own(13, 6)]);
        let beyond_a_hole = Verdict::Settled {
            sequence: 4,
            offset: Some(11),
            highest: 6,
        };
        assert_eq!(verdict(&CLAIM, &with_hole), beyond_a_hole);
        // Consumers passed over the first one, which came before what was acknowledged.
        let mut before = tail(&[own(9, 4), own(11, 5)]);
        before.before = 1;
        let beyond = Verdict::Settled {
            sequence: 3,
            offset: None,
            highest: 5,
        };
        assert_eq!(verdict(&CLAIM, &before), beyond);
        let with_doubles = tail(&[own(11, 4), own(12, 5), own(13, 4), own(14, 5), own(15, 6)]);
        assert_eq!(verdict(&CLAIM, &with_doubles), settled(6, Some(15)));
    }

    #[test]
    fn a_log_that_was_cut_has_lost_what_was_acknowledged_unless_all_of_it_is_there() {
        // Up to 3 it was whole; the last one that was acknowledged since has that sequence, and an offset of ten more.
        let has_lost = |claim: &Claim, sequence: u64, tail: &Tail| {
            let last = Acknowledged {
                lane: LaneId::default(),
                sequence,
                offset: i64::try_from(sequence + 10).ok(),
            };
            has_lost(claim, last, tail)
        };
        assert!(!has_lost(&CLAIM, 3, &tail(&[])));
        assert!(!has_lost(&CLAIM, 5, &tail(&[own(11, 4), own(13, 5)])));
        assert!(has_lost(&CLAIM, 5, &tail(&[own(11, 4)])), "the last is not there");
        assert!(has_lost(&CLAIM, 5, &tail(&[own(11, 5)])), "there is a hole");
        // A log that was made anew, and was filled by others to beyond where it was.
        let mut anew = tail(&[own(15, 4), own(16, 5)]);
        anew.acknowledged = None;
        assert!(has_lost(&CLAIM, 5, &anew));
        let mut short = tail(&[]);
        short.reach(&CLAIM, 0, 10);
        assert!(has_lost(&CLAIM, 3, &short), "it ends before the last one");
        let nothing = Claim {
            acknowledged: 0,
            offset: None,
            ..CLAIM
        };
        anew.records.clear();
        assert!(!has_lost(&nothing, 0, &anew), "nothing was on it");
        // The record that was proven has expired, or some after it have.
        anew.low = 12;
        assert!(has_lost(&CLAIM, 3, &anew), "the last one would be left");
        anew.low = 14;
        assert!(!has_lost(&CLAIM, 3, &anew), "the last one has expired too");
        anew.records = vec![own(14, 4), own(15, 5)];
        assert!(!has_lost(&CLAIM, 5, &anew));
        assert!(has_lost(&CLAIM, 6, &anew), "the last is not there");
    }

    #[test]
    fn a_lane_that_was_never_acknowledged_is_looked_for_from_the_start() {
        let claim = Claim {
            acknowledged: 0,
            offset: None,
            ..CLAIM
        };
        let mut log = tail(&[own(0, 1), own(1, 2)]);
        log.acknowledged = None;
        assert_eq!(verdict(&claim, &log), settled(2, Some(1)));
        log.records.clear();
        assert_eq!(verdict(&claim, &log), settled(0, None));
        log.low = 5;
        assert_eq!(
            verdict(&claim, &log),
            Verdict::Unknown,
            "it may have been on the log and gone"
        );
        log.is_whole = true;
        assert_eq!(
            verdict(&claim, &log),
            settled(0, None),
            "it is older than the lane"
        );
        let new = Claim {
            has_sent: false,
            ..claim
        };
        assert_eq!(verdict(&new, &log), settled(0, None), "nothing was sent");
        (log.foreign, log.epoch) = (true, 2);
        assert_eq!(verdict(&new, &log), Verdict::RolledBack);
    }

    #[test]
    fn a_log_that_ends_before_the_last_acknowledged_record_was_truncated() {
        let mut log = tail(&[]);
        log.acknowledged = None;
        assert_eq!(verdict(&CLAIM, &log), Verdict::Truncated);
        log.records = vec![own(11, 4)];
        assert_eq!(
            verdict(&CLAIM, &log),
            Verdict::Truncated,
            "what follows does not make up for it"
        );
    }

    #[test]
    fn a_log_whose_older_records_were_deleted_begins_with_what_is_left() {
        let mut log = tail(&[own(16, 5), own(17, 6)]);
        (log.low, log.acknowledged) = (15, None);
        assert_eq!(verdict(&CLAIM, &log), settled(6, Some(17)));
        log.records.clear();
        assert_eq!(verdict(&CLAIM, &log), Verdict::Unknown);
    }

    #[test]
    fn other_events_under_the_same_number_betray_an_older_store() {
        let mut log = tail(&[own(11, 4)]);
        log.records[0].print = print(99);
        assert_eq!(verdict(&CLAIM, &log), Verdict::RolledBack);
        log = tail(&[]);
        log.acknowledged = Some(Own {
            print: print(99),
            ..own(10, 3)
        });
        assert_eq!(verdict(&CLAIM, &log), Verdict::RolledBack);
        log = tail(&[]);
        log.foreign = true;
        assert_eq!(verdict(&CLAIM, &log), Verdict::RolledBack);
    }

    #[test]
    fn records_are_told_apart_by_epoch_and_sequence() {
        // Acknowledgements without an offset keep the last known one, so that the record itself may come later.
        let claim = Claim {
            base: 10,
            acknowledged: 12,
            last: 14,
            ..CLAIM
        };
        let mut log = Tail::default();
        for record in [own(10, 1), own(11, 2), own(12, 3)] {
            log.take(&claim, 1, record);
        }
        log.take(&claim, 0, own(13, 9));
        assert_eq!(
            log.acknowledged,
            Some(own(11, 12)).map(|own| Own {
                print: print(2),
                ..own
            })
        );
        assert_eq!(
            log.records.iter().map(|own| own.sequence).collect::<Vec<_>>(),
            [13]
        );
        assert_eq!((log.foreign, log.epoch), (false, 1));
        log.take(&claim, 1, own(14, 5));
        assert!(log.foreign, "that sequence was never given out");
        let mut log = Tail::default();
        log.take(&claim, 2, own(10, 1));
        assert_eq!((log.foreign, log.epoch), (true, 2));
    }

    #[test]
    fn without_an_id_in_the_headers_the_content_decides() {
        let row = Print::of(Some(b"1"), b"key", b"value");
        assert!(Print::of(None, b"key", b"value").is_of(row));
        assert!(!Print::of(None, b"key", b"other").is_of(row));
        assert!(!Print::of(Some(b"2"), b"key", b"value").is_of(row));
        assert!(!Print::of(None, b"ke", b"yvalue").is_of(row));
    }
}
