//! Operators between the series of a vector and a scalar.

use super::cells::{CellOperator, Outcome};
use super::{changes_metric, is_trim};
use crate::ast::BinaryOp;
use crate::eval::exec::{Exec, Worker};
use crate::eval::mapped::{Rows, mapped};
use crate::eval::names::{OnEqual, drop_names};
use crate::eval::remarks::Place;
use crate::eval::row::{Cell, Row};
use crate::eval::scalar::{ScalarRow, arithmetic, compare};
use crate::eval::vector::{SeriesVector, Vector};
use crate::plan::Node;
use crate::query_error::QueryError;
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
    let place = Place { ordinal: node.ordinal, span: node.span };
    let with_histograms: Vector<'q> =
        Arc::new(WithHistograms { inner: vector, scalar: scalar.clone(), scalar_first, op, place });
    if is_trim(op) {
        return drop_names_unless_kept(with_histograms, op, return_bool, steps, exec);
    }
    let vector = with_histograms;
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
    drop_names_unless_kept(result, op, return_bool, steps, exec)
}

fn drop_names_unless_kept<'q>(
    result: Vector<'q>,
    op: BinaryOp,
    return_bool: bool,
    steps: usize,
    exec: &Exec<'q>,
) -> Result<Vector<'q>, QueryError> {
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

/// The histograms of a vector after the operator; floats are left to whoever wraps this, except under a trim operator,
/// which leaves none of them.
struct WithHistograms<'q> {
    inner: Vector<'q>,
    scalar: ScalarRow,
    scalar_first: bool,
    op: BinaryOp,
    place: Place,
}

impl WithHistograms<'_> {
    fn change(&self, row: &mut Row, exec: &Exec<'_>) {
        let operator = CellOperator { op: self.op, exec, place: self.place };
        let outcome = |step: usize, own: Cell| {
            let scalar = Cell::Float(self.scalar.at(step));
            let outcome = if self.scalar_first { operator.apply(&scalar, &own) } else { operator.apply(&own, &scalar) };
            match outcome {
                Outcome::Value(cell) => Some(cell),
                Outcome::Filtered | Outcome::Undefined => None,
            }
        };
        if is_trim(self.op) {
            // No float is left, but each asks for a remark.
            row.retain(|step, value| outcome(step, Cell::Float(value)).is_some());
        }
        row.map_histograms(|step, histogram| outcome(step, Cell::Histogram(Arc::clone(histogram))));
    }
}

impl Rows for WithHistograms<'_> {
    fn inner(&self) -> &dyn SeriesVector {
        self.inner.as_ref()
    }

    fn keeps_histograms(&self) -> bool {
        !self.op.is_comparison()
    }

    fn evaluate(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        self.inner.row(index, worker, out)?;
        if out.has_histograms() || is_trim(self.op) {
            self.change(out, worker.exec);
        }
        Ok(())
    }
}
