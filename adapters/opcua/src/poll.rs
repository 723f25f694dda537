//! Polling reads, for servers without subscriptions or with subscriptions that cannot be relied on.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use floorgate_adapter_api::{GapScope, Notice, Quality, Reason, Sample};
use opcua::types::{DataValue, Error, ReadValueId, StatusCode, TimestampsToReturn, Variant};

use crate::batches::{Batches, Verdict};
use crate::item::Item;
use crate::items::{MOST_NAMED, is_too_large};
use crate::outlet::Halt;
use crate::publish::{Connected, is_lost};
use crate::server::read;

/// What polls have told.
struct Told {
    /// Of each item the value and the status that were handed on last: what is as it was is not told with every poll, no more than a subscription
    /// would (OPC 10000-4 §7.10, `STATUS_VALUE`).
    last: Vec<Option<(Option<Variant>, StatusCode)>>,
    /// The items over which the server refuses the whole of a request, with its status: they are not asked for until all that is refused is.
    failing: HashMap<usize, StatusCode>,
    /// Those of which nothing was read since.
    unseen: HashSet<u32>,
    /// How many items were found refused in a time in which the first of them are named.
    refused: usize,
    /// That there are more was said.
    is_full: bool,
}

impl Connected<'_> {
    /// Reads all tags every poll interval until the connection is lost or the source is to stop.
    pub async fn poll(&mut self) -> Halt {
        match self.poll_until_halt().await {
            Ok(never) => match never {},
            Err(halt) => halt,
        }
    }

    async fn poll_until_halt(&mut self) -> Result<std::convert::Infallible, Halt> {
        let every = self.plan.settings.poll_interval.get();
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        // A connection begins with what is known of none.
        self.state.refused.clear();
        let mut told = Told {
            last: vec![None; self.plan.items().len()],
            failing: HashMap::new(),
            unseen: HashSet::new(),
            refused: 0,
            is_full: false,
        };
        let mut was_slow = false;
        let retry = self.plan.settings.retry_refused_nodes.get();
        let mut looked = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = self.outlet.stop.cancelled() => return Err(Halt::Stop),
                lost = self.link.lost() => return Err(Halt::Lost(lost)),
                _ = ticks.tick() => {}
            }
            if looked.elapsed() > retry {
                self.look_again(&mut told).await?;
                looked = Instant::now();
            }
            let begun = Instant::now();
            let mut batches = Batches::of(self.facts.nodes_per_read);
            let mut from = 0;
            while from < self.plan.items().len() {
                let until = (from + batches.size()).min(self.plan.items().len());
                let stop = self.outlet.stop.clone();
                let read = tokio::select! {
                    biased;
                    () = stop.cancelled() => return Err(Halt::Stop),
                    read = self.read_tags(from, until, &mut told) => read?,
                };
                match read {
                    Ok(samples) => {
                        batches.answered();
                        from = until;
                        if !samples.is_empty() {
                            self.hand_on_read(samples, every).await?;
                        }
                    }
                    Err(error) if is_too_large(error.status()) && until - from > 1 => {
                        batches.too_large(until - from);
                        self.facts.nodes_per_read = batches.size();
                    }
                    Err(error) => match batches.failed(until - from) {
                        Verdict::Divide => {}
                        Verdict::Refuse => self.put_aside(from, error.status(), &mut told),
                        Verdict::GiveUp => return Err(self.lost_with("reading", &error)),
                    },
                }
            }
            // Nodes that come and go are not said with each poll.
            told.is_full = told.is_full || self.warn_of_more(told.refused);
            self.count_refused();
            // They are read with all others.
            self.outlet.metrics.retry(None);
            let is_slow = begun.elapsed() > every;
            if is_slow && !was_slow {
                let took = begun.elapsed().as_secs_f64() * 1e3;
                tracing::warn!(
                    source = self.plan.name,
                    see = "opcua-reading-too-slow",
                    "reading all tags took {took:.0}ms, longer than the poll interval"
                );
            }
            was_slow = is_slow;
        }
    }

    /// Asks for the server's namespaces anew where a tag's is missing. Refused tags are named again from then on.
    async fn look_again(&mut self, told: &mut Told) -> Result<(), Halt> {
        (told.refused, told.is_full) = (0, false);
        told.failing.clear();
        let is_missing = |item: &Item| item.node_id(&self.facts.namespaces).is_none();
        if self.plan.items().iter().any(is_missing) {
            self.read_facts().await?;
        }
        Ok(())
    }

    /// Takes an item for the reason that a request was refused as a whole.
    fn put_aside(&self, place: usize, status: StatusCode, told: &mut Told) {
        told.failing.insert(place, status);
        told.unseen.extend(u32::try_from(place));
        told.refused += 1;
        if told.refused <= MOST_NAMED
            && let Some(item) = self.plan.items().get(place)
        {
            self.warn_of(item, status);
        }
    }

    /// Hands samples on. While the gateway has no room nothing is read, and what happens meanwhile may be missed.
    async fn hand_on_read(&mut self, samples: Vec<Sample>, every: Duration) -> Result<(), Halt> {
        let offered = Instant::now();
        self.outlet.samples(samples).await?;
        let waited = offered.elapsed();
        if waited > 2 * every {
            let reason = format!("the gateway took no samples for {waited:.1?}");
            self.outlet
                .gap(Notice::Gap {
                    scope: GapScope::Source,
                    reason: Reason::new(reason, "opcua-changes-missed"),
                })
                .await?;
        }
        Ok(())
    }

    /// Reads some tags; an error inside where the request was refused as a whole.
    async fn read_tags(
        &mut self,
        from: usize,
        until: usize,
        told: &mut Told,
    ) -> Result<Result<Vec<Sample>, Error>, Halt> {
        let mut nodes = Vec::with_capacity(until - from);
        let mut asked = Vec::with_capacity(until - from);
        let mut samples = Vec::with_capacity(until - from);
        let mut missing: Vec<(u32, StatusCode)> = Vec::new();
        for place in from..until {
            let number = u32::try_from(place).unwrap_or(u32::MAX);
            let node = self.plan.items()[place].node_id(&self.facts.namespaces);
            match (told.failing.get(&place), node) {
                (Some(status), _) => missing.push((number, *status)),
                (None, None) => missing.push((number, StatusCode::BadNodeIdUnknown)),
                (None, Some(node)) => {
                    nodes.push(ReadValueId::new_value(node));
                    asked.push(number);
                }
            }
        }
        let values = if nodes.is_empty() {
            Vec::new()
        } else {
            match self.read_nodes(nodes).await? {
                Ok(values) => values,
                Err(error) => return Ok(Err(error)),
            }
        };
        self.see_changed_types(&values);
        let read = values.iter().filter_map(|value| value.value.as_ref());
        if self.state.types.lack(read) {
            self.ask_types().await?;
        }
        for (number, status) in missing {
            let data = DataValue {
                status: Some(status),
                ..DataValue::null()
            };
            self.take_over(number, data, told, &mut samples);
        }
        for (number, value) in asked.into_iter().zip(values) {
            self.take_over(number, value, told, &mut samples);
        }
        Ok(Ok(samples))
    }

    /// One request; an error inside where it was refused as a whole, and any of the nodes may be the reason.
    async fn read_nodes(&mut self, nodes: Vec<ReadValueId>) -> Result<Result<Vec<DataValue>, Error>, Halt> {
        let begun = Instant::now();
        self.outlet.metrics.requests.inc();
        let timeout = self.plan.settings.request_timeout.get();
        match read(self.session, nodes, TimestampsToReturn::Both, timeout).await {
            Ok(values) => {
                let seconds = begun.elapsed().as_secs_f64();
                self.outlet.metrics.request_seconds.observe(seconds);
                Ok(Ok(values))
            }
            Err(error) if is_lost(error.status()) => Err(self.lost_with("reading", &error)),
            Err(error) => {
                self.outlet.metrics.error("status");
                tracing::debug!("reading failed: {error}");
                Ok(Err(error))
            }
        }
    }

    fn take_over(&mut self, place: u32, data: DataValue, told: &mut Told, samples: &mut Vec<Sample>) {
        let status = data.status.unwrap_or(StatusCode::Good);
        let Some(readmitted) = self.admit(place, status, &mut told.refused) else {
            return;
        };
        let readmitted = readmitted || !status.is_bad() && told.unseen.remove(&place);
        let last = &mut told.last[place as usize];
        let as_before =
            |(value, before): &(Option<Variant>, StatusCode)| *before == status && *value == data.value;
        if last.as_ref().is_some_and(as_before) {
            if status.is_good() {
                self.outlet.metrics.confirm();
            }
            return;
        }
        *last = Some((data.value.clone(), status));
        let before = samples.len();
        self.tell(place, data, samples);
        for sample in &mut samples[before..] {
            if sample.quality == Quality::BAD_DECODING_ERROR && !status.is_bad() {
                // Its type may be known at the next poll.
                *last = None;
            }
            if readmitted {
                // Nobody saw what it did while it was refused.
                sample.gap = true;
                self.outlet.metrics.gaps.inc();
            }
        }
    }
}
