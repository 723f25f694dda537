use super::*;

fn over_a_restart(value: &Value) -> Option<Value> {
    let state = TagState {
        counted: Some(value.clone()),
        ..TagState::default()
    };
    let restored = state.save().and_then(|cell| TagState::restore(TagId(0), &cell));
    restored.and_then(|state| state.counted)
}

#[test]
fn every_float_comes_back_with_the_same_bits() {
    // A linear congruential generator (Knuth's MMIX): the same numbers each time, all exponents among them.
    let mut bits = 1_u64;
    for _ in 0..100_000 {
        bits = bits
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let double = f64::from_bits(bits);
        let back = over_a_restart(&Value::Float64(double));
        assert!(
            matches!(back, Some(Value::Float64(back)) if back.to_bits() == bits),
            "{double:e} came back as {back:?}"
        );
        let single = f32::from_bits((bits >> 32) as u32);
        let back = over_a_restart(&Value::Float32(single));
        assert!(
            matches!(back, Some(Value::Float32(back)) if back.to_bits() == single.to_bits()),
            "{single:e} came back as {back:?}"
        );
    }
}

#[test]
fn every_value_survives_its_cell() {
    let values = [
        Value::Bool(true),
        Value::Int(i64::MIN),
        Value::UInt(u64::MAX),
        Value::Float32(0.1),
        Value::Float32(f32::NEG_INFINITY),
        Value::Float64(0.1 + 0.2),
        Value::Float64(f64::NAN),
        Value::text("WO-\"1\" ü"),
        Value::Bytes([0, 255].into()),
        Value::Time(Timestamp::from_nanos(1)),
        Value::List([Value::Int(1), Value::text("x")].into()),
        Value::Record([("Id".into(), Value::UInt(7)), ("Ü".into(), Value::Bool(false))].into()),
    ];
    for value in values {
        let back = over_a_restart(&value);
        assert!(
            back.as_ref().is_some_and(|back| back.same(&value)),
            "{value:?} came back as {back:?}"
        );
    }
}
