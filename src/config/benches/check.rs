//! How long configurations take to check that are large, wrong in every line, or made to do harm, as a table:
//! `CARGO_PROFILE_RELEASE_OPT_LEVEL=2 cargo bench -p floorgate-config`.
//!
//! A word after `--` chooses the lines of the table that have it in their names.
//!
//! Nothing is asserted of times, which are another machine's tomorrow. What the checks find is asserted by tests.

#[path = "../tests/adapters/mod.rs"]
mod adapters;
#[path = "../tests/mappings_of_size/mod.rs"]
mod mappings_of_size;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use adapters::{Modbus, OpcUa};
use floorgate_config::load_with;
use floorgate_yaml::{Problems, parse};
use mappings_of_size::{Folder, gated, guarded, mistaken, of_template, written_out};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs benchmarks too, without this.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let chosen = arguments
        .iter()
        .find(|argument| !argument.starts_with('-'))
        .map_or("", String::as_str);
    println!(
        "{:24} {:>9} {:>8} {:>8} {:>11} {:>11} {:>11}",
        "mapping", "KiB", "tags", "errors", "read ms", "check ms", "of it CPU"
    );
    // What differs between instances is made for each of them.
    let constants =
        ", when: \"t0 > 1.0 && t1 < 5.0\", data: {line: {constant: \"{line}\"}, sum: \"= t0 + t1\"}";
    let mappings: [(&str, &dyn Fn() -> String); 6] = [
        ("written out", &|| written_out(100_000)),
        ("template", &|| of_template(10_000, "")),
        ("template, constants", &|| of_template(10_000, constants)),
        ("validity of another", &|| gated(100_000)),
        ("guards of their own", &|| guarded(20_000)),
        ("mistakes in every line", &|| mistaken(100_000)),
    ];
    for (name, mapping) in mappings {
        if name.contains(chosen) {
            check(name, &mapping());
        }
    }
    println!("\n{:24} {:>9} {:>11}", "hostile text", "KiB", "refused ms");
    for (name, text) in hostile() {
        if name.contains(chosen) {
            refuse(name, &text);
        }
    }
}

/// Reads and checks a mapping, and prints a line of the table.
fn check(name: &str, mapping: &str) {
    let folder = Folder::new(name, mapping);
    let (mut problems, started) = (Problems::default(), Instant::now());
    let file = problems.add_file(Path::new("line.yaml"), mapping);
    let node = parse(file, mapping, &mut problems);
    let read = started.elapsed();
    drop(node);
    let (started, cpu) = (Instant::now(), cpu());
    let (loaded, problems) = load_with(&folder.settings(), &[&OpcUa, &Modbus], BTreeMap::new());
    let took = started.elapsed();
    let cpu = self::cpu().saturating_sub(cpu);
    println!(
        "{name:24} {:9} {:8} {:8} {:11.1} {:11.1} {:11.1}",
        mapping.len() / 1024,
        loaded.map_or(0, |loaded| loaded.plan.tags.len()),
        problems.error_count(),
        milliseconds(read),
        milliseconds(took),
        milliseconds(cpu),
    );
}

fn refuse(name: &str, text: &str) {
    let (mut problems, started) = (Problems::default(), Instant::now());
    let file = problems.add_file(Path::new("x.yaml"), text);
    let taken = parse(file, text, &mut problems).is_some();
    let _ = problems.render(false);
    println!(
        "{name:24} {:9} {:11.1}{}",
        text.len() / 1024,
        milliseconds(started.elapsed()),
        if taken { " TAKEN" } else { "" }
    );
}

fn hostile() -> [(&'static str, String); 9] {
    let bomb = (1..30).fold(
        String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"),
        |mut text, level| {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            let _ = writeln!(text, "a{level}: &a{level} [{items}]");
            text
        },
    );
    let deep = (0..10_000).fold(String::new(), |mut text, level| {
        let _ = writeln!(text, "{}a:", " ".repeat(level));
        text
    });
    let long = "x".repeat(1_000_000);
    [
        ("alias bomb", bomb),
        (
            "aliases of a long text",
            format!("a: &a {long}\nb:\n{}", "  - *a\n".repeat(99)),
        ),
        ("brackets", "[".repeat(10_000)),
        ("braces", "{a: ".repeat(10_000)),
        ("lists", "- ".repeat(10_000)),
        ("indentation", deep),
        ("a text without an end", format!("a: \"{long}")),
        ("a long tag", format!("a: !{long} x")),
        ("a long alias", format!("a: *{long}")),
    ]
}

/// What this thread has had of a processor, where the system tells.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
