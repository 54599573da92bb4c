//! Which resolution answers for which time.

use super::{BucketFields, bucket_end, bucket_floor};

/// Which buckets may stand for samples in one part of a query. The default is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BucketUse {
    /// Buckets whose resolution divides this give the exact answer; 0 when none does.
    pub exact_grid_ms: i64,
    /// The request is for one window, of which buckets of up to this resolution give an exact part if they lie inside; 0 when
    /// that is not so or not worth while.
    pub inside_max_ms: i64,
    /// Buckets of up to this resolution may be used although the answer is then approximate; 0 for none.
    pub approximate_max_ms: i64,
    /// Whether any buckets may be used where samples have expired.
    pub where_expired: bool,
    /// What will be read of them.
    pub fields: BucketFields,
}

impl BucketUse {
    /// Whether the buckets of a segment give the exact answer to a request for `after_ms < t <= until_ms`.
    #[must_use]
    pub fn is_exact(&self, segment: &Segment, (after_ms, until_ms): (i64, i64)) -> bool {
        let is_aligned = self.exact_grid_ms > 0 && self.exact_grid_ms % segment.resolution_ms == 0;
        let is_whole = [segment.after_ms, segment.until_ms].iter().all(|bound| bound % segment.resolution_ms == 0);
        let is_inside = is_whole && segment.after_ms >= after_ms && segment.until_ms <= until_ms;
        is_aligned || (segment.resolution_ms <= self.inside_max_ms && is_inside)
    }
}

/// The time for which buckets of one resolution are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierSpan {
    /// The length of its buckets.
    pub resolution_ms: i64,
    /// Exclusive.
    pub after_ms: i64,
    /// Inclusive.
    pub until_ms: i64,
}

/// A span of time that is served from buckets of one resolution, which divides both bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The length of its buckets.
    pub resolution_ms: i64,
    /// Exclusive.
    pub after_ms: i64,
    /// Inclusive.
    pub until_ms: i64,
}

/// How time is divided among samples and buckets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Ascending, disjoint. All other time is served from samples.
    pub segments: Vec<Segment>,
    /// Samples up to this time have expired.
    pub expired_until_ms: Option<i64>,
    /// Whether buckets hold something of that time which the request does not accept.
    pub refused: bool,
}

impl Coverage {
    /// Divides `after_ms < t <= until_ms`. Exact buckets are preferred, the coarsest of them; then approximate ones that are
    /// asked for, again the coarsest; then samples; where those have expired the finest buckets there are.
    ///
    /// Resolutions divide each other, and a coarser tier ends no later than a finer one, which it is made of. All spans are
    /// taken to begin at a multiple of the coarsest resolution, so that what changes from one to the other changes at a bound
    /// of both.
    #[must_use]
    pub fn choose(
        tiers: &[TierSpan],
        expired_until_ms: Option<i64>,
        wanted: &BucketUse,
        (after_ms, until_ms): (i64, i64),
    ) -> Self {
        let coarsest_ms = tiers.iter().map(|tier| tier.resolution_ms).max().unwrap_or(1);
        let tiers: Vec<TierSpan> = tiers
            .iter()
            .map(|tier| TierSpan {
                after_ms: bucket_end(tier.after_ms, coarsest_ms),
                until_ms: bucket_floor(tier.until_ms, tier.resolution_ms),
                ..*tier
            })
            .collect();
        let samples_after_ms = expired_until_ms.map_or(i64::MIN, |expired| bucket_end(expired, coarsest_ms));
        let mut bounds: Vec<i64> = tiers.iter().flat_map(|tier| [tier.after_ms, tier.until_ms]).collect();
        bounds.push(samples_after_ms);
        for tier in tiers.iter().filter(|tier| tier.resolution_ms <= wanted.inside_max_ms) {
            bounds.extend([bucket_end(after_ms, tier.resolution_ms), bucket_floor(until_ms, tier.resolution_ms)]);
        }
        bounds.sort_unstable();
        bounds.dedup();
        let mut coverage = Self { expired_until_ms, ..Self::default() };
        for pair in bounds.windows(2) {
            let (low, high) = (pair[0], pair[1]);
            if high <= after_ms || low >= until_ms {
                continue;
            }
            let there = tiers.iter().filter(|tier| tier.after_ms <= low && tier.until_ms >= high);
            let segments =
                there.map(|tier| Segment { resolution_ms: tier.resolution_ms, after_ms: low, until_ms: high });
            let is_exact = |segment: &Segment| wanted.is_exact(segment, (after_ms, until_ms));
            let exact = segments.clone().filter(is_exact).map(|segment| segment.resolution_ms).max();
            let resolutions = segments.map(|segment| segment.resolution_ms);
            match choose_resolution(exact, resolutions, wanted, low >= samples_after_ms) {
                Choice::Buckets(resolution_ms) => coverage.push(resolution_ms, low, high),
                Choice::Samples => {}
                Choice::Refused => coverage.refused = true,
            }
        }
        coverage
    }

    fn push(&mut self, resolution_ms: i64, after_ms: i64, until_ms: i64) {
        if let Some(last) = self.segments.last_mut()
            && last.resolution_ms == resolution_ms
            && last.until_ms == after_ms
        {
            last.until_ms = until_ms;
            return;
        }
        let after_ms = bucket_end(after_ms, resolution_ms);
        if after_ms < until_ms {
            self.segments.push(Segment { resolution_ms, after_ms, until_ms });
        }
    }

    /// Whether buckets serve any of `after_ms < t <= until_ms`.
    #[must_use]
    pub fn serves_any(&self, after_ms: i64, until_ms: i64) -> bool {
        self.segments.iter().any(|segment| segment.after_ms < until_ms && segment.until_ms > after_ms)
    }
}

enum Choice {
    Buckets(i64),
    Samples,
    Refused,
}

fn choose_resolution(
    exact: Option<i64>,
    there: impl Iterator<Item = i64> + Clone,
    wanted: &BucketUse,
    has_samples: bool,
) -> Choice {
    let approximate = || there.clone().filter(|resolution| *resolution <= wanted.approximate_max_ms).max();
    if let Some(resolution) = exact.or_else(approximate) {
        return Choice::Buckets(resolution);
    }
    match there.min() {
        Some(finest) if !has_samples && wanted.where_expired => Choice::Buckets(finest),
        Some(_) if !has_samples => Choice::Refused,
        _ => Choice::Samples,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;

    /// 1 h from hour 0 to hour 100, 5 m from hour 50 to 101.5, samples expired until hour 90.
    fn chosen(wanted: BucketUse, after_hour: i64, until_hour: i64) -> Coverage {
        let tiers = [
            TierSpan { resolution_ms: 5 * MINUTE, after_ms: 50 * HOUR, until_ms: 101 * HOUR + 30 * MINUTE },
            TierSpan { resolution_ms: HOUR, after_ms: 0, until_ms: 100 * HOUR },
        ];
        Coverage::choose(&tiers, Some(90 * HOUR - MINUTE), &wanted, (after_hour * HOUR, until_hour * HOUR))
    }

    fn hours(coverage: &Coverage) -> Vec<(i64, f64, f64)> {
        let hour = |time: i64| time as f64 / HOUR as f64;
        coverage.segments.iter().map(|s| (s.resolution_ms / MINUTE, hour(s.after_ms), hour(s.until_ms))).collect()
    }

    #[test]
    fn the_coarsest_exact_buckets_are_preferred() {
        let exact = |grid| BucketUse { exact_grid_ms: grid, where_expired: true, ..BucketUse::default() };
        assert_eq!(hours(&chosen(exact(2 * HOUR), -10, 200)), [(60, 0.0, 100.0), (5, 100.0, 101.5)]);
        assert_eq!(hours(&chosen(exact(10 * MINUTE), -10, 200)), [(60, 0.0, 50.0), (5, 50.0, 101.5)]);
        assert_eq!(hours(&chosen(exact(10 * MINUTE), 60, 70)), [(5, 50.0, 90.0)]);
        assert_eq!(hours(&chosen(exact(2 * HOUR), 102, 200)), []);
    }

    #[test]
    fn samples_are_preferred_to_what_is_not_exact() {
        let expired = BucketUse { where_expired: true, ..BucketUse::default() };
        assert_eq!(hours(&chosen(expired, -10, 200)), [(60, 0.0, 50.0), (5, 50.0, 90.0)]);
        let none = chosen(BucketUse::default(), -10, 200);
        assert!(none.segments.is_empty() && none.refused);
        assert!(!chosen(BucketUse::default(), 91, 200).refused);
    }

    /// One window from 5 minutes and a bit past hour 40, or 91, to 7 minutes past hour 100.
    #[test]
    fn a_single_window_is_put_together_from_what_lies_inside() {
        let wanted = BucketUse { inside_max_ms: HOUR, where_expired: true, ..BucketUse::default() };
        let tiers = [
            TierSpan { resolution_ms: 5 * MINUTE, after_ms: 50 * HOUR, until_ms: 101 * HOUR + 30 * MINUTE },
            TierSpan { resolution_ms: HOUR, after_ms: 0, until_ms: 100 * HOUR },
        ];
        let window = |hour: i64| (hour * HOUR + 5 * MINUTE + 1, 100 * HOUR + 7 * MINUTE);
        let chosen = |hour| Coverage::choose(&tiers, Some(90 * HOUR - MINUTE), &wanted, window(hour));
        let inside = chosen(91);
        let five = 5.0 / 60.0;
        assert_eq!(hours(&inside), [(5, 91.0 + 2.0 * five, 92.0), (60, 92.0, 100.0), (5, 100.0, 100.0 + five)]);
        assert!(inside.segments.iter().all(|segment| wanted.is_exact(segment, window(91))));
        // Where samples have expired, the bucket that the window begins in cannot be cut.
        let expired = chosen(40);
        assert_eq!(hours(&expired), [(60, 0.0, 100.0), (5, 100.0, 100.0 + five)]);
        assert!(!wanted.is_exact(&expired.segments[0], window(40)));
    }

    #[test]
    fn approximation_is_used_where_it_is_asked_for() {
        let upto = |approximate_max_ms| BucketUse { approximate_max_ms, ..BucketUse::default() };
        assert_eq!(hours(&chosen(upto(HOUR), -10, 200)), [(60, 0.0, 100.0), (5, 100.0, 101.5)]);
        let five = chosen(upto(30 * MINUTE), -10, 200);
        assert_eq!((hours(&five), five.refused), (vec![(5, 50.0, 101.5)], true));
    }
}
