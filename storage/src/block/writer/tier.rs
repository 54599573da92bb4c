//! Writes a block of a tier: the buckets of one UTC day, series by series in series order.
//!
//! The series file is that of every block; its rows count rows of buckets, `min_ts` and `max_ts` are the time that the buckets
//! of a series span. There is one timeline, of the ends of all buckets that a day can have, so that the row of an end follows
//! from its time. A block without series is written too: it says that the day has been looked at.

use super::super::error::BlockError;
use super::super::meta::BlockMeta;
use super::super::schema::{FORMAT_VERSION, SAMPLES_FILE};
use super::super::table::Kind;
use super::super::timeline::{GroupKey, TimelinePlan, TimelinePlanner};
use super::series::{SeriesRow, SeriesWriter};
use super::tables::Tables;
use super::{BATCH_ROWS, BlockSpec, Floats, Histograms, SeriesInput, metadata, seal, write_timelines};
use crate::append::LabelHash;
use crate::lifecycle::window::DAY_MS;
use crate::tiers::encode::TierRows;
use crate::tiers::schema::tier_samples;
use model::bucket::BucketColumns;
use model::labels::Labels;
use model::metadata::MetricType;
use std::path::{Path, PathBuf};

/// See the head of the file.
pub struct TierWriter {
    dir: PathBuf,
    spec: BlockSpec,
    /// The day begins here, exclusive as that of a bucket.
    start_ms: i64,
    resolution_ms: i64,
    plan: TimelinePlan,
    series: SeriesWriter,
    tables: Tables,
    rows: TierRows,
}

impl TierWriter {
    /// Begins the block of a day, counted from the epoch, in a directory, which is made if need be.
    ///
    /// # Errors
    /// The files cannot be made.
    pub fn create(dir: &Path, spec: BlockSpec, day: i64) -> Result<Self, BlockError> {
        std::fs::create_dir_all(dir).map_err(BlockError::io("create", dir))?;
        let (start_ms, resolution_ms) = (day.saturating_mul(DAY_MS), spec.resolution_ms.max(1) as i64);
        let ends: Vec<i64> = (1..=DAY_MS / resolution_ms).map(|n| start_ms + n * resolution_ms).collect();
        let mut planner = TimelinePlanner::default();
        planner.add(GroupKey { job: "", instance: "" }, &ends, None);
        Ok(Self {
            series: SeriesWriter::create(dir, &spec)?,
            tables: Tables::new(dir, SAMPLES_FILE, Kind::Samples, tier_samples(), spec.layout),
            rows: TierRows::new(resolution_ms),
            plan: planner.finish()?,
            dir: dir.to_owned(),
            spec,
            start_ms,
            resolution_ms,
        })
    }

    /// Appends a series that comes behind the one before it. One without buckets is left out.
    ///
    /// # Errors
    /// A file cannot be written.
    ///
    /// # Panics
    /// A bucket is of another day.
    pub fn push(
        &mut self,
        labels: &Labels,
        hash: LabelHash,
        metric_type: MetricType,
        buckets: &BucketColumns,
    ) -> Result<(), BlockError> {
        let (Some(first), Some(last)) = (buckets.ends_ms.first(), buckets.ends_ms.last()) else { return Ok(()) };
        assert!(*first > self.start_ms && *last <= self.start_ms + DAY_MS, "buckets of series {labels} of another day");
        if self.tables.is_full(self.rows.len(), buckets.len()) {
            self.write()?;
            self.tables.end_row_group()?;
        }
        let ts_row = |end_ms: &i64| ((end_ms - self.start_ms) / self.resolution_ms - 1) as u32;
        let ts_rows: Vec<u32> = buckets.ends_ms.iter().map(ts_row).collect();
        let row = SeriesRow {
            row_start: self.tables.rows() + self.rows.len() as u64,
            row_count: buckets.len() as u32,
            timeline_id: Some(0),
            ts_rows: Some((ts_row(first), ts_row(last))),
            times: Some((first - self.resolution_ms + 1, *last)),
            counter_resets: buckets.resets.iter().sum(),
            ..SeriesRow::default()
        };
        self.rows.push(self.series.len(), &ts_rows, buckets);
        let pairs: Vec<(&str, &str)> = labels.iter().collect();
        let (floats, histograms) = (Floats::default(), Histograms::default());
        let input = SeriesInput { labels: &pairs, hash, metric_type, floats, histograms, exemplars: &[] };
        self.series.push(&input, &row)?;
        if self.rows.len() >= BATCH_ROWS {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), BlockError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        self.tables.write(self.rows.take().columns().to_vec())
    }

    /// Completes the block, as [`BlockWriter::finish`](super::BlockWriter::finish).
    ///
    /// # Errors
    /// A file cannot be written or synced.
    pub fn finish(mut self) -> Result<BlockMeta, BlockError> {
        self.write()?;
        let Self { dir, spec, plan, series, tables, start_ms, .. } = self;
        let meta = BlockMeta {
            format_version: FORMAT_VERSION,
            ulid: spec.ulid.clone(),
            tenant: spec.tenant.clone(),
            level: spec.level,
            resolution_ms: spec.resolution_ms,
            min_ms: start_ms + 1,
            max_ms: start_ms + DAY_MS,
            series: u64::from(series.len()),
            samples: tables.rows(),
            histograms: 0,
            exemplars: 0,
            files: Vec::new(),
            sources: spec.sources.clone(),
            label_columns: series.label_columns().to_vec(),
            labels_overflow: series.has_overflow(),
            thinned_ms: 0,
        };
        let metadata = metadata(&meta, series.overflow());
        let timelines = write_timelines(&dir, &spec.layout, &plan)?;
        let mut all = vec![series.finish()?, timelines];
        all.extend(tables.finish(true)?);
        seal(&dir, meta, all, &metadata)
    }
}
