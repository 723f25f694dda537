//! Files of tests that somebody has damaged: whatever is wrong is told where it stands and what to do, and nothing ends the program.

#[path = "../../../config/tests/adapters/mod.rs"]
mod adapters;

use std::fs;
use std::path::Path;

use adapters::{Modbus, OpcUa};
use floorgate_workbench::cases::{self, Coverage, Options};

/// A mapping with all that steps can reach, and a test of it.
const MAPPING: &str = "mapping: m
for_each: {line: 1..2}
source: plc
equipment: a/b/line{line}
tags:
  state: {node: 's={line}.state', values: packml-state}
  done: {node: 's={line}.done'}
  part: {node: 's={line}.part'}
  good: {node: 's={line}.good', counter: {width: 16}}
  temp: {node: 's={line}.temp', deadband: 0.5, at_least_every: 10s}
events:
  - {type: EquipmentStateChanged, trigger: state, when: good < 100}
  - {type: CycleCompleted, trigger: done, snapshot: [part], data: {cycleNo: good, partId: part}}
  - {type: ProductionCountRecorded, trigger: good}
  - {type: MeasurementRecorded, trigger: temp}
";
const TESTS: &str = "mapping: m.yaml
tests:
  - name: all
    events: [EquipmentStateChanged, CycleCompleted, ProductionCountRecorded, MeasurementRecorded]
    steps:
      - {at: 1s, plc: {1/state: 6, 1/done: false, 1/good: 10, 1/temp: 20.0}}
      - {at: 2s, plc: [{1/state: 4}, {1/state: {value: 6, time: 1500ms, quality: uncertain, gap: true}}]}
      - {at: 3s, plc: {1/done: true}, read: {plc: [{1/part: P-1}]}}
      - {at: 4s, offline: plc}
      - {at: 5s, resumed: plc, plc: {1/good: 12}}
      - {at: 6s, restart: {after: 10s, sources: new}}
      - {at: 17s, gap: {plc: [1/good]}, outbox: filling}
      - {at: 60s, outbox: has room}
    expect:
      - {at: 1s, type: EquipmentStateChanged, initial: true, data: {state: Execute}}
      - {type: CycleCompleted, quality: good, data: {partId: P-1, missing: null}}
";

/// Pieces that change what a line means.
const PIECES: [&str; 22] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ", ",
    "- ",
    "\n",
    "  ",
    "\"",
    "null",
    "1",
    "-1",
    "365d",
    "0x80000000",
    "~",
    "&a ",
    "*a",
    "99999999999999999999",
    "plc",
    "none",
    "é",
];

fn run(path: &Path) -> cases::Suite {
    let options = Options {
        settings: None,
        adapters: &[&OpcUa, &Modbus],
        filter: None,
        coverage: true,
    };
    cases::run(path, &options, &mut Coverage::default())
}

#[test]
fn whatever_is_written_in_a_test_is_answered() {
    let folder = std::env::temp_dir().join(format!("floorgate-hostile-tests-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("m.yaml"), MAPPING).expect("a file");
    let path = folder.join("m.test.yaml");
    let (mut right, mut wrong) = (0, 0);
    for seed in 0..1_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut text: Vec<char> = TESTS.chars().collect();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..text.len());
            let until = (at + random.usize(..6)).min(text.len());
            let piece = random.choice(PIECES).unwrap_or_default();
            let piece = if random.bool() { piece } else { "" };
            text.splice(at..until, piece.chars());
        }
        let text: String = text.into_iter().collect();
        fs::write(&path, &text).expect("a file");
        let suite = run(&path);
        for problem in suite.problems.list() {
            assert!(
                problem.hint.is_some(),
                "seed {seed}: {} has no hint:\n{text}",
                problem.message
            );
        }
        if suite.problems.has_errors() {
            wrong += 1;
        } else {
            right += 1;
        }
    }
    fs::remove_dir_all(&folder).expect("the folder of the test");
    assert!(right > 50 && wrong > 300, "{right} right, {wrong} wrong");
}
