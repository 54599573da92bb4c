//! Tree to text: the one-line form of an expression, and the form in lines that `format_query` answers.
//!
//! Byte for byte what Prometheus prints. Parentheses are nodes of the tree, so none is ever added or lost, and reading the
//! text again yields an equal tree. Chains of operators, which lean to the left, are written without recursion.

mod pretty;

use crate::ast::{
    Aggregation, AtModifier, Binary, Cardinality, DurationExpr, DurationValue, Expr, MatrixSelector, NumberLiteral,
    Subquery, VectorMatching, VectorSelector,
};
use crate::duration::format_ms;
use model::labels::is_legacy_label_name;
use model::matcher::{MatchOp, Matcher};
use model::text::{format_plain, quote};
use std::fmt::{self, Write};

pub use pretty::prettify;

const METRIC_NAME: &str = "__name__";

/// The expression in one line.
#[must_use]
pub fn print(expr: &Expr) -> String {
    expr.to_string()
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_expr(f, self)
    }
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_duration_expr(f, self)
    }
}

fn write_expr(out: &mut dyn Write, expr: &Expr) -> fmt::Result {
    match expr {
        Expr::Number(number) => write_number(out, number),
        Expr::String(string) => out.write_str(&quote_bytes(&string.value)),
        Expr::VectorSelector(selector) => {
            write_selector(out, selector)?;
            write_at(out, selector.at)?;
            write_extended_range(out, selector)?;
            write_offset(out, selector.offset.as_ref())
        }
        Expr::MatrixSelector(matrix) => write_matrix(out, matrix),
        Expr::Subquery(subquery) => {
            write_expr(out, &subquery.expr)?;
            write_subquery_suffix(out, subquery)
        }
        Expr::Aggregation(aggregation) => {
            write_aggregation_head(out, aggregation)?;
            out.write_char('(')?;
            if let Some(param) = &aggregation.param {
                write_expr(out, param)?;
                out.write_str(", ")?;
            }
            write_expr(out, &aggregation.expr)?;
            out.write_char(')')
        }
        Expr::Binary(binary) => write_chain(out, binary),
        Expr::Unary(unary) => {
            out.write_char(if unary.negative { '-' } else { '+' })?;
            write_expr(out, &unary.expr)
        }
        Expr::Call(call) => {
            out.write_str(call.function.name)?;
            out.write_char('(')?;
            for (index, argument) in call.args.iter().enumerate() {
                out.write_str(if index == 0 { "" } else { ", " })?;
                write_expr(out, argument)?;
            }
            out.write_char(')')
        }
        Expr::Paren(paren) => {
            out.write_char('(')?;
            write_expr(out, &paren.expr)?;
            out.write_char(')')
        }
    }
}

/// Writes a chain of operators that leans to the left, innermost operand first.
fn write_chain(out: &mut dyn Write, outermost: &Binary) -> fmt::Result {
    let mut chain = vec![outermost];
    let mut first = &*outermost.lhs;
    while let Expr::Binary(inner) = first {
        chain.push(inner);
        first = &inner.lhs;
    }
    write_expr(out, first)?;
    for binary in chain.into_iter().rev() {
        out.write_char(' ')?;
        write_operator(out, binary)?;
        out.write_char(' ')?;
        write_expr(out, &binary.rhs)?;
    }
    Ok(())
}

/// The operator with `bool` and matching.
fn write_operator(out: &mut dyn Write, binary: &Binary) -> fmt::Result {
    out.write_str(binary.op.as_str())?;
    if binary.return_bool {
        out.write_str(" bool")?;
    }
    binary.matching.as_ref().map_or(Ok(()), |matching| write_matching(out, matching))
}

fn write_matching(out: &mut dyn Write, matching: &VectorMatching) -> fmt::Result {
    let grouped = match matching.cardinality {
        Cardinality::ManyToOne => Some("group_left"),
        Cardinality::OneToMany => Some("group_right"),
        Cardinality::OneToOne | Cardinality::ManyToMany => None,
    };
    if matching.on || !matching.labels.is_empty() || grouped.is_some() {
        out.write_str(if matching.on { " on (" } else { " ignoring (" })?;
        write_labels(out, &matching.labels)?;
        out.write_char(')')?;
    }
    if let Some(word) = grouped {
        write!(out, " {word} (")?;
        write_labels(out, &matching.include)?;
        out.write_char(')')?;
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left == right => write!(out, " fill ({})", format_general(left)),
        (left, right) => {
            left.map_or(Ok(()), |value| write!(out, " fill_left ({})", format_general(value)))?;
            right.map_or(Ok(()), |value| write!(out, " fill_right ({})", format_general(value)))
        }
    }
}

/// The name of the aggregation with its grouping.
fn write_aggregation_head(out: &mut dyn Write, aggregation: &Aggregation) -> fmt::Result {
    out.write_str(aggregation.op.as_str())?;
    if !aggregation.without && aggregation.grouping.is_empty() {
        return Ok(());
    }
    out.write_str(if aggregation.without { " without (" } else { " by (" })?;
    write_labels(out, &aggregation.grouping)?;
    out.write_str(") ")
}

fn write_labels(out: &mut dyn Write, labels: &[String]) -> fmt::Result {
    for (index, label) in labels.iter().enumerate() {
        out.write_str(if index == 0 { "" } else { ", " })?;
        if is_legacy_label_name(label) {
            out.write_str(label)?;
        } else {
            out.write_str(&quote_text(label))?;
        }
    }
    Ok(())
}

/// Name and matchers, these sorted by their text.
fn write_selector(out: &mut dyn Write, selector: &VectorSelector) -> fmt::Result {
    let name = selector.name.as_deref().unwrap_or_default();
    let mut matchers: Vec<String> =
        selector.matchers.iter().filter(|matcher| !says_name(matcher, name)).map(print_matcher).collect();
    matchers.sort_unstable();
    out.write_str(name)?;
    if matchers.is_empty() { Ok(()) } else { write!(out, "{{{}}}", matchers.join(",")) }
}

/// Whether the matcher is that of the name before the braces.
fn says_name(matcher: &Matcher, name: &str) -> bool {
    !name.is_empty() && matcher.op() == MatchOp::Equal && matcher.name() == METRIC_NAME && matcher.value() == name
}

fn print_matcher(matcher: &Matcher) -> String {
    escape_replacement(matcher.to_string())
}

fn write_matrix(out: &mut dyn Write, matrix: &MatrixSelector) -> fmt::Result {
    let selector = &matrix.selector;
    write_selector(out, selector)?;
    out.write_char('[')?;
    write_duration(out, &matrix.range)?;
    out.write_char(']')?;
    write_extended_range(out, selector)?;
    write_at(out, selector.at)?;
    write_offset(out, selector.offset.as_ref())
}

/// `[1h:5m] @ 1.000 offset 5m`
fn write_subquery_suffix(out: &mut dyn Write, subquery: &Subquery) -> fmt::Result {
    out.write_char('[')?;
    write_duration(out, &subquery.range)?;
    out.write_char(':')?;
    if let Some(step) = &subquery.step {
        write_duration(out, step)?;
    }
    out.write_char(']')?;
    write_at(out, subquery.at)?;
    write_offset(out, subquery.offset.as_ref())
}

fn write_at(out: &mut dyn Write, at: Option<AtModifier>) -> fmt::Result {
    match at {
        Some(AtModifier::At(ms)) => {
            let sign = if ms < 0 { "-" } else { "" };
            write!(out, " @ {sign}{}.{:03}", ms.unsigned_abs() / 1_000, ms.unsigned_abs() % 1_000)
        }
        Some(AtModifier::Start) => out.write_str(" @ start()"),
        Some(AtModifier::End) => out.write_str(" @ end()"),
        None => Ok(()),
    }
}

fn write_extended_range(out: &mut dyn Write, selector: &VectorSelector) -> fmt::Result {
    match (selector.anchored, selector.smoothed) {
        (true, _) => out.write_str(" anchored"),
        (false, true) => out.write_str(" smoothed"),
        (false, false) => Ok(()),
    }
}

fn write_offset(out: &mut dyn Write, offset: Option<&DurationValue>) -> fmt::Result {
    let Some(offset) = offset else { return Ok(()) };
    out.write_str(" offset ")?;
    write_duration(out, offset)
}

fn write_duration(out: &mut dyn Write, duration: &DurationValue) -> fmt::Result {
    match duration {
        DurationValue::Fixed(ms) => out.write_str(&format_ms(*ms)),
        DurationValue::Expr(expr) => write_duration_expr(out, expr),
    }
}

fn write_duration_expr(out: &mut dyn Write, expr: &DurationExpr) -> fmt::Result {
    match expr {
        DurationExpr::Number(number) => write_number(out, number),
        DurationExpr::Step(_) => out.write_str("step()"),
        DurationExpr::Range(_) => out.write_str("range()"),
        DurationExpr::MinOf(left, right, _) => write_duration_call(out, "min_of", left, right),
        DurationExpr::MaxOf(left, right, _) => write_duration_call(out, "max_of", left, right),
        DurationExpr::Unary(op, operand, _) => {
            out.write_str(op.as_str())?;
            write_duration_expr(out, operand)
        }
        DurationExpr::Binary(op, left, right, _) => {
            write_duration_expr(out, left)?;
            write!(out, " {} ", op.as_str())?;
            write_duration_expr(out, right)
        }
        DurationExpr::Paren(inner, _) => {
            out.write_char('(')?;
            write_duration_expr(out, inner)?;
            out.write_char(')')
        }
    }
}

fn write_duration_call(out: &mut dyn Write, name: &str, left: &DurationExpr, right: &DurationExpr) -> fmt::Result {
    write!(out, "{name}(")?;
    write_duration_expr(out, left)?;
    out.write_str(", ")?;
    write_duration_expr(out, right)?;
    out.write_char(')')
}

fn write_number(out: &mut dyn Write, number: &NumberLiteral) -> fmt::Result {
    if number.is_duration {
        // Where Prometheus prints `-0s` as `0s`, this keeps the sign: `1 / -0s` depends on it.
        out.write_str(if number.value.is_sign_negative() { "-" } else { "" })?;
        return out.write_str(&format_ms((number.value.abs() * 1e3).round() as i64));
    }
    out.write_str(&format_plain(number.value))
}

/// A float as Go's `%v` prints it: with an exponent of at least two digits below 1e-4 and from 1e6 on.
fn format_general(value: f64) -> String {
    let magnitude = value.abs();
    if !value.is_finite() || magnitude == 0.0 || (1e-4..1e6).contains(&magnitude) {
        return format_plain(value);
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// Quotes bytes as Go's `strconv.Quote` does; those that are no UTF-8 become `\xNN`.
pub(crate) fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        let quoted = quote_text(chunk.valid());
        out.push_str(&quoted[1..quoted.len() - 1]);
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out.push('"');
    out
}

fn quote_text(text: &str) -> String {
    escape_replacement(quote(text))
}

/// The scanner takes a bare U+FFFD for broken input, so inside quotes it has to be an escape.
fn escape_replacement(quoted: String) -> String {
    if quoted.contains(char::REPLACEMENT_CHARACTER) { quoted.replace('\u{fffd}', "\\ufffd") } else { quoted }
}

#[cfg(test)]
mod tests;
