//! The expressions of Prometheus' own acceptance suite: all parse, print and know their places.

mod support;

use promql::ast::Expr;
use promql::printer::{prettify, print};
use promql::{ParseOptions, parse};
use support::{expression_of, suite_files, without_spans};

fn expressions() -> Option<Vec<String>> {
    let files = suite_files()?;
    let lines = files.iter().flat_map(|(_, text)| text.lines());
    Some(lines.filter_map(|line| expression_of(line).map(str::to_owned)).collect())
}

#[test]
fn every_expression_parses() {
    let Some(expressions) = expressions() else { return };
    let options = ParseOptions::all();
    let failures: Vec<String> = expressions
        .iter()
        .filter_map(|text| parse(text, &options).err().map(|error| format!("{text}: {error}")))
        .collect();
    assert_eq!(failures, Vec::<String>::new());
    assert_eq!(expressions.len(), 2214);
}

/// Printing loses nothing, in one line or in several.
#[test]
fn every_expression_survives_printing() {
    let Some(expressions) = expressions() else { return };
    let options = ParseOptions::all();
    for text in expressions {
        let expr = parse(&text, &options).expect("parses");
        for printed in [print(&expr), prettify(&expr)] {
            let again = parse(&printed, &options).unwrap_or_else(|error| panic!("{printed}: {error}"));
            assert_eq!(without_spans(&again), without_spans(&expr), "{text}");
            assert_eq!(print(&again), print(&expr), "{text}");
        }
    }
}

/// Every place that an annotation of the suite names is the start of a node.
#[test]
fn annotated_places_are_starts_of_nodes() {
    let Some(files) = suite_files() else { return };
    let options = ParseOptions::all();
    let mut places = 0;
    for (file, text) in files {
        let mut starts: Vec<String> = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(query) = expression_of(line) {
                let expr = parse(query, &options).expect("parses");
                starts = expr.nodes().map(|node: &Expr| format!("1:{}", node.span().start + 1)).collect();
            }
            if !line.starts_with("expect warn") && !line.starts_with("expect info") {
                continue;
            }
            let Some(place) = place_at_end(line) else { continue };
            places += 1;
            assert!(starts.contains(&place), "{file}: {line}");
        }
    }
    assert_eq!(places, 79);
}

/// The `1:5` in a line that ends in `(1:5)`, or in the same as a regular expression.
fn place_at_end(line: &str) -> Option<String> {
    let line = line.strip_suffix('$').unwrap_or(line);
    let inner = line.strip_suffix("\\)").or(line.strip_suffix(')'))?;
    let (_, place) = inner.rsplit_once('(')?;
    let (row, column) = place.split_once(':')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(row) && is_number(column)).then(|| place.to_owned())
}
