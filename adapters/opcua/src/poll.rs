//! Polling reads, for servers without subscriptions or with subscriptions that cannot be relied on.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use floorgate_adapter_api::{GapScope, Notice, Reason, Sample};
use opcua::types::{DataValue, ReadValueId, StatusCode, TimestampsToReturn};

use crate::items::is_node_refused;
use crate::outlet::Halt;
use crate::publish::{Connected, is_lost};
use crate::server::read;

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
        // Bad statuses that were handed on: a refusal is said once, not every poll.
        let mut told: HashMap<u32, StatusCode> = HashMap::new();
        let mut was_slow = false;
        loop {
            tokio::select! {
                biased;
                () = self.outlet.stop.cancelled() => return Err(Halt::Stop),
                lost = self.link.lost() => return Err(Halt::Lost(lost)),
                _ = ticks.tick() => {}
            }
            let begun = Instant::now();
            let mut batch = self.facts.nodes_per_read;
            let mut from = 0;
            while from < self.plan.items().len() {
                let until = (from + batch).min(self.plan.items().len());
                let stop = self.outlet.stop.clone();
                let read = tokio::select! {
                    biased;
                    () = stop.cancelled() => return Err(Halt::Stop),
                    read = self.read_tags(from, until, &mut told) => read?,
                };
                if let Some(samples) = read {
                    from = until;
                    if !samples.is_empty() {
                        self.hand_on_read(samples, every).await?;
                    }
                } else {
                    batch = (batch / 2).max(1);
                    self.facts.nodes_per_read = batch;
                }
            }
            let failing = i64::try_from(told.len()).unwrap_or(i64::MAX);
            self.outlet.metrics.failed_tags.set(failing);
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

    /// Reads some tags; `None` where the request was too large and is to be made smaller.
    async fn read_tags(
        &mut self,
        from: usize,
        until: usize,
        told: &mut HashMap<u32, StatusCode>,
    ) -> Result<Option<Vec<Sample>>, Halt> {
        let mut nodes = Vec::with_capacity(until - from);
        let mut asked = Vec::with_capacity(until - from);
        let mut samples = Vec::with_capacity(until - from);
        for place in from..until {
            let number = u32::try_from(place).unwrap_or(u32::MAX);
            if let Some(node) = self.plan.items()[place].node_id(&self.facts.namespaces) {
                nodes.push(ReadValueId::new_value(node));
                asked.push(number);
            } else {
                let missing = DataValue {
                    status: Some(StatusCode::BadNodeIdUnknown),
                    ..DataValue::null()
                };
                self.take_over(number, missing, told, &mut samples);
            }
        }
        if nodes.is_empty() {
            return Ok(Some(samples));
        }
        let begun = Instant::now();
        self.outlet.metrics.requests.inc();
        let timeout = self.plan.settings.request_timeout.get();
        let values = match read(self.session, nodes, TimestampsToReturn::Both, timeout).await {
            Ok(values) => values,
            Err(error) if crate::items::is_too_large(error.status()) && until - from > 1 => return Ok(None),
            Err(error) => {
                if !is_lost(error.status()) {
                    tracing::debug!("reading failed: {error}");
                }
                return Err(self.lost_with("reading", &error));
            }
        };
        self.outlet
            .metrics
            .request_seconds
            .observe(begun.elapsed().as_secs_f64());
        let read = values.iter().filter_map(|value| value.value.as_ref());
        if self.state.types.lack(read) {
            self.ask_types().await?;
        }
        for (number, value) in asked.into_iter().zip(values) {
            self.take_over(number, value, told, &mut samples);
        }
        Ok(Some(samples))
    }

    fn take_over(
        &mut self,
        place: u32,
        data: DataValue,
        told: &mut HashMap<u32, StatusCode>,
        samples: &mut Vec<Sample>,
    ) {
        let item = &self.plan.items()[place as usize];
        let tags = self.plan.tags_of(item);
        let status = data.status.unwrap_or(StatusCode::Good);
        let mut readmitted = false;
        if status.is_bad() {
            if told.insert(place, status) == Some(status) {
                return;
            }
            let name = tags.first().map_or("", |tag| &tag.name);
            tracing::warn!(source = self.plan.name, tag = %name, see = "opcua-node-refused", "the server refuses the node: {status}");
        } else {
            readmitted = told.remove(&place).is_some_and(is_node_refused);
        }
        let before = samples.len();
        self.tell(place, data, samples);
        if readmitted {
            for sample in &mut samples[before..] {
                // Nobody saw what it did while it was refused.
                sample.gap = true;
                self.outlet.metrics.gaps.inc();
            }
        }
    }
}
