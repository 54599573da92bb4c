//! Carries an import out: day by day, each committed as a whole as soon as it is written.

use super::room::Room;
use super::write::write_day;
use super::{EachSeries, ImportError, ImportedSeries, Source, Watch};
use crate::block::meta::{date, ulid};
use crate::lifecycle::window::DAY_MS;
use crate::lifecycle::{Change, publish};
use crate::manifest::{Epoch, Manifest, ManifestError, Role};
use crate::offline::BlockStore;
use crate::store::StoreError;
use crate::tiers::days::TierCoverage;
use crate::wal::pool::now_ms;
use model::sample::SampleColumns;
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
    /// Days of which only tiers are left in the store: their floats were left out.
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
        let (tenant, histograms) = (store.tenant(), HistogramsOnly(source));
        let is_expired = TierCoverage::of(manifest.blocks.iter()).expired.contains(day.saturating_mul(DAY_MS) + 1);
        if is_expired {
            report.days_expired += 1;
            let date = date(day.saturating_mul(DAY_MS));
            watch.note(&format!(
                "the samples of {date} have expired, tiers take no more: floats of that day are left out"
            ));
        }
        let of_day: &dyn Source = if is_expired { &histograms } else { source };
        let blocks = write_day(of_day, day, (staging, tenant), now_ms(), &options.room, watch)?;
        if blocks.is_empty() {
            continue;
        }
        commit(store, &mut epoch, &blocks)?;
        report.days += 1;
        for block in &blocks {
            report.series += block.meta.series;
            report.samples += block.meta.samples + block.meta.histograms;
            report.bytes += block.meta.bytes();
            std::fs::remove_dir_all(&block.dir).map_err(ImportError::io("remove", &block.dir))?;
        }
        fail::fail_point!("import-day-committed");
    }
    Ok(report)
}

/// A source without its floats.
struct HistogramsOnly<'s>(&'s dyn Source);

impl Source for HistogramsOnly<'_> {
    fn days(&self) -> Vec<i64> {
        self.0.days()
    }

    fn digest(&self, day: i64) -> u128 {
        self.0.digest(day)
    }

    fn visit(&self, day: i64, each: &mut EachSeries<'_>) -> Result<(), ImportError> {
        self.0.visit(day, &mut |series| {
            let ImportedSeries { labels, hash, metric_type, histograms, .. } = series;
            if histograms.is_empty() {
                return Ok(());
            }
            each(&ImportedSeries {
                labels: labels.clone(),
                hash: *hash,
                metric_type: *metric_type,
                floats: SampleColumns::default(),
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
    staged: &[crate::lifecycle::StagedBlock],
) -> Result<(), ImportError> {
    for _ in 0..CLAIMS_MAX {
        let held = match *epoch {
            Some(held) => held,
            None => *epoch.insert(store.claim(Role::Compactor)?),
        };
        let chain = store.chain();
        match store.io().wait(async { publish(chain, held, staged, &Change::default()).await }) {
            Ok(_) => return Ok(()),
            Err(ManifestError::Fenced { .. }) => *epoch = None,
            Err(error) => return Err(StoreError::from(error).into()),
        }
    }
    Err(StoreError::from(ManifestError::Contended { attempts: CLAIMS_MAX }).into())
}
