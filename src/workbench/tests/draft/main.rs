//! First mappings, read by the loader of the gateway: each is without a mistake, and each address comes back as the device has it.

mod device;
mod hostile;

use device::{check, point, whole};
use floorgate_adapter_api::{Point, PointKind, Role, Scalar, Survey};
use floorgate_workbench::draft::{DraftOptions, mappings, stream};

fn options() -> DraftOptions {
    DraftOptions {
        name: "plc".to_owned(),
        source: "plc".to_owned(),
        adapter: "device",
        equipment: "acme/busan/filling".to_owned(),
        schema: "mapping.schema.json".to_owned(),
        origin: "a test".to_owned(),
    }
}

/// What is below one line, its addresses beginning with this.
fn line(path: &[&str], address: &str) -> Vec<Point> {
    let at = |name: &str, kind| point(&[path, &[name]].concat(), &format!("{address}.{name}"), kind);
    let role = |event, field, values: &'static str| {
        Some(Role {
            event,
            field,
            values: Some(values).filter(|values| !values.is_empty()),
        })
    };
    vec![
        Point {
            role: role("EquipmentStateChanged", "state", "packml-state"),
            ..at("StateCurrent", PointKind::Whole)
        },
        Point {
            role: role("EquipmentModeChanged", "mode", "packml-mode"),
            ..at("UnitModeCurrent", PointKind::Whole)
        },
        Point {
            unit: Some("CEL".to_owned()),
            range: Some((0.0, 150.5)),
            description: Some("of the\nmotor".to_owned()),
            ..at("Temperature", PointKind::Float)
        },
        Point {
            states: vec![(0, "Closed".to_owned()), (1, "Open".to_owned())],
            ..at("Door", PointKind::Whole)
        },
        Point {
            role: role("EquipmentStateChanged", "blocked", ""),
            ..at("EquipmentBlocked", PointKind::Bit)
        },
        at("Running", PointKind::Bit),
        at("Recipe", PointKind::Text),
        at("Curve", PointKind::Other),
    ]
}

#[test]
fn lines_that_are_alike_are_one_template() {
    let mut points = vec![point(&["Plant", "Pressure"], "Pressure", PointKind::Float)];
    // As a device that sorts them by name lists them.
    for number in [1, 10, 11, 12, 2, 3, 4, 5, 6, 7, 8, 9] {
        points.extend(line(
            &["Plant", &format!("Line{number}")],
            &format!("Line{number}"),
        ));
    }
    let drafts = check(
        &Survey {
            points,
            ..Survey::default()
        },
        &options(),
    );
    assert_eq!(drafts.len(), 2);
    assert_eq!(
        (drafts[0].name.as_str(), drafts[0].instances, drafts[0].tags),
        ("plc", 0, 1)
    );
    assert_eq!(
        (drafts[1].name.as_str(), drafts[1].instances, drafts[1].tags),
        ("plc-line", 12, 6)
    );
    assert_eq!((drafts[1].events, drafts[1].standard), (5, 2));
    let text = &drafts[1].text;
    for expected in [
        "# yaml-language-server: $schema=mapping.schema.json\n",
        "\nfor_each: {line: 1..12}\n",
        "\nequipment: \"acme/busan/filling/Line{line}\"\n",
        "  state:       {node: \"nsu=urn:plant;s=Line{line}.StateCurrent\", values: packml-state}\n",
        "  temperature: {node: \"nsu=urn:plant;s=Line{line}.Temperature\", unit: CEL, range: [0, 150.5]}  # of the motor\n",
        "  door_values:\n    values:\n      0: Closed\n      1: Open\n",
        "  # recipe:",
        "  # curve:",
        "  - {type: EquipmentStateChanged, trigger: state, data: {blocked: blocked}}\n",
        "  - {type: EquipmentModeChanged, trigger: mode}\n",
        "  - {type: StateChanged, trigger: door, data: {name: {constant: door}, state: door}}\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
}

#[test]
fn a_state_is_told_of_one_machine() {
    let mut points = Vec::new();
    for number in 1..=3 {
        for machine in ["Filler", "Capper"] {
            let path = ["Plant", &format!("Line{number}"), machine];
            points.extend(line(&path, &format!("L{number}/{machine}")));
        }
        let path = ["Plant", &format!("Line{number}"), "Speed"];
        points.push(point(&path, &format!("L{number}/Speed"), PointKind::Float));
    }
    points.extend(line(&["Plant", "Palletizer"], "Pal"));
    points.push(point(
        &["Plant", "Palletizer", "Layer"],
        "Pal.Layer",
        PointKind::Whole,
    ));
    let drafts = check(
        &Survey {
            points,
            ..Survey::default()
        },
        &options(),
    );
    let all: Vec<_> = drafts
        .iter()
        .map(|draft| (draft.name.as_str(), draft.instances, draft.standard))
        .collect();
    assert_eq!(
        all,
        [("plc-unit", 6, 2), ("plc-line", 3, 0), ("plc-palletizer", 0, 2)],
        "{}",
        stream(&drafts)
    );
    let text = &drafts[0].text;
    assert!(
        text.contains("for_each: {unit: [\"1/Filler\", \"1/Capper\", \"2/Filler\","),
        "{text}"
    );
    assert!(
        text.contains("equipment: \"acme/busan/filling/Line{unit}\"\n"),
        "{text}"
    );
    assert!(
        drafts[2]
            .text
            .contains("\nequipment: acme/busan/filling/Palletizer\n")
    );
}

#[test]
fn numbers_without_a_pattern_are_a_parameter_of_each_tag() {
    let mut points = Vec::new();
    for (number, machine) in ["North", "South", "West"].into_iter().enumerate() {
        let number = i64::try_from(number).unwrap();
        points.push(whole(&[machine, "Speed"], 100 + number * 7));
        points.push(whole(&[machine, "Torque"], 205 + number * 11));
    }
    let drafts = check(
        &Survey {
            points,
            ..Survey::default()
        },
        &options(),
    );
    let text = &drafts[0].text;
    assert!(
        text.contains("  - {unit: North, speed: 100, torque: 205}\n"),
        "{text}"
    );
    assert!(text.contains("{holding: \"{speed}\"}"), "{text}");
}

#[test]
fn a_machine_that_speaks_in_words_has_the_names_of_the_standard() {
    let mut state = point(&["Filler", "CurrentState"], "State", PointKind::Text);
    state.role = Some(Role {
        event: "EquipmentStateChanged",
        field: "state",
        values: Some("packml-state"),
    });
    let survey = Survey {
        points: vec![state],
        ..Survey::default()
    };
    let text = &check(&survey, &options())[0].text;
    assert!(text.contains("    model: packml\n"), "{text}");
    assert!(
        text.contains("      Execute: {name: Execute, category: Executing}\n"),
        "{text}"
    );
    assert!(text.contains("values: state_values}"), "{text}");
}

#[test]
fn a_work_order_needs_its_number() {
    let role = |field| {
        Some(Role {
            event: "WorkOrderStatusChanged",
            field,
            values: (field == "status").then_some("isa95-job-state"),
        })
    };
    let mut status = point(&["Jobs", "Status"], "Status", PointKind::Whole);
    status.role = role("status");
    let mut order = point(&["Jobs", "JobOrderId"], "Order", PointKind::Text);
    order.role = role("order");
    let survey = |points: Vec<Point>| Survey {
        points,
        ..Survey::default()
    };
    let both = check(&survey(vec![status.clone(), order]), &options());
    assert!(
        both[0]
            .text
            .contains("- {type: WorkOrderStatusChanged, trigger: status, order: order}"),
        "{}",
        both[0].text
    );
    let alone = check(&survey(vec![status]), &options());
    assert_eq!(alone[0].standard, 0);
    assert!(
        alone[0]
            .text
            .contains("needs a tag with the order: none was found")
    );
}

#[test]
fn what_was_missed_and_how_to_connect_stand_at_the_top() {
    let survey = Survey {
        settings: vec![
            (
                "endpoint".to_owned(),
                Scalar::Text("opc.tcp://plc:4840".to_owned()),
            ),
            (
                "security".to_owned(),
                Scalar::Map(vec![("policy".to_owned(), Scalar::Text("none".to_owned()))]),
            ),
        ],
        points: Vec::new(),
        missed: (0..150)
            .map(|number| format!("Plant/{number}: BadUserAccessDenied"))
            .collect(),
        is_partial: true,
    };
    let drafts = check(&survey, &options());
    let text = &drafts[0].text;
    for expected in [
        "THE LOOK WAS ENDED BEFORE ALL WAS SEEN",
        "#   Plant/99: BadUserAccessDenied\n#   and 50 more",
        "#       endpoint: \"opc.tcp://plc:4840\"\n#       security: {policy: none}\n",
        "tags: {}",
        "events: []",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
}

#[test]
fn the_same_survey_gives_the_same_bytes() {
    let points: Vec<Point> = (0..50)
        .flat_map(|number| {
            line(
                &["Hall", &format!("M{}", number % 7), &number.to_string()],
                &number.to_string(),
            )
        })
        .collect();
    let survey = Survey {
        points,
        ..Survey::default()
    };
    assert_eq!(mappings(&survey, &options()), mappings(&survey, &options()));
}
