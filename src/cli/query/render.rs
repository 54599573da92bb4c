//! An answer as lines for people.

use super::answer::{Data, LabelMap, Point};
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
                let value = item.value.as_ref().map_or("(histogram)", |Point(_, value)| value);
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
                for Point(at, value) in &item.values {
                    line(&mut out, &format!("  {}  {value}", time(*at)));
                }
            }
        }
    }
    if out.is_empty() {
        line(&mut out, "(no series)");
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn columns(out: &mut String, rows: &[(String, &str)]) {
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
    fn matrices_are_blocks() {
        let values = vec![Point(0.0, "1".into()), Point(60.5, "2".into())];
        let data = Data::Matrix(vec![MatrixItem { metric: labels(&[("__name__", "up")]), values }]);
        assert_eq!(table(&data), "up\n  1970-01-01T00:00:00.000Z  1\n  1970-01-01T00:01:00.500Z  2\n");
        assert_eq!(table(&Data::Matrix(vec![])), "(no series)\n");
        assert_eq!(table(&Data::Scalar(Point(1.0, "2".into()))), "2\n");
    }
}
