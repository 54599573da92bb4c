//! Binary operators where at least one side is a native histogram.

use super::is_trim;
use crate::ast::BinaryOp;
use crate::eval::exec::Exec;
use crate::eval::remarks::{self, Operation, Place};
use crate::eval::row::Cell;
use crate::eval::scalar::{arithmetic, compare};
use model::histogram::{CounterResetHint, Histogram, IncompatibleBuckets, Keep};
use std::sync::Arc;

/// An operator, and where remarks on it go.
#[derive(Clone, Copy)]
pub(crate) struct CellOperator<'a, 'x> {
    pub(crate) op: BinaryOp,
    pub(crate) exec: &'a Exec<'x>,
    pub(crate) place: Place,
}

/// What an operator makes of two values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// A result; of a comparison, its left operand.
    Value(Cell),
    /// A comparison that does not hold.
    Filtered,
    /// The operator has no meaning for these values: as if the two had not met.
    Undefined,
}

impl CellOperator<'_, '_> {
    /// `left op right`
    pub(crate) fn apply(self, left: &Cell, right: &Cell) -> Outcome {
        match (left, right) {
            (Cell::Float(left), Cell::Float(right)) => self.floats(*left, *right),
            (Cell::Float(factor), Cell::Histogram(histogram)) => match self.op {
                BinaryOp::Mul => changed(histogram, |histogram| histogram.multiply(*factor)),
                _ => self.undefined("float", "histogram"),
            },
            (Cell::Histogram(histogram), Cell::Float(number)) => match self.op {
                BinaryOp::Mul => changed(histogram, |histogram| histogram.multiply(*number)),
                BinaryOp::Div => changed(histogram, |histogram| histogram.divide(*number)),
                BinaryOp::TrimUpper => trimmed(histogram, Keep::Below, *number),
                BinaryOp::TrimLower => trimmed(histogram, Keep::Above, *number),
                _ => self.undefined("histogram", "float"),
            },
            (Cell::Histogram(a), Cell::Histogram(b)) => match self.op {
                BinaryOp::Add | BinaryOp::Sub => self.combined(a, b),
                BinaryOp::Equal | BinaryOp::NotEqual => {
                    let holds = a.is_same_data(b) == (self.op == BinaryOp::Equal);
                    if holds { Outcome::Value(left.clone()) } else { Outcome::Filtered }
                }
                _ => self.undefined("histogram", "histogram"),
            },
        }
    }

    fn floats(self, left: f64, right: f64) -> Outcome {
        if is_trim(self.op) {
            return self.undefined("float", "float");
        }
        if !self.op.is_comparison() {
            return Outcome::Value(Cell::Float(arithmetic(self.op, left, right)));
        }
        if compare(self.op, left, right) { Outcome::Value(Cell::Float(left)) } else { Outcome::Filtered }
    }

    fn undefined(self, left: &str, right: &str) -> Outcome {
        let op = self.op.as_str();
        let message =
            format!("incompatible sample types encountered for binary operator \"{op}\": {left} {op} {right}");
        self.place.inform(self.exec, message);
        Outcome::Undefined
    }

    /// A sum or a difference. Hints that contradict each other leave no result, as in Prometheus.
    fn combined(self, left: &Histogram, right: &Histogram) -> Outcome {
        let mut result = left.clone();
        let (combined, operation) = if self.op == BinaryOp::Add {
            (result.add(right), Operation::Addition)
        } else {
            (result.subtract(right), Operation::Subtraction)
        };
        match combined {
            Ok(combined) if combined.resets_collide => {
                self.place.warn(self.exec, remarks::colliding_resets(operation));
                return Outcome::Undefined;
            }
            Ok(combined) => self.place.remark_on_bounds(self.exec, combined, operation),
            Err(IncompatibleBuckets) => {
                let op = self.op.as_str();
                let message = format!("incompatible bucket layout encountered for binary operator {op}");
                self.place.warn(self.exec, message);
                return Outcome::Undefined;
            }
        }
        if self.op == BinaryOp::Sub {
            result.counter_reset_hint = CounterResetHint::Gauge;
        }
        result.compact();
        Outcome::Value(Cell::Histogram(Arc::new(result)))
    }
}

fn changed(histogram: &Histogram, change: impl FnOnce(&mut Histogram)) -> Outcome {
    let mut histogram = histogram.clone();
    change(&mut histogram);
    histogram.compact();
    Outcome::Value(Cell::Histogram(Arc::new(histogram)))
}

fn trimmed(histogram: &Histogram, keep: Keep, at: f64) -> Outcome {
    let mut histogram = histogram.clone();
    histogram.trim(keep, at);
    Outcome::Value(Cell::Histogram(Arc::new(histogram)))
}
