//! Carries an import out: day by day, each committed as a whole as soon as it is written.

use super::room::Room;
use super::write::write_day;
use super::{EachSeries, ImportError, ImportedSeries, Source, Watch};
use crate::block::meta::{date, ulid};
use crate::lifecycle::window::DAY_MS;
use crate::lifecycle::{Change, StagedBlock, publish};
use crate::manifest::{Conflict, Epoch, Manifest, ManifestError, Role};
use crate::offline::BlockStore;
use crate::store::StoreError;
use crate::tiers::day_spans::DaySpans;
use crate::tiers::days::TierCoverage;
use crate::wal::pool::now_ms;
use model::sample::SampleColumns;
use std::cell::{Cell, RefCell};
use std::path::Path;

/// How often an import claims the right to publish again when a server took it back in between.
const CLAIMS_MAX: u32 = 20;

/// How an import is carried out.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// Whether days are written that were imported before.
    pub again: bool,
    /// The memory that it may take; the same as that of the source.
    pub room: Room,
}

/// What became of an import.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Days that were written.
    pub days: u64,
    /// Days that had been imported before and were left out.
    pub days_known: u64,
    /// Days with floats of which only tiers are left in the store: they were left out.
    pub days_expired: u64,
    /// Series in the blocks, counted for each day.
    pub series: u64,
    /// Float samples and native histograms.
    pub samples: u64,
    /// Of the blocks.
    pub bytes: u64,
}

/// Imports a source into blocks of a store; `staging` is where they are written first.
///
/// # Errors
/// The source cannot be read, or a block cannot be written or committed. Days that were committed before stay, and the same call
/// leaves them out.
pub fn run(
    store: &BlockStore,
    source: &dyn Source,
    staging: &Path,
    options: ImportOptions,
    watch: &dyn Watch,
) -> Result<ImportReport, ImportError> {
    let mut report = ImportReport::default();
    let mut epoch = None;
    for day in source.days() {
        let manifest = store.refresh()?;
        if !options.again && is_known(&manifest, source.digest(day)) {
            report.days_known += 1;
            watch.note(&format!("{} was imported before", date(day.saturating_mul(DAY_MS))));
            continue;
        }
        let (blocks, left_out) = import_day((store, &mut epoch), source, day, staging, &options.room, watch)?;
        report.days += u64::from(!blocks.is_empty());
        report.days_expired += u64::from(left_out);
        for block in &blocks {
            report.series += block.meta.series;
            report.samples += block.meta.samples + block.meta.histograms;
            report.bytes += block.meta.bytes();
            std::fs::remove_dir_all(&block.dir).map_err(ImportError::io("remove", &block.dir))?;
        }
    }
    Ok(report)
}

/// Writes and commits a day, whose samples may expire meanwhile; returns its blocks, and whether floats were left out.
fn import_day(
    (store, epoch): (&BlockStore, &mut Option<Epoch>),
    source: &dyn Source,
    day: i64,
    staging: &Path,
    room: &Room,
    watch: &dyn Watch,
) -> Result<(Vec<StagedBlock>, bool), ImportError> {
    loop {
        let expired = TierCoverage::of(store.refresh()?.blocks.iter()).expired;
        let of_day = Unexpired { source, expired, left_out: Cell::default(), float_days: RefCell::default() };
        let blocks = write_day(&of_day, day, (staging, store.tenant()), now_ms(), room, watch)?;
        match commit(store, epoch, &blocks, of_day.float_days.take()) {
            Err(ManifestError::Conflict(Conflict::Expired)) => {
                let mut dirs = blocks.iter().map(|block| &block.dir);
                dirs.try_for_each(|dir| std::fs::remove_dir_all(dir).map_err(ImportError::io("remove", dir)))?;
            }
            Err(error) => return Err(StoreError::from(error).into()),
            Ok(()) => {
                let left_out = of_day.left_out.get();
                if left_out > 0 {
                    let date = date(day.saturating_mul(DAY_MS));
                    watch.note(&format!(
                        "samples of {date} have expired, tiers take no more: floats of {left_out} series are left out"
                    ));
                }
                return Ok((blocks, left_out > 0));
            }
        }
    }
}

/// A source without the floats of days of which only tiers are left. The first moment of a day belongs to the day before.
struct Unexpired<'s> {
    source: &'s dyn Source,
    expired: DaySpans,
    /// Series of the last visit whose floats are not all there.
    left_out: Cell<u64>,
    /// The days of the floats of all visits.
    float_days: RefCell<DaySpans>,
}

impl Source for Unexpired<'_> {
    fn days(&self) -> Vec<i64> {
        self.source.days()
    }

    fn digest(&self, day: i64) -> u128 {
        self.source.digest(day)
    }

    fn visit(&self, day: i64, each: &mut EachSeries<'_>) -> Result<(), ImportError> {
        self.left_out.set(0);
        let start_ms = day.saturating_mul(DAY_MS);
        let has_expired = [start_ms, start_ms.saturating_add(1)].iter().any(|at_ms| self.expired.contains(*at_ms));
        let mut each = |series: &ImportedSeries| {
            let times = &series.floats.timestamps_ms;
            if let (Some(first_ms), Some(last_ms)) = (times.first(), times.last()) {
                self.float_days.borrow_mut().add(*first_ms, *last_ms);
            }
            each(series)
        };
        if !has_expired {
            return self.source.visit(day, &mut each);
        }
        self.source.visit(day, &mut |series| {
            let mut floats = SampleColumns::default();
            let samples = series.floats.timestamps_ms.iter().zip(&series.floats.values);
            let there = samples.filter(|(at_ms, _)| !self.expired.contains(**at_ms));
            there.for_each(|(at_ms, value)| floats.push(*at_ms, *value));
            self.left_out.update(|count| count + u64::from(floats.len() < series.floats.len()));
            if floats.is_empty() && series.histograms.is_empty() {
                return Ok(());
            }
            let ImportedSeries { labels, hash, metric_type, histograms, .. } = series;
            each(&ImportedSeries {
                labels: labels.clone(),
                hash: *hash,
                metric_type: *metric_type,
                floats,
                histograms: histograms.clone(),
            })
        })
    }
}

/// Whether a block of the manifest, or one that it was merged from, was made from this.
fn is_known(manifest: &Manifest, digest: u128) -> bool {
    let wanted = ulid(0, digest);
    let (_, wanted) = wanted.split_at(TIME_CHARS);
    let mut origins = manifest.blocks.iter().flat_map(|block| block.origins());
    origins.any(|origin| origin.get(TIME_CHARS..) == Some(wanted))
}

/// Characters of a ULID that say when it was made.
const TIME_CHARS: usize = 10;

/// A server that compacts meanwhile takes the right to do so back each time: the last one to ask has it.
fn commit(
    store: &BlockStore,
    epoch: &mut Option<Epoch>,
    staged: &[StagedBlock],
    float_days: DaySpans,
) -> Result<(), ManifestError> {
    if staged.is_empty() {
        return Ok(());
    }
    let (chain, change) = (store.chain(), Change { imported: float_days, ..Change::default() });
    for _ in 0..CLAIMS_MAX {
        let held = match *epoch {
            Some(held) => held,
            None => *epoch.insert(store.io().wait(chain.claim(Role::Compactor))?),
        };
        match store.io().wait(async { publish(chain, held, staged, &change).await }) {
            Ok(_) => return Ok(()),
            Err(ManifestError::Fenced { .. }) => *epoch = None,
            Err(error) => return Err(error),
        }
    }
    Err(ManifestError::Contended { attempts: CLAIMS_MAX })
}
