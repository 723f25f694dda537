//! Rows as this program never writes them: whatever stands in the tables, it is read, refused or salvaged, and nothing panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use fastrand::Rng;
use floorgate_outbox::{Error, Options, Reader, Store};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::{Folder, cells, commit, event, events, options, pin};

/// Stores that are tried, always the same ones; `FUZZ_SECONDS` adds others for so long.
const STORES: u64 = 400;

/// A small store with something in each table.
fn whole(options: &Options) {
    let (mut store, _) = Store::open(options).expect("the store opens");
    pin(&mut store, "orders", 2);
    commit(
        &mut store,
        events((0..20).map(|n| event("orders", &n.to_string(), &n.to_string()))),
    );
    commit(&mut store, events([event("unknown", "k", "waits")]));
    commit(
        &mut store,
        cells([("tag:a", Some("{\"v\":1}")), ("rule:b", Some("{}"))]),
    );
}

/// Tables with their columns.
fn columns(connection: &Connection) -> Vec<(String, String)> {
    let text =
        "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'";
    let mut statement = connection.prepare(text).expect("it is prepared");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.expect("it is asked")
        .map(|row| row.expect("a row"))
        .collect()
}

fn strange(random: &mut Rng) -> Value {
    match random.u8(..9) {
        0 => Value::Null,
        1 => Value::Integer(random.i64(..)),
        2 => Value::Integer(random.i64(-2..3)),
        3 => Value::Integer([i64::MIN, i64::MAX, 1 << 44, (1 << 44) - 1][random.usize(..4)]),
        4 => Value::Real([f64::NAN, f64::INFINITY, -0.5, 1e300][random.usize(..4)]),
        5 => Value::Text(String::new()),
        6 => Value::Text(["{id}{", "\n: \n", "ce_id", "\u{0}", "tag:a"][random.usize(..5)].to_owned()),
        7 => Value::Blob((0..random.usize(..40)).map(|_| random.u8(..)).collect()),
        _ => Value::Text("€".repeat(random.usize(..2_000))),
    }
}

/// Changes some values, or takes rows away or doubles them under other keys.
fn spoil(connection: &Connection, random: &mut Rng) {
    let columns = columns(connection);
    for _ in 0..=random.u8(..4) {
        let (table, column) = &columns[random.usize(..columns.len())];
        let value = strange(random);
        let some = ["1", "rowid = 1", "rowid % 3 = 0"][random.usize(..3)];
        let (text, values) = match random.u8(..5) {
            0 => (format!("DELETE FROM {table} WHERE {some}"), vec![]),
            1 => (format!("UPDATE {table} SET {column} = rowid * 3"), vec![]),
            _ => (
                format!("UPDATE {table} SET {column} = ?1 WHERE {some}"),
                vec![value],
            ),
        };
        // What the tables themselves refuse is no case.
        let _ = connection.execute(&text, params_from_iter(values));
    }
}

/// All that a start, a publisher and an operator do with a store.
fn use_it(options: &Options) {
    let Ok((mut store, _, _)) = Store::open_or_salvage(options) else {
        return;
    };
    let mut next = events([event("orders", "k", "next"), event("unknown", "k", "next")]);
    next.cells = cells([("tag:a", Some("{\"v\":2}"))]).cells;
    if store.commit(&mut next).is_err() {
        return;
    }
    let _ = store.maintain(event("", "", "").recorded, Duration::from_millis(5));
    let _ = store.stats();
    let _ = store.pin_topic(&"unknown".into(), 3);
    let _ = store.move_waiting(100);
    let Ok(reader) = Reader::open(&options.path) else {
        return;
    };
    for lane in reader.lanes().unwrap_or_default() {
        let _ = reader.lane_rows(lane.id, 0, 1_000, 1_000_000);
    }
    for state in reader.lane_states().unwrap_or_default() {
        let _ = reader.holes(&state);
    }
    let _ = reader.dead_letters(0, 10);
}

#[test]
fn no_row_is_too_strange() {
    let sound = Folder::new();
    whole(&options(&sound));
    let others = std::env::var("FUZZ_SECONDS").ok().map(|seconds| {
        let until = Instant::now() + Duration::from_secs(seconds.parse().expect("seconds"));
        let first = fastrand::u64(STORES..u64::MAX / 2);
        (first..).take_while(move |_| Instant::now() < until)
    });
    let mut tried = 0;
    for number in (0..STORES).chain(others.into_iter().flatten()) {
        tried += 1;
        let folder = Folder::new();
        let options = options(&folder);
        std::fs::copy(sound.path().join("outbox.db"), &options.path).expect("it is copied");
        let connection = Connection::open(&options.path).expect("it opens");
        spoil(&connection, &mut Rng::with_seed(number));
        drop(connection);
        let used = catch_unwind(AssertUnwindSafe(|| use_it(&options)));
        assert!(used.is_ok(), "store {number}");
    }
    println!("{tried} stores");
}

#[test]
fn a_number_that_cannot_have_been_reached_is_damage() {
    for (table, column) in [("shared", "id"), ("journal", "number")] {
        for number in [i64::MIN, -1, 1 << 44, i64::MAX] {
            let folder = Folder::new();
            let options = options(&folder);
            whole(&options);
            let connection = Connection::open(&options.path).expect("it opens");
            connection
                .execute(&format!("UPDATE {table} SET {column} = ?1"), [number])
                .expect("it is changed");
            drop(connection);
            let opened = Store::open(&options).map(drop);
            assert!(
                matches!(opened, Err(Error::Damaged { .. })),
                "{table} {number}: {opened:?}"
            );
            let (mut store, _, salvage) = Store::open_or_salvage(&options).expect("it is salvaged");
            assert!(salvage.is_some(), "{table} {number}");
            let mut next = events([event("orders", "k", "next")]);
            next.cells = cells([("tag:a", Some("{\"v\":2}"))]).cells;
            store.commit(&mut next).expect("it goes on");
        }
    }
}
