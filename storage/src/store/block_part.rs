//! What one block has of a selection: its series, who they are, and, once somebody asked, their samples.

use crate::append::LabelHash;
use crate::block::read::{Block, BlockPages, BlockSeries, ReadError, What};
use crate::select::TimeRange;
use model::bucket::BucketFields;
use model::matcher::Matcher;
use std::sync::Arc;
use tokio::sync::{Mutex, OnceCell};

/// Which series are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'w> {
    /// All must hold.
    pub(crate) matchers: &'w [Matcher],
    pub(crate) range: TimeRange,
    pub(crate) series_max: usize,
    /// More than `series_max` are no error: any so many will do.
    pub(crate) first: bool,
}

/// See the head of the file. Whatever it fetched stays until it is dropped.
#[derive(Debug)]
pub(crate) struct BlockPart {
    pub(crate) series: BlockSeries,
    pub(crate) hashes: Vec<LabelHash>,
    range: TimeRange,
    samples: OnceCell<BlockPages>,
    /// By columns: few, as one selection is read for one function.
    buckets: Mutex<Vec<(BucketFields, Arc<BlockPages>)>>,
}

impl BlockPart {
    /// Finds series: one round trip, if the block is cold.
    pub(crate) async fn select(block: &Block, wanted: &Wanted<'_>) -> Result<Self, ReadError> {
        let Wanted { matchers, range, series_max, first } = *wanted;
        let series = match first {
            true => block.select_first(matchers, range, series_max).await?,
            false => block.select(matchers, range, series_max).await?,
        };
        let hashes = series.hashes().await?;
        Ok(Self { series, hashes, range, samples: OnceCell::new(), buckets: Mutex::default() })
    }

    /// The samples of all series, if they are here.
    pub(crate) fn samples_here(&self) -> Option<&BlockPages> {
        self.samples.get()
    }

    /// The samples of all series, fetched once.
    pub(crate) async fn samples(&self) -> Result<&BlockPages, ReadError> {
        self.samples.get_or_try_init(|| self.series.fetch(0..self.series.len(), self.range, What::ALL)).await
    }

    /// Columns of the buckets of all series, fetched once; whoever comes meanwhile waits for the same.
    pub(crate) async fn buckets(&self, fields: BucketFields) -> Result<Arc<BlockPages>, ReadError> {
        let mut known = self.buckets.lock().await;
        if let Some((_, pages)) = known.iter().find(|(of, _)| *of == fields) {
            return Ok(Arc::clone(pages));
        }
        let pages = Arc::new(self.series.fetch_buckets(0..self.series.len(), fields).await?);
        known.push((fields, Arc::clone(&pages)));
        Ok(pages)
    }
}
