//! Chunks: runs of up to [`SAMPLES_MAX`] samples of one series as a bit stream.
//!
//! Values are deltas of decimal mantissas (`value = mantissa / divisor`, exact by construction), with XOR of the raw bits for
//! what has no short decimal form; every f64 comes back bit for bit. Timestamps are either rows of a timeline that
//! several series share, or delta-of-delta codes in the same stream. Encoding is a pure function from the previous sample
//! and a four-byte state to a [`bits::Code`]; where the bits are kept is the caller's business. Byte layout:
//! `docs/formats/chunk.md`.
//!
//! Everything here may meet foreign bytes: decoders check bounds and return [`ChunkError`].
#![warn(clippy::indexing_slicing)]

pub mod bits;
pub mod decode;
pub mod divisor;
pub mod segment;
pub mod timestamp;
pub mod value;

/// The largest number of samples in a chunk and of timestamps in a timeline segment.
///
/// 128 rather than 120: a half hour of 15 s scrapes with jitter holds 119 to 121 of them, so that the half-hour boundary does
/// the cutting and no chunk of one sample follows it; and a chunk's rows fit the bits of a u128.
pub const SAMPLES_MAX: usize = 128;

/// A chunk ends where a new one of these periods since the epoch begins.
pub const WINDOW_MS: i64 = 30 * 60 * 1000;

/// The period that a timestamp belongs to.
#[must_use]
pub fn window_of(timestamp_ms: i64) -> i64 {
    timestamp_ms.div_euclid(WINDOW_MS)
}

/// Why bytes are no chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The bits end before the samples do.
    #[error("chunk ends within a sample")]
    Truncated,
    /// A code that no encoder writes.
    #[error("chunk holds an impossible code")]
    BadCode,
    /// A sample refers to a row that its timeline segment does not have.
    #[error("chunk refers to a row outside of its timeline segment")]
    RowOutOfRange,
    /// More samples than a chunk may have.
    #[error("chunk claims too many samples")]
    TooManySamples,
}
