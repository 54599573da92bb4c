//! Rows as aligned columns for people: numbers to the right, NULL as nothing.

use super::Rows;
use serde_json::Value;
use std::fmt::Write;

/// Widest column that still aligns; longer texts stick out.
const COLUMN_MAX: usize = 60;

pub(super) fn table(rows: &Rows) -> String {
    let cells: Vec<Vec<String>> = rows.rows.iter().map(|row| row.iter().map(text).collect()).collect();
    let numeric: Vec<bool> = rows.columns.iter().map(|column| is_number(&column.kind)).collect();
    let width = |(index, column): (usize, &super::Column)| {
        let widths = cells.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
        let widest = widths.filter(|width| *width <= COLUMN_MAX).max().unwrap_or(0);
        widest.max(column.name.chars().count())
    };
    let widths: Vec<usize> = rows.columns.iter().enumerate().map(width).collect();
    let mut out = String::new();
    line(&mut out, rows.columns.iter().map(|column| column.name.as_str()), &widths, &numeric);
    let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    line(&mut out, rules.iter().map(String::as_str), &widths, &numeric);
    for row in &cells {
        // A plan has many lines in one cell.
        if row.iter().any(|cell| cell.contains('\n')) {
            row.iter().for_each(|cell| out.extend([cell.trim_end(), "\n"]));
        } else {
            line(&mut out, row.iter().map(String::as_str), &widths, &numeric);
        }
    }
    // Writing to a string cannot fail.
    let _ = writeln!(out, "({} {})", cells.len(), if cells.len() == 1 { "row" } else { "rows" });
    out
}

fn line<'a>(out: &mut String, cells: impl Iterator<Item = &'a str>, widths: &[usize], numeric: &[bool]) {
    let start = out.len();
    for ((i, cell), (width, numeric)) in cells.enumerate().zip(widths.iter().zip(numeric)) {
        if i > 0 {
            out.push_str("  ");
        }
        let _ = match numeric {
            true => write!(out, "{cell:>width$}"),
            false => write!(out, "{cell:<width$}"),
        };
    }
    let end = out.trim_end_matches(' ').len().max(start);
    out.truncate(end);
    out.push('\n');
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn is_number(kind: &str) -> bool {
    ["INT", "DOUBLE", "FLOAT", "DECIMAL"].iter().any(|part| kind.contains(part)) && !kind.contains(['[', '('])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_texts_left() {
        let json = r#"{"columns":[{"name":"job","type":"VARCHAR"},{"name":"n","type":"BIGINT"},{"name":"labels","type":"MAP(VARCHAR, VARCHAR)"}],
                       "rows":[["a",5,{"x":"y"}],[null,1234,{}]]}"#;
        let rows: Rows = serde_json::from_str(json).unwrap();
        let expected = "job     n  labels\n---  ----  ---------\na       5  {\"x\":\"y\"}\n     1234  {}\n(2 rows)\n";
        assert_eq!(table(&rows), expected);
    }
}
