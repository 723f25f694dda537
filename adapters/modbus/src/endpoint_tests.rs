use super::*;

#[test]
fn hosts_have_ports() {
    assert_eq!(host_and_port("plc", Some(502)).as_deref(), Some("plc:502"));
    assert_eq!(
        host_and_port("10.0.0.5:5020", Some(502)).as_deref(),
        Some("10.0.0.5:5020")
    );
    assert_eq!(
        host_and_port("[fe80::1]", Some(502)).as_deref(),
        Some("[fe80::1]:502")
    );
    assert_eq!(
        host_and_port("[fe80::1]:99", None).as_deref(),
        Some("[fe80::1]:99")
    );
    for wrong in [
        "",
        ":502",
        "plc:0",
        "plc:99999",
        "fe80::1",
        "a b",
        "user@plc:502",
        "plc:",
    ] {
        assert_eq!(host_and_port(wrong, Some(502)), None, "{wrong}");
    }
    assert_eq!(
        host_and_port("gateway", None),
        None,
        "RTU over TCP has no port of its own"
    );
}

#[test]
fn the_silence_between_frames_is_three_and_a_half_characters() {
    let line = |baud| Line {
        baud,
        data_bits: 8,
        parity: Parity::Even,
        stop_bits: 1,
    };
    assert_eq!(line(9_600).silence(), time::Duration::from_micros(4_010));
    assert_eq!(line(115_200).silence(), time::Duration::from_micros(1_750));
}

#[test]
fn each_form_of_an_address_has_its_port_and_its_line() {
    for (text, shown) in [
        ("tcp://plc", "tcp://plc:502"),
        ("tls://plc", "tls://plc:802"),
        ("tls://plc:8020", "tls://plc:8020"),
        ("udp://[::1]", "udp://[::1]:502"),
        ("rtu+tcp://moxa:4001", "rtu+tcp://moxa:4001"),
        ("ascii+tcp://moxa:4001", "ascii+tcp://moxa:4001"),
        ("rtu:///dev/ttyS0", "rtu:///dev/ttyS0"),
        ("ascii:///dev/ttyS0", "ascii:///dev/ttyS0"),
    ] {
        let endpoint = parse(text, None).expect(text);
        assert_eq!(endpoint.to_string(), shown);
        match endpoint {
            Endpoint::Rtu { line, .. } => assert_eq!(line.data_bits, 8),
            Endpoint::Ascii { line, .. } => assert_eq!(line.data_bits, 7),
            _ => {}
        }
    }
    for wrong in ["ascii://ttyS0", "ascii+tcp://moxa", "tls://", "mqtt://plc"] {
        assert_eq!(parse(wrong, None), None, "{wrong}");
    }
    assert_eq!(host("plc:502"), "plc");
    assert_eq!(host("[::1]:502"), "::1");
}
