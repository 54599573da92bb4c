//! Remote read answered with all samples at once. The answer is held whole, so that the budget bounds it.

use super::selection::{ExternalLabels, SortedSeries};
use crate::query::error::QueryFailure;
use crate::query::executor::Reading;
use crate::wire::read::request::ReadQuery;
use crate::wire::read::response::{push_result, push_series};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use promql::budget::Budget;
use promql::engine::QueryError;
use promql::source::SeriesSource;

pub(super) async fn answer(
    reading: &Reading,
    queries: Vec<ReadQuery>,
    external: ExternalLabels,
) -> Result<Response, QueryFailure> {
    let body = reading.piece(move |source, budget| write(&queries, &external, source, budget)).await??;
    Ok(([(header::CONTENT_TYPE, "application/x-protobuf"), (header::CONTENT_ENCODING, "snappy")], body).into_response())
}

fn write(
    queries: &[ReadQuery],
    external: &ExternalLabels,
    source: &dyn SeriesSource,
    budget: &Budget,
) -> Result<Vec<u8>, QueryFailure> {
    let mut message = Vec::new();
    for query in queries {
        let mut result = Vec::new();
        let mut selected = SortedSeries::select(query, external, source, budget)?;
        while let Some(series) = selected.next(budget)? {
            let before = result.len();
            push_series(&mut result, &series.labels, &series.floats, &series.histograms);
            // Once in the result, and once more, at most, compressed.
            budget.hold(series.floats.len() + series.histograms.len(), 2 * (result.len() - before))?;
        }
        push_result(&mut message, &result);
    }
    // Only messages above 4 GiB cannot be compressed.
    let too_large = |_| QueryError::TooManyBytes { bytes_max: budget.limits().bytes_max };
    Ok(snap::raw::Encoder::new().compress_vec(&message).map_err(too_large)?)
}
