//! Writes one day of a source to a block.

use super::{ImportError, ImportedSeries, Source, Watch};
use crate::block::meta::ulid;
use crate::block::timeline::{GroupKey, TimelineChoice, TimelinePlanner};
use crate::block::writer::{BlockSpec, BlockWriter, Floats, Histograms, Layout, SeriesInput};
use crate::lifecycle::StagedBlock;
use crate::store::StoreError;
use hashbrown::HashMap;
use std::path::Path;

/// Level of imported blocks: whole days, as a compaction leaves them.
const LEVEL: u8 = 1;

/// What the first visit found out.
#[derive(Default)]
struct Plan {
    planner: TimelinePlanner,
    /// In the order of the visit, floats before histograms.
    choices: Vec<TimelineChoice>,
    names: HashMap<String, u64>,
    series: u64,
}

impl Plan {
    fn add(&mut self, series: &ImportedSeries) {
        let labels = &series.labels;
        let group = GroupKey {
            job: labels.get("job").unwrap_or_default(),
            instance: labels.get("instance").unwrap_or_default(),
        };
        for times in [&series.floats.timestamps_ms, &series.histograms.timestamps_ms] {
            if !times.is_empty() {
                self.choices.push(self.planner.add(group, times, None));
            }
        }
        for (name, _) in labels.iter() {
            *self.names.entry_ref(name).or_default() += 1;
        }
        self.series += 1;
    }

    /// The most frequent first.
    fn take_names(&mut self) -> Vec<String> {
        let mut names: Vec<(String, u64)> = self.names.drain().collect();
        names.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        names.into_iter().map(|(name, _)| name).collect()
    }
}

/// Writes a day to a block below `staging`; `None` when the day has no samples.
pub(super) fn write_day(
    source: &dyn Source,
    day: i64,
    staging: &Path,
    tenant: &str,
    now_ms: i64,
    watch: &dyn Watch,
) -> Result<Option<StagedBlock>, ImportError> {
    let mut plan = Plan::default();
    source.visit(day, &mut |series| {
        plan.add(series);
        Ok(())
    })?;
    if plan.series == 0 {
        return Ok(None);
    }
    let spec = BlockSpec {
        ulid: ulid(now_ms.max(0).unsigned_abs(), source.digest(day)),
        tenant: tenant.to_owned(),
        level: LEVEL,
        resolution_ms: 0,
        sources: Vec::new(),
        label_names: plan.take_names(),
        layout: Layout::of_level(LEVEL),
    };
    let dir = staging.join(&spec.ulid);
    watch.begin(&crate::block::meta::date(day.saturating_mul(crate::lifecycle::window::DAY_MS)), plan.series);
    let timelines = plan.planner.finish().map_err(StoreError::from)?;
    let mut writer = BlockWriter::create(&dir, spec, timelines).map_err(StoreError::from)?;
    let mut choices = plan.choices.into_iter();
    source.visit(day, &mut |series| {
        let labels: Vec<(&str, &str)> = series.labels.iter().collect();
        let mut choose = |is_empty: bool| if is_empty { None } else { choices.next() };
        let input = SeriesInput {
            labels: &labels,
            hash: series.hash,
            metric_type: series.metric_type,
            floats: Floats {
                timestamps_ms: &series.floats.timestamps_ms,
                values: &series.floats.values,
                starts_ms: &[],
                timeline: choose(series.floats.is_empty()),
                token: None,
            },
            histograms: Histograms {
                timestamps_ms: &series.histograms.timestamps_ms,
                histograms: &series.histograms.histograms,
                starts_ms: &[],
                timeline: choose(series.histograms.is_empty()),
            },
            exemplars: &[],
        };
        writer.push(&input).map_err(StoreError::from)?;
        watch.advance(1);
        Ok(())
    })?;
    let meta = writer.finish().map_err(StoreError::from)?;
    Ok(Some(StagedBlock { dir, meta }))
}
