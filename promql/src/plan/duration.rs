//! The value of durations, given the query's range and step.

use super::Bounds;
use crate::ast::{BinaryOp, DurationExpr, DurationValue, Span};
use crate::eval::scalar::{go_max, go_min};
use crate::query_error::QueryError;

/// The milliseconds of a duration; `signed` allows zero and negative ones.
pub(super) fn resolve(duration: &DurationValue, signed: bool, bounds: &Bounds) -> Result<i64, QueryError> {
    let expr = match duration {
        DurationValue::Fixed(millis) => return Ok(*millis),
        DurationValue::Expr(expr) => expr,
    };
    let seconds = seconds(expr, bounds)?;
    let refuse = |reason| Err(error(expr, reason));
    if !seconds.is_finite() {
        return refuse("duration is NaN or infinite");
    }
    if seconds <= 0.0 && !signed {
        return refuse("duration must be greater than 0");
    }
    // What 64-bit nanoseconds can say.
    if seconds.abs() > 9_223_372_036.854_775 {
        return refuse("duration is out of range");
    }
    Ok((seconds * 1000.0) as i64)
}

fn error(expr: &DurationExpr, reason: &'static str) -> QueryError {
    let Span { start, end } = expr.span();
    QueryError::Duration { start, end, reason }
}

fn seconds(expr: &DurationExpr, bounds: &Bounds) -> Result<f64, QueryError> {
    Ok(match expr {
        DurationExpr::Number(number) => number.value,
        DurationExpr::Step(_) => bounds.step_ms as f64 / 1000.0,
        DurationExpr::Range(_) => bounds.end_ms.saturating_sub(bounds.start_ms) as f64 / 1000.0,
        DurationExpr::MinOf(a, b, _) => go_min(seconds(a, bounds)?, seconds(b, bounds)?),
        DurationExpr::MaxOf(a, b, _) => go_max(seconds(a, bounds)?, seconds(b, bounds)?),
        DurationExpr::Unary(op, operand, _) => {
            let value = seconds(operand, bounds)?;
            if *op == BinaryOp::Sub { -value } else { value }
        }
        DurationExpr::Paren(inner, _) => seconds(inner, bounds)?,
        DurationExpr::Binary(op, a, b, _) => {
            let (a, b) = (seconds(a, bounds)?, seconds(b, bounds)?);
            match op {
                BinaryOp::Div if b == 0.0 => return Err(error(expr, "division by zero")),
                BinaryOp::Mod if b == 0.0 => return Err(error(expr, "modulo by zero")),
                _ => crate::eval::scalar::arithmetic(*op, a, b),
            }
        }
    })
}
