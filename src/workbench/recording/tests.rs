//! What is packed comes out as it went in, and nothing that a file may hold does harm.

use std::sync::Arc;
use std::time::Duration;

use floorgate_core::Now;
use floorgate_core::plan::Priority;
use floorgate_sample::{
    Continuity, GapScope, Notice, Quality, Reason, RequestId, Sample, SourceId, TagId, Timestamp, Value,
};

use super::{Call, Entry, Error, Header, NamedTag, Names, Packer, Recording, beginning};

fn now(random: &mut fastrand::Rng) -> Now {
    Now {
        wall: Timestamp::from_nanos(random.i64(..)),
        monotonic: Duration::from_nanos(random.u64(..u64::MAX / 2)),
    }
}

fn value(random: &mut fastrand::Rng, depth: u8) -> Value {
    match random.u8(..if depth < 3 { 9 } else { 8 }) {
        0 => Value::Bool(random.bool()),
        1 => Value::Int(random.i64(..) >> random.u8(..64)),
        2 => Value::UInt(random.u64(..) >> random.u8(..64)),
        3 => Value::Float32(f32::from_bits(random.u32(..) & 0x7f7f_ffff)),
        4 => Value::Float64(f64::from_bits(random.u64(..) & 0x7fef_ffff_ffff_ffff)),
        5 if random.bool() => {
            Value::Float64(f64::from(random.i32(..)) / [1.0, 10.0, 100.0, 1000.0, 3.0][random.usize(..5)])
        }
        5 => Value::text("grün".repeat(random.usize(..3))),
        6 => Value::Bytes((0..random.u8(..9)).collect()),
        7 => Value::Time(Timestamp::from_nanos(random.i64(..))),
        8 if random.bool() => {
            let part = |part: u8| (format!("P{part}").into(), value(random, depth + 1));
            Value::Record((0..3).map(part).collect())
        }
        _ => Value::List((0..random.u8(..4)).map(|_| value(random, depth + 1)).collect()),
    }
}

fn time(random: &mut fastrand::Rng) -> Option<Timestamp> {
    random.bool().then(|| {
        let nanos = match random.u8(..3) {
            0 => random.i64(..),
            1 => random.i64(0..1 << 40) * 100,
            _ => 1_786_975_512_301_250_500,
        };
        Timestamp::from_nanos(nanos)
    })
}

fn samples(random: &mut fastrand::Rng) -> Vec<Sample> {
    let one = |random: &mut fastrand::Rng| {
        let source_time = time(random);
        Sample {
            tag: TagId(if random.bool() {
                random.u32(..5)
            } else {
                random.u32(..100_000)
            }),
            value: random.bool().then(|| value(random, 0)),
            quality: Quality(if random.bool() { 0 } else { random.u32(..) }),
            source_time,
            server_time: if random.bool() { source_time } else { time(random) },
            gap: random.u8(..9) == 0,
        }
    };
    (0..random.u8(..6)).map(|_| one(random)).collect()
}

fn notices(random: &mut fastrand::Rng) -> Vec<Notice> {
    let all = [
        Notice::Online(Continuity::New),
        Notice::Online(Continuity::Resumed),
        Notice::CaughtUp,
        Notice::Offline {
            reason: "verbindung weg".into(),
        },
        Notice::Stale { reason: "".into() },
        Notice::Offline {
            reason: Reason::new("keine Antwort", "pump-silent"),
        },
        Notice::Stale {
            reason: Reason::new("", "pump-late"),
        },
        Notice::Gap {
            scope: GapScope::Source,
            reason: "a".into(),
        },
        Notice::Gap {
            scope: GapScope::Tags(vec![TagId(7), TagId(0)]),
            reason: "b".into(),
        },
        Notice::Gap {
            scope: GapScope::Tags(vec![TagId(3)]),
            reason: Reason::new("c", "pump-missed"),
        },
    ];
    (0..random.u8(..3))
        .map(|_| all[random.usize(..all.len())].clone())
        .collect()
}

fn entry(random: &mut fastrand::Rng) -> Entry {
    let received = Timestamp::from_nanos(random.i64(..));
    match random.u8(..12) {
        0 if random.bool() => Entry::Standing(samples(random)),
        0 => Entry::Hole(random.u64(..)),
        1 => Entry::Cell("tag:a".into(), "{\"v\":{\"i\":1}}".to_owned()),
        2 => Entry::Names(Names {
            sources: vec!["plc".into()],
            tags: vec![NamedTag {
                key: "m/1/state".into(),
                source: 0,
                address: random.u64(..),
            }],
            rules: vec![("m.1.EquipmentStateChanged.state".into(), vec![0])],
        }),
        3 if random.bool() => Entry::Begin {
            now: now(random),
            connected: vec![(SourceId(0), true), (SourceId(random.u16(..)), false)],
        },
        3 => Entry::Call(Call::Advance { now: now(random) }),
        4 => Entry::Call(Call::LeaveOutBelow {
            least: [
                None,
                Some(Priority::Low),
                Some(Priority::Normal),
                Some(Priority::High),
            ][random.usize(..4)],
        }),
        5 | 6 => Entry::Call(Call::Answer {
            source: SourceId(random.u16(..)),
            now: now(random),
            received,
            request: RequestId(random.u64(..)),
            rule: random.bool().then(|| Arc::from("m.1.PartQualityResult.done")),
            result: if random.bool() {
                Ok(())
            } else {
                Err("busy".to_owned())
            },
            samples: samples(random),
        }),
        _ => Entry::Call(Call::Apply {
            source: SourceId(random.u16(..)),
            now: now(random),
            received,
            notices: notices(random),
            samples: samples(random),
        }),
    }
}

/// A recording of random entries in several blocks, and what was put into it.
fn recorded(seed: u64) -> (Vec<u8>, Vec<Entry>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = beginning(&Header {
        gateway: "busan-1".to_owned(),
        ..Header::default()
    });
    let mut packer = Packer::default();
    let mut all = Vec::new();
    for _ in 0..random.u8(1..4) {
        for _ in 0..random.u8(1..40) {
            let entry = entry(&mut random);
            packer.add(&entry);
            all.push(entry);
        }
        bytes.extend(packer.block().expect("something was added"));
    }
    assert_eq!(packer.block(), None);
    (bytes, all)
}

fn read(bytes: &[u8]) -> Result<(Vec<Entry>, bool), Error> {
    let mut recording = Recording::open(bytes)?;
    let mut all = Vec::new();
    while let Some(entries) = recording.next_block()? {
        all.extend(entries);
    }
    Ok((all, recording.is_cut()))
}

#[test]
fn what_is_packed_comes_out_as_it_went_in() {
    for seed in 0..300 {
        let (bytes, all) = recorded(seed);
        assert_eq!(
            Recording::open(&*bytes).expect("a recording").header.gateway,
            "busan-1"
        );
        assert_eq!(read(&bytes).expect("a recording"), (all, false), "seed {seed}");
    }
}

/// Recordings are older than the paragraph's name.
#[test]
fn a_reason_without_a_paragraph_is_read_as_ever() {
    use super::columns::{kind, notice, put_text};
    let calls = [
        kind::APPLY,
        0,
        3,
        notice::OFFLINE,
        notice::STALE,
        notice::GAP_TAGS,
        1,
        7,
        0,
    ];
    let texts = b"\x04gone\x05quiet\x04full";
    let mut content = Vec::new();
    for column in [&calls[..], &texts[..], &[0; 3], &[], &[], &[], &[]] {
        put_text(&mut content, column);
    }
    let mut bytes = beginning(&Header::default());
    bytes.extend(super::frame(&content));
    let (entries, _) = read(&bytes).expect("a recording");
    let [Entry::Call(Call::Apply { notices, .. })] = &entries[..] else {
        panic!("{entries:?}");
    };
    let told = [
        Notice::Offline {
            reason: "gone".into(),
        },
        Notice::Stale {
            reason: "quiet".into(),
        },
        Notice::Gap {
            scope: GapScope::Tags(vec![TagId(7)]),
            reason: "full".into(),
        },
    ];
    assert_eq!(notices[..], told);
}

#[test]
fn a_file_that_ends_early_is_whole_up_to_there_and_a_wrong_byte_is_found() {
    let (bytes, all) = recorded(7);
    let header = beginning(&Header {
        gateway: "busan-1".to_owned(),
        ..Header::default()
    });
    for end in header.len()..bytes.len() {
        let (part, is_cut) = read(&bytes[..end]).expect("whole up to there");
        assert_eq!(part[..], all[..part.len()], "{end}");
        assert!(is_cut || part.len() < all.len() || end == bytes.len());
    }
    for place in header.len()..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[place] ^= 0x10;
        match read(&wrong) {
            Err(Error::Damaged { .. }) => {}
            Ok((part, true)) => assert_eq!(part[..], all[..part.len()]),
            other => panic!("byte {place}: {other:?}"),
        }
    }
    assert!(matches!(read(b"gateway: g\n"), Err(Error::NoRecording)));
    assert!(matches!(
        read(b"floorgate recording 2\n....."),
        Err(Error::NoRecording)
    ));
}

/// Blocks with a right sum and random content.
#[test]
fn hostile_content_is_refused_and_costs_little() {
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..20_000 {
        let mut content: Vec<u8> = Vec::new();
        for _ in 0..7 {
            let length = random.usize(..40);
            super::columns::put_text(
                &mut content,
                &(0..length).map(|_| random.u8(..)).collect::<Vec<_>>(),
            );
        }
        if round % 2 == 0 {
            content = (0..random.usize(..200)).map(|_| random.u8(..)).collect();
        }
        if let Ok(entries) = super::unpack::entries(&content, super::LARGEST_ENTRIES) {
            assert!(entries.len() <= content.len());
        }
    }
}

/// A small file may say of itself that it holds millions of things.
#[test]
fn what_a_block_holds_has_a_bound_whatever_it_is_packed_from() {
    use super::columns::{form, kind, put, put_text};
    const MANY: usize = 12_000_000;
    let apply = |notices: usize, samples: usize| {
        let mut calls = vec![kind::APPLY, 0];
        put(&mut calls, notices as u64);
        calls.resize(calls.len() + notices, super::columns::notice::CAUGHT_UP);
        put(&mut calls, samples as u64);
        calls
    };
    let none = Vec::new;
    let mut list = Vec::new();
    put(&mut list, MANY as u64);
    list.resize(list.len() + MANY, form::TRUE);
    for (what, calls, times, samples, values) in [
        (
            "times",
            vec![kind::ADVANCE; MANY],
            vec![0; 2 * MANY],
            none(),
            none(),
        ),
        ("notices", apply(MANY, 0), vec![0; 3], none(), none()),
        ("samples", apply(0, MANY), vec![0; 3], vec![0; MANY], none()),
        ("values", apply(0, 1), vec![0; 3], vec![form::LIST], list),
    ] {
        let mut content = Vec::new();
        let tags = vec![0; samples.len()];
        for column in [calls, none(), times, tags, samples, values, none()] {
            put_text(&mut content, &column);
        }
        let mut bytes = beginning(&Header::default());
        bytes.extend(super::frame(&content));
        assert!(bytes.len() < 200_000, "{what}: {} bytes", bytes.len());
        let error = read(&bytes).expect_err(what).to_string();
        assert!(
            error.ends_with("more than a recorder writes in one block"),
            "{what}: {error}"
        );
    }
    let mut bytes = beginning(&Header::default());
    let longest = usize::try_from(super::LARGEST_CONTENT).expect("it fits");
    bytes.extend(super::frame(&vec![0; longest + 1]));
    let error = read(&bytes).expect_err("too long").to_string();
    assert!(error.ends_with("too long when it is unpacked"), "{error}");
}
