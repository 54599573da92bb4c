//! One series over the steps of a query: a value per step, and a bit per step that says whether there is one.
//!
//! Invariants: `values` has one entry per step; bits beyond the last step are zero; the value of an absent step means
//! nothing and is never looked at. Loops may compute it anyway: that is cheaper than asking.

/// Values over the steps of a query.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Row {
    values: Vec<f64>,
    present: Vec<u64>,
}

/// How many words hold one bit per step.
pub(crate) fn words_for(steps: usize) -> usize {
    steps.div_ceil(64)
}

/// Sets the bits of all `steps`.
pub(crate) fn fill_bits(words: &mut [u64], steps: usize) {
    for (i, word) in words.iter_mut().enumerate() {
        let left = steps.saturating_sub(i * 64);
        *word = if left >= 64 { u64::MAX } else { (1 << left) - 1 };
    }
}

/// The positions of the set bits, ascending.
pub(crate) fn set_bits(words: &[u64]) -> impl Iterator<Item = usize> + '_ {
    words.iter().enumerate().flat_map(|(i, word)| {
        let mut rest = *word;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let bit = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            Some(i * 64 + bit)
        })
    })
}

/// How many bits are set.
pub(crate) fn count_bits(words: &[u64]) -> usize {
    words.iter().map(|word| word.count_ones() as usize).sum()
}

/// Whether one bit is set.
pub(crate) fn has_bit(words: &[u64], step: usize) -> bool {
    words.get(step / 64).is_some_and(|word| word & (1 << (step % 64)) != 0)
}

/// Sets the bits of `into` that are set in `from`.
pub(crate) fn unite_bits(into: &mut [u64], from: &[u64]) {
    for (into, from) in into.iter_mut().zip(from) {
        *into |= from;
    }
}

impl Row {
    /// A row of absent steps.
    pub(crate) fn absent(steps: usize) -> Self {
        let mut row = Self::default();
        row.reset(steps);
        row
    }

    /// Makes every one of `steps` absent; keeps the memory.
    pub(crate) fn reset(&mut self, steps: usize) {
        self.values.resize(steps, 0.0);
        self.present.clear();
        self.present.resize(words_for(steps), 0);
    }

    /// Makes every one of `steps` present with `value`.
    pub(crate) fn reset_to(&mut self, steps: usize, value: f64) {
        self.reset(steps);
        self.values.fill(value);
        self.mark_all();
    }

    pub(crate) fn steps(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    pub(crate) fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    /// The bits of the steps.
    pub(crate) fn present(&self) -> &[u64] {
        &self.present
    }

    pub(crate) fn present_mut(&mut self) -> &mut [u64] {
        &mut self.present
    }

    /// Both columns at once.
    pub(crate) fn parts_mut(&mut self) -> (&mut [f64], &mut [u64]) {
        (&mut self.values, &mut self.present)
    }

    pub(crate) fn is_present(&self, step: usize) -> bool {
        has_bit(&self.present, step)
    }

    /// The value of one step.
    pub(crate) fn get(&self, step: usize) -> Option<f64> {
        self.is_present(step).then(|| self.values[step])
    }

    pub(crate) fn set(&mut self, step: usize, value: f64) {
        self.values[step] = value;
        self.present[step / 64] |= 1 << (step % 64);
    }

    pub(crate) fn mark_all(&mut self) {
        let steps = self.values.len();
        fill_bits(&mut self.present, steps);
    }

    pub(crate) fn count(&self) -> usize {
        count_bits(&self.present)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.present.iter().all(|word| *word == 0)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.count() == self.values.len()
    }

    /// The present steps and their values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        set_bits(&self.present).map(|step| (step, self.values[step]))
    }

    /// Replaces the content by two columns.
    pub(crate) fn copy_from(&mut self, values: &[f64], present: &[u64]) {
        self.values.clear();
        self.values.extend_from_slice(values);
        self.present.clear();
        self.present.extend_from_slice(present);
    }

    /// Applies `f` to the present values.
    pub(crate) fn map(&mut self, f: impl Fn(f64) -> f64) {
        if self.is_full() {
            for value in &mut self.values {
                *value = f(*value);
            }
        } else {
            for step in set_bits(&self.present) {
                self.values[step] = f(self.values[step]);
            }
        }
    }

    /// Makes steps absent for which `keep` does not hold.
    pub(crate) fn retain(&mut self, keep: impl Fn(usize, f64) -> bool) {
        for (i, word) in self.present.iter_mut().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                let step = i * 64 + bit;
                if !keep(step, self.values[step]) {
                    *word &= !(1 << bit);
                }
            }
        }
    }

    /// Repeats the first step over `steps`.
    pub(crate) fn repeat_first(&mut self, steps: usize) {
        match self.get(0) {
            Some(value) => self.reset_to(steps, value),
            None => self.reset(steps),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_beyond_the_last_step_stay_zero() {
        for steps in [0, 1, 63, 64, 65, 128, 130] {
            let mut row = Row::absent(steps);
            row.mark_all();
            assert_eq!(row.count(), steps);
            assert!(row.is_full());
            assert_eq!(set_bits(row.present()).collect::<Vec<_>>(), (0..steps).collect::<Vec<_>>());
        }
    }

    #[test]
    fn retain_and_map_touch_present_steps_only() {
        let mut row = Row::absent(70);
        for step in [0, 5, 69] {
            row.set(step, step as f64);
        }
        row.map(|v| v + 1.0);
        row.retain(|_, v| v > 1.0);
        assert_eq!(row.iter().collect::<Vec<_>>(), [(5, 6.0), (69, 70.0)]);
    }
}
