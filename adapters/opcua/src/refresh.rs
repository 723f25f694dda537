//! Has servers tell how all conditions stand (OPC 10000-9 §5.5.7).

use std::time::{Duration, Instant};

use opcua::client::services::Call;
use opcua::client::{Session, UARequest};
use opcua::types::{CallMethodRequest, Error, MethodId, ObjectTypeId, StatusCode, Variant};

use crate::condition::Standing;
use crate::items::failed;
use crate::outlet::Halt;
use crate::publish::Connected;
use crate::subscription::State;

/// A subscription, when its conditions were asked for, and what the server says to that.
pub type Asked = (u32, Instant, Result<StatusCode, Error>);

/// Asks for all conditions of a subscription's items.
pub async fn ask(session: &Session, subscription: u32, timeout: Duration) -> Asked {
    let method = CallMethodRequest {
        object_id: ObjectTypeId::ConditionType.into(),
        method_id: MethodId::ConditionType_ConditionRefresh.into(),
        input_arguments: Some(vec![Variant::UInt32(subscription)]),
    };
    let begun = Instant::now();
    let called = Call::new(session)
        .methods_to_call(vec![method])
        .timeout(timeout)
        .send(session.channel())
        .await;
    let answer = called.map(|response| {
        let result = response.results.unwrap_or_default();
        result
            .first()
            .map_or(StatusCode::BadUnknownResponse, |result| result.status_code)
    });
    (subscription, begun, answer)
}

/// Whether a server that refuses like this will do so the next time.
fn is_final(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadMethodInvalid
            | StatusCode::BadNodeIdUnknown
            | StatusCode::BadNodeIdInvalid
            | StatusCode::BadNotSupported
            | StatusCode::BadNotImplemented
            | StatusCode::BadServiceUnsupported
            | StatusCode::BadUserAccessDenied
            | StatusCode::BadNotExecutable
    )
}

impl Connected<'_> {
    /// Gives up what does not end; the numbers of the subscriptions whose conditions are to be asked for now.
    pub async fn look_after_conditions(&mut self) -> Result<Vec<u32>, Halt> {
        if self.state.conditions.is_empty() {
            return Ok(Vec::new());
        }
        let now = Instant::now();
        let standings = self.state.conditions.iter();
        let overdue = standings.filter(|(_, standing)| standing.is_overdue(now));
        let overdue: Vec<u32> = overdue.map(|(place, _)| *place).collect();
        for place in overdue {
            self.give_up_refresh(place, now).await?;
        }
        let mut due = Vec::new();
        for subscription in self.state.subscriptions.iter().filter(|s| s.is_of_conditions) {
            let conditions = &self.state.conditions;
            let is_due = |place: &u32| conditions.get(place).is_some_and(|standing| standing.is_due(now));
            if subscription.tags.iter().any(is_due) {
                due.push(subscription.id);
            }
        }
        for id in &due {
            for standing in self.standings(*id) {
                standing.ask();
            }
        }
        Ok(due)
    }

    /// The items of a subscription that tell conditions.
    fn standings(&mut self, subscription: u32) -> impl Iterator<Item = &mut Standing> {
        let State {
            subscriptions,
            conditions,
            ..
        } = &mut *self.state;
        let of = subscriptions.iter().find(|s| s.id == subscription);
        let of = move |place: &u32| of.is_some_and(|s| s.tags.contains(place));
        conditions
            .iter_mut()
            .filter(move |(place, _)| of(place))
            .map(|(_, standing)| standing)
    }

    /// Hands on what a refresh has told that does not end.
    async fn give_up_refresh(&mut self, place: u32, now: Instant) -> Result<(), Halt> {
        let Some(item) = self.plan.items().get(place as usize) else {
            return Ok(());
        };
        let Some(standing) = self.state.conditions.get_mut(&place) else {
            return Ok(());
        };
        tracing::warn!(
            source = self.plan.name,
            see = "opcua-conditions-not-told",
            "the server has not told how all its conditions stand within a minute; it is asked again"
        );
        let told = standing.give_up(self.plan.tags_of(item));
        standing.want(now);
        if told.is_empty() {
            return Ok(());
        }
        self.outlet.samples(told).await
    }

    /// What the server says to the question for all conditions of a subscription.
    pub fn refresh_answered(&mut self, (subscription, begun, answer): Asked) -> Result<(), Halt> {
        match answer {
            Ok(status) if status.is_good() => self.refresh_agreed(subscription),
            // It tells them for a question before, of which something may have been lost.
            Ok(StatusCode::BadRefreshInProgress) => self.refresh_was_asked(subscription, true, true),
            Ok(status) => self.refresh_refused(subscription, status, &status.to_string()),
            Err(error) if self.ends_connection(&error, begun) => {
                // It is due still.
                return Err(self.lost_with("asking for conditions", &error));
            }
            Err(error) => {
                let refusal = failed("asking for conditions", &error);
                self.refresh_refused(subscription, error.status(), &refusal);
            }
        }
        Ok(())
    }

    fn refresh_was_asked(&mut self, subscription: u32, agreed: bool, again: bool) {
        let now = Instant::now();
        let of = self.state.subscriptions.iter().find(|s| s.id == subscription);
        let places: Vec<u32> = of.map(|s| s.tags.clone()).unwrap_or_default();
        for place in places {
            let Some(standing) = self.state.conditions.get_mut(&place) else {
                continue;
            };
            standing.was_asked(now, agreed);
            if again {
                standing.want(now);
            }
        }
    }

    fn refresh_agreed(&mut self, subscription: u32) {
        let refusals = self.standings(subscription);
        let refused = refusals.filter_map(|standing| standing.refusal.take()).count();
        if refused > 0 {
            tracing::info!(
                source = self.plan.name,
                "the server tells how its conditions stand"
            );
        }
        self.refresh_was_asked(subscription, true, false);
    }

    /// It is asked again unless it will never agree; the same is said once.
    fn refresh_refused(&mut self, subscription: u32, status: StatusCode, refusal: &str) {
        let again = !is_final(status);
        let standings = self.standings(subscription);
        let before = standings.map(|standing| standing.refusal.replace(status));
        let news = before.filter(|before| *before != Some(status)).count();
        if news > 0 {
            let again = if again { "; it is asked again" } else { "" };
            tracing::warn!(
                source = self.plan.name,
                see = "opcua-conditions-not-told",
                "the server does not tell how its conditions stand ({refusal}): what is raised now is told when it changes{again}"
            );
        }
        self.refresh_was_asked(subscription, false, again);
    }
}
