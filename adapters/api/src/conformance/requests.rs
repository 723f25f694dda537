//! What is promised of requests.

use std::collections::BTreeSet;
use std::time::Duration;

use floorgate_sample::{Quality, RequestId, TagId};

use super::Rig;
use super::harness::{AMPLE, Answered, Demands, Planned, Running, Seen};
use super::promises::{all_shown, set_all, started};

/// Requests that are made at once.
const MANY: usize = 20;

/// The numbers of all the rig's tags.
fn all<R: Rig>() -> Vec<u32> {
    (0_u32..).take(R::TAGS).collect()
}

/// That an answer has each tag of the rig once, good, as it was set to `value`.
fn holds<R: Rig>(rig: &R, answered: &Answered, value: i16) {
    assert_eq!(answered.answer.result, Ok(()), "{answered:#?}");
    assert_eq!(
        answered.samples.len(),
        R::TAGS,
        "a sample of each tag that was asked for: {answered:#?}"
    );
    for tag in 0..R::TAGS {
        let of_tag = answered.samples.iter().find(|sample| sample.tag.index() == tag);
        let sample = of_tag.unwrap_or_else(|| panic!("tag {tag} was asked for: {answered:#?}"));
        let is_shown = sample
            .value
            .as_ref()
            .is_some_and(|shown| shown.same(&rig.shown(tag, value)));
        assert!(
            is_shown && sample.quality == Quality::GOOD,
            "tag {tag} was set to {value}: {answered:#?}"
        );
    }
}

/// That an answer says why nothing was read.
fn failed(answered: &Answered, request: RequestId) {
    assert_eq!(answered.answer.request, request);
    match &answered.answer.result {
        Err(reason) => assert!(!reason.trim().is_empty(), "a failure has a reason"),
        Ok(()) => panic!("there is nobody to read from: {answered:#?}"),
    }
    assert!(answered.samples.is_empty(), "nothing was read: {answered:#?}");
}

/// Waits until the tags show a value, and holds that no answer came beside.
async fn undisturbed<R: Rig>(rig: &mut R, run: &mut Running, value: i16) -> Vec<Seen> {
    set_all(rig, value).await;
    let seen = run
        .until_shown("changes go on arriving", &all_shown(rig, value))
        .await;
    assert_eq!(run.unclaimed(), 0, "a request is answered once");
    seen
}

/// Each request is answered once, with a sample of each of its tags as the device has it now, and watching goes on beside.
pub async fn a_request_is_answered_once_with_all_its_tags<R: Rig>(rig: &mut R) {
    let demands = Demands {
        snapshots: vec![all::<R>()],
        ..Demands::default()
    };
    let planned = Planned::of_demanding(rig, &[rig.refused_address()], &demands);
    let mut run = started(rig, &planned, 1).await;
    for value in 2..5 {
        set_all(rig, value).await;
        let request = run.ask(&all::<R>());
        let answered = run.answer().await;
        assert_eq!(answered.answer.request, request);
        holds(rig, &answered, value);
    }
    undisturbed(rig, &mut run, 5).await;

    let mut open: BTreeSet<RequestId> = (0..MANY).map(|_| run.ask(&all::<R>())).collect();
    while !open.is_empty() {
        let answered = run.answer().await;
        assert!(
            open.remove(&answered.answer.request),
            "each is answered once: {answered:#?}"
        );
        holds(rig, &answered, 5);
    }

    let refused = u32::try_from(R::TAGS).expect("few tags");
    let request = run.ask(&[refused]);
    let answered = run.answer().await;
    assert_eq!(answered.answer.request, request);
    if answered.answer.result.is_ok() {
        let bad = answered
            .samples
            .iter()
            .filter(|sample| sample.tag == TagId(refused) && sample.quality.is_bad());
        assert_eq!(
            (bad.count(), answered.samples.len()),
            (1, 1),
            "a refused tag is bad: {answered:#?}"
        );
    }
    let seen = undisturbed(rig, &mut run, 6).await;
    assert!(
        !seen.iter().any(Seen::is_offline),
        "no request is a loss: {seen:#?}"
    );
    run.stop("while connected").await;
}

/// While the device is not connected a request is answered as failed, with a reason; once it is there, requests are answered again.
pub async fn a_request_while_the_peer_is_away_fails<R: Rig>(rig: &mut R) {
    let planned = Planned::of(rig, &[]);
    // Where the peer listens is known only once it was there.
    rig.start().await;
    rig.stop().await;
    let mut run = planned.run(AMPLE);
    let request = run.ask(&all::<R>());
    failed(&run.answer().await, request);
    for round in 0..2 {
        set_all(rig, 10 + round).await;
        rig.start().await;
        run.until_shown("the values arrive", &all_shown(rig, 10 + round))
            .await;
        run.ask(&all::<R>());
        holds(rig, &run.answer().await, 10 + round);
        rig.stop().await;
        run.until("the loss is told", Seen::is_offline).await;
        for _ in 0..3 {
            let request = run.ask(&all::<R>());
            failed(&run.answer().await, request);
        }
    }
    assert_eq!(run.unclaimed(), 0, "a request is answered once");
    run.stop("while the peer is away").await;
}

/// A tag that is read on demand comes with the answer to a request for it, and never by itself.
pub async fn a_tag_on_demand_is_read_only_when_asked_for<R: Rig>(rig: &mut R) {
    let asked: Vec<u32> = all::<R>().split_off(1);
    let demands = Demands {
        on_demand: asked.clone(),
        snapshots: vec![all::<R>()],
    };
    let planned = Planned::of_demanding(rig, &[], &demands);
    set_all(rig, 1).await;
    rig.start().await;
    let mut run = planned.run(AMPLE);
    let mut seen = Vec::new();
    for value in 1..4 {
        set_all(rig, value).await;
        let watched = [(0, rig.shown(0, value))];
        seen.extend(run.until_shown("the watched tag's value arrives", &watched).await);
        run.ask(&all::<R>());
        holds(rig, &run.answer().await, value);
    }
    while let Some(more) = run.next(Duration::from_millis(100)).await {
        seen.push(more);
    }
    for tag in asked {
        let unasked = seen.iter().find_map(|seen| seen.sample_of(tag as usize));
        assert!(
            unasked.is_none(),
            "tag {tag} is told only to who asks: {unasked:#?}"
        );
    }
    run.stop("while connected").await;
}
