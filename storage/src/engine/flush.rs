//! Flushing the head to blocks: what only the engine knows about it.

use super::restore::RestoreReport;
use super::{Applied, Engine};
use crate::append::{ExemplarRow, SeriesRef};
use crate::exemplars::Flushed;
use crate::head::{Collected, FlushedState, Flushing, Gone};
use crate::wal::segment::Epoch;
use hashbrown::HashMap;
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::metadata::MetricType;
use std::ops::Deref;
use std::sync::Arc;

/// Suffixes of series whose metadata is told under the name without.
const SUFFIXES: [&str; 5] = ["_bucket", "_count", "_sum", "_total", "_created"];

/// A flush that is under way: what the head gives out ([`Flushing`]) with exemplars and types of metrics. Dropping it gives
/// it up, and the next takes everything again.
pub struct Flush {
    flushing: Flushing,
    exemplars: Flushed,
    applied: Arc<Applied>,
    directory: Epoch,
}

impl Deref for Flush {
    type Target = Flushing;

    fn deref(&self) -> &Flushing {
        &self.flushing
    }
}

impl Engine {
    /// Identity of the data directory.
    #[must_use]
    pub fn directory(&self) -> [u8; 16] {
        self.inner.snapshots.epoch
    }

    /// Begins to flush everything older than `boundary_ms`; see [`crate::head::Head::begin_flush`]. Appends go on.
    #[must_use]
    pub fn begin_flush(&self, boundary_ms: i64) -> Option<Flush> {
        let applied = &self.inner.applied;
        let position = applied.position.lock();
        let flushing = applied.head.begin_flush(boundary_ms, *position)?;
        let exemplars = applied.exemplars.begin_flush(flushing.boundary_ms());
        drop(position);
        Some(Flush { flushing, exemplars, applied: Arc::clone(applied), directory: self.directory() })
    }

    /// Lets series leave the head that have no sample which is not in blocks, no exemplar either, and none newer than
    /// `idle_before_ms`; see [`crate::head::Head::collect_idle`]. To be called every minute or so.
    pub fn collect_idle(&self, idle_before_ms: i64) -> Collected {
        let Applied { head, exemplars, .. } = &*self.inner.applied;
        let kept = exemplars.series_to_flush();
        let keep = |series: SeriesRef| kept.contains(&series);
        let mut log = |gone: &[Gone]| {
            exemplars.forget_series(&gone.iter().map(|(series, _)| *series).collect());
            self.inner.queue.push_gone(gone);
        };
        head.collect_idle(idle_before_ms, &keep, &mut log)
    }

    /// Ends a flush whose blocks are published: [`Flush::state`] is in the manifest and whoever reads this engine sees the
    /// blocks.
    pub fn finish_flush(&self, flush: Flush) {
        self.inner.applied.exemplars.finish_flush(flush.exemplars);
        self.inner.applied.head.finish_flush(flush.flushing);
    }
}

impl Flush {
    /// What the manifest is to say once everything is in blocks.
    #[must_use]
    pub fn state(&self) -> FlushedState {
        self.flushing.flushed(self.directory)
    }

    /// The type of a metric as its senders told last.
    #[must_use]
    pub fn metric_type(&self, metric: &str) -> MetricType {
        let told = |name: &str| {
            let (_, entries) = self.applied.metadata.list(Some(name), 1, 1).pop()?;
            entries.first().map(|metadata| metadata.metric_type)
        };
        let base = || SUFFIXES.iter().find_map(|suffix| metric.strip_suffix(suffix)).and_then(told);
        told(metric).or_else(base).unwrap_or_default()
    }

    /// The exemplars that are older than the boundary and were in no flush before, by series, in order of time. Series may
    /// have exemplars and no samples.
    #[must_use]
    pub fn exemplars(&self) -> Vec<(SeriesRef, Labels, Vec<Exemplar>)> {
        let mut by_series: HashMap<SeriesRef, Vec<Exemplar>> = HashMap::new();
        for ExemplarRow { series, exemplar } in self.applied.exemplars.to_flush(self.exemplars) {
            by_series.entry(series).or_default().push(exemplar);
        }
        let labelled = self.applied.head.satisfying(by_series.keys().copied().collect(), &[Vec::new()]);
        let with_exemplars = labelled.into_iter().filter_map(|(series, labels)| {
            let mut exemplars = by_series.remove(&series)?;
            exemplars.sort_by_key(|exemplar| exemplar.timestamp_ms);
            Some((series, labels, exemplars))
        });
        with_exemplars.collect()
    }
}

/// What blocks hold of this directory. Positions and generations of another one say nothing about it.
pub(super) fn of_directory(flushed: &FlushedState, directory: Epoch, report: &mut RestoreReport) -> FlushedState {
    if flushed.directory == directory || *flushed == FlushedState::default() {
        return *flushed;
    }
    report.note("the blocks were flushed from another data directory: everything in this one counts as new".to_owned());
    FlushedState { directory, ..FlushedState::default() }
}
