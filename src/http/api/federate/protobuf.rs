//! The protobuf format: messages `io.prometheus.client.MetricFamily`, each with its length in front.

use super::names::Escaping;
use super::{Family, Federated, Kind, Page};
use model::histogram::Span;
use prost::Message;

/// The content type of such a page.
pub(super) fn content_type(escaping: Escaping) -> String {
    let escaping = escaping.as_str();
    format!(
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping={escaping}"
    )
}

/// Writes families one after the other.
pub(super) fn write(page: &Page, families: &[Family<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for family in families {
        let message = MetricFamily {
            name: Some(page.escaping.name(family.name, true).into_owned()),
            r#type: Some(match family.kind {
                Kind::Untyped => 3,
                Kind::Histogram => 4,
                Kind::GaugeHistogram => 5,
            }),
            metric: family.samples.iter().map(|sample| metric(page, sample)).collect(),
        };
        // A vector grows as it must.
        let _ = message.encode_length_delimited(&mut out);
    }
    out
}

fn metric(page: &Page, sample: &Federated) -> Metric {
    let label = |(label, value): (&str, &str)| LabelPair {
        name: Some(page.escaping.name(label, false).into_owned()),
        value: Some(value.to_owned()),
    };
    Metric {
        label: page.labels_of(&sample.labels).map(label).collect(),
        untyped: sample.histogram.is_none().then_some(Untyped { value: Some(sample.value) }),
        timestamp_ms: Some(sample.timestamp_ms),
        histogram: sample
            .histogram
            .as_deref()
            .map(|found| if found.has_custom_buckets() { classic(found) } else { native(found) }),
    }
}

/// The +Inf bucket is left out: its population is the count.
fn classic(found: &model::histogram::Histogram) -> Histogram {
    let bucket = |(bound, population)| Bucket { upper_bound: Some(bound), cumulative_count_float: Some(population) };
    Histogram {
        sample_count_float: Some(found.count),
        sample_sum: Some(found.sum),
        bucket: super::cumulative(found).map(bucket).collect(),
        ..Histogram::default()
    }
}

fn native(found: &model::histogram::Histogram) -> Histogram {
    let span = |span: &Span| BucketSpan { offset: Some(span.offset), length: Some(span.length) };
    Histogram {
        sample_count_float: Some(found.count),
        sample_sum: Some(found.sum),
        schema: Some(found.schema.into()),
        zero_threshold: Some(found.zero_threshold),
        zero_count_float: Some(found.zero_count),
        negative_span: found.negative_spans.iter().map(span).collect(),
        negative_count: found.negative_buckets.clone(),
        positive_span: found.positive_spans.iter().map(span).collect(),
        positive_count: found.positive_buckets.clone(),
        ..Histogram::default()
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MetricFamily {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    /// 3 untyped, 4 histogram, 5 gauge histogram.
    #[prost(int32, optional, tag = "3")]
    pub(super) r#type: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    pub(super) metric: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub(super) label: Vec<LabelPair>,
    #[prost(message, optional, tag = "5")]
    pub(super) untyped: Option<Untyped>,
    #[prost(int64, optional, tag = "6")]
    pub(super) timestamp_ms: Option<i64>,
    #[prost(message, optional, tag = "7")]
    pub(super) histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct LabelPair {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(super) value: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Untyped {
    #[prost(double, optional, tag = "1")]
    pub(super) value: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(double, optional, tag = "2")]
    pub(super) sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    pub(super) bucket: Vec<Bucket>,
    #[prost(double, optional, tag = "4")]
    pub(super) sample_count_float: Option<f64>,
    #[prost(sint32, optional, tag = "5")]
    pub(super) schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    pub(super) zero_threshold: Option<f64>,
    #[prost(double, optional, tag = "8")]
    pub(super) zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "9")]
    pub(super) negative_span: Vec<BucketSpan>,
    #[prost(double, repeated, packed = "false", tag = "11")]
    pub(super) negative_count: Vec<f64>,
    #[prost(message, repeated, tag = "12")]
    pub(super) positive_span: Vec<BucketSpan>,
    #[prost(double, repeated, packed = "false", tag = "14")]
    pub(super) positive_count: Vec<f64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Bucket {
    #[prost(double, optional, tag = "2")]
    pub(super) upper_bound: Option<f64>,
    #[prost(double, optional, tag = "4")]
    pub(super) cumulative_count_float: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct BucketSpan {
    #[prost(sint32, optional, tag = "1")]
    pub(super) offset: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    pub(super) length: Option<u32>,
}
