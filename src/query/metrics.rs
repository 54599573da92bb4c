//! What Hearth tells about its queries.

use super::admission::QueryClass;
use super::error::FailureKind;
use super::results_cache::CacheMetrics;
use crate::telemetry::recent::{QUANTILES, Recent, RecentCollector};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// Bounds in seconds: from a look-up of one series to the default timeout.
const SECONDS_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 120.0];

/// Who asked and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    class: &'static str,
    outcome: &'static str,
}

/// A part of a query's time, as a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StageLabels {
    stage: &'static str,
}

/// A part of a query's time.
#[derive(Debug, Clone, Copy)]
pub(super) enum QueryStage {
    Queue,
    Evaluation,
}

/// Counters of the query path; a clone counts on the same ones.
#[derive(Debug, Clone)]
pub struct QueryMetrics {
    /// Queries that ended.
    pub(super) queries: Family<OutcomeLabels, Counter>,
    /// Time per stage.
    seconds: Family<StageLabels, Histogram>,
    /// Of late.
    queued: Recent,
    evaluated: Recent,
    /// Queries being evaluated.
    pub(super) evaluating: Gauge,
    /// How many may be evaluated at once.
    evaluating_max: Gauge,
    /// Queries that wait for a place.
    pub(super) waiting: Gauge,
    /// Samples handed to expressions.
    pub(super) samples: Counter,
    /// Samples read, those that several steps used once.
    pub(super) samples_read: Counter,
    /// Series matched by selectors.
    pub(super) series: Counter,
    /// Of the cache of results.
    pub(super) results_cache: CacheMetrics,
}

impl Default for QueryMetrics {
    fn default() -> Self {
        Self {
            queries: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS_BUCKETS)),
            queued: Recent::default(),
            evaluated: Recent::default(),
            evaluating: Gauge::default(),
            evaluating_max: Gauge::default(),
            waiting: Gauge::default(),
            samples: Counter::default(),
            samples_read: Counter::default(),
            series: Counter::default(),
            results_cache: CacheMetrics::default(),
        }
    }
}

impl QueryMetrics {
    /// Makes the metrics part of a registry.
    pub fn register(&self, registry: &mut Registry) {
        let queries = "Queries by who asked (interactive, rule) and how they ended";
        registry.register("hearth_queries", queries, self.queries.clone());
        let seconds = "Time of queries per stage: queue, evaluation";
        registry.register("hearth_query_duration_seconds", seconds, self.seconds.clone());
        registry.register_collector(Box::new(RecentCollector {
            name: "hearth_query_recent_duration_seconds",
            help: "Quantiles of the time that queries took in the last ten minutes per stage: queue, evaluation.",
            quantiles: &QUANTILES,
            parts: [QueryStage::Queue, QueryStage::Evaluation]
                .map(|stage| (Some(("stage", stage.as_str())), self.recent(stage).clone()))
                .into(),
        }));
        registry.register("hearth_queries_evaluating", "Queries that are being evaluated", self.evaluating.clone());
        let places = "Queries that may be evaluated at once";
        registry.register("hearth_queries_evaluating_max", places, self.evaluating_max.clone());
        registry.register("hearth_queries_waiting", "Queries that wait for a place", self.waiting.clone());
        let samples = "Samples that selectors handed to expressions, once per step that used them";
        registry.register("hearth_query_samples", samples, self.samples.clone());
        let read = "Samples that selectors read, once however many steps used them";
        registry.register("hearth_query_samples_read", read, self.samples_read.clone());
        registry.register("hearth_query_series", "Series that selectors matched", self.series.clone());
        self.results_cache.register(registry);
    }

    /// Notes how many queries may be evaluated at once.
    pub fn allow(&self, evaluating_max: usize) {
        self.evaluating_max.set(i64::try_from(evaluating_max).unwrap_or(i64::MAX));
    }

    /// Counts a query that ended.
    pub(super) fn count(&self, class: QueryClass, failure: Option<FailureKind>) {
        let class = match class {
            QueryClass::Interactive | QueryClass::Light => "interactive",
            QueryClass::Rule => "rule",
        };
        let outcome = match failure {
            None => "success",
            Some(FailureKind::BadQuery) => "bad_query",
            Some(FailureKind::Execution) => "execution",
            Some(FailureKind::Canceled) => "canceled",
            Some(FailureKind::Timeout) => "timeout",
            Some(FailureKind::Busy) => "busy",
            Some(FailureKind::Unavailable) => "unavailable",
            Some(FailureKind::Internal) => "internal",
        };
        self.queries.get_or_create(&OutcomeLabels { class, outcome }).inc();
    }

    /// How many queries of a class ended so.
    #[cfg(test)]
    pub(super) fn counted(&self, class: &'static str, outcome: &'static str) -> u64 {
        self.queries.get_or_create(&OutcomeLabels { class, outcome }).get()
    }

    /// Records the time of one stage.
    pub(super) fn observe(&self, stage: QueryStage, took: Duration) {
        self.seconds.get_or_create(&StageLabels { stage: stage.as_str() }).observe(took.as_secs_f64());
        self.recent(stage).observe(took);
    }

    fn recent(&self, stage: QueryStage) -> &Recent {
        match stage {
            QueryStage::Queue => &self.queued,
            QueryStage::Evaluation => &self.evaluated,
        }
    }
}

impl QueryStage {
    fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Evaluation => "evaluation",
        }
    }
}
