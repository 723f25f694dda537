//! What a notification message comes to.

use std::collections::HashMap;
use std::time::Instant;

use floorgate_adapter_api::{GapScope, Notice, Reason, Sample};
use opcua::types::{
    DataChangeNotification, DataValue, EventFieldList, EventNotificationList, ExtensionObject,
    MonitoredItemNotification, StatusChangeNotification, StatusCode,
};

use crate::bodies::nameless;
use crate::condition::Told;
use crate::event::{self, Fields, Happened};
use crate::history::Beside;
use crate::item::{Tag, What};
use crate::items::is_node_refused;
use crate::outlet::Halt;
use crate::publish::Connected;
use crate::server::reason;
use crate::value::{self, Unsupported};

impl Connected<'_> {
    /// Asks for the server's types where a message holds the first structure.
    pub async fn know_types_of(&mut self, objects: &[ExtensionObject]) -> Result<(), Halt> {
        fn changes(object: &ExtensionObject) -> impl Iterator<Item = &DataValue> {
            let changes = object.inner_as::<DataChangeNotification>().into_iter();
            let items = changes.flat_map(|changes| changes.monitored_items.iter().flatten());
            items.map(|item| &item.value)
        }
        self.see_changed_types(objects.iter().flat_map(changes));
        let values = objects.iter().flat_map(|object| {
            let events = object.inner_as::<EventNotificationList>().into_iter();
            let events = events.flat_map(|events| events.events.iter().flatten());
            let fields = events.flat_map(|event| event.event_fields.iter().flatten());
            changes(object)
                .filter_map(|value| value.value.as_ref())
                .chain(fields)
        });
        if self.state.types.lack(values) {
            self.ask_types().await?;
        }
        Ok(())
    }

    /// Whether the server says with one of the values that structures are others now.
    pub fn see_changed_types<'v>(&self, values: impl IntoIterator<Item = &'v DataValue>) {
        let mut statuses = values.into_iter().filter_map(|value| value.status);
        if statuses.any(|status| status.structure_changed()) {
            self.state.types.were_changed();
        }
    }

    /// Asks for the server's types. One that answers all but this is taken not to tell them: the values beside structures must not wait for ever.
    pub async fn ask_types(&mut self) -> Result<(), Halt> {
        let types = self.state.types.clone();
        let begun = Instant::now();
        let lost = tokio::select! {
            biased;
            () = self.outlet.stop.cancelled() => return Err(Halt::Stop),
            reason = self.link.lost() => Some(Halt::Lost(reason)),
            asked = types.ask(self.session, self.facts.nodes_per_read, self.plan) => match asked {
                Err(error) if !self.ends_connection(&error, begun) => {
                    types.give_up(&self.plan.name, &reason(&error));
                    None
                }
                asked => asked.err().map(|error| self.lost_with("reading the data types", &error)),
            },
        };
        // The server was not asked for messages meanwhile.
        for subscription in &mut self.state.subscriptions {
            subscription.heard = Instant::now();
        }
        let Some(lost) = lost else { return Ok(()) };
        if types.was_lost() {
            types.give_up(&self.plan.name, "the connection was lost each time it was asked");
        }
        Err(lost)
    }

    /// The samples of a message, and the status with which it ends its subscription, if it does.
    pub fn samples(&mut self, objects: Vec<ExtensionObject>) -> (Vec<Sample>, Option<StatusCode>) {
        let mut samples = Vec::new();
        let mut ended = None;
        let mut refused = 0;
        let refused_before = self.state.refused.len();
        for object in objects {
            if let Some(change) = object.inner_as::<StatusChangeNotification>() {
                ended = Some(change.status);
                continue;
            }
            if object.inner_is::<EventNotificationList>() {
                let events = object.into_inner_as::<EventNotificationList>();
                for event in events
                    .into_iter()
                    .flat_map(|events| events.events.unwrap_or_default())
                {
                    self.event(event, &mut samples);
                }
                continue;
            }
            if object.body.is_some() && !object.inner_is::<DataChangeNotification>() {
                self.leave_out(&object);
            }
            let Some(changes) = object.into_inner_as::<DataChangeNotification>() else {
                continue;
            };
            let items = changes.monitored_items.unwrap_or_default();
            samples.reserve(items.len());
            // Asked for only beside a history.
            let last = self.state.backfill.is_some().then(|| {
                let places = items.iter().enumerate();
                places
                    .map(|(at, item)| (item.client_handle, at))
                    .collect::<HashMap<u32, usize>>()
            });
            for (at, item) in items.into_iter().enumerate() {
                let is_last = last
                    .as_ref()
                    .is_some_and(|last| last.get(&item.client_handle) == Some(&at));
                self.change(item, is_last, &mut samples, &mut refused);
            }
        }
        self.warn_of_more(refused);
        if refused > 0 || self.state.refused.len() != refused_before {
            self.state.layout_told = false;
            self.count_refused();
        }
        (samples, ended)
    }

    /// A change of a node's value.
    fn change(
        &mut self,
        item: MonitoredItemNotification,
        is_last: bool,
        samples: &mut Vec<Sample>,
        refused: &mut usize,
    ) {
        let place = item.client_handle.wrapping_sub(1);
        let Some(of) = self.plan.items().get(place as usize) else {
            return;
        };
        if !matches!(of.what, What::Value) && !is_node_refused(item.value.status()) {
            // Some servers send the attribute itself, for one when a session is re-activated: nothing happened.
            tracing::debug!(
                source = self.plan.name,
                "a value of what was asked for events is left out"
            );
            return;
        }
        self.see(place);
        if let Some(backfill) = &self.state.backfill {
            let beside = backfill.beside(place, &item.value, is_last);
            // What a historian left out, or a queue at the server, is missing.
            if matches!(beside, Beside::Missed | Beside::Present)
                || beside == Beside::Told && item.value.status().overflow()
            {
                self.state.lossy.push(place);
            }
            if matches!(beside, Beside::Told | Beside::Missed) {
                return;
            }
        }
        let status = item.value.status();
        let Some(readmitted) = self.admit(place, status, refused) else {
            return;
        };
        let before = samples.len();
        self.tell(place, item.value, samples);
        for sample in &mut samples[before..] {
            // Nobody saw what it did while it was refused.
            sample.gap |= readmitted;
            if sample.gap {
                self.outlet.metrics.gaps.inc();
            }
        }
    }

    /// The samples of the tags that come of an item, of a value of it.
    pub fn tell(&mut self, place: u32, data: DataValue, samples: &mut Vec<Sample>) {
        let Some(item) = self.plan.items().get(place as usize) else {
            return;
        };
        let (told, unsupported) = value::told(data, Some(&self.state.types));
        let tags = self.plan.tags_of(item).iter();
        samples.extend(tags.map(|tag| told.sample(tag.id, tag.field.as_ref())));
        self.note(place, unsupported);
    }

    /// An event.
    fn event(&mut self, event: EventFieldList, samples: &mut Vec<Sample>) {
        let place = event.client_handle.wrapping_sub(1);
        let Some(of) = self.plan.items().get(place as usize) else {
            return;
        };
        let fields = Fields(event.event_fields.unwrap_or_default());
        let tags = self.plan.tags_of(of);
        // Something came of it, so that it is not refused any more.
        if !self.state.refused.is_empty() && self.state.refused.remove(&place).is_some() {
            self.state.layout_told = false;
        }
        match &of.what {
            What::Value => {}
            What::Events(_, names) => match event::happened(tags, names, fields, &self.state.types) {
                Happened::Nothing => {}
                Happened::Lost(lost) => {
                    self.warn_of_overflow(tags);
                    samples.extend(lost);
                }
                Happened::Told(told, unsupported) => {
                    samples.extend(told);
                    self.note(place, unsupported);
                }
            },
            What::Conditions => {
                let standing = self.state.conditions.entry(place).or_default();
                match standing.take(tags, fields, &self.facts.uris, Instant::now()) {
                    Told::Nothing => {}
                    Told::Lost(lost) => {
                        self.warn_of_overflow(tags);
                        samples.extend(lost);
                    }
                    Told::All(told) | Told::Part(told) | Told::One(told) => samples.extend(told),
                }
            }
        }
    }

    /// Says of which tags a message showed that something was lost.
    pub async fn tell_losses(&mut self) -> Result<(), Halt> {
        let lossy = std::mem::take(&mut self.state.lossy);
        if lossy.is_empty() {
            return Ok(());
        }
        let items = lossy
            .iter()
            .filter_map(|place| self.plan.items().get(*place as usize));
        let tags = items.flat_map(|item| self.plan.tags_of(item)).map(|tag| tag.id);
        let notice = Notice::Gap {
            scope: GapScope::Tags(tags.collect()),
            reason: Reason::new(
                "the server sent what its history did not have",
                "opcua-history-incomplete",
            ),
        };
        self.outlet.gap(notice).await
    }

    /// A notification that is none of the standard's kinds, and tells no change of a value: said once.
    fn leave_out(&mut self, object: &ExtensionObject) {
        if std::mem::replace(&mut self.state.leaves_out, true) {
            return;
        }
        let (source, Unsupported(kind)) = (&self.plan.name, nameless(object));
        tracing::warn!(
            source,
            see = "opcua-type-not-supported",
            "the server sends notifications of a kind that is not known, which are left out: {kind}"
        );
    }

    fn warn_of_overflow(&self, tags: &[Tag]) {
        let (source, tag) = (&self.plan.name, tags.first().map_or("", |tag| &tag.name));
        tracing::warn!(
            source,
            tag,
            see = "opcua-changes-missed",
            "the server lost events: its queue was full"
        );
        self.outlet.metrics.gaps.inc();
    }

    /// Something was told of an item.
    fn see(&mut self, place: u32) {
        if !self.state.unseen.is_empty() && self.state.unseen.remove(&place) && self.state.unseen.is_empty() {
            self.state.layout_told = false;
        }
    }

    /// Says once that values of an item cannot be told.
    pub fn note(&mut self, place: u32, unsupported: Option<Unsupported>) {
        let Some(kind) = unsupported else { return };
        if self.state.unsupported.insert(place)
            && let Some(item) = self.plan.items().get(place as usize)
        {
            let source = &self.plan.name;
            let name = self.plan.tags_of(item).first().map_or("", |tag| &tag.name);
            tracing::warn!(source, tag = %name, see = "opcua-type-not-supported", "values of type {} are not supported; the tag stays bad", kind.0);
        }
    }
}
