//! What each part of a plan really took, for `explain`.

use super::exec::{Exec, Worker};
use super::mapped::Rows;
use super::row::Row;
use super::vector::{SeriesVector, Vector};
use crate::query_error::QueryError;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A time and a value.
const SAMPLE_BYTES: usize = 16;

/// Counters of every part of one plan, by ordinal.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    parts: BTreeMap<u32, Counters>,
}

/// What one part took.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    series: AtomicU64,
    samples: AtomicU64,
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Profile {
    pub(crate) fn new(ordinals: impl Iterator<Item = u32>) -> Self {
        Self { parts: ordinals.map(|ordinal| (ordinal, Counters::default())).collect() }
    }

    pub(crate) fn part(&self, ordinal: u32) -> Option<&Counters> {
        self.parts.get(&ordinal)
    }
}

impl Counters {
    /// Series that had a value, or were read.
    pub(crate) fn series(&self) -> u64 {
        self.series.load(Ordering::Relaxed)
    }

    /// Values given, or samples read.
    pub(crate) fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// The most bytes that it held at once.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// By the clock and of all threads together: see [`crate::explain::Actual`].
    pub(crate) fn time(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }

    pub(crate) fn count(&self, series: u64, samples: u64) {
        self.series.fetch_add(series, Ordering::Relaxed);
        self.samples.fetch_add(samples, Ordering::Relaxed);
    }

    /// Remembers how much it held at one time.
    pub(crate) fn held(&self, bytes: usize) {
        self.bytes.fetch_max(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_time(&self, time: Duration) {
        self.nanoseconds.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }
}

/// The reading of a range of one series.
pub(crate) struct Reading<'e>(Option<(&'e Counters, Instant)>);

impl<'e> Reading<'e> {
    /// Starts the clock when the query is to be explained.
    pub(crate) fn begin(exec: &'e Exec<'_>, ordinal: u32) -> Self {
        Self(exec.profiled(ordinal).map(|counters| (counters, Instant::now())))
    }

    /// So many samples and buckets were read, which take as much memory as `held` samples.
    pub(crate) fn end(&self, samples: usize, held: usize) {
        if let Some((counters, started)) = self.0 {
            counters.add_time(started.elapsed());
            counters.count(1, samples as u64);
            counters.held(held * SAMPLE_BYTES);
        }
    }
}

/// A vector whose evaluation is timed and counted.
pub(crate) struct Profiled<'q> {
    pub(crate) inner: Vector<'q>,
    pub(crate) ordinal: u32,
}

impl Rows for Profiled<'_> {
    fn inner(&self) -> &dyn SeriesVector {
        self.inner.as_ref()
    }

    fn evaluate(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        let started = Instant::now();
        self.inner.row(index, worker, out)?;
        if let Some(counters) = worker.exec.profiled(self.ordinal) {
            counters.add_time(started.elapsed());
            counters.count(u64::from(!out.is_empty()), out.samples().0 as u64);
        }
        Ok(())
    }
}
