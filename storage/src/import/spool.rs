//! Puts samples that come in any order into the order of blocks, with more of them than memory holds.
//!
//! Samples are collected up to a bound, sorted by day, series and time, and written to a file as one run; a visit merges the runs.
//! Labels of all series stay in memory. A run is, by day and series:
//!
//! ```text
//! series u32 | count u32 | times i64 … | values f64 …      little-endian; read by nobody but the process that wrote it
//! ```

use super::{EachSeries, ImportError, ImportedSeries, Source};
use crate::append::LabelHash;
use crate::block::order;
use crate::lifecycle::window::day_of;
use hashbrown::HashMap;
use model::labels::Labels;
use model::metadata::MetricType;
use model::sample::SampleColumns;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

/// Samples in memory by default: 96 MiB.
pub const SAMPLES_MAX: usize = 4 << 20;

/// A series by its number, in order of appearance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolSeries(u32);

/// Takes samples.
pub struct Spool {
    directory: PathBuf,
    samples_max: usize,
    known: HashMap<LabelHash, u32>,
    series: Vec<(Labels, LabelHash, MetricType)>,
    /// Numbers of series in the order of blocks, as far as they have been sorted.
    sorted: Vec<u32>,
    buffer: Vec<(u32, i64, f64)>,
    runs: Vec<Run>,
}

struct Run {
    path: PathBuf,
    /// Where each day begins and how many series it has.
    days: BTreeMap<i64, (u64, u32)>,
}

impl Spool {
    /// Takes samples into files of a directory, whenever there are more than `samples_max` in memory.
    #[must_use]
    pub fn new(directory: &Path, samples_max: usize) -> Self {
        Self {
            directory: directory.to_owned(),
            samples_max: samples_max.max(1),
            known: HashMap::new(),
            series: Vec::new(),
            sorted: Vec::new(),
            buffer: Vec::new(),
            runs: Vec::new(),
        }
    }

    /// The number of a series.
    ///
    /// # Panics
    /// With more than 2^32 series, which no memory holds.
    pub fn series(&mut self, labels: &Labels, metric_type: MetricType) -> SpoolSeries {
        let hash = LabelHash::of_pairs(labels.iter(), &mut Vec::new());
        let number = *self.known.entry(hash).or_insert_with(|| {
            self.series.push((labels.clone(), hash, metric_type));
            u32::try_from(self.series.len() - 1).expect("memory holds fewer series")
        });
        SpoolSeries(number)
    }

    /// Adds a sample. Of several of a series at one time, the first stays.
    ///
    /// # Errors
    /// A run cannot be written.
    pub fn push(&mut self, series: SpoolSeries, timestamp_ms: i64, value: f64) -> Result<(), ImportError> {
        self.buffer.push((series.0, timestamp_ms, value));
        if self.buffer.len() >= self.samples_max { self.spill() } else { Ok(()) }
    }

    /// Everything was added; `digest` tells it from everything else.
    ///
    /// # Errors
    /// A run cannot be written.
    pub fn finish(mut self, digest: u128) -> Result<Spooled, ImportError> {
        self.spill()?;
        let ranks = self.ranks();
        Ok(Spooled { series: self.series, ranks, runs: self.runs, digest })
    }

    /// The place of each series in the order of blocks.
    fn ranks(&mut self) -> Vec<u32> {
        let labels = |number: &u32| self.series.get(*number as usize).map(|(labels, ..)| labels.iter());
        self.sorted.extend(self.sorted.len() as u32..self.series.len() as u32);
        // Stable: quick where most is sorted already.
        self.sorted.sort_by(|a, b| match (labels(a), labels(b)) {
            (Some(a), Some(b)) => order::compare(a, b),
            _ => a.cmp(b),
        });
        let mut ranks = vec![0; self.sorted.len()];
        for (rank, number) in (0..).zip(&self.sorted) {
            if let Some(place) = ranks.get_mut(*number as usize) {
                *place = rank;
            }
        }
        ranks
    }

    fn spill(&mut self) -> Result<(), ImportError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let ranks = self.ranks();
        let rank = |number: u32| ranks.get(number as usize).copied().unwrap_or_default();
        self.buffer.sort_by_key(|(number, at_ms, _)| (day_of(*at_ms), rank(*number), *at_ms));
        let path = self.directory.join(format!("run-{}", self.runs.len()));
        let mut run = Run { path, days: BTreeMap::new() };
        write_run(&self.buffer, &mut run).map_err(ImportError::io("write", &run.path))?;
        self.runs.push(run);
        self.buffer.clear();
        Ok(())
    }
}

fn write_run(samples: &[(u32, i64, f64)], run: &mut Run) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(&run.path)?);
    let mut offset = 0u64;
    for group in samples.chunk_by(|a, b| (a.0, day_of(a.1)) == (b.0, day_of(b.1))) {
        let Some((number, at_ms, _)) = group.first() else { continue };
        let (_, series) = run.days.entry(day_of(*at_ms)).or_insert((offset, 0));
        *series += 1;
        file.write_all(&number.to_le_bytes())?;
        file.write_all(&(group.len() as u32).to_le_bytes())?;
        for (_, at_ms, _) in group {
            file.write_all(&at_ms.to_le_bytes())?;
        }
        for (_, _, value) in group {
            file.write_all(&value.to_bits().to_le_bytes())?;
        }
        offset += 8 + 16 * group.len() as u64;
    }
    file.flush()
}

/// Samples that were all taken.
pub struct Spooled {
    series: Vec<(Labels, LabelHash, MetricType)>,
    ranks: Vec<u32>,
    runs: Vec<Run>,
    digest: u128,
}

/// A place in one run.
struct Cursor<'r> {
    run: &'r Run,
    file: BufReader<File>,
    /// Series of the day that were not read yet.
    left: u32,
    number: u32,
    count: u32,
}

impl<'r> Cursor<'r> {
    fn open(run: &'r Run, day: i64) -> Result<Option<Self>, ImportError> {
        let Some((offset, series)) = run.days.get(&day) else { return Ok(None) };
        let open = || {
            let mut file = File::open(&run.path)?;
            file.seek(SeekFrom::Start(*offset))?;
            Ok(file)
        };
        let file = open().map_err(ImportError::io("open", &run.path))?;
        let mut cursor = Self { run, file: BufReader::new(file), left: *series, number: 0, count: 0 };
        Ok(cursor.next()?.then_some(cursor))
    }

    /// Moves to the next series; `false` when there is none.
    fn next(&mut self) -> Result<bool, ImportError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(false) };
        self.left = left;
        let [number, count] = [self.word()?, self.word()?].map(u32::from_le_bytes);
        (self.number, self.count) = (number, count);
        Ok(true)
    }

    fn word<const N: usize>(&mut self) -> Result<[u8; N], ImportError> {
        let mut word = [0; N];
        self.file.read_exact(&mut word).map_err(ImportError::io("read", &self.run.path))?;
        Ok(word)
    }

    fn take(&mut self, into: &mut SampleColumns) -> Result<(), ImportError> {
        for _ in 0..self.count {
            into.timestamps_ms.push(i64::from_le_bytes(self.word()?));
        }
        for _ in 0..self.count {
            into.values.push(f64::from_bits(u64::from_le_bytes(self.word()?)));
        }
        Ok(())
    }
}

impl Source for Spooled {
    fn days(&self) -> Vec<i64> {
        let days: BTreeSet<i64> = self.runs.iter().flat_map(|run| run.days.keys().copied()).collect();
        days.into_iter().collect()
    }

    fn digest(&self, day: i64) -> u128 {
        xxh3_128(&[self.digest.to_le_bytes().as_slice(), &day.to_le_bytes()].concat())
    }

    fn visit(&self, day: i64, each: &mut EachSeries<'_>) -> Result<(), ImportError> {
        let mut cursors = Vec::new();
        for run in &self.runs {
            cursors.extend(Cursor::open(run, day)?);
        }
        let rank = |cursor: &Cursor<'_>| self.ranks.get(cursor.number as usize).copied();
        while let Some(next) = cursors.iter().min_by_key(|cursor| rank(cursor)).map(|cursor| cursor.number) {
            let mut series = ImportedSeries::default();
            if let Some((labels, hash, metric_type)) = self.series.get(next as usize) {
                (series.labels, series.hash, series.metric_type) = (labels.clone(), *hash, *metric_type);
            }
            let mut remaining = Vec::with_capacity(cursors.len());
            for mut cursor in cursors {
                let mut goes_on = true;
                if cursor.number == next {
                    cursor.take(&mut series.floats)?;
                    goes_on = cursor.next()?;
                }
                if goes_on {
                    remaining.push(cursor);
                }
            }
            cursors = remaining;
            super::tidy(&mut series);
            each(&series)?;
        }
        Ok(())
    }
}
