//! When what proves to each other who a device and the gateway are comes to its end: shown all the time, and told ahead.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use floorgate_metrics::SourceMetrics;
use floorgate_sample::Timestamp;
use tokio::sync::watch;

/// Days before an end from which on it is warned about.
pub const WARN_DAYS: i64 = 30;
/// Days before an end from which on it is an error.
pub const URGENT_DAYS: i64 = 7;
/// The same of a revocation list, which lasts for days or weeks, and of which there is a next one shortly before its end only.
pub const LIST_WARN_DAYS: i64 = 3;
/// Days before its end from which on that is an error.
pub const LIST_URGENT_DAYS: i64 = 1;
/// How often it is looked at, so that what was renewed is shown soon.
const LOOK: Duration = Duration::from_hours(1);
/// How often the same is told.
const TELL: Duration = Duration::from_hours(24);

/// What a certificate is to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// The gateway's own.
    Gateway,
    /// The device's.
    Server,
    /// Of the user that the gateway logs in as.
    User,
    /// Of an authority that may have signed the device's.
    Authority,
    /// No certificate, but an authority's list of those that it revoked.
    RevocationList,
}

impl Whose {
    const ALL: [Self; 5] = [
        Self::Gateway,
        Self::Server,
        Self::User,
        Self::Authority,
        Self::RevocationList,
    ];

    /// As the metric has it.
    fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Server => "server",
            Self::User => "user",
            Self::Authority => "authority",
            Self::RevocationList => "revocation_list",
        }
    }

    /// Days before its end from which on it is warned about, and from which on it is an error.
    fn days_ahead(self) -> (i64, i64) {
        match self {
            Self::RevocationList => (LIST_WARN_DAYS, LIST_URGENT_DAYS),
            Self::Gateway | Self::Server | Self::User | Self::Authority => (WARN_DAYS, URGENT_DAYS),
        }
    }
}

/// Something that a source needs, and that ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expiry {
    /// What it is to the source.
    pub whose: Whose,
    /// What it is for people: `the server's certificate`.
    pub what: String,
    /// When it ends.
    pub ends: Timestamp,
    /// What is to be done before.
    pub cure: &'static str,
}

impl Expiry {
    /// Whether this is an error, so many days before its end.
    #[must_use]
    pub fn is_urgent(&self, days_left: i64) -> bool {
        days_left < self.whose.days_ahead().1
    }
}

/// Whole days from `now` until a time, rounded down; negative after it.
#[must_use]
pub fn days_left(until: Timestamp, now: Timestamp) -> i64 {
    const DAY: i64 = 86_400_000_000_000;
    until.as_nanos().saturating_sub(now.as_nanos()).div_euclid(DAY)
}

/// The names of the authorities that signers lead to, theirs included. `authorities`: the name of each, and that of who signed it.
pub fn signers<'a>(
    first: impl IntoIterator<Item = &'a str>,
    authorities: &[(&'a str, &'a str)],
) -> HashSet<&'a str> {
    let mut names = HashSet::new();
    let mut open: Vec<&str> = first.into_iter().collect();
    while let Some(name) = open.pop() {
        if names.insert(name) {
            let above = authorities.iter().filter(|(subject, _)| *subject == name);
            open.extend(above.map(|(_, issuer)| *issuer));
        }
    }
    names
}

/// Shows what ends, the first of each kind, and has `tell` say once a day what ends soon, with the days that are left. It looks at once, each hour, and when
/// what is `known` of the connection changes.
pub async fn watch_expiry<T: Clone + Send + Sync + 'static>(
    metrics: &SourceMetrics,
    mut known: watch::Receiver<T>,
    look: impl Fn(&T) -> Vec<Expiry> + Send + Sync + 'static,
    tell: impl Fn(&Expiry, i64),
) -> Infallible {
    let look = Arc::new(look);
    let mut reminders = Reminders::default();
    loop {
        let (look, of) = (Arc::clone(&look), known.borrow_and_update().clone());
        // Files may be slow. One that panics is looked at again.
        if let Ok(all) = tokio::task::spawn_blocking(move || look(&of)).await {
            show(metrics, &all);
            for (expiry, days) in reminders.due(&all, Timestamp::now()) {
                tell(expiry, days);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            Ok(()) = known.changed() => {}
        }
    }
}

fn show(metrics: &SourceMetrics, all: &[Expiry]) {
    for whose in Whose::ALL {
        let ends = all.iter().filter(|expiry| expiry.whose == whose);
        let first = ends.map(|expiry| expiry.ends).min();
        #[allow(clippy::cast_precision_loss)] // seconds are enough
        let seconds = first.map(|ends| (ends.as_nanos() / 1_000_000_000) as f64);
        metrics.certificate_expires(whose.name(), seconds);
    }
}

/// What was told, and when.
#[derive(Debug, Default)]
struct Reminders(HashMap<Expiry, Timestamp>);

impl Reminders {
    /// What is to be told now, with the days that are left.
    fn due<'a>(&mut self, all: &'a [Expiry], now: Timestamp) -> Vec<(&'a Expiry, i64)> {
        self.0.retain(|_, told| now.since(*told) < TELL);
        let mut due = Vec::new();
        for expiry in all {
            let days = days_left(expiry.ends, now);
            if days < expiry.whose.days_ahead().0 && !self.0.contains_key(expiry) {
                self.0.insert(expiry.clone(), now);
                due.push((expiry, days));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use floorgate_metrics::Metrics;

    use super::*;

    const DAY: i64 = 86_400_000_000_000;

    fn ending(whose: Whose, what: &str, days: i64) -> Expiry {
        Expiry {
            whose,
            what: what.to_owned(),
            // Days are rounded down.
            ends: Timestamp::from_nanos(Timestamp::now().as_nanos() + days * DAY + DAY / 2),
            cure: "renew it",
        }
    }

    #[test]
    fn a_day_is_whole() {
        let hours = |hours: i64| Timestamp::from_nanos(hours * 3_600_000_000_000);
        assert_eq!(days_left(hours(47), hours(0)), 1);
        assert_eq!(days_left(hours(0), hours(1)), -1);
    }

    #[test]
    fn what_ends_within_a_month_is_told_once_a_day() {
        let all = [40, 30, 29, 5, -2].map(|days| ending(Whose::Server, &format!("of {days}"), days));
        let mut reminders = Reminders::default();
        let now = Timestamp::now();
        let mut told = |all: &[Expiry], now: Timestamp| -> Vec<i64> {
            reminders.due(all, now).iter().map(|(_, days)| *days).collect()
        };
        assert_eq!(told(&all, now), [29, 5, -2]);
        let later = now.after(Duration::from_hours(11));
        assert_eq!(told(&all, later), [0; 0], "it was told today");
        let another = [ending(Whose::Server, "of 5", 6)];
        assert_eq!(told(&another, now), [6], "it is another");
        assert_eq!(told(&all, now.after(TELL)), [29, 28, 4, -3]);
    }

    #[test]
    fn a_list_is_told_nearer_to_its_end() {
        let told = [4, 3, 2, 1, 0].map(|days| {
            let all = [ending(Whose::RevocationList, "the list", days)];
            let due = Reminders::default().due(&all, Timestamp::now()).len();
            (due, all[0].is_urgent(days))
        });
        assert_eq!(told, [(0, false), (0, false), (1, false), (1, false), (1, true)]);
        let certificate = ending(Whose::Server, "the server's", 6);
        assert!(certificate.is_urgent(6) && !certificate.is_urgent(7));
    }

    #[test]
    fn signers_are_followed_up_to_the_one_that_signed_itself() {
        let all = [
            ("root", "root"),
            ("plant", "group"),
            ("group", "root"),
            ("other", "root"),
        ];
        let names = signers(["plant"], &all);
        assert_eq!(names, HashSet::from(["plant", "group", "root"]));
        assert_eq!(signers(["unknown"], &all), HashSet::from(["unknown"]));
        assert_eq!(signers([], &all), HashSet::new());
    }

    #[tokio::test]
    async fn the_first_of_each_kind_is_shown_and_what_is_gone_no_more() {
        let registry = Metrics::new().expect("metrics");
        let metrics = registry.source("plc");
        let (known, changed) = watch::channel(vec![
            ending(Whose::Gateway, "own", 400),
            ending(Whose::Authority, "plant", 90),
            ending(Whose::Authority, "group", 20),
        ]);
        let told = Mutex::new(Vec::new());
        let (said, mut heard) = watch::channel(());
        let shown = |name: &str| {
            let families = registry.registry.gather();
            let is_meant = |family: &str| family == "floorgate_certificate_expires_timestamp_seconds";
            let family = families.iter().find(|family| is_meant(family.name()))?;
            let mut all = family.get_metric().iter();
            let is_of = |label: &str, value: &str| label == "whose" && value == name;
            let found = all.find(|metric| {
                let mut labels = metric.get_label().iter();
                labels.any(|label| is_of(label.name(), label.value()))
            })?;
            Some(found.get_gauge().get_value())
        };
        let watching = watch_expiry(&metrics, changed, Clone::clone, |expiry, days| {
            let mut told = told.lock().expect("no panic");
            told.push((expiry.what.clone(), days));
            said.send_replace(());
        });
        let changing = async {
            heard.changed().await.expect("it is told");
            let days = |seconds: f64| {
                let now = Timestamp::now().as_nanos() / 1_000_000_000;
                ((seconds - now as f64) / 86_400.0).floor()
            };
            assert_eq!(shown("authority").map(days), Some(20.0));
            assert_eq!(shown("gateway").map(days), Some(400.0));
            assert_eq!(shown("user"), None);
            known.send_replace(vec![ending(Whose::Gateway, "own", 3)]);
            heard.changed().await.expect("it is told");
            assert_eq!(shown("gateway").map(days), Some(3.0));
            assert_eq!(shown("authority"), None, "there is none any more");
        };
        tokio::select! {
            never = watching => match never {},
            ended = tokio::time::timeout(Duration::from_secs(15), changing) => ended.expect("all is told"),
        }
        let told = told.into_inner().expect("no panic");
        assert_eq!(told, [("group".to_owned(), 20), ("own".to_owned(), 3)]);
    }
}
