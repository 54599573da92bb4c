//! Reads blocks: which series match, what their labels are, and their samples.
//!
//! A [`Block`] is made from its entry in the manifest without any request. Finding series takes the series file and the places
//! of pages in the others (one round trip, cached); then [`BlockSeries::fetch`] brings the pages of some series (one round
//! trip, cached), and [`BlockSeries::read`] decodes them without waiting, on any thread. So a caller decides how much compressed
//! data is in memory at a time, and decoded samples are only those that it asked for last.
//!
//! Stored bytes are foreign bytes: whatever they are, the answer is samples or a [`ReadError`] with the name of the object.
#![warn(clippy::indexing_slicing)]

mod block;
mod cache;
mod column;
mod columns;
pub(super) mod delta;
mod error;
mod exemplars;
mod fetch;
mod histograms;
mod labels;
mod layout;
pub(super) mod levels;
mod lists;
mod matching;
mod open_pages;
mod overflow;
mod page;
mod rows;
mod samples;
mod select;
mod selection;
mod series_file;
mod sums;
#[cfg(test)]
mod tests;
mod text;
mod thrift;
mod tiers;
mod unpack;

pub use block::Block;
pub use cache::{BlockCaches, CacheCounts, CacheFigures, CacheKind};
pub use error::{ReadError, pages_not_fetched};
pub use fetch::Fetched;
pub use labels::BlockLabels;
pub use selection::{BlockPages, BlockSeries, What};
pub(crate) use thrift::{DICTIONARY_PAGE, PageHeader, read_page_header};
pub(crate) use tiers::retain_buckets;
