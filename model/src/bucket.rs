//! Buckets: what is kept of the samples of one series for each span of one fixed length, the resolution.
//!
//! A bucket of resolution r holds the samples with `k·r < t <= (k + 1)·r` and is named by its end. It is open where PromQL's
//! windows are open, so a window whose bounds are multiples of r consists of whole buckets, and first, last, counts, resets
//! and extremes of the window follow from those of its buckets. Stale markers are no samples here; all that is kept of them
//! is whether one stands at the end.

mod aggregate;
mod coverage;
mod thin;

pub use aggregate::{aggregate, coarsen};
pub use coverage::{BucketUse, Coverage, Segment, TierSpan};
pub use thin::thin;

/// The smallest multiple of `resolution_ms` that is not before `time_ms`: the end of the bucket that holds it.
#[must_use]
pub fn bucket_end(time_ms: i64, resolution_ms: i64) -> i64 {
    match time_ms.rem_euclid(resolution_ms) {
        0 => time_ms,
        past => time_ms.saturating_add(resolution_ms - past),
    }
}

/// The largest multiple of `resolution_ms` that is not after `time_ms`.
#[must_use]
pub fn bucket_floor(time_ms: i64, resolution_ms: i64) -> i64 {
    time_ms.saturating_sub(time_ms.rem_euclid(resolution_ms))
}

/// One bucket. Without samples (`count` 0) times are the bucket's end and values zero: it stands there for a stale marker.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bucket {
    /// The end, inclusive, in milliseconds since the Unix epoch; a multiple of the resolution.
    pub end_ms: i64,
    /// How many samples it holds.
    pub count: u32,
    /// When the first sample was taken.
    pub first_ms: i64,
    /// When the last sample was taken.
    pub last_ms: i64,
    /// The first value.
    pub first: f64,
    /// The last value.
    pub last: f64,
    /// The sum of all values, rounded once.
    pub sum: f64,
    /// The smallest value; NaN only if all are, of equal ones the first.
    pub min: f64,
    /// The largest value, likewise.
    pub max: f64,
    /// How many values are lower than the one before, which is in the bucket too.
    pub resets: u32,
    /// The sum of the values right before those: what counter resets took away. `last - first + reset_sum` is the increase.
    pub reset_sum: f64,
    /// How many values differ from the one before, which is in the bucket too.
    pub changes: u32,
    /// Whether a stale marker follows the last sample.
    pub stale_end: bool,
}

/// Which columns of buckets are wanted; ends and counts always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BucketFields(u16);

impl BucketFields {
    /// Ends and counts alone.
    pub const COUNT: Self = Self(0);
    /// The first values.
    pub const FIRST: Self = Self(1);
    /// The last values.
    pub const LAST: Self = Self(1 << 1);
    /// When the first samples were taken.
    pub const FIRST_TIME: Self = Self(1 << 2);
    /// When the last samples were taken.
    pub const LAST_TIME: Self = Self(1 << 3);
    /// The sums.
    pub const SUM: Self = Self(1 << 4);
    /// The smallest values.
    pub const MIN: Self = Self(1 << 5);
    /// The largest values.
    pub const MAX: Self = Self(1 << 6);
    /// Numbers of resets, and what they took away.
    pub const RESETS: Self = Self(1 << 7);
    /// Numbers of changes.
    pub const CHANGES: Self = Self(1 << 8);
    /// Whether stale markers stand at the ends.
    pub const STALE_END: Self = Self(1 << 9);
    /// All of them.
    pub const ALL: Self = Self((1 << 10) - 1);

    /// These and those of `other`.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are among these.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Buckets of one series and one resolution in columns, ends strictly ascending.
///
/// A column that was not asked for may be empty; all others are of equal length. See [`Bucket`] for what they hold.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs, reason = "the fields are those of Bucket")]
pub struct BucketColumns {
    pub ends_ms: Vec<i64>,
    pub counts: Vec<u32>,
    pub first_times_ms: Vec<i64>,
    pub last_times_ms: Vec<i64>,
    pub firsts: Vec<f64>,
    pub lasts: Vec<f64>,
    pub sums: Vec<f64>,
    pub mins: Vec<f64>,
    pub maxs: Vec<f64>,
    pub resets: Vec<u32>,
    pub reset_sums: Vec<f64>,
    pub changes: Vec<u32>,
    pub stale_ends: Vec<bool>,
}

impl BucketColumns {
    /// How many buckets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends_ms.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends_ms.is_empty()
    }

    /// Forgets the buckets and keeps the memory.
    pub fn clear(&mut self) {
        let Self { ends_ms, counts, first_times_ms, last_times_ms, firsts, lasts, .. } = self;
        [ends_ms, first_times_ms, last_times_ms].into_iter().for_each(Vec::clear);
        let Self { sums, mins, maxs, resets, reset_sums, changes, stale_ends, .. } = self;
        [firsts, lasts, sums, mins, maxs, reset_sums].into_iter().for_each(Vec::clear);
        [counts, resets, changes].into_iter().for_each(Vec::clear);
        stale_ends.clear();
    }

    /// Appends a bucket to all columns; the caller keeps ends increasing.
    pub fn push(&mut self, bucket: &Bucket) {
        self.push_fields(bucket, BucketFields::ALL);
    }

    /// Appends a bucket to the columns that are wanted.
    pub fn push_fields(&mut self, bucket: &Bucket, fields: BucketFields) {
        self.ends_ms.push(bucket.end_ms);
        self.counts.push(bucket.count);
        let floats = [
            (BucketFields::FIRST, &mut self.firsts, bucket.first),
            (BucketFields::LAST, &mut self.lasts, bucket.last),
            (BucketFields::SUM, &mut self.sums, bucket.sum),
            (BucketFields::MIN, &mut self.mins, bucket.min),
            (BucketFields::MAX, &mut self.maxs, bucket.max),
            (BucketFields::RESETS, &mut self.reset_sums, bucket.reset_sum),
        ];
        floats
            .into_iter()
            .filter(|(field, ..)| fields.contains(*field))
            .for_each(|(_, column, value)| column.push(value));
        if fields.contains(BucketFields::FIRST_TIME) {
            self.first_times_ms.push(bucket.first_ms);
        }
        if fields.contains(BucketFields::LAST_TIME) {
            self.last_times_ms.push(bucket.last_ms);
        }
        if fields.contains(BucketFields::RESETS) {
            self.resets.push(bucket.resets);
        }
        if fields.contains(BucketFields::CHANGES) {
            self.changes.push(bucket.changes);
        }
        if fields.contains(BucketFields::STALE_END) {
            self.stale_ends.push(bucket.stale_end);
        }
    }

    /// One bucket; zero in columns that are empty. `None` past the end.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Bucket> {
        let float = |column: &Vec<f64>| column.get(index).copied().unwrap_or_default();
        let count = |column: &Vec<u32>| column.get(index).copied().unwrap_or_default();
        let end_ms = *self.ends_ms.get(index)?;
        Some(Bucket {
            end_ms,
            count: count(&self.counts),
            first_ms: self.first_times_ms.get(index).copied().unwrap_or(end_ms),
            last_ms: self.last_times_ms.get(index).copied().unwrap_or(end_ms),
            first: float(&self.firsts),
            last: float(&self.lasts),
            sum: float(&self.sums),
            min: float(&self.mins),
            max: float(&self.maxs),
            resets: count(&self.resets),
            reset_sum: float(&self.reset_sums),
            changes: count(&self.changes),
            stale_end: self.stale_ends.get(index).copied().unwrap_or_default(),
        })
    }

    /// All buckets in order.
    pub fn iter(&self) -> impl Iterator<Item = Bucket> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}
