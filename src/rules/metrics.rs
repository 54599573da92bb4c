//! What Hearth tells about its rules: the counters that the groups keep, read when somebody asks for them. The series of a
//! group vanish with it.

use super::event_log::RecentEvaluations;
use super::manager::RuleManager;
use crate::telemetry::recent::{LOW_QUANTILES_TOO, QUANTILES, encode_quantiles};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use ruler::driver::{SharedGroup, lock};
use ruler::evaluation::Cost;
use ruler::group::Group;
use ruler::stats::{DURATION_BOUNDS_SECS, DurationStats, SharedStats};
use std::fmt;

/// Collects `hearth_rule_*`.
#[derive(Clone)]
pub struct RuleCollector<M> {
    manager: M,
}

/// Where the counters are.
pub trait RuleStats: Send + Sync + 'static {
    /// The groups that run.
    fn groups(&self) -> Vec<SharedGroup>;

    /// What groups counted that no longer run.
    fn retired_stats(&self) -> SharedStats;

    /// How long evaluations took of late.
    fn recent(&self) -> &RecentEvaluations;
}

impl<Q, A, N> RuleStats for RuleManager<Q, A, N>
where
    Self: Send + Sync + 'static,
{
    fn groups(&self) -> Vec<SharedGroup> {
        Self::groups(self)
    }

    fn retired_stats(&self) -> SharedStats {
        Self::retired_stats(self)
    }

    fn recent(&self) -> &RecentEvaluations {
        Self::recent(self)
    }
}

impl<M: RuleStats> RuleCollector<M> {
    /// Collects from `manager`.
    #[must_use]
    pub fn new(manager: M) -> Self {
        Self { manager }
    }
}

impl<M> fmt::Debug for RuleCollector<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleCollector").finish_non_exhaustive()
    }
}

/// One metric per group.
type PerGroup<T> = (&'static str, &'static str, fn(&Group) -> T);

const COUNTERS: [PerGroup<u64>; 8] = [
    ("hearth_rule_group_clock_steps", "How often the wall clock was set", Group::clock_steps),
    ("hearth_rule_evaluations", "Evaluations of rules", |group| group.stats().evaluations),
    ("hearth_rule_evaluation_failures", "Evaluations of rules that failed", |group| group.stats().evaluation_failures),
    ("hearth_rule_early_evaluations", "Evaluations of rules between slots, since samples arrived", |group| {
        group.stats().early_evaluations
    }),
    ("hearth_rule_group_iterations", "Slots that were due, evaluated or missed", |group| group.stats().iterations),
    ("hearth_rule_group_iterations_missed", "Slots that passed while the group was busy", |group| {
        group.stats().iterations_missed
    }),
    ("hearth_rule_group_slots_repaired", "Slots that were missed or failed and evaluated afterwards", |group| {
        group.repairs().repaired
    }),
    ("hearth_rule_group_slots_lost", "Slots that were missed or failed and became too old to be evaluated", |group| {
        group.repairs().lost
    }),
];

const GAUGES: [PerGroup<f64>; 14] = [
    ("hearth_rule_group_interval_seconds", "Distance of evaluations", |group| group.spec().interval_ms as f64 / 1000.0),
    ("hearth_rule_group_last_evaluation_timestamp_seconds", "When the last evaluation began", |group| {
        group.stats().last_evaluation_secs
    }),
    ("hearth_rule_group_last_duration_seconds", "How long the last evaluation took", |group| {
        group.stats().last_duration_secs
    }),
    ("hearth_rule_group_last_rule_duration_sum_seconds", "How long the rules of the last evaluation took", |group| {
        group.stats().last_rule_durations_secs
    }),
    (
        "hearth_rule_group_last_restore_duration_seconds",
        "How long the last restoration of alerts took, from the journal and from ALERTS_FOR_STATE",
        |group| group.stats().last_restore_secs,
    ),
    ("hearth_rule_group_last_evaluation_samples", "Samples that the last evaluation returned", |group| {
        group.stats().last_samples as f64
    }),
    ("hearth_rule_group_alerts_unknown", "Firing alerts that are only believed, since their rule fails", |group| {
        let unknown = group.rules().iter().filter(|rule| rule.unknown_since.is_some());
        unknown.map(|rule| rule.alerts.firing()).sum::<usize>() as f64
    }),
    ("hearth_rule_group_alerts_left_out", "Alerts beyond the limit of a group that truncates", |group| {
        group.rules().iter().map(|rule| rule.left_out).sum::<usize>() as f64
    }),
    ("hearth_rule_group_rules", "Rules of the group", |group| group.rules().len() as f64),
    ("hearth_rule_group_slots_waiting", "Slots that were missed or failed and are to be evaluated yet", |group| {
        group.backlog_len() as f64
    }),
    ("hearth_rule_group_last_series_matched", "Series that the rules matched when they were last evaluated", |group| {
        costs(group).map(|cost| cost.series).sum::<u64>() as f64
    }),
    ("hearth_rule_group_last_samples_read", "Samples that the rules read when they were last evaluated", |group| {
        costs(group).map(|cost| cost.samples).sum::<u64>() as f64
    }),
    ("hearth_rule_group_last_cpu_seconds", "Time of computing the rules when they were last evaluated", |group| {
        costs(group).map(|cost| cost.cpu.as_secs_f64()).sum()
    }),
    ("hearth_rule_group_rules_matching_nothing", "Rules whose selectors matched no series", |group| {
        costs(group).filter(|cost| cost.matched_nothing).count() as f64
    }),
];

/// What the rules of a group cost when they were last evaluated.
fn costs(group: &Group) -> impl Iterator<Item = Cost> {
    group.rules().iter().map(|rule| rule.cost)
}

impl<M: RuleStats> Collector for RuleCollector<M> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let groups = self.manager.groups();
        let keys: Vec<[(&str, String); 1]> =
            groups.iter().map(|group| [("rule_group", lock(group).spec().key())]).collect();
        for (name, help, read) in COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (group, key) in groups.iter().zip(&keys) {
                let value = read(&lock(group));
                metric.encode_family(key)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            }
        }
        for (name, help, read) in GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (group, key) in groups.iter().zip(&keys) {
                let value = read(&lock(group));
                metric.encode_family(key)?.encode_gauge(&value)?;
            }
        }
        let mut shared = self.manager.retired_stats();
        for group in &groups {
            shared.add(&lock(group).stats().shared);
        }
        encode_shared(&mut encoder, &shared)?;
        let RecentEvaluations { rules, groups } = self.manager.recent();
        let help = "Quantiles of the time that evaluations of rules took in the last ten minutes";
        let name = "hearth_rule_evaluation_recent_duration_seconds";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Unknown)?;
        encode_quantiles(&mut metric, &[], &QUANTILES, &rules.now())?;
        let help = "Quantiles of the time that evaluations of groups took in the last ten minutes";
        let name = "hearth_rule_group_recent_duration_seconds";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Unknown)?;
        encode_quantiles(&mut metric, &[], &LOW_QUANTILES_TOO, &groups.now())
    }
}

fn encode_shared(encoder: &mut DescriptorEncoder<'_>, stats: &SharedStats) -> Result<(), fmt::Error> {
    let rules = "Time that the evaluation of a rule takes, storing its samples included";
    encode_durations(encoder, "hearth_rule_evaluation_duration_seconds", rules, &stats.rule_durations)?;
    let groups = "Time that the evaluation of a group takes";
    encode_durations(encoder, "hearth_rule_group_duration_seconds", groups, &stats.group_durations)?;
    for (name, help, value) in [
        ("hearth_rule_template_expansions", "Templates of alerts that were expanded", stats.template_expansions),
        ("hearth_rule_template_failures", "Templates of alerts whose expansion failed", stats.template_failures),
    ] {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
    }
    Ok(())
}

fn encode_durations(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    stats: &DurationStats,
) -> Result<(), fmt::Error> {
    let bounds = DURATION_BOUNDS_SECS.into_iter().chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(stats.buckets).collect();
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    metric.encode_histogram::<NoLabelSet>(stats.sum_secs, stats.count, &buckets, None)
}

#[cfg(test)]
mod tests;
