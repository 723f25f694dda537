//! All sources and tags together, on a core of a plan.

use floorgate_adapter_api::{Batch, Continuity, Quality, Sample, TagId, Value};
use floorgate_core::plan::{SourceRow as PlanSource, Tag, TagSpec};
use floorgate_core::{Encoding, Settings};
use floorgate_metrics::{Setting, TagSettings};
use uuid::Uuid;

use super::*;

const TEN: Duration = Duration::from_secs(10);

/// A plan with one tag for each source, which is late after ten seconds.
fn plan(sources: &[&str]) -> Arc<Plan> {
    let spec = Arc::new(TagSpec {
        late_after: Some(TEN),
        ..TagSpec::default()
    });
    Arc::new(Plan {
        sources: sources
            .iter()
            .map(|name| PlanSource {
                name: (*name).into(),
                topic: "connections".into(),
            })
            .collect(),
        tags: (0..)
            .zip(sources)
            .map(|(number, name)| Tag {
                key: format!("{name}/tag").into(),
                source: SourceId(number),
                address: 1,
                valid: None,
                spec: Arc::clone(&spec),
            })
            .collect(),
        ..Plan::default()
    })
}

fn configured(sources: &[&str]) -> Vec<Configured> {
    let sources = sources.iter().map(|name| Configured {
        name: (*name).into(),
        adapter: "scripted",
        tags: 1,
        late_after: Some(TEN),
    });
    sources.collect()
}

struct Rig {
    standings: Standings,
    metrics: Metrics,
    core: Core,
}

impl Rig {
    fn new(sources: &[&str]) -> Self {
        let metrics = Metrics::new().expect("metrics are registered");
        let plan = plan(sources);
        let standings = Standings::new(Instant::now(), &metrics, configured(sources), &plan);
        // From here on time is what the test says.
        standings.replace(configured(sources), &plan, &HashSet::new(), at(0));
        let settings = Settings {
            gateway: "test".into(),
            type_prefix: "io.floorgate.".into(),
            encoding: Encoding::Binary,
            stream_epoch: 1,
            incarnation: Uuid::from_u128(7),
        };
        Self {
            standings,
            metrics,
            core: Core::new(plan, settings, &|_| None),
        }
    }

    /// The first source says something, or sends a value.
    fn send(&self, seconds: u64, notices: Vec<Notice>, value: Option<i64>) {
        let samples = value.map(|value| Sample {
            tag: TagId(0),
            value: Some(Value::Int(value)),
            quality: Quality::GOOD,
            source_time: None,
            server_time: None,
            gap: false,
        });
        let batch = Batch {
            source: SourceId(0),
            received: at(seconds).wall,
            notices,
            samples: samples.into_iter().collect(),
            bookmarks: Vec::new(),
            answer: None,
            receipt: None,
        };
        self.standings.take(&batch, at(seconds));
    }

    fn online(&self, seconds: u64) {
        self.metrics.source("plc").up.set(1);
        self.send(seconds, vec![Notice::Online(Continuity::New)], None);
    }

    fn look(&self, seconds: u64) {
        self.standings.look(&self.core, at(seconds), false);
    }

    /// State and late tags of the first source by name.
    fn told(&self) -> (String, i64) {
        let row = self.standings.rows().swap_remove(0);
        (row.state, row.late_tags)
    }
}

fn at(seconds: u64) -> Now {
    let monotonic = Duration::from_secs(seconds);
    Now {
        wall: Timestamp::from_nanos(i64::try_from(monotonic.as_nanos()).expect("it is soon")),
        monotonic,
    }
}

fn is(state: &str, late_tags: i64) -> (String, i64) {
    (state.to_owned(), late_tags)
}

#[test]
fn what_is_late_is_told_until_it_moves_again() {
    let rig = Rig::new(&["plc"]);
    let source = rig.metrics.source("plc");
    assert_eq!(rig.told(), is("connecting", 0));
    rig.online(1);
    rig.send(2, Vec::new(), Some(5));
    rig.look(11);
    assert_eq!(rig.told(), is("online", 0));
    rig.look(12);
    assert_eq!(rig.told(), is("late", 1));
    assert_eq!((source.late.get(), source.tags_late.get()), (1, 1));
    let row = rig.standings.rows().swap_remove(0);
    assert_eq!(row.since, at(2).wall.to_string());
    assert_eq!(row.last_good, Some(at(2).wall.to_string()));
    let late = rig.standings.late();
    assert_eq!((&*late[0].tag, &*late[0].source), ("plc/tag", "plc"));
    assert_eq!(
        (&late[0].value, &late[0].since),
        (&serde_json::json!(5), &at(2).wall.to_string())
    );
    // The same value is a good one, and no change.
    rig.send(13, Vec::new(), Some(5));
    rig.look(14);
    assert_eq!(rig.told(), is("online", 1));
    rig.send(15, Vec::new(), Some(6));
    rig.look(16);
    assert_eq!(rig.told(), is("online", 0));
    assert_eq!((source.late.get(), source.tags_late.get()), (0, 0));
}

#[test]
fn a_lost_source_is_offline_and_late_at_once() {
    let rig = Rig::new(&["plc"]);
    rig.online(1);
    let reason = "connection refused".into();
    rig.send(2, vec![Notice::Offline { reason }], None);
    rig.look(30);
    assert_eq!(rig.told(), is("offline", 1));
    let row = rig.standings.rows().swap_remove(0);
    assert_eq!(
        (row.reason.as_deref(), row.late),
        (Some("connection refused"), true)
    );
}

#[test]
fn a_source_whose_task_has_ended_is_not_told_as_online() {
    let rig = Rig::new(&["plc"]);
    rig.online(1);
    rig.metrics.source("plc").up.set(0);
    rig.look(2);
    assert_eq!(rig.told().0, "offline");
    rig.metrics.source("plc").up.set(1);
    rig.look(3);
    assert_eq!(rig.told().0, "online");
}

#[test]
fn what_the_gateway_does_not_take_is_not_late() {
    let rig = Rig::new(&["plc"]);
    rig.online(1);
    rig.send(1, Vec::new(), Some(5));
    rig.look(5);
    for seconds in 6..60 {
        rig.standings.look(&rig.core, at(seconds), true);
    }
    assert_eq!(rig.told(), is("online", 0));
    rig.look(60);
    assert_eq!(
        rig.told(),
        is("online", 0),
        "four seconds were watched before, and one since"
    );
    rig.look(70);
    assert_eq!(rig.told(), is("late", 1));
}

#[test]
fn a_source_whose_values_are_read_and_stay_is_not_late() {
    let rig = Rig::new(&["plc"]);
    rig.online(1);
    rig.send(2, Vec::new(), Some(5));
    for seconds in 3..30 {
        rig.metrics.source("plc").confirm();
        rig.look(seconds);
    }
    assert_eq!(rig.told(), is("online", 1), "the tag has not changed");
    rig.look(39);
    assert_eq!(rig.told(), is("late", 1));
    rig.metrics.source("plc").confirm();
    rig.look(40);
    assert_eq!(rig.told(), is("online", 1));
}

#[test]
fn what_a_historian_kept_is_no_news_of_now() {
    let rig = Rig::new(&["plc"]);
    rig.online(1);
    rig.send(8, vec![Notice::History], Some(5));
    rig.look(11);
    assert_eq!(rig.told(), is("late", 1));
}

#[test]
fn a_source_that_runs_on_is_known_after_a_reload() {
    for (is_kept, state) in [(true, "online"), (false, "connecting")] {
        let rig = Rig::new(&["plc", "drive"]);
        rig.online(1);
        rig.send(2, Vec::new(), Some(5));
        let (asked, revised) = (10.0, 5.0);
        let settings = TagSettings {
            queue_size: Some(Setting { asked, revised }),
            ..TagSettings::default()
        };
        rig.metrics
            .source("plc")
            .revised_tags([settings].into_iter().collect());
        let after = ["drive", "plc"];
        let kept = if is_kept { &["plc"][..] } else { &[] };
        let kept = kept.iter().map(|name| Arc::from(*name)).collect();
        rig.standings
            .replace(configured(&after), &plan(&after), &kept, at(3));
        let rows = rig.standings.rows();
        let states: Vec<_> = rows.iter().map(|row| (&*row.source, &*row.state)).collect();
        assert_eq!(states, [("drive", "connecting"), ("plc", state)]);
        assert_eq!(rows[1].last_good.is_some(), is_kept);
        let revised = rig.standings.revised_rows();
        assert_eq!((&*revised[1].source, revised[0].get(0)), ("plc", None));
        let known = is_kept.then(|| TagSettingsRow::of(&settings)).flatten();
        assert_eq!(revised[1].get(0), known);
    }
}

/// Ten seconds have passed, and by the new time source and tag are late later, are late still, or are never.
#[test]
fn a_late_source_is_late_after_a_reload_where_it_is_by_the_new_time() {
    let some = |seconds| Some(Duration::from_secs(seconds));
    for (late_after, state, after_a_look) in [
        (some(14), "online", "late"),
        (some(13), "late", "late"),
        (some(5), "late", "late"),
        (None, "online", "online"),
    ] {
        let rig = Rig::new(&["plc"]);
        rig.online(1);
        rig.send(2, Vec::new(), Some(5));
        rig.look(12);
        assert_eq!(rig.told().0, "late");
        let sources = configured(&["plc"]).into_iter();
        let sources = sources.map(|source| Configured { late_after, ..source });
        let kept = HashSet::from(["plc".into()]);
        rig.standings
            .replace(sources.collect(), &plan(&["plc"]), &kept, at(15));
        assert_eq!(rig.told().0, state, "{late_after:?}");
        rig.look(16);
        assert_eq!(rig.told().0, after_a_look, "{late_after:?}");
    }
}
