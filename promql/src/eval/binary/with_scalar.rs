//! Operators between the series of a vector and a scalar.

use super::{changes_metric, is_trim, trim_of_floats};
use crate::annotation::Severity;
use crate::ast::BinaryOp;
use crate::eval::exec::{Exec, Worker};
use crate::eval::mapped::mapped;
use crate::eval::names::{OnEqual, drop_names};
use crate::eval::row::Row;
use crate::eval::scalar::{ScalarRow, arithmetic, compare};
use crate::eval::vector::{SeriesVector, Vector};
use crate::plan::Node;
use crate::query_error::QueryError;
use model::labels::Labels;
use std::sync::Arc;

/// `vector op scalar`, or `scalar op vector` when `scalar_first`.
pub(crate) fn apply<'q>(
    node: &Node,
    op: BinaryOp,
    (vector, scalar): (Vector<'q>, ScalarRow),
    scalar_first: bool,
    return_bool: bool,
    steps: usize,
    exec: &Exec<'q>,
) -> Result<Vector<'q>, QueryError> {
    if is_trim(op) {
        return Ok(without_trimmed(vector, op, node));
    }
    let result = if op.is_comparison() {
        let holds = move |step: usize, value: f64| {
            let other = scalar.at(step);
            if scalar_first { compare(op, other, value) } else { compare(op, value, other) }
        };
        mapped(vector, move |row| {
            if return_bool {
                change_each(row, |step, value| f64::from(u8::from(holds(step, value))));
            } else {
                row.retain(&holds);
            }
        })
    } else {
        let vector_scalar = (vector, scalar, scalar_first);
        match op {
            BinaryOp::Add => each(vector_scalar, |a, b| a + b),
            BinaryOp::Sub => each(vector_scalar, |a, b| a - b),
            BinaryOp::Mul => each(vector_scalar, |a, b| a * b),
            BinaryOp::Div => each(vector_scalar, |a, b| a / b),
            _ => each(vector_scalar, move |a, b| arithmetic(op, a, b)),
        }
    };
    if changes_metric(op) || return_bool { drop_names(result, steps, OnEqual::Merge, exec) } else { Ok(result) }
}

/// Applies `f` to each value and the scalar, in the order in which they are written.
fn each<'q>(
    (vector, scalar, scalar_first): (Vector<'q>, ScalarRow, bool),
    f: impl Fn(f64, f64) -> f64 + Send + Sync + 'q,
) -> Vector<'q> {
    mapped(vector, move |row| match (&scalar, scalar_first) {
        (ScalarRow::Constant(scalar), false) => row.map(|value| f(value, *scalar)),
        (ScalarRow::Constant(scalar), true) => row.map(|value| f(*scalar, value)),
        (ScalarRow::PerStep(scalars), false) => change_each(row, |step, value| f(value, scalars[step])),
        (ScalarRow::PerStep(scalars), true) => change_each(row, |step, value| f(scalars[step], value)),
    })
}

/// Replaces every present value.
pub(crate) fn change_each(row: &mut Row, f: impl Fn(usize, f64) -> f64) {
    if row.is_full() {
        for (step, value) in row.values_mut().iter_mut().enumerate() {
            *value = f(step, *value);
        }
        return;
    }
    let (values, present) = row.parts_mut();
    for step in crate::eval::row::set_bits(present) {
        values[step] = f(step, values[step]);
    }
}

/// What a trim operator leaves of floats: nothing, and a remark. Other operators leave `vector` as it is.
pub(crate) fn without_trimmed<'q>(vector: Vector<'q>, op: BinaryOp, node: &Node) -> Vector<'q> {
    if !is_trim(op) {
        return vector;
    }
    Arc::new(Trimmed { inner: vector, message: trim_of_floats(op), node: (node.ordinal, node.span) })
}

/// Floats under a trim operator.
struct Trimmed<'q> {
    inner: Vector<'q>,
    message: String,
    node: (u32, crate::ast::Span),
}

impl SeriesVector for Trimmed<'_> {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.inner.labels(index)
    }

    fn drops_name(&self, index: usize) -> bool {
        self.inner.drops_name(index)
    }

    fn has_one_name(&self) -> bool {
        self.inner.has_one_name()
    }

    fn row(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        self.inner.row(index, worker, out)?;
        if !out.is_empty() {
            worker.exec.annotate(Severity::Info, self.message.clone(), self.node.0, self.node.1);
        }
        out.reset(out.steps());
        Ok(())
    }
}
