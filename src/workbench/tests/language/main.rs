//! The cases of the mapping language: every folder of `../mappings/` is a mapping, what happens to its tags, and the events that come of it. `../mappings/README.md`
//! says how a case is written; no Rust is needed for one.
//!
//! Each case runs twice, the second time with a restart after every step in which nothing was missed: the events must be
//! the same. `FLOORGATE_WRITE_EXPECTED=1` writes the expectations anew; read the difference before it is committed.

#[path = "../../../config/tests/adapters/mod.rs"]
mod adapters;
mod input;
mod line;
mod parts;
mod schema;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use floorgate_config::{Loaded, load_with};
use floorgate_workbench::cases::{self, Player, Step, Subject, Told, line_difference};
use floorgate_yaml::{Node, Problems};
use serde_json::{Value as Json, json};

use adapters::{Modbus, OpcUa};
use input::Input;
use line::Printer;

#[test]
fn every_mapping_makes_the_events_that_are_expected() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mappings");
    let scratch = std::env::temp_dir().join(format!("floorgate-mappings-{}", std::process::id()));
    let mut cases: Vec<PathBuf> = fs::read_dir(here)
        .expect("the folder of cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    let mut wrong = String::new();
    for case in &cases {
        let name = case
            .file_name()
            .expect("a folder's name")
            .to_string_lossy()
            .into_owned();
        let folder = scratch.join(&name);
        fs::create_dir_all(&folder).expect("a writable folder");
        if let Err(reason) = outcome(case, &folder).and_then(|outcome| compare(case, &outcome)) {
            let _ = write!(wrong, "--- {name}\n{}\n\n", reason.trim_end());
        }
    }
    fs::remove_dir_all(&scratch).expect("the folder of the test");
    assert!(!cases.is_empty());
    assert!(
        wrong.is_empty(),
        "not as expected (`-` is expected, `+` came out):\n\n{wrong}"
    );
}

/// All YAML files below a folder, relative to it.
fn yaml_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(yaml_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_example_is_tested_and_binds_its_schema() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let inputs: String = yaml_below(&here.join("tests/mappings"))
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect();
    let mappings = here.join("../../mappings");
    let readme = fs::read_to_string(mappings.join("README.md")).expect("the page of the language");
    let mut examples = yaml_below(&mappings.join("examples"));
    // Tests that lie beside an example are run as an engineer runs them.
    examples.retain(|path| !path.to_string_lossy().ends_with(cases::ENDING));
    assert!(examples.len() > 20);
    let included: HashSet<PathBuf> = examples
        .iter()
        .flat_map(|path| parts::included(path, &fs::read_to_string(path).expect("an example")))
        .collect();
    for example in examples {
        let name = example
            .strip_prefix(&mappings)
            .expect("a path below it")
            .display()
            .to_string();
        let is_tested = inputs.contains(&format!("mappings/{name}")) || included.contains(&example);
        assert!(is_tested, "no case tests {name}");
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        let shown = [&name, folder]
            .iter()
            .any(|path| readme.contains(&format!("({path})")));
        assert!(shown, "the page of the language does not show {name}");
        let up = "../".repeat(name.matches('/').count());
        let first = format!("# yaml-language-server: $schema={up}mapping.schema.json\n");
        let text = fs::read_to_string(&example).expect("the example");
        assert!(text.starts_with(&first), "{name} does not begin with {first:?}");
    }
}

#[test]
fn every_table_of_the_standards_has_a_case_and_is_in_the_page_of_the_language() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &PathBuf| fs::read_to_string(path).expect("a file");
    let mut mappings = yaml_below(&here.join("tests/mappings"));
    mappings.extend(yaml_below(&here.join("../../mappings/examples")));
    let mappings: String = mappings.iter().map(read).collect();
    let readme = read(&here.join("../../mappings/README.md"));
    for table in floorgate_core::table::ValueTable::STANDARD {
        let uses = |end: &str| mappings.contains(&format!("values: {table}{end}"));
        assert!([",", "}", "\n"].into_iter().any(uses), "no case has {table}");
        assert!(
            readme.contains(&format!("| `{table}` |")),
            "the page of the language has no row of {table}"
        );
    }
}

#[test]
fn a_hall_of_forty_machines_is_few_lines() {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mappings/example-template");
    let input = Input {
        mappings: vec!["../../../../../mappings/examples/template.yaml".to_owned()],
        ..Input::default()
    };
    let text = fs::read_to_string(case.join(&input.mappings[0])).expect("the example");
    assert!(text.lines().count() <= 60, "{} lines", text.lines().count());
    let folder = std::env::temp_dir().join(format!("floorgate-hall-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a writable folder");
    let loaded = load(&case, &folder, &input);
    fs::remove_dir_all(&folder).expect("the folder of the test");
    let (loaded, report) = loaded.expect("a case");
    let plan = loaded.unwrap_or_else(|| panic!("{report}")).plan;
    // Twelve tags and nine rules each.
    let sizes = (plan.equipment.len(), plan.tags.len(), plan.rules.len());
    assert_eq!(sizes, (40, 480, 360));
}

/// Compares with what is expected, or writes that anew.
fn compare(case: &Path, outcome: &str) -> Result<(), String> {
    let path = case.join("expected.txt");
    if std::env::var_os("FLOORGATE_WRITE_EXPECTED").is_some() {
        fs::write(&path, outcome).expect("a writable folder");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    if expected == outcome {
        Ok(())
    } else {
        Err(line_difference(&expected, outcome))
    }
}

/// What a case comes to: the report on its mapping, and the events. An error is something wrong with the case itself, or
/// something that holds for every case and not for this one.
fn outcome(case: &Path, folder: &Path) -> Result<String, String> {
    let mut problems = Problems::default();
    let input = read_input(&case.join("input.yaml"), &mut problems)?;
    let header = input
        .as_ref()
        .map(|node| Input::read(node, &mut problems))
        .unwrap_or_default();
    complain(&problems)?;

    let (loaded, report) = load(case, folder, &header)?;
    let Some(loaded) = loaded else {
        return Ok(report);
    };
    let Some(input) = input else {
        return if report.is_empty() {
            Err("nothing is wrong with the mapping: say in `input.yaml` what happens".to_owned())
        } else {
            Ok(report)
        };
    };
    let subject = Subject::of(&loaded);
    let steps = cases::steps(&input, &subject, &mut problems);
    complain(&problems)?;

    let (told, begun) = play(&subject, &steps, false)?;
    line::check(&loaded.plan, &told)?;
    let lines = printed(&loaded, &told[begun..])?;
    let (restarted, _) = play(&subject, &steps, true)?;
    line::check(&loaded.plan, &restarted)
        .map_err(|reason| format!("with a restart after every step:\n{reason}"))?;
    compare_restarted(
        &header,
        &of_equipment(&loaded, &told)?,
        &of_equipment(&loaded, &restarted)?,
    )?;
    let separator = if report.is_empty() { "" } else { "\n" };
    Ok(format!("{report}{separator}{lines}"))
}

fn compare_restarted(header: &Input, whole: &str, restarted: &str) -> Result<(), String> {
    match (&header.not_restartable, whole == restarted) {
        (None, true) | (Some(_), false) => Ok(()),
        (None, false) => Err(format!(
            "with a restart after every step, in which nothing was missed, other events come out:\n{}",
            line_difference(whole, restarted)
        )),
        (Some(reason), true) => Err(format!(
            "`restartable: false` ({reason}) and yet the events are the same with a restart after every step: remove it"
        )),
    }
}

fn complain(problems: &Problems) -> Result<(), String> {
    if problems.has_errors() {
        Err(problems.render(false))
    } else {
        Ok(())
    }
}

fn read_input(path: &Path, problems: &mut Problems) -> Result<Option<Node>, String> {
    let Ok(text) = fs::read_to_string(path) else {
        return Ok(None);
    };
    let file = problems.add_file(Path::new("input.yaml"), text.clone());
    let node = floorgate_yaml::parse(file, &text, problems);
    complain(problems)?;
    Ok(node)
}

/// Loads the case's mappings beside settings that are made for them. The report names files relative to the case.
fn load(case: &Path, folder: &Path, header: &Input) -> Result<(Option<Loaded>, String), String> {
    let mut names = Vec::new();
    let mut texts = String::new();
    for mapping in &header.mappings {
        let path = case.join(mapping);
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        fs::write(folder.join(&name), &text).expect("a writable folder");
        names.push(name);
        texts.push_str(&parts::copied(&path, &text, folder)?);
        texts.push_str(&text);
    }
    let settings = json!({
        "gateway": "test",
        "mappings": names,
        "sources": header.sources.clone().unwrap_or_else(|| sources_of(&texts)),
        "kafka": {
            "brokers": ["kafka:9092"],
            "security": {"protocol": "plaintext"},
            "topics": {"overrides": header.topics},
        },
    });
    let path = folder.join("floorgate.yaml");
    fs::write(&path, format!("{settings:#}\n")).expect("a writable folder");
    let (loaded, problems) = load_with(&path, &[&OpcUa, &Modbus], BTreeMap::new());
    let report = problems
        .render(false)
        .replace(&format!("{}/", folder.display()), "");
    match problems.list().iter().find(|problem| problem.hint.is_none()) {
        Some(problem) => Err(format!("{:?} has no hint", problem.message)),
        None => Ok((loaded, report)),
    }
}

/// The sources that a case has without saying so: of `plc` and `io` those that its mappings name, since one without
/// tags would be a warning. Both where none is named.
fn sources_of(mappings: &str) -> Json {
    let all = [
        (
            "plc",
            json!({"adapter": "opcua", "endpoint": "opc.tcp://plc:4840"}),
        ),
        ("io", json!({"adapter": "modbus", "connect": "tcp://io:502"})),
    ];
    let words: HashSet<&str> = mappings
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
        .collect();
    let named: serde_json::Map<String, Json> = all
        .iter()
        .filter(|(name, _)| words.contains(name))
        .map(|(name, settings)| ((*name).to_owned(), settings.clone()))
        .collect();
    if named.is_empty() {
        all.into_iter()
            .map(|(name, settings)| (name.to_owned(), settings))
            .collect()
    } else {
        Json::Object(named)
    }
}

/// Everything that comes out, and how much of it came before the first step: that is the same in all cases.
fn play(subject: &Subject, steps: &[Step], restarting: bool) -> Result<(Vec<Told>, usize), String> {
    let mut gateway = Player::new(subject);
    gateway.begin(steps);
    let begun = gateway.told_so_far();
    for step in steps {
        gateway.take(step).map_err(|stuck| stuck.to_string())?;
        if restarting {
            gateway
                .restart_unnoticed(step)
                .map_err(|stuck| stuck.to_string())?;
        }
    }
    Ok((gateway.told(), begun))
}

fn printed(loaded: &Loaded, told: &[Told]) -> Result<String, String> {
    let mut printer = Printer::new(&loaded.plan);
    let mut lines = String::new();
    for told in told {
        lines.push_str(&printer.line(told)?);
        lines.push('\n');
    }
    Ok(lines)
}

/// What is printed of all but the sources' own events: of these, a restart may tell another time of the last good value.
fn of_equipment(loaded: &Loaded, told: &[Told]) -> Result<String, String> {
    let of_equipment: Vec<Told> = told
        .iter()
        .filter(|told| !told.is_of_a_source())
        .cloned()
        .collect();
    printed(loaded, &of_equipment)
}
