//! Views: what a query sees stays as it was when the query began, while appends go on.
//!
//! Batches are numbered in the order in which they are appended. A view remembers how many had been appended whole when it
//! was opened, and hides what later ones bring: a batch is seen as a whole or not at all, and two selectors of one query
//! see the same samples. No sample is ever changed, so hiding is enough; nothing is copied.
//!
//! While views are open, each shard notes what its series got. What came in order is newer than everything before it, so
//! one note hides the rest of the series too; only samples that came out of order are noted one by one. So a view costs at
//! most one note for each series that is appended to while it is open, and nothing is noted while none is open.
//!
//! A view pins its era, too: what a flush gives up stays readable for it.
//!
//! Notes are bounded: should more than [`NOTES_MAX`] be needed, the oldest are dropped, and the views that needed them see
//! what came since.

use super::Head;
use super::eras::{Pin, Visible};
use super::shard::Shard;
use crate::append::SeriesRef;
use crate::select::TimeRange;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Notes of all shards together: 64 MiB.
const NOTES_MAX: usize = 2 << 20;

/// Numbers batches and knows the open views.
#[derive(Debug, Default)]
pub(crate) struct Views {
    /// Batches that were appended whole. Locked while one is appended.
    appended: Mutex<u64>,
    /// How many views are open, by the number of batches that they see.
    open: Mutex<BTreeMap<u64, usize>>,
}

/// What one batch has to note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recording {
    /// The number of this batch, counted from 1.
    batch: u64,
    /// What the oldest and the newest open view see.
    oldest: u64,
    newest: u64,
}

/// A batch that is being appended: views wait until it is dropped.
pub(crate) struct Appending<'v> {
    appended: Option<MutexGuard<'v, u64>>,
    pub(crate) recording: Option<Recording>,
}

impl Views {
    /// Begins a batch.
    pub(crate) fn begin_batch(&self) -> Appending<'_> {
        let appended = self.appended.lock();
        let open = self.open.lock();
        let bounds = open.first_key_value().zip(open.last_key_value());
        let recording = bounds.map(|((oldest, _), (newest, _))| Recording {
            batch: *appended + 1,
            oldest: *oldest,
            newest: *newest,
        });
        Appending { appended: Some(appended), recording }
    }
}

impl Drop for Appending<'_> {
    fn drop(&mut self) {
        if let Some(mut appended) = self.appended.take() {
            *appended += 1;
            // The next batch is not to overtake the views that wait.
            MutexGuard::unlock_fair(appended);
        }
    }
}

/// The head as it is between two batches, for as long as this lives. Cheap to clone.
#[derive(Debug, Clone)]
pub struct View {
    open: Arc<OpenView>,
}

#[derive(Debug)]
struct OpenView {
    head: Head,
    appended: u64,
    /// Keeps what a flush gives up meanwhile.
    pin: Pin,
}

/// What a reader sees: what was not given up when its era began, without what came after its view was opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    pub(crate) visible: Visible,
    /// How many batches its view sees; `None` without a view.
    pub(crate) appended: Option<u64>,
}

impl Head {
    /// What is stored now: all batches appended so far, and none that come later. Waits for the batch that is being
    /// appended.
    #[must_use]
    pub fn view(&self) -> View {
        let appended = self.inner.views.appended.lock();
        *self.inner.views.open.lock().entry(*appended).or_default() += 1;
        View { open: Arc::new(OpenView { head: self.clone(), appended: *appended, pin: self.pin() }) }
    }
}

impl View {
    /// How many batches it sees.
    pub(crate) fn appended(&self) -> u64 {
        self.open.appended
    }

    pub(crate) fn pin(&self) -> &Pin {
        &self.open.pin
    }

    pub(crate) fn head(&self) -> &Head {
        &self.open.head
    }
}

impl Drop for OpenView {
    fn drop(&mut self) {
        let mut open = self.head.inner.views.open.lock();
        if let Some(count) = open.get_mut(&self.appended) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.appended);
            }
        }
    }
}

/// What a note hides of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Newly {
    /// All floats from its time on.
    FloatsFrom,
    /// The float at its time.
    Float,
    /// All histograms from its time on.
    HistogramsFrom,
    /// The histogram at its time.
    Histogram,
}

/// That a batch appended something to a series.
#[derive(Debug, Clone, Copy)]
struct Note {
    batch: u64,
    timestamp_ms: i64,
    slot: u32,
    /// Number of the note before it of the same series, its own when there is none.
    before: u32,
    newly: Newly,
}

/// The notes of a shard, in the order of batches.
#[derive(Debug)]
pub(crate) struct Notes {
    recording: Option<Recording>,
    /// Numbered from `first` on, modulo 2^32.
    notes: VecDeque<Note>,
    first: u32,
    /// Number of the newest note of each slot, or of a note that is gone or of another slot.
    newest: Vec<u32>,
    notes_max: usize,
}

impl Notes {
    /// The notes of one of `shards` shards.
    pub(crate) fn new(shards: usize) -> Self {
        Self { recording: None, notes: VecDeque::new(), first: 0, newest: Vec::new(), notes_max: NOTES_MAX / shards }
    }

    /// Begins a batch: forgets the notes that no open view needs.
    pub(crate) fn begin(&mut self, recording: Option<Recording>, slots: usize) {
        self.recording = recording;
        let Some(Recording { oldest, .. }) = recording else {
            if !self.newest.is_empty() {
                self.first = self.first.wrapping_add(self.notes.len() as u32);
                (self.notes, self.newest) = (VecDeque::new(), Vec::new());
            }
            return;
        };
        if self.newest.len() < slots {
            self.newest.resize(slots, 0);
        }
        while self.notes.front().is_some_and(|note| note.batch <= oldest) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        self.notes.pop_front();
        self.first = self.first.wrapping_add(1);
    }

    /// Notes a stored sample for the views that must not see it.
    #[inline]
    pub(crate) fn add(&mut self, slot: u32, timestamp_ms: i64, newly: Newly) {
        if let Some(recording) = self.recording {
            self.add_recorded(recording, slot, timestamp_ms, newly);
        }
    }

    fn add_recorded(&mut self, recording: Recording, slot: u32, timestamp_ms: i64, newly: Newly) {
        let number = self.first.wrapping_add(self.notes.len() as u32);
        let before = match self.newest_of(slot) {
            Some((_, note)) if note.hides_for(recording.newest, timestamp_ms, newly) => return,
            Some((before, _)) => before,
            None => number,
        };
        self.notes.push_back(Note { batch: recording.batch, timestamp_ms, slot, before, newly });
        if let Some(newest) = self.newest.get_mut(slot as usize) {
            *newest = number;
        }
        if self.notes.len() > self.notes_max {
            self.drop_oldest();
        }
    }

    fn newest_of(&self, slot: u32) -> Option<(u32, &Note)> {
        let number = *self.newest.get(slot as usize)?;
        let note = self.numbered(number)?;
        (note.slot == slot).then_some((number, note))
    }

    fn numbered(&self, number: u32) -> Option<&Note> {
        self.notes.get(number.wrapping_sub(self.first) as usize)
    }

    /// What a view that sees so many batches must not see of a slot.
    pub(crate) fn hidden(&self, slot: u32, appended: u64) -> Hidden {
        let mut hidden = Hidden::default();
        let mut at = self.newest_of(slot);
        while let Some((number, note)) = at.filter(|(_, note)| note.batch > appended) {
            hidden.add(note);
            // Those before it may have been dropped; what is in their place now is of a later number or another slot.
            let earlier = number.wrapping_sub(note.before);
            let known = earlier > 0 && earlier <= number.wrapping_sub(self.first);
            at = if known { self.numbered(note.before).map(|before| (note.before, before)) } else { None };
        }
        hidden
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.notes.capacity() * size_of::<Note>() + self.newest.capacity() * size_of::<u32>()
    }
}

impl Note {
    /// Whether it hides a sample for all views, of which the newest sees `newest` batches.
    fn hides_for(&self, newest: u64, timestamp_ms: i64, newly: Newly) -> bool {
        let same = match self.newly {
            Newly::FloatsFrom => newly == Newly::FloatsFrom,
            Newly::HistogramsFrom => newly == Newly::HistogramsFrom,
            Newly::Float | Newly::Histogram => false,
        };
        same && self.batch > newest && self.timestamp_ms <= timestamp_ms
    }
}

/// What a view must not see of one series.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Hidden {
    /// All from this time on.
    floats_from: Option<i64>,
    histograms_from: Option<i64>,
    /// These too, ascending once used.
    floats: SmallVec<[i64; 4]>,
    histograms: SmallVec<[i64; 4]>,
}

impl Hidden {
    fn add(&mut self, note: &Note) {
        let earlier = |from: Option<i64>| Some(from.unwrap_or(i64::MAX).min(note.timestamp_ms));
        match note.newly {
            Newly::FloatsFrom => self.floats_from = earlier(self.floats_from),
            Newly::HistogramsFrom => self.histograms_from = earlier(self.histograms_from),
            Newly::Float => self.floats.push(note.timestamp_ms),
            Newly::Histogram => self.histograms.push(note.timestamp_ms),
        }
    }

    /// The part of a range in which there may be floats to see.
    pub(crate) fn clip_floats(&self, range: TimeRange) -> TimeRange {
        clip(range, self.floats_from)
    }

    /// The part of a range in which there may be histograms to see.
    pub(crate) fn clip_histograms(&self, range: TimeRange) -> TimeRange {
        clip(range, self.histograms_from)
    }

    /// The times in a range at which floats are not to be seen.
    pub(crate) fn floats_within(&self, range: TimeRange) -> SmallVec<[i64; 4]> {
        within(&self.floats, range)
    }

    /// The times in a range at which histograms are not to be seen.
    pub(crate) fn histograms_within(&self, range: TimeRange) -> SmallVec<[i64; 4]> {
        within(&self.histograms, range)
    }
}

fn clip(range: TimeRange, from: Option<i64>) -> TimeRange {
    let until_ms = from.map_or(range.until_ms, |from| range.until_ms.min(from.saturating_sub(1)));
    TimeRange { until_ms, ..range }
}

fn within(times: &[i64], range: TimeRange) -> SmallVec<[i64; 4]> {
    let mut found: SmallVec<[i64; 4]> =
        times.iter().copied().filter(|t| *t > range.after_ms && *t <= range.until_ms).collect();
    found.sort_unstable();
    found
}

impl Shard {
    /// What a view that sees so many batches must not see of a series; nothing without a view.
    #[inline]
    pub(crate) fn hidden(&self, series: SeriesRef, appended: Option<u64>) -> Hidden {
        match appended {
            Some(appended) => self.notes.hidden(self.slot_number(series), appended),
            None => Hidden::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(notes_max: usize) -> Notes {
        Notes { notes_max, ..Notes::new(1) }
    }

    fn begin(notes: &mut Notes, batch: u64, oldest: u64, newest: u64) {
        notes.begin(Some(Recording { batch, oldest, newest }), 4);
    }

    /// What a view sees of the floats of slot 1, when each batch appended one at `1000 * batch`.
    fn until_ms(notes: &Notes, appended: u64) -> i64 {
        notes.hidden(1, appended).clip_floats(TimeRange { after_ms: 0, until_ms: 9999 }).until_ms
    }

    #[test]
    fn a_series_is_noted_once_for_each_view_that_needs_it() {
        let mut notes = notes(100);
        for batch in 11..=14 {
            begin(&mut notes, batch, 10, if batch < 14 { 10 } else { 12 });
            notes.add(1, 1000 * batch as i64, Newly::FloatsFrom);
            notes.add(2, 1000 * batch as i64, Newly::Float);
        }
        let of_slot = |slot| notes.notes.iter().filter(move |note| note.slot == slot).map(|note| note.batch);
        assert_eq!(of_slot(1).collect::<Vec<_>>(), [11, 14]);
        assert_eq!(of_slot(2).collect::<Vec<_>>(), [11, 12, 13, 14]);
        assert_eq!(notes.hidden(1, 10).floats_from, Some(11_000));
        assert_eq!(notes.hidden(1, 12).floats_from, Some(14_000));
        assert_eq!(notes.hidden(2, 12).floats.as_slice(), [14_000, 13_000]);
        assert_eq!(notes.hidden(3, 10), Hidden::default());
        begin(&mut notes, 15, 12, 12);
        assert_eq!(notes.notes.front().map(|note| note.batch), Some(13));
        assert_eq!(notes.hidden(2, 12).floats.as_slice(), [14_000, 13_000]);
    }

    /// A series that is stored in place of another may be older than it.
    #[test]
    fn older_samples_in_order_are_noted_again() {
        let mut notes = notes(100);
        begin(&mut notes, 2, 1, 1);
        notes.add(1, 5000, Newly::FloatsFrom);
        notes.add(1, 3000, Newly::FloatsFrom);
        notes.add(1, 4000, Newly::FloatsFrom);
        assert_eq!((until_ms(&notes, 1), notes.notes.len()), (2999, 2));
    }

    #[test]
    fn what_is_too_much_is_forgotten_from_the_oldest() {
        let mut notes = notes(3);
        notes.first = u32::MAX - 1; // numbers begin again on the way
        begin(&mut notes, 2, 1, 1);
        for timestamp_ms in 1..=7 {
            notes.add(1, timestamp_ms, Newly::Float);
            notes.add(2, timestamp_ms, Newly::Float);
        }
        assert_eq!(notes.hidden(1, 1).floats.as_slice(), [7]);
        assert_eq!(notes.hidden(2, 1).floats.as_slice(), [7, 6]);
        notes.begin(None, 4);
        assert_eq!((notes.bytes(), notes.hidden(1, 1)), (0, Hidden::default()));
        begin(&mut notes, 3, 1, 1);
        notes.add(1, 8, Newly::HistogramsFrom);
        notes.add(1, 9, Newly::Histogram);
        let hidden = notes.hidden(1, 1);
        assert_eq!((hidden.histograms_from, hidden.histograms.as_slice()), (Some(8), &[9][..]));
    }
}
