//! `/api/v1/series`, `/api/v1/labels` and `/api/v1/label/<name>/values`: which series there are.

use super::listing::merged;
use super::selectors::{self, satisfies_any};
use crate::http::envelope::{Remarks, success};
use crate::http::error::ApiError;
use crate::http::json::stream::{Array, Charged};
use crate::http::json::text::{push_labels, push_string};
use crate::http::label_name::unescape;
use crate::http::params::Params;
use crate::http::state::AppState;
use crate::query::error::QueryFailure;
use crate::query::store::{LookupRequest, SeriesStore};
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, State};
use axum::response::Response;
use model::labels::Labels;
use model::matcher::Matcher;
use model::text::quote;
use promql::budget::Budget;
use promql::source::{SelectRequest, SeriesSet, SourceError};
use std::sync::Arc;
use storage::select::Listing;

/// The label sets of the series that satisfy any of the selectors.
///
/// # Errors
/// A parameter is wrong or missing, or storage failed.
pub async fn series(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let limit = params.limit()?;
    let (after_ms, until_ms) = selectors::time_range(&params)?;
    let options = state.queries.options();
    let sets = selectors::parse(&params, &options.parse).map_err(|why| ApiError::bad_parameter("match[]", why))?;
    let (store, series_max) = (Arc::clone(&state.store), options.limits.series_max);
    let write = |out: &mut Vec<u8>, labels: Labels| push_labels(out, &labels);
    let account = state.queries.lookup_account();
    let range = (after_ms, until_ms);
    if let Some(limit) = limit {
        let lookup = move || first_of_union(&*store, &sets, range, limit, &account).map(|page| (page, account));
        let ((page, cut_off), account) = state.queries.run_store_lookup(after_ms, lookup).await??;
        let document = Charged::new(Array::new(page.into_iter(), write), account);
        return Ok(success(document, &Remarks::truncated(cut_off)));
    }
    let lookup = move || Union::select(&*store, sets, range, series_max, &account).map(|all| (all, account));
    let (all, account) = state.queries.run_store_lookup(after_ms, lookup).await??;
    Ok(success(Charged::new(Array::new(all, write), account), &Remarks::default()))
}

/// The first `limit` label sets of several selections, each series once, and whether there are more.
fn first_of_union(
    store: &dyn SeriesStore,
    sets: &[Vec<Matcher>],
    (after_ms, until_ms): (i64, i64),
    limit: usize,
    account: &Budget,
) -> Result<(Vec<Labels>, bool), QueryFailure> {
    let wanted = limit.saturating_add(1);
    let mut page = Vec::new();
    for (at, matchers) in sets.iter().enumerate() {
        let before = page.len();
        let (mut asked, mut held) = (wanted, 0);
        while page.len() < wanted {
            // From the start again: how many of them earlier selectors have taken is not known before.
            page.truncate(before);
            account.release(0, std::mem::take(&mut held));
            let selected = store.select_first(&LookupRequest { matchers, after_ms, until_ms, limit: asked })?;
            let others = (0..selected.len()).map(|index| selected.labels(index));
            for labels in others.filter(|labels| !satisfies_any(&sets[..at], labels)).take(wanted - before) {
                held += labels.held_bytes();
                account.hold(0, labels.held_bytes())?;
                page.push(labels);
            }
            if selected.len() < asked {
                break;
            }
            asked = asked.saturating_mul(8);
        }
    }
    let cut_off = page.len() > limit;
    page.truncate(limit);
    Ok((page, cut_off))
}

/// What a selection holds of a series, about: where it is found.
const SELECTED_BYTES: usize = 8;

/// The label sets of several selections, each series once: where it is selected first.
struct Union {
    /// What the selections were selected by.
    sets: Vec<Vec<Matcher>>,
    selections: Vec<Box<dyn SeriesSet>>,
    /// The selection and the series in it that come next.
    next: (usize, usize),
}

impl Union {
    fn select(
        store: &dyn SeriesStore,
        sets: Vec<Vec<Matcher>>,
        (after_ms, until_ms): (i64, i64),
        series_max: usize,
        account: &Budget,
    ) -> Result<Self, QueryFailure> {
        let mut selections = Vec::new();
        for matchers in &sets {
            let selected = store.select(&SelectRequest { matchers, after_ms, until_ms, series_max })?;
            account.hold(0, selected.len() * SELECTED_BYTES)?;
            // Here, where waiting is allowed and failing is possible.
            selected.fetch_labels(account)?;
            selections.push(selected);
        }
        Ok(Self { sets, selections, next: (0, 0) })
    }
}

impl Iterator for Union {
    type Item = Labels;

    fn next(&mut self) -> Option<Labels> {
        loop {
            let (at, index) = self.next;
            let selected = self.selections.get(at)?;
            if index == selected.len() {
                self.next = (at + 1, 0);
                continue;
            }
            self.next = (at, index + 1);
            let labels = selected.labels(index);
            if !satisfies_any(self.sets.get(..at).unwrap_or_default(), &labels) {
                return Some(labels);
            }
        }
    }
}

/// The names of all labels, or of those of the series that satisfy any of the selectors.
///
/// # Errors
/// A parameter is wrong or storage failed.
pub async fn label_names(State(state): State<AppState>, params: Params) -> Result<Response, ApiError> {
    list(&state, &params, None, |store, request| store.label_names(request)).await
}

/// The values of one label.
///
/// # Errors
/// A parameter or the name is wrong, or storage failed.
pub async fn label_values(
    State(state): State<AppState>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    params: Params,
) -> Result<Response, ApiError> {
    let path = path.map_err(|_| ApiError::bad_data("invalid label name: it is not UTF-8"))?;
    let name = path.iter().find(|(key, _)| *key == "name").map_or_else(String::new, |(_, value)| unescape(value));
    if name.is_empty() {
        return Err(ApiError::bad_data(format_args!("invalid label name: {}", quote(&name))));
    }
    list(&state, &params, Some(&name.clone()), move |store, request| store.label_values(&name, request)).await
}

/// Answers with what `look_up` lists, label names or the values of `label`, merged over all selectors.
async fn list(
    state: &AppState,
    params: &Params,
    label: Option<&str>,
    look_up: impl Fn(&dyn SeriesStore, &LookupRequest<'_>) -> Result<Listing, SourceError> + Send + 'static,
) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let (after_ms, until_ms) = selectors::time_range(params)?;
    let mut sets = selectors::parse(params, &state.queries.options().parse).map_err(ApiError::bad_data)?;
    if sets.is_empty() {
        sets.push(Vec::new());
    }
    let store = Arc::clone(&state.store);
    let limit = limit.unwrap_or(usize::MAX);
    let request = |matchers| LookupRequest { matchers, after_ms, until_ms, limit };
    let at_a_glance = match sets.as_slice() {
        [matchers] => store.list_at_a_glance(label, &request(matchers)),
        _ => None,
    };
    let account = state.queries.lookup_account();
    let (listing, account) = match at_a_glance {
        Some(listing) => (listing, account),
        None => {
            let lookup = move || {
                let request = |matchers| LookupRequest { matchers, after_ms, until_ms, limit };
                let listings = sets.iter().map(|matchers| look_up(&*store, &request(matchers)));
                merged(listings, limit, &account).map(|listing| (listing, account))
            };
            state.queries.run_store_lookup(after_ms, lookup).await??
        }
    };
    let Listing { items, truncated } = listing;
    let array = Array::new(items.into_iter(), |out: &mut Vec<u8>, item: String| push_string(out, &item));
    Ok(success(Charged::new(array, account), &Remarks::truncated(truncated)))
}
