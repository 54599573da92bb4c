//! The plan of a query as lines for people.

use serde::Deserialize;
use std::fmt::Write;

/// What the server says of a query's plan.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Explanation {
    estimate: Estimate,
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Estimate {
    series: u64,
    samples: u64,
    result_samples: u64,
    bytes: u64,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Part {
    depth: usize,
    operation: String,
    steps: u64,
    estimate: Cost,
    actual: Option<Actual>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Cost {
    series: u64,
    samples: u64,
    bytes: u64,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Actual {
    series: u64,
    samples: u64,
    bytes: u64,
    seconds: f64,
}

/// Widest operation that is printed whole.
const OPERATION_MAX: usize = 72;

impl Explanation {
    /// A line for each part, indented by its depth: estimates, and real figures behind a stroke.
    pub(super) fn table(&self) -> String {
        let mut rows = vec![["part", "steps", "series", "samples", "bytes", "time"].map(str::to_owned)];
        rows.extend(self.parts.iter().map(Part::row));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..6).map(width).collect();
        let mut out = String::new();
        // Writing to a string cannot fail.
        for [part, rest @ ..] in &rows {
            let _ = write!(out, "{part:<width$}", width = widths[0]);
            for (text, width) in rest.iter().zip(&widths[1..]) {
                let _ = write!(out, "  {text:>width$}");
            }
            out.push('\n');
        }
        let Estimate { series, samples, result_samples, bytes } = self.estimate;
        let _ = writeln!(
            out,
            "expected in all: {series} series, {samples} samples read, {result_samples} values returned, {bytes} bytes held"
        );
        out
    }
}

impl Part {
    fn row(&self) -> [String; 6] {
        let actual = self.actual.as_ref();
        let both = |estimate: u64, figure: fn(&Actual) -> u64| match actual {
            Some(actual) => format!("~{estimate} | {}", figure(actual)),
            None => format!("~{estimate}"),
        };
        let mut operation = "  ".repeat(self.depth) + &self.operation;
        if operation.chars().count() > OPERATION_MAX {
            operation = operation.chars().take(OPERATION_MAX - 1).chain(['…']).collect();
        }
        [
            operation,
            self.steps.to_string(),
            both(self.estimate.series, |actual| actual.series),
            both(self.estimate.samples, |actual| actual.samples),
            both(self.estimate.bytes, |actual| actual.bytes),
            actual.map_or_else(String::new, |actual| format!("{:.3} ms", actual.seconds * 1e3)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_indented_and_estimates_stand_beside_real_figures() {
        let json = r#"{"estimate":{"series":9,"samples":90,"resultSamples":1,"bytes":8},"parts":[
            {"depth":0,"operation":"sum by ()","expression":"","steps":1,"estimate":{"series":1,"samples":1,"bytes":8},
             "actual":{"series":1,"samples":1,"bytes":16,"seconds":0.0015}},
            {"depth":1,"operation":"select {__name__=\"up\"}","expression":"up","steps":1,
             "estimate":{"series":9,"samples":90,"bytes":0}}]}"#;
        let explanation: Explanation = serde_json::from_str(json).unwrap();
        let lines: Vec<String> = explanation.table().lines().map(|line| line.trim_end().to_owned()).collect();
        assert_eq!(
            lines,
            [
                r#"part                      steps  series  samples    bytes      time"#,
                r#"sum by ()                     1  ~1 | 1   ~1 | 1  ~8 | 16  1.500 ms"#,
                r#"  select {__name__="up"}      1      ~9      ~90       ~0"#,
                "expected in all: 9 series, 90 samples read, 1 values returned, 8 bytes held",
            ]
        );
    }
}
