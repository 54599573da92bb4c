//! Durations that are computed, for the naive evaluator.

use crate::folds::arithmetic;
use crate::naive::Naive;
use promql::ast::*;

impl Naive<'_> {
    pub(crate) fn millis(&self, duration: &DurationValue) -> i64 {
        match duration {
            DurationValue::Fixed(millis) => *millis,
            DurationValue::Expr(expr) => (self.seconds(expr) * 1000.0) as i64,
        }
    }

    fn seconds(&self, expr: &DurationExpr) -> f64 {
        match expr {
            DurationExpr::Number(number) => number.value,
            DurationExpr::Step(_) => self.step_ms as f64 / 1000.0,
            DurationExpr::Range(_) => (self.end_ms - self.start_ms) as f64 / 1000.0,
            DurationExpr::MinOf(a, b, _) => self.seconds(a).min(self.seconds(b)),
            DurationExpr::MaxOf(a, b, _) => self.seconds(a).max(self.seconds(b)),
            DurationExpr::Unary(op, a, _) => {
                arithmetic(BinaryOp::Mul, if *op == BinaryOp::Sub { -1.0 } else { 1.0 }, self.seconds(a))
            }
            DurationExpr::Binary(op, a, b, _) => arithmetic(*op, self.seconds(a), self.seconds(b)),
            DurationExpr::Paren(inner, _) => self.seconds(inner),
        }
    }
}
