//! Was there a counter reset between two histograms?

use super::bounds::exponential;
use super::buckets::listed;
use super::side::{Side, reduced_index};
use super::{CounterResetHint, Histogram, Span, custom_bounds};

impl Histogram {
    /// Whether a counter was reset between `previous` and this. The hint of this decides if it says anything; else there was
    /// a reset if the count, the zero bucket or any bucket is lower, if a populated bucket is gone, or if the layout changed
    /// in a way that only a reset allows: finer resolution, a zero bucket that shrank or that now ends inside a populated
    /// bucket. Lists of bounds that differ are compared at the bounds they share.
    #[must_use]
    pub fn is_reset_after(&self, previous: &Self) -> bool {
        match self.counter_reset_hint {
            CounterResetHint::Reset => return true,
            CounterResetHint::NotReset => return false,
            // A gauge that is treated as a counter is compared like one.
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
        if self.count < previous.count || self.has_custom_buckets() != previous.has_custom_buckets() {
            return true;
        }
        if self.has_custom_buckets() {
            return self.is_reset_of_custom_buckets(previous);
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let zero_bucket = previous.zero_bucket_up_to(self.zero_threshold);
        if zero_bucket.threshold != self.zero_threshold || self.zero_count < zero_bucket.count.0 {
            return true;
        }
        let fell = |own: (&[Span], &[f64]), before: (&[Span], &[f64])| {
            let own = listed(own.0, own.1);
            any_fell(
                self.outside_zero_bucket(own, self.schema),
                self.outside_zero_bucket(listed(before.0, before.1), previous.schema),
            )
        };
        fell((&self.positive_spans, &self.positive_buckets), (&previous.positive_spans, &previous.positive_buckets))
            || fell(
                (&self.negative_spans, &self.negative_buckets),
                (&previous.negative_spans, &previous.negative_buckets),
            )
    }

    /// Buckets of schema `from` without those that end inside the zero bucket of this histogram, which counts them; what is
    /// left is merged to buckets of this histogram.
    fn outside_zero_bucket(
        &self,
        buckets: impl Iterator<Item = (i32, f64)>,
        from: i8,
    ) -> impl Iterator<Item = (i32, f64)> {
        let (schema, threshold) = (self.schema, self.zero_threshold);
        let mut buckets = buckets
            .skip_while(move |(index, _)| exponential(*index, from) <= threshold)
            .map(move |(index, count)| (reduced_index(index, from, schema), count))
            .peekable();
        std::iter::from_fn(move || {
            let (index, mut sum) = buckets.next()?;
            while let Some((_, count)) = buckets.next_if(|next| next.0 == index) {
                sum += count;
            }
            Some((index, sum))
        })
    }

    fn is_reset_of_custom_buckets(&self, previous: &Self) -> bool {
        if self.custom_values == previous.custom_values {
            return any_fell(
                listed(&self.positive_spans, &self.positive_buckets),
                listed(&previous.positive_spans, &previous.positive_buckets),
            );
        }
        let common = custom_bounds::common(&self.custom_values, &previous.custom_values);
        let [own, before] = [self, previous].map(|histogram| {
            let mut sums = vec![(0.0, 0.0); common.len() + 1];
            let side = Side {
                spans: histogram.positive_spans.clone(),
                buckets: histogram.positive_buckets.clone(),
                corrections: Vec::new(),
            };
            custom_bounds::add_mapped(&side, &histogram.custom_values, 1.0, &common, &mut sums);
            sums
        });
        own.iter().zip(&before).any(|(own, before)| own.0 < before.0)
    }
}

/// Whether a bucket of `before` is lower in `now`, or populated and gone.
fn any_fell(now: impl Iterator<Item = (i32, f64)>, before: impl Iterator<Item = (i32, f64)>) -> bool {
    let mut now = now.peekable();
    for (index, count) in before {
        while now.next_if(|(own, _)| *own < index).is_some() {}
        let fell = match now.peek() {
            Some((own, own_count)) if *own == index => *own_count < count,
            _ => count != 0.0,
        };
        if fell {
            return true;
        }
    }
    false
}
