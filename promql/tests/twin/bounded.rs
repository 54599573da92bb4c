//! `anchored` and `smoothed` over floats, for the naive evaluator: a window becomes a list of points.

use crate::cell::Cell;
use crate::naive::{Element, Naive, Stored, floats_of};
use promql::ast::VectorSelector;

/// The value at a time on the line from one sample to the next; a counter that was reset in between begins at zero.
fn between(from: (i64, f64), to: (i64, f64), at: i64, counter: bool) -> f64 {
    let base = if counter && to.1 < from.1 { 0.0 } else { from.1 };
    base + (to.1 - base) * (at - from.0) as f64 / (to.0 - from.0) as f64
}

/// The value of a line through all samples at one time, level after the last; `None` before the first.
pub(crate) fn on_the_line(samples: &[(i64, f64)], at: i64, counter: bool) -> Option<f64> {
    let before = samples.iter().rev().find(|(time, _)| *time <= at)?;
    let after = samples.iter().find(|(time, _)| *time > at);
    Some(match after {
        Some(after) if before.0 < at => between(*before, *after, at, counter),
        _ => before.1,
    })
}

/// The samples of a window from its anchor on: the newest at or before its start. `None` when nothing is inside.
pub(crate) fn from_anchor(samples: &[(i64, f64)], start: i64) -> Option<&[(i64, f64)]> {
    let inside = samples.iter().position(|(time, _)| *time > start)?;
    Some(&samples[inside.saturating_sub(1)..])
}

/// A function over a window whose bounds have values; `samples` are those of the window and of the lookback around it.
pub(crate) fn fold_bounded(
    name: &str,
    samples: &[(i64, f64)],
    smoothed: bool,
    (start, end): (i64, i64),
) -> Option<f64> {
    let counter = matches!(name, "rate" | "increase");
    let inside = |time: i64| time > start && if smoothed { time < end } else { time <= end };
    if samples.last()?.0 <= start || samples.first()?.0 > end {
        return None;
    }
    let mut points: Vec<f64> = Vec::new();
    if smoothed {
        points.extend(on_the_line(samples, start, counter));
    } else {
        points.extend(samples.iter().rev().find(|(time, _)| *time <= start).map(|(_, value)| *value));
    }
    points.extend(samples.iter().filter(|(time, _)| inside(*time)).map(|(_, value)| *value));
    if smoothed {
        points.extend(on_the_line(samples, end, counter));
    }
    let pairs = |counts: fn(f64, f64) -> bool| points.windows(2).filter(|pair| counts(pair[0], pair[1])).count() as f64;
    Some(match name {
        "resets" => pairs(|before, after| after < before),
        "changes" => pairs(|before, after| before != after && !(before.is_nan() && after.is_nan())),
        "rate" | "increase" | "delta" => {
            let mut increase = points[points.len() - 1] - points[0];
            if counter {
                increase += points.windows(2).filter(|pair| pair[1] < pair[0]).map(|pair| pair[0]).sum::<f64>();
            }
            if name == "rate" { increase / ((end - start) as f64 / 1000.0) } else { increase }
        }
        other => panic!("not generated: {other}"),
    })
}

impl Naive<'_> {
    /// The value at the very time, on the line between the samples around it.
    pub(crate) fn smoothed(&self, selector: &VectorSelector, at: i64) -> Vec<Element> {
        let near = |time: i64| time > at - self.lookback_ms && time <= at + self.lookback_ms;
        let value = |samples: Stored| {
            let floats: Vec<(i64, f64)> = floats_of(&samples).into_iter().filter(|(time, _)| near(*time)).collect();
            on_the_line(&floats, at, false)
        };
        let all = self.selected(selector).into_iter();
        let found = all.filter_map(|(labels, samples)| Some((labels, value(samples)?)));
        found.map(|(labels, value)| Element { labels, drops_name: false, value: Cell::Float(value) }).collect()
    }
}
