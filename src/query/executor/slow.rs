//! How a query of a user ended: counted once, and written to the log when it took long.
//!
//! Whoever drops the future of a query ends it, too: then what is dropped with it tells.

use crate::query::admission::QueryClass;
use crate::query::error::{FailureKind, QueryFailure};
use crate::query::metrics::QueryMetrics;
use crate::query::request::{QueryAnswer, QueryRequest, Window};
use promql::budget::Budget;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of a text that are written to the log.
const TEXT_BYTES_MAX: usize = 4096;

/// A query that has not ended; when it is dropped, it ends without anybody who waits for it.
pub(super) struct Unended<'a> {
    pub(super) request: &'a QueryRequest,
    pub(super) started: Instant,
    pub(super) budget: Arc<Budget>,
    pub(super) metrics: &'a QueryMetrics,
    pub(super) log_slower_than: Duration,
    pub(super) is_told: bool,
}

impl Unended<'_> {
    /// The query ended by itself.
    pub(super) fn end(mut self, outcome: &Result<QueryAnswer, QueryFailure>) {
        self.is_told = true;
        self.metrics.count(QueryClass::Interactive, outcome.as_ref().err().map(QueryFailure::kind));
        match outcome {
            _ if !self.is_slow() => {}
            Ok(answer) => self.log_answer(answer),
            Err(failure) => self.log_failure(&failure.to_string()),
        }
    }

    fn is_slow(&self) -> bool {
        self.started.elapsed() > self.log_slower_than
    }

    /// Tells everything that helps to find out why: what was asked, where the time went, how much was held.
    fn log_answer(&self, QueryAnswer { result, timings, .. }: &QueryAnswer) {
        let Self { request, budget, started, .. } = self;
        let (query, tenant, Times { time, start, end, step }) = (cut(&request.text), &request.tenant, times(request));
        let (series, peak_samples, peak_bytes) = (budget.series(), budget.samples_peak(), budget.bytes_peak());
        let (query, seconds, samples) = (&*query, started.elapsed().as_secs_f64(), result.stats.samples_total);
        let [preparation, queue, evaluation] =
            [timings.preparation, timings.queue, timings.evaluation].map(|part| part.as_secs_f64());
        tracing::info!(
            query, %tenant, time, start, end, step, seconds, preparation, queue, evaluation, samples, series,
            peak_samples, peak_bytes, "slow query"
        );
    }

    fn log_failure(&self, error: &str) {
        let Self { request, budget, started, .. } = self;
        let (query, tenant, Times { time, start, end, step }) = (cut(&request.text), &request.tenant, times(request));
        let (series, peak_samples, peak_bytes) = (budget.series(), budget.samples_peak(), budget.bytes_peak());
        let (query, seconds, error) = (&*query, started.elapsed().as_secs_f64(), &*cut(error));
        tracing::info!(
            query, %tenant, time, start, end, step, seconds, series, peak_samples, peak_bytes, error,
            "slow query without an answer"
        );
    }
}

impl Drop for Unended<'_> {
    fn drop(&mut self) {
        if self.is_told {
            return;
        }
        self.metrics.count(QueryClass::Interactive, Some(FailureKind::Canceled));
        if self.is_slow() {
            self.log_failure("nobody waits for it any more: its client went away");
        }
    }
}

/// When a query is evaluated, in RFC 3339; its step in seconds.
#[derive(Default)]
struct Times {
    time: Option<String>,
    start: Option<String>,
    end: Option<String>,
    step: Option<f64>,
}

fn times(request: &QueryRequest) -> Times {
    let time =
        |ms| Some(jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |at| at.to_string()));
    match request.window {
        Window::Instant(at_ms) => Times { time: time(at_ms), ..Times::default() },
        Window::Range { start_ms, end_ms, step_ms } => {
            Times { start: time(start_ms), end: time(end_ms), step: Some(step_ms as f64 / 1e3), ..Times::default() }
        }
    }
}

/// The beginning of a long text, and how long it is.
pub(super) fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= TEXT_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    let beginning = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
    Cow::Owned(format!("{beginning}… (cut off, {} bytes in all)", text.len()))
}

#[cfg(test)]
mod tests;
