//! The consumer's rule: what an application does that wants each event once, and what a test counts with it.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result, ensure};

use crate::reader::Record;

/// What the records of a topic come to for a consumer that keeps one number a lane.
#[derive(Debug, Default)]
pub struct Delivery {
    /// The events, each once, in order within a partition.
    pub accepted: Vec<Record>,
    /// Records that were dropped as already seen.
    pub repeated: usize,
}

impl Delivery {
    /// Applies the rule to the records of one gateway, read from the beginning of the topic. It is an error when a
    /// sequence number is left out, when one begins elsewhere than at 1, when a repeated record is not the one
    /// that it repeats, or comes from the same process without a mark, or when an id occurs twice.
    pub fn of(records: &[Record]) -> Result<Self> {
        Self::read(records, false)
    }

    /// The same where a broker refused a record in the middle: those behind it may be on the log before its stub. They are passed over, as by a
    /// consumer; it is an error when one of them does not come again.
    pub fn of_refused(records: &[Record]) -> Result<Self> {
        Self::read(records, true)
    }

    fn read(records: &[Record], refused: bool) -> Result<Self> {
        let mut delivery = Self::default();
        let mut lanes: BTreeMap<(&str, i32), (u64, u64)> = BTreeMap::new();
        let mut seen: BTreeMap<(&str, i32, u64, u64), &Record> = BTreeMap::new();
        let mut passed_over: BTreeMap<(&str, i32, u64, u64), &Record> = BTreeMap::new();
        let mut ids = HashSet::new();
        for record in records {
            let epoch: u64 = record.header("floorgate_lane_epoch")?.parse()?;
            let sequence: u64 = record.header("floorgate_lane_sequence")?.parse()?;
            let partition = (record.topic.as_str(), record.partition);
            let (known_epoch, last) = lanes.get(&partition).copied().unwrap_or((epoch, 0));
            ensure!(epoch >= known_epoch, "an older epoch: {record:?}");
            let last = if epoch > known_epoch { 0 } else { last };
            let place = (partition.0, partition.1, epoch, sequence);
            if sequence <= last {
                let first = seen.get(&place);
                let first = first.with_context(|| format!("repeats nothing: {record:?}"))?;
                ensure!(
                    first.value == record.value,
                    "repeated with another value: {first:?} and {record:?}"
                );
                ensure!(
                    first.key == record.key,
                    "repeated with another key: {first:?} and {record:?}"
                );
                // Only what another process had on its way may come twice, or what is said to be perhaps a double.
                ensure!(
                    first.header("floorgate_incarnation")? != record.header("floorgate_incarnation")?
                        || record.has_header("floorgate_possible_duplicate"),
                    "sent twice by one process: {first:?} and {record:?}"
                );
                delivery.repeated += 1;
                continue;
            }
            if refused && sequence > last + 1 {
                passed_over.insert(place, record);
                continue;
            }
            ensure!(
                sequence == last + 1,
                "{} left out before {record:?}",
                sequence - last - 1
            );
            let id = (
                record.header("ce_source")?.to_owned(),
                record.header("ce_id")?.to_owned(),
            );
            ensure!(ids.insert(id), "an id for the second time: {record:?}");
            lanes.insert(partition, (epoch, sequence));
            if let Some(first) = passed_over.remove(&place) {
                ensure!(
                    first.value == record.value,
                    "came again with another value: {first:?} and {record:?}"
                );
            }
            seen.insert(place, record);
            delivery.accepted.push(record.clone());
        }
        ensure!(passed_over.is_empty(), "did not come again: {passed_over:?}");
        Ok(delivery)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(partition: i32, epoch: u64, sequence: u64, id: &str) -> Record {
        sent_by("1", partition, epoch, sequence, id)
    }

    fn sent_by(process: &str, partition: i32, epoch: u64, sequence: u64, id: &str) -> Record {
        let headers = [
            ("floorgate_incarnation", process.to_owned()),
            ("floorgate_lane_epoch", epoch.to_string()),
            ("floorgate_lane_sequence", sequence.to_string()),
            ("ce_source", "urn:a".to_owned()),
            ("ce_id", id.to_owned()),
        ];
        Record {
            topic: "t".to_owned(),
            partition,
            offset: 0,
            time: 0,
            key: None,
            headers: headers.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            value: id.as_bytes().to_vec(),
        }
    }

    #[test]
    fn each_event_is_accepted_once() -> Result<()> {
        let records = [
            record(0, 1, 1, "a"),
            record(1, 1, 1, "b"),
            record(0, 1, 2, "c"),
            sent_by("2", 0, 1, 1, "a"),
            record(0, 2, 1, "d"),
        ];
        let delivery = Delivery::of(&records)?;
        let ids: Vec<_> = delivery
            .accepted
            .iter()
            .map(|record| record.header("ce_id"))
            .collect::<Result<_>>()?;
        assert_eq!((ids, delivery.repeated), (vec!["a", "b", "c", "d"], 1));
        Ok(())
    }

    #[test]
    fn what_was_ahead_of_a_refused_record_is_accepted_when_it_comes_again() -> Result<()> {
        let early = [record(0, 1, 1, "a"), record(0, 1, 3, "c")];
        assert!(Delivery::of_refused(&early).is_err(), "c does not come again");
        let again = [record(0, 1, 2, "b"), record(0, 1, 3, "c")];
        let delivery = Delivery::of_refused(&[early, again].concat())?;
        assert_eq!((delivery.accepted.len(), delivery.repeated), (3, 0));
        Ok(())
    }

    #[test]
    fn what_breaks_the_promise_is_an_error() {
        for (records, reason) in [
            (vec![record(0, 1, 2, "a")], "left out"),
            (vec![record(0, 1, 1, "a"), record(0, 1, 3, "b")], "left out"),
            (vec![record(0, 1, 1, "a"), record(0, 1, 1, "b")], "another value"),
            (vec![record(0, 1, 1, "a"), record(0, 1, 1, "a")], "by one process"),
            (vec![record(0, 1, 1, "a"), record(1, 1, 1, "a")], "second time"),
            (vec![record(0, 2, 1, "a"), record(0, 1, 2, "b")], "older epoch"),
        ] {
            let error = Delivery::of(&records)
                .map(drop)
                .map_err(|error| error.to_string());
            assert!(
                error.as_ref().is_err_and(|text| text.contains(reason)),
                "{error:?} without {reason}"
            );
        }
    }
}
