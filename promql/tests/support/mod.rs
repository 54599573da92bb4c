//! What several test programs need.
#![allow(dead_code, reason = "each test program uses its part")]

use promql::ast::{Expr, VectorSelector};
use std::io::Write;
use std::path::PathBuf;

/// A tree as text, without the places of its nodes and with matchers sorted, as printing sorts them.
pub(crate) fn without_spans(expr: &Expr) -> String {
    let mut expr = expr.clone();
    sort_matchers(&mut expr);
    let text = format!("{expr:?}");
    let mut parts = text.split("Span { start: ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(part.split_once('}').map_or("", |(_, rest)| rest));
    }
    out
}

fn sort_matchers(expr: &mut Expr) {
    let sort = |selector: &mut VectorSelector| selector.matchers.sort_by_cached_key(ToString::to_string);
    match expr {
        Expr::Number(_) | Expr::String(_) => {}
        Expr::VectorSelector(selector) => sort(selector),
        Expr::MatrixSelector(matrix) => sort(&mut matrix.selector),
        Expr::Subquery(subquery) => sort_matchers(&mut subquery.expr),
        Expr::Aggregation(aggregation) => {
            aggregation.param.iter_mut().for_each(|param| sort_matchers(param));
            sort_matchers(&mut aggregation.expr);
        }
        Expr::Binary(binary) => {
            sort_matchers(&mut binary.lhs);
            sort_matchers(&mut binary.rhs);
        }
        Expr::Unary(unary) => sort_matchers(&mut unary.expr),
        Expr::Call(call) => call.args.iter_mut().for_each(sort_matchers),
        Expr::Paren(paren) => sort_matchers(&mut paren.expr),
    }
}

/// The files of Prometheus' acceptance suite as (name, content); none, loudly, when the suite is absent.
///
/// The suite is not part of this repository: `HEARTH_PROMQLTEST_DIR` or a `shared/promqltest` beside the checkout holds
/// it. CI must have it.
pub(crate) fn suite_files() -> Option<Vec<(String, String)>> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/promqltest");
    let dir = std::env::var_os("HEARTH_PROMQLTEST_DIR").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "CI needs the promqltest suite: {}: {error}", dir.display());
            // Not by the macro, whose output a passing test keeps to itself.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: no promqltest suite at {} ({error}); set HEARTH_PROMQLTEST_DIR",
                dir.display()
            );
            return None;
        }
    };
    let mut files: Vec<(String, String)> = entries
        .map(|entry| entry.expect("directory entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .map(|path| (path.display().to_string(), std::fs::read_to_string(&path).expect("suite file")))
        .collect();
    files.sort();
    Some(files)
}

/// The expression of an `eval` line of the suite.
pub(crate) fn expression_of(line: &str) -> Option<&str> {
    let (command, rest) = line.trim().split_once(char::is_whitespace)?;
    if !command.to_ascii_lowercase().starts_with("eval") {
        return None;
    }
    if let Some(rest) = rest.trim_start().strip_prefix("instant at ") {
        return rest.trim_start().split_once(char::is_whitespace).map(|(_, expression)| expression.trim());
    }
    let rest = rest.trim_start().strip_prefix("range from ")?;
    let step = rest.split_once(" step ")?.1;
    step.trim_start().split_once(char::is_whitespace).map(|(_, expression)| expression.trim())
}
