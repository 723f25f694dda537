//! What a source holds while the gateway takes nothing.

use std::time::Duration;

use super::Rig;
use super::harness::{Planned, Seen};
use super::promises::{all_shown, set_all};

/// How often each tag changes meanwhile.
const CHANGES: i16 = 200;
/// How long each value stays, so that a source that reads on can see it.
const EACH: Duration = Duration::from_millis(10);
/// How long nothing comes when all that was held has come.
const QUIET: Duration = Duration::from_millis(500);

/// While the gateway takes nothing, a source holds few values, however often its tags change: those that still come when the peer is gone and there
/// is room again.
pub async fn memory_is_bounded<R: Rig>(rig: &mut R) {
    const {
        assert!(
            4 * R::HELD <= CHANGES.unsigned_abs() as usize,
            "far less than what changes"
        );
    }
    let planned = Planned::of(rig, &[]);
    set_all(rig, 0).await;
    rig.start().await;
    let mut run = planned.run(1);
    run.until_shown("the initial values arrive", &all_shown(rig, 0))
        .await;
    for value in 1..=CHANGES {
        set_all(rig, value).await;
        tokio::time::sleep(EACH).await;
    }
    rig.stop().await;
    let mut seen = run.until("the loss is told", Seen::is_offline).await;
    while let Some(more) = run.next(QUIET).await {
        seen.push(more);
    }
    for tag in 0..R::TAGS {
        let held = seen.iter().filter(|seen| seen.sample_of(tag).is_some()).count();
        assert!(
            held <= R::HELD,
            "of {CHANGES} changes of tag {tag} {held} were held while nothing was taken, and {} is the most: {seen:#?}",
            R::HELD
        );
    }
    run.stop("while the peer is away").await;
}
