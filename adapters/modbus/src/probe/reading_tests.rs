use super::*;

fn block(start: u32, words: &[u16]) -> Block {
    Block {
        start,
        words: words.to_vec(),
    }
}

fn marked(reading: &Reading) -> Vec<String> {
    let marks = |wide: &Wide| {
        let of = wide.orders.iter().filter(|order| order.plausible);
        of.map(|order| format!("{} {} {}", wide.kind, order.word_order, order.value))
            .collect::<Vec<_>>()
    };
    reading.wide.iter().flat_map(marks).collect()
}

#[test]
fn a_number_is_seen_in_the_order_that_the_device_has() {
    // 21.5 is 0x41AC0000.
    for (words, order) in [
        ([0x41AC, 0x0000], "ABCD"),
        ([0x0000, 0x41AC], "CDAB"),
        ([0xAC41, 0x0000], "BADC"),
        ([0x0000, 0xAC41], "DCBA"),
    ] {
        let readings = readings(&block(100, &words), 2);
        let mut floats = marked(&readings[0]);
        floats.retain(|mark| mark.starts_with("f32"));
        assert_eq!(floats, [format!("f32 {order} 21.5")]);
        let mut tally = Tally::default();
        tally.add(&block(100, &words));
        assert_eq!(tally.best().map(|best| ORDER_NAMES[best]), Some(order));
    }
    // 70,000 as a 32-bit counter, the low word first.
    let readings = readings(&block(0, &[4_464, 1]), 2);
    assert!(marked(&readings[0]).contains(&"u32 CDAB 70000".to_owned()));
}

#[test]
fn a_register_is_shown_in_every_type() {
    let readings = readings(&block(7, &[0xFFFE, 0, 0, 0x4142]), 4);
    let first = &readings[0];
    assert_eq!(
        (first.address, first.u16, first.i16, first.hex.as_str()),
        (7, 65_534, -2, "FFFE")
    );
    let kinds: Vec<_> = first.wide.iter().map(|wide| wide.kind).collect();
    assert_eq!(kinds, ["f32", "u32", "i32", "f64", "u64", "i64"]);
    let of = |kind: &str, order: usize| {
        let wide = first.wide.iter().find(|wide| wide.kind == kind).expect(kind);
        wide.orders[order].value.to_string()
    };
    assert_eq!(of("i32", 0), "-131072");
    assert_eq!(of("i32", 1), "65534");
    assert_eq!(of("f32", 0), "NaN", "what is no number is said to be none");
    assert!(
        readings[1].wide.iter().all(|wide| wide.kind != "f32"),
        "nothing is shown of zeros"
    );
    assert_eq!(readings[3].text, "AB");
    assert!(readings[3].wide.is_empty(), "nothing follows it");
}

#[test]
fn a_text_is_found_in_both_orders_of_bytes() {
    let registers = |text: &str| -> Vec<u16> {
        let bytes: Vec<u8> = text.bytes().chain([0, 0]).collect();
        bytes
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .collect()
    };
    let mut words = vec![5, 0];
    words.extend(registers("WO-1001"));
    let found = texts(&block(10, &words));
    assert_eq!(
        (found[0].address, found[0].text.as_str(), found[0].word_order),
        (12, "WO-1001", "ABCD")
    );
    assert_eq!(found[0].registers, 4);
    let swapped: Vec<u16> = words.iter().map(|word| word.swap_bytes()).collect();
    let found = texts(&block(10, &swapped));
    let right = found
        .iter()
        .find(|text| text.word_order == "BADC")
        .map(|text| text.text.as_str());
    assert_eq!(right, Some("WO-1001"));
    assert!(
        texts(&block(0, &registers("ab"))).is_empty(),
        "two registers are no text yet"
    );
}

#[test]
fn no_order_is_the_best_where_none_makes_more_sense_than_another() {
    let mut tally = Tally::default();
    assert_eq!(tally.best(), None);
    tally.add(&block(0, &[1, 2, 3, 4, 5, 6]));
    assert_eq!((tally.pairs, tally.best()), (3, None));
    // Raw values of analog inputs: what looks like a number in one order does in another too.
    tally.add(&block(0, &[16_400, 17_200, 16_900, 17_000]));
    assert_eq!((tally.in_any, tally.best()), (2, None));
}

#[test]
fn what_else_a_pair_may_be_does_not_hide_the_order_of_the_others() {
    // 23.5, 3.14159 and 1450.25 in CDAB; the second and the first make sense in DCBA as well.
    let mut tally = Tally::default();
    tally.add(&block(0, &[0x0000, 0x41BC, 0x0FD0, 0x4049, 0x4800, 0x44B5]));
    assert_eq!(tally.plausible, [1, 3, 0, 2]);
    assert_eq!(tally.best(), Some(1));
}
