//! Counters of rule evaluation, as plain numbers that the server renders.

use std::time::Duration;

/// Upper bounds, in seconds, of the buckets of [`DurationStats`]; a last bucket without a bound follows.
pub const DURATION_BOUNDS_SECS: [f64; 4] = [0.01, 0.1, 1.0, 10.0];

/// How long something took, many times.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DurationStats {
    /// How often.
    pub count: u64,
    /// How long in all, in seconds.
    pub sum_secs: f64,
    /// How often at most each of [`DURATION_BOUNDS_SECS`] and more than the bound before; then the rest.
    pub buckets: [u64; DURATION_BOUNDS_SECS.len() + 1],
}

impl DurationStats {
    /// Counts one duration.
    pub fn observe(&mut self, duration: Duration) {
        let secs = duration.as_secs_f64();
        self.count += 1;
        self.sum_secs += secs;
        let bucket = DURATION_BOUNDS_SECS.partition_point(|bound| *bound < secs);
        if let Some(bucket) = self.buckets.get_mut(bucket) {
            *bucket += 1;
        }
    }

    /// Adds what another counted.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum_secs += other.sum_secs;
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += more;
        }
    }
}

/// What is counted across all groups and survives their removal.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SharedStats {
    /// Evaluations of single rules, storing the samples included.
    pub rule_durations: DurationStats,
    /// Evaluations of whole groups.
    pub group_durations: DurationStats,
    /// Templates that were expanded.
    pub template_expansions: u64,
    /// Templates whose expansion failed.
    pub template_failures: u64,
}

impl SharedStats {
    /// Adds what another group counted.
    pub fn add(&mut self, other: &Self) {
        self.rule_durations.add(&other.rule_durations);
        self.group_durations.add(&other.group_durations);
        self.template_expansions += other.template_expansions;
        self.template_failures += other.template_failures;
    }
}

/// What is counted for one group and vanishes with it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupStats {
    /// Evaluations of rules.
    pub evaluations: u64,
    /// Evaluations that failed.
    pub evaluation_failures: u64,
    /// Evaluations of rules between slots.
    pub early_evaluations: u64,
    /// Slots that were due, evaluated or missed.
    pub iterations: u64,
    /// Slots that passed while the group was busy.
    pub iterations_missed: u64,
    /// When the last evaluation began, in seconds since the Unix epoch; 0 before the first.
    pub last_evaluation_secs: f64,
    /// How long the last evaluation of the whole group took, in seconds.
    pub last_duration_secs: f64,
    /// The sum of what its rules took, in seconds.
    pub last_rule_durations_secs: f64,
    /// How long it took to take over what alerts were before the start, in seconds: from the journal and from series. 0 if
    /// nothing was to be taken over.
    pub last_restore_secs: f64,
    /// Samples that the rules returned in the last evaluation.
    pub last_samples: u64,
    /// What is counted across all groups.
    pub shared: SharedStats,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_whose_bound_they_do_not_exceed() {
        let mut stats = DurationStats::default();
        for millis in [5, 10, 11, 1_000, 60_000] {
            stats.observe(Duration::from_millis(millis));
        }
        assert_eq!(stats.buckets, [2, 1, 1, 0, 1]);
        assert_eq!(stats.count, 5);
        assert!((stats.sum_secs - 61.026).abs() < 1e-9);
    }
}
