//! Appends native histograms to the series of a shard.
//!
//! As with floats, the verdict on a sample follows from the samples stored before it alone. A timestamp of a series belongs
//! to a float or to a histogram, whichever came first.

use super::histograms::{HistogramSeries, Verdict};
use super::shard::Shard;
use super::slot::Slot;
use super::views::{Newly, Recording};
use crate::append::Rejection;
use crate::chunk::SAMPLES_MAX;
use crate::histogram::stored::Stored;
use crate::wal::histograms::SeriesHistogram;

/// So many runs are cut between two samples when memory is short: milliseconds.
const CUT_AT_ONCE: usize = 256;

impl Shard {
    /// Appends the rows with the given indices, all of series of this shard; returns how many are stored.
    pub(crate) fn append_histograms(
        &mut self,
        rows: &[SeriesHistogram],
        picks: &[u32],
        recording: Option<Recording>,
        rejected: &mut Vec<(u32, Rejection)>,
    ) -> u64 {
        let mut written = 0;
        self.notes.begin(recording, self.slots.len());
        for &pick in picks {
            let (series, sample) = &rows[pick as usize];
            let (slot, timestamp_ms) = (self.slot_number(*series), sample.timestamp_ms);
            match self.append_histogram(slot, sample.clone()) {
                Verdict::InOrder => {
                    self.counters.histograms_in_order += 1;
                    self.notes.add(slot, timestamp_ms, Newly::HistogramsFrom);
                }
                Verdict::OutOfOrder => {
                    self.counters.histograms_out_of_order += 1;
                    self.notes.add(slot, timestamp_ms, Newly::Histogram);
                }
                Verdict::Repeated => self.counters.repeated += 1,
                Verdict::Refused(why) => {
                    self.counters.conflicting += 1;
                    rejected.push((pick, why));
                    continue;
                }
            }
            written += 1;
        }
        if let Some(&newest) = picks.last() {
            self.sweep(rows[newest as usize].1.timestamp_ms);
        }
        self.files.write_if_due();
        written
    }

    fn append_histogram(&mut self, number: u32, sample: Stored) -> Verdict {
        let (timestamp_ms, has_start) = (sample.timestamp_ms, sample.start_ms != 0);
        if !self.slots.get(number as usize).has(Slot::LIVE) {
            return Verdict::Refused(Rejection::SeriesGone);
        }
        if timestamp_ms < self.append_floor_ms {
            return self.append_histogram_below(number, sample);
        }
        if self.has_float(number, timestamp_ms) {
            return Verdict::Refused(Rejection::ConflictingValue);
        }
        let series = self.histograms.entry(number).or_default();
        let before = series.run.as_bytes().len();
        let verdict = series.append(sample, &self.files);
        if !matches!(verdict, Verdict::InOrder | Verdict::OutOfOrder) {
            return verdict;
        }
        self.histogram_bytes = self.histogram_bytes + series.run.as_bytes().len() - before;
        if series.is_full() {
            self.cut_histograms(number);
        } else if self.histogram_bytes > self.histogram_bytes_max {
            self.cut_some_histograms();
        }
        let slot = self.slots.get_mut(number as usize);
        if !slot.has(Slot::HAS_SAMPLE | Slot::HAS_HISTOGRAMS) {
            self.sampled += 1;
        }
        slot.flags |= Slot::HAS_HISTOGRAMS | if has_start { Slot::HAS_STARTS } else { 0 };
        self.first_ms = self.first_ms.min(timestamp_ms);
        self.last_ms = self.last_ms.max(timestamp_ms);
        verdict
    }

    /// Whether a series has a float at a timestamp.
    fn has_float(&mut self, number: u32, timestamp_ms: i64) -> bool {
        let slot = self.slots.get(number as usize);
        if !slot.has(Slot::HAS_SAMPLE) || timestamp_ms > slot.last_ms {
            return false;
        }
        timestamp_ms == slot.last_ms || self.stored_before(number, timestamp_ms).is_some()
    }

    /// Whether a series has a histogram at a timestamp.
    #[cold]
    pub(super) fn has_histogram(&self, number: u32, timestamp_ms: i64) -> bool {
        self.histograms.get(&number).is_some_and(|series| series.has(timestamp_ms, &self.files))
    }

    /// Moves the rows of a series to the chunk files.
    pub(super) fn cut_histograms(&mut self, number: u32) {
        let Some(series) = self.histograms.get_mut(&number) else { return };
        self.histogram_bytes -= series.run.as_bytes().len();
        self.counters.histogram_chunks_cut += series.cut(number, &mut self.files) as u64;
    }

    /// Moves the rows of a series to the chunk files if it has been idle.
    #[cold]
    pub(super) fn sweep_histograms(&mut self, number: u32, idle_since_ms: i64) {
        let idle = |series: &HistogramSeries| series.run.len() > 0 && series.last_ms < idle_since_ms;
        if self.histograms.get(&number).is_some_and(idle) {
            self.cut_histograms(number);
        }
    }

    /// All rows together are too large: some of the longer runs become chunks, or of any. Not all at once, for readers wait
    /// meanwhile; the next sample cuts more if it has to.
    fn cut_some_histograms(&mut self) {
        for fill in [SAMPLES_MAX / 4, 1] {
            let long = self.histograms.iter().filter(|(_, series)| series.run.len() >= fill);
            let numbers: Vec<u32> = long.map(|(number, _)| *number).take(CUT_AT_ONCE).collect();
            if !numbers.is_empty() {
                return numbers.into_iter().for_each(|number| self.cut_histograms(number));
            }
        }
    }
}
