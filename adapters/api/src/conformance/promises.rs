//! One function for each promise.

use std::time::Duration;

use floorgate_sample::Value;
use floorgate_yaml::NodeKind;

use super::Rig;
use super::continuity::tells_all_or_a_gap;
use super::harness::{AMPLE, Planned, Running, Seen, addresses, node, plan};
use crate::{Adapter, Finding, Notice, Reason};

/// What all tags show when the rig was set to `values`.
pub(super) fn all_shown<R: Rig>(rig: &R, value: i16) -> Vec<(usize, Value)> {
    (0..R::TAGS).map(|tag| (tag, rig.shown(tag, value))).collect()
}

pub(super) async fn set_all<R: Rig>(rig: &mut R, value: i16) {
    for tag in 0..R::TAGS {
        rig.set(tag, value).await;
    }
}

/// A reason has words, and where the adapter has a runbook, the name of one of its paragraphs.
pub(super) fn assert_told(adapter: &dyn Adapter, reason: Option<&Reason>, what: &str) {
    let Some(reason) = reason.filter(|reason| !reason.told.trim().is_empty()) else {
        panic!("{what} has a reason");
    };
    assert_leads(adapter, reason.see.as_deref(), what);
}

/// What is said leads to a paragraph, where the adapter has a runbook.
fn assert_leads(adapter: &dyn Adapter, see: Option<&str>, what: &str) {
    let page = adapter.runbook();
    assert!(
        page.is_empty()
            || page
                .lines()
                .any(|line| see.is_some() && line.strip_prefix("## ") == see),
        "{what} leads to a paragraph of the runbook: {see:?}"
    );
}

/// Starts the peer with `value` in all tags, and a run that has shown it.
pub(super) async fn started<R: Rig>(rig: &mut R, planned: &Planned, value: i16) -> Running {
    set_all(rig, value).await;
    rig.start().await;
    let mut run = planned.run(AMPLE);
    run.until_shown("the initial values arrive", &all_shown(rig, value))
        .await;
    run
}

/// Changes all tags until a source whose intake nobody empties has stopped reading; the last value that was set.
async fn fill<R: Rig>(rig: &mut R, run: &Running) -> i16 {
    for value in 100..200 {
        let before = run.metrics.requests.get();
        set_all(rig, value).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        if before > 0 && run.metrics.requests.get() == before {
            return value;
        }
    }
    panic!("the source goes on reading though nothing is taken from it");
}

/// A mistake in the settings and one in each address are all recorded in one run, each with its place, and
/// nothing is planned.
#[allow(clippy::unused_async)] // called like the others
pub async fn mistakes_are_placed<R: Rig>(rig: &mut R) {
    let settings = format!("{}\nno_such_setting: 1\n", rig.settings().trim_end());
    let mut tags = addresses(rig);
    for address in &mut tags[..2] {
        let trimmed = address.trim();
        *address = match trimmed.strip_suffix('}') {
            Some(open) => format!("{open}, no_such_key: 1}}"),
            None => format!("{trimmed}\nno_such_key: 1\n"),
        };
    }
    let (source, problems) = plan(&*rig.adapter(), &settings, &tags, &rig.folder());
    assert!(source.is_none(), "a configuration with mistakes is not planned");
    let placed = problems
        .list()
        .iter()
        .filter(|problem| problem.span.is_some_and(|span| span.line > 0))
        .count();
    assert!(
        placed >= 3,
        "each of the three mistakes is recorded with its place: {:#?}",
        problems.list()
    );
}

/// The keys that the adapter claims are those that its address schema knows, and the rig's tags use no others.
#[allow(clippy::unused_async)] // called like the others
pub async fn keys_of_a_tag_are_in_the_schema<R: Rig>(rig: &mut R) {
    let adapter = rig.adapter();
    let mut generator = schemars::SchemaGenerator::default();
    let schema = adapter.address_schema(&mut generator);
    let known: Vec<&String> = schema
        .get("properties")
        .and_then(|properties| properties.as_object())
        .map(|properties| properties.keys().collect())
        .expect("the address schema has properties");
    for key in adapter.address_keys() {
        assert!(
            known.iter().any(|name| name == key),
            "`{key}` is claimed and not in the schema {known:?}"
        );
    }
    for name in &known {
        assert!(
            adapter.address_keys().contains(&name.as_str()),
            "`{name}` is in the schema and not claimed"
        );
    }
    let mut problems = crate::Problems::default();
    for address in addresses(rig) {
        let NodeKind::Map(entries) = node(&address, &mut problems).kind else {
            panic!("an address is a mapping: {address}");
        };
        for (key, ..) in entries {
            assert!(
                adapter.address_keys().contains(&key.as_str()),
                "the rig's key `{key}` is not claimed"
            );
        }
    }
}

/// `Online` is the first thing of all, once; then every tag's value arrives, good.
pub async fn online_comes_before_initial_values<R: Rig>(rig: &mut R) {
    let planned = Planned::of(rig, &[]);
    set_all(rig, 41).await;
    rig.start().await;
    let mut run = planned.run(AMPLE);
    let seen = run
        .until_shown("the initial values arrive", &all_shown(rig, 41))
        .await;
    let first_sample = seen
        .iter()
        .position(|seen| matches!(seen, Seen::Sample(_)))
        .expect("samples were awaited");
    let online: Vec<usize> = (0..seen.len()).filter(|&index| seen[index].is_online()).collect();
    assert_eq!(online.len(), 1, "`Online` once for one connect: {seen:#?}");
    assert!(
        online[0] < first_sample,
        "`Online` before the first sample: {seen:#?}"
    );
    assert!(
        !seen.iter().any(Seen::is_offline),
        "no loss was caused: {seen:#?}"
    );
    assert_eq!(run.metrics.up.get(), 1, "the metric `up` is 1 while connected");
    run.stop("while connected").await;
}

/// Values of a tag arrive in the order in which they were set, and the last one always arrives.
pub async fn changes_arrive_in_order<R: Rig>(rig: &mut R) {
    let planned = Planned::of(rig, &[]);
    let mut run = started(rig, &planned, 0).await;
    let mut seen = Vec::new();
    for value in 1..=30 {
        set_all(rig, value).await;
        if value % 10 == 0 {
            let what = format!("the change to {value} arrives");
            seen.extend(run.until_shown(&what, &all_shown(rig, value)).await);
        }
    }
    for tag in 0..R::TAGS {
        let mut last = 0;
        for sample in seen.iter().filter_map(|seen| seen.sample_of(tag)) {
            let shown = (0..=30)
                .find(|&value| {
                    sample
                        .value
                        .as_ref()
                        .is_some_and(|v| v.same(&rig.shown(tag, value)))
                })
                .unwrap_or_else(|| panic!("tag {tag} shows what was never set: {sample:?}"));
            assert!(
                shown >= last,
                "tag {tag} went back from {last} to {shown}: {seen:#?}"
            );
            last = shown;
        }
    }
    run.stop("while connected").await;
}

/// When the peer dies there is one `Offline` with a reason, and nothing more until it is back.
pub async fn tells_a_loss_once_with_a_reason<R: Rig>(rig: &mut R) {
    let planned = Planned::of(rig, &[]);
    let mut run = started(rig, &planned, 1).await;
    rig.stop().await;
    let seen = run.until("the loss is told", Seen::is_offline).await;
    match seen.last() {
        Some(Seen::Notice(Notice::Offline { reason })) => {
            assert_told(&*rig.adapter(), Some(reason), "a loss");
        }
        other => panic!("the loss was awaited, not {other:?}"),
    }
    // Long enough for several attempts to connect, which are no news.
    let more = run.next(Duration::from_millis(700)).await;
    assert!(
        more.is_none(),
        "after `Offline` nothing comes until the peer is back: {more:?}"
    );
    assert_eq!(
        run.metrics.up.get(),
        0,
        "the metric `up` is 0 while the peer is away"
    );
    run.stop("while the peer is away").await;
}

/// When the peer is back, so is the source, by itself; either every value that was missed arrives, or a gap is told
/// before the first value after the hole.
pub async fn returns_after_a_loss_with_the_hole_marked<R: Rig>(rig: &mut R) {
    let planned = Planned::of(rig, &[]);
    let mut run = started(rig, &planned, 1).await;
    for round in 0..3_i16 {
        rig.stop().await;
        run.until("the loss is told", Seen::is_offline).await;
        let missed: Vec<i16> = (1..=3).map(|step| 10 * (round + 1) + step).collect();
        for &value in &missed {
            set_all(rig, value).await;
        }
        rig.start().await;
        let seen = run
            .until_shown("the values after the loss arrive", &all_shown(rig, missed[2]))
            .await;
        let online = seen
            .iter()
            .position(Seen::is_online)
            .expect("`Online` again after the loss");
        for tag in 0..R::TAGS {
            let first = seen.iter().position(|seen| seen.sample_of(tag).is_some());
            assert!(
                first > Some(online),
                "`Online` before the first sample of tag {tag}: {seen:#?}"
            );
        }
        tells_all_or_a_gap(rig, &seen, &missed);
    }
    assert_eq!(run.metrics.connects.get(), 4, "every connect is counted");
    run.stop("while connected").await;
}

/// A peer that is not there at the start is waited for; `Online` comes when it is.
pub async fn waits_for_a_peer_that_is_not_there_yet<R: Rig>(rig: &mut R) {
    let planned = Planned::of(rig, &[]);
    // Where the peer listens is known only once it was there.
    rig.start().await;
    rig.stop().await;
    let mut run = planned.run(AMPLE);
    let early = run.next(Duration::from_millis(300)).await;
    assert!(
        early.as_ref().is_none_or(Seen::is_offline),
        "nothing but `Offline` without a peer: {early:?}"
    );
    set_all(rig, 5).await;
    rig.start().await;
    let seen = run
        .until_shown("the values arrive once the peer is there", &all_shown(rig, 5))
        .await;
    assert!(
        !seen
            .iter()
            .skip_while(|seen| !seen.is_online())
            .any(Seen::is_offline),
        "{seen:#?}"
    );
    run.stop("while connected").await;
}

/// A tag that the peer refuses is one sample, bad and without a value; the others flow on.
pub async fn refused_tag_is_bad_alone<R: Rig>(rig: &mut R) {
    let planned = Planned::of(rig, &[rig.refused_address()]);
    set_all(rig, 7).await;
    rig.start().await;
    let mut run = planned.run(AMPLE);
    let mut open = all_shown(rig, 7);
    let mut told = false;
    let mut seen = run
        .until("the others' values and the refusal arrive", |seen| {
            open.retain(|(tag, value)| !seen.shows(*tag, value));
            told |= seen.sample_of(R::TAGS).is_some();
            open.is_empty() && told
        })
        .await;
    for value in [8, 9] {
        set_all(rig, value).await;
        seen.extend(
            run.until_shown("the others' changes arrive", &all_shown(rig, value))
                .await,
        );
    }
    let refusals: Vec<_> = seen.iter().filter_map(|seen| seen.sample_of(R::TAGS)).collect();
    assert_eq!(refusals.len(), 1, "a refusal is told once: {refusals:#?}");
    assert!(
        refusals[0].quality.is_bad(),
        "a refused tag is bad: {refusals:#?}"
    );
    assert_eq!(refusals[0].value, None, "a refused tag has no value");
    let reason = rig.adapter().reason(refusals[0].quality);
    assert_told(&*rig.adapter(), reason.as_ref(), "a refusal");
    let adapter = rig.adapter();
    assert_leads(
        &*adapter,
        adapter.see(Finding::RefusedTags),
        "that tags are refused",
    );
    for finding in [Finding::NotHealthy, Finding::LessThanAsked] {
        if let Some(see) = adapter.see(finding) {
            assert_leads(&*adapter, Some(see), "what is said of a source that is online");
        }
    }
    for tag in 0..R::TAGS {
        let wrong = seen
            .iter()
            .filter_map(|seen| seen.sample_of(tag))
            .find(|sample| sample.quality.is_bad());
        assert!(wrong.is_none(), "the refusal is about one tag only: {wrong:?}");
    }
    assert!(
        !seen.iter().any(Seen::is_offline),
        "a refusal is no loss: {seen:#?}"
    );
    assert_eq!(run.metrics.failed_tags.get(), 1, "refused tags are counted");
    run.stop("while connected").await;
}

/// While the intake is full the source sends no more requests; when there is room again the newest values arrive, and
/// where others were missed, a gap is told before them.
pub async fn back_pressure_stops_reading<R: Rig>(rig: &mut R) {
    let planned = Planned::of(rig, &[]);
    set_all(rig, 0).await;
    rig.start().await;
    let mut run = planned.run(1);
    let last = fill(rig, &run).await + 1;
    set_all(rig, last).await;
    let seen = run
        .until_shown(
            "the newest values arrive once there is room",
            &all_shown(rig, last),
        )
        .await;
    for seen in &seen {
        if let Seen::Notice(Notice::Gap { reason, .. }) = seen {
            assert_told(&*rig.adapter(), Some(reason), "a gap");
        }
    }
    for tag in 0..R::TAGS {
        let newest = rig.shown(tag, last);
        let newest = seen
            .iter()
            .position(|seen| seen.shows(tag, &newest))
            .expect("it was awaited");
        let opening = seen
            .iter()
            .position(Seen::is_online)
            .map_or(0, |online| online + 1);
        let marked = seen[opening..=newest].iter().any(|seen| seen.is_gap_of(tag));
        // What was set before the source was connected is not missed: the first value stands for it.
        let is_shown = |value: &i16| seen.iter().any(|seen| seen.shows(tag, &rig.shown(tag, *value)));
        let complete = (100..=last)
            .skip_while(|value| !is_shown(value))
            .all(|value| is_shown(&value));
        assert!(
            marked || complete,
            "values of tag {tag} were missed and no gap was told: {seen:#?}"
        );
    }
    run.stop("while connected").await;
}

/// A batch whose receipt is dropped was not stored; the source goes on all the same.
pub async fn receipts_may_be_dropped<R: Rig>(rig: &mut R) {
    let planned = Planned::of(rig, &[]);
    set_all(rig, 1).await;
    rig.start().await;
    let mut run = planned.run(AMPLE);
    run.drop_receipts = true;
    for value in 1..=5 {
        set_all(rig, value).await;
        run.until_shown(
            "changes arrive though receipts are dropped",
            &all_shown(rig, value),
        )
        .await;
    }
    run.stop("while connected").await;
}

/// `run` may be called again after its future ended and after it was dropped: it is a fresh start.
pub async fn runs_again_after_it_ended<R: Rig>(rig: &mut R) {
    let planned = Planned::of(rig, &[]);
    let first = started(rig, &planned, 3).await;
    first.stop("while connected").await;
    for _ in 0..2 {
        let mut again = planned.run(AMPLE);
        let seen = again
            .until_shown("the initial values arrive again", &all_shown(rig, 3))
            .await;
        assert!(
            seen.first().is_some_and(Seen::is_online),
            "a new run begins with `Online`: {seen:#?}"
        );
        again.abandon().await;
    }
}

/// Told to stop, `run` ends within two seconds: connected, with a full intake, and while the peer is away.
pub async fn stops_within_two_seconds<R: Rig>(rig: &mut R) {
    let planned = Planned::of(rig, &[]);
    let run = started(rig, &planned, 1).await;
    run.stop("while connected").await;

    let full = planned.run(1);
    fill(rig, &full).await;
    full.stop("while the intake is full").await;

    rig.stop().await;
    let away = planned.run(AMPLE);
    tokio::time::sleep(Duration::from_millis(100)).await;
    away.stop("while the peer is away").await;
}
