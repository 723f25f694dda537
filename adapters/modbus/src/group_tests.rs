use super::*;
use crate::decimal::{Decimal, Linear};
use crate::decode::{Decode, Kind, Shown, WordOrder};

/// Tags of one register at each of these places.
fn group(places: &[u32], start: Instant) -> Group {
    let single = |place: &u32| Extent {
        start: *place,
        len: 1,
    };
    group_of(&places.iter().map(single).collect::<Vec<_>>(), start)
}

fn group_of(extents: &[Extent], start: Instant) -> Group {
    let decode = Decode {
        kind: Kind::Integer {
            signed: false,
            shown: Shown::UInt,
        },
        order: WordOrder::Abcd,
        linear: Linear::new(Decimal::ONE, Decimal::ZERO),
    };
    let point = |(id, extent): (u32, &Extent)| {
        Arc::new(Point {
            tag: TagId(id),
            name: format!("tag{id}"),
            unit: 1,
            every: Duration::from_millis(100),
            table: Table::Holding,
            extent: *extent,
            decode,
            twice: false,
        })
    };
    let points: Vec<_> = (0..).zip(extents).map(point).collect();
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
    let (mut samples, mut asked) = (Vec::new(), 0);
    group.begin(now);
    while let Some(index) = group.next_sound() {
        let (_, extent) = group.request(index).expect("it was just named");
        group.take_turn(index);
        asked += 1;
        if missing
            .iter()
            .any(|place| (extent.start..extent.end()).contains(place))
        {
            group.refused(index, Quality::BAD_OUT_OF_RANGE, true, now, &mut samples);
        } else {
            let words = (extent.start..extent.end()).map(|place| u16::try_from(place).expect("a register"));
            group.answered(index, words.collect(), &Doubts::default(), &mut samples);
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
fn what_a_tag_alone_showed_is_told_again_when_its_request_answers_as_before() {
    let now = Instant::now();
    let mut group = group(&[1, 2], now);
    let mut samples = poll(&mut group, &[], now).0;
    let (item, ..) = group.probe().expect("two tags share a request");
    group.probed(item, &[77], &mut samples);
    samples.extend(poll(&mut group, &[], now).0);
    let own: Vec<_> = samples
        .iter()
        .filter(|sample| sample.tag == group.points[item].tag)
        .filter_map(|sample| sample.value.clone())
        .collect();
    let before = Value::UInt(u64::from(group.points[item].extent.start));
    assert_eq!(own, [before.clone(), Value::UInt(77), before]);
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
    let retry = group.retry(later).expect("it is time");
    assert_eq!(
        (retry.table, retry.extent, retry.is_silent),
        (Table::Holding, Extent { start: 2, len: 1 }, false)
    );
    let mut samples = Vec::new();
    group.still_refused(retry, Quality::BAD_OUT_OF_RANGE, false, later, &mut samples);
    assert!(samples.is_empty() && group.retry(later).is_none());
    let much_later = later + Duration::from_mins(1);
    assert_eq!(group.retry(much_later), Some(retry));
    assert_eq!(group.readmitted(retry, &[7], &mut samples), Some(TagId(1)));
    assert_eq!(samples.len(), 1);
    group.settle();
    assert_eq!(
        (group.refused_count(), poll(&mut group, &[], much_later).1),
        (0, 1)
    );
}

/// A poll of a unit that answers, but is silent over longer requests than this. Returns how many of them it was asked.
fn poll_in_silence(group: &mut Group, longest: u32, now: Instant) -> usize {
    let (mut samples, mut silences) = (Vec::new(), 0);
    group.begin(now);
    while let Some(index) = group.next_sound().or_else(|| group.next_silent()) {
        let asked = group.request(index).expect("it was just named");
        group.take_turn(index);
        if asked.1.len <= longest {
            let words = vec![0; asked.1.len as usize];
            group.answered(index, words, &Doubts::default(), &mut samples);
            continue;
        }
        silences += 1;
        if group.has_silent(now) {
            group.silent(index, Quality::BAD_TIMEOUT, 3, now, &mut samples);
        } else {
            group.unanswered(asked, Quality::BAD_TIMEOUT, now);
        }
        break;
    }
    group.settle();
    silences
}

#[test]
fn a_unit_that_is_silent_over_long_requests_is_asked_shorter_ones() {
    let now = Instant::now();
    let mut group = group(&[1, 2, 3, 4], now);
    let silences: Vec<usize> = (0..8).map(|_| poll_in_silence(&mut group, 2, now)).collect();
    // Three times, then its halves, then once more; that it was silent is still known then.
    assert_eq!(silences, [1, 1, 1, 0, 1, 0, 0, 0]);
    assert_eq!(group.refused_count(), 0);
    let lengths = (0..).map_while(|index| group.request(index));
    assert!(lengths.map(|(_, extent)| extent.len).eq([2, 2]));
    assert!(!group.has_silent(now));
}

#[test]
fn halves_of_what_was_not_answered_need_one_more_silence_each() {
    let now = Instant::now();
    let mut group = group(&[1, 2, 3, 4], now);
    let mut samples = Vec::new();
    group.unanswered(group.request(0).expect("there is one"), Quality::BAD_TIMEOUT, now);
    group.doubt(0, &mut samples);
    assert_eq!(samples.len(), 4, "nothing is known of it");
    for (polls, requests) in (1..).zip([1, 2, 3, 4]) {
        let now = now + 100 * MS * polls;
        group.begin(now);
        let request = group.next_silent().expect("what was not answered");
        assert_eq!(group.next_sound(), None);
        group.silent(request, Quality::BAD_TIMEOUT, 3, now, &mut samples);
        let left = (0..).map_while(|index| group.request(index)).count();
        assert_eq!(left, requests, "what was asked longest ago comes first");
    }
    assert_eq!(samples.len(), 4, "it is told once");
}

#[test]
fn tags_of_one_register_are_left_out_together() {
    let now = Instant::now();
    let mut group = group(&[1, 1, 1, 1, 2], now);
    let mut samples = Vec::new();
    for polls in 1..=3 {
        group.begin(now + 100 * MS * polls);
        group.silent(0, Quality::BAD_TIMEOUT, 3, now, &mut samples);
    }
    let requests = (0..).map_while(|index| group.request(index));
    assert!(
        requests.map(|(_, extent)| extent.start).eq([1, 2]),
        "halved between the registers"
    );
    group.silent(0, Quality::BAD_TIMEOUT, 3, now, &mut samples);
    assert_eq!(group.refused_count(), 4, "nothing tells them apart");
}

#[test]
fn a_refusal_that_passes_is_no_limit_where_a_part_as_long_as_the_whole_was_answered() {
    let now = Instant::now();
    let extents = [(0, 4), (0, 1)].map(|(start, len)| Extent { start, len });
    let mut group = group_of(&extents, now);
    let most = group.tables[Table::Holding as usize].limits.most;
    for _ in 0..3 {
        // The whole is refused, and both its parts are answered, one of which is as long.
        group.begin(now);
        group.take_turn(0);
        group.refused(0, Quality::BAD_OUT_OF_RANGE, true, now, &mut Vec::new());
        group.settle();
        let (_, asked) = poll(&mut group, &[], now);
        assert_eq!(asked, 2);
        assert_eq!(group.tables[Table::Holding as usize].limits.most, most);
    }
    assert_eq!(poll(&mut group, &[], now).1, 1, "it is asked as before");
}
