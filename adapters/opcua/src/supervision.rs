//! What is watched while a connection is up: that the server answers, what it says of itself, and whether the certificates of both sides are to be exchanged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use floorgate_adapter_api::{HEALTHY_SERVICE_LEVEL, SourceMetrics, Timestamp, server_state_name};
use opcua::client::Session;
use opcua::types::{DataValue, Error, ReadValueId, StatusCode, TimestampsToReturn, VariableId, Variant};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::connection::{self, Certificates, Target};
use crate::pki;
use crate::plan::Plan;
use crate::publish::is_lost;
use crate::reason::Reason;
use crate::redundancy::{self, level_of};
use crate::server::{read, reason};
use crate::settings::Policy;
use crate::silence;
use crate::source::Link;
use crate::transport::Cutter;

/// How often the folder of certificates is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How often a server that refused the new certificate is asked whether it takes it by now.
const ASK_AGAIN: Duration = Duration::from_mins(10);

/// Asks the server for its state now and then, and cuts a connection on which no answer comes. Shows its service level.
pub async fn keep_alive(
    plan: &Plan,
    session: &Session,
    sender: &watch::Sender<Link>,
    cutter: &Cutter,
    metrics: &SourceMetrics,
    level: &watch::Sender<u8>,
) {
    let timeout = plan.settings.request_timeout.get();
    let mut link = sender.subscribe();
    let mut known = (0, u8::MAX);
    let mut clock = Clock::default();
    let traffic = metrics.traffic();
    loop {
        let Ok(number) = link.wait_for(|link| link.up).await.map(|link| link.number) else {
            return;
        };
        tokio::time::sleep(silence::interval(plan.settings.keep_alive.get())).await;
        let nodes = [
            VariableId::Server_ServerStatus_State,
            VariableId::Server_ServiceLevel,
            VariableId::Server_ServerStatus_CurrentTime,
        ];
        let nodes = nodes.map(|id| ReadValueId::new_value(id.into())).to_vec();
        let (asked_at, begun) = (Timestamp::now(), Instant::now());
        metrics.requests.inc();
        let asked = read(session, nodes, TimestampsToReturn::Neither, timeout);
        match unless_silent(asked, plan.settings.keep_alive.get(), || traffic.received.get()).await {
            Ok(values) => {
                metrics.request_seconds.observe(begun.elapsed().as_secs_f64());
                let told = health(&values);
                tell_health(plan, known, told);
                known = told;
                metrics.server(told.0, told.1);
                level.send_replace(told.1);
                metrics.clock_skew(clock.take(&plan.name, values.get(2), asked_at, begun.elapsed()));
                sender.send_modify(|link| link.answered = Some(Instant::now()));
            }
            Err(error) if is_lost(error.status()) => {
                let same = { link.borrow().number == number && link.borrow().up };
                if same {
                    metrics.error("timeout");
                    let told = format!("the server gives no sign of life: {}", reason(&error));
                    cutter.cut(Reason::new(told, "opcua-server-silent"));
                    if link
                        .wait_for(|link| link.number != number || !link.up)
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            }
            // An answer, even a refusal, is a sign of life.
            Err(_) => sender.send_modify(|link| link.answered = Some(Instant::now())),
        }
    }
}

/// An answer, for which a server that says anything at all now and then has its whole time, and one that falls silent only that of `silence`.
async fn unless_silent<T>(
    asked: impl Future<Output = Result<T, Error>>,
    silence: Duration,
    received: impl Fn() -> u64,
) -> Result<T, Error> {
    let mut asked = std::pin::pin!(asked);
    loop {
        let before = received();
        match tokio::time::timeout(silence, &mut asked).await {
            Ok(answer) => return answer,
            Err(_) if received() > before => {}
            Err(_) => {
                let silent = format!("nothing came from it within {silence:?}");
                return Err(Error::new(StatusCode::BadTimeout, silent));
            }
        }
    }
}

/// State and service level. What a server does not tell is as it should be.
fn health(values: &[DataValue]) -> (i32, u8) {
    let value = |at: usize| values.get(at).and_then(|value: &DataValue| value.value.as_ref());
    let state = match value(0) {
        Some(Variant::Int32(state)) => *state,
        _ => 0,
    };
    (state, level_of(value(1)))
}

fn tell_health(plan: &Plan, before: (i32, u8), now: (i32, u8)) {
    let source = &plan.name;
    if before.0 != now.0 {
        let name = server_state_name(now.0.into()).unwrap_or("of no known name");
        if now.0 == 0 {
            tracing::info!(source, "the server is running again");
        } else {
            tracing::warn!(
                source,
                state = now.0,
                see = "opcua-server-not-healthy",
                "the server's state is {name}, and not Running: what it tells may be old"
            );
        }
    }
    match (before.1 < HEALTHY_SERVICE_LEVEL, now.1 < HEALTHY_SERVICE_LEVEL) {
        (false, true) => tracing::warn!(
            source,
            level = now.1,
            see = "opcua-server-not-healthy",
            "the server's service level is below {HEALTHY_SERVICE_LEVEL}"
        ),
        (true, false) => tracing::info!(
            source,
            level = now.1,
            "the server's service level is healthy again"
        ),
        _ => {}
    }
}

/// Waits until the connection has to be made anew for a certificate's sake: the gateway's is another, or the server's is accepted no more; why.
pub async fn watch_certificates(plan: &Arc<Plan>, certificates: &Certificates, target: &Target) -> Reason {
    if plan.settings.security.policy == Policy::None {
        return std::future::pending().await;
    }
    let ask = |target: Target| {
        let plan = Arc::clone(plan);
        async move { Box::pin(redundancy::ask(&plan, &target)).await }
    };
    tokio::select! {
        why = is_another(plan, certificates) => why,
        why = is_taken(&plan.name, target, ask) => why,
    }
}

/// Waits until files say that the connection has to be made anew; why.
async fn is_another(plan: &Arc<Plan>, certificates: &Certificates) -> Reason {
    let mut seen = None;
    loop {
        let (of_look, looked_at) = (Arc::clone(plan), certificates.clone());
        let look = move || {
            let now = pki::fingerprint(&of_look.pki);
            (
                now,
                (seen != Some(now))
                    .then(|| is_to_end(&of_look, &looked_at))
                    .flatten(),
            )
        };
        match tokio::task::spawn_blocking(look).await {
            Ok((_, Some(why))) => return why,
            Ok((now, None)) => seen = Some(now),
            Err(error) => tracing::debug!("certificates cannot be looked at: {error}"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until a server that refused the gateway's new certificate takes it; never where it has the new one.
async fn is_taken<A: Future<Output = Result<u8, String>>>(
    source: &str,
    target: &Target,
    ask: impl Fn(Target) -> A,
) -> Reason {
    if !target.with_previous {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(ASK_AGAIN).await;
        let with_new = Target {
            with_previous: false,
            ..target.clone()
        };
        match ask(with_new).await {
            Ok(_) => return Reason::on_purpose("the server takes the gateway's new certificate"),
            Err(reason) => tracing::warn!(
                source,
                see = "opcua-gateway-not-trusted",
                "the server does not take the gateway's new certificate yet: {reason}"
            ),
        }
    }
}

fn is_to_end(plan: &Plan, certificates: &Certificates) -> Option<Reason> {
    let known = [pki::own(&plan.pki, false).ok(), pki::previous(&plan.pki)];
    // While the file is being replaced there may be none; that is no change.
    if known[0].is_some()
        && !known
            .iter()
            .flatten()
            .any(|own| own.thumbprint == certificates.own.thumbprint)
    {
        return Some(Reason::on_purpose("the gateway has another certificate"));
    }
    let is_renewed = known[1]
        .as_ref()
        .is_some_and(|before| before.thumbprint == certificates.own.thumbprint)
        && certificates.is_present;
    if is_renewed {
        return Some(Reason::on_purpose("the gateway has a new certificate"));
    }
    if plan.settings.trust_any_server_certificate {
        return None;
    }
    connection::check(plan, certificates)
        .err()
        .map(|error| Reason::new(error.to_string(), error.see()))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_waited_for_as_long_as_that_may_last() {
        use std::sync::atomic::{AtomicU64, Ordering};
        let silence = Duration::from_secs(2);
        let answer = async {
            tokio::time::sleep(silence * 3).await;
            Ok(())
        };
        let begun = tokio::time::Instant::now();
        assert!(unless_silent(answer, silence, || 7).await.is_err());
        assert_eq!(begun.elapsed(), silence);

        // Something comes for a while, and then nothing more.
        let received = AtomicU64::new(0);
        let never = async {
            for _ in 0..3 {
                tokio::time::sleep(silence / 2).await;
                received.fetch_add(1, Ordering::Relaxed);
            }
            std::future::pending::<Result<(), Error>>().await
        };
        let begun = tokio::time::Instant::now();
        let count = || received.load(Ordering::Relaxed);
        assert!(unless_silent(never, silence, count).await.is_err());
        assert_eq!(begun.elapsed(), silence * 3, "a window of silence after the last");

        let slow = async {
            for _ in 0..4 {
                tokio::time::sleep(silence / 2).await;
                received.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        assert!(unless_silent(slow, silence, count).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_refused_the_new_certificate_is_asked_again_until_it_takes_it() {
        let target = |with_previous| Target {
            endpoint: "opc.tcp://plc".to_owned(),
            with_previous,
        };
        let (begun, asked) = (tokio::time::Instant::now(), Mutex::new(Vec::new()));
        let ask = |target: Target| {
            assert!(!target.with_previous, "it is asked with the new one");
            let mut asked = asked.lock().expect("no panic");
            asked.push(begun.elapsed());
            let takes = asked.len() == 3;
            std::future::ready(takes.then_some(255).ok_or_else(|| "refused".to_owned()))
        };
        let told = is_taken("plc", &target(true), ask).await;
        assert!(told.to_string().contains("takes the gateway's new"), "{told}");
        let asked = asked.lock().expect("no panic").clone();
        assert_eq!(asked, [ASK_AGAIN, ASK_AGAIN * 2, ASK_AGAIN * 3]);

        let with_new = target(false);
        let never = is_taken("plc", &with_new, |_| std::future::ready(Ok(255)));
        let waited = tokio::time::timeout(ASK_AGAIN * 10, never).await;
        assert!(waited.is_err(), "nobody refused the new one");
    }
}
