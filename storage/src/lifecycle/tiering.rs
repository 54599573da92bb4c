//! Makes blocks of tiers, from samples or from finer buckets. What is deleted or expired is left out: of samples exactly, of
//! buckets all that have any of it.

use super::compaction::{Keep, SERIES_AT_ONCE, Wanted, visit};
use super::expiring::Expiring;
use super::flush::StagedBlock;
use super::publish::Change;
use super::tiering_plan::{TierBuild, TierStep, plan};
use super::window::DAY_MS;
use super::worker::Lifecycle;
use crate::append::LabelHash;
use crate::block::meta::ulid;
use crate::block::read::{Block, retain_buckets};
use crate::block::writer::{BlockSpec, Layout, TierWriter};
use crate::manifest::Role;
use crate::select::TimeRange;
use crate::store::selection::Hide;
use crate::store::view::BlockView;
use crate::store::{Io, StoreError};
use crate::wal::pool::now_ms;
use hashbrown::HashSet;
use model::bucket::{BucketColumns, BucketFields, aggregate, coarsen};
use model::labels::Labels;
use model::metadata::MetricType;
use model::sample::SampleColumns;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Level of the blocks of tiers: they are written for the long term.
const LEVEL: u8 = 1;

impl Lifecycle {
    /// Makes or drops one thing; returns whether there may be more to do. Without a policy nothing is due.
    pub(super) fn tier(&mut self, now_ms: i64) -> Result<bool, StoreError> {
        let (view, retention) = (self.shared.view(), self.shared.retention());
        let Some(policy) = &retention.tiers else { return Ok(false) };
        let floor_ms = self.shared.engine.head().read_floor_ms();
        let metas = view.blocks.iter().map(|block| block.meta().as_ref());
        let expiring =
            |ulids: &[String]| Expiring::of(metas.clone().filter(|block| ulids.contains(&block.ulid)), &view.manifest);
        // One damaged block keeps its day from being made, not the others.
        let can_read = |ulid: &str| self.shared.damage.of(ulid).is_none();
        let can_do = |step: &TierStep| match step {
            TierStep::Drop(_) => true,
            TierStep::Expire(ulids) => self.close(expiring(ulids).as_ref()),
            TierStep::Thin(ulid, _) => can_read(ulid) && self.close(expiring(std::slice::from_ref(ulid)).as_ref()),
            TierStep::Build(TierBuild { finer: Some(finer), .. }) => can_read(finer),
            TierStep::Build(TierBuild { day, .. }) => {
                view.raw_within(range_of(*day)).all(|block| can_read(&block.meta().ulid))
            }
        };
        match plan(metas.clone(), policy, now_ms, floor_ms, &self.late_days(), &can_do) {
            None => Ok(false),
            Some(TierStep::Thin(ulid, resolution_ms)) => {
                let Some(block) = view.blocks.iter().find(|block| block.meta().ulid == ulid) else { return Ok(false) };
                let keep = Keep::Histograms(resolution_ms);
                self.rewrite_keeping(keep, std::slice::from_ref(block), LEVEL, Vec::new())?;
                self.expired(1).map(|()| true)
            }
            Some(TierStep::Drop(remove)) => self.drop_blocks(remove, None).map(|()| true),
            Some(TierStep::Expire(remove)) => {
                let expiring = expiring(&remove);
                self.drop_blocks(remove, expiring).map(|()| true)
            }
            Some(TierStep::Build(build)) => {
                self.build(&build, &view.blocks, now_ms)?;
                Ok(true)
            }
        }
    }

    /// Writes a block of a tier anew, without what is deleted by now.
    pub(super) fn rewrite_tier(&mut self, block: &Block) -> Result<String, StoreError> {
        let meta = block.meta();
        let build = TierBuild {
            day: super::window::day_of(meta.min_ms.saturating_sub(1)),
            resolution_ms: i64::try_from(meta.resolution_ms).unwrap_or(i64::MAX),
            finer: Some(meta.ulid.clone()),
            replaces: vec![meta.ulid.clone()],
            created_ms: now_ms().max(crate::block::meta::created_ms(&meta.ulid).saturating_add(1)),
            sources: meta.sources.clone(),
        };
        self.build(&build, std::slice::from_ref(block), now_ms())
    }

    /// Returns the identity of what it made.
    fn build(&mut self, build: &TierBuild, blocks: &[Block], now_ms: i64) -> Result<String, StoreError> {
        let started = Instant::now();
        let (view, retention) = (self.shared.view(), self.shared.retention());
        let hide = |labels: &Labels, since| retention.hidden_by_class(labels, &view.deletions, since, now_ms);
        let hide = Hidden { hide: &hide, view: &view };
        let (io, tenant) = (self.shared.io.clone(), self.shared.options.tenant.clone());
        let inputs: Vec<Block> = match &build.finer {
            Some(finer) => blocks.iter().filter(|block| block.meta().ulid == *finer).cloned().collect(),
            None => view.raw_within(range_of(build.day)).cloned().collect(),
        };
        let built = match build.finer {
            Some(_) => from_tier(&io, &inputs, build, &self.staging, &tenant, hide),
            None => from_samples(&io, &inputs, build, &self.staging, &tenant, hide),
        };
        match &built {
            Ok(_) => self.shared.damage.clear(&inputs),
            Err(error) => drop(self.shared.damage.note(&inputs, error)),
        }
        let staged = built?;
        fail::fail_point!("tier-written");
        let (rows, made) = (staged.meta.samples, staged.meta.ulid.clone());
        let staged = [staged];
        let deleted_up_to = Some(view.manifest.version);
        let change = Change { remove: build.replaces.clone(), deleted_up_to, ..Change::default() };
        let published = self.publish(Role::Compactor, &staged, &change);
        self.unstage(&staged);
        published?;
        self.shared.follow()?;
        self.shared.counters.compaction.succeeded(rows, started.elapsed());
        Ok(made)
    }
}

/// What the buckets of a day hold.
fn range_of(day: i64) -> TimeRange {
    let after_ms = day.saturating_mul(DAY_MS);
    TimeRange { after_ms, until_ms: after_ms.saturating_add(DAY_MS) }
}

/// What of a series is left out, and what tells since when the inputs are there.
#[derive(Clone, Copy)]
struct Hidden<'h> {
    hide: Hide<'h>,
    view: &'h BlockView,
}

fn create(
    inputs: &[Block],
    build: &TierBuild,
    staging: &Path,
    tenant: &str,
) -> Result<(std::path::PathBuf, TierWriter), StoreError> {
    let mut known = HashSet::new();
    let names = inputs.iter().flat_map(|block| &block.meta().label_columns);
    let label_names = names.filter(|name| known.insert(name.as_str())).cloned().collect();
    let spec = BlockSpec {
        ulid: ulid(build.created_ms.max(0).unsigned_abs(), rand::random()),
        tenant: tenant.to_owned(),
        level: LEVEL,
        resolution_ms: build.resolution_ms.unsigned_abs(),
        thinned_ms: 0,
        sources: build.sources.clone(),
        label_names,
        layout: Layout::of_level(LEVEL),
    };
    let dir = staging.join(&spec.ulid);
    let writer = TierWriter::create(&dir, spec, build.day)?;
    Ok((dir, writer))
}

fn from_samples(
    io: &Io,
    inputs: &[Block],
    build: &TierBuild,
    staging: &Path,
    tenant: &str,
    hidden: Hidden<'_>,
) -> Result<StagedBlock, StoreError> {
    let (dir, mut writer) = create(inputs, build, staging, tenant)?;
    let range = range_of(build.day);
    let Hidden { hide, view } = hidden;
    let wanted = Wanted { matchers: &[], range, all: false, hide, view };
    let (mut samples, mut buckets) = (SampleColumns::default(), BucketColumns::default());
    visit(io, inputs, &wanted, |series| {
        samples.clear();
        buckets.clear();
        let inside = |(time_ms, _): &(&i64, &f64)| **time_ms > range.after_ms && **time_ms <= range.until_ms;
        let all = series.floats.timestamps_ms.iter().zip(&series.floats.values);
        all.filter(inside).for_each(|(time_ms, value)| samples.push(*time_ms, *value));
        aggregate(&samples, build.resolution_ms, &mut buckets);
        Ok(writer.push(&series.labels, series.hash, series.metric_type, &buckets)?)
    })?;
    Ok(StagedBlock { dir, meta: writer.finish()? })
}

fn from_tier(
    io: &Io,
    inputs: &[Block],
    build: &TierBuild,
    staging: &Path,
    tenant: &str,
    hidden: Hidden<'_>,
) -> Result<StagedBlock, StoreError> {
    let (dir, mut writer) = create(inputs, build, staging, tenant)?;
    for block in inputs.iter().filter(|block| block.meta().series > 0) {
        let since = hidden.view.since(block);
        let finer_ms = i64::try_from(block.meta().resolution_ms).unwrap_or(i64::MAX);
        let opened = block.clone();
        let (series, labels, hashes, types) = io.wait(async move {
            let series = opened.select_all(&[]).await?;
            let (labels, hashes) = (series.labels(None).await?, series.hashes().await?);
            let types = series.metric_types().await?;
            Ok::<_, StoreError>((Arc::new(series), labels, hashes, types))
        })?;
        let (mut finer, mut buckets) = (BucketColumns::default(), BucketColumns::default());
        for first in (0..series.len()).step_by(SERIES_AT_ONCE) {
            let some = first..first.saturating_add(SERIES_AT_ONCE).min(series.len());
            let (of, indices) = (Arc::clone(&series), some.clone());
            let pages = io.wait(async move { of.fetch_buckets(indices, BucketFields::ALL).await })?;
            for index in some {
                let labels = labels.of(index)?;
                finer.clear();
                buckets.clear();
                series.read_buckets(&pages, index, (i64::MIN, i64::MAX), BucketFields::ALL, &mut finer)?;
                let hidden = (hidden.hide)(&labels, since);
                let keep = |end_ms: i64| !hidden.touch(end_ms - finer_ms + 1, end_ms);
                retain_buckets(&mut finer, BucketFields::ALL, |bucket| keep(bucket.end_ms));
                coarsen(&finer, build.resolution_ms, &mut buckets);
                let hash = hashes.get(index).copied().unwrap_or(LabelHash::default());
                let metric_type = types.get(index).copied().unwrap_or(MetricType::Unknown);
                writer.push(&labels, hash, metric_type, &buckets)?;
            }
        }
    }
    Ok(StagedBlock { dir, meta: writer.finish()? })
}
