//! Summation with Neumaier's correction, as Prometheus adds floats everywhere it adds many.

pub(crate) use model::compensated::add;

/// A mean that is the plain quotient until the sum would overflow, and from then on is moved by each value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mean {
    /// The sum, or the mean itself once `moving`.
    value: f64,
    correction: f64,
    count: f64,
    moving: bool,
}

impl Mean {
    /// The mean of nothing.
    pub(crate) const EMPTY: Self = Self { value: 0.0, correction: 0.0, count: 0.0, moving: false };

    #[inline]
    pub(crate) fn push(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.value = value;
            return;
        }
        if !self.moving {
            let (sum, correction) = add(value, self.value, self.correction);
            if !sum.is_infinite() {
                (self.value, self.correction) = (sum, correction);
                return;
            }
            self.start_moving(self.count - 1.0);
        }
        let kept = (self.count - 1.0) / self.count;
        (self.value, self.correction) = add(value / self.count, kept * self.value, kept * self.correction);
    }

    /// Adds all values of `other`, which came later.
    pub(crate) fn merge(&mut self, other: &Self) {
        if self.count == 0.0 || other.count == 0.0 {
            if self.count == 0.0 {
                *self = *other;
            }
            return;
        }
        if !self.moving && !other.moving {
            let (sum, correction) = add(other.value, self.value, self.correction);
            if !sum.is_infinite() {
                (self.value, self.correction) = add(other.correction, sum, correction);
                self.count += other.count;
                return;
            }
        }
        let mut other = *other;
        for mean in [&mut *self, &mut other] {
            if !mean.moving {
                mean.start_moving(mean.count);
            }
        }
        let count = self.count + other.count;
        let (own, theirs) = (self.count / count, other.count / count);
        let (value, correction) = add(theirs * other.value, own * self.value, own * self.correction);
        (self.value, self.correction) = add(theirs * other.correction, value, correction);
        self.count = count;
    }

    fn start_moving(&mut self, count: f64) {
        self.moving = true;
        self.value /= count;
        self.correction /= count;
    }

    /// The mean rounded once, where [`Mean::get`] rounds two parts of which only the sum is the same in any order of values.
    #[inline]
    pub(crate) fn in_any_order(&self) -> f64 {
        if self.moving { self.value + self.correction } else { (self.value + self.correction) / self.count }
    }

    #[inline]
    pub(crate) fn get(&self) -> f64 {
        if self.moving { self.value + self.correction } else { self.value / self.count + self.correction / self.count }
    }
}

/// The mean of `values`; NaN when there are none.
pub(crate) fn mean(values: &[f64]) -> f64 {
    let mut mean = Mean::EMPTY;
    for value in values {
        mean.push(*value);
    }
    mean.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[f64]) -> f64 {
        let (sum, correction) = values.iter().fold((0.0, 0.0), |(s, c), value| add(*value, s, c));
        sum + correction
    }

    #[test]
    fn small_values_survive_large_ones_that_cancel() {
        assert_eq!(sum(&[1.0, 1e100, 1.0, -1e100]), 2.0);
        assert_eq!(mean(&[1.0, 1e100, 1.0, -1e100]), 0.5);
    }

    #[test]
    fn a_mean_outlives_the_overflow_of_its_sum() {
        let huge = f64::MAX / 1.8;
        assert_eq!(sum(&[huge, huge]), f64::INFINITY);
        assert_eq!(mean(&[huge, huge]), huge);
        assert!(mean(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
    }

    #[test]
    fn merged_means_agree_with_one_pass() {
        let huge = f64::MAX / 1.8;
        for values in [vec![1.0, 2.0, 3.5, 4.0], vec![huge; 4], vec![huge, huge, -huge, -huge]] {
            let (left, right) = values.split_at(2);
            let build = |part: &[f64]| {
                let mut mean = Mean::EMPTY;
                part.iter().for_each(|value| mean.push(*value));
                mean
            };
            let mut merged = build(left);
            merged.merge(&build(right));
            let expected = mean(&values);
            assert!((merged.get() - expected).abs() <= expected.abs() * 1e-12, "{values:?}");
        }
    }
}
