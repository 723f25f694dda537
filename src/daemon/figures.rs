//! Figures as people read them.

use std::time::Duration;

use floorgate_sample::Timestamp;

/// A length of time.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A number of bytes, with three digits at least.
pub fn bytes(bytes: f64) -> String {
    match bytes {
        ..1000.0 => format!("{bytes:.0} B"),
        ..10_000.0 => format!("{:.2} kB", bytes / 1e3),
        ..1e6 => format!("{:.0} kB", bytes / 1e3),
        ..1e7 => format!("{:.2} MB", bytes / 1e6),
        _ => format!("{:.0} MB", bytes / 1e6),
    }
}

/// Milliseconds, with as many decimals as say something.
pub fn millis(millis: f64) -> String {
    match millis {
        ..10.0 => format!("{millis:.1} ms"),
        ..1000.0 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", millis / 1e3),
    }
}

/// A time as the gateway writes it.
pub fn read_time(time: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = time.parse().ok()?;
    i64::try_from(time.as_nanosecond())
        .ok()
        .map(Timestamp::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let spans = [900, 61_000, 600_000, 90_000_000].map(|millis| span(Duration::from_millis(millis)));
        assert_eq!(spans, ["0.9 s", "61 s", "10 min", "25 h"]);
        let sizes = [0.0, 12.4, 1_234.0, 56_789.0, 1_500_000.0, 25_000_000.0].map(bytes);
        assert_eq!(sizes, ["0 B", "12 B", "1.23 kB", "57 kB", "1.50 MB", "25 MB"]);
        assert_eq!([0.34, 12.3, 2_500.0].map(millis), ["0.3 ms", "12 ms", "2.5 s"]);
    }
}
