//! What the series of one block are made of, for people who look for what made them many.

use super::Store;
use crate::account::Account;
use crate::block::read::{Block, ReadError};
use crate::cardinality::sort_and_cut;
use crate::select::{Cardinality, Count, SelectError, TimeRange};
use model::labels::METRIC_NAME;

impl Store {
    /// What the series of a block are made of: the `top` largest lines of each table. Read from its label columns: labels beyond those that have
    /// one are left out. What is read is charged to `account`. `None` if queries do not read such a block.
    ///
    /// # Errors
    /// The block cannot be read.
    pub fn block_cardinality(
        &self,
        ulid: &str,
        top: usize,
        account: &Account,
    ) -> Result<Option<Cardinality>, SelectError> {
        let view = self.inner.shared.view();
        let Some(meta) = view.manifest.block(ulid) else { return Ok(None) };
        let found = view.blocks.iter().find(|block| block.meta().ulid == ulid);
        let Some(block) = found.map(|block| block.charged_to(account)) else {
            // Why it cannot be read is known.
            view.check(TimeRange { after_ms: meta.min_ms.saturating_sub(1), until_ms: meta.max_ms })?;
            return Ok(None);
        };
        Ok(Some(self.inner.shared.io.wait(async move { tables(&block, top).await })?))
    }
}

async fn tables(block: &Block, top: usize) -> Result<Cardinality, ReadError> {
    let (mut by_metric, mut by_pair, mut values, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for name in block.meta().label_columns.iter().map(String::as_str).chain([METRIC_NAME]) {
        let mut found = block.series_by_value(name).await?;
        values.push((name.to_owned(), found.len() as u64));
        bytes.push((name.to_owned(), found.iter().map(|(value, series)| value.len() as u64 * series).sum()));
        sort_and_cut(&mut found, top);
        by_pair.extend(found.iter().map(|(value, series)| (format!("{name}={value}"), *series)));
        sort_and_cut(&mut by_pair, top);
        if name == METRIC_NAME {
            by_metric = found;
        }
    }
    let label_pairs = values.iter().map(|(_, values)| values).sum();
    sort_and_cut(&mut values, top);
    sort_and_cut(&mut bytes, top);
    let [series_by_metric_name, values_by_label_name, bytes_by_label_name, series_by_label_pair] =
        [by_metric, values, bytes, by_pair].map(counts);
    Ok(Cardinality {
        series_by_metric_name,
        values_by_label_name,
        bytes_by_label_name,
        series_by_label_pair,
        label_pairs,
    })
}

fn counts(lines: Vec<(String, u64)>) -> Vec<Count> {
    lines.into_iter().map(|(name, value)| Count { name, value }).collect()
}
