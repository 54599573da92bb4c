//! The files of native histograms.

use super::super::error::BlockError;
use super::super::schema::{self, HIST_BUCKETS_FILE, HISTOGRAMS_FILE, column as c};
use super::damaged;
use super::rows::{Block, primitive, u32s};
use super::samples::Numbers;
use arrow::array::AsArray;
use arrow::datatypes::Int32Type;

pub(super) fn check(block: &mut Block<'_>) -> Result<(), BlockError> {
    let rows = check_histograms(block)?;
    let mut counts = vec![0u64; block.series.len()];
    let mut last = None;
    block.each_batch(HIST_BUCKETS_FILE, &schema::hist_buckets(), |_, file, batch| {
        let numbers = Numbers::of(batch, "");
        let negative =
            batch.column_by_name(c::NEGATIVE).map(|column| column.as_boolean()).expect("a column of the schema");
        let buckets = primitive::<Int32Type>(batch, c::BUCKET);
        let (ids, ts_rows) = (u32s(batch, c::SERIES_ID), u32s(batch, c::TS_ROW));
        for (at, (id, row)) in ids.iter().zip(ts_rows).enumerate() {
            let key = (*id, negative.value(at), buckets.value(at), *row);
            let known = rows.binary_search(&(*id, *row)).is_ok();
            if last >= Some(key) || !known || numbers.kind(at).is_none() {
                return Err(damaged(&file.name, 0, format!("bucket {key:?} is out of order or of no histogram")));
            }
            last = Some(key);
            if let Some(count) = counts.get_mut(*id as usize) {
                *count += 1;
            }
        }
        Ok(())
    })?;
    block.compare_counts(HIST_BUCKETS_FILE, counts.into_iter(), |series| series.buckets)
}

/// Series and timestamp row of each histogram.
fn check_histograms(block: &mut Block<'_>) -> Result<Vec<(u32, u32)>, BlockError> {
    let mut found: Vec<(u32, u32)> = Vec::new();
    let columns = schema::histograms(block.meta.thinned_ms > 0);
    block.each_batch(HISTOGRAMS_FILE, &columns, |block, file, batch| {
        let numbers = [c::COUNT, c::ZERO_COUNT, c::SUM].map(|name| Numbers::of(batch, &c::of_number(name, "")));
        for (at, key) in
            u32s(batch, c::SERIES_ID).iter().copied().zip(u32s(batch, c::TS_ROW).iter().copied()).enumerate()
        {
            let timeline = block.timeline.get(key.1 as usize).map(|(timeline, _)| *timeline);
            let expected = block.series.get(key.0 as usize).and_then(|series| series.histogram_timeline_id);
            let placed = timeline.is_some() && timeline == expected && found.last() < Some(&key);
            if !placed || numbers.iter().any(|numbers| numbers.kind(at).is_none()) {
                return Err(damaged(&file.name, 0, format!("histogram {key:?} is out of order or malformed")));
            }
            found.push(key);
        }
        Ok(())
    })?;
    let mut counts = vec![0u64; block.series.len()];
    for (id, _) in &found {
        if let Some(count) = counts.get_mut(*id as usize) {
            *count += 1;
        }
    }
    block.compare_counts(HISTOGRAMS_FILE, counts.into_iter(), |series| series.histograms.into())?;
    Ok(found)
}
