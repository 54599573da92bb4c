//! Folds that count pairs of neighbouring samples: `resets` and `changes`.
//!
//! Whether a pair counts does not depend on the window, so the pairs are counted once per series and a window's count is
//! the difference of two prefix sums; counts are integers, hence exact.

use super::WindowInput;
use crate::eval::row::Row;
pub(crate) use model::sample::is_change;

/// How many neighbours in each window satisfy `counts`.
pub(crate) fn pairs(input: &WindowInput<'_>, counts: impl Fn(f64, f64) -> bool, out: &mut Row) {
    // prefix[i]: how many of the first i pairs count; pair i is (i, i + 1).
    let mut prefix: Vec<u32> = Vec::with_capacity(input.values.len().max(1));
    let mut sum = 0;
    prefix.push(sum);
    for pair in input.values.windows(2) {
        sum += u32::from(counts(pair[0], pair[1]));
        prefix.push(sum);
    }
    input.each(1, out, |_, low, high| f64::from(prefix[high - 1] - prefix[low]));
}
