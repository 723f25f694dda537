//! A partition that is being read for what it says of a lane.

use std::time::Duration;

use floorgate_sample::Timestamp;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::client::Quiet;
use crate::log_reader::{LogAnswer, LogProblem, PATIENCE, Question};
use crate::mark::Mark;
use crate::reconcile::{Own, Print, Tail};

/// Where nothing was ever sent, and where the log ends before the lane's place, so many offsets are looked at for later epochs: there may be a
/// lot of others' records.
const GLANCE: i64 = 1000;
/// How far the clocks of broker and gateway are thought to be apart at most, where records are looked for by their time.
const CLOCKS: Duration = Duration::from_hours(1);

/// A partition that is being read.
pub(crate) struct Reading {
    pub(crate) question: Question,
    pub(crate) tail: Tail,
    /// The next offset to read, once the log's bounds are known.
    next: Option<i64>,
    /// So many records came.
    pub(crate) read: u64,
    /// The end is reached.
    pub(crate) done: bool,
    /// Someone's transaction hides the end.
    pub(crate) hidden: bool,
    /// The gateway has records here that were sent in transactions: only committed ones count.
    pub(crate) transactional: bool,
}

impl Reading {
    pub(crate) fn new(question: Question) -> Self {
        Self {
            next: None,
            read: 0,
            question,
            tail: Tail::default(),
            done: false,
            hidden: false,
            transactional: false,
        }
    }

    /// It cannot be read.
    pub(crate) fn fails(&self, problem: LogProblem) -> LogAnswer {
        LogAnswer {
            place: self.question.place,
            claim: self.question.claim,
            result: Err(problem),
            read: self.read,
        }
    }

    /// Nothing is on its way that could still come, and the lane's last record is here, or the gateway has none.
    pub(crate) fn is_vain(&self) -> bool {
        !self.question.claim.has_sent && (self.tail.epoch == 0 || self.tail.acknowledged.is_some())
    }

    /// Forgets what was read.
    pub(crate) fn begin_again(&mut self) {
        *self = Self {
            transactional: true,
            read: self.read,
            ..Self::new(self.question.clone())
        };
    }

    /// Takes the bounds of the log as they are now, and returns the next offset to read.
    pub(crate) fn reach(
        &mut self,
        client: &BaseConsumer<Quiet>,
        low: i64,
        high: i64,
    ) -> Result<i64, KafkaError> {
        let next = match self.next {
            Some(next) => next,
            None => self.first(client, low, high)?,
        };
        let next = next.max(low);
        self.tail.reach(&self.question.claim, low, high);
        self.next = Some(next);
        self.done = next >= high;
        Ok(next)
    }

    /// The first offset to read of a log that ends there.
    fn first(&mut self, client: &BaseConsumer<Quiet>, low: i64, high: i64) -> Result<i64, KafkaError> {
        let glance = high - GLANCE;
        if let Some(since) = self.question.since {
            let first = self.first_since(since, client)?.unwrap_or(high);
            self.tail.is_whole = first > low;
            // Later epochs may be older than that.
            return Ok(first.min(glance));
        }
        let first = self.question.claim.offset.unwrap_or(0);
        Ok(if first >= high {
            glance
        } else if self.question.claim.has_sent || self.question.claim.has_acknowledged() {
            first
        } else {
            first.max(glance)
        })
    }

    /// The first offset whose time is so late: nobody sends a record before it is recorded, and the log may be long and all of others. Nothing where
    /// there is none.
    fn first_since(&self, since: Timestamp, client: &BaseConsumer<Quiet>) -> Result<Option<i64>, KafkaError> {
        let (topic, partition) = (&*self.question.topic, self.question.partition);
        let earliest = since.before(CLOCKS).as_nanos().div_euclid(1_000_000).max(0);
        let mut times = TopicPartitionList::new();
        times.add_partition_offset(topic, partition, Offset::Offset(earliest))?;
        let found = client.offsets_for_times(times, PATIENCE)?;
        let found = found.find_partition(topic, partition);
        if let Some(found) = &found {
            found.error()?;
        }
        Ok(match found.map(|found| found.offset()) {
            Some(Offset::Offset(offset)) => Some(offset),
            Some(Offset::End) => None,
            _ => Some(0),
        })
    }

    /// Takes the next record.
    pub(crate) fn take(&mut self, record: &BorrowedMessage<'_>, gateway: &str) {
        let offset = record.offset();
        if self.done || self.next.is_none_or(|next| offset < next) {
            return;
        }
        self.next = Some(offset + 1);
        self.read += 1;
        if let Some((mark, own)) = own(record, gateway) {
            self.transactional |= mark.transactional;
            self.tail.take(&self.question.claim, mark.epoch, own);
        }
        self.done = offset + 1 >= self.tail.high || (self.is_vain() && self.tail.acknowledged.is_some());
    }
}

/// Reads a record of this gateway.
fn own<'a>(record: &'a BorrowedMessage<'_>, gateway: &str) -> Option<(Mark<'a>, Own)> {
    let headers = record.headers()?.iter().map(|header| (header.key, header.value));
    let mark = Mark::read(headers, gateway)?;
    let own = Own {
        offset: record.offset(),
        sequence: mark.sequence,
        print: Print::of(
            mark.id,
            record.key().unwrap_or_default(),
            record.payload().unwrap_or_default(),
        ),
    };
    Some((mark, own))
}
