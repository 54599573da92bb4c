//! The field `result` of an answer, written from its columns.
//!
//! Series are dropped as soon as they are written. Series that share a column of timestamps share its text too: a point
//! costs a copy and the formatting of its value.

use super::histogram::push_histogram;
use super::number::{push_float_timestamp, push_timestamp};
use super::stream::{Divisible, Document, PART_BYTES};
use super::text::{push_labels, push_string};
use super::timestamp_texts::TimestampTexts;
use model::number::{push_plain, push_value};
use promql::value::{MatrixSeries, QueryValue, SampleValue, VectorSample};

/// Name of the type of a value, as the field `resultType` has it.
#[must_use]
pub fn result_type(value: &QueryValue) -> &'static str {
    match value {
        QueryValue::Scalar { .. } => "scalar",
        QueryValue::String { .. } => "string",
        QueryValue::Vector { .. } => "vector",
        QueryValue::Matrix(_) => "matrix",
    }
}

/// Leaves at most `limit` series; returns whether there were more.
pub fn truncate(value: &mut QueryValue, limit: usize) -> bool {
    match value {
        QueryValue::Scalar { .. } | QueryValue::String { .. } => false,
        QueryValue::Vector { samples, .. } => truncate_list(samples, limit),
        QueryValue::Matrix(series) => truncate_list(series, limit),
    }
}

fn truncate_list<T>(items: &mut Vec<T>, limit: usize) -> bool {
    let more = items.len() > limit;
    items.truncate(limit);
    more
}

/// A value that is being written.
pub struct ResultDocument {
    state: State,
}

enum State {
    /// Scalars and texts: `[time,"value"]`.
    Single(Vec<u8>),
    Vector {
        timestamp: Vec<u8>,
        samples: std::vec::IntoIter<VectorSample>,
        first: bool,
        last: bool,
    },
    Matrix(MatrixWriter),
}

/// About the text of a sample or of the labels of a series.
const LABELS_BYTES: usize = 256;
/// About the text of a point.
const POINT_BYTES: usize = 32;
/// About the text of a histogram.
const HISTOGRAM_BYTES: usize = 2048;

fn text_bytes(series: &MatrixSeries) -> usize {
    let histograms = series.histograms.timestamps_ms.len();
    LABELS_BYTES + series.values.len() * POINT_BYTES + histograms * HISTOGRAM_BYTES
}

impl ResultDocument {
    /// The document of a value.
    #[must_use]
    pub fn new(value: QueryValue) -> Self {
        let state = match value {
            QueryValue::Scalar { timestamp_ms, value } => {
                let quoted = |out: &mut Vec<u8>| {
                    out.push(b'"');
                    push_plain(out, value);
                    out.push(b'"');
                };
                State::Single(single(timestamp_ms, quoted))
            }
            QueryValue::String { timestamp_ms, value } => {
                State::Single(single(timestamp_ms, |out| push_string(out, &String::from_utf8_lossy(&value))))
            }
            QueryValue::Vector { timestamp_ms, samples } => {
                let mut timestamp = Vec::new();
                push_timestamp(&mut timestamp, timestamp_ms);
                State::Vector { timestamp, samples: samples.into_iter(), first: true, last: true }
            }
            QueryValue::Matrix(series) => State::Matrix(MatrixWriter::new(series)),
        };
        Self { state }
    }
}

fn single(timestamp_ms: i64, push: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![b'['];
    push_float_timestamp(&mut out, timestamp_ms);
    out.push(b',');
    push(&mut out);
    out.push(b']');
    out
}

impl Document for ResultDocument {
    fn write_some(&mut self, out: &mut Vec<u8>, target: usize) -> bool {
        match &mut self.state {
            State::Single(text) => {
                out.append(text);
                false
            }
            State::Vector { timestamp, samples, first, last } => {
                while out.len() < target {
                    let Some(sample) = samples.next() else {
                        close(out, *first, *last);
                        return false;
                    };
                    out.push(if *first { b'[' } else { b',' });
                    *first = false;
                    push_sample(out, timestamp, &sample);
                }
                true
            }
            State::Matrix(writer) => writer.write_some(out, target),
        }
    }
}

impl Divisible for ResultDocument {
    fn divide(&mut self) -> Option<Self> {
        let state = match &mut self.state {
            State::Single(_) => return None,
            State::Vector { timestamp, samples, first, .. } => {
                let count = PART_BYTES / LABELS_BYTES;
                if samples.len() < 2 * count {
                    return None;
                }
                let part: Vec<_> = samples.take(count).collect();
                let first = std::mem::replace(first, false);
                State::Vector { timestamp: timestamp.clone(), samples: part.into_iter(), first, last: false }
            }
            State::Matrix(writer) => State::Matrix(writer.divide()?),
        };
        Some(Self { state })
    }
}

/// The end of a list, if it ends here; `first` if nothing of it was written.
fn close(out: &mut Vec<u8>, first: bool, last: bool) {
    match (first, last) {
        (true, true) => out.extend_from_slice(b"[]"),
        (false, true) => out.push(b']'),
        (_, false) => {}
    }
}

/// `{"metric":{…},"value":[time,"value"]}`, or `"histogram":[time,{…}]` in place of the value.
fn push_sample(out: &mut Vec<u8>, timestamp: &[u8], sample: &VectorSample) {
    out.extend_from_slice(b"{\"metric\":");
    push_labels(out, &sample.labels);
    match &sample.value {
        SampleValue::Float(value) => {
            out.extend_from_slice(b",\"value\":[");
            out.extend_from_slice(timestamp);
            out.extend_from_slice(b",\"");
            push_value(out, *value);
            out.extend_from_slice(b"\"]}");
        }
        SampleValue::Histogram(histogram) => {
            out.extend_from_slice(b",\"histogram\":[");
            out.extend_from_slice(timestamp);
            out.push(b',');
            push_histogram(out, histogram);
            out.extend_from_slice(b"]}");
        }
    }
}

struct MatrixWriter {
    series: std::vec::IntoIter<MatrixSeries>,
    current: Option<MatrixSeries>,
    /// The next point of `current`, its histograms after its values.
    point: usize,
    first: bool,
    last: bool,
    /// About the text of all that is left.
    bytes: usize,
    shared: TimestampTexts,
}

impl MatrixWriter {
    fn new(series: Vec<MatrixSeries>) -> Self {
        let bytes = series.iter().map(text_bytes).sum();
        Self::part(series, true, true, bytes)
    }

    fn part(series: Vec<MatrixSeries>, first: bool, last: bool, bytes: usize) -> Self {
        let shared = TimestampTexts::default();
        Self { series: series.into_iter(), current: None, point: 0, first, last, bytes, shared }
    }

    fn divide(&mut self) -> Option<Self> {
        if self.bytes < 2 * PART_BYTES {
            return None;
        }
        let (mut part, mut bytes) = (Vec::new(), 0);
        while bytes < PART_BYTES {
            let Some(next) = self.series.next() else { break };
            bytes += text_bytes(&next);
            part.push(next);
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        Some(Self::part(part, std::mem::replace(&mut self.first, false), false, bytes))
    }

    fn write_some(&mut self, out: &mut Vec<u8>, target: usize) -> bool {
        while out.len() < target {
            if let Some(current) = self.current.take() {
                if self.write_points(out, target, &current) {
                    self.current = Some(current);
                    return true;
                }
                continue;
            }
            let Some(next) = self.series.next() else {
                close(out, self.first, self.last);
                return false;
            };
            out.push(if self.first { b'[' } else { b',' });
            self.first = false;
            self.point = 0;
            out.extend_from_slice(b"{\"metric\":");
            push_labels(out, &next.labels);
            let following = self.series.as_slice().first().map(|series| &series.timestamps_ms);
            self.shared.prepare(&next.timestamps_ms, following);
            self.current = Some(next);
        }
        true
    }

    /// Writes points of the current series and what closes it; returns whether points are left.
    fn write_points(&mut self, out: &mut Vec<u8>, target: usize, series: &MatrixSeries) -> bool {
        while let (Some(&at), Some(&value)) = (series.timestamps_ms.get(self.point), series.values.get(self.point)) {
            if out.len() >= target {
                return true;
            }
            out.extend_from_slice(if self.point == 0 { b",\"values\":[[" } else { b",[" });
            match self.shared.get(self.point) {
                Some(text) => out.extend_from_slice(text),
                None => push_timestamp(out, at),
            }
            out.extend_from_slice(b",\"");
            push_value(out, value);
            out.extend_from_slice(b"\"]");
            self.point += 1;
        }
        self.write_histograms(out, target, series)
    }

    /// Writes histograms of the current series, whose values are written, and what closes it; returns whether any are left.
    fn write_histograms(&mut self, out: &mut Vec<u8>, target: usize, series: &MatrixSeries) -> bool {
        let values = series.values.len();
        let columns = &series.histograms;
        if self.point == values && values > 0 {
            out.push(b']');
        }
        while let (Some(&at), Some(histogram)) =
            (columns.timestamps_ms.get(self.point - values), columns.histograms.get(self.point - values))
        {
            out.extend_from_slice(if self.point == values { b",\"histograms\":[[" } else { b",[" });
            push_timestamp(out, at);
            out.push(b',');
            push_histogram(out, histogram);
            out.push(b']');
            self.point += 1;
            if out.len() >= target {
                return true;
            }
        }
        out.extend_from_slice(if self.point == values { b"}" } else { b"]}" });
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::histogram::{Histogram, HistogramColumns};
    use model::labels::Labels;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn labels(name: &str) -> Labels {
        Labels::from_pairs([("__name__", name)]).unwrap()
    }

    /// The document as it is written in chunks of at least `target` bytes.
    fn written(value: QueryValue, target: usize) -> String {
        let mut document = ResultDocument::new(value);
        let mut all = Vec::new();
        loop {
            let mut chunk = Vec::new();
            let more = document.write_some(&mut chunk, target);
            all.append(&mut chunk);
            if !more {
                return String::from_utf8(all).unwrap();
            }
        }
    }

    #[test]
    fn scalars_have_no_exponent_and_short_times() {
        let scalar = QueryValue::Scalar { timestamp_ms: 1500, value: 1e-9 };
        assert_eq!(written(scalar, 1), r#"[1.5,"0.000000001"]"#);
    }

    #[test]
    fn texts_that_are_not_utf8_are_made_so() {
        let text = QueryValue::String { timestamp_ms: 1000, value: b"a\xff\"".to_vec() };
        assert_eq!(written(text, 1), "[1,\"a\u{fffd}\\\"\"]");
    }

    #[test]
    fn vectors_are_lists_of_one_value_each() {
        assert_eq!(written(QueryValue::Vector { timestamp_ms: 0, samples: vec![] }, 1), "[]");
        let sample = |name, value| VectorSample { labels: labels(name), value: SampleValue::Float(value) };
        let vector =
            || QueryValue::Vector { timestamp_ms: 1001, samples: vec![sample("a", 1e-9), sample("b", f64::NAN)] };
        let expected = concat!(
            r#"[{"metric":{"__name__":"a"},"value":[1.001,"1e-09"]},"#,
            r#"{"metric":{"__name__":"b"},"value":[1.001,"NaN"]}]"#
        );
        for target in [1, 10, 10_000] {
            assert_eq!(written(vector(), target), expected);
        }
    }

    #[test]
    fn histograms_stand_where_values_would() {
        let histogram = |count| Arc::new(Histogram { count, ..Histogram::default() });
        let sample = VectorSample { labels: labels("a"), value: SampleValue::Histogram(histogram(1.0)) };
        let vector = QueryValue::Vector { timestamp_ms: 1500, samples: vec![sample] };
        let expected = r#"[{"metric":{"__name__":"a"},"histogram":[1.500,{"count":"1","sum":"0"}]}]"#;
        assert_eq!(written(vector, 1), expected);
        let mut histograms = HistogramColumns::default();
        histograms.push(2000, histogram(2.0));
        histograms.push(3000, histogram(3.0));
        let series = |timestamps_ms: &[i64]| MatrixSeries {
            labels: labels("b"),
            timestamps_ms: timestamps_ms.into(),
            values: timestamps_ms.iter().map(|at| *at as f64).collect(),
            histograms: histograms.clone(),
        };
        let expected = concat!(
            r#"[{"metric":{"__name__":"b"},"values":[[1,"1000"],[4,"4000"]],"#,
            r#""histograms":[[2,{"count":"2","sum":"0"}],[3,{"count":"3","sum":"0"}]]},"#,
            r#"{"metric":{"__name__":"b"},"histograms":[[2,{"count":"2","sum":"0"}],[3,{"count":"3","sum":"0"}]]}]"#
        );
        for target in [1, 60, 100, 130, 10_000] {
            let matrix = QueryValue::Matrix(vec![series(&[1000, 4000]), series(&[])]);
            assert_eq!(written(matrix, target), expected, "in chunks of {target}");
        }
    }

    #[test]
    fn a_limit_cuts_series_and_leaves_scalars() {
        let sample = |name| VectorSample { labels: labels(name), value: SampleValue::Float(1.0) };
        let mut vector = QueryValue::Vector { timestamp_ms: 0, samples: vec![sample("a"), sample("b")] };
        assert!(!truncate(&mut vector, 2));
        assert!(truncate(&mut vector, 1));
        assert!(written(vector, 100).contains("\"a\""));
        assert!(!truncate(&mut QueryValue::Scalar { timestamp_ms: 0, value: 1.0 }, 0));
    }

    proptest! {
        /// Whatever the chunks, the text is the same and says what the columns say, shared columns or not.
        #[test]
        fn matrices_are_written_whole(
            columns in prop::collection::vec(prop::collection::vec((any::<i32>(), any::<f64>()), 0..20), 0..6),
            shared: bool,
            target in 1usize..300,
        ) {
            let first: Arc<[i64]> = columns.first().map(|c| c.iter().map(|p| i64::from(p.0)).collect()).unwrap_or_default();
            let series: Vec<MatrixSeries> = columns.iter().enumerate().map(|(i, column)| {
                let own = || column.iter().map(|p| i64::from(p.0)).collect();
                let timestamps_ms: Arc<[i64]> = if shared { Arc::clone(&first) } else { own() };
                let values = (0..timestamps_ms.len()).map(|k| column.get(k).map_or(k as f64, |p| p.1)).collect();
                MatrixSeries { labels: labels(&format!("m{i}")), timestamps_ms, values, histograms: HistogramColumns::default() }
            }).collect();
            let expected: Vec<Value> = series.iter().map(|series| {
                let point = |(at, value): (&i64, &f64)| {
                    let time: Value = serde_json::from_str(&model::time::Timestamp(*at).to_string()).unwrap();
                    json!([time, model::text::format_value(*value)])
                };
                let points: Vec<Value> = series.timestamps_ms.iter().zip(&series.values).map(point).collect();
                let metric = json!({"__name__": series.labels.metric_name()});
                if points.is_empty() { json!({"metric": metric}) } else { json!({"metric": metric, "values": points}) }
            }).collect();
            let text = written(QueryValue::Matrix(series), target);
            prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), Value::Array(expected));
        }
    }
}
