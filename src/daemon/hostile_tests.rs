//! Configuration and mappings as nobody writes them: whatever the files hold, they are refused or taken, and nothing panics.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;
use floorgate_config::load_with;

use crate::registry::ADAPTERS;

/// Files that are tried, always the same ones; `FUZZ_SECONDS` adds others for so long.
const FILES: u64 = 4_000;

/// What YAML and this program's own texts have a meaning for.
const PIECES: [&str; 28] = [
    "&a",
    "*a",
    "<<: *a",
    "{",
    "}",
    "[",
    "]",
    ": ",
    "- ",
    "|",
    ">",
    "\"",
    "'",
    "#",
    "!!int",
    "~",
    "null",
    "-0x1",
    "1e999",
    ".nan",
    "{line}",
    "{{",
    "nsu=",
    ";s=",
    "\t",
    "\u{feff}",
    "\0",
    "ü€😀",
];

/// The text with some places changed, cut, doubled or put elsewhere.
fn spoil(text: &str, random: &mut Rng) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=random.usize(..3) {
        let at = random.usize(..bytes.len());
        let end = (at + random.usize(..40)).min(bytes.len());
        match random.usize(..6) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let part = bytes[at..end].to_vec();
                let to = random.usize(..bytes.len());
                bytes.splice(to..to, part);
            }
            2 => bytes.insert(at, random.u8(..)),
            3 => {
                let piece = PIECES[random.usize(..PIECES.len())];
                bytes.splice(at..at, piece.bytes());
            }
            4 => {
                // One line more often than is good for it.
                let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
                let line = lines[random.usize(..lines.len())].to_vec();
                bytes.splice(at..at, line.repeat(1 + random.usize(..4)));
            }
            _ => {
                let piece = PIECES[random.usize(..PIECES.len())];
                bytes.splice(at..end, piece.bytes());
            }
        }
        if bytes.is_empty() {
            bytes.push(b'\n');
        }
    }
    bytes
}

fn samples() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = vec![PathBuf::from("config/floorgate.yaml")];
    let mappings = fs::read_dir(root.join("mappings")).unwrap();
    found.extend(
        mappings
            .map(|file| Path::new("mappings").join(file.unwrap().file_name()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "yaml")),
    );
    found.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(root.join(&path)).unwrap();
        (path, text)
    };
    found.into_iter().map(read).collect()
}

#[test]
fn no_file_is_too_strange() {
    let folder = std::env::temp_dir().join(format!("floorgate-hostile-{}", std::process::id()));
    let samples = samples();
    for (path, text) in &samples {
        let file = folder.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    let config = folder.join("config/floorgate.yaml");
    assert!(
        load_with(&config, ADAPTERS, BTreeMap::new()).0.is_some(),
        "the samples are right"
    );
    let others = std::env::var("FUZZ_SECONDS").ok().map(|seconds| {
        let first = fastrand::u64(FILES..u64::MAX / 2);
        let until = Instant::now() + Duration::from_secs(seconds.parse().expect("seconds"));
        (first..).take_while(move |_| Instant::now() < until)
    });
    let (mut files, mut refused) = (0, 0);
    for number in (0..FILES).chain(others.into_iter().flatten()) {
        files += 1;
        let mut random = Rng::with_seed(number);
        let (path, text) = &samples[random.usize(..samples.len())];
        let file = folder.join(path);
        fs::write(&file, spoil(text, &mut random)).unwrap();
        let loaded = std::panic::catch_unwind(|| {
            let (loaded, problems) = load_with(&config, ADAPTERS, BTreeMap::new());
            // What is told has to be tellable as well.
            assert_eq!(problems.render(true).is_empty(), problems.is_empty());
            (loaded.is_some(), problems.has_errors())
        });
        let (is_loaded, has_errors) = loaded.unwrap_or_else(|_| panic!("file {number}, {}", path.display()));
        assert_ne!(
            is_loaded, has_errors,
            "file {number}: neither taken nor refused, or both"
        );
        refused += u64::from(has_errors);
        fs::write(file, text).unwrap();
    }
    fs::remove_dir_all(folder).unwrap();
    assert!(refused > files / 4, "{refused} of {files} were refused");
    println!("{files} files");
}
