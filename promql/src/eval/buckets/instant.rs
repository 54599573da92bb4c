//! Instant selectors over samples and buckets.

use super::pieces::{Part, Pieces};
use super::{INSTANT_FIELDS, SAMPLES_PER_BUCKET, Tiers};
use crate::eval::exec::Worker;
use crate::eval::row::Row;
use crate::eval::select::InstantSelector;
use crate::query_error::QueryError;
use model::sample::is_stale_marker;

impl Tiers {
    /// At each step the newest sample of one series within the lookback. The newest bucket that ends by then knows it,
    /// whatever its length.
    pub(crate) fn look(
        &self,
        selector: &InstantSelector,
        index: usize,
        worker: &mut Worker<'_, '_>,
        out: &mut Row,
    ) -> Result<(), QueryError> {
        let set = selector.selection.set.as_ref();
        let (look, lookback_ms) = (&selector.look, selector.lookback_ms);
        let read = self.span_read((look.first(), look.last()), lookback_ms);
        let mut samples = worker.take_columns();
        self.read_samples(set, index, read, &mut samples)?;
        let runs = self.read_buckets(set, index, read, INSTANT_FIELDS)?;
        let buckets: usize = runs.iter().map(|run| run.columns.len()).sum();
        worker.hold_samples(samples.len() + buckets * SAMPLES_PER_BUCKET)?;
        let pieces = Pieces { samples: &samples, runs: &runs, segments: &self.coverage.segments };
        out.reset(look.count());
        for step in 0..look.count() {
            let (window, _) = self.widened(look.time(step), lookback_ms);
            let parts = pieces.parts(window);
            let is_live = match parts.last_part() {
                None => false,
                Some(Part::Samples { values, .. }) => values.last().is_some_and(|value| !is_stale_marker(*value)),
                Some(Part::Buckets { columns, rows }) => {
                    let newest = rows.end - 1;
                    columns.counts[newest] > 0 && !columns.stale_ends[newest]
                }
            };
            // A bucket may reach further back than the lookback does.
            if is_live && parts.last_time() > window.until_ms.saturating_sub(lookback_ms) {
                out.set(step, selector.field.of(parts.last_time(), parts.last()));
            }
        }
        worker.give_columns(samples);
        Ok(())
    }
}
