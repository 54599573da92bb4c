//! Lints that look at the expression of a rule alone.

use super::bounds::{bounds, is_comparison, mirrored};
use super::{Findings, Lint};
use model::matcher::MatchOp;
use promql::ast::{Binary, BinaryOp, Expr, ValueType};

pub(super) fn check(findings: &mut Findings<'_>) {
    let expr = findings.rule.query.expr();
    for node in expr.nodes() {
        match node {
            Expr::Binary(binary) => comparison(findings, binary),
            Expr::Call(call) if matches!(call.function.name, "rate" | "irate" | "increase") => {
                if let Some(Expr::Subquery(subquery)) = call.args.first()
                    && let Expr::Aggregation(_) = unwrapped(&subquery.expr)
                {
                    let name = call.function.name;
                    let message = format!(
                        "{name} of an aggregation sees a reset when one series ends: aggregate the {name} instead"
                    );
                    findings.of_expression(Lint::RateOfAggregation, message);
                }
            }
            _ => {}
        }
    }
    for selector in expr.selectors() {
        for matcher in &selector.matchers {
            let plain = |value: &str| {
                !value.is_empty() && !value.contains(r"\.+*?()|[]{}^$".chars().collect::<Vec<_>>().as_slice())
            };
            let operator = match matcher.op() {
                MatchOp::Regex => "=",
                MatchOp::NotRegex => "!=",
                _ => continue,
            };
            if plain(matcher.value()) {
                let (name, value) = (matcher.name(), model::text::quote(matcher.value()));
                let message = format!(
                    "{name} is matched with a regular expression that is a plain text: {name}{operator}{value}"
                );
                findings.of_expression(Lint::NeedlessRegex, message);
            }
        }
    }
    if let Some(alerting) = findings.rule.alerting() {
        if let Some(why) = returns_always(expr) {
            findings.of_expression(Lint::AlwaysFiring, format!("the alert always fires: {why}"));
        } else if alerting.hold_ms == 0 {
            let message = "the alert fires on a single sample; `for` would wait whether it lasts".to_owned();
            findings.of_expression(Lint::AlertWithoutFor, message);
        }
        if let Expr::Binary(binary) = unwrapped(expr)
            && binary.return_bool
            && returns_always(expr).is_none()
        {
            let message =
                "a comparison with `bool` returns a sample whether it is true or not, and the alert fires on either"
                    .to_owned();
            findings.of_expression(Lint::BoolInAlert, message);
        }
    }
}

fn comparison(findings: &mut Findings<'_>, binary: &Binary) {
    if binary.op == BinaryOp::And {
        return contradiction(findings, binary);
    }
    // Two numbers are compared by people who switch a rule off.
    if !is_comparison(binary.op) {
        return;
    }
    let (left, right) = (bounds(&binary.lhs), bounds(&binary.rhs));
    if left.is_empty() || right.is_empty() {
        return;
    }
    let text = || Expr::Binary(binary.clone()).to_string();
    if left.never(binary.op, right) {
        findings.of_expression(Lint::NeverTrue, format!("`{}` can never be true: {}", text(), why(binary)));
    } else if left.always(binary.op, right) {
        findings.of_expression(Lint::AlwaysTrue, format!("`{}` is true for every value: {}", text(), why(binary)));
    }
}

/// `x > 5 and x < 3`
fn contradiction(findings: &mut Findings<'_>, binary: &Binary) {
    let sides = [&binary.lhs, &binary.rhs].map(|side| match unwrapped(side) {
        Expr::Binary(side) if is_comparison(side.op) && !side.return_bool => Some(side),
        _ => None,
    });
    let [Some(left), Some(right)] = sides else { return };
    let with_number = |side: &Binary| match (unwrapped(&side.lhs), unwrapped(&side.rhs)) {
        (what, Expr::Number(number)) => Some((what.to_string(), side.op, number.value)),
        (Expr::Number(number), what) => Some((what.to_string(), mirrored(side.op), number.value)),
        _ => None,
    };
    let (Some((what, op, number)), Some((other, other_op, other_number))) = (with_number(left), with_number(right))
    else {
        return;
    };
    let above = |op| matches!(op, BinaryOp::Greater | BinaryOp::GreaterOrEqual);
    let below = |op| matches!(op, BinaryOp::Less | BinaryOp::LessOrEqual);
    let strict = |op| matches!(op, BinaryOp::Less | BinaryOp::Greater);
    let (low, high) = match (op, other_op) {
        (op, other_op) if above(op) && below(other_op) => (number, other_number),
        (op, other_op) if below(op) && above(other_op) => (other_number, number),
        _ => return,
    };
    if what == other && (low > high || (low == high && (strict(op) || strict(other_op)))) {
        let message = format!("`{what}` cannot be both above {low} and below {high}");
        findings.of_expression(Lint::NeverTrue, message);
    }
}

fn why(binary: &Binary) -> String {
    let side = |expr: &Expr| {
        let bounds = bounds(expr);
        match (bounds.low == bounds.high, bounds.low.is_finite(), bounds.high.is_finite()) {
            (true, ..) => format!("is {}", bounds.low),
            (false, true, true) => format!("lies in {} to {}", bounds.low, bounds.high),
            (false, true, false) => format!("is {} or more", bounds.low),
            (false, false, true) => format!("is {} or less", bounds.high),
            (false, false, false) => "is any number".to_owned(),
        }
    };
    format!("the left side {}, the right side {}", side(&binary.lhs), side(&binary.rhs))
}

/// The expression inside of parentheses.
pub(super) fn unwrapped(mut expr: &Expr) -> &Expr {
    while let Expr::Paren(paren) = expr {
        expr = &paren.expr;
    }
    expr
}

/// Why the expression cannot return nothing; `None` when it can, or may.
fn returns_always(expr: &Expr) -> Option<String> {
    let expr = unwrapped(expr);
    if expr.value_type() == ValueType::Scalar {
        return Some(format!("`{expr}` is a number"));
    }
    match expr {
        Expr::Call(call) => match (call.function.name, call.args.first()) {
            ("vector", _) => Some(format!("`{expr}` returns one sample at all times")),
            ("absent" | "scalar", _) | (_, None) => None,
            (_, Some(first)) if first.value_type() == ValueType::Vector => returns_always(first),
            _ => None,
        },
        Expr::Unary(unary) => returns_always(&unary.expr),
        Expr::Aggregation(aggregation) if aggregation.param.is_none() => returns_always(&aggregation.expr),
        Expr::Binary(binary) if binary.op == BinaryOp::Or => {
            returns_always(&binary.lhs).or_else(|| returns_always(&binary.rhs))
        }
        Expr::Binary(binary) if binary.matching.is_none() && (!is_comparison(binary.op) || binary.return_bool) => {
            // One side is a number: the other decides.
            let vectors = [&binary.lhs, &binary.rhs].into_iter().filter(|side| side.value_type() == ValueType::Vector);
            vectors.filter_map(|side| returns_always(side)).next()
        }
        _ => None,
    }
}
