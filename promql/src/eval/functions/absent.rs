//! `absent`, `absent_over_time`, `scalar`: what a vector is as a whole, step by step.

use crate::eval::exec::Exec;
use crate::eval::row::{Row, unite_bits};
use crate::eval::scalar::ScalarRow;
use crate::eval::vector::{SeriesVector, Table, Vector, announced};
use crate::query_error::QueryError;
use model::labels::{Labels, METRIC_NAME};
use model::matcher::{MatchOp, Matcher};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One series that is 1 wherever `inner` has no series.
pub(crate) fn absent<'q>(
    inner: &dyn SeriesVector,
    labels: Labels,
    steps: usize,
    exec: &Exec<'q>,
) -> Result<Vector<'q>, QueryError> {
    let mut seen = Row::absent(steps);
    let mut worker = exec.worker();
    let mut row = worker.take_row();
    for index in 0..inner.len() {
        if seen.is_full() {
            break;
        }
        inner.row(index, &mut worker, &mut row)?;
        unite_bits(seen.present_mut(), &row.seen());
    }
    worker.give_row(row);
    let mut result = Row::absent(steps);
    result.reset_to(steps, 1.0);
    for (word, seen) in result.present_mut().iter_mut().zip(seen.present()) {
        *word &= !seen;
    }
    Ok(Arc::new(Table::from_rows(steps, [(labels, false, result)], exec)?))
}

/// The labels that a selector's `=` matchers say an absent series would have; a label matched twice is left out.
pub(crate) fn labels_of(matchers: &[Matcher]) -> Labels {
    let mut known: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        let seen_before = known.contains_key(matcher.name());
        let usable = matcher.op() == MatchOp::Equal && !seen_before;
        // A label first met in another kind of matcher may still be given by a later `=`.
        if usable {
            known.insert(matcher.name(), Some(matcher.value()));
        } else if seen_before {
            known.insert(matcher.name(), None);
        }
    }
    Labels::from_sorted(known.into_iter().filter_map(|(name, value)| Some((name, value?))))
}

/// The value of the only series at each step; NaN where there is none or more than one.
pub(crate) fn scalar(inner: &dyn SeriesVector, steps: usize, exec: &Exec<'_>) -> Result<ScalarRow, QueryError> {
    let mut counts = vec![0_u8; steps];
    let mut values = vec![f64::NAN; steps];
    let mut worker = exec.worker();
    let mut row = worker.take_row();
    for index in announced(inner, 0..inner.len()) {
        inner.row(index, &mut worker, &mut row)?;
        for (step, value) in row.iter() {
            counts[step] = counts[step].saturating_add(1);
            values[step] = value;
        }
    }
    worker.give_row(row);
    for (value, count) in values.iter_mut().zip(counts) {
        if count != 1 {
            *value = f64::NAN;
        }
    }
    Ok(ScalarRow::PerStep(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_matched_twice_are_unknown() {
        let regex = Matcher::new("job", MatchOp::Regex, "b").expect("a pattern");
        let matchers = |list: &[(&str, &str)]| -> Vec<Matcher> {
            list.iter().map(|(name, value)| Matcher::equal(*name, *value)).collect()
        };
        let both = matchers(&[("__name__", "x"), ("job", "a"), ("job", "b"), ("foo", "bar")]);
        assert_eq!(labels_of(&both).to_string(), r#"{foo="bar"}"#);
        let mut mixed = matchers(&[("job", "a")]);
        mixed.push(regex.clone());
        assert_eq!(labels_of(&mixed).to_string(), "{}");
        let mut reversed = vec![regex];
        reversed.extend(matchers(&[("job", "a")]));
        assert_eq!(labels_of(&reversed).to_string(), r#"{job="a"}"#);
    }
}
