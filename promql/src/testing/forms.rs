//! Equivalent forms of an instant query: every selector pinned to the evaluation time, evaluated at other times.

use crate::ast::{AtModifier, Expr};

/// Functions whose result depends on the evaluation time or the bounds of the query.
const TIME_DEPENDENT: [&str; 15] = [
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "end",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "range",
    "start",
    "step",
    "time",
    "timestamp",
    "year",
];

/// The query with `@ at_ms` on every selector and subquery that has no `@`, and the times to evaluate it at; `None` when
/// its result depends on the evaluation time.
pub(crate) fn pinned(expr: &Expr, at_ms: i64) -> Option<(Expr, Vec<i64>)> {
    let mut pinned = expr.clone();
    if !pin(&mut pinned, at_ms) {
        return None;
    }
    let times = if at_ms == 0 { vec![-1000, 0, 1000] } else { vec![-10 * at_ms, 0, at_ms / 5, at_ms, 10 * at_ms] };
    Some((pinned, times))
}

/// Whether the whole is independent of the evaluation time.
fn pin(expr: &mut Expr, at_ms: i64) -> bool {
    let at = |at: &mut Option<AtModifier>| {
        at.get_or_insert(AtModifier::At(at_ms));
    };
    match expr {
        Expr::Number(_) | Expr::String(_) => true,
        Expr::VectorSelector(selector) => {
            at(&mut selector.at);
            true
        }
        Expr::MatrixSelector(matrix) => {
            at(&mut matrix.selector.at);
            true
        }
        // Its inside follows the subquery's own times.
        Expr::Subquery(subquery) => {
            at(&mut subquery.at);
            true
        }
        Expr::Aggregation(aggregation) => {
            let parameter = aggregation.param.as_deref_mut().is_none_or(|parameter| pin(parameter, at_ms));
            pin(&mut aggregation.expr, at_ms) && parameter
        }
        Expr::Binary(binary) => pin(&mut binary.lhs, at_ms) & pin(&mut binary.rhs, at_ms),
        Expr::Unary(unary) => pin(&mut unary.expr, at_ms),
        Expr::Paren(paren) => pin(&mut paren.expr, at_ms),
        Expr::Call(call) => {
            let arguments = call.args.iter_mut().fold(true, |all, argument| pin(argument, at_ms) & all);
            arguments && !TIME_DEPENDENT.contains(&call.function.name)
        }
    }
}
