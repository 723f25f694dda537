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
        parity: Parity::Even,
        stop_bits: 1,
    };
    assert_eq!(line(9_600).silence(), time::Duration::from_micros(4_010));
    assert_eq!(line(115_200).silence(), time::Duration::from_micros(1_750));
}
