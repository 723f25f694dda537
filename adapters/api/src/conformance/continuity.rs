//! What a source tells after it looked away: everything, or that something is missing.

use super::Rig;
use super::harness::{AMPLE, Planned, Seen};
use super::promises::{all_shown, set_all, started};

/// Panics where a tag tells neither each of `values` in order nor, before its first, that some may be missing.
pub(super) fn tells_all_or_a_gap<R: Rig>(rig: &R, seen: &[Seen], values: &[i16]) {
    for tag in 0..R::TAGS {
        let first = seen.iter().position(|seen| seen.sample_of(tag).is_some());
        let first = first.expect("a sample was awaited");
        let marked = seen[..=first].iter().any(|seen| seen.is_gap_of(tag));
        let mut told = seen.iter();
        let complete = values
            .iter()
            .all(|&value| told.any(|seen| seen.shows(tag, &rig.shown(tag, value))));
        assert!(
            marked || complete,
            "values of tag {tag} were missed and no gap was told: {seen:#?}"
        );
    }
}

/// The next process begins with what the one before stored: it goes on where that was, or says that something is missing. So it is with one that
/// was told to stop, and with one that ended in the middle.
pub async fn the_next_process_goes_on_or_says_what_is_missing<R: Rig>(rig: &mut R) {
    let planned = Planned::of(rig, &[]);
    let mut run = started(rig, &planned, 1).await;
    for round in 0..4_i16 {
        let bookmarks = run.bookmarks();
        if round % 2 == 0 {
            run.stop("while connected").await;
        } else {
            run.abandon().await;
        }
        let missed: Vec<i16> = (1..=3).map(|step| 10 * (round + 1) + step).collect();
        for &value in &missed {
            set_all(rig, value).await;
        }
        run = planned.run_after(bookmarks, AMPLE);
        let seen = run
            .until_shown("the values of now arrive", &all_shown(rig, missed[2]))
            .await;
        let first = seen.iter().find(|seen| !matches!(seen, Seen::Sample(_)));
        assert!(
            first.is_some_and(Seen::is_online),
            "`Online` comes first: {seen:#?}"
        );
        tells_all_or_a_gap(rig, &seen, &missed);
    }
    run.stop("while connected").await;
}

/// A peer that stands still, with its connections open, is lost like one that is gone, and comes back by itself. While it is away it is said when it is
/// tried again.
pub async fn a_peer_that_stands_still_is_lost_and_comes_back<R: Rig>(rig: &mut R) {
    let planned = Planned::of(rig, &[]);
    let mut run = started(rig, &planned, 1).await;
    rig.freeze().await;
    let seen = run.until("the silence is told", Seen::is_away).await;
    assert!(!seen.iter().any(Seen::is_online), "{seen:#?}");
    if R::TRIES_AGAIN {
        run.until_metrics("when it is tried again", |metrics| {
            metrics.outlook().attempt.is_some()
        })
        .await;
    }
    for value in 2..=4 {
        set_all(rig, value).await;
    }
    rig.thaw().await;
    let seen = run
        .until_shown("the values of now arrive", &all_shown(rig, 4))
        .await;
    assert!(seen.iter().any(Seen::is_online), "`Online` again: {seen:#?}");
    tells_all_or_a_gap(rig, &seen, &[2, 3, 4]);
    run.until_metrics("nothing is tried again", |metrics| {
        metrics.outlook().attempt.is_none()
    })
    .await;
    run.stop("while connected").await;
}
