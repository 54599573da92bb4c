//! A source whose old samples are served as buckets, for tests.

use crate::source::{SelectRequest, SeriesSet, SeriesSource, SourceError, TimelineToken};
use model::bucket::{
    Bucket, BucketColumns, BucketFields, BucketUse, Coverage, Segment, TierSpan, aggregate, coarsen, thin,
};
use model::histogram::HistogramColumns;
use model::labels::Labels;
use model::sample::SampleColumns;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Another source, of which it makes buckets when they are read.
pub struct TieredSource<'a> {
    inner: &'a dyn SeriesSource,
    tiers: Vec<TierSpan>,
    expired_until_ms: Option<i64>,
    reads: Arc<AtomicUsize>,
}

impl<'a> TieredSource<'a> {
    /// The series of `inner`, their buckets as `tiers` say, without the samples until `expired_until_ms`.
    #[must_use]
    pub fn new(inner: &'a dyn SeriesSource, tiers: Vec<TierSpan>, expired_until_ms: Option<i64>) -> Self {
        Self { inner, tiers, expired_until_ms, reads: Arc::default() }
    }

    /// How many buckets were read so far.
    #[must_use]
    pub fn buckets_read(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}

impl SeriesSource for TieredSource<'_> {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        self.select_with_buckets(request, &BucketUse::default())
    }

    fn select_with_buckets(
        &self,
        request: &SelectRequest<'_>,
        buckets: &BucketUse,
    ) -> Result<Box<dyn SeriesSet>, SourceError> {
        let range = (request.after_ms, request.until_ms);
        let coverage = Coverage::choose(&self.tiers, self.expired_until_ms, buckets, range);
        let inner = self.inner.select(request)?;
        let finest_ms = self.tiers.iter().map(|tier| tier.resolution_ms).min().unwrap_or(1);
        Ok(Box::new(TieredSet { inner, coverage, finest_ms, reads: Arc::clone(&self.reads) }))
    }
}

struct TieredSet {
    inner: Box<dyn SeriesSet>,
    coverage: Coverage,
    finest_ms: i64,
    reads: Arc<AtomicUsize>,
}

impl SeriesSet for TieredSet {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.inner.labels(index)
    }

    fn may_have_label(&self, name: &str) -> bool {
        self.inner.may_have_label(name)
    }

    fn read(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut SampleColumns,
    ) -> Result<Option<TimelineToken>, SourceError> {
        let after_ms = self.coverage.expired_until_ms.map_or(after_ms, |expired| expired.max(after_ms));
        self.inner.read(index, after_ms, until_ms, into)
    }

    fn coverage(&self) -> Option<&Coverage> {
        Some(&self.coverage)
    }

    /// Coarse buckets come from finer ones, as a store makes them.
    fn read_buckets(
        &self,
        index: usize,
        segment: &Segment,
        (after_ms, until_ms): (i64, i64),
        fields: BucketFields,
        into: &mut BucketColumns,
    ) -> Result<(), SourceError> {
        let mut samples = SampleColumns::default();
        let resolution_ms = segment.resolution_ms;
        self.inner.read(index, after_ms.saturating_sub(resolution_ms), until_ms, &mut samples)?;
        let (mut fine, mut coarse) = (BucketColumns::default(), BucketColumns::default());
        let finer_ms = if resolution_ms % 2 == 0 { resolution_ms / 2 } else { resolution_ms };
        aggregate(&samples, finer_ms, &mut fine);
        coarsen(&fine, resolution_ms, &mut coarse);
        into.clear();
        let inside = |bucket: &Bucket| bucket.end_ms > after_ms && bucket.end_ms <= until_ms;
        coarse.iter().filter(inside).for_each(|bucket| into.push_fields(&bucket, fields));
        self.reads.fetch_add(into.len(), Ordering::Relaxed);
        Ok(())
    }

    fn may_have_histograms(&self, index: usize) -> bool {
        self.inner.may_have_histograms(index)
    }

    /// Where samples have expired they are thinned, unless they have starts.
    fn read_histograms(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut HistogramColumns,
    ) -> Result<(), SourceError> {
        let has_starts = self.inner.may_have_start_timestamps(index);
        let Some(expired_ms) = self.coverage.expired_until_ms.filter(|_| !has_starts) else {
            return self.inner.read_histograms(index, after_ms, until_ms, into);
        };
        let (mut old, mut young) = (HistogramColumns::default(), HistogramColumns::default());
        self.inner.read_histograms(index, i64::MIN, expired_ms, &mut old)?;
        self.inner.read_histograms(index, expired_ms, i64::MAX, &mut young)?;
        thin(&mut old, &mut Vec::new(), self.finest_ms);
        into.clear();
        let inside = |time_ms: i64| time_ms > after_ms && time_ms <= until_ms;
        let all = old.drain().chain(young.drain()).filter(|(time_ms, ..)| inside(*time_ms));
        all.for_each(|(time_ms, histogram, left_out)| into.push_after(time_ms, histogram, left_out));
        Ok(())
    }

    fn may_have_start_timestamps(&self, index: usize) -> bool {
        self.inner.may_have_start_timestamps(index)
    }

    fn read_start_timestamps(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut Vec<i64>,
    ) -> Result<(), SourceError> {
        let expired = self.coverage.expired_until_ms.filter(|_| !self.inner.may_have_histograms(index));
        let after_ms = expired.map_or(after_ms, |expired| expired.max(after_ms));
        self.inner.read_start_timestamps(index, after_ms, until_ms, into)
    }
}
