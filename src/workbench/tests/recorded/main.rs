//! What a gateway's core made while it was recorded is made again of the recording, byte by byte: whatever the mapping, and wherever in what
//! happens the recording begins.

mod floor;
#[path = "../../../core/tests/core/plant.rs"]
mod plant;
#[path = "../../../core/tests/core/random.rs"]
mod random;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use floorgate_core::plan::{Plan, Priority, SourceRow};
use floorgate_core::{Encoding, Event, Now, Settings};
use floorgate_sample::{SourceId, TagId, Timestamp};
use floorgate_workbench::recording::{Call, Entry, Header, Packer, Recording, beginning, state_of};
use floorgate_workbench::simulation::simulate;

use floor::{Floor, Whole as _};
use plant::STATE;
use random::{BEAT, random_plan};

/// Histories that are tried.
const HISTORIES: u64 = 600;
/// What happens in one.
const STEPS: usize = 40;
const SECOND: i64 = 1_000_000_000;
/// The last tag of a source that has none others.
const SLOW: SourceId = SourceId(1);

fn random_floor(random: &mut Rng) -> Plan {
    let mut plan = random_plan(random);
    if random.bool() {
        plan.sources.push(SourceRow {
            name: "other".into(),
            topic: "acme.busan.mes.source-connection.v1".into(),
        });
        for tag in [STATE, BEAT] {
            plan.tags[tag.index()].source = SLOW;
        }
    }
    for (place, tag) in (0..).zip(&mut plan.tags) {
        tag.address = place;
    }
    for rule in &mut plan.rules {
        let spec = Arc::get_mut(&mut rule.spec).expect("a spec of its own");
        spec.priority = [Priority::Low, Priority::Normal, Priority::High][random.usize(..3)];
    }
    plan
}

fn settings() -> Settings {
    Settings {
        gateway: "gw".into(),
        type_prefix: "io.floorgate".into(),
        encoding: Encoding::Binary,
        stream_epoch: 1,
        incarnation: uuid::Uuid::nil(),
    }
}

fn header() -> Header {
    Header {
        version: "0".to_owned(),
        gateway: "gw".to_owned(),
        type_prefix: "io.floorgate".to_owned(),
        stream_epoch: 1,
        ..Header::default()
    }
}

/// The file of a recording, in blocks of any length.
fn file(entries: &[Entry], random: &mut Rng) -> Vec<u8> {
    let mut bytes = beginning(&header());
    let mut packer = Packer::default();
    for entry in entries {
        packer.add(entry);
        if random.u8(..8) == 0 {
            bytes.extend(packer.block().unwrap_or_default());
        }
    }
    bytes.extend(packer.block().unwrap_or_default());
    bytes
}

fn show(event: Option<&Event>) -> String {
    event.map_or("nothing".to_owned(), |event| {
        format!(
            "{} {} {} {} {}",
            event.name,
            event.id,
            event.headers.replace('\n', "; "),
            String::from_utf8_lossy(&event.value),
            event.trace
        )
    })
}

/// One history, recorded from a random moment on.
fn history(random: &mut Rng) -> Floor {
    let plan = random_floor(random);
    let mut floor = Floor::of(plan, random);
    let begins = random.usize(..STEPS);
    for number in 0..STEPS {
        let longest = if random.u8(..20) == 0 { 40 * SECOND } else { SECOND };
        let until = (floor.time + random.i64(1..longest)).div_ceil_to(1000);
        floor.pass(until, random);
        if random.u8(..30) == 0 {
            floor.ahead += random.i64(-5..5) * SECOND;
        }
        let source = SourceId(random.u16(..u16::try_from(floor.plan.sources.len()).expect("few")));
        floor.step(source, random);
        floor.answer(random);
        if random.u8(..10) == 0 {
            floor.leave_out(random);
        }
        if random.u8(..4) > 0 {
            floor.advance();
        }
        if random.u8(..40) == 0 {
            floor.reload();
        }
        if number == begins {
            let now = floor.now();
            floor.recorded = state_of(&mut floor.core, now, true);
            floor.is_recorded = true;
            floor.events.clear();
        }
    }
    floor
}

/// What happens in one history, and what is made of its recording. Returns how many events were the same, or what was another.
fn play(seed: u64) -> Result<usize, String> {
    let mut random = Rng::with_seed(seed);
    let floor = history(&mut random);
    let bytes = file(&floor.recorded, &mut random);
    let mut recording = Recording::open(&bytes[..]).expect("a recording");
    let mut made = VecDeque::new();
    let take = |event| {
        made.push_back(event);
        true
    };
    simulate(&mut recording, &floor.plan, take).expect("it can be read");
    for (place, event) in floor.events.iter().enumerate() {
        let other = made.pop_front();
        if other.as_ref() != Some(event) {
            return Err(format!(
                "seed {seed}, event {place}:\n  {}\nis not\n  {}",
                show(Some(event)),
                show(other.as_ref())
            ));
        }
    }
    match made.front() {
        None => Ok(floor.events.len()),
        more => Err(format!("seed {seed}: {} was not made", show(more))),
    }
}

#[test]
fn what_was_made_while_it_was_recorded_is_made_again_byte_by_byte() {
    let mut made = 0;
    let mut failed = Vec::new();
    for seed in 0..HISTORIES {
        match play(seed) {
            Ok(events) => made += events,
            Err(what) => failed.push(what),
        }
    }
    let some = failed.iter().take(6).cloned().collect::<Vec<_>>().join("\n");
    assert!(
        failed.is_empty(),
        "{} of {HISTORIES} failed: {some}",
        failed.len()
    );
    assert!(made > 4_000, "only {made} events");
}

/// Does something to a recording that no recorder does.
fn spoil(entries: &mut Vec<Entry>, random: &mut Rng) {
    let place = random.usize(..entries.len());
    let other = random.usize(..entries.len());
    match random.u8(..5) {
        0 => drop(entries.remove(place)),
        1 => entries.insert(place, entries[other].clone()),
        2 => entries.swap(place, other),
        3 => entries.insert(place, Entry::Hole([1, u64::MAX][random.usize(..2)])),
        _ => {}
    }
    let place = random.usize(..entries.len());
    match &mut entries[place] {
        Entry::Cell(_, text) => {
            let at = random.usize(..=text.len());
            if text.is_char_boundary(at) {
                text.insert_str(
                    at,
                    ["9", "-", "1e99", "null", "[", "18446744073709551615"][random.usize(..6)],
                );
            }
        }
        Entry::Begin { now, .. } | Entry::Call(Call::Advance { now }) => *now = any_time(random),
        Entry::Call(
            Call::Apply {
                now,
                samples,
                received,
                ..
            }
            | Call::Answer {
                now,
                samples,
                received,
                ..
            },
        ) => {
            *now = any_time(random);
            *received = any_time(random).wall;
            for sample in samples {
                sample.tag = [sample.tag, TagId(u32::MAX), TagId(3)][random.usize(..3)];
                sample.source_time = Some(any_time(random).wall);
            }
        }
        _ => {}
    }
}

fn any_time(random: &mut Rng) -> Now {
    Now {
        wall: Timestamp::from_nanos([i64::MIN, -1, 0, 1_786_975_512 * SECOND, i64::MAX][random.usize(..5)]),
        monotonic: Duration::from_nanos([0, 1, 1 << 40, u64::MAX / 2][random.usize(..4)]),
    }
}

#[test]
fn whatever_a_recording_holds_it_is_played_to_its_end() {
    for seed in 0..HISTORIES {
        let mut random = Rng::with_seed(seed);
        let floor = history(&mut random);
        let mut entries = floor.recorded;
        for _ in 0..=random.usize(..4) {
            spoil(&mut entries, &mut random);
        }
        let bytes = file(&entries, &mut random);
        let mut recording = Recording::open(&bytes[..]).expect("a recording");
        let mut made = 0;
        let played = simulate(&mut recording, &floor.plan, |_| {
            made += 1;
            made < 100_000
        });
        drop(played);
        assert!(made < 100_000, "seed {seed}: its events have no end");
    }
}

#[test]
fn a_rule_that_was_not_recorded_gets_what_was_last_known_for_its_snapshot() {
    let mut made_up = 0;
    for seed in 0..100 {
        let mut random = Rng::with_seed(seed);
        let floor = history(&mut random);
        let mut plan = (*floor.plan).clone();
        for rule in plan.rules.iter_mut().filter(|rule| rule.spec.snapshot.is_some()) {
            rule.id = format!("{}.new", rule.id).into();
        }
        let bytes = file(&floor.recorded, &mut random);
        let mut recording = Recording::open(&bytes[..]).expect("a recording");
        let report = simulate(&mut recording, &Arc::new(plan), |_| true).expect("it can be read");
        made_up += report.made_up_answers;
    }
    assert!(made_up > 0);
}
