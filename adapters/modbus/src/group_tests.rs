use super::*;
use crate::decimal::{Decimal, Linear};
use crate::decode::{Decode, Kind, Shown, WordOrder};

fn group(places: &[u32], start: Instant) -> Group {
    let decode = Decode {
        kind: Kind::Integer {
            signed: false,
            shown: Shown::UInt,
        },
        order: WordOrder::Abcd,
        linear: Linear::new(Decimal::ONE, Decimal::ZERO),
    };
    let point = |(id, place): (u32, &u32)| {
        Arc::new(Point {
            tag: TagId(id),
            name: format!("tag{id}"),
            unit: 1,
            every: Duration::from_millis(100),
            table: Table::Holding,
            extent: Extent {
                start: *place,
                len: 1,
            },
            decode,
            twice: false,
        })
    };
    let points: Vec<_> = (0..).zip(places).map(point).collect();
    Group::all("source", &points, &Checked::assumed(), start).remove(0)
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn the_schedule_does_not_drift_and_what_is_late_is_not_piled_up() {
    let start = Instant::now();
    let mut group = group(&[1], start);
    // Each poll begins a little late; the next is due where it would be anyway.
    for poll in 0..1_000 {
        assert_eq!(group.due(), start + 100 * MS * poll);
        assert_eq!(group.begin(start + 100 * MS * poll + 7 * MS), 0);
    }
    let due = group.due();
    assert_eq!(
        group.begin(due + 350 * MS),
        3,
        "polls at +0, +100 and +200 are lost, that at +300 is made now"
    );
    assert_eq!(group.due(), due + 400 * MS);
}

/// Answers every request of a poll as a device would that has all registers but these.
fn poll(group: &mut Group, missing: &[u32], now: Instant) -> (Vec<Sample>, usize) {
    let (mut samples, mut asked, mut index) = (Vec::new(), 0, 0);
    while let Some((_, extent)) = group.request(index) {
        asked += 1;
        if missing
            .iter()
            .any(|place| (extent.start..extent.end()).contains(place))
        {
            index += group.refused(index, Quality::BAD_OUT_OF_RANGE, true, now, &mut samples);
        } else {
            let words = (extent.start..extent.end()).map(|place| u16::try_from(place).expect("a register"));
            group.answered(index, words.collect(), &Doubts::default(), &mut samples);
            index += 1;
        }
    }
    group.settle();
    (samples, asked)
}

#[test]
fn a_search_for_refused_registers_takes_a_level_each_poll_and_ends_with_the_fewest_requests() {
    let now = Instant::now();
    let places: Vec<u32> = (0..64).collect();
    let mut group = group(&places, now);
    let mut told = Vec::new();
    for level in 0..8_usize {
        let (samples, asked) = poll(&mut group, &[20], now);
        assert!(asked <= 1 + 2 * level, "poll {level} asked {asked} times");
        told.extend(samples);
    }
    assert_eq!(group.refused_count(), 1);
    let good = told
        .iter()
        .filter(|sample| sample.quality == Quality::GOOD)
        .count();
    assert_eq!((good, told.len()), (63, 64), "each tag is told once");
    let (samples, asked) = poll(&mut group, &[20], now);
    assert_eq!((samples.len(), asked), (0, 2));
}

#[test]
fn what_was_forgotten_is_told_again_and_what_failed_is_told_once() {
    let now = Instant::now();
    let mut group = group(&[1, 2], now);
    assert_eq!(poll(&mut group, &[], now).0.len(), 2);
    assert_eq!(poll(&mut group, &[], now).0.len(), 0);
    let mut samples = Vec::new();
    group.fail(Quality::BAD_TIMEOUT, &mut samples);
    group.fail(Quality::BAD_TIMEOUT, &mut samples);
    assert_eq!(samples.len(), 2);
    assert_eq!(
        poll(&mut group, &[], now).0.len(),
        2,
        "the same value after a failure is news"
    );
    group.forget();
    assert_eq!(poll(&mut group, &[], now).0.len(), 2);
}

#[test]
fn a_refused_tag_is_tried_when_its_time_has_come() {
    let now = Instant::now();
    let mut group = group(&[1, 2], now);
    for _ in 0..3 {
        poll(&mut group, &[2], now);
    }
    assert_eq!(group.retry(now), None);
    let later = now + Duration::from_mins(1);
    assert_eq!(
        group.retry(later),
        Some((Table::Holding, Extent { start: 2, len: 1 }))
    );
    let mut samples = Vec::new();
    group.still_refused(Quality::BAD_OUT_OF_RANGE, later, &mut samples);
    assert!(samples.is_empty() && group.retry(later).is_none());
    let much_later = later + Duration::from_mins(1);
    assert!(group.retry(much_later).is_some());
    assert_eq!(group.readmitted(&[7], &mut samples), Some(TagId(1)));
    assert_eq!(samples.len(), 1);
    group.settle();
    assert_eq!(
        (group.refused_count(), poll(&mut group, &[], much_later).1),
        (0, 1)
    );
}
