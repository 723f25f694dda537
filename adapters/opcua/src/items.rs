//! Monitored items: which tag goes into which subscription, and which tags the server refuses.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use floorgate_adapter_api::Sample;
use opcua::client::UARequest;
use opcua::client::services::{CreateMonitoredItems, DeleteMonitoredItems};
use opcua::types::{
    AttributeId, DataChangeFilter, DataChangeTrigger, DeadbandType, Error, ExtensionObject,
    MonitoredItemCreateRequest, MonitoredItemCreateResult, MonitoringMode, MonitoringParameters, ReadValueId,
    StatusCode, TimestampsToReturn,
};

use crate::address::ServerDeadband;
use crate::batches::{Batches, Verdict};
use crate::event;
use crate::item::{Item, What};
use crate::outlet::Halt;
use crate::publish::{Connected, is_lost};
use crate::server::reason;
use crate::subscription::{Group, Subscription};
use crate::tag_settings::Made;
use crate::value;

/// How long the server may take to make a batch of items. Some look each node up in a device.
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);
/// Refused tags that are named in the log one by one.
pub const MOST_NAMED: usize = 20;

/// The tags that a pass over them refused.
#[derive(Debug, Default)]
pub struct Refusals {
    /// What is to be said of them.
    pub samples: Vec<Sample>,
    named: usize,
}

impl Connected<'_> {
    /// Has all tags monitored that are not, and refused ones tried again when `again` is set. What is refused (anew)
    /// is added to `refusals`.
    pub async fn place_tags(&mut self, again: bool, refusals: &mut Refusals) -> Result<(), Halt> {
        let mut waiting = self.unplaced(again);
        let mut batches = Batches::of(self.facts.items_per_call);
        let most = self.plan.settings.items_per_subscription as usize;
        // How many a subscription of each group takes, as far as that is known.
        let mut capacities: HashMap<Group, usize> = HashMap::new();

        while let Some(last) = waiting.last().copied() {
            let group = self.group(last);
            let capacity = capacities.get(&group).copied().unwrap_or(most);
            if self.request(last).is_none() {
                waiting.pop();
                self.refuse(last, StatusCode::BadNodeIdUnknown, refusals);
                continue;
            }
            let place = match self.subscription_with_room(capacity, group).await {
                Ok(place) => place,
                Err(error) if is_refusal(error.status()) => {
                    let refused = self.of_group(&mut waiting, group);
                    self.refuse_all(refused, error.status(), refusals);
                    continue;
                }
                Err(error) => return Err(self.lost_with("making a subscription", &error)),
            };
            let room = capacity - self.state.subscriptions[place].tags.len();
            let (tags, requests) = self.take(&mut waiting, batches.size().min(room));
            let response = CreateMonitoredItems::new(self.state.subscriptions[place].id, self.session)
                .items_to_create(requests)
                .timestamps_to_return(TimestampsToReturn::Both)
                .timeout(CREATE_TIMEOUT)
                .send(self.session.channel())
                .await;
            let response = match response {
                Ok(response) => response,
                Err(error) if is_too_large(error.status()) && tags.len() > 1 => {
                    batches.too_large(tags.len());
                    waiting.extend(tags.into_iter().rev());
                    continue;
                }
                // Some servers refuse a request as a whole that would exceed the limit.
                Err(error) if error.status() == StatusCode::BadTooManyMonitoredItems => {
                    if tags.len() > 1 {
                        batches.too_large(tags.len());
                    } else {
                        self.state.subscriptions[place].full = true;
                        batches = Batches::of(self.facts.items_per_call);
                    }
                    waiting.extend(tags.into_iter().rev());
                    capacities.insert(group, self.after_full(place, capacity, &mut waiting, refusals));
                    continue;
                }
                Err(error) if is_lost(error.status()) => {
                    // The items may have been made: the subscription is not what it is taken for.
                    self.lose(place, failed("making monitored items", &error)).await?;
                    return Err(self.lost_with("making monitored items", &error));
                }
                Err(error) => {
                    self.outlet.metrics.error("status");
                    if error.status() == StatusCode::BadSubscriptionIdInvalid {
                        self.lose(place, failed("the subscription is gone", &error))
                            .await?;
                    }
                    match batches.failed(tags.len()) {
                        Verdict::Divide => waiting.extend(tags.into_iter().rev()),
                        Verdict::Refuse => {
                            self.state.faulty.extend(tags.iter().copied());
                            self.refuse_all(tags, error.status(), refusals);
                        }
                        Verdict::GiveUp => {
                            waiting.extend(tags);
                            self.refuse_all(std::mem::take(&mut waiting), error.status(), refusals);
                        }
                    }
                    continue;
                }
            };
            batches.answered();
            let mut returned = Vec::new();
            for (tag, created) in tags.into_iter().zip(response.results) {
                let status = created.result.status_code;
                if status == StatusCode::BadTooManyMonitoredItems {
                    self.state.subscriptions[place].full = true;
                    returned.push(tag);
                } else if status.is_bad() {
                    self.refuse(tag, status, refusals);
                } else {
                    self.has_item(place, tag, (&created.requested_parameters, &created.result));
                }
            }
            waiting.extend(returned.into_iter().rev());
            capacities.insert(group, self.after_full(place, capacity, &mut waiting, refusals));
        }
        self.report(refusals.named);
        Ok(())
    }

    /// A tag has its item in a subscription. One that was refused stays so until a value of it comes: the item may only repeat the refusal.
    fn has_item(
        &mut self,
        place: usize,
        tag: u32,
        (asked, made): (&MonitoringParameters, &MonitoredItemCreateResult),
    ) {
        let subscription = &mut self.state.subscriptions[place];
        subscription.tags.push(tag);
        subscription.items.push(made.monitored_item_id);
        subscription.made.push(Some(Made::of(made)));
        match self.plan.items()[tag as usize].what {
            What::Value => {
                if let Some(revisions) = &mut subscription.revisions {
                    revisions.add(asked, made);
                }
                self.state.unseen.insert(tag);
            }
            What::Conditions => {
                let standing = self.state.conditions.entry(tag).or_default();
                standing.want(Instant::now());
            }
            What::Events(..) => {}
        }
        // Of events none need ever happen, so that nothing else would say that it is taken back.
        if !matches!(self.plan.items()[tag as usize].what, What::Value)
            && self.state.refused.remove(&tag).is_some()
        {
            self.state.layout_told = false;
        }
        self.state.faulty.remove(&tag);
    }

    /// What a full subscription tells: how many the next one takes, or that the session takes no more.
    fn after_full(
        &mut self,
        place: usize,
        capacity: usize,
        waiting: &mut Vec<u32>,
        refusals: &mut Refusals,
    ) -> usize {
        let subscription = &self.state.subscriptions[place];
        match subscription.tags.len() {
            _ if !subscription.full => capacity,
            0 => {
                let lost = self.state.subscriptions.swap_remove(place);
                self.state.discarded.push(lost.id);
                let status = StatusCode::BadTooManyMonitoredItems;
                let refused = self.of_group(waiting, (lost.asked, lost.is_of_conditions));
                self.refuse_all(refused, status, refusals);
                capacity
            }
            taken => capacity.min(taken),
        }
    }

    /// What the tags of its subscription have in common.
    fn group(&self, tag: u32) -> Group {
        let item = &self.plan.items()[tag as usize];
        (self.plan.publishing(item), item.is_of_conditions())
    }

    /// Takes the tags of a group out of those that wait.
    fn of_group(&self, waiting: &mut Vec<u32>, group: Group) -> Vec<u32> {
        let (own, others) = std::mem::take(waiting)
            .into_iter()
            .partition(|tag| self.group(*tag) == group);
        *waiting = others;
        own
    }

    /// Deletes the items of tags that the server took and then called unknown, so that they can be made anew. Where that fails, a subscription may
    /// tell them still, and twice when they are made anew: it is given up.
    pub async fn remove_refused_items(&mut self) -> Result<(), Halt> {
        let mut place = 0;
        while place < self.state.subscriptions.len() {
            match self.remove_refused_items_of(place).await {
                Ok(()) => place += 1,
                Err(error) => {
                    self.lose(place, failed("deleting monitored items", &error))
                        .await?;
                    if is_lost(error.status()) {
                        return Err(self.lost_with("deleting monitored items", &error));
                    }
                }
            }
        }
        Ok(())
    }

    async fn remove_refused_items_of(&mut self, place: usize) -> Result<(), Error> {
        let refused = &self.state.refused;
        if let Some(subscription) = self.state.subscriptions.get_mut(place) {
            let mut removed = Vec::new();
            let mut place = 0;
            while let Some(tag) = subscription.tags.get(place) {
                if refused.contains_key(tag) {
                    subscription.tags.swap_remove(place);
                    subscription.made.swap_remove(place);
                    removed.push(subscription.items.swap_remove(place));
                } else {
                    place += 1;
                }
            }
            for batch in removed.chunks(self.facts.items_per_call) {
                let deleted = DeleteMonitoredItems::new(subscription.id, self.session)
                    .items_to_delete(batch.to_vec())
                    .send(self.session.channel())
                    .await?;
                let is_left = |status: &&StatusCode| {
                    status.is_bad() && **status != StatusCode::BadMonitoredItemIdInvalid
                };
                if let Some(status) = deleted.results.iter().flatten().find(is_left) {
                    return Err(Error::new(*status, "an item stays"));
                }
            }
        }
        Ok(())
    }

    /// Tags without an item, the first of the plan last; before them those that made the server fail, so that they
    /// come when all others are placed.
    pub fn unplaced(&self, again: bool) -> Vec<u32> {
        let mut placed = vec![false; self.plan.items().len()];
        for tag in self
            .state
            .subscriptions
            .iter()
            .flat_map(|subscription| &subscription.tags)
        {
            placed[*tag as usize] = true;
        }
        let count = u32::try_from(placed.len()).unwrap_or(u32::MAX);
        let mut unplaced: Vec<u32> = (0..count)
            .rev()
            .filter(|tag| !placed[*tag as usize] && (again || !self.state.refused.contains_key(tag)))
            .collect();
        // Those that share a subscription come one after the other.
        unplaced.sort_by_key(|tag| (!self.state.faulty.contains(tag), Reverse(self.group(*tag))));
        unplaced
    }

    fn take(&self, waiting: &mut Vec<u32>, most: usize) -> (Vec<u32>, Vec<MonitoredItemCreateRequest>) {
        let (mut tags, mut requests) = (Vec::with_capacity(most), Vec::with_capacity(most));
        let all = waiting.last().map(|first| self.group(*first));
        while tags.len() < most {
            let Some(tag) = waiting.pop() else { break };
            let request = self.request(tag).filter(|_| Some(self.group(tag)) == all);
            let Some(request) = request else {
                // It is for another subscription, or is refused when it is the next one.
                waiting.push(tag);
                break;
            };
            tags.push(tag);
            requests.push(request);
        }
        (tags, requests)
    }

    /// The request for a tag's item; `None` where the tag's namespace is not on the server.
    fn request(&self, place: u32) -> Option<MonitoredItemCreateRequest> {
        let item = &self.plan.items()[place as usize];
        let node = item.node_id(&self.facts.namespaces)?;
        let (item_to_monitor, sampling_interval, filter) = match item.what {
            What::Value => (
                ReadValueId::new_value(node),
                self.plan.sampling_millis(item),
                item.deadband.map_or_else(ExtensionObject::null, deadband),
            ),
            What::Events(..) | What::Conditions => (
                ReadValueId::new(node, AttributeId::EventNotifier),
                0.0,
                ExtensionObject::from_message(event::filter(item, &self.facts.namespaces)?),
            ),
        };
        Some(MonitoredItemCreateRequest {
            item_to_monitor,
            monitoring_mode: MonitoringMode::Reporting,
            requested_parameters: MonitoringParameters {
                client_handle: place + 1,
                sampling_interval,
                filter,
                queue_size: self.plan.queue_size(item),
                discard_oldest: true,
            },
        })
    }

    async fn subscription_with_room(&mut self, most: usize, group: Group) -> Result<usize, Error> {
        let is_of = |s: &Subscription| (s.asked, s.is_of_conditions) == group;
        let has_room = |s: &Subscription| !s.full && s.tags.len() < most && is_of(s);
        if let Some(place) = self.state.subscriptions.iter().position(has_room) {
            return Ok(place);
        }
        self.make_subscription(group).await?;
        Ok(self.state.subscriptions.len() - 1)
    }

    fn refuse_all(&mut self, tags: Vec<u32>, status: StatusCode, refusals: &mut Refusals) {
        for tag in tags {
            self.refuse(tag, status, refusals);
        }
    }

    fn refuse(&mut self, place: u32, status: StatusCode, refusals: &mut Refusals) {
        let item = &self.plan.items()[place as usize];
        if self.state.refused.insert(place, status) == Some(status) {
            return;
        }
        self.state.layout_told = false;
        let tags = self.plan.tags_of(item);
        refusals
            .samples
            .extend(tags.iter().map(|tag| value::refusal(tag.id, status)));
        refusals.named += 1;
        if refusals.named <= MOST_NAMED {
            self.warn_of(item, status);
        }
    }

    /// Takes note of whether an item is refused, by the status of its value: some servers take every item and give the refusal as its value, and
    /// so does one that is read. Whether it was refused until now; `None` for a refusal that was told before. Those that were not are counted in `refused`, and the
    /// first of them named in the log.
    pub fn admit(&mut self, place: u32, status: StatusCode, refused: &mut usize) -> Option<bool> {
        if !is_node_refused(status) {
            return Some(!self.state.refused.is_empty() && self.state.refused.remove(&place).is_some());
        }
        if self.state.refused.insert(place, status) == Some(status) {
            return None;
        }
        *refused += 1;
        if *refused <= MOST_NAMED
            && let Some(item) = self.plan.items().get(place as usize)
        {
            self.warn_of(item, status);
        }
        Some(false)
    }

    /// Names a refused item in the log, by the first of its tags.
    pub fn warn_of(&self, item: &Item, status: StatusCode) {
        let source = &self.plan.name;
        let name = self.plan.tags_of(item).first().map_or("", |tag| &tag.name);
        match (item.node_id(&self.facts.namespaces), self.plan.uri(item)) {
            (Some(node), _) => {
                tracing::warn!(source, tag = %name, see = "opcua-node-refused", "the server refuses {node}: {status}");
            }
            (None, uri) => {
                let uri = uri.unwrap_or_default();
                tracing::warn!(source, tag = %name, see = "opcua-namespace-missing", "the server has no namespace `{uri}`");
            }
        }
    }

    /// Shows how many tags are refused.
    pub fn count_refused(&self) {
        let refused = i64::try_from(self.state.refused.len()).unwrap_or(i64::MAX);
        self.outlet.metrics.failed_tags.set(refused);
    }

    fn report(&mut self, refused: usize) {
        self.count_refused();
        self.warn_of_more(refused);
        self.report_revisions();
    }

    /// Says of how many that are refused none was named, if there are any. Whether it did.
    pub fn warn_of_more(&self, refused: usize) -> bool {
        let more = refused.saturating_sub(MOST_NAMED);
        if more > 0 {
            tracing::warn!(
                source = self.plan.name,
                see = "opcua-node-refused",
                "the server refuses {more} more tags"
            );
        }
        more > 0
    }
}

/// Has the server report only changes that are as large (OPC 10000-4 §7.22.2).
fn deadband(deadband: ServerDeadband) -> ExtensionObject {
    let (kind, value) = match deadband {
        ServerDeadband::Absolute(value) => (DeadbandType::Absolute, value),
        ServerDeadband::Percent(value) => (DeadbandType::Percent, value),
    };
    ExtensionObject::from_message(DataChangeFilter {
        trigger: DataChangeTrigger::StatusValue,
        deadband_type: kind as u32,
        deadband_value: value,
    })
}

/// Whether the server refuses a subscription for a reason that does not end the connection.
fn is_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadTooManySubscriptions
            | StatusCode::BadTooManyMonitoredItems
            | StatusCode::BadServiceUnsupported
            | StatusCode::BadUserAccessDenied
            | StatusCode::BadResourceUnavailable
    )
}

/// Whether a status says that the node cannot be read at all, however often it is tried with the same item.
pub fn is_node_refused(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadNodeIdUnknown
            | StatusCode::BadNodeIdInvalid
            | StatusCode::BadAttributeIdInvalid
            | StatusCode::BadNotReadable
            | StatusCode::BadUserAccessDenied
    )
}

/// Whether a request was refused for its size.
pub fn is_too_large(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadTooManyOperations
            | StatusCode::BadRequestTooLarge
            | StatusCode::BadResponseTooLarge
            | StatusCode::BadEncodingLimitsExceeded
            | StatusCode::BadTcpMessageTooLarge
    )
}

/// The words for a request that failed.
pub fn failed(what: &str, error: &Error) -> String {
    format!("{what}: {}", reason(error))
}
