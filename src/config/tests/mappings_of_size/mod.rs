//! Mappings of any size, for the tests of what is found in them and the benchmark of how long that takes.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

const SETTINGS: &str = "gateway: g\nmappings: [line.yaml]\nkafka: {brokers: [\"a:1\"], security: {protocol: plaintext}}\n\
                        sources: {plc: {adapter: opcua, endpoint: \"opc.tcp://a:1\"}}\n";

/// A folder with settings and one mapping, which goes away with this.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str, mapping: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("floorgate-large-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("floorgate.yaml"), SETTINGS).expect("a file");
        fs::write(folder.join("line.yaml"), mapping).expect("a file");
        Self(folder)
    }

    pub fn settings(&self) -> PathBuf {
        self.0.join("floorgate.yaml")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is the system's to tidy up.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A mapping of so many tags, a line each, with what its events are.
fn each(tags: usize, tag: impl Fn(usize) -> String, event: impl Fn(usize) -> String) -> String {
    let mut text = String::from("mapping: m\nsource: plc\nequipment: a/b/line\ntags:\n");
    for number in 0..tags {
        let _ = writeln!(text, "  t{number}: {{{}}}", tag(number));
    }
    text.push_str("events:\n");
    for number in 0..tags {
        let _ = writeln!(text, "  - {{{}}}", event(number));
    }
    text
}

fn node(number: usize) -> String {
    format!("node: \"ns=2;s=Line.T{number}\", deadband: 0.5, at_least_every: 10s")
}

/// Each tag and its event written out.
pub fn written_out(tags: usize) -> String {
    each(tags, node, |number| {
        format!("type: MeasurementRecorded, trigger: t{number}")
    })
}

/// A guard for each event.
pub fn guarded(tags: usize) -> String {
    each(tags, node, |number| {
        format!("type: MeasurementRecorded, trigger: t{number}, when: \"t{number} > 1.0\"")
    })
}

/// A last tag that says of all the others whether they hold.
pub fn gated(tags: usize) -> String {
    let last = tags - 1;
    let tag = |number| match number {
        number if number == last => node(number),
        number => format!("{}, valid: t{last}", node(number)),
    };
    each(tags, tag, |number| {
        format!("type: MeasurementRecorded, trigger: t{number}")
    })
}

/// Two mistakes for each tag.
pub fn mistaken(tags: usize) -> String {
    each(
        tags,
        |number| format!("node: \"ns=2;s=Line.T{number}\", deadbnd: 0.5"),
        |number| format!("type: MeasurementRecorded, trigger: x{number}"),
    )
}

/// Ten tags for each of so many lines; `event` is what the events have besides.
pub fn of_template(lines: usize, event: &str) -> String {
    let mut mapping = format!(
        "mapping: m\nfor_each: {{line: 1..{lines}}}\nsource: plc\nequipment: a/b/line{{line}}\ntags:\n"
    );
    let mut events = String::from("events:\n");
    for tag in 0..10 {
        let _ = writeln!(
            mapping,
            "  t{tag}: {{node: \"ns=2;s=L{{line}}.T{tag}\", deadband: 0.5}}"
        );
        let _ = writeln!(
            events,
            "  - {{type: MeasurementRecorded, trigger: t{tag}{event}}}"
        );
    }
    mapping + &events
}
