//! `count_values`: how many series of a group have which value.

use super::grouping::Grouping;
use crate::eval::exec::Exec;
use crate::eval::row::{Row, set_bits};
use crate::eval::vector::{SeriesVector, Table, Vector};
use crate::query_error::QueryError;
use hashbrown::HashMap;
use model::labels::Labels;
use std::sync::Arc;

/// Counts values; the value becomes the label `name` before series are grouped.
pub(crate) fn count_values<'q>(
    inner: &dyn SeriesVector,
    name: &str,
    grouping: &Grouping,
    steps: usize,
    exec: &Exec<'q>,
) -> Result<Vector<'q>, QueryError> {
    let mut rows: Vec<(Labels, bool, Row)> = Vec::new();
    let mut at: HashMap<Labels, usize, foldhash::fast::RandomState> = HashMap::default();
    // Most series of a group have the same few values: find their rows by group and bits first.
    let mut known: HashMap<(Labels, u64), usize, foldhash::fast::RandomState> = HashMap::default();
    let mut worker = exec.worker();
    let mut row = worker.take_row();
    for index in 0..inner.len() {
        inner.row(index, &mut worker, &mut row)?;
        if row.is_empty() {
            continue;
        }
        let labels = inner.labels(index);
        let base = grouping.keep(&labels);
        for step in set_bits(&row.seen()) {
            let text = || match row.histogram(step) {
                Some(histogram) => histogram.to_string(),
                None => model::text::format_plain(row.values()[step]),
            };
            let mut find = || {
                let key = grouping.keep(&labels.with(name, &text()));
                *at.entry(key.clone()).or_insert_with(|| {
                    rows.push((key, false, Row::absent(steps)));
                    rows.len() - 1
                })
            };
            let found = match row.get(step) {
                Some(value) => *known.entry((base.clone(), value.to_bits())).or_insert_with(find),
                None => find(),
            };
            let counts = &mut rows[found].2;
            let count = counts.get(step).unwrap_or(0.0);
            counts.set(step, count + 1.0);
        }
    }
    worker.give_row(row);
    Ok(Arc::new(Table::from_rows(steps, rows, exec)?))
}
