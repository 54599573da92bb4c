//! `quantile`: needs all values of a group at a step at once, so groups are evaluated one after the other on each thread.

use super::Context;
use super::grouping::Groups;
use crate::budget::Charge;
use crate::eval::range::order;
use crate::eval::row::Row;
use crate::eval::scalar::ScalarRow;
use crate::eval::vector::{Table, Vector};
use crate::query_error::QueryError;
use std::sync::Arc;

/// The quantile `q` of each group's values at each step.
pub(crate) fn quantile<'q>(
    context: Context<'_, 'q>,
    groups: &Groups<'q>,
    q: &ScalarRow,
    steps: usize,
) -> Result<Vector<'q>, QueryError> {
    let Context { exec, inner, .. } = context;
    let rows = exec.map(groups.len(), |group, worker| {
        let mut charge = Charge::none(exec.budget);
        let mut cells: Vec<Vec<f64>> = vec![Vec::new(); steps];
        let mut row = worker.take_row();
        for index in groups.members(group) {
            inner.row(index, worker, &mut row)?;
            context.ignore_histograms(&row);
            charge.add(row.count(), row.count() * size_of::<f64>())?;
            for (step, value) in row.iter() {
                cells[step].push(value);
            }
        }
        worker.give_row(row);
        let mut out = Row::absent(steps);
        for (step, values) in cells.iter_mut().enumerate().filter(|(_, values)| !values.is_empty()) {
            out.set(step, order::quantile(q.at(step), values));
        }
        Ok((groups.labels(group).clone(), groups.drops_name(group, inner), out))
    })?;
    Ok(Arc::new(Table::from_rows(steps, rows, exec)?))
}
