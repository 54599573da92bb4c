//! Binary operators with a vector on at least one side.

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

/// Whether the operator trims histograms; floats have no buckets to trim.
pub(crate) fn is_trim(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower)
}

/// What is said when floats meet a trim operator.
pub(crate) fn trim_of_floats(op: BinaryOp) -> String {
    let symbol = op.as_str();
    format!("incompatible sample types encountered for binary operator \"{symbol}\": float {symbol} float")
}
