//! Which of several servers the gateway is connected to (OPC 10000-4 §6.6.2), and as whom.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use floorgate_adapter_api::HEALTHY_SERVICE_LEVEL;
use futures_util::StreamExt;
use opcua::client::SessionPollResult;
use opcua::types::{ReadValueId, TimestampsToReturn, VariableId, Variant};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::connection::{self, Connection, Target};
use crate::plan::Plan;
use crate::server::{read, reason};

/// How long the gateway stays after it went to a server for its level, so that two that change places do not take it along.
const STAY: Duration = Duration::from_mins(1);
/// How often the others are asked while the present one is not healthy.
pub const ASK: Duration = Duration::from_secs(10);

/// The servers of a source.
#[derive(Debug)]
pub struct Servers {
    endpoints: Vec<String>,
    at: usize,
    with_previous: bool,
    /// Which one has the subscriptions, once one was connected.
    served: Option<usize>,
    /// Attempts since the last connection.
    tried: usize,
    /// When it went to the present one for its level.
    moved: Option<Instant>,
}

impl Servers {
    /// The servers of a plan, the first of them first.
    pub fn new(plan: &Plan) -> Self {
        let mut endpoints = vec![plan.settings.endpoint.clone()];
        endpoints.extend(plan.settings.redundant.iter().cloned());
        Self {
            endpoints,
            at: 0,
            with_previous: false,
            served: None,
            tried: 0,
            moved: None,
        }
    }

    /// Which one is next.
    pub fn target(&self) -> Target {
        Target {
            endpoint: self.endpoints[self.at].clone(),
            with_previous: self.with_previous,
        }
    }

    /// Whether there is no other.
    pub fn is_alone(&self) -> bool {
        self.endpoints.len() == 1
    }

    /// The present one is connected; whether another had the subscriptions.
    pub fn connected(&mut self) -> bool {
        self.tried = 0;
        self.served
            .replace(self.at)
            .is_some_and(|before| before != self.at)
    }

    /// The present one is not to be had; whether the next attempt is to be made at once. A server that refuses the gateway's new certificate is asked
    /// with the one before.
    pub fn failed(&mut self, refused: bool, has_previous: bool) -> bool {
        if refused && has_previous && !self.with_previous {
            self.with_previous = true;
            return true;
        }
        self.with_previous = false;
        self.at = (self.at + 1) % self.endpoints.len();
        self.tried += 1;
        !self.tried.is_multiple_of(self.endpoints.len())
    }

    /// The present one was left on purpose.
    pub fn leave(&mut self, to: Option<usize>) {
        self.with_previous = false;
        if let Some(to) = to {
            self.at = to;
            self.moved = Some(Instant::now());
        }
    }

    /// What is needed to look for a better one.
    pub fn rivals(&self) -> Rivals {
        let others = self.endpoints.iter().cloned().enumerate();
        Rivals {
            others: others.filter(|(at, _)| *at != self.at).collect(),
            stay_until: self.moved.map(|moved| moved + STAY),
        }
    }
}

/// The servers beside the present one.
#[derive(Debug)]
pub struct Rivals {
    others: Vec<(usize, String)>,
    stay_until: Option<Instant>,
}

impl Rivals {
    /// Waits until the present one is not healthy and another is better; which, and why.
    pub async fn better(&self, plan: &Arc<Plan>, level: watch::Receiver<u8>) -> (usize, String) {
        let of = |target: Target| {
            let plan = Arc::clone(plan);
            async move { Box::pin(ask(&plan, &target)).await }
        };
        self.better_by(&plan.name, level, of).await
    }

    /// Does so with who can tell the service level of a server.
    async fn better_by<A: Future<Output = Result<u8, String>>>(
        &self,
        source: &str,
        mut level: watch::Receiver<u8>,
        ask: impl Fn(Target) -> A,
    ) -> (usize, String) {
        if self.others.is_empty() {
            return std::future::pending().await;
        }
        if let Some(until) = self.stay_until {
            tokio::time::sleep_until(until).await;
        }
        loop {
            let Ok(present) = level
                .wait_for(|level| *level < HEALTHY_SERVICE_LEVEL)
                .await
                .map(|level| *level)
            else {
                return std::future::pending().await;
            };
            let mut best: Option<(usize, u8)> = None;
            for (at, endpoint) in &self.others {
                let target = Target {
                    endpoint: endpoint.clone(),
                    with_previous: false,
                };
                match ask(target).await {
                    Ok(level) if level > best.map_or(present, |(_, best)| best) => best = Some((*at, level)),
                    Ok(level) => tracing::debug!(source, level, "{endpoint} is no better"),
                    Err(reason) => tracing::debug!(source, "{endpoint} cannot be asked: {reason}"),
                }
            }
            if let Some((at, better)) = best {
                return (
                    at,
                    format!("its service level is {present}, and that of another server is {better}"),
                );
            }
            tokio::time::sleep(ASK).await;
        }
    }
}

/// Connects to a server for a moment, and asks for its service level.
pub async fn ask(plan: &Arc<Plan>, target: &Target) -> Result<u8, String> {
    let Connection {
        session, event_loop, ..
    } = connection::prepare(plan, target)
        .await
        .map_err(|error| error.with_causes())?;
    let timeout = plan.settings.request_timeout.get();
    let (up, mut is_up) = watch::channel(false);
    let drive = async {
        let mut events = pin!(event_loop.enter());
        while let Some(event) = events.next().await {
            match event {
                Ok(SessionPollResult::Reconnected(_)) => drop(up.send_replace(true)),
                Ok(
                    SessionPollResult::ConnectionLost(status) | SessionPollResult::ReconnectFailed(status),
                )
                | Err(status) => return status.to_string(),
                Ok(_) => {}
            }
        }
        std::future::pending().await
    };
    let asked = async {
        let _ = is_up.wait_for(|up| *up).await;
        let node = ReadValueId::new_value(VariableId::Server_ServiceLevel.into());
        let level = read(&session, vec![node], TimestampsToReturn::Neither, timeout).await;
        let _ = tokio::time::timeout(timeout, session.disconnect()).await;
        let level = level.map_err(|error| reason(&error))?;
        Ok(level_of(level.first().and_then(|value| value.value.as_ref())))
    };
    let either = async {
        tokio::select! {
            level = asked => level,
            failed = drive => Err(failed),
        }
    };
    let answer = tokio::time::timeout(timeout * 4, Box::pin(either)).await;
    answer.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

/// A service level; a server that does not tell it is as good as it can be (OPC 10000-5 §6.3.1).
pub fn level_of(value: Option<&Variant>) -> u8 {
    match value {
        Some(Variant::Byte(level)) => *level,
        _ => u8::MAX,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn servers(count: usize) -> Servers {
        Servers {
            endpoints: (0..count).map(|at| format!("opc.tcp://s{at}")).collect(),
            at: 0,
            with_previous: false,
            served: None,
            tried: 0,
            moved: None,
        }
    }

    #[test]
    fn each_server_is_tried_once_before_there_is_a_pause() {
        let mut servers = servers(3);
        assert_eq!(
            [(); 4].map(|()| servers.failed(false, false)),
            [true, true, false, true]
        );
        assert_eq!(servers.target().endpoint, "opc.tcp://s1");
        assert!(!servers.connected(), "nobody had anything before");
        servers.leave(Some(2));
        assert!(servers.connected(), "another has the subscriptions");
        assert!(!servers.connected());
    }

    #[test]
    fn a_refused_certificate_is_followed_by_the_one_before() {
        let mut servers = servers(1);
        assert!(servers.failed(true, true));
        assert!(servers.target().with_previous);
        assert!(!servers.failed(true, true), "both are refused");
        assert!(!servers.target().with_previous);
        assert!(!servers.failed(true, false), "there is none before it");
    }

    /// When the others were asked, counted from now on, until one was better; they tell these levels one after the other, and then the last.
    async fn asked(
        rivals: &Rivals,
        present: u8,
        levels: &[Result<u8, &str>],
    ) -> (Vec<Duration>, (usize, String)) {
        let (begun, asked) = (Instant::now(), RefCell::new(Vec::new()));
        let ask = |_: Target| {
            let at = asked.borrow().len().min(levels.len() - 1);
            asked.borrow_mut().push(begun.elapsed());
            std::future::ready(levels[at].map_err(str::to_owned))
        };
        let (_sender, level) = watch::channel(present);
        let better = rivals.better_by("plc", level, ask).await;
        (asked.into_inner(), better)
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_healthy_is_left_when_another_is_better_and_that_is_asked_now_and_then() {
        let rivals = servers(2).rivals();
        let levels = [Err("away"), Ok(199), Ok(150), Ok(200)];
        let (asked, (at, why)) = asked(&rivals, 199, &levels).await;
        assert_eq!(asked, [Duration::ZERO, ASK, ASK * 2, ASK * 3]);
        assert_eq!(at, 1);
        assert!(why.contains("is 199") && why.contains("is 200"), "{why}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_gone_to_for_its_level_is_stayed_with_for_a_while() {
        let mut servers = servers(2);
        servers.leave(Some(1));
        tokio::time::sleep(STAY / 4).await;
        let (asked, (at, _)) = asked(&servers.rivals(), 1, &[Ok(255)]).await;
        assert_eq!((asked, at), (vec![STAY / 4 * 3], 0));
        // One that was gone to because another could not be reached is no such case.
        let mut servers = self::servers(2);
        servers.failed(false, false);
        let (asked, _) = self::asked(&servers.rivals(), 1, &[Ok(255)]).await;
        assert_eq!(asked, [Duration::ZERO]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_while_the_present_one_is_healthy() {
        let rivals = servers(2).rivals();
        let healthy = asked(&rivals, HEALTHY_SERVICE_LEVEL, &[Ok(255)]);
        let waited = tokio::time::timeout(STAY * 60, healthy).await;
        assert!(waited.is_err(), "{waited:?}");
    }
}
