//! Labels and exemplars of head and blocks together.

use super::Store;
use crate::block::read::ReadError;
use crate::select::{Listing, SelectError, TimeRange};
use futures::future::try_join_all;
use model::exemplar::Exemplar;
use model::labels::Labels;
use model::matcher::Matcher;
use std::collections::BTreeMap;

impl Store {
    /// The label names of the series that satisfy all `matchers` and may have samples in the range.
    ///
    /// # Errors
    /// A block cannot be read.
    pub fn label_names(&self, matchers: &[Matcher], range: TimeRange, limit: usize) -> Result<Listing, SelectError> {
        let head = self.engine().label_names(matchers, range, limit)?;
        let (matchers, blocks) = (matchers.to_vec(), self.known_blocks(range)?);
        if blocks.is_empty() {
            return Ok(head);
        }
        let of_blocks = self.inner.shared.io.wait(async move {
            try_join_all(blocks.iter().map(|block| block.label_names(&matchers, range, limit))).await
        })?;
        Ok(head.join(of_blocks, limit))
    }

    /// The values of one label among the series that satisfy all `matchers` and may have samples in the range.
    ///
    /// # Errors
    /// A block cannot be read.
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Listing, SelectError> {
        let head = self.engine().label_values(name, matchers, range, limit)?;
        let (name, matchers, blocks) = (name.to_owned(), matchers.to_vec(), self.known_blocks(range)?);
        if blocks.is_empty() {
            return Ok(head);
        }
        let of_blocks = self.inner.shared.io.wait(async move {
            try_join_all(blocks.iter().map(|block| block.label_values(&name, &matchers, range, limit))).await
        })?;
        Ok(head.join(of_blocks, limit))
    }

    /// The exemplars with `start_ms <= t <= end_ms` of the series that satisfy all matchers of any of the `sets`, in order of
    /// time, series in order of their labels.
    ///
    /// # Errors
    /// A block cannot be read.
    pub fn exemplars(
        &self,
        sets: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        let head = self.engine().exemplars(sets, start_ms, end_ms);
        let range = TimeRange { after_ms: start_ms.saturating_sub(1), until_ms: end_ms };
        let view = self.inner.shared.view();
        view.check(range)?;
        // A block's times are those of its samples; its exemplars may be a little older.
        let blocks: Vec<_> = view.blocks.iter().filter(|block| block.meta().exemplars > 0).cloned().collect();
        if blocks.is_empty() {
            return Ok(head);
        }
        let sets = sets.to_vec();
        let of_blocks = self.inner.shared.io.wait(async move {
            let mut found = Vec::new();
            for block in blocks {
                for matchers in &sets {
                    let series = block.select_all(matchers).await?;
                    let exemplars = series.exemplars(range.after_ms.saturating_add(1), range.until_ms).await?;
                    if exemplars.is_empty() {
                        continue;
                    }
                    let labels = series.labels(None).await?;
                    for (index, exemplars) in exemplars {
                        found.push((labels.of(index)?, exemplars));
                    }
                }
            }
            Ok::<_, ReadError>(found)
        })?;
        let mut all: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
        for (labels, exemplars) in of_blocks.into_iter().chain(head) {
            all.entry(labels).or_default().extend(exemplars);
        }
        for exemplars in all.values_mut() {
            exemplars.sort_by_key(|exemplar| exemplar.timestamp_ms);
            exemplars.dedup_by(|a, b| a.repeats(b));
        }
        Ok(all.into_iter().collect())
    }

    fn known_blocks(&self, range: TimeRange) -> Result<Vec<crate::block::read::Block>, ReadError> {
        let view = self.inner.shared.view();
        view.check(range)?;
        Ok(view.known_within(range).cloned().collect())
    }
}
