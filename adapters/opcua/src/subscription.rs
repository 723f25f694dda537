//! Subscriptions: what is known of them across connections, and how they are made, taken over and dropped.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use floorgate_adapter_api::{GapScope, Notice, Reason, Receipt, Timestamp};
use opcua::client::services::{CreateSubscription, Republish, TransferSubscriptions};
use opcua::client::{Session, UARequest};
use opcua::types::{Error, NotificationMessage, StatusCode, TransferResult};
use tokio::sync::mpsc;

use crate::condition::Standing;
use crate::discarded::Discarded;
use crate::history::Backfill;
use crate::plan::Plan;
use crate::publish::is_lost;
use crate::revised::{Revised, Revisions};
use crate::silence::{Patience, signs_of_life, whole};
use crate::structure::Types;
use crate::tag_settings::Made;
use crate::takeover::Trial;

/// Most values that one notification message may hold; a server with more sends several.
pub const NOTIFICATIONS_PER_MESSAGE: u32 = 5_000;
/// Missed messages that are asked for at most; a server keeps far fewer.
const MOST_REPUBLISHED: usize = 10_000;

/// What the tags of a subscription have in common: the publishing interval that is asked for, and whether they tell conditions.
pub type Group = (Duration, bool);

/// A subscription on the server.
#[derive(Debug)]
pub struct Subscription {
    /// The server's number for it.
    pub id: u32,
    /// Our number for it, never used again: the server may give another subscription the same `id` after a restart.
    pub generation: u64,
    /// Number of the last notification message that was handed on; 0 before the first.
    pub last: u32,
    /// Places in the plan of the tags that it reports.
    pub tags: Vec<u32>,
    /// The server's numbers of their items, in the same order.
    pub items: Vec<u32>,
    /// What the server made of each, in the same order; `None` where an earlier process made it and did not say.
    pub made: Vec<Option<Made>>,
    /// The publishing interval that was asked for, which all of its tags have.
    pub asked: Duration,
    /// Whether its tags tell conditions; all do, or none.
    pub is_of_conditions: bool,
    /// Up to when it was heard, by the server's clock; of one that is new, up to when all were.
    pub told: Option<Timestamp>,
    /// The publishing interval as the server revised it; as it was asked for while that is not known.
    pub publishing: Duration,
    /// What the server made of what was asked for its items, those that were deleted since included; `None` where an earlier process
    /// made them and did not say.
    pub revisions: Option<Revisions>,
    /// Whether the server takes no more items into it.
    pub full: bool,
    /// Whether it may have something from before the connection.
    pub behind: Behind,
    /// Whether it is believed, where it was taken over.
    pub trial: Trial,
    /// When it gave its last sign of life.
    pub heard: Instant,
    /// How long it may be silent.
    pub patience: Patience,
}

/// Whether a subscription may have something from before the connection, or from before it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// It has not been heard, or had more to say.
    Unheard,
    /// It had no more to say. Some servers say so of each message of a burst, so the answer to a request that is sent after
    /// it has to say it again: the number of the first such request.
    Until(u64),
    /// What it says is of now.
    Not,
}

impl Behind {
    /// A request with this number was answered; `more` where the server has more to say, `asked` requests were sent so far.
    pub fn answered(&mut self, number: u64, is_keep_alive: bool, more: bool, asked: u64) {
        *self = match *self {
            Self::Not => Self::Not,
            // Nothing but a sign of life: there is nothing to say.
            _ if is_keep_alive => Self::Not,
            Self::Unheard if !more => Self::Until(asked),
            Self::Until(first) if number >= first && !more => Self::Not,
            behind => behind,
        };
    }
}

/// A notification message of which everything is durable in the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// [`Subscription::generation`].
    pub generation: u64,
    /// Its number.
    pub sequence: u32,
}

/// Whose the subscriptions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heritage {
    /// Made or taken over by this process.
    Own,
    /// An earlier process left them, and no session of this one has them yet.
    LeftOver,
    /// The same, and they cannot be gone on with: they are good for nothing but to be deleted.
    Stale,
}

/// What is known across connections.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // each says a thing of its own; together they are no state machine
pub struct State {
    /// The subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// What the server is to hold no longer.
    pub discarded: Discarded,
    /// It was said that it sends notifications of a kind that is not known.
    pub leaves_out: bool,
    /// Tags that the server refuses, with its status.
    pub refused: HashMap<u32, StatusCode>,
    /// Tags that made the server fail when it was asked for them alone.
    pub faulty: HashSet<u32>,
    /// Tags whose type was warned about.
    pub unsupported: HashSet<u32>,
    /// When the server of the subscriptions started.
    pub server_started: Option<i64>,
    /// Whether the server has given subscriptions over to another session, since it was started; `None` where that was not tried.
    pub gives_over: Option<bool>,
    /// Tags that have an item and were never reported: what is known of them is older than the subscriptions.
    pub unseen: HashSet<u32>,
    /// [`crate::bookmark::fingerprint`] of the plan.
    pub plan: u64,
    /// How many items the plan has.
    pub tags: usize,
    /// The types of the server.
    pub types: Types,
    /// The items that tell conditions.
    pub conditions: HashMap<u32, Standing>,
    /// Items of which a message that is being taken over shows that something was lost.
    pub lossy: Vec<u32>,
    /// Whether that is stored as well: when the last message was sent.
    pub tells_heard: bool,
    /// Up to when all subscriptions were heard, by the server's clock.
    pub heard: Option<Timestamp>,
    /// What is to be read of the server's histories, or was, while what it sends may have been told with it.
    pub backfill: Option<Backfill>,
    /// Whose the subscriptions are.
    pub heritage: Heritage,
    /// How many times in a row one that it said to have given over stayed silent.
    pub silences: u8,
    /// The publishing interval and the revisions that were last warned of, if they had to be.
    pub reported: Option<(Duration, Revisions)>,
    /// What the server holds is stored as it is, or on its way to be.
    pub layout_told: bool,
    /// By what is stored, or on its way to be, the next process may go on.
    pub goes_on: bool,
    /// Messages to acknowledge.
    pub stored: mpsc::UnboundedReceiver<Stored>,
    on_stored: mpsc::UnboundedSender<Stored>,
    generations: u64,
}

impl Default for State {
    fn default() -> Self {
        let (on_stored, stored) = mpsc::unbounded_channel();
        Self {
            subscriptions: Vec::new(),
            discarded: Discarded::default(),
            leaves_out: false,
            refused: HashMap::new(),
            faulty: HashSet::new(),
            unsupported: HashSet::new(),
            server_started: None,
            gives_over: None,
            unseen: HashSet::new(),
            plan: 0,
            tags: 0,
            types: Types::default(),
            conditions: HashMap::new(),
            lossy: Vec::new(),
            tells_heard: false,
            heard: None,
            backfill: None,
            heritage: Heritage::Own,
            silences: 0,
            reported: None,
            layout_told: false,
            goes_on: false,
            stored,
            on_stored,
            generations: 0,
        }
    }
}

impl State {
    /// The generation of the youngest subscription.
    pub fn generation(&self) -> u64 {
        self.generations
    }

    /// The number of a subscription that is new here.
    pub fn next_generation(&mut self) -> u64 {
        self.generations += 1;
        self.generations
    }

    /// [`signs_of_life`] of a subscription with this publishing interval.
    pub fn keep_alive_periods(plan: &Plan, publishing: Duration) -> u32 {
        signs_of_life(plan.settings.keep_alive.get(), publishing)
    }

    /// Publishing intervals until the server deletes a subscription that nobody asks for. It outlives its session, so that another can take it
    /// over. OPC 10000-4 §5.14.2: the lifetime is at least three keep-alives.
    pub fn lifetime_periods(plan: &Plan, publishing: Duration) -> u32 {
        let outlives = plan.settings.session_timeout.get() * 2;
        let session = whole((outlives.as_secs_f64() / publishing.as_secs_f64()).ceil());
        session.max(Self::keep_alive_periods(plan, publishing).saturating_mul(3))
    }

    /// A receipt that has a message acknowledged.
    pub fn receipt(&self, stored: Stored) -> Receipt {
        let on_stored = self.on_stored.clone();
        // The receiver is gone only when the source has ended; there is nobody to acknowledge to then.
        Receipt::new(move || {
            let _ = on_stored.send(stored);
        })
    }

    /// Forgets a subscription whose messages cannot be relied on, and returns what is to be said of it.
    pub fn lose(&mut self, place: usize, plan: &Plan, reason: String) -> Notice {
        self.layout_told = false;
        let lost = self.subscriptions.swap_remove(place);
        self.discarded.push(lost.id);
        for tag in &lost.tags {
            self.unseen.remove(tag);
            self.conditions.remove(tag);
        }
        let scope = if self.subscriptions.is_empty() {
            GapScope::Source
        } else {
            let items = lost
                .tags
                .iter()
                .filter_map(|place| plan.items().get(*place as usize));
            let tags = items.flat_map(|item| plan.tags_of(item));
            GapScope::Tags(tags.map(|tag| tag.id).collect())
        };
        tracing::warn!(
            source = plan.name,
            subscription = lost.id,
            see = "opcua-changes-missed",
            "changes may have been missed: {reason}"
        );
        let reason = Reason::new(reason, "opcua-changes-missed");
        Notice::Gap { scope, reason }
    }

    /// Forgets all subscriptions. Those that the server holds for this session are to be deleted: nobody would
    /// acknowledge their messages, and they would use up the answers to publish requests.
    pub fn lose_all(&mut self, held: Vec<u32>) {
        self.subscriptions.clear();
        self.unseen.clear();
        self.conditions.clear();
        self.heritage = Heritage::Own;
        self.reported = None;
        self.layout_told = false;
        for id in held {
            self.discarded.push(id);
        }
        self.refused.clear();
    }

    /// Makes a subscription for tags of a group; it is the last one afterwards.
    pub async fn create(
        &mut self,
        session: &Session,
        plan: &Plan,
        (publishing, is_of_conditions): Group,
    ) -> Result<Revised, Error> {
        let response = CreateSubscription::new(session)
            .publishing_interval(publishing)
            .max_keep_alive_count(Self::keep_alive_periods(plan, publishing))
            .max_lifetime_count(Self::lifetime_periods(plan, publishing))
            .max_notifications_per_publish(NOTIFICATIONS_PER_MESSAGE)
            .send(session.channel())
            .await?;
        let revised = Revised::new(
            publishing,
            response.revised_publishing_interval,
            response.revised_max_keep_alive_count,
            response.revised_lifetime_count,
        );
        let generation = self.next_generation();
        self.discarded.is_used(response.subscription_id);
        self.subscriptions.push(Subscription {
            id: response.subscription_id,
            generation,
            last: 0,
            tags: Vec::new(),
            items: Vec::new(),
            made: Vec::new(),
            asked: publishing,
            is_of_conditions,
            told: self.heard,
            publishing: revised.publishing,
            revisions: Some(Revisions::default()),
            full: false,
            behind: Behind::Unheard,
            trial: Trial::Not,
            heard: Instant::now(),
            patience: revised.patience(plan),
        });
        Ok(revised)
    }

    /// The server's numbers of the subscriptions.
    pub fn ids(&self) -> Vec<u32> {
        self.subscriptions.iter().map(|s| s.id).collect()
    }

    /// Takes over the subscriptions of a session that is gone; the numbers of those that could be. An error where the connection is lost.
    pub async fn transfer(&mut self, session: &Session) -> Result<Vec<u32>, Error> {
        let ids = self.ids();
        let request = TransferSubscriptions::new(session)
            .subscription_ids(ids.clone())
            .send_initial_values(false);
        match request.send(session.channel()).await {
            Ok(response) => Ok(taken(&ids, &response.results.unwrap_or_default())),
            Err(error) if is_lost(error.status()) => Err(error),
            Err(error) => {
                tracing::debug!("subscriptions cannot be taken over: {error}");
                Ok(Vec::new())
            }
        }
    }
}

/// The numbers of which the server says that they were taken over.
fn taken(ids: &[u32], results: &[TransferResult]) -> Vec<u32> {
    let both = ids.iter().zip(results);
    // Some servers say that there is nothing to do where the session has it already.
    both.filter(|(_, result)| {
        result.status_code.is_good() || result.status_code == StatusCode::BadNothingToDo
    })
    .map(|(id, _)| *id)
    .collect()
}

/// The number after a message's (OPC 10000-4 §5.14.1: from 1, and 0 is left out when they wrap).
pub fn next(sequence: u32) -> u32 {
    sequence.checked_add(1).unwrap_or(1)
}

/// The numbers from after `last` until before `until`; `None` where they are too many to be asked for.
pub fn missing(last: u32, until: u32) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    let mut sequence = next(last);
    while sequence != until {
        if numbers.len() >= MOST_REPUBLISHED {
            return None;
        }
        numbers.push(sequence);
        sequence = next(sequence);
    }
    Some(numbers)
}

/// Whether a message comes after the last one that was handed on.
pub fn is_newer(sequence: u32, last: u32) -> bool {
    // Half of the circle is ahead, half behind.
    let ahead = sequence.wrapping_sub(last);
    ahead != 0 && ahead < u32::MAX / 2
}

/// Asks for one message again; `None` where the server does not have it.
pub async fn republish(
    session: &Session,
    subscription: u32,
    sequence: u32,
) -> Result<Option<NotificationMessage>, Error> {
    match Republish::new(subscription, sequence, session)
        .send(session.channel())
        .await
    {
        // Some servers answer Good with an empty message for ever.
        Ok(response)
            if response.notification_message.sequence_number == sequence
                && response
                    .notification_message
                    .notification_data
                    .as_ref()
                    .is_some_and(|data| !data.is_empty()) =>
        {
            Ok(Some(response.notification_message))
        }
        Ok(_) => Ok(None),
        Err(error)
            if matches!(
                error.status(),
                StatusCode::BadMessageNotAvailable | StatusCode::BadServiceUnsupported
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// One with nothing in it.
    pub fn subscription() -> Subscription {
        Subscription {
            id: 7,
            generation: 1,
            last: 0,
            tags: Vec::new(),
            items: Vec::new(),
            made: Vec::new(),
            asked: Duration::ZERO,
            is_of_conditions: false,
            told: None,
            publishing: Duration::ZERO,
            revisions: None,
            full: false,
            behind: Behind::Not,
            trial: Trial::Not,
            heard: Instant::now(),
            patience: Patience::default(),
        }
    }

    #[test]
    fn numbers_go_round_without_zero() {
        assert_eq!(next(1), 2);
        assert_eq!(next(u32::MAX), 1);
        assert_eq!(missing(u32::MAX - 1, 3), Some(vec![u32::MAX, 1, 2]));
        assert_eq!(missing(4, 5), Some(vec![]));
        assert_eq!(missing(7, 5), None, "a number from before is never reached");
    }

    #[test]
    fn a_subscription_is_behind_until_it_said_twice_that_there_is_no_more() {
        let mut behind = Behind::Unheard;
        // Requests 0 to 2 wait at the server; 3 and 4 are sent as they are answered.
        behind.answered(0, false, true, 3);
        assert_eq!(behind, Behind::Unheard);
        behind.answered(1, false, false, 4);
        behind.answered(2, false, false, 5);
        assert_eq!(
            behind,
            Behind::Until(4),
            "an answer of the same burst says nothing new"
        );
        behind.answered(4, false, true, 6);
        behind.answered(5, false, false, 7);
        assert_eq!(behind, Behind::Not);
        let mut silent = Behind::Unheard;
        silent.answered(0, true, false, 3);
        assert_eq!(silent, Behind::Not, "a sign of life says that there is nothing");
    }

    #[test]
    fn only_what_was_taken_over_is_held_and_is_deleted_when_all_begins_anew() {
        let result = |status_code| TransferResult {
            status_code,
            available_sequence_numbers: None,
        };
        let results = [
            result(StatusCode::Good),
            result(StatusCode::BadSubscriptionIdInvalid),
            result(StatusCode::Good),
        ];
        let held = taken(&[7, 8, 9], &results);
        assert_eq!(held, [7, 9]);
        let mut state = State::default();
        state.discarded.push(3);
        state.lose_all(held);
        assert_eq!(state.discarded.waiting(), [3, 7, 9]);
    }

    #[test]
    fn newer_is_ahead_by_less_than_half_the_circle() {
        assert!(is_newer(1, 0) && is_newer(6, 5) && is_newer(1, u32::MAX));
        assert!(!is_newer(5, 5) && !is_newer(4, 5) && !is_newer(u32::MAX, 1));
    }
}
