//! Writes one day of a source to blocks: one, or several that follow each other when the times of a day do not fit into memory.

use super::room::{Room, Share};
use super::{ImportError, ImportedSeries, Source, Watch};
use crate::block::meta::{date, ulid};
use crate::block::timeline::{GroupKey, TimelineChoice, TimelinePlanner};
use crate::block::writer::{BlockSpec, BlockWriter, Floats, Histograms, SeriesInput};
use crate::lifecycle::StagedBlock;
use crate::lifecycle::window::{DAY_MS, day_range};
use crate::store::StoreError;
use hashbrown::HashMap;
use model::histogram::Histogram;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::sync::Arc;

/// Level of imported blocks: whole days, as a compaction leaves them.
const LEVEL: u8 = 1;
/// Shorter parts of a day are not divided further.
const PART_MS_MIN: i64 = 60_000;

/// What a series has of a part of a day.
struct Cut<'s> {
    float_times: &'s [i64],
    values: &'s [f64],
    histogram_times: &'s [i64],
    histograms: &'s [Arc<Histogram>],
}

impl<'s> Cut<'s> {
    fn of(series: &'s ImportedSeries, part: &RangeInclusive<i64>) -> Self {
        let within = |times: &[i64]| -> Range<usize> {
            times.partition_point(|at| at < part.start())..times.partition_point(|at| at <= part.end())
        };
        let ImportedSeries { floats, histograms, .. } = series;
        let (of_floats, of_histograms) = (within(&floats.timestamps_ms), within(&histograms.timestamps_ms));
        Self {
            float_times: floats.timestamps_ms.get(of_floats.clone()).unwrap_or_default(),
            values: floats.values.get(of_floats).unwrap_or_default(),
            histogram_times: histograms.timestamps_ms.get(of_histograms.clone()).unwrap_or_default(),
            histograms: histograms.histograms.get(of_histograms).unwrap_or_default(),
        }
    }

    fn is_empty(&self) -> bool {
        self.float_times.is_empty() && self.histogram_times.is_empty()
    }
}

/// What the first visit found out.
#[derive(Default)]
struct Plan {
    planner: TimelinePlanner,
    /// In the order of the visit, floats before histograms.
    choices: Vec<TimelineChoice>,
    names: HashMap<String, u64>,
    series: u64,
    /// Bytes that its times take at most.
    bytes_bound: u64,
}

impl Plan {
    fn add(&mut self, series: &ImportedSeries, cut: &Cut<'_>, room: &Room) -> Result<(), ImportError> {
        let labels = &series.labels;
        let group = GroupKey {
            job: labels.get("job").unwrap_or_default(),
            instance: labels.get("instance").unwrap_or_default(),
        };
        for times in [cut.float_times, cut.histogram_times] {
            if !times.is_empty() {
                self.choices.push(self.planner.add(group, times, None));
                self.bytes_bound = self.bytes_bound.saturating_add(64 + 8 * times.len() as u64);
            }
        }
        for (name, _) in labels.iter() {
            *self.names.entry_ref(name).or_default() += 1;
        }
        self.series += 1;
        if self.bytes_bound > room.bytes_of(Share::Times) {
            // Series share timelines: it is less, most of the time.
            self.bytes_bound = self.planner.bytes();
            room.hold(Share::Times, self.bytes_bound)?;
            // Whatever is left may be counted that long without looking again.
            let left = room.bytes_of(Share::Times) - self.bytes_bound;
            self.bytes_bound = self.bytes_bound.saturating_sub(left);
        }
        Ok(())
    }

    /// The most frequent first.
    fn take_names(&mut self) -> Vec<String> {
        let mut names: Vec<(String, u64)> = self.names.drain().collect();
        names.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        names.into_iter().map(|(name, _)| name).collect()
    }
}

/// Writes a day to blocks below `staging`; none when the day has no samples.
pub(super) fn write_day(
    source: &dyn Source,
    day: i64,
    (staging, tenant): (&Path, &str),
    now_ms: i64,
    room: &Room,
    watch: &dyn Watch,
) -> Result<Vec<StagedBlock>, ImportError> {
    let mut written = Vec::new();
    // The first one last.
    let mut parts = vec![day_range(day)];
    while let Some(part) = parts.pop() {
        let mut plan = match plan(source, day, &part, room) {
            Err(ImportError::NoRoom { .. }) if part.end() - part.start() >= 2 * PART_MS_MIN => {
                let middle = part.start() + (part.end() - part.start()) / 2;
                parts.push(middle + 1..=*part.end());
                parts.push(*part.start()..=middle);
                continue;
            }
            plan => plan?,
        };
        if plan.series == 0 {
            continue;
        }
        let spec = BlockSpec {
            // All blocks of the day say what they were made from.
            ulid: ulid(now_ms.max(0).unsigned_abs() + written.len() as u64, source.digest(day)),
            tenant: tenant.to_owned(),
            level: LEVEL,
            resolution_ms: 0,
            thinned_ms: 0,
            sources: Vec::new(),
            label_names: plan.take_names(),
            layout: room.layout(LEVEL),
        };
        watch.begin(&date(day.saturating_mul(DAY_MS)), plan.series);
        written.push(write(source, day, &part, plan, staging, spec, watch)?);
    }
    Ok(written)
}

fn plan(source: &dyn Source, day: i64, part: &RangeInclusive<i64>, room: &Room) -> Result<Plan, ImportError> {
    let mut plan = Plan::default();
    source.visit(day, &mut |series| {
        let cut = Cut::of(series, part);
        if cut.is_empty() { Ok(()) } else { plan.add(series, &cut, room) }
    })?;
    room.hold(Share::Times, plan.planner.bytes())?;
    Ok(plan)
}

fn write(
    source: &dyn Source,
    day: i64,
    part: &RangeInclusive<i64>,
    plan: Plan,
    staging: &Path,
    spec: BlockSpec,
    watch: &dyn Watch,
) -> Result<StagedBlock, ImportError> {
    let dir = staging.join(&spec.ulid);
    let timelines = plan.planner.finish().map_err(StoreError::from)?;
    let mut writer = BlockWriter::create(&dir, spec, timelines).map_err(StoreError::from)?;
    let mut choices = plan.choices.into_iter();
    source.visit(day, &mut |series| {
        let cut = Cut::of(series, part);
        if cut.is_empty() {
            return Ok(());
        }
        let labels: Vec<(&str, &str)> = series.labels.iter().collect();
        let mut choose = |times: &[i64]| if times.is_empty() { None } else { choices.next() };
        let input = SeriesInput {
            labels: &labels,
            hash: series.hash,
            metric_type: series.metric_type,
            floats: Floats {
                timestamps_ms: cut.float_times,
                values: cut.values,
                starts_ms: &[],
                timeline: choose(cut.float_times),
                token: None,
            },
            histograms: Histograms {
                timestamps_ms: cut.histogram_times,
                histograms: cut.histograms,
                starts_ms: &[],
                left_out: &[],
                timeline: choose(cut.histogram_times),
            },
            exemplars: &[],
        };
        writer.push(&input).map_err(StoreError::from)?;
        watch.advance(1);
        Ok(())
    })?;
    let meta = writer.finish().map_err(StoreError::from)?;
    Ok(StagedBlock { dir, meta })
}
