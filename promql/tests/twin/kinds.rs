//! Functions over windows that have histograms, and operators between values of any kind, for the naive evaluator.

use crate::cell::{Cell, Hist, sum_of};
use crate::distribution::trimmed;
use crate::folds::{arithmetic, comparison, fold};
use promql::ast::BinaryOp;

/// A function over the samples of one window.
pub(crate) fn fold_kinds(
    name: &str,
    samples: &[(i64, Cell)],
    scalars: &[f64],
    (start, end, at): (i64, i64, i64),
) -> Option<Cell> {
    let floats: Vec<(i64, f64)> = samples.iter().filter_map(|(time, cell)| Some((*time, cell.float()?))).collect();
    let histograms: Vec<(i64, &Hist)> =
        samples.iter().filter_map(|(time, cell)| Some((*time, cell.histogram()?))).collect();
    let of_floats = || fold(name, &floats, scalars, start, end, at).map(Cell::Float);
    if histograms.is_empty() {
        return of_floats();
    }
    let (first, last) = (samples.first()?, samples.last()?);
    let is_mixed = !floats.is_empty();
    let all: Vec<&Hist> = histograms.iter().map(|(_, histogram)| *histogram).collect();
    let pairs = |counts: fn(&Cell, &Cell) -> bool| {
        Cell::Float(samples.windows(2).filter(|pair| counts(&pair[0].1, &pair[1].1)).count() as f64)
    };
    Some(match name {
        "count_over_time" => Cell::Float(samples.len() as f64),
        "present_over_time" | "absent_over_time" => Cell::Float(1.0),
        "first_over_time" => first.1.clone(),
        "last_over_time" => last.1.clone(),
        "ts_of_last_over_time" => Cell::Float(last.0 as f64 / 1000.0),
        "ts_of_first_over_time" => Cell::Float(first.0 as f64 / 1000.0),
        "resets" => pairs(is_reset),
        "changes" => pairs(is_change),
        "sum_over_time" | "avg_over_time" | "rate" | "increase" | "delta" if is_mixed => return None,
        "sum_over_time" => Cell::Histogram(sum_of(&all)?),
        "avg_over_time" => Cell::Histogram(sum_of(&all)?.divided(all.len() as f64)),
        "rate" | "increase" | "delta" => Cell::Histogram(extrapolated(name, &histograms, start, end)?),
        "irate" | "idelta" => return last_two(name, samples),
        // The others look at floats alone.
        _ => return of_floats(),
    })
}

fn is_reset(before: &Cell, after: &Cell) -> bool {
    match (before, after) {
        (Cell::Float(before), Cell::Float(after)) => after < before,
        (Cell::Histogram(before), Cell::Histogram(after)) => after.is_reset_after(before),
        _ => true,
    }
}

fn is_change(before: &Cell, after: &Cell) -> bool {
    match (before, after) {
        (Cell::Float(before), Cell::Float(after)) => before != after && !(before.is_nan() && after.is_nan()),
        (Cell::Histogram(_), Cell::Histogram(_)) => {
            let layout =
                |cell: &Cell| cell.histogram().map(|h| (h.schema, h.buckets.keys().copied().collect::<Vec<_>>()));
            before.bits() != after.bits() || layout(before) != layout(after)
        }
        _ => true,
    }
}

fn extrapolated(name: &str, histograms: &[(i64, &Hist)], start: i64, end: i64) -> Option<Hist> {
    let n = histograms.len();
    if n < 2 {
        return None;
    }
    let is_counter = name != "delta";
    let ((first_time, first), (last_time, last)) = (histograms[0], histograms[n - 1]);
    // If the counter was reset right after it, the first one is as if it had counted nothing.
    let dropped = is_counter && histograms[1].1.is_reset_after(first);
    let base = if dropped { Hist::empty_like(histograms[1].1) } else { first.clone() };
    let mut increase = last.clone();
    if is_counter {
        for (_, histogram) in &histograms[1..n - 1] {
            increase = increase.plus(1.0, &Hist::empty_like(histogram))?;
        }
    }
    increase = increase.plus(-1.0, &base)?;
    if is_counter {
        let mut before = &base;
        for (_, histogram) in &histograms[1..] {
            if histogram.is_reset_after(before) {
                increase = increase.plus(1.0, before)?;
            }
            before = histogram;
        }
    }
    let seconds = |millis: i64| millis as f64 / 1000.0;
    let sampled = seconds(last_time - first_time);
    let between = sampled / (n - 1) as f64;
    let near = |distance: f64| if distance >= between * 1.1 { between / 2.0 } else { distance };
    let mut to_start = near(seconds(first_time - start));
    if is_counter && increase.count > 0.0 && first.count >= 0.0 {
        to_start = to_start.min(sampled * (first.count / increase.count));
    }
    let factor = (sampled + to_start + near(seconds(end - last_time))) / sampled;
    let factor = if name == "rate" { factor / seconds(end - start) } else { factor };
    Some(increase.mapped(|value| value * factor))
}

fn last_two(name: &str, samples: &[(i64, Cell)]) -> Option<Cell> {
    let [.., (time_before, before), (time, last)] = samples else { return None };
    let interval = (time - time_before) as f64 / 1000.0;
    match (before, last) {
        (Cell::Float(before), Cell::Float(last)) if name == "idelta" => Some(Cell::Float(last - before)),
        (Cell::Float(before), Cell::Float(last)) => {
            let increase = if last < before { *last } else { last - before };
            Some(Cell::Float(increase / interval))
        }
        (Cell::Histogram(before), Cell::Histogram(last)) if name == "idelta" => {
            last.plus(-1.0, before).map(Cell::Histogram)
        }
        (Cell::Histogram(before), Cell::Histogram(last)) => {
            let increase = if last.is_reset_after(before) { last.clone() } else { last.plus(-1.0, before)? };
            Some(Cell::Histogram(increase.mapped(|value| value / interval)))
        }
        _ => None,
    }
}

/// What an operator makes of two values: `None` when it has no meaning for them, else whether a comparison holds and the
/// result, of a comparison its left operand.
pub(crate) fn operate(op: BinaryOp, left: &Cell, right: &Cell) -> Option<(Option<bool>, Cell)> {
    Some(match (left, right) {
        (Cell::Histogram(histogram), Cell::Float(at)) if matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower) => {
            (None, Cell::Histogram(trimmed(histogram, op == BinaryOp::TrimUpper, *at)))
        }
        _ if matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower) => return None,
        (Cell::Histogram(a), Cell::Histogram(b)) if matches!(op, BinaryOp::Equal | BinaryOp::NotEqual) => {
            (Some(a.is_same_data(b) == (op == BinaryOp::Equal)), left.clone())
        }
        (Cell::Float(a), Cell::Float(b)) => match comparison(op, *a, *b) {
            Some(holds) => (Some(holds), left.clone()),
            None => (None, Cell::Float(arithmetic(op, *a, *b))),
        },
        (Cell::Histogram(histogram), Cell::Float(number)) | (Cell::Float(number), Cell::Histogram(histogram))
            if op == BinaryOp::Mul =>
        {
            (None, Cell::Histogram(histogram.mapped(|value| value * number)))
        }
        (Cell::Histogram(histogram), Cell::Float(number)) if op == BinaryOp::Div => {
            (None, Cell::Histogram(histogram.divided(*number)))
        }
        (Cell::Histogram(a), Cell::Histogram(b)) if matches!(op, BinaryOp::Add | BinaryOp::Sub) => {
            (None, Cell::Histogram(a.plus(if op == BinaryOp::Add { 1.0 } else { -1.0 }, b)?))
        }
        _ => return None,
    })
}
