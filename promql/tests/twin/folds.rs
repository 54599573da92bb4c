//! Functions of numbers, for the naive evaluator.

use promql::ast::BinaryOp;

pub(crate) fn comparison(op: BinaryOp, a: f64, b: f64) -> Option<bool> {
    Some(match op {
        BinaryOp::Equal => a == b,
        BinaryOp::NotEqual => a != b,
        BinaryOp::Less => a < b,
        BinaryOp::LessOrEqual => a <= b,
        BinaryOp::Greater => a > b,
        BinaryOp::GreaterOrEqual => a >= b,
        _ => return None,
    })
}

pub(crate) fn arithmetic(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => a.powf(b),
        other => panic!("not generated: {other:?}"),
    }
}

pub(crate) fn sum(values: &[f64]) -> f64 {
    let (mut sum, mut correction) = (0.0_f64, 0.0_f64);
    for value in values {
        let total = sum + value;
        if total.is_infinite() {
            correction = 0.0;
        } else if sum.abs() >= value.abs() {
            correction += (sum - total) + value;
        } else {
            correction += (value - total) + sum;
        }
        sum = total;
    }
    sum + correction
}

/// Enough for the values that are generated, none of which overflow when added.
pub(crate) fn mean(values: &[f64]) -> f64 {
    sum(values) / values.len() as f64
}

pub(crate) fn best(values: &[f64], better: impl Fn(f64, f64) -> bool) -> f64 {
    let numbers = values.iter().copied().filter(|value| !value.is_nan());
    numbers.fold(f64::NAN, |best, value| if best.is_nan() || better(value, best) { value } else { best })
}

/// When the best of the numbers was, the last one of equals.
fn time_of_best(samples: &[(i64, f64)], as_good: impl Fn(f64, f64) -> bool) -> i64 {
    let better = |best: (i64, f64), sample: &(i64, f64)| {
        if best.1.is_nan() || as_good(sample.1, best.1) { *sample } else { best }
    };
    samples.iter().fold((0, f64::NAN), better).0
}

pub(crate) fn variance(values: &[f64]) -> f64 {
    if values.iter().any(|value| !value.is_finite()) {
        return f64::NAN;
    }
    let mean = mean(values);
    values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / values.len() as f64
}

pub(crate) fn quantile(q: f64, values: &[f64]) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal)));
    let rank = q * (sorted.len() - 1) as f64;
    let lower = rank.floor() as usize;
    let upper = (lower + 1).min(sorted.len() - 1);
    let weight = rank - rank.floor();
    sorted[lower] * (1.0 - weight) + sorted[upper] * weight
}

pub(crate) fn histogram_quantile(q: f64, mut buckets: Vec<(f64, f64)>) -> f64 {
    if !(0.0..=1.0).contains(&q) {
        return quantile(q, &[0.0]);
    }
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    if buckets.last().map(|last| last.0) != Some(f64::INFINITY) {
        return f64::NAN;
    }
    for i in 1..buckets.len() {
        let (before, count) = (buckets[i - 1].1, buckets[i].1);
        let small = (before - count).abs() / (before.abs() + count.abs()) < 1e-12;
        if small || count < before {
            buckets[i].1 = before;
        }
    }
    let total = buckets[buckets.len() - 1].1;
    if buckets.len() < 2 || total == 0.0 || total.is_nan() {
        return f64::NAN;
    }
    let rank = q * total;
    let at = (0..buckets.len() - 1).find(|i| buckets[*i].1 >= rank).unwrap_or(buckets.len() - 1);
    if at == buckets.len() - 1 {
        return buckets[at - 1].0;
    }
    if at == 0 && buckets[0].0 <= 0.0 {
        return buckets[0].0;
    }
    let (low, below) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
    low + (buckets[at].0 - low) * ((rank - below) / (buckets[at].1 - below))
}

/// A function over the samples of one window.
pub(crate) fn fold(name: &str, samples: &[(i64, f64)], scalars: &[f64], start: i64, end: i64, at: i64) -> Option<f64> {
    let values: Vec<f64> = samples.iter().map(|(_, value)| *value).collect();
    let seconds = |millis: i64| millis as f64 / 1000.0;
    let last = *samples.last()?;
    let first = samples[0];
    let n = values.len();
    Some(match name {
        "count_over_time" => n as f64,
        "present_over_time" | "absent_over_time" => 1.0,
        "sum_over_time" => sum(&values),
        "avg_over_time" => mean(&values),
        "min_over_time" => best(&values, |a, b| a < b),
        "max_over_time" => best(&values, |a, b| a > b),
        "last_over_time" => last.1,
        "first_over_time" => first.1,
        "stdvar_over_time" => variance(&values),
        "stddev_over_time" => variance(&values).sqrt(),
        "quantile_over_time" => quantile(scalars[0], &values),
        "ts_of_last_over_time" => seconds(last.0),
        "ts_of_first_over_time" => seconds(first.0),
        "ts_of_min_over_time" => seconds(time_of_best(samples, |a, b| a <= b)),
        "ts_of_max_over_time" => seconds(time_of_best(samples, |a, b| a >= b)),
        "mad_over_time" if values.iter().any(|value| value.is_nan()) => f64::NAN,
        "mad_over_time" => {
            let median = quantile(0.5, &values);
            quantile(0.5, &values.iter().map(|value| (value - median).abs()).collect::<Vec<_>>())
        }
        "double_exponential_smoothing" if n >= 2 => {
            let (mut level, mut trend) = (values[0], values[1] - values[0]);
            for (i, value) in values.iter().enumerate().skip(1) {
                let next = scalars[0] * value + (1.0 - scalars[0]) * (level + trend);
                let change = next - level;
                level = next;
                if i + 1 < n {
                    trend = scalars[1] * change + (1.0 - scalars[1]) * trend;
                }
            }
            level
        }
        "double_exponential_smoothing" => return None,
        "changes" => values.windows(2).filter(|w| w[0] != w[1] && !(w[0].is_nan() && w[1].is_nan())).count() as f64,
        "resets" => values.windows(2).filter(|w| w[1] < w[0]).count() as f64,
        "irate" | "idelta" if n >= 2 => {
            let (before, last) = (samples[n - 2], samples[n - 1]);
            if name == "idelta" {
                return Some(last.1 - before.1);
            }
            let increase = if last.1 < before.1 { last.1 } else { last.1 - before.1 };
            increase / seconds(last.0 - before.0)
        }
        "rate" | "increase" | "delta" if n >= 2 => {
            let counter = name != "delta";
            let mut increase = last.1 - first.1;
            if counter {
                increase += 0.0;
                for pair in values.windows(2) {
                    if pair[1] < pair[0] {
                        increase += pair[0];
                    }
                }
            }
            let sampled = seconds(last.0 - first.0);
            let between = sampled / (n - 1) as f64;
            let mut to_start = seconds(first.0 - start);
            let mut to_end = seconds(end - last.0);
            if to_start >= between * 1.1 {
                to_start = between / 2.0;
            }
            if counter && increase > 0.0 && first.1 >= 0.0 {
                to_start = to_start.min(sampled * (first.1 / increase));
            }
            if to_end >= between * 1.1 {
                to_end = between / 2.0;
            }
            let reach = increase * (sampled + to_start + to_end) / sampled;
            if name == "rate" { reach / seconds(end - start) } else { reach }
        }
        "deriv" | "predict_linear" if n >= 2 => {
            let origin = if name == "deriv" { first.0 } else { at };
            let times: Vec<f64> = samples.iter().map(|(time, _)| seconds(time - origin)).collect();
            if values.iter().any(|value| !value.is_finite()) {
                // Infinities do not always cancel; the textbook formula says what is left.
                if values.iter().all(|value| *value == values[0]) {
                    return Some(f64::NAN);
                }
                let product: Vec<f64> = times.iter().zip(&values).map(|(x, y)| x * y).collect();
                let square: Vec<f64> = times.iter().map(|x| x * x).collect();
                let n = n as f64;
                let (x, y) = (sum(&times), sum(&values));
                let slope = (sum(&product) - x * y / n) / (sum(&square) - x * x / n);
                let line = y / n - slope * x / n;
                return Some(if name == "deriv" { slope } else { slope * scalars[0] + line });
            }
            let (mean_x, mean_y) = (mean(&times), mean(&values));
            let over: f64 = times.iter().zip(&values).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
            let under: f64 = times.iter().map(|x| (x - mean_x) * (x - mean_x)).sum();
            let slope = over / under;
            if name == "deriv" { slope } else { mean_y - slope * mean_x + slope * scalars[0] }
        }
        "irate" | "idelta" | "rate" | "increase" | "delta" | "deriv" | "predict_linear" => return None,
        other => panic!("not generated: {other}"),
    })
}
