//! `/api/v1/search/{metric_names,label_names,label_values}`: names and values that resemble what a user is typing.
//!
//! An answer is a sequence of lines, each a JSON object: batches of results, then a trailer that says whether there are more.
//! Parameters, scores and order are those of Prometheus 3.14, where the endpoints are experimental; `filter` says what
//! resembles what.

mod filter;
mod jaro_winkler;
mod params;
mod subsequence;

use super::listing::merged;
use crate::http::error::ApiError;
use crate::http::json::text::push_string;
use crate::http::params::Params;
use crate::http::state::{AppState, MetadataSource};
use crate::query::error::QueryFailure;
use crate::query::store::{LookupRequest, SeriesStore};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use model::labels::METRIC_NAME;
use model::number::push_value;
use params::{Order, SearchParams, boolean};
use promql::budget::Budget;
use std::cmp::Ordering;
use std::sync::Arc;
use storage::select::Listing;

/// What is searched.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    LabelNames,
    ValuesOf(String),
}

/// How results are written.
struct Style {
    /// The field of the name or value.
    field: &'static str,
    with_score: bool,
    /// Where type, help and unit come from.
    metadata: Option<Arc<dyn MetadataSource>>,
}

/// A name or value and how well it matches, 0 to 1.
type Found = (String, f64);

/// Names of metrics.
///
/// # Errors
/// A parameter is wrong or storage failed.
pub async fn metric_names(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let search = SearchParams::parse(&params, "metric_names", &state.queries.options().parse)?;
    let metadata = boolean(&params, "include_metadata", false)?.then(|| Arc::clone(&state.metadata));
    let style = Style { field: "name", with_score: search.include_score, metadata };
    answer(&state, search, Subject::ValuesOf(METRIC_NAME.to_owned()), style).await
}

/// Names of labels.
///
/// # Errors
/// A parameter is wrong or storage failed.
pub async fn label_names(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let search = SearchParams::parse(&params, "label_names", &state.queries.options().parse)?;
    let style = Style { field: "name", with_score: search.include_score, metadata: None };
    answer(&state, search, Subject::LabelNames, style).await
}

/// Values of the label `label`.
///
/// # Errors
/// A parameter is wrong or missing, or storage failed.
pub async fn label_values(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    let search = SearchParams::parse(&params, "label_values", &state.queries.options().parse)?;
    let label = params.get("label");
    if label.is_empty() {
        return Err(ApiError::bad_data("missing required parameter \"label\""));
    }
    let style = Style { field: "value", with_score: search.include_score, metadata: None };
    answer(&state, search, Subject::ValuesOf(label.to_owned()), style).await
}

async fn answer(state: &AppState, search: SearchParams, subject: Subject, style: Style) -> Result<Response, ApiError> {
    let (store, after_ms) = (Arc::clone(&state.store), search.after_ms);
    let account = state.queries.lookup_account();
    let work = move || {
        let mut found = find(&*store, &search, &subject, &account)?;
        let has_more = found.len() > search.limit;
        found.truncate(search.limit);
        Ok::<_, QueryFailure>(write(&found, has_more, search.batch_size, &style))
    };
    let lines = state.queries.run_store_lookup(after_ms, work).await??;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson; charset=utf-8")], lines).into_response())
}

/// The best results in order, one more than the limit when there are more.
fn find(
    store: &dyn SeriesStore,
    search: &SearchParams,
    subject: &Subject,
    account: &Budget,
) -> Result<Vec<Found>, QueryFailure> {
    let wanted = search.limit.saturating_add(1);
    // Without anything to compare with, the index needs to list no more than is asked for.
    let all_needed = search.filter.is_some() || search.order == Order::Descending;
    let limit = if all_needed { usize::MAX } else { wanted };
    let listings = search.matcher_sets.iter().map(|matchers| {
        let request = LookupRequest { matchers, after_ms: search.after_ms, until_ms: search.until_ms, limit };
        match subject {
            Subject::LabelNames => store.label_names(&request),
            Subject::ValuesOf(label) => store.label_values(label, &request),
        }
    });
    let Listing { items, .. } = merged(listings, limit, account)?;
    let score = |item: String| match &search.filter {
        Some(filter) => filter.score(&item).map(|score| (item, score)),
        None => Some((item, 1.0)),
    };
    Ok(match search.order {
        Order::Ascending => items.into_iter().filter_map(score).take(wanted).collect(),
        Order::Descending => items.into_iter().rev().filter_map(score).take(wanted).collect(),
        Order::Score => best(items.into_iter().filter_map(score).collect(), wanted),
    })
}

/// The `count` best scores, best first, ties in ascending order.
fn best(mut found: Vec<Found>, count: usize) -> Vec<Found> {
    let order = |a: &Found, b: &Found| -> Ordering { b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)) };
    if count < found.len() {
        found.select_nth_unstable_by(count, order);
        found.truncate(count);
    }
    found.sort_unstable_by(order);
    found
}

/// Lines of at most `batch_size` results, at least one, and the trailer.
fn write(found: &[Found], has_more: bool, batch_size: usize, style: &Style) -> Vec<u8> {
    let mut out = Vec::new();
    let batches = found.chunks(batch_size);
    let none: &[Found] = &[];
    for batch in batches.chain(found.is_empty().then_some(none)) {
        out.extend_from_slice(b"{\"results\":[");
        for (index, (item, score)) in batch.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_result(&mut out, item, *score, style);
        }
        out.extend_from_slice(b"]}\n");
    }
    out.extend_from_slice(b"{\"status\":\"success\",\"has_more\":");
    out.extend_from_slice(if has_more { b"true" } else { b"false" });
    out.extend_from_slice(b"}\n");
    out
}

fn write_result(out: &mut Vec<u8>, item: &str, score: f64, style: &Style) {
    out.push(b'{');
    push_string(out, style.field);
    out.push(b':');
    push_string(out, item);
    if style.with_score {
        out.extend_from_slice(b",\"score\":");
        push_value(out, score);
    }
    let told = style.metadata.as_ref().map(|source| source.metadata(Some(item), 1, 1));
    if let Some(told) = told.and_then(|mut told| told.pop()?.1.pop()) {
        let fields = [("type", told.metric_type.name()), ("help", &told.help), ("unit", &told.unit)];
        for (field, text) in fields.into_iter().filter(|(_, text)| !text.is_empty()) {
            out.push(b',');
            push_string(out, field);
            out.push(b':');
            push_string(out, text);
        }
    }
    out.push(b'}');
}
