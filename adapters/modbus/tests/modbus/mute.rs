//! A request that is never answered, of a unit that answers others.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use floorgate_adapter_api::conformance::{AMPLE, Running, Seen};
use floorgate_adapter_api::{Notice, Quality, Value};

use crate::device::{Device, Server, Unit, Wire};
use crate::isolation::device_and_run;
use crate::values::planned;

/// Registers that hold their own address, on unit 1.
pub fn holding(places: &[u16]) -> Device {
    Device::default().with_unit(1, |unit| {
        unit.holding = places.iter().map(|place| (*place, *place)).collect();
    })
}

/// Tags of these registers, and what they show.
pub fn tags(places: &[u16]) -> (Vec<String>, Vec<(usize, Value)>) {
    let addresses = places.iter().map(|place| format!("{{holding: {place}}}"));
    let shown = places.iter().map(|place| Value::UInt(u64::from(*place)));
    (addresses.collect(), shown.enumerate().collect())
}

/// Waits until exactly these tags are bad for their silence and all others are shown.
pub async fn until_found(run: &mut Running, shown: &[(usize, Value)], silent: &[usize]) -> Vec<Seen> {
    let mut standing: Vec<Option<bool>> = vec![None; shown.len()];
    let what = "what is silent is bad, and all else is read";
    let mut seen = run
        .until(what, |seen| {
            if seen.is_offline() {
                standing.fill(None);
            }
            for (tag, value) in shown {
                if seen.sample_of(*tag).is_some() {
                    standing[*tag] = Some(seen.shows(*tag, value));
                }
            }
            let is_right =
                |(tag, standing): (usize, &Option<bool>)| *standing == Some(!silent.contains(&tag));
            standing.iter().enumerate().all(is_right)
        })
        .await;
    let failed = i64::try_from(silent.len()).expect("a few tags");
    while run.metrics.failed_tags.get() != failed {
        seen.extend(run.next(Duration::from_millis(5)).await);
    }
    seen
}

pub fn offlines(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| seen.is_offline()).count()
}

/// What was asked, in order: the first register, whether there was silence over it, and when.
pub fn asked(device: &Device, from: usize, mute: &HashSet<u16>) -> Vec<(u16, bool, Instant)> {
    let tables = device.tables();
    let asked = tables.asked.iter().zip(&tables.asked_at).skip(from);
    asked
        .map(|((_, _, first, count), at)| {
            let is_silent = (*first..first + count).any(|place| mute.contains(&place));
            (*first, is_silent, *at)
        })
        .collect()
}

#[tokio::test]
async fn while_a_silent_tag_is_searched_the_requests_behind_it_are_read_and_the_source_stays_online() {
    let places = [1, 50, 51, 52, 53, 54, 55, 56, 57, 90];
    let (addresses, shown) = tags(&places);
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let settings = "max_gap: 0\ntimeout: 300ms\n";
    let (device, _server, mut run) = device_and_run(holding(&places), settings, &addresses).await;
    run.until_shown("the values arrive", &shown).await;
    let mute = HashSet::from([51, 56]);
    let before = device.tables().asked.len();
    device.unit(1, |unit| unit.mute = mute.clone());
    let seen = until_found(&mut run, &shown, &[2, 7]).await;
    // What is not answered for the first time may be the unit's.
    assert_eq!(offlines(&seen), 1, "{seen:#?}");
    let asked = asked(&device, before, &mute);
    let silences: Vec<usize> = (0..asked.len()).filter(|place| asked[*place].1).collect();
    assert!(
        silences.len() >= 8,
        "three times, and two tags alone below their halves: {asked:?}"
    );
    for pair in silences.windows(2) {
        let between = &asked[pair[0] + 1..pair[1]];
        assert!(
            [1, 90]
                .iter()
                .all(|place| between.iter().any(|asked| asked.0 == *place)),
            "each poll reads what is answered, and bears one silence: {asked:?}"
        );
    }
    let is_made_anew = |seen: &&Seen| matches!(seen, Seen::Notice(Notice::Gap { reason, .. }) if reason.told.contains("made anew"));
    let gaps = seen.iter().filter(is_made_anew).count();
    assert!(gaps > 3, "nothing is read while a silence is borne: {seen:#?}");
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_silent_request_is_found_where_the_poll_would_begin_with_it() {
    let (fast, slow) = ("5ms", "10m");
    let cases = [
        (vec![(1, fast), (2, fast), (50, fast)], vec![2]),
        (vec![(1, fast), (2, fast), (50, slow)], vec![2]),
        (vec![(1, fast), (2, fast), (50, slow)], vec![1, 2]),
        (vec![(1, fast), (50, "6ms")], vec![1]),
        // Nothing else is answered, but for its own tags.
        (vec![(1, fast), (2, fast), (3, fast), (4, fast)], vec![2]),
    ];
    for (polled, mute) in cases {
        let places: Vec<u16> = polled.iter().map(|(place, _)| *place).collect();
        let shown = tags(&places).1;
        let addresses = polled
            .iter()
            .map(|(place, every)| format!("{{holding: {place}, every: {every}}}"));
        let addresses: Vec<String> = addresses.collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let silent: Vec<usize> = (0..places.len())
            .filter(|tag| mute.contains(&places[*tag]))
            .collect();
        for is_so_from_the_start in [true, false] {
            let device = holding(&places);
            let silence = |unit: &mut Unit| unit.mute = mute.iter().copied().collect();
            if is_so_from_the_start {
                device.unit(1, silence);
            }
            let settings = "max_gap: 0\nretry_refused: 100ms\n";
            let (device, _server, mut run) = device_and_run(device, settings, &addresses).await;
            if !is_so_from_the_start {
                run.until_shown("the values arrive", &shown).await;
                device.unit(1, silence);
            }
            until_found(&mut run, &shown, &silent).await;
            // It is tried again, which is no reason to take the unit for lost.
            let before = device.tables().asked.len();
            let mute = mute.iter().copied().collect();
            while asked(&device, before, &mute)
                .iter()
                .filter(|asked| asked.1)
                .count()
                < 2
            {
                let next = run.next(Duration::from_millis(5)).await;
                let is_news = |seen: &Seen| matches!(seen, Seen::Sample(_)) || seen.is_offline();
                assert!(!next.as_ref().is_some_and(is_news), "nothing is new: {next:?}");
            }
            run.stop("while connected").await;
        }
    }
}

#[tokio::test]
async fn a_silent_request_is_found_on_the_second_connection_too() {
    // As one of its unit's requests, and as a part of the only one, of which the first tag is asked alone first.
    for others in [[7, 50], [7, 8]] {
        let device = holding(&[1]).with_unit(2, |unit| {
            unit.holding = others.map(|place| (place, place)).into();
            unit.mute = [7].into();
        });
        let own = others.map(|place| format!("{{holding: {place}, unit_id: 2}}"));
        let addresses = ["{holding: 1}", &own[0], &own[1]];
        let (_device, _server, mut run) = device_and_run(device, "max_gap: 0\n", &addresses).await;
        let shown = tags(&[1, others[0], others[1]]).1;
        let seen = until_found(&mut run, &shown, &[1]).await;
        assert_eq!(
            offlines(&seen),
            0,
            "the other unit answers all the time: {seen:#?}"
        );
        run.stop("while connected").await;
    }
}

/// The tries of each of these registers since so many requests, of which each comes at its time.
async fn tried_again(
    device: &Device,
    run: &mut Running,
    mute: &HashSet<u16>,
    before: usize,
) -> Vec<(u16, bool, Instant)> {
    let silences = || {
        let mut asked = asked(device, before, mute);
        asked.retain(|asked| asked.1);
        asked
    };
    while silences().len() < mute.len() {
        run.next(Duration::from_millis(5)).await;
    }
    let tried = silences();
    for pair in tried.windows(2) {
        assert!(pair[1].2 - pair[0].2 >= Duration::from_millis(250), "{tried:?}");
    }
    tried
}

#[tokio::test]
async fn of_many_silent_tags_one_is_tried_again_at_a_time() {
    let places: Vec<u16> = (1..=14).collect();
    let (addresses, shown) = tags(&places);
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mute: HashSet<u16> = (4..=9).collect();
    let device = holding(&places);
    device.unit(1, |unit| {
        unit.mute = mute.clone();
        unit.missing = [12].into();
    });
    let settings = "timeout: 50ms\nretry_refused: 250ms\n";
    let (device, _server, mut run) = device_and_run(device, settings, &addresses).await;
    until_found(&mut run, &shown, &[3, 4, 5, 6, 7, 8, 11]).await;
    // One that was refused is taken back meanwhile, which is no reason to ask for all that is silent.
    let before = device.tables().asked.len();
    while !asked(&device, before, &mute).iter().any(|asked| asked.1) {
        run.next(Duration::from_millis(5)).await;
    }
    device.unit(1, |unit| unit.missing.clear());
    let tried = tried_again(&device, &mut run, &mute, before).await;
    let which: HashSet<u16> = tried.iter().map(|asked| asked.0).collect();
    assert_eq!(which, mute, "each time another one: {tried:?}");
    // Nor is the loss of the source.
    device.unit(1, |unit| unit.silent = true);
    run.until("the loss is told", Seen::is_offline).await;
    device.unit(1, |unit| unit.silent = false);
    run.until("it is back", Seen::is_online).await;
    let before = device.tables().asked.len();
    tried_again(&device, &mut run, &mute, before).await;
    // Where one is answered, the next need not wait.
    device.unit(1, |unit| unit.mute.clear());
    let begun = Instant::now();
    run.until_shown("all are read again", &shown[3..9]).await;
    assert!(
        begun.elapsed() < Duration::from_millis(1250),
        "{:?}",
        begun.elapsed()
    );
    run.stop("while connected").await;
}

#[tokio::test]
async fn on_a_line_without_transaction_numbers_a_late_answer_of_a_silent_request_passes_first() {
    let places = [1, 50, 51, 90];
    let (addresses, shown) = tags(&places);
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let device = holding(&places);
    let mut server = Server::new(Wire::RtuOverTcp, device.clone());
    server.start().await;
    let settings = format!(
        "connect: {}\npoll_interval: 5ms\nbackoff_max: 20ms\ntimeout: 300ms\nretries: 0\nretry_refused: 300ms\n",
        server.connect()
    );
    let mut run = planned(&settings, &addresses).run(AMPLE);
    run.until_shown("the values arrive", &shown).await;
    let mute = HashSet::from([51]);
    let before = device.tables().asked.len();
    device.unit(1, |unit| unit.mute = mute.clone());
    let mut seen = until_found(&mut run, &shown, &[2]).await;
    let silences = || {
        asked(&device, before, &mute)
            .iter()
            .filter(|asked| asked.1)
            .count()
    };
    let found = silences();
    while silences() < found + 2 {
        seen.extend(run.next(Duration::from_millis(5)).await);
    }
    assert_eq!(offlines(&seen), 1, "{seen:#?}");
    let asked = asked(&device, before, &mute);
    for pair in asked.windows(2).filter(|pair| pair[0].1) {
        let passed = pair[1].2 - pair[0].2;
        assert!(passed >= Duration::from_millis(600), "{passed:?}: {asked:?}");
    }
    run.stop("while connected").await;
}

#[tokio::test]
async fn what_was_read_while_the_source_was_away_is_told_when_it_is_back() {
    let places = [1, 50, 90];
    let (addresses, shown) = tags(&places);
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let device = holding(&places);
    device.unit(1, |unit| unit.mute = [50, 90].into());
    let (_device, _server, mut run) = device_and_run(device, "max_gap: 0\n", &addresses).await;
    let mut is_online = false;
    run.until("the first is shown while the source is online", |seen| {
        is_online |= seen.is_online();
        is_online &= !seen.is_offline();
        assert!(
            is_online || seen.sample_of(0).is_none(),
            "a value of a source that is away: {seen:?}"
        );
        seen.shows(0, &shown[0].1)
    })
    .await;
    run.stop("while connected").await;
}

#[tokio::test]
async fn an_answer_without_a_value_confirms_nothing() {
    let device = Device::default().with_unit(1, |unit| unit.holding = [(1, 0xFFFF), (2, 5)].into());
    let (device, _server, mut run) =
        device_and_run(device, "", &["{holding: 1, type: string, length: 2}"]).await;
    run.until("the text is none", |seen| {
        seen.sample_of(0)
            .is_some_and(|sample| sample.quality == Quality::BAD_DECODING_ERROR)
    })
    .await;
    let asked = |more: usize| {
        let before = device.tables().asked.len();
        let device = device.clone();
        move || device.tables().asked.len() >= before + more
    };
    let is_enough = asked(5);
    while !is_enough() {
        run.next(Duration::from_millis(5)).await;
    }
    assert_eq!(run.metrics.reading().confirmed, 0);
    device.unit(1, |unit| {
        unit.holding.insert(1, 0x4142);
    });
    run.until_shown("it is one", &[(0, Value::text("AB"))]).await;
    let is_enough = asked(5);
    while !is_enough() {
        run.next(Duration::from_millis(5)).await;
    }
    assert!(
        run.metrics.reading().confirmed >= 4,
        "what stays as it is is confirmed"
    );
    run.stop("while connected").await;
}

#[tokio::test]
async fn a_register_that_is_never_answered_is_found_out_and_the_others_go_on() {
    for retries in [0, 2] {
        let device = Device::default().with_unit(1, |unit| {
            unit.holding = [(1, 1), (50, 1), (51, 2), (52, 3)].into();
        });
        let settings = format!("max_gap: 0\nretries: {retries}\nretry_refused: 100ms\n");
        let addresses = ["{holding: 1}", "{holding: 50}", "{holding: 51}", "{holding: 52}"];
        let (device, _server, mut run) = device_and_run(device, &settings, &addresses).await;
        let all = [1, 1, 2, 3].map(Value::UInt);
        let all: Vec<(usize, Value)> = all.into_iter().enumerate().collect();
        run.until_shown("the values arrive", &all).await;
        // Of the second request one register has gone, and the device keeps silent over it.
        device.unit(1, |unit| {
            unit.mute.insert(51);
            unit.holding.insert(50, 7);
            unit.holding.insert(52, 8);
        });
        let mut open = vec![(1, Value::UInt(7)), (3, Value::UInt(8))];
        let mut is_bad = false;
        run.until("the others are read, and it is bad", |seen| {
            open.retain(|(tag, value)| !seen.shows(*tag, value));
            is_bad |= seen
                .sample_of(2)
                .is_some_and(|sample| sample.quality == Quality::BAD_TIMEOUT);
            open.is_empty() && is_bad
        })
        .await;
        // A change is seen, and the tag that is not answered stays bad meanwhile.
        device.unit(1, |unit| {
            unit.holding.insert(1, 9);
        });
        let mut seen = run.until_shown("a change arrives", &[(0, Value::UInt(9))]).await;
        // It is tried again meanwhile, which is no news, and none of the other tags.
        let before = device.tables().asked.len();
        let tries = || {
            let asked = &device.tables().asked;
            asked[before..].iter().filter(|asked| asked.2 == 51).count()
        };
        while tries() < 3 {
            seen.extend(run.next(Duration::from_millis(5)).await);
        }
        let bad = |seen: &&Seen| matches!(seen, Seen::Sample(sample) if sample.quality.is_bad() && sample.tag.0 != 2);
        assert_eq!(seen.iter().filter(bad).count(), 0, "{seen:#?}");
        assert!(
            !seen.iter().any(|seen| seen.shows(2, &Value::UInt(2))),
            "{seen:#?}"
        );
        device.unit(1, |unit| unit.mute.clear());
        run.until_shown("it is read again", &[(2, Value::UInt(2))]).await;
        run.stop("while connected").await;
    }
}

#[tokio::test]
async fn what_a_request_that_was_not_answered_for_a_moment_held_meanwhile_is_not_known() {
    let places = [1, 50];
    let (addresses, shown) = tags(&places);
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let settings = "max_gap: 0\nretries: 4\n";
    let (device, _server, mut run) = device_and_run(holding(&places), settings, &addresses).await;
    run.until_shown("the values arrive", &shown).await;
    let mute = HashSet::from([50]);
    let before = device.tables().asked.len();
    device.unit(1, |unit| unit.mute = mute.clone());
    // The unit's own hole is told with the second of them.
    while asked(&device, before, &mute)
        .iter()
        .filter(|asked| asked.1)
        .count()
        < 4
    {
        run.next(Duration::from_millis(5)).await;
    }
    device.unit(1, |unit| {
        unit.mute.clear();
        unit.holding.insert(50, 7);
    });
    let seen = run
        .until_shown("it is answered again", &[(1, Value::UInt(7))])
        .await;
    assert!(seen.iter().any(|seen| seen.is_gap_of(1)), "{seen:#?}");
    run.stop("while connected").await;
}
