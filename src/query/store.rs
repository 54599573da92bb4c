//! What queries and look-ups need from storage; the storage engine implements it, and a few vectors in the tests.

use model::exemplar::Exemplar;
use model::labels::Labels;
use model::matcher::Matcher;
use model::metadata::Metadata;
use promql::budget::Budget;
use promql::source::{SeriesSet, SeriesSource, SourceError};
use std::sync::Arc;
use storage::block::meta::BlockMeta;
use storage::select::{Cardinality, Listing};
use storage::store::StoreStats;

/// Which series a look-up of labels is about: those with samples in `after_ms < t <= until_ms` that satisfy all matchers.
#[derive(Debug, Clone, Copy)]
pub struct LookupRequest<'a> {
    /// All must hold; none means all series.
    pub matchers: &'a [Matcher],
    /// Milliseconds since the Unix epoch, exclusive.
    pub after_ms: i64,
    /// Milliseconds since the Unix epoch, inclusive.
    pub until_ms: i64,
    /// The most names or values to return.
    pub limit: usize,
}

/// The head as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeadSummary {
    /// Series that it holds.
    pub series: u64,
    /// Open chunks, and those cut since the process started.
    pub chunks: u64,
    /// Times of the oldest and the newest sample, milliseconds since the Unix epoch; `None` while there is none.
    pub time_range_ms: Option<(i64, i64)>,
}

/// Stored series: samples for the engine, labels for people who explore.
pub trait SeriesStore: SeriesSource {
    /// The first `limit` of the series that `request` is about, the same ones each time; costs nothing for the others.
    ///
    /// # Errors
    /// Storage failed.
    fn select_first(&self, request: &LookupRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError>;

    /// The names of labels, or the values of one label, if that takes well below a tenth of a millisecond.
    fn list_at_a_glance(&self, _label: Option<&str>, _request: &LookupRequest<'_>) -> Option<Listing> {
        None
    }

    /// The names of the labels of the series that `request` is about.
    ///
    /// # Errors
    /// Storage failed.
    fn label_names(&self, request: &LookupRequest<'_>) -> Result<Listing, SourceError>;

    /// The values that the label `name` has among the series that `request` is about.
    ///
    /// # Errors
    /// Storage failed.
    fn label_values(&self, name: &str, request: &LookupRequest<'_>) -> Result<Listing, SourceError>;

    /// The exemplars with `start_ms <= t <= end_ms` of the series that satisfy all matchers of any of the `sets`, in order
    /// of time, series in order of their labels.
    ///
    /// # Errors
    /// Storage failed.
    fn exemplars(
        &self,
        sets: &[Vec<Matcher>],
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<(Labels, Vec<Exemplar>)>, SourceError>;

    /// What the series of the head are made of: the `top` largest lines of each table.
    fn cardinality(&self, top: usize) -> Cardinality;

    /// The head as a whole.
    fn head_summary(&self) -> HeadSummary;

    /// Blocks as a whole, from their metadata alone; `None` where there is no such thing.
    fn block_summary(&self) -> Option<StoreStats>;

    /// What is known of each block that is read; nothing where there is no such thing.
    fn blocks(&self) -> Vec<BlockMeta>;

    /// What the series of a block are made of: the `top` largest lines of each table. What is read for that is charged to
    /// `budget`. `None` if there is no such block.
    ///
    /// # Errors
    /// It is more than may be held, or storage failed.
    fn block_cardinality(
        &self,
        ulid: &str,
        top: usize,
        budget: &Arc<Budget>,
    ) -> Result<Option<Cardinality>, SourceError>;
}

/// What senders told about metrics.
pub trait MetadataSource: Send + Sync {
    /// All that is known of `metric`, or of every metric; each name once, in ascending order, its entries distinct.
    /// At most `limit` metrics and `limit_per_metric` entries for each.
    fn metadata(&self, metric: Option<&str>, limit: usize, limit_per_metric: usize) -> Vec<(String, Vec<Metadata>)>;
}
