//! What is asked for and what comes back.

use super::admission::AdmissionOptions;
use model::tenant::TenantId;
use promql::budget::{Budget, BudgetLimits};
use promql::parse::ParseOptions;
use promql::resolution::SourceResolution;
use promql::value::QueryResult;
use std::sync::Arc;
use std::time::Duration;

/// Bounds of all queries and habits of the executor.
#[derive(Debug, Clone)]
pub struct QueryOptions {
    /// Which parts of the language are enabled.
    pub parse: ParseOptions,
    /// What one query may use.
    pub limits: BudgetLimits,
    /// Longest time of a query, waiting included.
    pub timeout: Duration,
    /// How many queries run and wait.
    pub admission: AdmissionOptions,
    /// Queries that take longer are written to the log.
    pub log_slower_than: Duration,
}

/// When to evaluate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Once, at this time in milliseconds.
    Instant(i64),
    /// At `start`, `start + step`, … up to `end`, all in milliseconds.
    Range {
        /// First time.
        start_ms: i64,
        /// Last time, inclusive.
        end_ms: i64,
        /// Distance; positive.
        step_ms: i64,
    },
}

/// One query.
#[derive(Debug, Clone)]
pub struct QueryRequest {
    /// PromQL.
    pub text: String,
    /// Whose data it reads.
    pub tenant: TenantId,
    /// When to evaluate.
    pub window: Window,
    /// Shortens the time it may take.
    pub timeout: Option<Duration>,
    /// How far back instant selectors look, in milliseconds; `None` means the default.
    pub lookback_ms: Option<i64>,
    /// Whether downsampled data may stand for samples.
    pub source_resolution: SourceResolution,
    /// Count samples per step.
    pub per_step_stats: bool,
    /// Count what each part of the plan takes.
    pub explain: bool,
    /// Evaluate all of it, whatever is known from earlier queries.
    pub no_cache: bool,
}

/// What a query came to.
#[derive(Debug)]
pub struct QueryAnswer {
    /// Value, remarks and cost.
    pub result: QueryResult,
    /// Where its time went.
    pub timings: Timings,
    /// What the result is charged to for as long as it is kept.
    pub account: Arc<Budget>,
}

/// Where the time of a query went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Parsing.
    pub preparation: Duration,
    /// Waiting for a place.
    pub queue: Duration,
    /// Evaluating, the wait for a thread included.
    pub evaluation: Duration,
    /// All of it.
    pub total: Duration,
}
