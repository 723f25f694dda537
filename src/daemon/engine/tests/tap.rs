//! Copies for tools: what has to be told is told whatever waits, and nobody who is gone is kept.

use floorgate_workbench::recording::{Call, Entry};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::record::pack;

/// A core of two machines, and a way to its copies that has begun.
fn begun() -> (Folder, Core, Tap, Taken) {
    let folder = Folder::new();
    let mut core = core(plan(&folder.0, &["m1", "m2"]), &|_| None);
    let (mut tap, taken) = tap(true);
    tap.begin(&mut core, at(0));
    (folder, core, tap, taken)
}

fn at(millis: i64) -> Now {
    Now {
        wall: Timestamp::from_nanos(millis * 1_000_000),
        monotonic: Duration::from_millis(millis.unsigned_abs()),
    }
}

fn samples(number: usize, value: &Value) -> Vec<Sample> {
    let sample = Sample {
        tag: TagId(0),
        value: Some(value.clone()),
        quality: Quality::GOOD,
        source_time: None,
        server_time: None,
        gap: false,
    };
    vec![sample; number]
}

fn give(tap: &mut Tap, millis: i64, notices: &[Notice], samples: &[Sample]) {
    tap.apply(Input {
        source: SourceId(0),
        received: at(millis).wall,
        notices,
        samples,
        now: at(millis),
    });
}

fn all(taken: &Taken) -> Vec<Entry> {
    let next = || taken.next(Duration::ZERO).ok().flatten();
    std::iter::from_fn(next).flatten().collect()
}

#[test]
fn what_has_to_be_told_is_told_where_there_is_no_room_for_samples() {
    let (_folder, core, mut tap, taken) = begun();
    let number = Value::Int(7);
    for millis in 1..6000 {
        give(&mut tap, millis, &[], &samples(1, &number));
    }
    let lost = [Notice::Offline {
        reason: "away".into(),
    }];
    give(&mut tap, 6000, &lost, &samples(2, &number));
    tap.rename(core.plan(), at(6001));
    let (request, result) = (RequestId(3), Ok(()));
    let input = Input {
        source: SourceId(0),
        received: at(6002).wall,
        notices: &[],
        samples: &samples(1, &number),
        now: at(6002),
    };
    tap.answer(&Answer { request, result }, None, input);
    let entries = all(&taken);
    let mut there = 0;
    let mut left_out = 0;
    for entry in &entries {
        match entry {
            Entry::Call(Call::Apply { samples, .. } | Call::Answer { samples, .. }) => there += samples.len(),
            Entry::Hole(samples) => left_out += samples,
            _ => {}
        }
    }
    let is_lost =
        |entry: &Entry| matches!(entry, Entry::Call(Call::Apply { notices, .. }) if *notices == lost);
    assert!(entries.iter().any(is_lost), "that the source is lost is told");
    let names = entries.iter().filter(|entry| matches!(entry, Entry::Names(_)));
    assert_eq!(names.count(), 2, "numbers of another plan are told");
    let failed = |entry: &Entry| matches!(entry, Entry::Call(Call::Answer { result: Err(_), .. }));
    assert!(
        entries.iter().any(failed),
        "an answer without its values is told as failed"
    );
    assert!(there < 5999, "there was no room for {there} samples");
    assert_eq!(there as u64 + left_out, 5999 + 2 + 1);
}

#[test]
fn texts_weigh_what_they_are_and_what_is_heavy_alone_is_taken() {
    let (_folder, _core, mut tap, taken) = begun();
    all(&taken);
    let text = Value::text("x".repeat(1 << 20));
    for millis in 1..100 {
        give(&mut tap, millis, &[], &samples(1, &text));
    }
    let waiting = all(&taken).len();
    assert!(waiting < 8, "{waiting} texts of a megabyte wait");
    give(&mut tap, 200, &[], &samples(100_000, &Value::Bool(true)));
    assert_eq!(
        all(&taken).len(),
        2,
        "the hole, and what no other batch waits for"
    );
}

#[test]
fn who_takes_nothing_for_too_long_gets_no_more_and_who_is_gone_is_not_kept() {
    let (_folder, mut core, mut tap, taken) = begun();
    for millis in 1..20_000 {
        give(&mut tap, millis, &[Notice::CaughtUp], &[]);
    }
    let entries = all(&taken);
    assert!(entries.len() < 18_000, "{} entries waited", entries.len());
    let mut taps = Taps::default();
    taps.add(tap);
    for _ in 0..100 {
        taps.add(super::tap(true).0);
    }
    taps.begin(&mut core, at(20_000));
    let mut kept = 0;
    taps.each(|_| kept += 1);
    assert_eq!(kept, 0);
    assert_eq!(taken.next(LONG), Err(()), "nothing comes any more");
}

#[test]
fn a_recording_ends_where_there_is_always_something_new() {
    let (_folder, _core, mut tap, taken) = begun();
    let (blocks, mut packed) = tokio::sync::mpsc::channel(1000);
    let (stop, over) = (CancellationToken::new(), CancellationToken::new());
    let (until, fed) = (stop.clone(), over.clone());
    let packing = std::thread::spawn(move || {
        pack(&taken, &blocks, &until, Duration::ZERO);
        over.cancel();
    });
    packed.blocking_recv().expect("the beginning goes out at once");
    stop.cancel();
    let begun = Instant::now();
    let mut millis = 0;
    while !fed.is_cancelled() {
        millis += 1;
        give(&mut tap, millis, &[], &samples(1, &Value::Int(millis)));
        while packed.try_recv().is_ok() {}
        assert!(begun.elapsed() < LONG, "it never ends");
    }
    packing.join().expect("it does not panic");
}
