//! Which buckets a selector can be answered from, and what is said when not everything is as exact as it was asked.

use crate::annotation::{Severity, format_second};
use crate::ast::Span;
use crate::duration::format_ms;
use crate::eval::exec::{Exec, Settings};
use crate::eval::extended::Extension;
use crate::eval::range::RangeFunction;
use crate::eval::remarks::Place;
use crate::eval::steps::LookTimes;
use crate::resolution::SourceResolution;
use model::bucket::{BucketFields, BucketUse, Coverage};

/// What instant selectors need of buckets, and whoever takes one sample of each.
pub(crate) const INSTANT_FIELDS: BucketFields =
    BucketFields::LAST.and(BucketFields::LAST_TIME).and(BucketFields::STALE_END);

/// What a function needs of buckets; `None` when it needs the samples.
pub(crate) fn fields(function: RangeFunction) -> Option<BucketFields> {
    use RangeFunction as F;
    const ENDS: BucketFields = BucketFields::FIRST.and(BucketFields::LAST);
    const REACH: BucketFields = ENDS.and(BucketFields::FIRST_TIME).and(BucketFields::LAST_TIME);
    Some(match function {
        F::Rate | F::Increase => REACH.and(BucketFields::RESETS),
        F::Delta => REACH,
        F::Resets => ENDS.and(BucketFields::RESETS),
        F::Changes => ENDS.and(BucketFields::CHANGES),
        F::Count | F::Present => BucketFields::COUNT,
        F::Sum | F::Avg => BucketFields::SUM,
        F::Min => BucketFields::MIN,
        F::Max => BucketFields::MAX,
        F::First => BucketFields::FIRST,
        F::Last => BucketFields::LAST,
        F::TsOfFirst => BucketFields::FIRST_TIME,
        F::TsOfLast => BucketFields::LAST_TIME,
        F::Irate
        | F::Idelta
        | F::Deriv
        | F::PredictLinear
        | F::DoubleExponentialSmoothing
        | F::Stddev
        | F::Stdvar
        | F::TsOfMin
        | F::TsOfMax
        | F::Quantile
        | F::Mad => return None,
    })
}

/// A single window that is not aligned is put together from samples and buckets if it is this many buckets long: two more
/// reads are not worth it for less.
const BUCKETS_INSIDE_MIN: i64 = 20;

/// The buckets that a selector wants, and its place for remarks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) buckets: BucketUse,
    pub(crate) place: Place,
}

impl Wanted {
    /// Of something that needs samples.
    pub(crate) fn samples(settings: &Settings, place: Place) -> Self {
        let where_expired = settings.source_resolution != SourceResolution::Exact;
        Self { buckets: BucketUse { where_expired, fields: INSTANT_FIELDS, ..BucketUse::default() }, place }
    }

    /// Of an instant selector: whatever the length of buckets, they have to end where it looks.
    pub(crate) fn of_instant(look: &LookTimes, settings: &Settings, place: Place) -> Self {
        Self::samples(settings, place).aligned(look, None, settings)
    }

    /// Of a function over windows.
    pub(crate) fn of_range(
        function: RangeFunction,
        extension: Option<Extension>,
        (look, range_ms): (&LookTimes, i64),
        settings: &Settings,
        place: Place,
    ) -> Self {
        let samples = Self::samples(settings, place);
        let (None, Some(fields)) = (extension, fields(function)) else { return samples };
        let samples = Self { buckets: BucketUse { fields, ..samples.buckets }, ..samples };
        let mut wanted = samples.aligned(look, Some(range_ms), settings);
        if look.is_fixed() {
            wanted.buckets.inside_max_ms = range_ms / BUCKETS_INSIDE_MIN;
        }
        wanted
    }

    /// What a selector may want, its function not looked at; a range of 0 means an instant selector.
    pub(crate) fn whatever_is_aligned(look: &LookTimes, range_ms: i64, settings: &Settings) -> BucketUse {
        let place = Place { ordinal: 0, span: Span { start: 0, end: 0 } };
        let range_ms = Some(range_ms).filter(|range| *range > 0);
        Self::samples(settings, place).aligned(look, range_ms, settings).buckets
    }

    /// Buckets are exact if their length divides all times at which windows begin and end.
    fn aligned(mut self, look: &LookTimes, range_ms: Option<i64>, settings: &Settings) -> Self {
        let stride_ms = if look.is_fixed() { 0 } else { look.time(1).saturating_sub(look.first()) };
        self.buckets.exact_grid_ms = greatest_common_divisor(look.first(), stride_ms, range_ms.unwrap_or(0));
        let fifth = |lengths: [Option<i64>; 2]| lengths.into_iter().flatten().min().map_or(0, |shortest| shortest / 5);
        self.buckets.approximate_max_ms = match settings.source_resolution {
            SourceResolution::Exact | SourceResolution::WhereExpired => 0,
            SourceResolution::Auto => fifth([Some(stride_ms).filter(|stride| *stride > 0), range_ms]),
            SourceResolution::UpTo(longest_ms) => longest_ms,
        };
        self
    }

    /// Warns when expired samples of `after_ms < t <= until_ms` are missed.
    pub(crate) fn remark(&self, coverage: &Coverage, (after_ms, until_ms): (i64, i64), exec: &Exec<'_>) {
        let Some(expired_ms) = coverage.expired_until_ms.filter(|expired| after_ms < *expired) else { return };
        let expired = format!("raw samples until {} have expired", format_second(expired_ms));
        let warn = |message| exec.annotate(Severity::Warning, message, self.place.ordinal, self.place.span);
        if coverage.refused {
            exec.with_annotations(|annotations| annotations.note_incomplete(&expired));
            warn(format!("{expired}: what is kept of older ones cannot answer this exactly and was left out"));
        }
        let mut approximate: Vec<i64> = coverage
            .segments
            .iter()
            .filter(|segment| segment.after_ms < expired_ms.min(until_ms) && segment.until_ms > after_ms)
            .filter(|segment| !self.buckets.is_exact(segment, (after_ms, until_ms)))
            .map(|segment| segment.resolution_ms)
            .collect();
        approximate.sort_unstable();
        approximate.dedup();
        if !approximate.is_empty() {
            let lengths: Vec<String> = approximate.into_iter().map(format_ms).collect();
            warn(format!("{expired}: older values are approximated from buckets of {}", lengths.join(" and ")));
        }
    }
}

fn greatest_common_divisor(a: i64, b: i64, c: i64) -> i64 {
    let of_two = |a: u64, b: u64| {
        let (mut a, mut b) = (a, b);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    i64::try_from(of_two(of_two(a.unsigned_abs(), b.unsigned_abs()), c.unsigned_abs())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::steps::Steps;

    fn grid(start_ms: i64, step_ms: i64, at_ms: Option<i64>, offset_ms: i64, range_ms: Option<i64>) -> i64 {
        let look = LookTimes::new(&Steps::range(start_ms, start_ms + 10 * step_ms, step_ms), at_ms, offset_ms);
        Wanted::whatever_is_aligned(&look, range_ms.unwrap_or(0), &Settings::default()).exact_grid_ms
    }

    #[test]
    fn start_offset_step_and_range_decide_on_the_grid() {
        assert_eq!(grid(7200, 600, None, 0, Some(3600)), 600);
        assert_eq!(grid(7200, 600, None, 0, Some(900)), 300);
        assert_eq!(grid(7200, 600, None, 60, Some(3600)), 60);
        assert_eq!(grid(7201, 600, None, 1, Some(3600)), 600);
        assert_eq!(grid(7200, 600, None, 0, None), 600);
        assert_eq!(grid(7200, 7, Some(1200), -200, Some(700)), 700);
    }
}
