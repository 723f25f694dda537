//! What becomes of refreshes that are whole and of those that are not.

use floorgate_adapter_api::TagId;
use opcua::types::{DateTime, StatusCode};

use super::*;

const RAISED: ObjectTypeId = ObjectTypeId::OffNormalAlarmType;

fn tags() -> [Tag; 1] {
    [Tag {
        id: TagId(0),
        name: "alarms".into(),
        field: None,
    }]
}

/// An event of a type, of a condition where it is one's.
fn event(of: ObjectTypeId, condition: Option<(&str, bool)>) -> Fields {
    let mut fields = vec![Variant::Empty; Of::AcknowledgedAt as usize + 1];
    fields[0] = DateTime::now().into();
    fields[Of::EventType as usize] = NodeId::from(of).into();
    if let Some((id, active)) = condition {
        fields[Of::Condition as usize] = NodeId::new(2, id).into();
        fields[Of::Active as usize] = active.into();
    }
    Fields(fields)
}

/// What is told of events, the ids of conditions that are active in brackets where all are told together.
fn told(standing: &mut Standing, now: Instant, events: Vec<Fields>) -> Vec<String> {
    let uris = ["http://opcfoundation.org/UA/", "urn:server", "urn:plant"].map(str::to_owned);
    let mut seen = Vec::new();
    for event in events {
        let (samples, is_all) = match standing.take(&tags(), event, &uris, now) {
            Told::Nothing => continue,
            Told::All(samples) => (samples, true),
            Told::Lost(samples) => {
                assert!(samples.iter().all(|sample| sample.gap && sample.value.is_none()));
                seen.push("lost".to_owned());
                continue;
            }
            Told::Part(samples) | Told::One(samples) => (samples, false),
        };
        for sample in samples {
            seen.push(text(&sample, is_all));
        }
    }
    seen
}

fn text(sample: &Sample, is_all: bool) -> String {
    let value = sample.value.as_ref().unwrap();
    let id = |record: &Value| match record.part("condition") {
        Some(Value::Text(id)) => id.to_string(),
        other => panic!("{other:?}"),
    };
    let gap = if sample.gap { " gap" } else { "" };
    match value.part("refresh") {
        Some(Value::List(all)) => {
            assert!(is_all);
            format!("{:?}{gap}", all.iter().map(id).collect::<Vec<_>>())
        }
        _ => format!("{}{gap}", id(value)),
    }
}

fn start() -> Fields {
    event(ObjectTypeId::RefreshStartEventType, None)
}

fn end() -> Fields {
    event(ObjectTypeId::RefreshEndEventType, None)
}

fn overflow() -> Fields {
    event(ObjectTypeId::EventQueueOverflowEventType, None)
}

fn alarm(id: &str) -> Fields {
    event(RAISED, Some((id, true)))
}

/// A condition that is active or not since this second.
fn at(seconds: u16, active: bool) -> Fields {
    let mut fields = event(RAISED, Some(("a", active)));
    fields.0[0] = DateTime::ymd_hms(2026, 1, 1, 0, 0, seconds).into();
    fields
}

#[test]
fn a_whole_refresh_tells_all_and_changes_between_are_among_them() {
    let (mut standing, now) = (Standing::default(), Instant::now());
    let events = vec![start(), alarm("b"), alarm("a"), end(), alarm("c")];
    let seen = told(&mut standing, now, events);
    assert_eq!(
        seen,
        [
            r#"["nsu=urn:plant;s=a", "nsu=urn:plant;s=b"]"#,
            "nsu=urn:plant;s=c"
        ]
    );
    assert!(!standing.is_due(now + CALM));
}

#[test]
fn a_refresh_of_which_something_was_lost_is_not_taken_for_all() {
    let now = Instant::now();
    let (one, gap) = ("nsu=urn:plant;s=a", "nsu=urn:plant;s=a gap");
    for (name, events, expected) in [
        (
            "in the middle",
            vec![start(), alarm("a"), overflow(), end()],
            vec!["lost", gap],
        ),
        (
            "with its start",
            vec![overflow(), alarm("a"), end()],
            vec!["lost", one, "lost"],
        ),
        (
            "with its start, unsaid",
            vec![alarm("a"), end()],
            vec![one, "lost"],
        ),
        (
            "one in another",
            vec![start(), alarm("a"), start(), end()],
            vec![gap],
        ),
    ] {
        let mut standing = Standing::default();
        assert_eq!(told(&mut standing, now, events), expected, "{name}");
        assert!(standing.is_due(now), "{name}: all are to be told again");
    }
}

#[test]
fn a_change_of_the_moment_is_not_undone_by_the_state_before_it() {
    let (mut standing, now) = (Standing::default(), Instant::now());
    let uris = [const { String::new() }; 3];
    let mut all = None;
    for event in [start(), at(9, false), at(5, true), end()] {
        if let Told::All(samples) = standing.take(&tags(), event, &uris, now) {
            all = Some(samples);
        }
    }
    let value = all.unwrap().remove(0).value.unwrap();
    let Some(Value::List(records)) = value.part("refresh") else {
        panic!("{value}")
    };
    assert_eq!(records[0].part("active"), Some(&Value::Bool(false)));
}

#[test]
fn an_alarm_that_comes_and_goes_during_a_refresh_is_told_as_both() {
    let (mut standing, now) = (Standing::default(), Instant::now());
    let uris = [const { String::new() }; 3];
    let mut all = Vec::new();
    for event in [start(), at(5, true), at(9, false), alarm("b"), end()] {
        if let Told::All(samples) = standing.take(&tags(), event, &uris, now) {
            all = samples;
        }
    }
    let [whole] = &all[..] else { panic!("{all:#?}") };
    let Some(Value::List(records)) = whole.value.as_ref().unwrap().part("refresh") else {
        panic!("{whole:?}")
    };
    // As with all that a refresh tells, nobody knows whether it was raised before.
    let active: Vec<_> = records
        .iter()
        .map(|record| record.part("active").cloned())
        .collect();
    assert_eq!(
        active,
        [true, false, true].map(|active| Some(Value::Bool(active)))
    );
}

#[test]
fn what_the_server_cannot_tell_of_a_condition_is_not_made_up() {
    let (mut standing, now) = (Standing::default(), Instant::now());
    let denied = || Variant::StatusCode(StatusCode::BadUserAccessDenied);
    let unknown = || {
        let mut fields = alarm("a");
        fields.0[Of::Retain as usize] = true.into();
        fields.0[Of::Active as usize] = denied();
        fields
    };
    assert_eq!(told(&mut standing, now, vec![unknown()]), ["lost"]);
    let events = vec![start(), alarm("b"), unknown(), end()];
    assert_eq!(
        told(&mut standing, now, events),
        ["nsu=urn:plant;s=b gap"],
        "one that is not told is not one that was cleared"
    );
    let mut fields = alarm("a");
    fields.0[Of::Severity as usize] = denied();
    let uris = [const { String::new() }; 3];
    let Told::One(samples) = standing.take(&tags(), fields, &uris, now) else {
        panic!("a change of one")
    };
    assert_eq!(samples[0].value.as_ref().unwrap().part("severity"), None);
}

#[test]
fn what_is_never_whole_is_asked_for_after_pauses_that_grow() {
    let (mut standing, begun) = (Standing::default(), Instant::now());
    standing.want(begun);
    let (mut now, mut pauses) = (begun, Vec::new());
    for _ in 0..9 {
        while !standing.is_due(now) {
            now += Duration::from_millis(500);
        }
        standing.ask();
        standing.was_asked(now, true);
        let asked = now;
        let _ = told(&mut standing, now, vec![start(), alarm("a"), overflow(), end()]);
        while !standing.is_due(now) {
            now += Duration::from_millis(500);
        }
        pauses.push((now - asked).as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    standing.ask();
    standing.was_asked(now, true);
    let _ = told(&mut standing, now, vec![start(), alarm("a"), end()]);
    let later = now + CALM + Duration::from_secs(1);
    standing.want(later);
    assert!(standing.is_due(later));
}

#[test]
fn a_refresh_without_an_end_holds_nothing_back() {
    let (mut standing, now) = (Standing::default(), Instant::now());
    standing.want(now);
    standing.was_asked(now, true);
    assert!(told(&mut standing, now, vec![start(), alarm("a")]).is_empty());
    assert!(!standing.is_overdue(now + WITHIN / 2));
    assert!(standing.is_overdue(now + WITHIN));
    let given: Vec<String> = standing
        .give_up(&tags())
        .iter()
        .map(|sample| text(sample, false))
        .collect();
    assert_eq!(given, ["nsu=urn:plant;s=a gap"]);
    assert_eq!(told(&mut standing, now, vec![alarm("b")]), ["nsu=urn:plant;s=b"]);
    // Nobody asked for this one.
    assert!(told(&mut standing, now, vec![start(), alarm("a")]).is_empty());
    assert!(standing.is_overdue(now + WITHIN));
}

#[test]
fn a_refresh_that_ends_before_it_is_answered_is_not_waited_for() {
    let (mut standing, now) = (Standing::default(), Instant::now());
    standing.want(now);
    standing.ask();
    assert_eq!(
        told(&mut standing, now, vec![start(), alarm("a"), end()]).len(),
        1
    );
    standing.was_asked(now, true);
    assert!(!standing.is_overdue(now + WITHIN) && !standing.is_due(now + WITHIN));
    // What is wanted while it is asked is not forgotten.
    standing.ask();
    let _ = told(&mut standing, now, vec![overflow(), start(), end()]);
    standing.was_asked(now, true);
    assert!(standing.is_due(now + WITHIN));
}

#[test]
fn a_refused_refresh_that_begins_all_the_same_holds_nothing_back() {
    let (mut standing, now) = (Standing::default(), Instant::now());
    standing.want(now);
    standing.ask();
    assert!(told(&mut standing, now, vec![start(), alarm("a")]).is_empty());
    standing.was_asked(now, false);
    assert!(standing.is_overdue(now + WITHIN));
}

#[test]
fn what_was_asked_on_a_connection_that_is_lost_is_asked_again() {
    let (mut standing, now) = (Standing::default(), Instant::now());
    standing.want(now);
    standing.ask();
    assert!(!standing.is_due(now));
    standing.ask_again(now);
    assert!(standing.is_due(now));
}
