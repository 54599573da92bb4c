//! The object `stats` of an answer: what a query cost.

use crate::query::request::{QueryAnswer, Timings};
use promql::value::QueryStats;
use serde::{Serialize, Serializer};

/// What a query cost, in Prometheus' fields. Times are seconds.
#[derive(Debug, Serialize)]
pub(super) struct StatsView<'a> {
    timings: TimingsView,
    samples: SamplesView<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TimingsView {
    eval_total_time: f64,
    result_sort_time: f64,
    query_preparation_time: f64,
    inner_eval_time: f64,
    exec_queue_time: f64,
    exec_total_time: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SamplesView<'a> {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "steps")]
    total_queryable_samples_per_step: Option<&'a [(i64, u64)]>,
    total_queryable_samples: u64,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "steps")]
    samples_read_per_step: Option<&'a [(i64, u64)]>,
    samples_read: u64,
    peak_samples: usize,
    /// Not in Prometheus.
    series_selected: usize,
}

impl<'a> StatsView<'a> {
    /// What `answer` cost.
    #[must_use]
    pub(super) fn of(answer: &'a QueryAnswer) -> Self {
        let Timings { preparation, queue, evaluation, total } = answer.timings;
        let stats @ QueryStats { samples_per_step, samples_read_per_step, .. } = &answer.result.stats;
        Self {
            timings: TimingsView {
                eval_total_time: (preparation + evaluation).as_secs_f64(),
                // Range results come sorted out of the evaluation.
                result_sort_time: 0.0,
                query_preparation_time: preparation.as_secs_f64(),
                inner_eval_time: evaluation.as_secs_f64(),
                exec_queue_time: queue.as_secs_f64(),
                exec_total_time: total.as_secs_f64(),
            },
            samples: SamplesView {
                total_queryable_samples_per_step: samples_per_step.as_deref(),
                total_queryable_samples: stats.samples_total,
                samples_read_per_step: samples_read_per_step.as_deref(),
                samples_read: stats.samples_read,
                peak_samples: stats.samples_peak,
                series_selected: stats.series,
            },
        }
    }
}

/// `[[seconds,samples],…]`
fn steps<S: Serializer>(steps: &Option<&[(i64, u64)]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(steps.unwrap_or_default().iter().map(|(at, samples)| (*at as f64 / 1000.0, samples)))
}
