//! Stored state as this program never writes it: it is taken or left, and nothing panics.

use std::collections::HashMap;
use std::sync::Arc;

use fastrand::Rng;
use floorgate_sample::{Continuity, Notice, Value};

use super::{ALARMS, GOOD, Gateway, ORDER, STATE, STATUS, TEMPERATURE, plan};

/// Cells that are tried.
const CELLS: u64 = 5_000;

/// What has a meaning in a cell.
const PIECES: [&str; 14] = [
    "{",
    "}",
    "\"",
    ":",
    ",",
    "null",
    "-1",
    "18446744073709551616",
    "1e400",
    "\"Count\"",
    "\"owed\"",
    "[",
    "\\u0000",
    "€",
];

fn spoil(text: &str, random: &mut Rng) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for _ in 0..=random.usize(..3) {
        let at = random.usize(..=characters.len());
        let end = (at + random.usize(..12)).min(characters.len());
        let piece = PIECES[random.usize(..PIECES.len())].chars();
        match random.u8(..3) {
            0 => drop(characters.drain(at..end)),
            1 => drop(characters.splice(at..at, piece)),
            _ => drop(characters.splice(at..end, piece)),
        }
    }
    characters.into_iter().collect()
}

fn day(gateway: &mut Gateway) {
    gateway.tick(&[
        (ORDER, Value::text("WO-1")),
        (STATUS, Value::Int(3)),
        (STATE, Value::Int(6)),
        (GOOD, Value::UInt(65_000)),
        (ALARMS, Value::UInt(1)),
        (TEMPERATURE, Value::Float64(20.0)),
    ]);
    gateway.tick(&[
        (STATE, Value::Int(11)),
        (GOOD, Value::UInt(3)),
        (ALARMS, Value::UInt(0)),
    ]);
    gateway.notice(Notice::Offline { reason: "x".into() });
    gateway.notice(Notice::Online(Continuity::New));
    gateway.advance();
}

#[test]
fn no_cell_is_too_strange() {
    let mut gateway = Gateway::of(plan());
    day(&mut gateway);
    let sound: Vec<(Arc<str>, String)> = {
        let mut cells: Vec<_> = gateway.cells.clone().into_iter().collect();
        cells.sort();
        cells
    };
    let plan = Arc::new(plan());
    for number in 0..CELLS {
        let mut random = Rng::with_seed(number);
        let mut cells: HashMap<Arc<str>, String> = sound.iter().cloned().collect();
        for _ in 0..=random.usize(..3) {
            let (key, text) = &sound[random.usize(..sound.len())];
            cells.insert(Arc::clone(key), spoil(text, &mut random));
        }
        let told = std::panic::catch_unwind(|| {
            let mut gateway = Gateway::start(Arc::clone(&plan), cells);
            gateway.notice(Notice::Online(Continuity::New));
            day(&mut gateway);
        });
        assert!(told.is_ok(), "cells {number}");
    }
}
