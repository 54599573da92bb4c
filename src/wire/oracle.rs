//! The walker and the generated decoder side by side: what each reads in a body, in one form, to be compared by property
//! tests and fuzz targets.

use super::histogram::RawHistogram;
use super::others::OtherKind;
use super::prost_types::{BucketSpan, histogram, v1, v2};
use super::{Limits, Protocol, WriteTable, decode};
use model::histogram::CounterResetHint;
use model::histogram::validate::{Candidate, Populations};
use model::metadata::MetricType;
use prost::Message;
use std::collections::BTreeSet;
use storage::append::LabelHash;

/// What a request says, in a form that both decoders can be brought to.
#[derive(Debug, PartialEq)]
pub struct Content {
    /// In the order of the body.
    pub series: Vec<Series>,
    /// Each once.
    pub metadata: BTreeSet<Statement>,
}

/// Name, type, help, unit.
pub type Statement = (Vec<u8>, MetricType, Vec<u8>, Vec<u8>);

/// One entry of `timeseries`.
#[derive(Debug, PartialEq, Default)]
pub struct Series {
    /// Names and values, in the order of the body.
    pub labels: Vec<RawLabel>,
    /// Version 2.0: some reference is wrong, so labels are not compared.
    pub broken: bool,
    /// Timestamp, the bits of the value, start timestamp.
    pub samples: Vec<(i64, u64, i64)>,
    /// Timestamp, labels unless some reference is wrong, the bits of the value.
    pub exemplars: Vec<(i64, Option<Vec<RawLabel>>, u64)>,
    /// Timestamp, and everything else in one text: NaN is itself there, which it is not as a number.
    pub histograms: Vec<(i64, String)>,
}

type RawLabel = (Vec<u8>, Vec<u8>);

/// What the walker reads, or `None` when it refuses the body.
///
/// # Panics
/// The table contradicts itself.
#[must_use]
pub fn walked(protocol: Protocol, body: &[u8], limits: &Limits) -> Option<Content> {
    let mut table = WriteTable::default();
    decode(protocol, body, limits, &mut table).ok()?;
    let mut content = Content { series: Vec::new(), metadata: BTreeSet::new() };
    let (timestamps, values) = table.samples();
    for entry in 0..table.series_count() {
        let mut labels = Vec::new();
        table.labels_of(body, entry, &mut labels).ok()?;
        let broken = table.problem_of(entry).is_some();
        let start = |row: usize| table.starts_ms().get(row).copied().unwrap_or(0);
        let sample = |row: usize| (timestamps[row], values[row].to_bits(), start(row));
        let mut series = Series {
            labels: if broken { Vec::new() } else { owned(&labels) },
            broken,
            samples: table.samples_of(entry).map(sample).collect(),
            ..Series::default()
        };
        for other in table.others_of(entry) {
            match other.kind {
                OtherKind::Histogram => {
                    let raw = table.histogram(body, other).expect("the walk checked its shape");
                    series.histograms.push((other.timestamp_ms, text_of(&raw)));
                }
                OtherKind::Exemplar => {
                    let mut labels = Vec::new();
                    let value = table.exemplar(body, other, &mut labels).expect("the walk checked its shape");
                    let bits = value.as_ref().map_or(0, |value| value.to_bits());
                    series.exemplars.push((other.timestamp_ms, value.ok().map(|_| owned(&labels)), bits));
                }
            }
        }
        content.series.push(series);
        assert!(table.samples_of(entry).all(|row| table.entry_of_sample(row) == entry));
        if !broken {
            check_hash(&table, body, entry, &labels);
        }
    }
    for found in table.metadata(body) {
        content.metadata.insert((found.name.into(), found.metric_type, found.help.into(), found.unit.into()));
    }
    assert_eq!(table.newest_ms(), timestamps.iter().copied().max().unwrap_or(i64::MIN));
    Some(content)
}

fn owned(labels: &[(&[u8], &[u8])]) -> Vec<RawLabel> {
    labels.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// Bytes that are not canonical never hash to the identity of a series.
fn check_hash(table: &WriteTable, body: &[u8], entry: usize, labels: &[(&[u8], &[u8])]) {
    let mut encoded = Vec::new();
    table.encoded_labels_of(body, entry, &mut encoded);
    let pairs: Option<Vec<(&str, &str)>> =
        labels.iter().map(|(n, v)| Some((str::from_utf8(n).ok()?, str::from_utf8(v).ok()?))).collect();
    if let Some(pairs) = pairs {
        let mut canonical = Vec::new();
        let identity = LabelHash::of_pairs(pairs, &mut canonical);
        assert!(table.hashes()[entry] != identity || encoded == canonical, "{labels:?}");
    }
}

/// What the generated decoder reads, or `None` when it refuses the body.
#[must_use]
pub fn generated(protocol: Protocol, body: &[u8]) -> Option<Content> {
    match protocol {
        Protocol::V1 => generated_v1(body),
        Protocol::V2 => generated_v2(body),
    }
}

fn generated_v1(body: &[u8]) -> Option<Content> {
    let request = v1::WriteRequest::decode(body).ok()?;
    let series = request.timeseries.iter().map(|series| Series {
        labels: series.labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect(),
        broken: false,
        samples: series.samples.iter().map(|sample| (sample.timestamp, sample.value.to_bits(), 0)).collect(),
        exemplars: series.exemplars.iter().map(exemplar_v1).collect(),
        histograms: series
            .histograms
            .iter()
            .map(|found| (found.timestamp, text_of(&raw_histogram!(found, 0))))
            .collect(),
    });
    let metadata = request
        .metadata
        .iter()
        .map(|entry| (entry.metric_family_name.clone(), type_of(entry.r#type), entry.help.clone(), entry.unit.clone()));
    Some(Content { series: series.collect(), metadata: metadata.collect() })
}

fn exemplar_v1(found: &v1::Exemplar) -> (i64, Option<Vec<RawLabel>>, u64) {
    let labels = found.labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect();
    (found.timestamp, Some(labels), found.value.to_bits())
}

fn exemplar_v2(symbols: &[Vec<u8>], found: &v2::Exemplar) -> (i64, Option<Vec<RawLabel>>, u64) {
    let symbol = |index: u32| symbols.get(index as usize).cloned();
    let (pairs, odd) = found.labels_refs.as_chunks::<2>();
    let pairs = pairs.iter().map(|[name, value]| Some((symbol(*name)?, symbol(*value)?)));
    match pairs.collect::<Option<Vec<_>>>().filter(|_| odd.is_empty()) {
        Some(labels) => (found.timestamp, Some(labels), found.value.to_bits()),
        None => (found.timestamp, None, 0),
    }
}

fn text_of(raw: &RawHistogram) -> String {
    format!("{raw:?}")
}

fn spans(spans: &[BucketSpan]) -> Vec<model::histogram::Span> {
    spans.iter().map(|span| model::histogram::Span { offset: span.offset, length: span.length }).collect()
}

/// What the generated message says: the two versions have the same fields and different types.
macro_rules! raw_histogram {
    ($found:expr, $start:expr) => {{
        let found = $found;
        let populations = match found.count {
            Some(histogram::Count::Float(count)) => Populations::Floats {
                count,
                zero_count: if let Some(histogram::ZeroCount::Float(zero)) = found.zero_count { zero } else { 0.0 },
                positive: found.positive_counts.clone(),
                negative: found.negative_counts.clone(),
            },
            count => Populations::Integers {
                count: if let Some(histogram::Count::Int(count)) = count { count } else { 0 },
                zero_count: if let Some(histogram::ZeroCount::Int(zero)) = found.zero_count { zero } else { 0 },
                positive_deltas: found.positive_deltas.clone(),
                negative_deltas: found.negative_deltas.clone(),
            },
        };
        let counter_reset_hint = match found.reset_hint {
            1 => CounterResetHint::Reset,
            2 => CounterResetHint::NotReset,
            3 => CounterResetHint::Gauge,
            _ => CounterResetHint::Unknown,
        };
        let candidate = Candidate {
            counter_reset_hint,
            schema: found.schema,
            zero_threshold: found.zero_threshold,
            sum: found.sum,
            positive_spans: spans(&found.positive_spans),
            negative_spans: spans(&found.negative_spans),
            custom_values: found.custom_values.clone(),
            populations,
        };
        RawHistogram { candidate, start_timestamp_ms: $start }
    }};
}
use raw_histogram;

fn type_of(number: i32) -> MetricType {
    use MetricType::*;
    let types = [Unknown, Counter, Gauge, Histogram, GaugeHistogram, Summary, Info, StateSet];
    usize::try_from(number).ok().and_then(|index| types.get(index)).copied().unwrap_or_default()
}

fn generated_v2(body: &[u8]) -> Option<Content> {
    let request = v2::Request::decode(body).ok()?;
    let symbol = |index: u32| request.symbols.get(index as usize).cloned();
    let mut content = Content { series: Vec::new(), metadata: BTreeSet::new() };
    for series in &request.timeseries {
        let (pairs, odd) = series.labels_refs.as_chunks::<2>();
        let pairs = pairs.iter().map(|[name, value]| Some((symbol(*name)?, symbol(*value)?)));
        let labels = if odd.is_empty() { pairs.collect::<Option<Vec<_>>>() } else { None };
        let mut broken = labels.is_none();
        let labels = labels.unwrap_or_default();
        let told = series.metadata.unwrap_or_default();
        if !broken && told != v2::Metadata::default() {
            let text = |index: u32| if index == 0 { Some(Vec::new()) } else { symbol(index) };
            let name = labels.iter().find(|(name, _)| name == b"__name__").map(|(_, value)| value.clone());
            match (text(told.help_ref), text(told.unit_ref), name) {
                (Some(help), Some(unit), Some(name)) => {
                    content.metadata.insert((name, type_of(told.r#type), help, unit));
                }
                (Some(_), Some(_), None) => {}
                _ => broken = true,
            }
        }
        content.series.push(Series {
            labels: if broken { Vec::new() } else { labels },
            broken,
            samples: series.samples.iter().map(|s| (s.timestamp, s.value.to_bits(), s.start_timestamp)).collect(),
            exemplars: series.exemplars.iter().map(|found| exemplar_v2(&request.symbols, found)).collect(),
            histograms: series
                .histograms
                .iter()
                .map(|found| (found.timestamp, text_of(&raw_histogram!(found, found.start_timestamp))))
                .collect(),
        });
    }
    Some(content)
}
