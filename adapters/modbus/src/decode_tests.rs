use super::*;
use crate::decimal::Decimal;

const ORDERS: [WordOrder; 4] = [WordOrder::Abcd, WordOrder::Cdab, WordOrder::Badc, WordOrder::Dcba];

fn plain(kind: Kind, order: WordOrder) -> Decode {
    Decode {
        kind,
        order,
        linear: Linear::new(Decimal::ONE, Decimal::ZERO),
    }
}

fn integer(signed: bool) -> Kind {
    Kind::Integer {
        signed,
        shown: if signed { Shown::Int } else { Shown::UInt },
    }
}

/// Registers that hold these bytes in this order, byte by byte as the letters say.
fn registers(big_endian: &[u8], order: WordOrder) -> Vec<u16> {
    let mut words: Vec<[u8; 2]> = big_endian.chunks(2).map(|pair| [pair[0], pair[1]]).collect();
    if order.swaps_words() {
        words.reverse();
    }
    if order.swaps_bytes() {
        for word in &mut words {
            word.reverse();
        }
    }
    words.into_iter().map(u16::from_be_bytes).collect()
}

#[test]
fn the_letters_are_the_bytes_in_the_order_of_the_line() {
    let number = [0x0A, 0x0B, 0x0C, 0x0D];
    assert_eq!(registers(&number, WordOrder::Abcd), [0x0A0B, 0x0C0D]);
    assert_eq!(registers(&number, WordOrder::Cdab), [0x0C0D, 0x0A0B]);
    assert_eq!(registers(&number, WordOrder::Badc), [0x0B0A, 0x0D0C]);
    assert_eq!(registers(&number, WordOrder::Dcba), [0x0D0C, 0x0B0A]);
}

#[test]
fn integers_of_every_width_and_sign_in_every_order() {
    for order in ORDERS {
        for number in [
            0_i64,
            1,
            -1,
            0x1234,
            -2,
            i64::from(i16::MIN),
            i64::from(i32::MAX),
            i64::MIN,
            i64::MAX,
        ] {
            #[allow(clippy::cast_possible_truncation)] // the low bytes are what is meant
            let (short, middle) = (number as i16, number as i32);
            let signed = |bytes: &[u8]| plain(integer(true), order).value(&registers(bytes, order));
            let unsigned = |bytes: &[u8]| plain(integer(false), order).value(&registers(bytes, order));
            assert_eq!(
                signed(&short.to_be_bytes()),
                Some(Value::Int(short.into())),
                "i16 {order:?}"
            );
            assert_eq!(
                signed(&middle.to_be_bytes()),
                Some(Value::Int(middle.into())),
                "i32 {order:?}"
            );
            assert_eq!(
                signed(&number.to_be_bytes()),
                Some(Value::Int(number)),
                "i64 {order:?}"
            );
            assert_eq!(
                unsigned(&short.to_be_bytes()),
                Some(Value::UInt(short.cast_unsigned().into()))
            );
            assert_eq!(
                unsigned(&middle.to_be_bytes()),
                Some(Value::UInt(middle.cast_unsigned().into()))
            );
            assert_eq!(
                unsigned(&number.to_be_bytes()),
                Some(Value::UInt(number.cast_unsigned()))
            );
        }
    }
}

#[test]
fn floats_in_every_order() {
    for order in ORDERS {
        for number in [0.0_f32, -0.0, 23.7, -1e30, f32::INFINITY, f32::MIN_POSITIVE] {
            let value = plain(Kind::Float32, order).value(&registers(&number.to_be_bytes(), order));
            assert!(
                matches!(value, Some(Value::Float32(x)) if x.to_bits() == number.to_bits()),
                "{value:?}"
            );
            let wide = f64::from(number);
            let value = plain(Kind::Float64, order).value(&registers(&wide.to_be_bytes(), order));
            assert!(
                matches!(value, Some(Value::Float64(x)) if x.to_bits() == wide.to_bits()),
                "{value:?}"
            );
        }
        let nan = plain(Kind::Float32, order).value(&registers(&f32::NAN.to_be_bytes(), order));
        assert!(matches!(nan, Some(Value::Float32(x)) if x.is_nan()));
    }
}

#[test]
fn a_scaled_float_is_the_decimal_it_was_written_as() {
    let linear = Linear::new(Decimal::from_written(10.0).expect("a decimal"), Decimal::ZERO);
    let decode = Decode {
        kind: Kind::Float32,
        order: WordOrder::Abcd,
        linear,
    };
    let words = registers(&0.1_f32.to_be_bytes(), WordOrder::Abcd);
    assert_eq!(decode.value(&words), Some(Value::Float64(1.0)));
}

#[test]
fn a_scaled_integer_has_one_type_for_all_its_values() {
    let linear = |scale, offset| {
        Linear::new(
            Decimal::from_written(scale).expect("scale"),
            Decimal::from_written(offset).expect("offset"),
        )
    };
    let u16_range = (0, i128::from(u16::MAX));
    assert_eq!(
        Shown::of(u16_range.0, u16_range.1, false, &linear(10.0, 0.0)),
        Shown::UInt
    );
    assert_eq!(
        Shown::of(u16_range.0, u16_range.1, false, &linear(1.0, -40.0)),
        Shown::Int
    );
    assert_eq!(
        Shown::of(u16_range.0, u16_range.1, false, &linear(0.1, 0.0)),
        Shown::Float
    );
    assert_eq!(
        Shown::of(0, i128::from(u64::MAX), false, &linear(10.0, 0.0)),
        Shown::Float
    );
    let decode = Decode {
        kind: Kind::Integer {
            signed: false,
            shown: Shown::Float,
        },
        order: WordOrder::Abcd,
        linear: linear(0.1, 0.0),
    };
    assert_eq!(decode.value(&[237]), Some(Value::Float64(23.7)));
    assert_eq!(decode.value(&[230]), Some(Value::Float64(23.0)));
}

#[test]
fn a_bit_is_counted_from_the_least_significant() {
    assert_eq!(
        plain(Kind::Bit(3), WordOrder::Abcd).value(&[0b1000]),
        Some(Value::Bool(true))
    );
    assert_eq!(
        plain(Kind::Bit(3), WordOrder::Abcd).value(&[0b0111]),
        Some(Value::Bool(false))
    );
    assert_eq!(
        plain(Kind::Bit(3), WordOrder::Badc).value(&[0b1000 << 8]),
        Some(Value::Bool(true))
    );
}

#[test]
fn text_is_cut_trimmed_and_refused_where_it_is_none() {
    let text = |bytes: &[u8], length, encoding, trim, order| {
        plain(
            Kind::Text {
                bytes: length,
                encoding,
                trim,
            },
            order,
        )
        .value(&registers(bytes, order))
    };
    let (straight, swapped) = (WordOrder::Abcd, WordOrder::Badc);
    assert_eq!(
        text(b"WO-4711 ", 8, Encoding::Ascii, true, straight),
        Some(Value::text("WO-4711"))
    );
    assert_eq!(
        text(b"WO-4711 ", 8, Encoding::Ascii, true, swapped),
        Some(Value::text("WO-4711"))
    );
    assert_eq!(
        text(b"WO-4711 ", 7, Encoding::Ascii, false, straight),
        Some(Value::text("WO-4711"))
    );
    assert_eq!(
        text(b"AB\0\xFFjunk", 8, Encoding::Ascii, true, straight),
        Some(Value::text("AB"))
    );
    assert_eq!(text(b"AB\0\xFFjunk", 8, Encoding::Ascii, false, straight), None);
    assert_eq!(
        text(b"K\xFChl", 4, Encoding::Latin1, true, straight),
        Some(Value::text("Kühl"))
    );
    assert_eq!(text(b"K\xFChl", 4, Encoding::Utf8, true, straight), None);
    assert_eq!(
        text("Kühl!".as_bytes(), 6, Encoding::Utf8, true, straight),
        Some(Value::text("Kühl!"))
    );
}
