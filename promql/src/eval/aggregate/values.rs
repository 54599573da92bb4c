//! `count_values`: how many series of a group have which value.

use super::grouping::Grouping;
use crate::budget::Charge;
use crate::eval::exec::Exec;
use crate::eval::numbered::NumberedLabels;
use crate::eval::row::set_bits;
use crate::eval::vector::{SeriesVector, Table, Vector, announced};
use crate::query_error::QueryError;
use hashbrown::HashMap;
use std::sync::Arc;

/// Values whose rows are known without their text. Where there are more, most occur once.
const KNOWN_MAX: usize = 1 << 16;

/// Counts values; the value becomes the label `name` before series are grouped.
pub(crate) fn count_values<'q>(
    inner: &dyn SeriesVector,
    name: &str,
    grouping: &Grouping,
    steps: usize,
    exec: &Exec<'q>,
) -> Result<Vector<'q>, QueryError> {
    let mut rows = NumberedLabels::new(0, exec);
    // A row for each, of `steps` counts, charged until they are rows of a table.
    let mut counts: Vec<f64> = Vec::new();
    let mut counts_charge = Charge::none(exec.budget);
    // Most series of a group have the same few values: find their rows by group and bits first.
    let mut groups = NumberedLabels::new(0, exec);
    let mut known: HashMap<(usize, u64), usize, foldhash::fast::RandomState> = HashMap::default();
    let names = grouping.borrowed();
    let mut worker = exec.worker();
    let mut row = worker.take_row();
    for index in announced(inner, 0..inner.len()) {
        inner.row(index, &mut worker, &mut row)?;
        if row.is_empty() {
            continue;
        }
        let key = grouping.key(inner, index, &names);
        let group = groups.number(key.clone())?;
        for step in set_bits(&row.seen()) {
            let bits = row.get(step).map(f64::to_bits);
            let found = match bits.and_then(|bits| known.get(&(group, bits))) {
                Some(found) => *found,
                None => {
                    let text = match row.histogram(step) {
                        Some(histogram) => histogram.to_string(),
                        None => model::text::format_plain(row.values()[step]),
                    };
                    let found = rows.number(grouping.keep(&key.with(name, &text)))?;
                    if let (Some(bits), true) = (bits, known.len() < KNOWN_MAX) {
                        known.insert((group, bits), found);
                    }
                    found
                }
            };
            let needed = rows.len() * steps;
            if counts.capacity() < needed {
                let room = needed.max(2 * counts.capacity());
                counts_charge.add(0, (room - counts.capacity()) * size_of::<f64>())?;
                counts.reserve_exact(room - counts.len());
            }
            if counts.len() < needed {
                counts.resize(needed, 0.0);
            }
            counts[found * steps + step] += 1.0;
        }
    }
    drop((known, groups));
    // What has no count at a step is absent there.
    let mut table = Table::builder(steps, exec);
    for (labels, counts) in rows.into_labels().into_iter().zip(counts.chunks(steps.max(1))) {
        row.reset(steps);
        for (step, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            row.set(step, *count);
        }
        table.push(labels, false, &row)?;
    }
    worker.give_row(row);
    Ok(Arc::new(table.finish()))
}
