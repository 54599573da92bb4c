//! How long something took of late: quantiles over the last ten minutes, as a summary of Prometheus has them.
//!
//! A summary forgets in steps of a fifth of its time, so that a quantile is about the last eight to ten minutes, and it is NaN
//! when nothing happened in them. Here a duration is known to 1.6 %: it counts in one of 32 steps between powers of two.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The quantiles that Prometheus has of most things.
pub const QUANTILES: [&str; 3] = ["0.5", "0.9", "0.99"];

/// The quantiles that it has of what should take about the same time again and again.
pub const LOW_QUANTILES_TOO: [&str; 5] = ["0.01", "0.05", "0.5", "0.9", "0.99"];

const PERIODS: usize = 5;
const PERIOD_SECS: u64 = 120;

/// Steps between two powers of two, as a power of two.
const STEP_BITS: u32 = 5;
const STEPS: u64 = 1 << STEP_BITS;
/// What takes longer, 73 minutes, counts as this.
const NANOS_MAX: u64 = (1 << 42) - 1;

/// Durations, each to 1.6 %.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Durations {
    /// By step: nanoseconds below [`STEPS`], then [`STEPS`] for each power of two.
    counts: Vec<u64>,
}

/// Durations of the last ten minutes. Times are of one clock that never goes back.
#[derive(Debug, Clone, Default)]
pub struct RecentDurations {
    /// Number of the period and what happened in it; a period has the place that its number says.
    periods: [(u64, Durations); PERIODS],
}

/// Durations of the last ten minutes, by the clock. A clone counts on the same ones.
#[derive(Debug, Clone)]
pub struct Recent {
    started: Instant,
    durations: Arc<Mutex<RecentDurations>>,
}

/// Shows quantiles as the summary `name`, of each of `parts` by its own labels.
pub struct RecentCollector {
    /// Of the family.
    pub name: &'static str,
    /// What it is about.
    pub help: &'static str,
    /// Which are shown.
    pub quantiles: &'static [&'static str],
    /// What distinguishes them, and the durations.
    pub parts: Vec<(Option<(&'static str, &'static str)>, Recent)>,
}

impl Durations {
    fn observe(&mut self, took: Duration) {
        let step = step_of(took);
        if self.counts.len() <= step {
            self.counts.resize(step + 1, 0);
        }
        self.counts[step] += 1;
    }

    /// Adds what another counted.
    pub fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, count)| *sum += count);
    }

    /// The duration in seconds that a part of `quantile` of all does not exceed; NaN if there are none.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> f64 {
        let all: u64 = self.counts.iter().sum();
        let rank = ((all as f64 * quantile).ceil() as u64).max(1);
        let mut below = 0;
        let step = self.counts.iter().position(|count| {
            below += count;
            below >= rank
        });
        step.map_or(f64::NAN, middle_secs)
    }
}

impl RecentDurations {
    /// Counts something that ended at `now`.
    pub fn observe(&mut self, took: Duration, now: Duration) {
        let number = now.as_secs() / PERIOD_SECS;
        let (known, durations) = &mut self.periods[number as usize % PERIODS];
        if *known != number {
            *known = number;
            durations.counts.fill(0);
        }
        durations.observe(took);
    }

    /// What is recent at `now`.
    #[must_use]
    pub fn at(&self, now: Duration) -> Durations {
        let number = now.as_secs() / PERIOD_SECS;
        let mut all = Durations::default();
        for (known, durations) in &self.periods {
            if number.saturating_sub(*known) < PERIODS as u64 {
                all.add(durations);
            }
        }
        all
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self { started: Instant::now(), durations: Arc::default() }
    }
}

impl Recent {
    /// Counts something that ended now.
    pub fn observe(&self, took: Duration) {
        self.durations.lock().unwrap_or_else(PoisonError::into_inner).observe(took, self.started.elapsed());
    }

    /// What is recent now.
    #[must_use]
    pub fn now(&self) -> Durations {
        self.durations.lock().unwrap_or_else(PoisonError::into_inner).at(self.started.elapsed())
    }
}

fn step_of(took: Duration) -> usize {
    let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).min(NANOS_MAX);
    if nanos < STEPS {
        return nanos as usize;
    }
    let power = nanos.ilog2();
    let within = (nanos >> (power - STEP_BITS)) - STEPS;
    (u64::from(power - STEP_BITS + 1) * STEPS + within) as usize
}

/// The middle of what counts in a step.
fn middle_secs(step: usize) -> f64 {
    let (row, within) = (step as u64 / STEPS, step as u64 % STEPS);
    let width = 1_u64 << row.saturating_sub(1);
    let least = if row == 0 { within } else { (STEPS + within) * width };
    (least as f64 + (width - 1) as f64 / 2.0) / 1e9
}

/// Writes quantiles of `durations` as samples of `family`, behind its labels.
///
/// # Errors
/// The page cannot be written.
pub fn encode_quantiles(
    family: &mut prometheus_client::encoding::MetricEncoder<'_>,
    labels: &[(&str, &str)],
    quantiles: &[&str],
    durations: &Durations,
) -> fmt::Result {
    for quantile in quantiles {
        let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("quantile", *quantile)]).collect();
        // They are constants of ours.
        let value = durations.quantile(quantile.parse().unwrap_or(f64::NAN));
        ConstGauge::new(value).encode(family.encode_family(&labels.as_slice())?)?;
    }
    Ok(())
}

impl fmt::Debug for RecentCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecentCollector").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Collector for RecentCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(self.name, self.help, None, MetricType::Unknown)?;
        for (label, recent) in &self.parts {
            encode_quantiles(&mut family, label.as_slice(), self.quantiles, &recent.now())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The quantiles of what took these milliseconds, in milliseconds.
    fn quantiles(millis: &[u64]) -> [f64; 3] {
        let mut recent = RecentDurations::default();
        millis.iter().for_each(|took| recent.observe(Duration::from_millis(*took), SECOND));
        [0.5, 0.9, 0.99].map(|quantile| recent.at(SECOND).quantile(quantile) * 1000.0)
    }

    fn assert_near(found: f64, expected: f64) {
        assert!((found - expected).abs() <= expected * 0.016, "{found} is not {expected}");
    }

    #[test]
    fn quantiles_are_those_of_what_was_observed() {
        let hundred: Vec<u64> = (1..=100).collect();
        for (found, expected) in quantiles(&hundred).into_iter().zip([50.0, 90.0, 99.0]) {
            assert_near(found, expected);
        }
        quantiles(&[7]).into_iter().for_each(|found| assert_near(found, 7.0));
        assert!(quantiles(&[]).into_iter().all(f64::is_nan), "nothing took no time");
    }

    #[test]
    fn every_duration_is_known_to_its_step() {
        let mut nanos = 1_u64;
        while nanos < NANOS_MAX {
            for nanos in [nanos - 1, nanos, nanos + 1] {
                let found = middle_secs(step_of(Duration::from_nanos(nanos))) * 1e9;
                assert!((found - nanos as f64).abs() <= nanos as f64 / 63.0, "{found} is not {nanos}");
            }
            nanos = nanos * 21 / 20 + 1;
        }
        assert_eq!(step_of(Duration::MAX), step_of(Duration::from_nanos(NANOS_MAX)), "bounded");
    }

    #[test]
    fn what_is_older_than_ten_minutes_is_forgotten() {
        let mut recent = RecentDurations::default();
        let at = |minutes: u64| Duration::from_secs(60 * minutes);
        recent.observe(SECOND, at(0));
        recent.observe(10 * SECOND, at(8));
        assert_near(recent.at(at(9)).quantile(0.01), 1.0);
        assert_near(recent.at(at(10)).quantile(0.01), 10.0);
        assert!(recent.at(at(18)).quantile(0.5).is_nan());
        recent.observe(2 * SECOND, at(21));
        assert_near(recent.at(at(21)).quantile(0.99), 2.0);
    }

    #[test]
    fn durations_of_several_places_are_those_of_all() {
        let of = |seconds: u64| {
            let mut recent = RecentDurations::default();
            recent.observe(Duration::from_secs(seconds), SECOND);
            recent.at(SECOND)
        };
        for (first, second) in [(1, 10), (10, 1)] {
            let mut all = of(first);
            all.add(&of(second));
            assert_near(all.quantile(0.5), 1.0);
            assert_near(all.quantile(0.9), 10.0);
        }
    }
}
