//! What happened while the server could not be reached, from its history (OPC 10000-11).
//!
//! Read between the making of the items and the first message, so that nothing lies between what was kept and what is sent. The histories of all
//! nodes are handed on as one, in the order of time, and no more of them is held than some thousand values at a time. A connection that is lost meanwhile loses
//! nothing: the next one goes on where it was. Of a history that is not told to its end it is said that something may be missing.
//!
//! All times are the server's: its clock need not be the gateway's.

use std::time::{Duration, Instant};

use floorgate_adapter_api::{GapScope, Notice, Reason, Sample, Timestamp};
use opcua::client::services::HistoryRead;
use opcua::client::{HistoryReadAction, UARequest};
use opcua::types::{
    DataValue, DateTime, Error, HistoryReadResult, HistoryReadValueId, NumericRange, QualifiedName,
    ReadRawModifiedDetails, ReadValueId, StatusCode, TimestampsToReturn, VariableId, Variant,
};

use crate::history::{Backfill, End, History};
use crate::item::What;
use crate::items::is_too_large;
use crate::outlet::{Halt, Outlet};
use crate::plan::Plan;
use crate::publish::{Connected, is_lost};
use crate::server::{limit, read};
use crate::subscription::{Behind, State, Subscription};
use crate::value::time_of;

/// Values that are held at a time, of all nodes.
const MOST_HELD: usize = 200_000;
/// Values of one node in one answer, at least and at most.
const OF_A_NODE: (usize, usize) = (10, 1_000);
/// Values that are handed on at a time.
const MOST_AT_A_TIME: usize = 5_000;
/// Nodes in one request at most, whatever the server's limit is: each may tell many values.
const NODES_PER_REQUEST: usize = 100;
/// How long the server may take for one answer: it may have to look into an archive.
const WITHIN: Duration = Duration::from_secs(30);
/// From so long before the last message on it is read: a device's clock may be behind the server's.
const BEFORE: Duration = Duration::from_secs(10);
/// Nothing is newer; an open end would turn the order around.
const AFTER: Duration = Duration::from_hours(1);
/// After so many connections that were lost in a row it is the reading that ends them.
const MOST_LOSSES: u32 = 5;

impl State {
    /// A subscription has said all that it had to say when its message was sent: from then on a history would be read. Some servers do not say when
    /// that was.
    pub fn hear(&mut self, place: usize, sent: DateTime) {
        let sent = time_of(Some(sent), None).unwrap_or_else(Timestamp::now);
        if let Some(subscription) = self.subscriptions.get_mut(place) {
            subscription.told = Some(sent);
        }
        // One of which nothing is known yet comes first.
        self.heard = self.subscriptions.iter().map(|s| s.told).min().flatten();
    }

    /// Forgets what was read of histories, once all that was sent meanwhile was handed on.
    pub fn forget_history(&mut self) {
        let Some(backfill) = self.backfill.as_ref().filter(|backfill| !backfill.is_due) else {
            return;
        };
        let is_through = |s: &Subscription| s.behind == Behind::Not;
        if self.heard > Some(backfill.until) && self.subscriptions.iter().all(is_through) {
            self.backfill = None;
        }
    }

    /// Everything begins anew: what happened since the last message is to be read from histories, where that is wanted.
    pub fn owe_history(&mut self, plan: &Plan) {
        let Some(heard) = self.heard.filter(|_| plan.settings.backfill.is_some()) else {
            return;
        };
        if !self.owes_history() {
            self.backfill = Some(Backfill::due(heard.before(BEFORE)));
        }
    }

    /// Whether there is anything to be read from histories.
    pub fn owes_history(&self) -> bool {
        self.backfill.as_ref().is_some_and(|backfill| backfill.is_due)
    }

    /// From when on the next process would have to read a history.
    pub fn stored_up_to(&self) -> Option<Timestamp> {
        let due = self.backfill.as_ref().filter(|backfill| backfill.is_due);
        due.map(|backfill| backfill.from).or(self.heard)
    }
}

/// Why reading ends before the end.
enum Early {
    Halt(Halt),
    /// The rest is not read.
    Reason(String),
}

impl Connected<'_> {
    /// Reads what is to be read of histories, and hands it on. `made` is when the first of the items was made, where they are new.
    pub async fn backfill(&mut self, made: Option<Instant>) -> Result<(), Halt> {
        if !self.state.owes_history() {
            return Ok(());
        }
        let (now, most_nodes) = self.historian().await?;
        let Some(mut backfill) = self.state.backfill.take() else {
            return Ok(());
        };
        if let Some(made) = made {
            backfill.remember_from(now.before(made.elapsed() + BEFORE));
        }
        let longest = self
            .plan
            .settings
            .backfill
            .map(|longest| now.before(longest.get()));
        backfill.from = backfill.from.max(longest.unwrap_or(now)).min(now);
        let begin = backfill.from;
        let mut histories = self.histories(&backfill);
        let stop = self.outlet.stop.clone();
        let read = tokio::select! {
            biased;
            () = stop.cancelled() => Err(Early::Halt(Halt::Stop)),
            read = self.read_histories(&mut backfill, &mut histories, (now.after(AFTER), most_nodes)) => read,
        };
        for subscription in &mut self.state.subscriptions {
            // The server was not asked for messages meanwhile.
            subscription.heard = Instant::now();
        }
        match read {
            Ok(()) => {
                tracing::info!(
                    source = self.plan.name,
                    nodes = backfill.last.len(),
                    nodes_without = histories
                        .iter()
                        .filter(|history| history.end == Some(End::None))
                        .count(),
                    "what happened since {begin} was read from the server's history"
                );
                self.end_backfill(backfill, &histories, None).await
            }
            Err(Early::Reason(reason)) => self.end_backfill(backfill, &histories, Some(reason)).await,
            Err(Early::Halt(Halt::Lost(reason))) => {
                backfill.losses += 1;
                if backfill.losses < MOST_LOSSES {
                    self.state.backfill = Some(backfill);
                } else {
                    let why = format!("the connection was lost each time it was read: {reason}");
                    self.end_backfill(backfill, &histories, Some(why)).await?;
                }
                Err(Halt::Lost(reason))
            }
            Err(Early::Halt(halt)) => {
                self.state.backfill = Some(backfill);
                Err(halt)
            }
        }
    }

    /// Nothing more is read, and of which tags something may be missing is said.
    async fn end_backfill(
        &mut self,
        mut backfill: Backfill,
        histories: &[History],
        early: Option<String>,
    ) -> Result<(), Halt> {
        backfill.is_due = false;
        let up_to = backfill.from;
        self.state.backfill = Some(backfill);
        let is_told =
            |history: &History| history.end.is_some_and(|end| end != End::Part) && history.values.is_empty();
        let is_part = |history: &&History| !is_told(history);
        let parts = histories.iter().filter(is_part).map(|history| history.place);
        let items = parts.filter_map(|place| self.plan.items().get(place as usize));
        let tags: Vec<_> = items
            .flat_map(|item| self.plan.tags_of(item))
            .map(|tag| tag.id)
            .collect();
        if tags.is_empty() {
            return Ok(());
        }
        let why = early.unwrap_or_else(|| "the server did not tell it to its end".to_owned());
        let reason = format!("the history was read up to {up_to} and no further: {why}");
        tracing::warn!(
            source = self.plan.name,
            tags = tags.len(),
            see = "opcua-history-incomplete",
            "{reason}"
        );
        let scope = GapScope::Tags(tags);
        let reason = Reason::new(reason, "opcua-history-incomplete");
        self.outlet.gap(Notice::Gap { scope, reason }).await
    }

    async fn read_histories(
        &mut self,
        backfill: &mut Backfill,
        histories: &mut [History],
        (end, most_nodes): (Timestamp, usize),
    ) -> Result<(), Early> {
        let most = (MOST_HELD / histories.len().max(1)).clamp(OF_A_NODE.0, OF_A_NODE.1);
        // The server keeps the new items for a multiple of this time.
        let longest = self.plan.settings.session_timeout.get();
        let begun = Instant::now();
        let mut batch = most_nodes.min(NODES_PER_REQUEST);
        loop {
            if begun.elapsed() > longest {
                return Err(Early::Reason(format!("it takes longer than {longest:?}")));
            }
            let mut lacks: Vec<&mut History> = histories.iter_mut().filter(|h| h.is_lacking()).collect();
            let mut first = 0;
            while first < lacks.len() {
                if begun.elapsed() > longest {
                    return Err(Early::Reason(format!("it takes longer than {longest:?}")));
                }
                let start = lacks[first].begin(backfill.from);
                let alike = lacks[first..]
                    .iter()
                    .take(batch)
                    .take_while(|history| !history.begins_again);
                let after = first + alike.count().max(1);
                let asked = Instant::now();
                match self.ask_history(&lacks[first..after], (start, end), most).await {
                    Ok((results, at)) => {
                        backfill.until = backfill.until.max(at);
                        for (history, result) in lacks[first..after].iter_mut().zip(results) {
                            history.take(result, most);
                        }
                        first = after;
                    }
                    Err(error) if is_too_large(error.status()) && batch > 1 => batch /= 2,
                    Err(error) if self.ends_connection(&error, asked) => {
                        return Err(Early::Halt(self.lost_with("reading the history", &error)));
                    }
                    Err(error) => return Err(Early::Reason(crate::server::reason(&error))),
                }
            }
            let horizon = histories.iter().filter_map(|h| h.horizon(backfill.from)).min();
            self.hand_on_history(backfill, histories, horizon)
                .await
                .map_err(Early::Halt)?;
            match horizon {
                Some(horizon) if horizon > backfill.from => (backfill.from, backfill.losses) = (horizon, 0),
                Some(_) => {}
                None => return Ok(()),
            }
        }
    }

    /// The history of each node that is monitored, as far as it was handed on.
    fn histories(&self, backfill: &Backfill) -> Vec<History> {
        let subscriptions = self.state.subscriptions.iter();
        let places = subscriptions.flat_map(|s| s.tags.iter().copied());
        let of = |place: u32| {
            let item = self.plan.items().get(place as usize)?;
            let node = item.node_id(&self.facts.namespaces)?;
            let last = backfill.last.get(&place).copied();
            matches!(item.what, What::Value).then(|| History::new(place, node, last))
        };
        places.filter_map(of).collect()
    }

    /// What time it is at the server, and of how many nodes it tells the history in one answer at most.
    async fn historian(&self) -> Result<(Timestamp, usize), Halt> {
        let nodes = [
            VariableId::Server_ServerStatus_CurrentTime,
            VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerHistoryReadData,
        ];
        let nodes = nodes.map(|id| ReadValueId::new_value(id.into())).to_vec();
        let timeout = self.plan.settings.request_timeout.get();
        let values = match read(self.session, nodes, TimestampsToReturn::Neither, timeout).await {
            Ok(values) => values,
            Err(error) if is_lost(error.status()) => {
                return Err(self.lost_with("reading the server's time", &error));
            }
            Err(_) => Vec::new(),
        };
        let mut values = values.into_iter().map(|value| value.value);
        let time = match values.next().flatten() {
            Some(Variant::DateTime(time)) => time_of(Some(*time), None),
            _ => None,
        };
        let most_nodes = limit(values.next().flatten().as_ref());
        Ok((time.unwrap_or_else(Timestamp::now), most_nodes))
    }

    /// Asks for histories in a span of time; with them when that was, by the server's clock.
    async fn ask_history(
        &self,
        histories: &[&mut History],
        (start, end): (Timestamp, Timestamp),
        most: usize,
    ) -> Result<(Vec<HistoryReadResult>, Timestamp), Error> {
        let details = ReadRawModifiedDetails {
            is_read_modified: false,
            start_time: date_time(start),
            end_time: date_time(end),
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
            Ok((results, at.unwrap_or(start)))
        } else {
            Err(Error::new(
                StatusCode::BadUnknownResponse,
                format!("asked for {} histories, got {}", histories.len(), results.len()),
            ))
        }
    }

    /// Hands on what is known to come next.
    async fn hand_on_history(
        &mut self,
        backfill: &mut Backfill,
        histories: &mut [History],
        horizon: Option<Timestamp>,
    ) -> Result<(), Halt> {
        let is_next = |time: Timestamp| horizon.is_none_or(|horizon| time <= horizon);
        // Before any is taken: what is asked for may cost the connection.
        let told = histories.iter().flat_map(|history| &history.values);
        let told = told.filter(|(time, _)| is_next(*time));
        if self
            .state
            .types
            .lack(told.filter_map(|(_, value)| value.value.as_ref()))
        {
            self.ask_types().await?;
        }
        let mut next: Vec<(Timestamp, u32, DataValue)> = Vec::new();
        for history in histories {
            while let Some((time, _)) = history.values.front()
                && is_next(*time)
                && let Some((time, value)) = history.values.pop_front()
            {
                next.push((time, history.place, value));
            }
        }
        next.sort_by_key(|(time, ..)| *time);
        let mut samples: Vec<Sample> = Vec::with_capacity(next.len().min(MOST_AT_A_TIME));
        let mut told: Vec<(u32, Timestamp)> = Vec::with_capacity(samples.capacity());
        for (time, place, value) in next {
            if told.len() >= MOST_AT_A_TIME {
                self.outlet.told_late(std::mem::take(&mut samples)).await?;
                for (place, time) in told.drain(..) {
                    backfill.tell(place, time);
                }
            }
            let before = samples.len();
            self.tell(place, value, &mut samples);
            for sample in &mut samples[before..] {
                sample.source_time = Some(time);
            }
            told.push((place, time));
        }
        self.outlet.told_late(samples).await?;
        for (place, time) in told {
            backfill.tell(place, time);
        }
        Ok(())
    }
}

impl Outlet {
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
