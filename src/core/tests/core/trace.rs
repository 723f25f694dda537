//! What an event says of why it was made: what the rule saw when it happened, and no second copy of a large value.

use std::time::Duration;

use floorgate_core::plan::{Aggregate, Shape, WindowSpec};
use floorgate_sample::Value;
use serde_json::{Value as Json, json};

use super::probe::{S, above, at, begin, custom, edge, float, rule, send, with};
use super::{ORDER, STATE, TEMPERATURE};

fn trace(event: &floorgate_core::Event) -> Json {
    serde_json::from_str(&event.trace).expect("it is JSON")
}

#[test]
fn what_is_told_later_has_the_inputs_of_when_it_happened() {
    let spec = custom(edge(above(), 2, true, false), &[("order", 1)]);
    let mut gateway = begin(with(vec![rule("r", &[TEMPERATURE, ORDER], spec)]));
    at(&mut gateway, S);
    send(
        &mut gateway,
        &[(TEMPERATURE, float(20.0)), (ORDER, Value::text("WO-1"))],
    );
    at(&mut gateway, 2 * S);
    send(&mut gateway, &[(TEMPERATURE, float(90.0))]);
    at(&mut gateway, 3 * S);
    send(&mut gateway, &[(ORDER, Value::text("WO-2"))]);
    let events = at(&mut gateway, 10 * S);
    assert_eq!(events.len(), 1);
    let expected = json!({"cause": "value", "before": 20.0, "now": 90.0, "inputs": {"order": "WO-1"}});
    assert_eq!(trace(&events[0]), expected);
}

#[test]
fn a_window_is_traced_by_what_it_tells() {
    let spec = custom(
        Shape::Window(WindowSpec {
            every: Duration::from_secs(1),
            value: Aggregate::Max,
        }),
        &[],
    );
    let mut gateway = begin(with(vec![rule("r", &[TEMPERATURE], spec)]));
    at(&mut gateway, S);
    send(&mut gateway, &[(TEMPERATURE, float(20.0))]);
    send(&mut gateway, &[(TEMPERATURE, float(30.0))]);
    let events = at(&mut gateway, 4 * S);
    assert_eq!(trace(&events[0])["now"], json!(30.0));
}

#[test]
fn a_trace_is_short_whatever_a_device_says() {
    let large = |letter: &str| Value::text(letter.repeat(1 << 16));
    let spec = custom(Shape::Every, &[("order", 1), ("state", 2)]);
    let mut gateway = begin(with(vec![rule("r", &[TEMPERATURE, ORDER, STATE], spec)]));
    let nested = Value::List(
        (0..1000)
            .map(|_| Value::List([Value::Bool(true)].into()))
            .collect(),
    );
    send(
        &mut gateway,
        &[(ORDER, nested), (STATE, Value::Bytes(vec![7; 1 << 16].into()))],
    );
    send(&mut gateway, &[(TEMPERATURE, large("é"))]);
    let events = send(&mut gateway, &[(TEMPERATURE, large("ü"))]);
    let traced = trace(&events[0]);
    assert!(events[0].trace.len() < 4096, "{} bytes", events[0].trace.len());
    assert_eq!(
        traced["now"],
        json!(format!("{}… (131072 bytes)", "ü".repeat(128)))
    );
    assert_eq!(traced["inputs"]["order"][16], json!("… and 984 more"));
}
