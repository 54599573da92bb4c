//! `/federate`: the newest samples of selected series as a page that another Prometheus scrapes.
//!
//! Text format only. Names that the format 0.0.4 cannot write are written in quotes for scrapers that say they understand
//! it (`escaping=allow-utf-8`), with underscores for others, as Prometheus does.

use super::selectors;
use crate::http::params::Params;
use crate::http::state::AppState;
use crate::query::store::SeriesStore;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::labels::{Labels, METRIC_NAME, is_legacy_label_name, is_legacy_metric_name};
use model::matcher::Matcher;
use model::number::push_value;
use model::sample::{Sample, is_stale_marker};
use promql::source::{SelectRequest, SourceError};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
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
    let page = Page {
        external_labels: external_labels(&state),
        quotes: headers.get_all(header::ACCEPT).iter().any(allows_quotes),
    };
    let until_ms = jiff::Timestamp::now().as_millisecond();
    let lookback_ms = i64::try_from(state.process.lookback.as_millis()).unwrap_or(i64::MAX);
    let after_ms = until_ms.saturating_sub(lookback_ms);
    let (store, series_max) = (Arc::clone(&state.store), options.limits.series_max);
    let content_type = page.content_type();
    let lookup = move || {
        let newest = newest_samples(&*store, &sets, after_ms, until_ms, series_max)?;
        Ok::<_, SourceError>(page.write(newest))
    };
    match state.queries.run_lookup(lookup).await.map(|written| written.map_err(|error| error.to_string())) {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        Ok(Err(problem)) => failed(&problem),
        Err(failure) => failed(&failure.to_string()),
    }
}

fn failed(problem: &str) -> Response {
    tracing::error!(problem, "federation failed");
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{problem}\n")).into_response()
}

fn allows_quotes(accept: &header::HeaderValue) -> bool {
    accept.to_str().is_ok_and(|accept| accept.contains("escaping=allow-utf-8"))
}

/// The labels to add, without those that have no value; `instance` is among them, empty unless configured.
fn external_labels(state: &AppState) -> BTreeMap<String, String> {
    let mut labels = state.config.load().global.external_labels.clone();
    labels.entry(INSTANCE.to_owned()).or_default();
    labels
}

fn newest_samples(
    store: &dyn SeriesStore,
    sets: &[Vec<Matcher>],
    after_ms: i64,
    until_ms: i64,
    series_max: usize,
) -> Result<Vec<(Labels, Sample)>, SourceError> {
    let mut newest = Vec::new();
    let mut seen = HashSet::new();
    for matchers in sets {
        let selected = store.select(&SelectRequest { matchers, after_ms, until_ms, series_max })?;
        for index in 0..selected.len() {
            let labels = selected.labels(index);
            let first = sets.len() == 1 || seen.insert(labels.clone());
            if !first || labels.metric_name().is_none() {
                continue;
            }
            // The format has no stale markers; the scraper notices that the series is gone.
            let sample = selected.latest(index, after_ms, until_ms)?;
            newest.extend(sample.filter(|sample| !is_stale_marker(sample.value)).map(|sample| (labels, sample)));
        }
    }
    newest.sort_by(|a, b| a.0.metric_name().cmp(&b.0.metric_name()).then_with(|| a.0.cmp(&b.0)));
    Ok(newest)
}

/// How a page is written.
struct Page {
    external_labels: BTreeMap<String, String>,
    quotes: bool,
}

impl Page {
    fn content_type(&self) -> &'static str {
        if self.quotes {
            "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
        } else {
            "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
        }
    }

    fn write(&self, samples: Vec<(Labels, Sample)>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut family = String::new();
        for (labels, sample) in samples {
            let name = labels.metric_name().unwrap_or_default();
            if name != family {
                family = name.to_owned();
                out.extend_from_slice(b"# TYPE ");
                self.push_family(&mut out, name);
                out.extend_from_slice(b" untyped\n");
            }
            self.push_series(&mut out, name, &labels);
            out.push(b' ');
            push_value(&mut out, sample.value);
            out.push(b' ');
            out.extend_from_slice(itoa::Buffer::new().format(sample.timestamp_ms).as_bytes());
            out.push(b'\n');
        }
        out
    }

    fn push_family(&self, out: &mut Vec<u8>, name: &str) {
        if self.quotes && !is_legacy_metric_name(name) {
            push_quoted(out, name);
        } else {
            out.extend_from_slice(underscored(name, true).as_bytes());
        }
    }

    /// The name and the labels; a name in quotes stands inside the braces.
    fn push_series(&self, out: &mut Vec<u8>, name: &str, labels: &Labels) {
        let quoted_name = self.quotes && !is_legacy_metric_name(name);
        let mut separator = b'{';
        if quoted_name {
            out.push(separator);
            push_quoted(out, name);
            separator = b',';
        } else {
            out.extend_from_slice(underscored(name, true).as_bytes());
        }
        let own = labels.iter().filter(|(label, _)| *label != METRIC_NAME);
        let external = self.external_labels.iter().map(|(label, value)| (label.as_str(), value.as_str()));
        let added = external.filter(|(label, _)| labels.get(label).is_none());
        for (label, value) in own.chain(added) {
            out.push(separator);
            separator = b',';
            if self.quotes && !is_legacy_label_name(label) {
                push_quoted(out, label);
            } else {
                out.extend_from_slice(underscored(label, false).as_bytes());
            }
            out.push(b'=');
            push_quoted(out, value);
        }
        if separator == b',' {
            out.push(b'}');
        }
    }
}

/// The name with everything that the format cannot write replaced by underscores.
fn underscored(name: &str, is_metric: bool) -> Cow<'_, str> {
    let legacy = if is_metric { is_legacy_metric_name(name) } else { is_legacy_label_name(name) };
    if legacy {
        return Cow::Borrowed(name);
    }
    let allowed = |(at, c): (usize, char)| match c {
        'a'..='z' | 'A'..='Z' | '_' => c,
        '0'..='9' if at > 0 => c,
        ':' if is_metric => c,
        _ => '_',
    };
    Cow::Owned(name.chars().enumerate().map(allowed).collect())
}

fn push_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\n' => out.extend_from_slice(b"\\n"),
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(quotes: bool, pairs: &[(&str, &str)]) -> String {
        let external_labels =
            BTreeMap::from([("cluster".to_owned(), "lab".to_owned()), (INSTANCE.into(), String::new())]);
        let labels = Labels::from_pairs(pairs.iter().copied()).unwrap();
        let sample = Sample { timestamp_ms: 1500, value: 1e-9 };
        String::from_utf8(Page { external_labels, quotes }.write(vec![(labels, sample)])).unwrap()
    }

    #[test]
    fn external_labels_are_added_where_they_are_absent() {
        let text = page(false, &[("__name__", "up"), ("cluster", "own"), ("job", "a\"\\\n")]);
        let expected = "# TYPE up untyped\nup{cluster=\"own\",job=\"a\\\"\\\\\\n\",instance=\"\"} 1e-09 1500\n";
        assert_eq!(text, expected);
        let text = page(false, &[("__name__", "up"), ("instance", "i")]);
        assert_eq!(text, "# TYPE up untyped\nup{instance=\"i\",cluster=\"lab\"} 1e-09 1500\n");
    }

    #[test]
    fn foreign_names_are_quoted_for_those_who_understand_it() {
        let pairs = [("__name__", "9my.metric"), ("a.b", "c")];
        let rest = "cluster=\"lab\",instance=\"\"} 1e-09 1500\n";
        assert_eq!(page(true, &pairs), format!("# TYPE \"9my.metric\" untyped\n{{\"9my.metric\",\"a.b\"=\"c\",{rest}"));
        assert_eq!(page(false, &pairs), format!("# TYPE _my_metric untyped\n_my_metric{{a_b=\"c\",{rest}"));
    }
}
