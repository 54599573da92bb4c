//! The walker and the generated decoder side by side: what each reads in a body, in one form, to be compared by property
//! tests and fuzz targets.

use super::prost_types::{v1, v2};
use super::table::OtherKind;
use super::{Limits, Protocol, WriteTable, decode};
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
    pub labels: Vec<(Vec<u8>, Vec<u8>)>,
    /// Version 2.0: some reference is wrong, so labels are not compared.
    pub broken: bool,
    /// Timestamp and the bits of the value.
    pub samples: Vec<(i64, u64)>,
    /// Their timestamps.
    pub exemplars_ms: Vec<i64>,
    /// Their timestamps.
    pub histograms_ms: Vec<i64>,
}

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
        let others = |kind| {
            let of_kind = table.others_of(entry).iter().filter(move |other| other.kind == kind);
            of_kind.map(|other| other.timestamp_ms).collect()
        };
        content.series.push(Series {
            labels: if broken { Vec::new() } else { owned(&labels) },
            broken,
            samples: table.samples_of(entry).map(|row| (timestamps[row], values[row].to_bits())).collect(),
            exemplars_ms: others(OtherKind::Exemplar),
            histograms_ms: others(OtherKind::Histogram),
        });
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

fn owned(labels: &[(&[u8], &[u8])]) -> Vec<(Vec<u8>, Vec<u8>)> {
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
        samples: series.samples.iter().map(|sample| (sample.timestamp, sample.value.to_bits())).collect(),
        exemplars_ms: series.exemplars.iter().map(|exemplar| exemplar.timestamp).collect(),
        histograms_ms: series.histograms.iter().map(|histogram| histogram.timestamp).collect(),
    });
    let metadata = request
        .metadata
        .iter()
        .map(|entry| (entry.metric_family_name.clone(), type_of(entry.r#type), entry.help.clone(), entry.unit.clone()));
    Some(Content { series: series.collect(), metadata: metadata.collect() })
}

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
            samples: series.samples.iter().map(|sample| (sample.timestamp, sample.value.to_bits())).collect(),
            exemplars_ms: series.exemplars.iter().map(|exemplar| exemplar.timestamp).collect(),
            histograms_ms: series.histograms.iter().map(|histogram| histogram.timestamp).collect(),
        });
    }
    Some(content)
}
