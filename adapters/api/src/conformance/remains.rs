//! What is told of times, and what is left of a source.

use std::time::{Duration, Instant};

use floorgate_sample::Timestamp;
use tokio::runtime::Handle;

use super::Rig;
use super::harness::{AMPLE, Planned, Seen};
use super::promises::{all_shown, set_all, started};

/// Where a device says when a value came to be, each sample has that time; where it does not, none is made up. The rig's peer has the clock of this machine.
pub async fn times_are_the_devices<R: Rig>(rig: &mut R) {
    const ABOUT: Duration = Duration::from_secs(5);
    let planned = Planned::of(rig, &[]);
    let has_time = rig.adapter().has_source_time();
    let mut run = started(rig, &planned, 1).await;
    let set = Timestamp::now();
    set_all(rig, 2).await;
    let seen = run.until_shown("the change arrives", &all_shown(rig, 2)).await;
    for tag in 0..R::TAGS {
        let shown = rig.shown(tag, 2);
        let sample = seen.iter().find(|seen| seen.shows(tag, &shown));
        let Some(Seen::Sample(sample)) = sample else {
            panic!("the change of tag {tag} was awaited")
        };
        let Some(time) = sample.source_time else {
            assert!(!has_time, "tag {tag} has no time: {sample:?}");
            continue;
        };
        assert!(
            has_time,
            "the device of tag {tag} has no times, and there is one: {sample:?}"
        );
        assert!(
            time >= set.before(ABOUT) && time <= Timestamp::now().after(ABOUT),
            "tag {tag} changed at about {set}, and says {time}"
        );
    }
    run.stop("while connected").await;
}

/// Of a source that was lost several times, and has ended, no task runs on.
pub async fn nothing_runs_on_after_its_end<R: Rig>(rig: &mut R) {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let planned = Planned::of(rig, &[]);
    set_all(rig, 1).await;
    rig.start().await;
    let alone = tasks();
    for value in 2..=3 {
        let mut run = planned.run(AMPLE);
        run.until("it is connected", Seen::is_online).await;
        rig.stop().await;
        run.until("the loss is told", Seen::is_offline).await;
        set_all(rig, value).await;
        rig.start().await;
        run.until_shown("the values arrive", &all_shown(rig, value)).await;
        run.stop("while connected").await;
    }
    let deadline = Instant::now() + rig.patience();
    while tasks() > alone {
        assert!(
            Instant::now() < deadline,
            "{alone} tasks ran before the source, and {} do after it",
            tasks()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The peer has one connection while the source runs, whatever was lost before, and none when it has ended.
pub async fn no_connection_is_left_behind<R: Rig>(rig: &mut R) {
    let planned = Planned::of(rig, &[]);
    let mut value = 1;
    set_all(rig, value).await;
    rig.start().await;
    for _ in 0..3 {
        let mut run = planned.run(AMPLE);
        run.until_shown("the values arrive", &all_shown(rig, value)).await;
        rig.stop().await;
        run.until("the loss is told", Seen::is_offline).await;
        value += 1;
        set_all(rig, value).await;
        rig.start().await;
        run.until_shown("the values arrive again", &all_shown(rig, value))
            .await;
        has_connections(rig, 1, "while the source runs").await;
        run.stop("while connected").await;
        has_connections(rig, 0, "after its end").await;
    }
}

async fn has_connections<R: Rig>(rig: &R, count: usize, when: &str) {
    let deadline = Instant::now() + rig.patience();
    while let Some(has) = rig.connections().filter(|has| *has != count) {
        assert!(
            Instant::now() < deadline,
            "{when} the peer has {has} connections and not {count}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
