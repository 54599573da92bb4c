//! Puts samples that come in any order into the order of blocks, with more of them than memory holds.
//!
//! Samples are collected up to a bound, sorted by day, series and time, and written to a file as one run; a visit merges the runs.
//! Labels of all series stay in memory. Many runs are merged into one, so that few files are open in a visit. A run is, by day and series:
//!
//! ```text
//! series u32 | count u32 | times i64 … | values f64 …      little-endian; read by nobody but the process that wrote it
//! ```

use super::room::Room;
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

/// More runs become one.
const RUNS_MAX: usize = 128;

/// A series by its number, in order of appearance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolSeries(u32);

/// Takes samples.
pub struct Spool {
    directory: PathBuf,
    room: Room,
    samples_max: usize,
    known: HashMap<LabelHash, u32>,
    series: Vec<(Labels, LabelHash, MetricType)>,
    /// Numbers of series in the order of blocks, as far as they have been sorted.
    sorted: Vec<u32>,
    buffer: Vec<(u32, i64, f64)>,
    runs: Vec<Run>,
    /// Runs that were written, merged ones included.
    written: usize,
}

struct Run {
    path: PathBuf,
    /// Where each day begins and how many series it has.
    days: BTreeMap<i64, (u64, u32)>,
}

impl Spool {
    /// Takes samples into files of a directory, whenever there are more than the room has place for.
    #[must_use]
    pub fn new(directory: &Path, room: &Room) -> Self {
        Self {
            directory: directory.to_owned(),
            room: room.clone(),
            samples_max: room.samples_max(),
            known: HashMap::new(),
            series: Vec::new(),
            sorted: Vec::new(),
            buffer: Vec::new(),
            runs: Vec::new(),
            written: 0,
        }
    }

    /// The number of a series.
    ///
    /// # Errors
    /// There is no room for the labels of one more.
    ///
    /// # Panics
    /// With more than 2^32 series, which no memory holds.
    pub fn series(&mut self, labels: &Labels, metric_type: MetricType) -> Result<SpoolSeries, ImportError> {
        let hash = LabelHash::of_pairs(labels.iter(), &mut Vec::new());
        if let Some(number) = self.known.get(&hash) {
            return Ok(SpoolSeries(*number));
        }
        self.room.add_labels(text_bytes(labels))?;
        let number = u32::try_from(self.series.len()).expect("memory holds fewer series");
        self.known.insert(hash, number);
        self.series.push((labels.clone(), hash, metric_type));
        Ok(SpoolSeries(number))
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
        self.room.note_samples(self.buffer.len());
        let ranks = self.ranks();
        let rank = |number: u32| ranks.get(number as usize).copied().unwrap_or_default();
        self.buffer.sort_by_key(|(number, at_ms, _)| (day_of(*at_ms), rank(*number), *at_ms));
        let mut run = self.begin_run()?;
        let mut columns = SampleColumns::default();
        for group in self.buffer.chunk_by(|a, b| (a.0, day_of(a.1)) == (b.0, day_of(b.1))) {
            let Some((number, at_ms, _)) = group.first() else { continue };
            columns.clear();
            group.iter().for_each(|(_, at_ms, value)| columns.push(*at_ms, *value));
            run.write(day_of(*at_ms), *number, &columns)?;
        }
        self.runs.push(run.finish()?);
        self.buffer.clear();
        self.room.note_samples(0);
        if self.runs.len() >= RUNS_MAX { self.merge_runs(&ranks) } else { Ok(()) }
    }

    fn begin_run(&mut self) -> Result<RunWriter, ImportError> {
        let path = self.directory.join(format!("run-{}", self.written));
        self.written += 1;
        RunWriter::create(path)
    }

    /// Makes one run of all. Samples of an earlier one come first, so that of several at one time the first stays.
    fn merge_runs(&mut self, ranks: &[u32]) -> Result<(), ImportError> {
        let mut merged = self.begin_run()?;
        for day in days_of(&self.runs) {
            each_of(&self.runs, ranks, day, &mut |number, columns| merged.write(day, number, columns))?;
        }
        let merged = merged.finish()?;
        for run in std::mem::replace(&mut self.runs, vec![merged]) {
            std::fs::remove_file(&run.path).map_err(ImportError::io("remove", &run.path))?;
        }
        Ok(())
    }
}

/// Bytes of a label set's text.
pub(super) fn text_bytes(labels: &Labels) -> usize {
    labels.iter().map(|(name, value)| name.len() + value.len() + 2).sum()
}

fn days_of(runs: &[Run]) -> BTreeSet<i64> {
    runs.iter().flat_map(|run| run.days.keys().copied()).collect()
}

/// A run that is being written.
struct RunWriter {
    run: Run,
    file: BufWriter<File>,
    offset: u64,
}

impl RunWriter {
    fn create(path: PathBuf) -> Result<Self, ImportError> {
        let file = File::create(&path).map_err(ImportError::io("create", &path))?;
        Ok(Self { run: Run { path, days: BTreeMap::new() }, file: BufWriter::new(file), offset: 0 })
    }

    /// Appends what a series has of a day.
    fn write(&mut self, day: i64, number: u32, samples: &SampleColumns) -> Result<(), ImportError> {
        let (_, series) = self.run.days.entry(day).or_insert((self.offset, 0));
        *series += 1;
        self.offset += 8 + 16 * samples.len() as u64;
        let mut write = || {
            self.file.write_all(&number.to_le_bytes())?;
            self.file.write_all(&(samples.len() as u32).to_le_bytes())?;
            for at_ms in &samples.timestamps_ms {
                self.file.write_all(&at_ms.to_le_bytes())?;
            }
            for value in &samples.values {
                self.file.write_all(&value.to_bits().to_le_bytes())?;
            }
            Ok(())
        };
        write().map_err(ImportError::io("write", &self.run.path))
    }

    fn finish(mut self) -> Result<Run, ImportError> {
        self.file.flush().map_err(ImportError::io("write", &self.run.path))?;
        Ok(self.run)
    }
}

/// Takes what a series, by its number, has of a day: in no order, of several samples at one time the one that came first first.
type EachRunSeries<'e> = dyn FnMut(u32, &SampleColumns) -> Result<(), ImportError> + 'e;

/// Goes through a day of all runs together, in the order of blocks.
fn each_of(runs: &[Run], ranks: &[u32], day: i64, each: &mut EachRunSeries<'_>) -> Result<(), ImportError> {
    let mut cursors = Vec::new();
    for run in runs {
        cursors.extend(Cursor::open(run, day)?);
    }
    let rank = |cursor: &Cursor<'_>| ranks.get(cursor.number as usize).copied();
    let mut columns = SampleColumns::default();
    while let Some(next) = cursors.iter().min_by_key(|cursor| rank(cursor)).map(|cursor| cursor.number) {
        columns.clear();
        let mut remaining = Vec::with_capacity(cursors.len());
        for mut cursor in cursors {
            let mut goes_on = true;
            if cursor.number == next {
                cursor.take(&mut columns)?;
                goes_on = cursor.next()?;
            }
            if goes_on {
                remaining.push(cursor);
            }
        }
        cursors = remaining;
        each(next, &columns)?;
    }
    Ok(())
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
        days_of(&self.runs).into_iter().collect()
    }

    fn digest(&self, day: i64) -> u128 {
        xxh3_128(&[self.digest.to_le_bytes().as_slice(), &day.to_le_bytes()].concat())
    }

    fn visit(&self, day: i64, each: &mut EachSeries<'_>) -> Result<(), ImportError> {
        each_of(&self.runs, &self.ranks, day, &mut |number, columns| {
            let mut series = ImportedSeries { floats: columns.clone(), ..ImportedSeries::default() };
            if let Some((labels, hash, metric_type)) = self.series.get(number as usize) {
                (series.labels, series.hash, series.metric_type) = (labels.clone(), *hash, *metric_type);
            }
            super::tidy(&mut series);
            each(&series)
        })
    }
}
