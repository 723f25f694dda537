//! What storing costs: events a second, and microseconds of CPU an event, by page size and batch size.
//!
//! `cargo run --release -p floorgate-outbox --example throughput [FOLDER [PAGE EVENTS CELLS]]`; the folder decides which
//! disk is measured.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use floorgate_outbox::{Acknowledged, Cell, Commit, Event, Options, Store};
use floorgate_sample::Timestamp;

/// Events of one measurement, at most so many commits.
const EVENTS: usize = 60_000;
const COMMITS: usize = 2000;
/// Key, headers and value of an event together.
const EVENT_BYTES: usize = 600;
const LANES: u32 = 6;
const CELLS: usize = 10_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    println!(
        "{EVENT_BYTES}-byte events over {LANES} lanes, each commit synced; maintenance after each commit"
    );
    println!(
        "page   events  cells | events/s  CPU µs  sync share | commit µs p50    p99     max | step max | file B/event | open ms"
    );
    let only: Vec<usize> = std::env::args()
        .skip(2)
        .filter_map(|number| number.parse().ok())
        .collect();
    if let [page_size, batch, cells] = only[..] {
        return measure(&folder, u32::try_from(page_size)?, batch, cells);
    }
    for page_size in [4096, 8192, 16384] {
        for (batch, cells) in [
            (1, 1),
            (10, 10),
            (100, 100),
            (300, 300),
            (300, 0),
            (10, 1000),
            (1000, 1000),
        ] {
            measure(&folder, page_size, batch, cells)?;
        }
    }
    Ok(())
}

fn measure(
    folder: &Path,
    page_size: u32,
    batch: usize,
    cells: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let folder = folder.join(format!("throughput-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let options = Options {
        page_size,
        ..Options::new(folder.join("outbox.db"))
    };
    let (mut store, _) = Store::open(&options)?;
    let topic: Arc<str> = "events".into();
    store.pin_topic(&topic, LANES)?;

    let commits = (EVENTS / batch).min(COMMITS);
    let mut laps = Vec::with_capacity(commits);
    let mut longest_step = Duration::ZERO;
    let (mut cpu, mut elapsed) = (Duration::ZERO, Duration::ZERO);
    for number in 0..commits {
        let mut commit = load(&topic, number, batch, cells);
        commit
            .acknowledged
            .extend(store.lanes().iter().map(|lane| Acknowledged {
                lane: lane.id,
                sequence: lane.last_sequence,
                offset: Some(lane.last_sequence.cast_signed()),
            }));
        let (begun, cpu_before) = (Instant::now(), cpu_time());
        let rows = store.commit(&mut commit)?.rows;
        laps.push(begun.elapsed());
        let maintaining = Instant::now();
        store.maintain(Timestamp::now(), Duration::ZERO)?;
        longest_step = longest_step.max(maintaining.elapsed());
        elapsed += begun.elapsed();
        cpu += cpu_time().saturating_sub(cpu_before);
        drop(rows);
    }
    laps.sort_unstable();
    let events = (commits * batch) as f64;
    let lap = |share: usize| {
        laps.get(laps.len() * share / 1000)
            .or(laps.last())
            .map_or(0, Duration::as_micros)
    };
    let stats = store.stats()?;
    drop(store);
    let opening = Instant::now();
    drop(Store::open(&options)?);
    let opening = opening.elapsed();
    println!(
        "{page_size:>5} {batch:>7} {cells:>6} | {:>8.0} {:>7.2} {:>10.0}% | {:>13} {:>6} {:>7} | {:>8} | {:>12.0} | {:>7.1}",
        events / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / events,
        100.0 * (1.0 - cpu.as_secs_f64() / elapsed.as_secs_f64()),
        lap(500),
        lap(990),
        lap(1000),
        longest_step.as_micros(),
        stats.used_bytes as f64 / events,
        opening.as_secs_f64() * 1e3,
    );
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn load(topic: &Arc<str>, number: usize, batch: usize, cells: usize) -> Commit {
    let kind: Arc<str> = "MeasurementRecorded".into();
    let events = (0..batch).map(|n| {
        let n = number * batch + n;
        let subject: Arc<str> = format!("acme/busan/filling/line{}/filler", n % 40).into();
        Event {
            topic: Arc::clone(topic),
            key: Arc::clone(&subject),
            partition: None,
            id: format!("filling-line/{}/temp/{n}", n % 40),
            kind: Arc::clone(&kind),
            shared_headers: "".into(),
            headers: "h".repeat(EVENT_BYTES / 2 - subject.len()),
            subject,
            recorded: Timestamp::now(),
            value: vec![b'v'; EVENT_BYTES / 2],
            trace: String::new(),
        }
    });
    let cells = (0..cells).map(|n| Cell {
        key: format!("tag:filling-line/temperature/{}", (number * cells + n) % CELLS).into(),
        value: Some(format!(
            "{{\"value\":{n}.5,\"quality\":0,\"source_time\":17000000000000{n:0>5}}}"
        )),
    });
    Commit {
        events: events.collect(),
        cells: cells.collect(),
        ..Commit::default()
    }
}

/// The CPU time of this thread so far, as Linux counts it.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text
        .split_whitespace()
        .next()
        .and_then(|nanos| nanos.parse().ok())
        .unwrap_or(0);
    Duration::from_nanos(nanos)
}
