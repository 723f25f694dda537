use std::{collections::HashMap, time::Duration};

use super::{Change, Hall, JobState, PackState, TagValue};

const HOUR: Duration = Duration::from_hours(1);

/// Plays a hall for `length` and hands each moment to `look`: its time and its changes, by the tags' names.
fn play(mut hall: Hall, length: Duration, mut look: impl FnMut(Duration, &HashMap<String, Change>)) -> Hall {
    let mut changes = Vec::new();
    while let Some(at) = hall.advance(length, &mut changes) {
        let count = changes.len();
        let named: HashMap<_, _> = changes
            .drain(..)
            .map(|change| (hall.tags()[change.tag].name.clone(), change))
            .collect();
        assert_eq!(named.len(), count, "a tag changed twice in one moment");
        look(at, &named);
    }
    hall
}

fn number(value: &TagValue) -> i32 {
    match value {
        TagValue::Int32(number) => *number,
        TagValue::UInt16(number) => i32::from(*number),
        other => panic!("no number: {other:?}"),
    }
}

#[test]
fn every_transition_is_one_that_the_standards_allow() {
    let (mut pack_states, mut job_states) =
        (std::collections::HashSet::new(), std::collections::HashSet::new());
    play(Hall::new(6, 2, 42, 0), HOUR * 4, |at, changes| {
        for (name, change) in changes {
            assert_ne!(change.old, change.new, "{name} at {at:?} is no change");
            if name.ends_with(".State") {
                let (old, new) = (number(&change.old), number(&change.new));
                let allowed = PackState::from_code(old).zip(PackState::from_code(new));
                assert!(
                    allowed.is_some_and(|(old, new)| old.may_become(new)),
                    "{name} at {at:?}: {old} to {new}"
                );
                pack_states.insert(new);
            }
            if name.ends_with(".Status") {
                let (old, new) = (number(&change.old), number(&change.new));
                let order = changes.contains_key(&name.replace(".Status", ".WorkOrderId"));
                let (old, new) = (
                    JobState::from_code(old).unwrap(),
                    JobState::from_code(new).unwrap(),
                );
                let next_order =
                    matches!(old, JobState::Ended | JobState::Aborted) && new == JobState::AllowedToStart;
                assert!(
                    if order { next_order } else { old.may_become(new) },
                    "{name} at {at:?}: {old:?} to {new:?}"
                );
                job_states.insert(new.code());
            }
        }
    });
    assert_eq!(
        job_states.len(),
        5,
        "an order goes through every state but NotAllowedToStart: {job_states:?}"
    );
    let seen_nowhere: Vec<_> = PackState::ALL
        .into_iter()
        .filter(|state| !pack_states.contains(&i32::from(state.code())))
        .collect();
    assert_eq!(
        seen_nowhere,
        [PackState::Stopping],
        "states that four hours did not show"
    );
}

#[test]
fn counters_rise_by_one_and_only_while_the_machine_executes() {
    let mut states: HashMap<String, i32> = HashMap::new();
    let hall = play(Hall::new(3, 2, 7, u32::MAX - 50), HOUR, |at, changes| {
        for (name, change) in changes {
            let (machine, tag) = name.split_once('.').unwrap();
            match (tag, &change.old, &change.new) {
                ("Good" | "Scrap" | "Total", TagValue::UInt32(old), TagValue::UInt32(new)) => {
                    assert_eq!(*new, old.wrapping_add(1), "{name} at {at:?}");
                    let idle = if machine.starts_with("Line") { 4 } else { 6 };
                    let state = states.get(machine).copied().unwrap_or(idle);
                    assert_eq!(state, i32::from(PackState::Execute.code()), "{name} at {at:?}");
                }
                ("Good" | "Scrap" | "Total", ..) => panic!("{name} is no counter: {change:?}"),
                ("State", _, new) => drop(states.insert(machine.to_owned(), number(new))),
                _ => {}
            }
        }
    });
    for tag in hall
        .tags()
        .iter()
        .filter(|tag| tag.name.ends_with("Good") || tag.name.ends_with("Total"))
    {
        assert!(
            matches!(tag.value, TagValue::UInt32(count) if count < 1_000_000),
            "{tag:?} has not wrapped"
        );
    }
}

#[test]
fn every_alarm_that_is_raised_is_cleared() {
    let mut raised: HashMap<(String, u16), Duration> = HashMap::new();
    let mut pairs: HashMap<u16, u32> = HashMap::new();
    play(Hall::new(6, 0, 3, 0), HOUR * 4, |at, changes| {
        for (name, change) in changes.iter().filter(|(name, _)| name.ends_with(".Alarms")) {
            let (old, new) = (number(&change.old), number(&change.new));
            for bit in 0..16_u16 {
                let key = (name.clone(), bit);
                match (old >> bit & 1, new >> bit & 1) {
                    (0, 1) => assert_eq!(raised.insert(key, at), None, "{name} bit {bit} raised twice"),
                    (1, 0) => {
                        let since = raised
                            .remove(&key)
                            .unwrap_or_else(|| panic!("{name} bit {bit} cleared unraised"));
                        assert!(
                            at > since,
                            "{name} bit {bit} cleared in the moment of its raising"
                        );
                        *pairs.entry(bit).or_default() += 1;
                    }
                    _ => {}
                }
            }
        }
    });
    for bit in 0..4 {
        assert!(
            pairs.get(&bit).is_some_and(|count| *count > 0),
            "bit {bit} never went through: {pairs:?}"
        );
    }
    assert!(
        raised.values().all(|since| *since > HOUR * 3),
        "stuck: {raised:?}"
    );
}

#[test]
fn an_interrupted_order_says_why() {
    play(Hall::new(6, 0, 11, 0), HOUR, |at, changes| {
        for (name, change) in changes.iter().filter(|(name, _)| name.ends_with(".Status")) {
            if number(&change.new) == i32::from(JobState::Interrupted.code()) {
                assert!(
                    changes.contains_key(&name.replace("Status", "Alarms")),
                    "{name} at {at:?} has no alarm"
                );
                assert!(
                    changes.contains_key(&name.replace("Status", "State")),
                    "{name} at {at:?} has no state"
                );
            }
        }
    });
}

#[test]
fn measured_values_stay_plausible() {
    play(Hall::new(6, 2, 5, 0), HOUR, |at, changes| {
        for (name, change) in changes {
            let range = match name.split_once('.').unwrap().1 {
                "Temperature" => 10.0..80.0,
                "Vibration" => 0.0..10.0,
                "Power" => 0.0..15.0,
                _ => continue,
            };
            let TagValue::Double(value) = change.new else {
                panic!("{name} is no double")
            };
            assert!(range.contains(&value), "{name} at {at:?}: {value}");
        }
    });
}

#[test]
fn the_seed_fixes_the_run() {
    let record = |seed| {
        let mut row = Vec::new();
        play(
            Hall::new(2, 1, seed, 0),
            Duration::from_mins(10),
            |at, changes| {
                let mut changes: Vec<_> = changes.values().cloned().collect();
                changes.sort_by_key(|change| change.tag);
                row.push((at, changes));
            },
        );
        row
    };
    assert_eq!(record(9), record(9));
    assert_ne!(record(9), record(10));
}

#[test]
fn moments_come_in_the_order_of_time_and_never_early() {
    let mut last = Duration::ZERO;
    let mut hall = Hall::new(3, 2, 1, 0);
    let mut changes = Vec::new();
    for second in 1..=600 {
        let now = Duration::from_secs(second);
        while let Some(at) = hall.advance(now, &mut changes) {
            assert!(at >= last && at <= now, "{at:?} after {last:?} at {now:?}");
            last = at;
        }
        assert!(hall.next_due().is_some_and(|due| due > now));
    }
}

#[test]
fn a_hall_without_machines_is_never_due() {
    let mut hall = Hall::new(0, 0, 1, 0);
    assert_eq!(hall.next_due(), None);
    assert_eq!(hall.advance(HOUR, &mut Vec::new()), None);
}
