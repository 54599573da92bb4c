//! The sorts: they order the series of an instant query.

use crate::eval::exec::{Exec, Worker};
use crate::eval::row::Row;
use crate::eval::vector::{SeriesVector, Table, Vector};
use crate::query_error::QueryError;
use model::labels::Labels;
use std::cmp::Ordering;
use std::sync::Arc;

/// What to sort by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    /// By value, then by labels; NaN last in either direction.
    Value,
    /// By these labels in natural order, then by all labels.
    Labels(Vec<String>),
}

/// Sorts the series of an instant vector, stably.
pub(crate) fn sort<'q>(
    inner: &dyn SeriesVector,
    key: &Key,
    descending: bool,
    exec: &Exec<'q>,
) -> Result<Vector<'q>, QueryError> {
    let table = Table::evaluate(inner, 1, false, exec)?;
    let mut order: Vec<usize> = (0..table.len()).collect();
    if *key == Key::Value {
        // Histograms have no order.
        order.retain(|index| table.histograms(*index).first().is_none_or(Option::is_none));
    }
    let value = |index: usize| table.columns(index).0[0];
    let turn = |ordering: Ordering| if descending { ordering.reverse() } else { ordering };
    match key {
        Key::Value => order.sort_by(|a, b| {
            let (left, right) = (value(*a), value(*b));
            let by_value = turn(left.partial_cmp(&right).unwrap_or(Ordering::Equal));
            let by_kind = left.is_nan().cmp(&right.is_nan());
            by_kind.then(by_value).then_with(|| table.labels_ref(*a).cmp(table.labels_ref(*b)))
        }),
        Key::Labels(names) => order.sort_by(|a, b| {
            let (a, b) = (table.labels_ref(*a), table.labels_ref(*b));
            let by_names = names.iter().map(|name| {
                let text = |labels: &Labels| labels.get(name).unwrap_or_default().to_owned();
                natural(&text(a), &text(b))
            });
            turn(by_names.fold(Ordering::Equal, Ordering::then).then_with(|| a.cmp(b)))
        }),
    }
    Ok(Arc::new(Ordered { table, order }))
}

/// Compares texts with runs of digits as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    while let (Some((left, left_rest)), Some((right, right_rest))) = (next_run(a), next_run(b)) {
        let both_numbers =
            left.starts_with(|c: char| c.is_ascii_digit()) && right.starts_with(|c: char| c.is_ascii_digit());
        let ordering = if both_numbers {
            let (x, y) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
            x.len().cmp(&y.len()).then(x.cmp(y)).then(left.len().cmp(&right.len()))
        } else {
            left.cmp(right)
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
        (a, b) = (left_rest, right_rest);
    }
    a.len().cmp(&b.len())
}

/// The longest start of only digits or only others, and the rest.
fn next_run(text: &str) -> Option<(&str, &str)> {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A table in another order.
struct Ordered<'q> {
    table: Table<'q>,
    order: Vec<usize>,
}

impl SeriesVector for Ordered<'_> {
    fn len(&self) -> usize {
        self.order.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.table.labels(self.order[index])
    }

    fn drops_name(&self, index: usize) -> bool {
        self.table.drops_name(self.order[index])
    }

    fn may_have_histograms(&self, index: usize) -> bool {
        self.table.may_have_histograms(self.order[index])
    }

    fn row(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        self.table.row(self.order[index], worker, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_compare_as_numbers() {
        let mut texts = ["4m1000", "4m5", "4m600", "1.2.3", "1.11.3", "1.111.3", "", "a", "10", "9"];
        texts.sort_by(|a, b| natural(a, b));
        assert_eq!(texts, ["", "1.2.3", "1.11.3", "1.111.3", "4m5", "4m600", "4m1000", "9", "10", "a"]);
    }
}
