//! How much memory an import may take, and how much it takes.
//!
//! The bound is that of the process, and is divided beforehand. Samples that wait to be sorted, and times of the block that is written, are
//! worked on in parts when they do not fit; labels that do not fit end the import, since all series have to be known. Half is left to what is
//! small or short-lived: one series, pages of a foreign file, compressed pages on their way to disk.

use super::ImportError;
use crate::block::writer::Layout;
use parking_lot::Mutex;
use std::sync::Arc;

/// Samples of text and Parquet in memory at most, whatever room there is: more would make fewer files, not a faster import.
pub const SAMPLES_MAX: usize = 4 << 20;
/// Fewer are not worth a file.
const SAMPLES_MIN: usize = 4 << 10;
/// A sample that waits takes 24 bytes, and as much again while all are sorted.
const SAMPLE_BYTES: u64 = 48;
/// What a series takes beside the text of its labels: entries of lists and tables that double when they grow.
const SERIES_BYTES: u64 = 160;

/// What the room is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Labels of all series.
    Labels,
    /// Samples that wait to be sorted.
    Samples,
    /// Times of the samples of the block that is written.
    Times,
}

impl Share {
    fn percent(self) -> u64 {
        match self {
            Self::Labels => 25,
            Self::Samples => 15,
            Self::Times => 10,
        }
    }

    /// What of an import it is, for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Labels => "the labels of all series",
            Self::Samples => "samples that wait to be sorted",
            Self::Times => "the times of samples of one minute",
        }
    }
}

/// See the head of the file. Clones share one account.
#[derive(Debug, Clone)]
pub struct Room {
    bytes: u64,
    samples_max: Option<usize>,
    held: Arc<Mutex<[Held; 3]>>,
}

/// Bytes of one share.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    now: u64,
    peak: u64,
}

impl Room {
    /// Room of `bytes` for all of the import.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self { bytes, samples_max: None, held: Arc::default() }
    }

    /// The same with so many samples in memory.
    #[must_use]
    pub fn with_samples(self, samples_max: usize) -> Self {
        Self { samples_max: Some(samples_max.max(1)), ..self }
    }

    /// How many samples may wait to be sorted.
    #[must_use]
    pub fn samples_max(&self) -> usize {
        let fitting = usize::try_from(self.bytes_of(Share::Samples) / SAMPLE_BYTES).unwrap_or(usize::MAX);
        self.samples_max.unwrap_or(fitting.clamp(SAMPLES_MIN, SAMPLES_MAX))
    }

    /// The bound of a share.
    #[must_use]
    pub fn bytes_of(&self, share: Share) -> u64 {
        self.bytes / 100 * share.percent()
    }

    /// What decoding pages of a foreign file may take.
    pub(crate) fn decoding_bytes(&self) -> u64 {
        self.bytes / 4
    }

    /// The most that a share has held.
    #[must_use]
    pub fn peak(&self, share: Share) -> u64 {
        self.held.lock()[share as usize].peak
    }

    /// Says how much a share holds now.
    ///
    /// # Errors
    /// It is more than its bound.
    pub(crate) fn hold(&self, share: Share, bytes: u64) -> Result<(), ImportError> {
        self.check(share, bytes)?;
        let held = &mut self.held.lock()[share as usize];
        (held.now, held.peak) = (bytes, held.peak.max(bytes));
        Ok(())
    }

    /// Whether a share has room for so much.
    ///
    /// # Errors
    /// It has not.
    pub(crate) fn check(&self, share: Share, bytes: u64) -> Result<(), ImportError> {
        let bytes_max = self.bytes_of(share);
        match bytes > bytes_max {
            true => Err(ImportError::NoRoom { what: share.name(), bytes_max, limit: self.bytes }),
            false => Ok(()),
        }
    }

    /// Notes one more series, by the bytes of its labels' text.
    ///
    /// # Errors
    /// Their labels are too many.
    pub(crate) fn add_labels(&self, text: usize) -> Result<(), ImportError> {
        let now = self.held.lock()[Share::Labels as usize].now;
        self.hold(Share::Labels, now.saturating_add(text as u64).saturating_add(SERIES_BYTES))
    }

    /// Notes how many samples wait; how many may is [`Self::samples_max`].
    pub(crate) fn note_samples(&self, count: usize) {
        let held = &mut self.held.lock()[Share::Samples as usize];
        held.now = SAMPLE_BYTES.saturating_mul(count as u64);
        held.peak = held.peak.max(held.now);
    }

    /// The layout of blocks, whose row groups are in memory, compressed, until they are written.
    pub(crate) fn layout(&self, level: u8) -> Layout {
        let layout = Layout::of_level(level);
        let rows = |row_bytes: u64| usize::try_from(self.bytes / 10 / row_bytes).unwrap_or(usize::MAX);
        Layout {
            row_group_rows: rows(16).clamp(layout.page_rows.min(layout.row_group_rows), layout.row_group_rows),
            series_group_rows: rows(512).clamp(layout.series_page_rows, layout.series_group_rows),
            ..layout
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_leave_half_of_it() {
        let room = Room::new(100 << 20);
        let shares = [Share::Labels, Share::Samples, Share::Times].map(|share| room.bytes_of(share));
        assert!(shares.iter().sum::<u64>() <= 50 << 20);
        assert!(room.samples_max() as u64 * SAMPLE_BYTES <= room.bytes_of(Share::Samples));
        assert_eq!(Room::new(u64::MAX).samples_max(), SAMPLES_MAX);
        assert_eq!(Room::new(u64::MAX).layout(1).row_group_rows, Layout::of_level(1).row_group_rows);
        assert_eq!(Room::new(0).with_samples(7).samples_max(), 7);
        assert!(Room::new(32 << 20).layout(1).row_group_rows < 256 << 10);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let room = Room::new(4_000);
        for _ in 0..5 {
            room.add_labels(40).unwrap();
        }
        let refused = room.add_labels(40).unwrap_err().to_string();
        assert!(refused.contains("the labels of all series"), "{refused}");
        assert_eq!(room.peak(Share::Labels), 1_000);
    }
}
