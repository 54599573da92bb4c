//! The write-ahead log: what was acknowledged is in here, synced, until a snapshot holds it.
//!
//! ```text
//! writers ── queue ──► writer thread: number, encode, one pwrite, one fdatasync ──► applier ──► head ──► acknowledged
//!                        │ active segment (64 MiB, written before, so that a sync moves data only)
//!                        ▼
//!                      pool thread: prepares the next segment ahead of need, recycles those that a snapshot covers
//! ```
//!
//! Invariants: records are numbered without gaps across segments and restarts (`lsn`); a record is written only after
//! everything of an earlier batch is durable; a segment gets records only after the one before is durable as a whole.
//! So whatever a crash leaves is a prefix of the log, and any other gap is damage. Byte layouts: `docs/formats/wal.md`.

pub mod record;

pub(crate) mod histograms;
pub mod payload;
pub mod samples;

pub mod segment;

pub(crate) mod queue;

pub(crate) mod writer;

pub(crate) mod pool;

pub mod replay;

pub(crate) mod cursor;
pub mod stats;

#[cfg(test)]
mod tests;
