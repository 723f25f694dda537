//! What is told of values that the device does not vouch for.

use super::Rig;
use super::harness::{AMPLE, Planned, Seen};
use super::promises::{all_shown, assert_told, set_all, started};
use crate::QualityClass;

/// The tag that is spoilt.
const SPOILT: usize = 0;

/// Whether it is told with a quality of that class.
fn is_told_as(seen: &Seen, class: QualityClass) -> bool {
    seen.sample_of(SPOILT)
        .is_some_and(|sample| sample.quality.class() == class)
}

/// What all tags but the spoilt one show.
fn others<R: Rig>(rig: &R, value: i16) -> Vec<(usize, crate::Value)> {
    let mut shown = all_shown(rig, value);
    shown.retain(|(tag, _)| *tag != SPOILT);
    shown
}

/// A tag that the device does not vouch for is told with a quality of that class, and not as good until the device vouches for it again.
/// The changes of all others arrive meanwhile, good, and the source is not lost.
pub async fn a_spoilt_tag_is_never_good_and_spoils_no_other<R: Rig>(rig: &mut R) {
    let planned = Planned::of(rig, &[]);
    let mut run = started(rig, &planned, 1).await;
    for (&class, value) in R::SPOILT.iter().zip([10, 20]) {
        rig.spoil(SPOILT, class).await;
        let mut seen = run
            .until("the quality is told", |seen| is_told_as(seen, class))
            .await;
        for value in [value, value + 1] {
            for tag in (0..R::TAGS).filter(|tag| *tag != SPOILT) {
                rig.set(tag, value).await;
            }
            let what = "the others' changes arrive";
            seen.extend(run.until_shown(what, &others(rig, value)).await);
        }
        let told = seen.iter().position(|seen| is_told_as(seen, class));
        for seen in seen.iter().skip(told.unwrap_or_default()) {
            assert!(!seen.is_offline(), "one tag is no loss");
            let Seen::Sample(sample) = seen else { continue };
            let is_spoilt = sample.tag.index() == SPOILT;
            assert_eq!(
                sample.quality.is_good(),
                !is_spoilt,
                "{class:?} is told of the one tag, and of no other: {sample:?}"
            );
            if is_spoilt {
                let reason = rig.adapter().reason(sample.quality);
                assert_told(&*rig.adapter(), reason.as_ref(), "a tag that is not good");
            }
        }
        set_all(rig, value + 1).await;
        run.until_shown(
            "it is good again",
            &all_shown(rig, value + 1).split_off(SPOILT)[..1],
        )
        .await;
    }
    run.stop("while connected").await;
}

/// A tag that is good again is told so, also where its value is the one that it had before.
pub async fn what_is_good_again_is_told<R: Rig>(rig: &mut R) {
    let planned = Planned::of(rig, &[]);
    set_all(rig, 5).await;
    rig.start().await;
    let mut run = planned.run(AMPLE);
    run.until_shown("the initial values arrive", &all_shown(rig, 5))
        .await;
    for &class in R::SPOILT {
        rig.spoil(SPOILT, class).await;
        run.until("the quality is told", |seen| is_told_as(seen, class))
            .await;
        rig.set(SPOILT, 5).await;
        run.until_shown("it is told as good", &[(SPOILT, rig.shown(SPOILT, 5))])
            .await;
    }
    run.stop("while connected").await;
}
