//! Decimal mantissas: the integer `m` and divisor `d` with `m / d` equal to a value bit for bit.
//!
//! Divisors are 10^k (k = 0…15: values with k decimals) and 2^−j (j = 4…30: multiples of a power of two, such as
//! page-aligned memory sizes). Mantissas are bounded by 10^15, well below 2^50. From that follows what the codec rests on:
//! scaling such a value up again and rounding gives back its mantissa, so nobody needs to remember mantissas; and a value with
//! a mantissa at k has one at every larger k that keeps the bound, so a single division at the largest k decides whether
//! there is any.

/// Index into the table of divisors: 0…15 are 10^k, 16…42 are 2^−4…2^−30.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Divisor(u8);

/// The largest magnitude of a mantissa.
const MANTISSA_MAX: f64 = 1e15;
const DECIMALS_MAX: u8 = 15;
const BINARY_FIRST: u8 = 16;
const BINARY_LEAST: u32 = 4;
const COUNT: usize = 43;

/// Adding and subtracting this rounds a magnitude below 2^51 to the nearest integer, without a library call.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

#[allow(clippy::indexing_slicing)] // evaluated by the compiler
const fn table() -> [(f64, f64); COUNT] {
    let mut table = [(1.0, 1.0); COUNT];
    let mut i = 1;
    while i < COUNT {
        let (divisor, multiplier) = table[i - 1];
        table[i] = if i <= DECIMALS_MAX as usize {
            (divisor * 10.0, multiplier * 10.0)
        } else if i == BINARY_FIRST as usize {
            (0.0625, 0.0625)
        } else {
            (divisor * 0.5, multiplier * 0.5)
        };
        i += 1;
    }
    table
}

/// What a mantissa is divided by, and what a value is multiplied by to get its mantissa. They are the same number; powers of
/// ten up to 10^15 and powers of two are exact.
static DIVISORS: [(f64, f64); COUNT] = table();

impl Divisor {
    /// The divisor 1.
    pub const ONE: Self = Self(0);

    /// The divisor with this index, if there is one.
    #[must_use]
    pub fn from_index(index: u8) -> Option<Self> {
        (usize::from(index) < COUNT).then_some(Self(index))
    }

    /// The index, below 64.
    #[must_use]
    pub fn index(self) -> u8 {
        self.0
    }

    #[inline]
    fn factor(self) -> f64 {
        DIVISORS.get(usize::from(self.0)).map_or(1.0, |entry| entry.0)
    }

    /// The value of a mantissa.
    #[inline]
    #[must_use]
    pub fn value(self, mantissa: i64) -> f64 {
        let whole = mantissa as f64;
        if self == Self::ONE { whole } else { whole / self.factor() }
    }

    /// The mantissa nearest to any value; NaN gives 0, what is out of range an extreme. Encoder and decoder use it as
    /// the reference of a delta, so it must never change.
    #[inline]
    #[must_use]
    pub fn nearest(self, value: f64) -> i64 {
        let scaled = value * self.factor();
        let rounded = if scaled.abs() < MANTISSA_MAX * 2.0 { (scaled + ROUNDER) - ROUNDER } else { scaled };
        rounded as i64
    }

    /// The mantissa that gives back `value` bit for bit, if there is one within bounds.
    #[inline]
    #[must_use]
    pub fn exact(self, value: f64) -> Option<i64> {
        let mantissa = self.nearest(value);
        let within = mantissa.unsigned_abs() <= MANTISSA_MAX as u64;
        (within && self.value(mantissa).to_bits() == value.to_bits()).then_some(mantissa)
    }

    /// The divisor with the fewest decimals that has an exact mantissa for `value`, with that mantissa.
    #[must_use]
    pub fn shortest_decimal(value: f64) -> Option<(Self, i64)> {
        let mut decimals = decimals_that_fit(value)?;
        let mut mantissa = Self(decimals).exact(value)?;
        while decimals > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            decimals -= 1;
        }
        Some((Self(decimals), mantissa))
    }

    /// The power of two that divides both values, when that saves a good part of their mantissas: page sizes and such.
    #[must_use]
    pub fn common_binary(a: f64, b: f64) -> Option<Self> {
        const WORTHWHILE: [u32; 2] = [12, 10];
        let zeros = trailing_zeros(a)?.min(trailing_zeros(b)?);
        let power = WORTHWHILE.into_iter().find(|power| *power <= zeros)?;
        Some(Self(BINARY_FIRST + (power - BINARY_LEAST) as u8))
    }
}

/// The largest number of decimals at which the mantissa of `value` stays within bounds.
fn decimals_that_fit(value: f64) -> Option<u8> {
    let magnitude = value.abs();
    if magnitude.is_nan() || magnitude > MANTISSA_MAX {
        return None;
    }
    let mut decimals = DECIMALS_MAX;
    while magnitude * Divisor(decimals).factor() > MANTISSA_MAX {
        decimals -= 1;
    }
    Some(decimals)
}

/// How often two divides a whole number other than zero.
fn trailing_zeros(value: f64) -> Option<u32> {
    let whole = value as i64;
    (whole != 0 && (whole as f64).to_bits() == value.to_bits()).then(|| whole.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_table_holds_exact_powers() {
        for k in 0..=15 {
            assert_eq!(Divisor(k).factor(), 10f64.powi(i32::from(k)));
        }
        for j in 4..=30u8 {
            assert_eq!(Divisor(12 + j).factor(), 2f64.powi(-i32::from(j)));
        }
        assert!(Divisor::from_index(COUNT as u8).is_none());
    }

    #[test]
    fn shortest_decimals_of_familiar_values() {
        let cases = [(12.5, 1, 125), (-0.001, 3, -1), (1e15, 0, 1_000_000_000_000_000), (100.0, 0, 100), (0.1, 1, 1)];
        for (value, decimals, mantissa) in cases {
            assert_eq!(Divisor::shortest_decimal(value), Some((Divisor(decimals), mantissa)), "{value}");
        }
        for value in [-0.0, f64::NAN, f64::INFINITY, 1.0 / 3.0, 5e-324, 1.1e15, f64::MAX, 0.1 + 0.2] {
            assert_eq!(Divisor::shortest_decimal(value), None, "{value}");
        }
    }

    #[test]
    fn page_sizes_share_a_power_of_two() {
        let divisor = Divisor::common_binary(4096.0 * 77.0, 4096.0 * 1024.0).expect("both are multiples of 4096");
        assert_eq!(divisor.exact(4096.0 * 77.0), Some(77));
        assert_eq!(Divisor::common_binary(4096.0, 77.0), None);
        assert_eq!(Divisor::common_binary(4096.0, 0.0), None);
    }

    proptest! {
        /// The law that lets an encoder forget mantissas.
        #[test]
        fn scaling_an_exact_value_gives_its_mantissa(mantissa in -1_000_000_000_000_000i64..=1_000_000_000_000_000, index in 0u8..43) {
            let divisor = Divisor(index);
            let value = divisor.value(mantissa);
            prop_assert_eq!(divisor.nearest(value), mantissa);
        }

        /// One division at the largest exponent decides for all.
        #[test]
        fn a_short_decimal_is_found_from_the_longest(mantissa in -1_000_000_000i64..1_000_000_000, decimals in 0u8..=9) {
            let value = Divisor(decimals).value(mantissa);
            let (divisor, found) = Divisor::shortest_decimal(value).expect("it has one");
            prop_assert!(divisor.index() <= decimals);
            prop_assert_eq!(divisor.value(found).to_bits(), value.to_bits());
        }
    }
}
