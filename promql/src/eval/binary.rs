//! Binary operators with a vector on at least one side.

pub(crate) mod cells;
pub(crate) mod join;
pub(crate) mod matching;
pub(crate) mod set;
pub(crate) mod with_scalar;

use crate::ast::BinaryOp;

/// Whether the result is no longer the metric that the operands were.
pub(crate) fn changes_metric(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Pow | BinaryOp::Atan2
    )
}

/// Whether the operator trims histograms, which has no meaning for floats.
pub(crate) fn is_trim(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower)
}
