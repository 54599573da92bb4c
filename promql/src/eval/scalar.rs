//! Scalars over the steps of a query, and the operators between two numbers.

use super::steps::Steps;
use crate::ast::BinaryOp;

/// One number per step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ScalarRow {
    /// The same at every step.
    Constant(f64),
    /// One per step.
    PerStep(Vec<f64>),
}

impl ScalarRow {
    /// The value at one step.
    #[inline]
    pub(crate) fn at(&self, step: usize) -> f64 {
        match self {
            Self::Constant(value) => *value,
            Self::PerStep(values) => values[step],
        }
    }

    /// The time of each step, in seconds.
    pub(crate) fn times(steps: &Steps) -> Self {
        Self::PerStep((0..steps.count).map(|step| steps.time(step) as f64 / 1000.0).collect())
    }

    /// Applies `f` to each value.
    pub(crate) fn map(self, f: impl Fn(f64) -> f64) -> Self {
        match self {
            Self::Constant(value) => Self::Constant(f(value)),
            Self::PerStep(values) => Self::PerStep(values.into_iter().map(f).collect()),
        }
    }

    /// Applies `f` to the values of both at each step.
    pub(crate) fn zip(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        match (self, other) {
            (Self::Constant(a), Self::Constant(b)) => Self::Constant(f(a, b)),
            (Self::Constant(a), Self::PerStep(b)) => Self::PerStep(b.into_iter().map(|b| f(a, b)).collect()),
            (Self::PerStep(a), Self::Constant(b)) => Self::PerStep(a.into_iter().map(|a| f(a, b)).collect()),
            (Self::PerStep(a), Self::PerStep(b)) => Self::PerStep(a.into_iter().zip(b).map(|(a, b)| f(a, b)).collect()),
        }
    }

    /// The values, repeated when they are all the same.
    pub(crate) fn values(&self, steps: usize) -> impl Iterator<Item = f64> + '_ {
        (0..steps).map(|step| self.at(step))
    }
}

/// Whether the comparison holds; false for other operators.
#[inline(always)]
pub(crate) fn compare(op: BinaryOp, a: f64, b: f64) -> bool {
    match op {
        BinaryOp::Equal => a == b,
        BinaryOp::NotEqual => a != b,
        BinaryOp::Less => a < b,
        BinaryOp::LessOrEqual => a <= b,
        BinaryOp::Greater => a > b,
        BinaryOp::GreaterOrEqual => a >= b,
        _ => false,
    }
}

/// The result of an arithmetic operator; NaN for other operators.
#[inline(always)]
pub(crate) fn arithmetic(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => power(a, b),
        BinaryOp::Atan2 => a.atan2(b),
        _ => f64::NAN,
    }
}

/// The result of an operator between two scalars: comparisons give 1 or 0.
pub(crate) fn between_scalars(op: BinaryOp, a: f64, b: f64) -> f64 {
    if op.is_comparison() { f64::from(u8::from(compare(op, a, b))) } else { arithmetic(op, a, b) }
}

/// `a ^ b`; squares, the usual case, by multiplication (Go's algorithm comes to the same).
#[inline]
fn power(a: f64, b: f64) -> f64 {
    if b == 2.0 { a * a } else { a.powf(b) }
}

/// The larger number as Go has it: NaN if either is, and +0 above -0.
pub(crate) fn go_max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == 0.0 && b == 0.0 {
        if a.is_sign_negative() { b } else { a }
    } else if a > b {
        a
    } else {
        b
    }
}

/// The smaller number as Go has it: NaN if either is, and -0 below +0.
pub(crate) fn go_min(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == 0.0 && b == 0.0 {
        if a.is_sign_negative() { a } else { b }
    } else if a < b {
        a
    } else {
        b
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_order_zeros_and_propagate_nan() {
        assert!(go_max(-0.0, 0.0).is_sign_positive());
        assert!(go_min(0.0, -0.0).is_sign_negative());
        assert!(go_max(f64::NAN, 1.0).is_nan() && go_min(1.0, f64::NAN).is_nan());
        assert_eq!(go_max(f64::NAN, f64::INFINITY), f64::INFINITY);
        assert_eq!((go_max(1.0, 2.0), go_min(1.0, 2.0)), (2.0, 1.0));
    }
}
