//! Native histograms as text, as Go prints those of Prometheus: `{count:3, sum:4, (1,2]:3}`.

use super::Histogram;
use crate::text::{format_exponent, format_plain};
use std::fmt;

impl fmt::Display for Histogram {
    /// Its totals, then its populated buckets in ascending order, with brackets that say which ends are theirs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", number(self.count), number(self.sum))?;
        for bucket in self.listed_buckets().filter(|bucket| bucket.count != 0.0) {
            let open = if bucket.lower_inclusive { '[' } else { '(' };
            let close = if bucket.upper_inclusive { ']' } else { ')' };
            let (lower, upper, count) = (number(bucket.lower), number(bucket.upper), number(bucket.count));
            write!(f, ", {open}{lower},{upper}{close}:{count}")?;
        }
        f.write_str("}")
    }
}

/// As Go's `%g` prints it: with an exponent below 1e-4 and from 1e6 on.
fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() || (1e-4..1e6).contains(&value.abs()) {
        return format_plain(value);
    }
    format_exponent(value)
}
