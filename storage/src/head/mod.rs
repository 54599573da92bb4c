//! The head: recent series and their samples, in memory and in mapped chunk files.
//!
//! Series are spread over shards by the low bits of their label hash; a shard is one [`shard::Shard`] behind one lock.
//! One thread appends, in the order of the log; any thread looks up, creates and reads. What survives the process is
//! the log and, per shard, a snapshot with the chunk files it refers to: the head itself promises nothing.
//!
//! Where to begin: `slot.rs` (what is kept of a series), `appender.rs` (how a sample gets in), `read.rs` (how samples get
//! out), `views.rs` (how a query sees the same all along), `snapshot/`. The label index is in [`crate::index`], the codec in [`crate::chunk`].

mod appender;
pub(crate) mod below;
mod cells;
mod changes;
mod chunk_file;
mod chunk_files;
mod chunk_link;
mod collect;
pub(crate) mod eras;
mod error;
mod floors;
mod flush;
mod frame;
mod hash_index;
mod histogram_appender;
mod histograms;
mod late;
pub(crate) mod lock;
mod map;
mod meta;
mod paged;
pub(crate) mod read;
pub(crate) mod read_histograms;
pub(crate) mod read_starts;
pub(crate) mod shard;
pub(crate) mod slot;
mod snapshot;
mod starts;
mod stats;
mod stored_value;
mod timeline;
pub(crate) mod varint;
pub(crate) mod views;
mod watches;

pub use changes::Changed;
pub use collect::{Collected, Gone};
pub use eras::Pin;
pub use error::{HeadError, HeadErrorKind, Notice};
pub use floors::FlushedState;
pub use flush::{FlushPart, FlushSeries, Flushing};
pub use snapshot::FrozenShard;
pub use stats::{HeadMemory, HeadStats};
pub use views::View;
pub use watches::Watch;

use crate::append::{AppendOutcome, LabelHash, Rejection, Rows, SeriesRef};
use crate::wal::histograms::SeriesHistogram;
use changes::Changes;
use collect::Collection;
use eras::Eras;
use floors::Floors;
use lock::RwLock;
use parking_lot::Mutex;
use shard::Shard;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use views::{Recording, Views};
use watches::Watches;

/// How a head is opened.
#[derive(Debug, Clone)]
pub struct HeadOptions {
    /// Directory of the head-chunk files; made when missing.
    pub dir: PathBuf,
    /// Number of shards of a new head, a power of two; a stored head keeps the number it was made with.
    pub shards: usize,
    /// Bytes that buffered out-of-order samples may take before they are cut into chunks.
    pub out_of_order_bytes_max: usize,
    /// Bytes that native histograms may take before they are cut into chunks.
    pub histogram_bytes_max: usize,
}

/// More shards than this cost memory (each has its own symbols) and gain nothing while one thread appends.
const SHARDS_DEFAULT_MAX: usize = 16;
/// The largest number of shards: references keep 24 bits for slots.
const SHARDS_MAX: usize = 256;

impl HeadOptions {
    /// The defaults for a head below `dir`: one shard per core up to 16, 64 MiB of out-of-order samples, 128 MiB of native
    /// histograms.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = cores.next_power_of_two().min(SHARDS_DEFAULT_MAX);
        Self { dir: dir.into(), shards, out_of_order_bytes_max: 64 << 20, histogram_bytes_max: 128 << 20 }
    }
}

/// The head. A cheap handle: clones share one state.
#[derive(Debug, Clone)]
pub struct Head {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    /// Tells heads of one process apart.
    pub(crate) id: u64,
    pub(crate) shards: Vec<RwLock<Shard>>,
    pub(crate) changes: Changes,
    watches: Watches,
    pub(crate) views: Views,
    pub(crate) eras: Eras,
    floors: Mutex<Floors>,
    collection: Mutex<Collection>,
    /// Held while rows are appended: one thread at a time.
    by_shard: Mutex<Grouping>,
}

impl Inner {
    #[inline]
    pub(crate) fn shard_of(&self, series: SeriesRef) -> &RwLock<Shard> {
        &self.shards[self.shard_number(series)]
    }

    pub(crate) fn shard_number(&self, series: SeriesRef) -> usize {
        series.0 as usize & (self.shards.len() - 1)
    }
}

impl Head {
    /// Opens the head below `options.dir`. It is empty until snapshots are read and series restored; chunk files that no
    /// snapshot vouches for are removed when their shard writes its first own, because the log brings their samples again.
    ///
    /// # Errors
    /// The options are wrong, or the directory or a file in it cannot be used.
    pub fn open(options: HeadOptions) -> Result<(Self, Vec<Notice>), HeadError> {
        if !options.shards.is_power_of_two() || options.shards > SHARDS_MAX {
            let shards = options.shards;
            return Err(HeadError::Options(format!("{shards} shards is not a power of two up to {SHARDS_MAX}")));
        }
        let mut notices = Vec::new();
        let shards = meta::open_dir(&options.dir, options.shards)?;
        if shards != options.shards {
            let wanted = options.shards;
            notices.push(Notice { message: format!("the head keeps its {shards} shards, {wanted} were asked for") });
        }
        let open = |number| Shard::open(&options, number, shards).map(RwLock::new);
        let shards = (0..shards).map(open).collect::<Result<_, _>>()?;
        static HEADS: AtomicU64 = AtomicU64::new(1);
        let id = HEADS.fetch_add(1, Ordering::Relaxed);
        let inner = Inner {
            id,
            shards,
            changes: Changes::default(),
            watches: Watches::default(),
            views: Views::default(),
            eras: Eras::default(),
            floors: Mutex::default(),
            collection: Mutex::default(),
            by_shard: Mutex::default(),
        };
        Ok((Self { inner: Arc::new(inner) }, notices))
    }

    /// Keeps from now on what is found in the head, until it is dropped.
    #[must_use]
    pub fn pin(&self) -> Pin {
        self.inner.eras.pin()
    }

    /// How many shards there are: a power of two.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.inner.shards.len()
    }

    /// The shard of a series.
    #[must_use]
    pub fn shard_of(&self, series: SeriesRef) -> usize {
        self.inner.shard_number(series)
    }

    /// Whether the head holds this series.
    #[must_use]
    pub fn contains(&self, series: SeriesRef) -> bool {
        self.inner.shard_of(series).read().live(series).is_some()
    }

    /// Finds the series of many label sets; each shard is locked once.
    ///
    /// # Panics
    /// If `out` is shorter than `hashes`.
    pub fn lookup(&self, hashes: &[LabelHash], out: &mut [Option<SeriesRef>]) {
        self.find(hashes, out, true);
    }

    /// As [`Head::lookup`], for whoever only reads what they already hold a pin for: series that are about to leave still do.
    pub(crate) fn peek(&self, hashes: &[LabelHash], out: &mut [Option<SeriesRef>]) {
        self.find(hashes, out, false);
    }

    fn find(&self, hashes: &[LabelHash], out: &mut [Option<SeriesRef>], keep: bool) {
        let mut grouping = Grouping::default();
        grouping.group(self.shards(), hashes.iter().map(|hash| hash.0 as usize));
        for (number, picks) in grouping.groups().enumerate().filter(|(_, picks)| !picks.is_empty()) {
            let shard = self.inner.shards[number].read();
            let mut doomed = false;
            for &pick in picks {
                let found = shard.hashes.get(hashes[pick as usize]);
                out[pick as usize] = found.map(|slot| shard.series_ref(slot));
                doomed |= keep && shard.doomed > 0 && found.is_some_and(|slot| shard.is_doomed(slot));
            }
            drop(shard);
            if doomed {
                self.inner.revive(number, hashes, picks, out);
            }
        }
    }

    /// Finds or makes the series of one label set, whose names ascend and whose values are not empty. `log` is called
    /// exactly once when the series is new, before anyone else can know its reference. Returns whether it is new.
    ///
    /// # Errors
    /// The shard is full.
    pub fn create(
        &self,
        hash: LabelHash,
        labels: &[(&str, &str)],
        log: impl FnOnce(SeriesRef),
    ) -> Result<(SeriesRef, bool), HeadError> {
        let created = self.inner.shards[hash.0 as usize & (self.shards() - 1)].write().create(hash, labels, log);
        if let Ok((series, true)) = &created {
            self.inner.watches.note_series(*series, labels);
        }
        created
    }

    /// Puts back a series under the reference it had; to repeat it is harmless.
    ///
    /// # Errors
    /// The reference or the labels belong to another series already.
    pub fn restore_series(&self, series: SeriesRef, hash: LabelHash, labels: &[(&str, &str)]) -> Result<(), HeadError> {
        if self.shard_of(series) != hash.0 as usize & (self.shards() - 1) {
            return Err(HeadError::SeriesConflict { series: series.0 });
        }
        self.inner.shard_of(series).write().restore_series(series, hash, labels)
    }

    /// Appends rows of series that exist. One thread at a time calls this, in the order of the log: the verdicts follow
    /// from that order and from what is compared, of which what is in blocks may be no part (`Head::forget_flushed`).
    ///
    /// # Panics
    /// If a row is of a series that the head never held.
    pub fn append(&self, rows: &Rows) -> AppendOutcome {
        self.append_batch(rows, &[])
    }

    /// As [`Head::append`], with native histograms: what is appended together is seen together.
    pub(crate) fn append_batch(&self, rows: &Rows, histograms: &[SeriesHistogram]) -> AppendOutcome {
        let grouping = &mut self.inner.by_shard.lock();
        let batch = self.inner.views.begin_batch();
        let mut outcome = self.append_floats(rows, grouping, batch.recording);
        (outcome.histograms_written, outcome.histograms_rejected) =
            self.append_histograms(histograms, grouping, batch.recording);
        outcome
    }

    /// As [`Head::append`], while there are no views and for a thread that has a grouping of its own: threads that append
    /// to different shards do not wait for each other.
    pub(crate) fn append_grouped(&self, rows: &Rows, grouping: &mut Grouping) -> AppendOutcome {
        self.append_floats(rows, grouping, None)
    }

    fn append_floats(&self, rows: &Rows, grouping: &mut Grouping, recording: Option<Recording>) -> AppendOutcome {
        let mut outcome = AppendOutcome::default();
        let Some(oldest_ms) = rows.timestamps_ms.iter().copied().min() else { return outcome };
        self.inner.changes.note(oldest_ms);
        grouping.group(self.shards(), rows.series.iter().map(|series| series.0 as usize));
        for (shard, picks) in self.inner.shards.iter().zip(grouping.groups()) {
            if !picks.is_empty() {
                outcome.written += shard.write().append(rows, picks, recording, &mut outcome.rejected);
            }
        }
        self.inner.changes.note(oldest_ms);
        self.inner.watches.note(rows);
        outcome.rejected.sort_unstable_by_key(|rejected| rejected.0);
        outcome
    }

    /// Appends native histograms as [`Head::append_grouped`] appends floats.
    pub(crate) fn append_histograms_grouped(
        &self,
        rows: &[SeriesHistogram],
        grouping: &mut Grouping,
    ) -> (u64, Vec<(u32, Rejection)>) {
        self.append_histograms(rows, grouping, None)
    }

    fn append_histograms(
        &self,
        rows: &[SeriesHistogram],
        grouping: &mut Grouping,
        recording: Option<Recording>,
    ) -> (u64, Vec<(u32, Rejection)>) {
        let (mut written, mut rejected) = (0, Vec::new());
        let Some(oldest_ms) = rows.iter().map(|(_, stored)| stored.timestamp_ms).min() else { return (0, rejected) };
        self.inner.changes.note(oldest_ms);
        grouping.group(self.shards(), rows.iter().map(|(series, _)| series.0 as usize));
        for (shard, picks) in self.inner.shards.iter().zip(grouping.groups()) {
            if !picks.is_empty() {
                written += shard.write().append_histograms(rows, picks, recording, &mut rejected);
            }
        }
        self.inner.changes.note(oldest_ms);
        self.inner.watches.note_histograms(rows);
        rejected.sort_unstable_by_key(|rejected| rejected.0);
        (written, rejected)
    }

    /// Notes that anything may have changed, for whoever keeps results.
    pub fn note_all_changed(&self) {
        self.inner.changes.note(i64::MIN);
    }

    /// Which times have changed since a number that an earlier call gave out, for whoever keeps results.
    #[must_use]
    pub fn changed_since(&self, number: u64) -> Changed {
        self.inner.changes.since(number)
    }

    /// Figures for the operator.
    #[must_use]
    pub fn stats(&self) -> HeadStats {
        let mut stats = HeadStats::default();
        self.inner.shards.iter().for_each(|shard| stats.add(&shard.read()));
        stats
    }
}

/// Indices grouped by shard, in their order within each group.
#[derive(Debug, Default)]
pub(crate) struct Grouping {
    order: Vec<u32>,
    /// Where each group ends.
    ends: Vec<usize>,
}

impl Grouping {
    /// Groups the indices of `keys` by their low bits.
    fn group(&mut self, shards: usize, keys: impl Iterator<Item = usize> + Clone) {
        let mask = shards - 1;
        self.ends.clear();
        self.ends.resize(shards, 0);
        let mut len = 0;
        for key in keys.clone() {
            self.ends[key & mask] += 1;
            len += 1;
        }
        let mut start = 0;
        for end in &mut self.ends {
            start += std::mem::replace(end, start);
        }
        self.order.clear();
        self.order.resize(len, 0);
        for (i, key) in keys.enumerate() {
            let end = &mut self.ends[key & mask];
            self.order[*end] = i as u32;
            *end += 1;
        }
    }

    /// The groups in order of shards.
    fn groups(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.order[start..*end])
    }
}
