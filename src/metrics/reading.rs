//! How a source's counters stand at one moment, and what two such moments say together.

use crate::families::LATENCY_BUCKETS;

/// How a source's counters stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Samples handed on.
    pub samples: u64,
    /// Requests sent.
    pub requests: u64,
    /// How often good values were seen to be as they were.
    pub confirmed: u64,
    /// Bytes received and sent; `None` where the adapter does not see them.
    pub bytes: Option<(u64, u64)>,
    /// How long requests took.
    pub round_trips: RoundTrips,
}

/// How long requests took, in buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoundTrips {
    /// How many were measured.
    pub count: u64,
    /// How many of them took at most as long as each bucket says.
    pub(crate) within: Vec<u64>,
}

impl RoundTrips {
    /// Those that were measured since an earlier reading.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.within.iter().chain(std::iter::repeat(&0));
        Self {
            count: self.count.saturating_sub(earlier.count),
            within: self
                .within
                .iter()
                .zip(before)
                .map(|(now, before)| now.saturating_sub(*before))
                .collect(),
        }
    }

    /// In seconds, what a share of them (0 to 1) took at most, as well as buckets can say it: within the bucket it is taken as spread
    /// evenly. What is above the last bucket is told as its bound. `None` where nothing was measured.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let rank = share * self.count as f64;
        let (mut below, mut from) = (0, 0.0);
        for (bound, within) in LATENCY_BUCKETS.iter().zip(&self.within) {
            if *within as f64 >= rank && *within > below {
                let part = (rank - below as f64) / (*within - below) as f64;
                return Some(from + (bound - from) * part.clamp(0.0, 1.0));
            }
            (below, from) = (*within, *bound);
        }
        LATENCY_BUCKETS.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use crate::Metrics;

    #[test]
    fn what_took_how_long_is_told_as_well_as_buckets_can() -> Result<(), prometheus::Error> {
        let source = Metrics::new()?.source("plc");
        source.request_seconds.observe(7.0);
        let before = source.reading();
        assert_eq!(before.round_trips.count, 1);
        for _ in 0..98 {
            source.request_seconds.observe(0.0015);
        }
        source.request_seconds.observe(0.15);
        source.request_seconds.observe(40.0);
        let trips = source.reading().round_trips.since(&before.round_trips);
        assert_eq!(trips.count, 100);
        let half = trips.quantile(0.5).unwrap_or_default();
        assert!((0.001..=0.002).contains(&half), "{half}");
        let most = trips.quantile(0.99).unwrap_or_default();
        assert!((0.1..=0.2).contains(&most), "{most}");
        assert_eq!(trips.quantile(1.0), Some(10.0), "as far as the buckets go");
        let none = before.round_trips.since(&before.round_trips);
        assert_eq!(none.quantile(0.5), None);
        Ok(())
    }

    #[test]
    fn bytes_are_those_of_sources_that_count_them() -> Result<(), prometheus::Error> {
        let metrics = Metrics::new()?;
        let text =
            |metrics: &Metrics| prometheus::TextEncoder::new().encode_to_string(&metrics.registry.gather());
        assert_eq!(metrics.source("plc").reading().bytes, None);
        assert!(!text(&metrics)?.contains("bytes_total{source=\"plc\"}"));
        metrics.source("plc").traffic().sent.inc_by(12);
        assert_eq!(metrics.source("plc").reading().bytes, Some((0, 12)));
        assert!(text(&metrics)?.contains("floorgate_source_sent_bytes_total{source=\"plc\"} 12"));
        metrics.forget_source("plc");
        assert_eq!(metrics.source("plc").reading().bytes, None);
        Ok(())
    }

    #[test]
    fn words_are_those_of_the_source_alone() -> Result<(), prometheus::Error> {
        let metrics = Metrics::new()?;
        let (plc, drive) = (metrics.source("plc"), metrics.source("drive"));
        plc.error("timeout");
        drive.error("link");
        plc.revised("queue_size", 100.0, 10.0);
        plc.server(0, 255);
        plc.clock_skew(Some(-61.5));
        drive.clock_skew(Some(2.0));
        drive.clock_skew(None);
        let mut all = metrics.source_words();
        let words = all.remove("plc").unwrap_or_default();
        assert_eq!(words.errors, [("timeout".to_owned(), 1)].into());
        let setting = words.settings["queue_size"];
        assert_eq!((setting.asked, setting.revised), (100.0, 10.0));
        assert_eq!((words.server, words.clock_skew), (Some((0, 255)), Some(-61.5)));
        let other = all.remove("drive").unwrap_or_default();
        assert_eq!((other.server, other.settings.len()), (None, 0));
        assert_eq!(other.clock_skew, None, "it does not tell any more");
        metrics.forget_source("plc");
        assert!(!metrics.source_words().contains_key("plc"));
        Ok(())
    }
}
