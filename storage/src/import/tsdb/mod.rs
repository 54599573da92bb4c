//! Prometheus' blocks, as Prometheus, Thanos or Mimir leave them, read in place.
//!
//! ```text
//! <directory>/<ulid>/meta.json     which time, how many samples; Thanos adds labels
//!                    index         labels of all series and the places of their chunks
//!                    chunks/000001 samples
//!                    tombstones    what was deleted
//! ```
//! Labels of all series are in memory; chunks are found and read anew in each visit. Samples that several blocks have are
//! imported once; what a log holds that has not become a block yet is not seen.
#![warn(clippy::indexing_slicing)]

mod bits;
mod bytes;
mod chunks;
mod histogram;
mod index;
mod tombstones;
mod xor;

use super::room::{Room, Share};
use super::spool::text_bytes;
use super::{EachSeries, ImportError, ImportedSeries, Source, Watch};
use crate::append::LabelHash;
use crate::block::order;
use crate::lifecycle::window::{day_of, day_range};
use chunks::{ChunkFiles, Decoded};
use index::Index;
use model::labels::Labels;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use tombstones::Tombstones;
use xxhash_rust::xxh3::xxh3_128;

/// A directory of blocks, or one block.
pub struct TsdbSource {
    blocks: Vec<TsdbBlock>,
    /// In the order of our blocks.
    series: Vec<Listed>,
    days: BTreeSet<i64>,
}

struct TsdbBlock {
    path: PathBuf,
    index: Index,
    chunks: ChunkFiles,
    tombstones: Tombstones,
    digest: u128,
    days: BTreeSet<i64>,
}

/// A series of one block.
struct Listed {
    labels: Labels,
    block: usize,
    offset: u64,
    reference: u64,
    min_ms: i64,
    max_ms: i64,
}

/// What is of interest in `meta.json`.
#[derive(Debug, Deserialize)]
struct Meta {
    #[serde(default)]
    thanos: Option<ThanosMeta>,
}

#[derive(Debug, Deserialize)]
struct ThanosMeta {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    downsample: Downsample,
}

#[derive(Debug, Default, Deserialize)]
struct Downsample {
    #[serde(default)]
    resolution: i64,
}

const META: &str = "meta.json";
const INDEX: &str = "index";

/// Whether a directory is a block or has blocks in it.
#[must_use]
pub fn is_tsdb(path: &Path) -> bool {
    !block_paths(path).unwrap_or_default().is_empty()
}

impl TsdbSource {
    /// Lists the series of all blocks.
    ///
    /// # Errors
    /// A block cannot be read, or is of a kind that cannot be imported; or there is no room for the labels of all series.
    pub fn open(path: &Path, room: &Room, watch: &dyn Watch) -> Result<Self, ImportError> {
        let paths = block_paths(path).map_err(ImportError::io("read", path))?;
        if paths.is_empty() {
            return Err(ImportError::unsupported(path, "it is no block of Prometheus and has none in it"));
        }
        if path.join("wal").is_dir() {
            watch.note(
                "the write-ahead log beside the blocks is not imported: take a snapshot to have all samples in blocks",
            );
        }
        watch.begin("list series", paths.len() as u64);
        let mut source = Self { blocks: Vec::new(), series: Vec::new(), days: BTreeSet::new() };
        for path in paths {
            source.add(path, room)?;
            watch.advance(1);
        }
        source.series.sort_by(|a, b| order::compare(a.labels.iter(), b.labels.iter()).then(a.block.cmp(&b.block)));
        Ok(source)
    }

    /// Bytes of all chunks.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blocks.iter().map(|block| block.chunks.bytes()).sum()
    }

    fn add(&mut self, path: PathBuf, room: &Room) -> Result<(), ImportError> {
        let name = path.join(META);
        let text = std::fs::read(&name).map_err(ImportError::io("read", &name))?;
        let meta: Meta =
            serde_json::from_slice(&text).map_err(|error| ImportError::unsupported(&name, error.to_string()))?;
        let external = external_labels(&path, meta)?;
        let index = Index::open(&path.join(INDEX))?;
        room.check(Share::Labels, index.symbol_bytes()?)?;
        let identity = [text.as_slice(), &index.contents].concat();
        let mut block = TsdbBlock {
            chunks: ChunkFiles::open(&path.join("chunks"))?,
            tombstones: tombstones::read(&path.join("tombstones"))?,
            digest: xxh3_128(&identity),
            days: BTreeSet::new(),
            index,
            path,
        };
        let number = self.blocks.len();
        let (series, days) = (&mut self.series, &mut block.days);
        block.index.each_series(&mut |entry| {
            for chunk in &entry.chunks {
                days.extend(day_of(chunk.min_ms)..=day_of(chunk.max_ms));
            }
            let (min_ms, max_ms) =
                (entry.chunks.iter().map(|c| c.min_ms).min(), entry.chunks.iter().map(|c| c.max_ms).max());
            let (Some(min_ms), Some(max_ms)) = (min_ms, max_ms) else { return Ok(()) };
            let labels = external.iter().fold(entry.labels, |labels, (name, value)| labels.with(name, value));
            let (offset, reference) = (entry.offset, entry.reference);
            room.add_labels(text_bytes(&labels))?;
            series.push(Listed { labels, block: number, offset, reference, min_ms, max_ms });
            Ok(())
        })?;
        self.days.extend(&block.days);
        self.blocks.push(block);
        Ok(())
    }

    /// Adds what a block has of a series on a day.
    fn read(&self, listed: &Listed, day: &RangeInclusive<i64>, into: &mut Decoded) -> Result<(), ImportError> {
        let Some(block) = self.blocks.get(listed.block) else { return Ok(()) };
        let deleted = block.tombstones.get(&listed.reference).map(Vec::as_slice).unwrap_or_default();
        let keeps = |at: &i64| day.contains(at) && !deleted.iter().any(|(first, last)| (first..=last).contains(&at));
        let mut decoded = Decoded::default();
        for chunk in block.index.chunks(listed.offset)? {
            if chunk.max_ms >= *day.start() && chunk.min_ms <= *day.end() {
                block.chunks.decode(chunk.reference, &block.path, &mut decoded)?;
            }
        }
        let floats = decoded.floats;
        for (at_ms, value) in floats.timestamps_ms.into_iter().zip(floats.values).filter(|(at_ms, _)| keeps(at_ms)) {
            into.floats.push(at_ms, value);
        }
        let columns = decoded.histograms;
        let all = columns.timestamps_ms.into_iter().zip(columns.histograms);
        for (at_ms, histogram) in all.filter(|(at_ms, _)| keeps(at_ms)) {
            into.histograms.push(at_ms, histogram);
        }
        Ok(())
    }
}

impl Source for TsdbSource {
    fn days(&self) -> Vec<i64> {
        self.days.iter().copied().collect()
    }

    fn digest(&self, day: i64) -> u128 {
        let blocks = self.blocks.iter().filter(|block| block.days.contains(&day));
        let mut digests: Vec<[u8; 16]> = blocks.map(|block| block.digest.to_le_bytes()).collect();
        digests.sort_unstable();
        xxh3_128(&[digests.concat().as_slice(), &day.to_le_bytes()].concat())
    }

    fn visit(&self, day: i64, each: &mut EachSeries<'_>) -> Result<(), ImportError> {
        let range = day_range(day);
        let same = |a: &Listed, b: &Listed| a.labels == b.labels;
        for group in self.series.chunk_by(same) {
            let mut decoded = Decoded::default();
            for listed in group.iter().filter(|listed| listed.max_ms >= *range.start() && listed.min_ms <= *range.end())
            {
                self.read(listed, &range, &mut decoded)?;
            }
            let Some(first) = group.first() else { continue };
            let mut series = ImportedSeries {
                hash: LabelHash::of_pairs(first.labels.iter(), &mut Vec::new()),
                labels: first.labels.clone(),
                floats: decoded.floats,
                histograms: decoded.histograms,
                ..ImportedSeries::default()
            };
            super::tidy(&mut series);
            if !(series.floats.is_empty() && series.histograms.is_empty()) {
                each(&series)?;
            }
        }
        Ok(())
    }
}

/// Labels that Thanos adds when it answers; those of Mimir that begin with `__` are for itself.
fn external_labels(path: &Path, meta: Meta) -> Result<BTreeMap<String, String>, ImportError> {
    let Some(mut thanos) = meta.thanos else { return Ok(BTreeMap::new()) };
    if thanos.downsample.resolution > 0 {
        return Err(ImportError::unsupported(path, "it is downsampled by Thanos"));
    }
    thanos.labels.retain(|name, _| !name.starts_with("__"));
    Ok(thanos.labels)
}

/// The directories of blocks, in order of their names.
fn block_paths(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let is_block = |path: &Path| path.join(INDEX).is_file() && path.join(META).is_file();
    if is_block(path) {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            // `<ulid>.tmp-for-creation` and the like are unfinished.
            let is_named = entry.file_name().to_str().is_some_and(|name| name.len() == 26);
            if is_named && is_block(&entry.path()) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}
