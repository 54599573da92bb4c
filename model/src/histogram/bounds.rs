//! Where the buckets of a schema end.

use super::{CUSTOM_BUCKETS_SCHEMA, Histogram};

/// `2^(2^-k)` for `k` from 1 to 8. The bounds of a schema are products of these, coarse to fine; the first is one unit in the
/// last place below the nearest float, because senders and Prometheus use the table that follows from that.
#[allow(clippy::approx_constant, reason = "the first is not the square root of two, on purpose")]
const ROOTS: [f64; 8] = [
    1.414_213_562_373_095,
    1.189_207_115_002_721,
    1.090_507_732_665_257_7,
    1.044_273_782_427_413_8,
    1.021_897_148_654_116_6,
    1.010_889_286_051_700_5,
    1.005_429_901_112_802_7,
    1.002_711_275_050_202_5,
];

/// The bounds between 0.5 and 1 of the finest schema; every coarser schema's are among them.
static FRACTIONS: [f64; 256] = fractions();

const fn fractions() -> [f64; 256] {
    let mut all = [0.5; 256];
    let mut i = 0;
    while i < 256 {
        let mut bit = 0;
        while bit < 8 {
            if i >> (7 - bit) & 1 == 1 {
                all[i] *= ROOTS[bit];
            }
            bit += 1;
        }
        i += 1;
    }
    all
}

/// The upper bound of bucket `index` of an exponential schema. The last bucket of finite observations ends at the largest
/// float; the one after it, of infinite ones, at infinity.
pub(super) fn exponential(index: i32, schema: i8) -> f64 {
    let (fraction, exponent) = if schema < 0 {
        (0.5, (i64::from(index) << (-i64::from(schema)).min(30)) + 1)
    } else {
        let schema = i64::from(schema.min(8));
        let inside = i64::from(index) & ((1 << schema) - 1);
        (FRACTIONS[(inside << (8 - schema)) as usize], (i64::from(index) >> schema) + 1)
    };
    if fraction == 0.5 && exponent == 1025 { f64::MAX } else { scale(fraction, exponent) }
}

/// `fraction * 2^exponent` with one rounding.
fn scale(fraction: f64, exponent: i64) -> f64 {
    match exponent {
        1025.. => f64::INFINITY,
        -1021..=1024 => fraction * 2.0 * power_of_two(exponent - 1),
        // Below the normal range: the first factor is exact, the second rounds.
        -1100..=-1022 => fraction * power_of_two(-900) * power_of_two(exponent + 900),
        _ => 0.0,
    }
}

/// `2^exponent` of a normal float.
fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

impl Histogram {
    /// The upper bound of bucket `index` on the positive side, the mirrored lower one on the negative side.
    pub(super) fn bound(&self, index: i32) -> f64 {
        if self.schema == CUSTOM_BUCKETS_SCHEMA {
            custom(index, &self.custom_values)
        } else {
            exponential(index, self.schema)
        }
    }
}

/// The upper bound of bucket `index` among listed ones.
pub(super) fn custom(index: i32, bounds: &[f64]) -> f64 {
    match usize::try_from(index) {
        Ok(index) => bounds.get(index).copied().unwrap_or(f64::INFINITY),
        Err(_) => f64::NEG_INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_powers_of_the_base() {
        for schema in -4i8..=8 {
            assert_eq!(exponential(0, schema), 1.0, "schema {schema}");
            for index in -40..40 {
                let expected = 2f64.powf(f64::from(index) * 2f64.powi(-i32::from(schema)));
                let bound = exponential(index, schema);
                assert!((bound / expected - 1.0).abs() < 1e-15, "schema {schema} index {index}: {bound} {expected}");
                assert!(bound < exponential(index + 1, schema));
            }
        }
    }

    #[test]
    fn the_ends_of_the_range_are_reached() {
        assert_eq!(exponential(1024, 0), f64::MAX);
        assert_eq!(exponential(1025, 0), f64::INFINITY);
        assert_eq!(exponential(64, -4), f64::MAX);
        assert_eq!(exponential(65, -4), f64::INFINITY);
        assert_eq!(exponential(1023, 0), 2f64.powi(1023));
        assert_eq!(exponential(-1074, 0), f64::from_bits(1));
        assert_eq!(exponential(-1022, 0), f64::MIN_POSITIVE);
        for schema in -4..=8 {
            assert_eq!(exponential(i32::MAX, schema), f64::INFINITY);
            assert_eq!(exponential(i32::MIN, schema), 0.0);
        }
    }
}
