//! Native histograms as they are stored: each bucket is a counter series.
//!
//! [`stored::Stored`] is one sample in the one form that equal histograms share; [`row`] writes it as bytes, one sample after
//! the other, for the log and for the samples that wait in memory; [`chunk`] writes a run of samples as columns for the chunk
//! files. Byte layouts: `docs/formats/histogram.md`.
//!
//! Pure: knows neither head nor log.

pub(crate) mod chunk;
pub(crate) mod row;
pub(crate) mod stored;

/// Populated buckets and listed bounds that one histogram may have together; whoever takes histograms from outside checks.
///
/// Two hundred are usual. So many fit a frame of a chunk file, and a record of the smallest log, however badly they compress.
pub const BUCKETS_MAX: usize = 4096;
