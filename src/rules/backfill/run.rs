//! One job: group by group, piece by piece, rule by rule.

use super::Job;
use crate::ingest::{Ingest, OwnSample};
use crate::query::error::QueryFailure;
use crate::query::executor::QueryExecutor;
use crate::query::request::{QueryRequest, Window};
use model::tenant::TenantId;
use model::time::Timestamp;
use promql::engine::QueryError;
use promql::resolution::SourceResolution;
use promql::value::{MatrixSeries, QueryValue};
use ruler::backfill::{Piece, Pieces, Recorded, record};
use ruler::group::GroupSpec;
use ruler::ports::RuleSample;
use ruler::rule::Rule;

/// Samples that are stored at once.
const BATCH: usize = 5_000;

/// Why a piece could not be done.
enum Problem {
    /// Its results do not fit the budget of a query.
    TooLarge(String),
    Failed(String),
}

/// Stores what the recording rules of the job's groups return in each slot of its range.
pub(super) async fn run(queries: &QueryExecutor, ingest: &Ingest, job: &Job) -> Result<(), String> {
    let (start, end) = job.range_ms;
    let all = job.groups.len().max(1) as f64;
    for (done, group) in job.groups.iter().enumerate() {
        let mut pieces = Pieces::new(group, Timestamp(start), Timestamp(end));
        while let Some(piece) = pieces.advance() {
            // Small pieces wait for nothing: others have their turn, and the job can be stopped.
            tokio::task::yield_now().await;
            match run_piece(queries, ingest, job, group, &piece).await {
                Ok(()) => job.status().progress = (done as f64 + pieces.progress()) / all,
                Err(Problem::TooLarge(_)) if pieces.narrow(&piece) => {}
                Err(Problem::TooLarge(error) | Problem::Failed(error)) => {
                    return Err(format!("group {:?} at {}: {error}", group.name, Timestamp(piece.first_ms)));
                }
            }
        }
    }
    Ok(())
}

async fn run_piece(
    queries: &QueryExecutor,
    ingest: &Ingest,
    job: &Job,
    group: &GroupSpec,
    piece: &Piece,
) -> Result<(), Problem> {
    for rule in group.rules.iter().filter(|rule| rule.alerting().is_none()) {
        let in_rule = |error: String| format!("rule {:?}: {error}", rule.name);
        let results = ask(queries, ingest.tenant(), rule, piece).await.map_err(|problem| match problem {
            Problem::TooLarge(error) => Problem::TooLarge(in_rule(error)),
            Problem::Failed(error) => Problem::Failed(in_rule(error)),
        })?;
        let recorded = record(rule, results, group.limit.max(0).unsigned_abs());
        let Recorded { samples, slots_over_limit } =
            recorded.map_err(|error| Problem::Failed(in_rule(error.to_string())))?;
        job.status().slots_over_limit += slots_over_limit as u64;
        for batch in samples.chunks(BATCH) {
            let batch: Vec<OwnSample> = batch.iter().map(own).collect();
            let outcome = ingest.write_own(&batch).await;
            let outcome = outcome.map_err(|error| Problem::Failed(in_rule(error.to_string())))?;
            let mut status = job.status();
            status.samples_written += outcome.written;
            status.samples_refused += outcome.refused.len() as u64;
        }
    }
    Ok(())
}

fn own(RuleSample { labels, at, value }: &RuleSample) -> OwnSample {
    OwnSample { labels: labels.clone(), timestamp_ms: at.0, value: value.clone() }
}

async fn ask(
    queries: &QueryExecutor,
    tenant: &TenantId,
    rule: &Rule,
    piece: &Piece,
) -> Result<Vec<MatrixSeries>, Problem> {
    let request = QueryRequest {
        text: rule.query.text().to_string(),
        tenant: tenant.clone(),
        window: Window::Range { start_ms: piece.first_ms, end_ms: piece.last_ms, step_ms: piece.interval_ms },
        timeout: None,
        lookback_ms: None,
        source_resolution: SourceResolution::default(),
        per_step_stats: false,
        explain: false,
        no_cache: true,
    };
    let answer = queries.run(request).await.map_err(|failure| {
        let error = failure.to_string();
        if does_not_fit(&failure) { Problem::TooLarge(error) } else { Problem::Failed(error) }
    })?;
    if let Some(missing) = answer.result.annotations.incomplete() {
        return Err(Problem::Failed(format!("the answer is not complete: {missing}")));
    }
    match answer.result.value {
        QueryValue::Matrix(series) => Ok(series),
        QueryValue::Scalar { .. } | QueryValue::String { .. } | QueryValue::Vector { .. } => {
            Err(Problem::Failed("the answer of a range query is no matrix".into()))
        }
    }
}

/// Whether less time would take less.
fn does_not_fit(failure: &QueryFailure) -> bool {
    matches!(
        failure,
        QueryFailure::Evaluation(
            QueryError::TooManySamples { .. }
                | QueryError::TooManySteps { .. }
                | QueryError::TooManyBytes { .. }
                | QueryError::WouldNotFit { .. }
                | QueryError::TimedOut
        )
    )
}
