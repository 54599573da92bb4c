//! Numbers as integers: `value = mantissa / divisor` where that gives back every bit, else the value itself.
//!
//! All values of a run share a divisor: 10^k for values with k decimals, 2^-j for multiples of 2^j such as memory sizes.
//! Whether a mantissa is exact is decided by computing what a reader computes. The stale marker is neither.

use crate::chunk::divisor::Divisor;
use model::sample::STALE_MARKER_BITS;

/// Mantissas are below this in magnitude, so that every reader's float can hold them.
const MANTISSA_END: f64 = 9_007_199_254_740_992.0;
/// Adding and subtracting this rounds a magnitude below 2^51 to an integer that then is in the low bits.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
const ROUNDABLE_END: f64 = 2_251_799_813_685_248.0;
/// Values that are tested before the outcome is looked at.
const STRIDE: usize = 32;
/// Powers of two that a divisor can stand for.
const BINARY: std::ops::RangeInclusive<u32> = 4..=30;
/// Powers of ten that a divisor can stand for.
const DECIMALS: usize = 16;
/// Neighbours that are looked at to choose a divisor.
const PAIRS_MAX: usize = 128;
/// What a value costs that has no mantissa, in bits.
const EXCEPTION_BITS: u32 = 66;

/// How one value is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    Mantissa(i64),
    Raw,
    Stale,
}

/// Divides values by one divisor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    divisor: f64,
    /// Whether values get a mantissa if they can have one; if not, all are stored as they are.
    integers: bool,
}

impl Scale {
    /// Of whole numbers.
    pub(crate) const ONE: Self = Self { divisor: 1.0, integers: true };

    /// Whether any value can have a mantissa.
    pub(crate) fn is_of_integers(self) -> bool {
        self.integers
    }

    /// What reading divides by.
    pub(crate) fn divisor(self) -> f64 {
        self.divisor
    }

    /// The best scale for a run of values.
    pub(crate) fn of(values: &[f64]) -> Self {
        match common_bits(values) {
            Some(0) => Self::ONE,
            Some(bits) => match bits.trailing_zeros().min(*BINARY.end()) {
                zeros if BINARY.contains(&zeros) => Self { divisor: 1.0 / f64::from(1u32 << zeros), integers: true },
                _ => Self::ONE,
            },
            None => decimal(values),
        }
    }

    /// How a value is stored with this scale.
    #[inline]
    pub(crate) fn store(self, value: f64) -> Stored {
        let scaled = value * self.divisor;
        let mantissa = if scaled.abs() < ROUNDABLE_END { ((scaled + ROUNDER) - ROUNDER) as i64 } else { scaled as i64 };
        let exact = (mantissa as f64 / self.divisor).to_bits() == value.to_bits();
        if exact && scaled.abs() < MANTISSA_END && self.integers {
            Stored::Mantissa(mantissa)
        } else if value.to_bits() == STALE_MARKER_BITS {
            Stored::Stale
        } else {
            Stored::Raw
        }
    }

    /// Appends the mantissas of the first values, as many as have one and come in whole strides; returns how many.
    pub(crate) fn push_mantissas(self, values: &[f64], out: &mut Vec<i64>) -> usize {
        if !self.integers {
            return 0;
        }
        let before = out.len();
        for stride in values.as_chunks::<STRIDE>().0 {
            let (mantissas, exact) = self.stride(stride);
            if !exact {
                break;
            }
            out.extend_from_slice(&mantissas);
        }
        out.len() - before
    }

    /// Without branches, so that the compiler makes it several values at once.
    #[inline]
    fn stride(self, values: &[f64; STRIDE]) -> ([i64; STRIDE], bool) {
        let mut mantissas = [0; STRIDE];
        let mut exact = true;
        for (mantissa, value) in mantissas.iter_mut().zip(values) {
            let scaled = value * self.divisor;
            let shifted = scaled + ROUNDER;
            let whole = shifted - ROUNDER;
            *mantissa = (shifted.to_bits() as i64).wrapping_sub(ROUNDER.to_bits() as i64);
            exact &= ((whole / self.divisor).to_bits() == value.to_bits()) & (scaled.abs() < ROUNDABLE_END);
        }
        (mantissas, exact)
    }
}

/// The bits that any of the values has as an integer; `None` if one of them is none. Stale markers say nothing.
fn common_bits(values: &[f64]) -> Option<i64> {
    let (strides, rest) = values.as_chunks::<STRIDE>();
    let mut bits = 0;
    for stride in strides {
        let (mantissas, exact) = Scale::ONE.stride(stride);
        if exact {
            bits |= mantissas.iter().fold(0, |bits, mantissa| bits | mantissa);
        } else {
            bits |= common_bits_slowly(stride)?;
        }
    }
    Some(bits | common_bits_slowly(rest)?)
}

fn common_bits_slowly(values: &[f64]) -> Option<i64> {
    values.iter().try_fold(0, |bits, value| match Scale::ONE.store(*value) {
        Stored::Mantissa(mantissa) => Some(bits | mantissa),
        Stored::Stale => Some(bits),
        Stored::Raw => None,
    })
}

/// The power of ten with the fewest bits for neighbours spread over the run, or none if most values have no mantissa.
fn decimal(values: &[f64]) -> Scale {
    let pairs = (values.len() / 8).clamp(16, PAIRS_MAX);
    let step = (values.len() / pairs).max(1);
    let mut costs = [0u32; DECIMALS];
    let (mut sampled, mut exceptions) = (0u32, [0u32; DECIMALS]);
    for pair in values.windows(2).step_by(step) {
        let &[before, value] = pair else { continue };
        let needed = [before, value].map(Divisor::shortest_decimal);
        sampled += 1;
        let difference = (value - before).abs();
        for (decimals, (cost, exceptions)) in costs.iter_mut().zip(&mut exceptions).enumerate() {
            let fits = |needed: &Option<(Divisor, i64)>| {
                needed.is_some_and(|(divisor, _)| usize::from(divisor.index()) <= decimals)
            };
            if needed.iter().all(fits) {
                *cost += bits(difference * POWERS[decimals]);
            } else {
                *cost += EXCEPTION_BITS;
                *exceptions += 1;
            }
        }
    }
    let best = costs.iter().zip(&exceptions).zip(&POWERS).min_by_key(|((cost, _), _)| **cost);
    match best {
        Some(((_, exceptions), divisor)) if exceptions * 5 <= sampled * 3 => {
            Scale { divisor: *divisor, integers: true }
        }
        _ => Scale { divisor: 1.0, integers: false },
    }
}

#[allow(clippy::indexing_slicing)] // evaluated by the compiler
const POWERS: [f64; DECIMALS] = {
    let mut powers = [1.0; DECIMALS];
    let mut at = 1;
    while at < DECIMALS {
        powers[at] = powers[at - 1] * 10.0;
        at += 1;
    }
    powers
};

/// Bits of a difference with its sign.
fn bits(difference: f64) -> u32 {
    65 - ((difference as u64) << 1 | 1).leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::sample::stale_marker;
    use proptest::prelude::*;

    fn value(scale: Scale, stored: Stored, raw: f64) -> f64 {
        match stored {
            Stored::Mantissa(mantissa) => mantissa as f64 / scale.divisor(),
            Stored::Raw => raw,
            Stored::Stale => stale_marker(),
        }
    }

    fn divisor(values: &[f64]) -> Option<f64> {
        let scale = Scale::of(values);
        scale.integers.then_some(scale.divisor())
    }

    #[test]
    fn familiar_runs_have_the_expected_divisor() {
        let gauge: Vec<f64> = (0..100).map(|n| f64::from(20_000 + n * 7) / 1000.0).collect();
        let memory: Vec<f64> = (0..100).map(|n| f64::from(40_000 + n) * 4096.0).collect();
        let thirds: Vec<f64> = (0..100).map(|n| f64::from(n) / 3.1).collect();
        assert_eq!(divisor(&[1.0, 2.0, 3.0]), Some(1.0));
        assert_eq!(divisor(&[0.0, 0.0, stale_marker()]), Some(1.0));
        assert_eq!(divisor(&gauge), Some(1000.0));
        assert_eq!(divisor(&memory), Some(1.0 / 4096.0));
        assert_eq!(divisor(&thirds), None);
    }

    #[test]
    fn a_few_strange_values_do_not_spoil_a_run() {
        let mut values: Vec<f64> = (0..200).map(|n| f64::from(n * 3) / 10.0).collect();
        values[40] = f64::NAN;
        values[90] = 1.0 / 3.0;
        assert_eq!(divisor(&values), Some(10.0));
        let mut counter: Vec<f64> = (0..200).map(f64::from).collect();
        counter[7] = f64::INFINITY;
        assert_eq!(divisor(&counter), Some(1.0));
    }

    #[test]
    fn what_has_no_mantissa() {
        for value in [-0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.5, 9_007_199_254_740_992.0, -1e300, 5e-324] {
            assert_eq!(Scale::ONE.store(value), Stored::Raw, "{value}");
        }
        assert_eq!(Scale::ONE.store(stale_marker()), Stored::Stale);
        assert_eq!(Scale::ONE.store(9_007_199_254_740_991.0), Stored::Mantissa(9_007_199_254_740_991));
        assert_eq!(Scale::ONE.store(-9_007_199_254_740_991.0), Stored::Mantissa(-9_007_199_254_740_991));
    }

    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (-1_000_000i64..1_000_000).prop_map(|n| n as f64 / 100.0),
            2 => any::<i64>().prop_map(|n| n as f64),
            2 => any::<u64>().prop_map(f64::from_bits),
            1 => (0i64..1 << 40).prop_map(|n| (n * 4096) as f64),
            1 => Just(stale_marker()),
            1 => Just(-0.0),
        ]
    }

    proptest! {
        #[test]
        fn every_bit_comes_back(values in prop::collection::vec(any_value(), 0..200), whole: bool) {
            let values: Vec<f64> = if whole { values.iter().map(|v| v.trunc()).collect() } else { values };
            let scale = Scale::of(&values);
            for &raw in &values {
                let stored = scale.store(raw);
                prop_assert_eq!(value(scale, stored, raw).to_bits(), raw.to_bits());
                if let Stored::Mantissa(mantissa) = stored {
                    prop_assert!(mantissa.unsigned_abs() < 1 << 53);
                }
            }
        }

        /// The fast way and the slow way come to the same mantissas.
        #[test]
        fn strides_agree_with_single_values(values in prop::collection::vec(any_value(), 64..200)) {
            let scale = Scale::of(&values);
            let mut fast = Vec::new();
            let pushed = scale.push_mantissas(&values, &mut fast);
            prop_assert_eq!(pushed, fast.len());
            for (mantissa, value) in fast.iter().zip(&values) {
                prop_assert_eq!(scale.store(*value), Stored::Mantissa(*mantissa));
            }
        }
    }
}
