//! `/federate`: the newest samples of selected series as a page that another Prometheus scrapes.
//!
//! Text or protobuf, as the scraper prefers; native histograms are in the latter alone. Names that the old formats cannot
//! write stay for scrapers that say they understand them (`escaping=allow-utf-8`) and are escaped for others, by
//! underscores unless they say otherwise, as Prometheus does.

mod names;
mod protobuf;
#[cfg(test)]
mod tests;
mod text;

use super::selectors::{self, satisfies_any};
use crate::http::error::{ApiError, ErrorType, RETRY_AFTER_SECONDS};
use crate::http::params::Params;
use crate::http::state::AppState;
use crate::query::error::QueryFailure;
use crate::query::store::SeriesStore;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use model::histogram::{CounterResetHint, Histogram};
use model::labels::{Labels, METRIC_NAME};
use model::matcher::Matcher;
use model::sample::is_stale_marker;
use names::{Escaping, Format, negotiate};
use promql::budget::Budget;
use promql::source::{SelectRequest, SeriesSet, SourceError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The label that tells instances of a job apart. A federated series without it keeps none: the scraper must not add its own.
const INSTANCE: &str = "instance";

/// The newest sample within the lookback of each series that satisfies any of the selectors.
pub async fn federate(State(state): State<AppState>, headers: HeaderMap, params: Params) -> Response {
    let options = state.queries.options();
    let sets = match selectors::parse_any(&params, &options.parse) {
        Ok(sets) => sets,
        Err(reason) => return (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response(),
    };
    let (format, escaping) = negotiate(&headers);
    let page = Page { external_labels: external_labels(&state), escaping };
    let until_ms = jiff::Timestamp::now().as_millisecond();
    let lookback_ms = i64::try_from(state.process.lookback.as_millis()).unwrap_or(i64::MAX);
    let after_ms = until_ms.saturating_sub(lookback_ms);
    let (store, series_max) = (Arc::clone(&state.store), options.limits.series_max);
    let content_type = match format {
        Format::Text => text::content_type(escaping),
        Format::Protobuf => protobuf::content_type(escaping),
    };
    let account = state.queries.lookup_account();
    let lookup = move || {
        let newest = newest_samples(&*store, &sets, (after_ms, until_ms), series_max, &account)?;
        // A line for each, and as much again while it grows.
        let lines = newest.iter().map(|sample| 2 * page.line_bytes(&sample.labels)).sum();
        account.hold(0, lines)?;
        let bytes = page.write(format, &newest);
        Ok::<_, QueryFailure>(Bytes::from_owner(Sent { bytes, _account: account }))
    };
    match state.queries.run_store_lookup(after_ms, lookup).await.and_then(|written| written) {
        Ok(body) => ([(header::CONTENT_TYPE, content_type)], body).into_response(),
        Err(failure) => failed(failure),
    }
}

/// What a line has beside the text of its own labels, about.
const NUMBERS_BYTES: usize = 48;

/// A page on its way, charged until it is sent.
struct Sent {
    bytes: Vec<u8>,
    _account: Arc<Budget>,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Plain text, as the page would be.
fn failed(failure: QueryFailure) -> Response {
    let ApiError { error_type, message } = failure.into();
    let mut response = (error_type.status(), format!("{message}\n")).into_response();
    match error_type {
        ErrorType::Unavailable => {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        // Asked for more than there is room for, which the answer says.
        ErrorType::Execution => {}
        _ => tracing::error!(problem = message, "federation failed"),
    }
    response
}

/// The labels to add, without those that have no value; `instance` is among them, empty unless configured.
fn external_labels(state: &AppState) -> BTreeMap<String, String> {
    let mut labels = state.config.load().global.external_labels.clone();
    labels.entry(INSTANCE.to_owned()).or_default();
    labels
}

/// The newest sample of a series.
struct Federated {
    labels: Labels,
    timestamp_ms: i64,
    /// Without a histogram.
    value: f64,
    histogram: Option<Arc<Histogram>>,
}

fn newest_samples(
    store: &dyn SeriesStore,
    sets: &[Vec<Matcher>],
    (after_ms, until_ms): (i64, i64),
    series_max: usize,
    account: &Budget,
) -> Result<Vec<Federated>, QueryFailure> {
    let mut newest: Vec<Federated> = Vec::new();
    for (at, matchers) in sets.iter().enumerate() {
        let selected = store.select(&SelectRequest { matchers, after_ms, until_ms, series_max })?;
        for index in 0..selected.len() {
            let labels = selected.labels(index);
            if labels.metric_name().is_some() && !satisfies_any(sets.get(..at).unwrap_or_default(), &labels) {
                account.hold(0, labels.held_bytes() + size_of::<Federated>())?;
                newest.extend(newest_sample(&*selected, index, labels, after_ms, until_ms)?);
            }
        }
    }
    newest.sort_by(|a, b| a.labels.metric_name().cmp(&b.labels.metric_name()).then_with(|| a.labels.cmp(&b.labels)));
    Ok(newest)
}

/// The newest of a series, if it has not ended: the formats have no stale markers; the scraper notices that it is gone.
fn newest_sample(
    selected: &dyn SeriesSet,
    index: usize,
    labels: Labels,
    after_ms: i64,
    until_ms: i64,
) -> Result<Option<Federated>, SourceError> {
    let float = selected.latest(index, after_ms, until_ms)?;
    let histogram =
        if selected.may_have_histograms(index) { selected.latest_histogram(index, after_ms, until_ms)? } else { None };
    Ok(match (float, histogram) {
        (float, Some((timestamp_ms, histogram))) if float.is_none_or(|float| float.timestamp_ms < timestamp_ms) => {
            let there = !histogram.is_stale();
            there.then_some(Federated { labels, timestamp_ms, value: 0.0, histogram: Some(histogram) })
        }
        (Some(float), _) if !is_stale_marker(float.value) => {
            Some(Federated { labels, timestamp_ms: float.timestamp_ms, value: float.value, histogram: None })
        }
        _ => None,
    })
}

/// What the samples of a family are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Untyped,
    Histogram,
    GaugeHistogram,
}

impl Federated {
    fn kind(&self) -> Kind {
        match self.histogram.as_ref().map(|histogram| histogram.counter_reset_hint) {
            None => Kind::Untyped,
            Some(CounterResetHint::Gauge) => Kind::GaugeHistogram,
            Some(_) => Kind::Histogram,
        }
    }
}

/// Samples that follow each other and have one name and kind. A name may have several families, which Prometheus reads.
struct Family<'a> {
    name: &'a str,
    kind: Kind,
    samples: &'a [Federated],
}

/// How a page is written.
struct Page {
    external_labels: BTreeMap<String, String>,
    escaping: Escaping,
}

impl Page {
    fn write(&self, format: Format, samples: &[Federated]) -> Vec<u8> {
        let name = |sample: &Federated| sample.labels.metric_name().map(str::to_owned);
        let alike = |a: &Federated, b: &Federated| a.kind() == b.kind() && name(a) == name(b);
        let runs = samples.chunk_by(alike).filter_map(|samples| Some((samples.first()?, samples)));
        let families: Vec<Family<'_>> = runs
            .map(|(first, samples)| Family {
                name: first.labels.metric_name().unwrap_or_default(),
                kind: first.kind(),
                samples,
            })
            .collect();
        match format {
            Format::Text => text::write(self, &families),
            Format::Protobuf => protobuf::write(self, &families),
        }
    }

    /// The text of a sample, about.
    fn line_bytes(&self, labels: &Labels) -> usize {
        let longer_name = self.escaping.longer_by_max(labels.metric_name().unwrap_or_default(), true);
        let longer_labels: usize = labels.iter().map(|(label, _)| self.escaping.longer_by_max(label, false)).sum();
        labels.packed_len() + longer_name + longer_labels + NUMBERS_BYTES
    }

    /// The labels of a sample but for its name, and the external ones that it does not have itself.
    fn labels_of<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = (&'a str, &'a str)> {
        let own = labels.iter().filter(|(label, _)| *label != METRIC_NAME);
        let external = self.external_labels.iter().map(|(label, value)| (label.as_str(), value.as_str()));
        own.chain(external.filter(|(label, _)| labels.get(label).is_none()))
    }
}

/// The bounds of custom buckets, and how many observations are up to each.
fn cumulative(histogram: &Histogram) -> impl Iterator<Item = (f64, f64)> {
    let mut populations = vec![0.0; histogram.custom_values.len()];
    let (mut index, mut rest) = (0usize, histogram.positive_buckets.iter());
    for span in &histogram.positive_spans {
        index = index.saturating_add(usize::try_from(span.offset).unwrap_or(0));
        for population in rest.by_ref().take(span.length as usize) {
            if let Some(at) = populations.get_mut(index) {
                *at = *population;
            }
            index += 1;
        }
    }
    let sum = |sum: &mut f64, population: f64| {
        *sum += population;
        Some(*sum)
    };
    histogram.custom_values.iter().copied().zip(populations.into_iter().scan(0.0, sum)).collect::<Vec<_>>().into_iter()
}
