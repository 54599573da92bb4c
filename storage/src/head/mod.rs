//! The head: recent series and samples in memory.

mod error;

pub use error::{HeadError, HeadErrorKind, Notice};

use crate::append::{AppendOutcome, LabelHash, Rejection, Rows, SeriesRef};
use model::labels::Labels;
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// How a head is opened.
#[derive(Debug, Clone)]
pub struct HeadOptions {
    /// Directory of the head-chunk files; made when missing.
    pub dir: PathBuf,
    /// Number of shards of a new head, a power of two; a stored head keeps the number it was made with.
    pub shards: usize,
    /// Bytes that buffered out-of-order samples may take before they are cut into chunks.
    pub out_of_order_bytes_max: usize,
}

impl HeadOptions {
    /// The defaults for a head below `dir`: one shard per core up to 16.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { dir: dir.into(), shards: cores.next_power_of_two().min(16), out_of_order_bytes_max: 64 << 20 }
    }
}

/// The head. A cheap handle: clones share one state.
#[derive(Debug, Clone)]
pub struct Head {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    shards: usize,
    pub(crate) shard: Vec<RwLock<Naive>>,
}

#[derive(Debug, Default)]
pub(crate) struct Naive {
    by_hash: HashMap<LabelHash, u32>,
    pub(crate) series: Vec<(LabelHash, Labels, BTreeMap<i64, u64>)>,
}

/// A point in time of one shard, to be written out while the shard goes on.
#[derive(Debug)]
pub struct FrozenShard {
    shard: usize,
    bytes: Vec<u8>,
}

impl FrozenShard {
    /// Which shard it is.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// Makes the chunk files it refers to durable, then writes the state.
    ///
    /// # Errors
    /// The stream or a chunk file failed.
    pub fn write(self, out: &mut dyn Write) -> Result<(), HeadError> {
        out.write_all(&self.bytes).map_err(|source| HeadError::SnapshotIo { step: "write", shard: self.shard, source })
    }
}

/// Everything an operator needs to know about the head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeadStats {
    /// Series held.
    pub series: u64,
    /// Rows stored since the process started, duplicates not counted.
    pub samples_appended: u64,
    /// Earliest and latest timestamp held, in milliseconds since the Unix epoch; `None` when there is no sample.
    pub time_range_ms: Option<(i64, i64)>,
}

impl Head {
    /// Opens the head below `options.dir`, empty until it is restored.
    ///
    /// # Errors
    /// The directory or a file in it cannot be used.
    pub fn open(options: HeadOptions) -> Result<(Self, Vec<Notice>), HeadError> {
        if !options.shards.is_power_of_two() {
            return Err(HeadError::Options(format!("{} shards is not a power of two", options.shards)));
        }
        let shard = (0..options.shards).map(|_| RwLock::default()).collect();
        Ok((Self { inner: Arc::new(Inner { shards: options.shards, shard }) }, Vec::new()))
    }

    /// How many shards there are: a power of two.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.inner.shards
    }

    /// The shard of a series.
    #[must_use]
    pub fn shard_of(&self, series: SeriesRef) -> usize {
        series.0 as usize & (self.inner.shards - 1)
    }

    /// Whether the head holds this series.
    #[must_use]
    pub fn contains(&self, series: SeriesRef) -> bool {
        self.slot(series) < self.inner.shard[self.shard_of(series)].read().series.len()
    }

    fn slot(&self, series: SeriesRef) -> usize {
        series.0 as usize / self.inner.shards
    }

    /// Finds the series of many label sets; `out` has the length of `hashes`.
    pub fn lookup(&self, hashes: &[LabelHash], out: &mut [Option<SeriesRef>]) {
        for (hash, out) in hashes.iter().zip(out) {
            let shard = hash.0 as usize & (self.inner.shards - 1);
            *out = self.inner.shard[shard].read().by_hash.get(hash).map(|&at| SeriesRef(at));
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
        let shard = hash.0 as usize & (self.inner.shards - 1);
        let mut state = self.inner.shard[shard].write();
        if let Some(&at) = state.by_hash.get(&hash) {
            return Ok((SeriesRef(at), false));
        }
        let series = SeriesRef((state.series.len() * self.inner.shards + shard) as u32);
        log(series);
        state.by_hash.insert(hash, series.0);
        state.series.push((hash, Labels::from_sorted(labels.iter().copied()), BTreeMap::new()));
        Ok((series, true))
    }

    /// Puts back a series under the reference it had; to repeat it is harmless.
    ///
    /// # Errors
    /// The reference or the labels belong to another series already.
    pub fn restore_series(&self, series: SeriesRef, hash: LabelHash, labels: &[(&str, &str)]) -> Result<(), HeadError> {
        let (made, _) = self.create(hash, labels, |_| {})?;
        if made == series { Ok(()) } else { Err(HeadError::SeriesConflict { series: series.0 }) }
    }

    /// Appends rows of series that exist. One thread at a time calls this, in the order of the log: the verdicts follow
    /// from that order alone.
    pub fn append(&self, rows: &Rows) -> AppendOutcome {
        let mut outcome = AppendOutcome::default();
        for (i, &series) in rows.series.iter().enumerate() {
            let mut state = self.inner.shard[self.shard_of(series)].write();
            let bits = rows.values[i].to_bits();
            let slot = self.slot(series);
            let stored = *state.series[slot].2.entry(rows.timestamps_ms[i]).or_insert(bits);
            if stored == bits {
                outcome.written += 1;
            } else {
                outcome.rejected.push((i as u32, Rejection::ConflictingValue));
            }
        }
        outcome
    }

    /// Takes a point in time of one shard, in microseconds; writing it out is the caller's, on any thread.
    ///
    /// # Errors
    /// Chunks that wait to be written could not be.
    pub fn freeze_shard(&self, shard: usize) -> Result<FrozenShard, HeadError> {
        let state = self.inner.shard[shard].read();
        let mut bytes = Vec::new();
        for (hash, labels, samples) in &state.series {
            bytes.extend(hash.0.to_le_bytes());
            bytes.extend((labels.iter().count() as u32).to_le_bytes());
            for text in labels.iter().flat_map(|(n, v)| [n, v]) {
                bytes.extend((text.len() as u32).to_le_bytes());
                bytes.extend(text.as_bytes());
            }
            bytes.extend((samples.len() as u32).to_le_bytes());
            for (t, v) in samples {
                bytes.extend(t.to_le_bytes());
                bytes.extend(v.to_le_bytes());
            }
        }
        Ok(FrozenShard { shard, bytes })
    }

    /// Freezes a shard and writes it.
    ///
    /// # Errors
    /// As [`Head::freeze_shard`] and [`FrozenShard::write`].
    pub fn write_shard_snapshot(&self, shard: usize, out: &mut dyn Write) -> Result<(), HeadError> {
        self.freeze_shard(shard)?.write(out)
    }

    /// Replaces the state of an empty shard by a snapshot.
    ///
    /// # Errors
    /// The stream failed or does not hold a snapshot of this shard; the shard is then still empty.
    pub fn read_shard_snapshot(&self, shard: usize, from: &mut dyn Read) -> Result<Vec<Notice>, HeadError> {
        let io = |source| HeadError::SnapshotIo { step: "read", shard, source };
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).map_err(io)?;
        let mut rest = bytes.as_slice();
        let mut state = Naive::default();
        while !rest.is_empty() {
            let hash = LabelHash(u128::from_le_bytes(take(&mut rest).map_err(io)?));
            let count = u32::from_le_bytes(take(&mut rest).map_err(io)?);
            let mut texts = Vec::new();
            for _ in 0..count * 2 {
                let length = u32::from_le_bytes(take(&mut rest).map_err(io)?) as usize;
                let (text, after) = rest.split_at(length);
                texts.push(String::from_utf8_lossy(text).into_owned());
                rest = after;
            }
            let mut samples = BTreeMap::new();
            for _ in 0..u32::from_le_bytes(take(&mut rest).map_err(io)?) {
                let at = i64::from_le_bytes(take(&mut rest).map_err(io)?);
                samples.insert(at, u64::from_le_bytes(take(&mut rest).map_err(io)?));
            }
            let labels = Labels::from_sorted(texts.chunks_exact(2).map(|p| (p[0].as_str(), p[1].as_str())));
            state.by_hash.insert(hash, (state.series.len() * self.inner.shards + shard) as u32);
            state.series.push((hash, labels, samples));
        }
        *self.inner.shard[shard].write() = state;
        Ok(Vec::new())
    }

    /// Figures for the operator.
    #[must_use]
    pub fn stats(&self) -> HeadStats {
        let mut stats = HeadStats::default();
        for shard in &self.inner.shard {
            let state = shard.read();
            stats.series += state.series.len() as u64;
            stats.samples_appended += state.series.iter().map(|s| s.2.len() as u64).sum::<u64>();
            let first = state.series.iter().filter_map(|s| s.2.keys().next()).min();
            let last = state.series.iter().filter_map(|s| s.2.keys().next_back()).max();
            if let (Some(&first), Some(&last)) = (first, last) {
                let (a, b) = stats.time_range_ms.unwrap_or((first, last));
                stats.time_range_ms = Some((a.min(first), b.max(last)));
            }
        }
        stats
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> std::io::Result<[u8; N]> {
    let mut out = [0; N];
    rest.read_exact(&mut out)?;
    Ok(out)
}
