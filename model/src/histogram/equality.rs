//! Are two histograms the same data?

use super::Histogram;
use super::buckets::listed;

impl Histogram {
    /// Whether both hold the same numbers, bit for bit, in the same buckets. Empty buckets count as different from none, the
    /// hint does not count.
    #[must_use]
    pub fn is_same_data(&self, other: &Self) -> bool {
        let numbers = |histogram: &Self| [histogram.count, histogram.sum, histogram.zero_count].map(f64::to_bits);
        let side = |spans, buckets| listed(spans, buckets).map(|(index, count)| (index, f64::to_bits(count)));
        self.schema == other.schema
            && numbers(self) == numbers(other)
            && self.zero_threshold == other.zero_threshold
            && self.custom_values == other.custom_values
            && side(&self.positive_spans, &self.positive_buckets)
                .eq(side(&other.positive_spans, &other.positive_buckets))
            && side(&self.negative_spans, &self.negative_buckets)
                .eq(side(&other.negative_spans, &other.negative_buckets))
    }
}
