//! What happened while the server could not be reached, from its history (OPC 10000-11).
//!
//! Read between the making of the items and the first message, so that nothing lies between what was kept and what is sent. The histories of all
//! nodes are handed on as one, in the order of time, and no more of them is held than some thousand values at a time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use floorgate_adapter_api::{Notice, Sample, Timestamp};
use opcua::client::services::HistoryRead;
use opcua::client::{HistoryReadAction, UARequest};
use opcua::types::{
    ByteString, DataValue, DateTime, Error, HistoryData, HistoryReadResult, HistoryReadValueId, NodeId,
    NotificationMessage, NumericRange, QualifiedName, ReadRawModifiedDetails, StatusCode, TimestampsToReturn,
};

use crate::item::What;
use crate::items::{failed, is_too_large};
use crate::outlet::Halt;
use crate::publish::{Connected, is_lost};
use crate::subscription::State;
use crate::value::time_of;

/// Values that are held at a time, of all nodes.
const MOST_HELD: usize = 200_000;
/// Values of one node in one answer, at least and at most.
const OF_A_NODE: (usize, usize) = (10, 1_000);
/// Values that are handed on at a time.
const MOST_AT_A_TIME: usize = 5_000;
/// Nodes in one request; the limits of servers are small here.
const NODES_PER_REQUEST: usize = 100;
/// How long the server may take for one answer: it may have to look into an archive.
const WITHIN: Duration = Duration::from_secs(30);
/// From so long before the last message on it is read: a device's clock may be behind the server's.
const BEFORE: Duration = Duration::from_secs(10);

/// The history of one item.
struct History {
    place: u32,
    node: NodeId,
    /// What was read and not handed on.
    values: VecDeque<(Timestamp, DataValue)>,
    continuation: ByteString,
    /// The time of the last value that was read.
    last: Option<Timestamp>,
    /// The server has lost where it was: it is asked for what is after the last value.
    begins_again: bool,
    is_done: bool,
}

impl History {
    /// Up to when nothing more of it can come before: `None` where all is read.
    fn horizon(&self) -> Option<Timestamp> {
        if self.is_done {
            None
        } else {
            self.values.back().map(|(time, _)| *time)
        }
    }

    /// Takes an answer over; whether the server keeps a history of the node.
    fn take(&mut self, result: HistoryReadResult) -> bool {
        let status = result.status_code;
        if matches!(
            status,
            StatusCode::BadNoContinuationPoints | StatusCode::BadContinuationPointInvalid
        ) && self.last.is_some()
        {
            self.continuation = ByteString::null();
            // Twice in a row it would be for ever.
            self.is_done = std::mem::replace(&mut self.begins_again, true);
            return true;
        }
        let data = result.history_data.into_inner_as::<HistoryData>();
        let values = data.and_then(|data| data.data_values).unwrap_or_default();
        let before = self.values.len();
        // What was read before comes again only where it is asked for by its time.
        let known = self.last.filter(|_| self.begins_again);
        for value in values {
            // A bound that there is none of is no value.
            if matches!(
                value.status,
                Some(StatusCode::BadBoundNotFound | StatusCode::BadNoData)
            ) {
                continue;
            }
            let time = time_of(value.source_timestamp.or(value.server_timestamp), None);
            if let Some(time) = time.filter(|time| known.is_none_or(|known| *time > known)) {
                self.last = Some(time);
                self.values.push_back((time, value));
            }
        }
        self.begins_again = false;
        self.continuation = result.continuation_point;
        // One that goes on and tells nothing more would be asked for ever.
        self.is_done = status.is_bad() || self.continuation.is_null() || self.values.len() == before;
        status.is_good() || status.is_uncertain()
    }
}

/// What was read of histories, so that what is sent again is known.
#[derive(Debug)]
pub struct Backfilled {
    /// Of each item the time of the last value that was read.
    last: HashMap<u32, Timestamp>,
    /// When it was read, by the server's clock.
    until: Timestamp,
}

impl Backfilled {
    /// Whether a value that is sent was told with the history already, and newer ones of its item.
    pub fn has(&self, place: u32, value: &DataValue) -> bool {
        let time = |time| time_of(time, None);
        let last = self.last.get(&place).copied();
        let is_before = last
            .zip(time(value.source_timestamp))
            .is_some_and(|(last, time)| time < last);
        is_before && time(value.server_timestamp).is_some_and(|taken| taken <= self.until)
    }
}

impl State {
    /// A message came: from its time on a history would be read. Some servers do not say when they sent it.
    pub fn hear(&mut self, message: &NotificationMessage) {
        self.heard = time_of(Some(message.publish_time), None).or_else(|| Some(Timestamp::now()));
    }
}

impl Connected<'_> {
    /// Reads what the server kept since it was last heard, and hands it on.
    pub async fn backfill(&mut self) -> Result<(), Halt> {
        let (Some(longest), Some(heard)) = (self.plan.settings.backfill, self.state.heard) else {
            return Ok(());
        };
        let now = Timestamp::now();
        let from = heard.before(BEFORE).max(now.before(longest.get()));
        let mut histories = self.histories();
        let most = (MOST_HELD / histories.len().max(1)).clamp(OF_A_NODE.0, OF_A_NODE.1);
        let mut until = now;
        let (mut told, mut without) = (0_usize, 0_usize);
        loop {
            let lacking = |history: &History| history.values.is_empty() && !history.is_done;
            let mut lacks: Vec<&mut History> =
                histories.iter_mut().filter(|history| lacking(history)).collect();
            let mut batch = NODES_PER_REQUEST;
            let mut first = 0;
            while first < lacks.len() {
                let again = lacks[first].last.filter(|_| lacks[first].begins_again);
                let rest = lacks[first..].iter().take(batch);
                let alike = rest.take_while(|history| !history.begins_again).count();
                let end = first + alike.max(1);
                match self
                    .ask_history(&lacks[first..end], again.unwrap_or(from), most)
                    .await
                {
                    Ok((results, at)) => {
                        until = until.max(at);
                        for (history, result) in lacks[first..end].iter_mut().zip(results) {
                            without += usize::from(!history.take(result));
                        }
                        first = end;
                    }
                    Err(error) if is_too_large(error.status()) && batch > 1 => batch /= 2,
                    Err(error) if is_lost(error.status()) => {
                        return Err(self.lost_with("reading the history", &error));
                    }
                    Err(error) => {
                        let reason = failed("the history cannot be read", &error);
                        tracing::warn!(source = self.plan.name, "{reason}");
                        return Ok(());
                    }
                }
            }
            let horizon = histories.iter().filter_map(History::horizon).min();
            told += self.hand_on_history(&mut histories, horizon).await?;
            if histories
                .iter()
                .all(|history| history.is_done && history.values.is_empty())
            {
                break;
            }
        }
        tracing::info!(
            source = self.plan.name,
            values = told,
            nodes_without = without,
            "what happened since {from} was read from the server's history"
        );
        let last = histories
            .iter()
            .filter_map(|history| Some((history.place, history.last?)));
        self.state.backfilled = Some(Backfilled {
            last: last.collect(),
            until,
        });
        for subscription in &mut self.state.subscriptions {
            subscription.heard = std::time::Instant::now();
        }
        Ok(())
    }

    /// An empty history of each node that is monitored.
    fn histories(&self) -> Vec<History> {
        let places = self
            .state
            .subscriptions
            .iter()
            .flat_map(|s| s.tags.iter().copied());
        let of = |place: u32| {
            let item = self.plan.items().get(place as usize)?;
            let node = item.node_id(&self.facts.namespaces)?;
            matches!(item.what, What::Value).then(|| History {
                place,
                node,
                values: VecDeque::new(),
                continuation: ByteString::null(),
                last: None,
                begins_again: false,
                is_done: false,
            })
        };
        places.filter_map(of).collect()
    }

    /// Asks for histories; with them when that was, by the server's clock.
    async fn ask_history(
        &self,
        histories: &[&mut History],
        from: Timestamp,
        most: usize,
    ) -> Result<(Vec<HistoryReadResult>, Timestamp), Error> {
        let details = ReadRawModifiedDetails {
            is_read_modified: false,
            start_time: date_time(from),
            // Nothing is newer; an open end would turn the order around.
            end_time: date_time(Timestamp::now().after(Duration::from_hours(1))),
            num_values_per_node: u32::try_from(most).unwrap_or(u32::MAX),
            return_bounds: true,
        };
        let nodes = histories.iter().map(|history| HistoryReadValueId {
            node_id: history.node.clone(),
            index_range: NumericRange::None,
            data_encoding: QualifiedName::null(),
            continuation_point: history.continuation.clone(),
        });
        self.outlet.metrics.requests.inc();
        let response = HistoryRead::new(HistoryReadAction::ReadRawModifiedDetails(details), self.session)
            .timestamps_to_return(TimestampsToReturn::Both)
            .nodes_to_read(nodes.collect())
            .timeout(WITHIN)
            .send(self.session.channel())
            .await?;
        let at = time_of(Some(response.response_header.timestamp), None);
        let results = response.results.unwrap_or_default();
        if results.len() == histories.len() {
            Ok((results, at.unwrap_or_else(Timestamp::now)))
        } else {
            Err(Error::new(
                StatusCode::BadUnknownResponse,
                format!("asked for {} histories, got {}", histories.len(), results.len()),
            ))
        }
    }

    /// Hands on what is known to come next; how many values.
    async fn hand_on_history(
        &mut self,
        histories: &mut [History],
        horizon: Option<Timestamp>,
    ) -> Result<usize, Halt> {
        let mut next: Vec<(Timestamp, u32, DataValue)> = Vec::new();
        for history in histories {
            while let Some((time, _)) = history.values.front()
                && horizon.is_none_or(|horizon| *time <= horizon)
                && let Some((time, value)) = history.values.pop_front()
            {
                next.push((time, history.place, value));
            }
        }
        next.sort_by_key(|(time, ..)| *time);
        let told = next.iter().filter_map(|(.., value)| value.value.as_ref());
        if self.state.types.lack(told) {
            self.ask_types().await?;
        }
        let count = next.len();
        let mut samples: Vec<Sample> = Vec::with_capacity(count.min(MOST_AT_A_TIME));
        for (time, place, value) in next {
            if samples.len() >= MOST_AT_A_TIME {
                self.outlet.told_late(std::mem::take(&mut samples)).await?;
            }
            let before = samples.len();
            self.tell(place, value, &mut samples);
            for sample in &mut samples[before..] {
                sample.source_time = Some(time);
            }
        }
        self.outlet.told_late(samples).await?;
        Ok(count)
    }
}

impl crate::outlet::Outlet {
    /// Hands on samples that are from a history.
    async fn told_late(&self, samples: Vec<Sample>) -> Result<(), Halt> {
        if samples.is_empty() {
            return Ok(());
        }
        self.with_notice(Notice::History, samples).await
    }
}

/// From 1601, where OPC UA's times begin, to 1970, in the units of 100 ns in which they are counted (OPC 10000-6 §5.2.2.5).
const BEGINNING: i64 = 116_444_736_000_000_000;

fn date_time(time: Timestamp) -> DateTime {
    DateTime::from(time.as_nanos() / 100 + BEGINNING)
}
