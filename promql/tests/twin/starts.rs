//! Counters whose samples say since when they count, for the naive evaluator.

/// A sample: when it was taken, since when it counts (0 where nobody knows), its value.
pub(crate) type Started = (i64, i64, f64);

fn is_reset(before: &Started, after: &Started) -> bool {
    let says = after.1 != 0 && after.1 < after.0;
    let known_before = before.1 != 0 && before.1 < before.0;
    after.2 < before.2 || says && (after.1 > before.0 || after.1 == before.0 && known_before)
}

/// `rate`, `increase`, `irate` or `resets` over the samples of one window.
pub(crate) fn fold_started(name: &str, samples: &[Started], (start, end): (i64, i64)) -> Option<f64> {
    let seconds = |millis: i64| millis as f64 / 1000.0;
    let (first, last) = (samples.first()?, samples.last()?);
    match name {
        "resets" => return Some(samples.windows(2).filter(|pair| is_reset(&pair[0], &pair[1])).count() as f64),
        "irate" => {
            let [.., before, last] = samples else { return None };
            let increase = if is_reset(before, last) { last.2 } else { last.2 - before.2 };
            return Some(increase / seconds(last.0 - before.0));
        }
        _ => {}
    }
    let from_zero = first.1 > start && first.1 < first.0 && first.1 != 0;
    if samples.len() < 2 && !from_zero {
        return None;
    }
    let hidden: f64 = samples.windows(2).filter(|pair| is_reset(&pair[0], &pair[1])).map(|pair| pair[0].2).sum();
    let increase = last.2 - first.2 + hidden + if from_zero { first.2 } else { 0.0 };
    let between = if samples.len() > 1 { seconds(last.0 - first.0) / (samples.len() - 1) as f64 } else { 0.0 };
    let near = |distance: f64| if distance >= between * 1.1 { between / 2.0 } else { distance };
    let (sampled, before) = if from_zero {
        (seconds(last.0 - first.1), 0.0)
    } else {
        let sampled = seconds(last.0 - first.0);
        let to_start = near(seconds(first.0 - start));
        let to_zero = if increase > 0.0 && first.2 >= 0.0 { sampled * (first.2 / increase) } else { to_start };
        (sampled, to_start.min(to_zero))
    };
    let reach = increase * ((sampled + before + near(seconds(end - last.0))) / sampled);
    Some(if name == "rate" { reach / seconds(end - start) } else { reach })
}
