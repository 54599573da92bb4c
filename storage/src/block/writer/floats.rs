//! The samples files.

use super::super::columns::{Numbers, Starts, extend_rows, take_u32};
use super::super::error::BlockError;
use super::super::number::Scale;
use super::super::schema::{self, SAMPLES_FILE};
use super::super::table::{Kind, Layout, Table};
use super::super::timeline::{Rows, TimelineChoice, TimelinePlan};
use super::series::SeriesRow;
use super::tables::Tables;
use super::{BATCH_ROWS, Floats};
use std::path::Path;

pub(super) struct FloatWriter {
    tables: Tables,
    series_ids: Vec<u32>,
    ts_rows: Vec<u32>,
    numbers: Numbers,
    starts: Starts,
    /// Of each timeline, what was found for the newest token.
    located: Vec<Option<Located>>,
    scratch: Vec<u32>,
}

/// Timestamps without a gap in their timeline.
#[derive(Debug, Clone, Copy)]
struct Located {
    token: u64,
    first_row: u32,
    step_ms: u32,
    len: usize,
}

impl FloatWriter {
    pub(super) fn new(dir: &Path, layout: Layout, plan: &TimelinePlan) -> Self {
        Self {
            tables: Tables::new(dir, SAMPLES_FILE, Kind::Samples, schema::samples(), layout),
            series_ids: Vec::with_capacity(BATCH_ROWS),
            ts_rows: Vec::with_capacity(BATCH_ROWS),
            numbers: Numbers::new(BATCH_ROWS),
            starts: Starts::default(),
            located: vec![None; plan.iter().count()],
            scratch: Vec::new(),
        }
    }

    pub(super) fn rows(&self) -> u64 {
        self.tables.rows() + self.series_ids.len() as u64
    }

    pub(super) fn push(
        &mut self,
        id: u32,
        floats: &Floats<'_>,
        plan: &TimelinePlan,
        row: &mut SeriesRow,
    ) -> Result<(), BlockError> {
        row.row_start = self.rows();
        let (Some(&first), Some(&last)) = (floats.timestamps_ms.first(), floats.timestamps_ms.last()) else {
            return Ok(());
        };
        let count = floats.values.len();
        assert_eq!(count, floats.timestamps_ms.len(), "a value for each timestamp");
        assert!(floats.starts_ms.is_empty() || floats.starts_ms.len() == count, "a start for each timestamp or none");
        if self.tables.is_full(self.series_ids.len(), count) {
            self.write()?;
            self.tables.end_row_group()?;
        }
        let choice = floats.timeline.expect("samples that were planned");
        let mut scratch = std::mem::take(&mut self.scratch);
        let (rows, step_ms) = self.locate(choice, floats, plan, &mut scratch);
        let scale = Scale::of(floats.values);
        row.row_count = u32::try_from(count).map_err(|_| BlockError::TooMany { what: "samples of one series" })?;
        row.timeline_id = Some(TimelinePlan::id(choice));
        row.ts_rows = Some(match rows {
            Rows::Consecutive(first) => (first, first + count as u32 - 1),
            Rows::Listed(rows) => (rows.first().copied().unwrap_or(0), rows.last().copied().unwrap_or(0)),
        });
        row.divisor = Some(scale.divisor());
        row.step_ms = step_ms;
        row.times = Some((first, last));
        row.counter_resets = count_resets(floats.values);
        self.push_rows(id, floats, scale, rows, row)?;
        self.scratch = scratch;
        Ok(())
    }

    /// Where the timestamps are, and how far apart they all are.
    fn locate<'a>(
        &mut self,
        choice: TimelineChoice,
        floats: &Floats<'_>,
        plan: &TimelinePlan,
        scratch: &'a mut Vec<u32>,
    ) -> (Rows<'a>, u32) {
        let cached = self.located.get_mut(TimelinePlan::id(choice) as usize);
        let len = floats.timestamps_ms.len();
        if let (Some(Some(known)), Some(token)) = (&cached, floats.token)
            && known.token == token
            && known.len == len
        {
            return (Rows::Consecutive(known.first_row), known.step_ms);
        }
        let rows = plan.locate(choice, floats.timestamps_ms, scratch).expect("timestamps that were planned");
        let step_ms = step_ms(floats.timestamps_ms);
        if let (Rows::Consecutive(first_row), Some(cached), Some(token)) = (rows, cached, floats.token) {
            *cached = Some(Located { token, first_row, step_ms, len });
        }
        (rows, step_ms)
    }

    fn push_rows(
        &mut self,
        id: u32,
        floats: &Floats<'_>,
        scale: Scale,
        rows: Rows<'_>,
        row: &mut SeriesRow,
    ) -> Result<(), BlockError> {
        let mut done = 0;
        while let Some(rest) = floats.values.get(done..).filter(|rest| !rest.is_empty()) {
            if self.series_ids.len() >= BATCH_ROWS {
                self.write()?;
            }
            let count = rest.len().min(BATCH_ROWS - self.series_ids.len());
            let (values, _) = rest.split_at(count);
            self.series_ids.resize(self.series_ids.len() + count, id);
            extend_rows(&mut self.ts_rows, rows.part(done, count), count);
            let kinds = self.numbers.push_all(scale, values);
            row.raw_count += kinds.raw;
            row.stale_count += kinds.stale;
            let starts = floats.starts_ms.get(done..done + count).unwrap_or_default();
            row.has_starts |= self.starts.push_all(starts, count);
            done += count;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), BlockError> {
        if self.series_ids.is_empty() {
            return Ok(());
        }
        let [mantissa, divisor, raw] = self.numbers.take();
        let (ids, rows) = (take_u32(&mut self.series_ids), take_u32(&mut self.ts_rows));
        self.tables.write(vec![ids, rows, mantissa, divisor, raw, self.starts.take()])
    }

    pub(super) fn finish(mut self) -> Result<Vec<Table>, BlockError> {
        self.write()?;
        self.tables.finish(true)
    }
}

fn step_ms(timestamps_ms: &[i64]) -> u32 {
    let (first, second) = match timestamps_ms {
        [first, second, ..] => (*first, *second),
        _ => return 0,
    };
    let step = second.wrapping_sub(first);
    let same = timestamps_ms.windows(2).fold(true, |same, pair| match pair {
        [a, b] => same & (b.wrapping_sub(*a) == step),
        _ => same,
    });
    u32::try_from(step).ok().filter(|_| same).unwrap_or(0)
}

fn count_resets(values: &[f64]) -> u32 {
    let falls = values.iter().zip(values.iter().skip(1)).map(|(before, value)| u32::from(value < before));
    falls.sum()
}
