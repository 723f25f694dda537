//! What devices call things is no name that a mapping takes.

use floorgate_adapter_api::{Point, PointKind, Role, Survey};

use crate::device::{check, point};
use crate::options;

/// Names as no one should choose them.
const NAMES: &[&str] = &[
    "",
    " ",
    "-",
    "..",
    "1..40",
    "{line}",
    "{{",
    "}",
    "true",
    "in",
    "null",
    "~",
    "a: b",
    "# no",
    "\"q\"",
    "'",
    "\\",
    "\\U0001",
    "é",
    "温度",
    "Größe (mm)",
    "\u{1F600}",
    "\u{202E}abc",
    "\u{0}",
    "a\nb",
    "\r\n",
    "\t",
    "\u{FEFF}x",
    "%",
    "*x",
    "&x",
    "!x",
    "|",
    ">",
    "@",
    "`",
    "[1]",
    "- x",
    "---",
    "...",
    "? x",
    "0x10",
    "1e5",
    "NO",
    "x{y}z",
    "a.b/c",
    "\"DB_1\".\"a;b=c\"",
    "order",
    "status",
    "good",
    "equipmentPath",
    "timestamps",
    "\u{85}",
    "\u{2028}",
    "\u{FFFD}",
    "__",
    "a/b",
    "A/B",
];

/// A number that looks like any other; the same in each run.
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 33).unwrap()
}

fn any(state: &mut u64) -> &'static str {
    NAMES[next(state) % NAMES.len()]
}

fn points(state: &mut u64) -> Vec<Point> {
    let kinds = [
        PointKind::Bit,
        PointKind::Whole,
        PointKind::Float,
        PointKind::Text,
        PointKind::Other,
    ];
    let count = 1 + next(state) % 20;
    (0..count)
        .map(|_| {
            let names: Vec<&str> = (0..=next(state) % 3).map(|_| any(state)).collect();
            let kind = kinds[next(state) % kinds.len()];
            let mut point = point(&names, "", kind);
            if next(state).is_multiple_of(3) {
                let states = (0..next(state) % 4)
                    .map(|number| (i64::try_from(number % 3).unwrap() - 1, any(state).to_owned()));
                point.states = states.collect();
            }
            if next(state).is_multiple_of(2) {
                point.unit =
                    Some(["CEL", "NO", "2N", "°C", "", "23", "E10", "1E1"][next(state) % 8].to_owned());
                let ends = [0.0, -1.5, 1e300, 1e-9, f64::NAN, f64::INFINITY, 100.0];
                point.range = Some((ends[next(state) % 7], ends[next(state) % 7]));
            }
            point.description = Some(any(state).to_owned());
            point.value = Some(any(state).to_owned());
            point
        })
        .collect()
}

#[test]
fn any_name_becomes_a_mapping_without_a_mistake() {
    let mut state = 0x2545_F491_4F6C_DD1D;
    for round in 0..400 {
        let structure = points(&mut state);
        let mut all = points(&mut state);
        // Of some kinds there are several.
        for _ in 0..next(&mut state) % 5 {
            let above = [any(&mut state), any(&mut state)];
            for point in &structure {
                let names = above.iter().map(|name| (*name).to_owned());
                let path = names.chain(point.path.iter().cloned()).collect();
                all.push(Point {
                    path,
                    ..point.clone()
                });
            }
        }
        let is_numbered = next(&mut state).is_multiple_of(2);
        for (number, point) in all.iter_mut().enumerate() {
            let own = if is_numbered {
                number.to_string()
            } else {
                point.path.join(".")
            };
            let text = format!("nsu=urn:{};s={own}{}", any(&mut state), any(&mut state));
            point.address[0].1 = floorgate_adapter_api::Scalar::Text(text);
            if point.kind == PointKind::Whole && next(&mut state).is_multiple_of(4) {
                let (event, field, values) = [
                    ("EquipmentStateChanged", "state", Some("packml-state")),
                    ("EquipmentModeChanged", "mode", Some("machinery-operation-mode")),
                    ("WorkOrderStatusChanged", "status", Some("isa95-job-state")),
                    ("WorkOrderStatusChanged", "order", None),
                    ("ProductionCountRecorded", "good", None),
                    ("EquipmentStateChanged", "stopReason", None),
                    ("EquipmentStateChanged", "blocked", None),
                ][next(&mut state) % 7];
                point.role = Some(Role { event, field, values });
            }
        }
        let survey = Survey {
            missed: vec![any(&mut state).to_owned()],
            settings: vec![(
                "endpoint".to_owned(),
                floorgate_adapter_api::Scalar::Text(any(&mut state).to_owned()),
            )],
            points: all,
            is_partial: round % 2 == 0,
        };
        check(&survey, &options());
    }
}

#[test]
fn ten_thousand_points_are_one_template_or_one_list() {
    let mut points = Vec::new();
    for machine in 0..500 {
        for number in 0..20 {
            let path = [
                "Hall".to_owned(),
                format!("Machine{machine:03}"),
                format!("Value{number}"),
            ];
            let names: Vec<&str> = path.iter().map(String::as_str).collect();
            points.push(point(&names, &path.join("."), PointKind::Float));
        }
    }
    let drafts = check(
        &Survey {
            points,
            ..Survey::default()
        },
        &options(),
    );
    assert_eq!((drafts.len(), drafts[0].instances, drafts[0].tags), (1, 500, 20));

    let points = (0..10_000).map(|number| {
        let names = [format!("Folder{}", number % 100), format!("Value{number}")];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        point(&names, &number.to_string(), PointKind::Whole)
    });
    let survey = Survey {
        points: points.collect(),
        ..Survey::default()
    };
    let drafts = check(&survey, &options());
    assert_eq!((drafts.len(), drafts[0].tags), (1, 10_000));
}
