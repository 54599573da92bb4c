//! An answer as lines for people.

use super::answer::{Data, Histogram, HistogramPoint, LabelMap, MatrixItem, Point};
use model::labels::{METRIC_NAME, is_legacy_label_name, is_legacy_metric_name};
use model::text::quote;
use std::fmt::Write;

/// Widest column that still aligns; longer texts stick out.
const COLUMN_MAX: usize = 100;

/// Series and values in columns; series with many values as blocks, one line per time.
pub(super) fn table(data: &Data) -> String {
    let mut out = String::new();
    match data {
        Data::Scalar(Point(_, text)) | Data::String(Point(_, text)) => line(&mut out, text),
        Data::Vector(items) => {
            let rows = items.iter().map(|item| {
                let value = match (&item.value, &item.histogram) {
                    (Some(Point(_, value)), _) => value.clone(),
                    (None, Some(HistogramPoint(_, histogram))) => text(histogram),
                    (None, None) => String::new(),
                };
                (series(&item.metric), value)
            });
            columns(&mut out, &rows.collect::<Vec<_>>());
        }
        Data::Matrix(items) => {
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push('\n');
                }
                line(&mut out, &series(&item.metric));
                for (at, value) in points(item) {
                    line(&mut out, &format!("  {}  {value}", time(at)));
                }
            }
        }
    }
    if out.is_empty() {
        line(&mut out, "(no series)");
    }
    out
}

/// Values and histograms of a series in order of time.
fn points(item: &MatrixItem) -> Vec<(f64, String)> {
    let values = item.values.iter().map(|Point(at, value)| (*at, value.clone()));
    let histograms = item.histograms.iter().map(|HistogramPoint(at, histogram)| (*at, text(histogram)));
    let mut all: Vec<(f64, String)> = values.chain(histograms).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all
}

/// `{count:3, sum:4, (1,2]:3}`: the totals, then the buckets, with brackets that say which ends are theirs.
fn text(histogram: &Histogram) -> String {
    let mut out = format!("{{count:{}, sum:{}", histogram.count, histogram.sum);
    for (ends, lower, upper, count) in &histogram.buckets {
        let open = if matches!(ends, 1 | 3) { '[' } else { '(' };
        let close = if matches!(ends, 0 | 3) { ']' } else { ')' };
        // Writing to a string cannot fail.
        let _ = write!(out, ", {open}{lower},{upper}{close}:{count}");
    }
    out.push('}');
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn columns(out: &mut String, rows: &[(String, String)]) {
    let widths = rows.iter().map(|(series, _)| series.chars().count());
    let width = widths.filter(|width| *width <= COLUMN_MAX).max().unwrap_or(0);
    for (series, value) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{series:<width$}  {value}");
    }
}

/// A series as PromQL selects it.
fn series(labels: &LabelMap) -> String {
    let name = labels.get(METRIC_NAME).filter(|name| is_legacy_metric_name(name));
    let mut out = name.cloned().unwrap_or_default();
    let rest: Vec<String> = labels
        .iter()
        .filter(|(label, _)| name.is_none() || *label != METRIC_NAME)
        .map(|(label, value)| match is_legacy_label_name(label) {
            true => format!("{label}={}", quote(value)),
            false => format!("{}={}", quote(label), quote(value)),
        })
        .collect();
    if !rest.is_empty() || name.is_none() {
        let _ = write!(out, "{{{}}}", rest.join(", "));
    }
    out
}

fn time(seconds: f64) -> String {
    let millis = (seconds * 1000.0).round() as i64;
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| seconds.to_string(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::super::answer::{MatrixItem, VectorItem};
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> LabelMap {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn vectors_are_two_columns() {
        let item = |pairs: &[(&str, &str)], value: &str| VectorItem {
            metric: labels(pairs),
            value: Some(Point(1.0, value.into())),
            histogram: None,
        };
        let data = Data::Vector(vec![
            item(&[("__name__", "up"), ("job", "a")], "1"),
            item(&[("a.b", "x")], "NaN"),
            item(&[], "3"),
        ]);
        let expected = "up{job=\"a\"}  1\n{\"a.b\"=\"x\"}  NaN\n{}           3\n";
        assert_eq!(table(&data), expected);
    }

    #[test]
    fn histograms_are_their_totals_and_buckets() {
        let histogram = || Histogram {
            count: "3".into(),
            sum: "4".into(),
            buckets: vec![(3, "-0.5".into(), "0.5".into(), "1".into()), (0, "1".into(), "2".into(), "2".into())],
        };
        let item = VectorItem { histogram: Some(HistogramPoint(1.0, histogram())), ..VectorItem::default() };
        assert_eq!(table(&Data::Vector(vec![item])), "{}  {count:3, sum:4, [-0.5,0.5]:1, (1,2]:2}\n");
        let item = MatrixItem {
            values: vec![Point(60.0, "7".into())],
            histograms: vec![HistogramPoint(0.0, histogram())],
            ..MatrixItem::default()
        };
        let text = table(&Data::Matrix(vec![item]));
        assert!(text.find("count:3").unwrap() < text.find("  7").unwrap());
    }

    #[test]
    fn matrices_are_blocks() {
        let values = vec![Point(0.0, "1".into()), Point(60.5, "2".into())];
        let data =
            Data::Matrix(vec![MatrixItem { metric: labels(&[("__name__", "up")]), values, ..MatrixItem::default() }]);
        assert_eq!(table(&data), "up\n  1970-01-01T00:00:00.000Z  1\n  1970-01-01T00:01:00.500Z  2\n");
        assert_eq!(table(&Data::Matrix(vec![])), "(no series)\n");
        assert_eq!(table(&Data::Scalar(Point(1.0, "2".into()))), "2\n");
    }
}
