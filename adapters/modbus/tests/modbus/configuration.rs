//! What is wrong in a configuration is said, all of it, with its place.

use floorgate_adapter_api::conformance::plan;
use floorgate_adapter_modbus::Modbus;
use floorgate_yaml::{Problem, Severity};

/// The problems of one source; nothing is planned where there are errors.
fn problems(settings: &str, addresses: &[&str]) -> Vec<Problem> {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let (source, problems) = plan(&Modbus, settings, &addresses, &std::env::temp_dir());
    assert_eq!(source.is_none(), problems.has_errors(), "{:#?}", problems.list());
    problems.list().to_vec()
}

const TCP: &str = "connect: tcp://127.0.0.1";

#[test]
fn each_mistake_has_its_own_message_place_and_hint() {
    let cases = [
        ("{}", "names no register"),
        ("{type: u16}", "names no register"),
        ("{coil: 1, holding: 2}", "is a `coil` and a `holding`"),
        ("{holding: 65536}", "`holding: 65536` is outside of the table"),
        (
            "{holding: 65535, type: u32}",
            "`holding: 65535` is outside of the table",
        ),
        ("{holding: -1}", "`holding: -1` is outside of the table"),
        ("{holding: ten}", "ten"),
        ("{holding: 1, type: u33}", "u33"),
        ("{holding: 1, type: bool}", "needs `bit`"),
        ("{holding: 1, bit: 16}", "`bit: 16` is out of range"),
        ("{holding: 1, bit: -1}", "`bit: -1` is out of range"),
        (
            "{holding: 1, bit: 3, type: u16}",
            "`bit` has no meaning with `type: u16`",
        ),
        ("{fifo: 1, type: f32}", "a `fifo` is a list of `u16` or `i16`"),
        ("{fifo: 1, bit: 3}", "a `fifo` is a list of `u16` or `i16`"),
        ("{coil: 1, bit: 3}", "a coil has no `bit`"),
        ("{discrete: 1, type: u16}", "a discrete is a `bool`, not `u16`"),
        ("{coil: 1, word_order: CDAB}", "`word_order` has no meaning"),
        ("{holding: 1, word_order: ACBD}", "ACBD"),
        ("{holding: 1, type: string}", "a `string` needs `length`"),
        (
            "{holding: 1, type: string, length: 251}",
            "`length`: expected an integer from 1 to 250, found 251",
        ),
        (
            "{holding: 1, type: string, length: 0}",
            "`length`: expected an integer from 1 to 250, found 0",
        ),
        (
            "{holding: 1, type: string, length: 4, word_order: CDAB}",
            "text has no order of its registers",
        ),
        (
            "{holding: 1, type: string, length: 4, scale: 2}",
            "`scale` has no meaning with `type: string`",
        ),
        (
            "{holding: 1, length: 4}",
            "`length` has no meaning with `type: u16`",
        ),
        ("{holding: 1, scale: 0}", "`scale: 0` makes every value the same"),
        ("{holding: 1, offset: 1e300}", "is no decimal number of use here"),
        ("{holding: 1, every: 0}", "is too short"),
        ("{holding: 1, unit_id: 256}", "256"),
        ("{holding: 1, skale: 2}", "unknown key `skale`"),
    ];
    for (address, message) in cases {
        let found = problems(TCP, &[address]);
        assert!(
            found.iter().any(|problem| problem.message.contains(message)),
            "{address}: `{message}` is not in {found:#?}"
        );
        for problem in found {
            assert_eq!(
                problem.span.map(|span| span.line),
                Some(1),
                "{address}: {problem:?}"
            );
            assert!(problem.hint.is_some(), "{address}: {problem:?} says what to do");
        }
    }
}

#[test]
fn all_mistakes_of_a_source_are_found_in_one_run() {
    let settings = "connect: mqtt://plc\npoll_interval: 0\ntimeout: soon\nmax_registers: 126\nmax_bits: 0\n\
                    base: 2\nmax_gap: 125\nretries: 11\nbackof_max: 3s\n";
    let found = problems(settings, &["{holding: 70000}", "{input: 1, bit: 99}"]);
    let lines: Vec<u32> = found
        .iter()
        .filter_map(|problem| problem.span)
        .map(|span| span.line)
        .collect();
    for line in 1..=9 {
        assert!(lines.contains(&line), "line {line} is not among {found:#?}");
    }
    assert_eq!(found.len(), 11, "and the two addresses: {found:#?}");
    assert!(found.iter().all(|problem| problem.hint.is_some()), "{found:#?}");
}

#[test]
fn all_mistakes_of_an_address_are_found_in_one_run() {
    let address = "{holding: 70000, type: string, length: long, scale: 2, unit_id: 0, every: 0, trim: 3}";
    let found = problems("connect: rtu+tcp://gateway:4001", &[address]);
    let wrong: Vec<&str> = ["70000", "long", "`scale`", "broadcast", "too short", "`trim`"]
        .into_iter()
        .filter(|text| !found.iter().any(|problem| problem.message.contains(text)))
        .collect();
    assert!(
        wrong.is_empty() && found.len() == 6,
        "{wrong:?} not in {found:#?}"
    );
}

#[test]
fn what_is_made_up_in_place_of_a_mistake_is_not_reported() {
    let serial = "connect: rtu:///dev/ttyUSB0\nserial";
    let cases = [
        (TCP, "{holdin: 1, type: u32}"),
        (TCP, "{holding: one, type: u32}"),
        (TCP, "{holding: 1, type: u33, scale: 2, length: 4}"),
        (TCP, "{holding: 1, type: string, length: long}"),
        (TCP, "{holding: 1, bit: x, type: bool}"),
        ("connect: 5\nserial: {}", "{holding: 1}"),
        ("conect: tcp://127.0.0.1", "{holding: 1}"),
        (&format!("{serial}: {{baud: fast}}"), "{holding: 1}"),
        (&format!("{serial}: fast"), "{holding: 1}"),
        ("connect: rtu+tcp://a:1\nunit: one", "{holding: 1}"),
        (
            "connect: tcp://a\nmax_registers: x",
            "{holding: 1, type: string, length: 250}",
        ),
        ("connect: mqtt://a\nbase: 1", "{holding: 65536}"),
        ("connect: tcp://a\npoll_interval: soon", "{holding: 1}"),
    ];
    for (settings, address) in cases {
        let found = problems(settings, &[address]);
        assert_eq!(found.len(), 1, "{settings}, {address}: {found:#?}");
    }
}

#[test]
fn a_line_is_described_only_where_there_is_one() {
    let message = |settings: &str| {
        problems(settings, &["{holding: 1}"])
            .first()
            .map(|problem| problem.message.clone())
    };
    let serial = "connect: rtu:///dev/ttyUSB0\n";
    assert_eq!(message(serial), None);
    assert_eq!(
        message(&format!("{serial}serial: {{baud: 9600, parity: none}}")),
        None
    );
    assert!(
        message(&format!("{TCP}\nserial: {{}}")).is_some_and(|text| text.contains("`serial` has no meaning"))
    );
    assert!(
        message(&format!("{serial}serial: {{baud: 1}}"))
            .is_some_and(|text| text.contains("`baud`: expected an integer from 300 to 4000000, found 1"))
    );
    assert!(
        message(&format!("{serial}serial: {{stop_bits: 3}}"))
            .is_some_and(|text| text.contains("`stop_bits`: expected an integer from 1 to 2, found 3"))
    );
    assert!(message(&format!("{serial}serial: {{parity: mark}}")).is_some_and(|text| text.contains("mark")));
    assert!(message(&format!("{serial}unit: 0")).is_some_and(|text| text.contains("broadcast")));
    for wrong in [
        "tcp://",
        "tcp:plc",
        "rtu://ttyUSB0",
        "rtu+tcp://gateway",
        "serial:///dev/ttyS0",
        "plc",
    ] {
        let text = message(&format!("connect: \"{wrong}\""));
        assert!(
            text.as_ref()
                .is_some_and(|text| text.contains("is no address of a Modbus device")),
            "{wrong}: {text:?}"
        );
    }
}

#[test]
fn what_belongs_to_an_address_is_held_against_it() {
    const TLS: &str = "tls: {ca_file: a, certificate_file: b, key_file: c}";
    for (settings, message) in [
        ("connect: tls://plc", "`tls://plc:802` needs `tls`"),
        (
            &format!("{TCP}\n{TLS}"),
            "`tls` has no meaning with `tcp://127.0.0.1:502`",
        ),
        ("connect: tls://plc\ntls: {ca_file: a}", "`certificate_file`"),
        ("connect: tls://plc\ntls_: {}", "unknown key `tls_`"),
        (
            "connect: rtu:///dev/ttyS0\nserial: {data_bits: 7}",
            "RTU needs 8 data bits",
        ),
        (
            "connect: ascii:///dev/ttyS0\nserial: {data_bits: 9}",
            "`data_bits`: expected an integer from 7 to 8, found 9",
        ),
        ("connect: udp://plc\nserial: {}", "`serial` has no meaning"),
        (
            "connect: tcp://plc\nbackup: tcp://plc:502",
            "`backup: tcp://plc:502` is where `connect` leads to",
        ),
        (
            "connect: tcp://plc\nbackup: udp://plc2",
            "`backup: udp://plc2:502` is of another form",
        ),
        (
            "connect: tcp://plc\nbackup: plc2",
            "`plc2` is no address of a Modbus device",
        ),
        ("connect: ascii+tcp://plc:4001\nunit: 0", "broadcast"),
    ] {
        let found = problems(settings, &["{holding: 1}"]);
        assert!(
            found.iter().any(|problem| problem.message.contains(message)),
            "{settings}: {found:#?}"
        );
        assert!(
            found.len() == 1 || settings.contains("ca_file: a}"),
            "{settings}: {found:#?}"
        );
    }
    for right in [
        &format!("connect: tls://plc\n{TLS}"),
        "connect: rtu:///dev/ttyS0\nserial: {data_bits: 8}\nbackup: rtu:///dev/ttyS1",
        "connect: ascii:///dev/ttyS0\nserial: {data_bits: 8, parity: none}",
        "connect: udp://plc\nunit: 0",
    ] {
        assert_eq!(problems(right, &["{holding: 1}"]).len(), 0, "{right}");
    }
    let found = problems(TCP, &["{holding: 1, read_twice: true}"]);
    assert!(
        matches!(&found[..], [problem] if problem.severity == Severity::Warning),
        "{found:#?}"
    );
}

#[test]
fn a_reserved_slave_address_is_a_warning() {
    let found = problems("connect: rtu+tcp://gateway:4001\nunit: 250", &["{holding: 1}"]);
    assert!(
        matches!(&found[..], [problem] if problem.severity == Severity::Warning),
        "{found:#?}"
    );
}
