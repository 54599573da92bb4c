//! The samples files.

use super::super::error::BlockError;
use super::super::schema::{self, SAMPLES_FILE, column as c};
use super::damaged;
use super::rows::{Block, primitive, times, u32s};
use arrow::array::{Array, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};

/// Mantissas are smaller than this.
const MANTISSA_END: u64 = 1 << 53;

/// What was seen of a series.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    rows: u32,
    raw: u32,
    stale: u32,
    has_starts: bool,
    first: Option<u32>,
    last: u32,
}

pub(super) fn check(block: &mut Block<'_>) -> Result<(), BlockError> {
    let mut seen = vec![Seen::default(); block.series.len()];
    let mut last = None;
    block.each_batch(SAMPLES_FILE, &schema::samples(), |block, file, batch| {
        let numbers = Numbers::of(batch, "");
        let starts = times(batch, c::START_TS);
        let (ids, rows) = (u32s(batch, c::SERIES_ID), u32s(batch, c::TS_ROW));
        for (at, (id, row)) in ids.iter().zip(rows).enumerate() {
            let wrong = |what: &str| damaged(&file.name, 0, format!("series {id}, timestamp row {row}: {what}"));
            let (Some(seen), Some(series)) = (seen.get_mut(*id as usize), block.series.get(*id as usize)) else {
                return Err(wrong("there is no such series"));
            };
            if last >= Some((*id, *row)) {
                return Err(wrong("it is out of order"));
            }
            last = Some((*id, *row));
            if block.timeline.get(*row as usize).map(|(timeline, _)| *timeline) != series.timeline_id {
                return Err(wrong("it is not of the series' timeline"));
            }
            if series.divisor.is_some_and(|divisor| divisor != numbers.divisor.value(at).to_bits()) {
                return Err(wrong("its divisor is not that of the series"));
            }
            let kind = numbers.kind(at).ok_or_else(|| wrong("its value is not as the format wants it"))?;
            seen.rows += 1;
            seen.raw += u32::from(kind == Kind::Raw);
            seen.stale += u32::from(kind == Kind::Stale);
            seen.has_starts |= starts.is_valid(at);
            seen.first = seen.first.or(Some(*row));
            seen.last = *row;
        }
        Ok(())
    })?;
    for (id, (seen, series)) in seen.iter().zip(&block.series).enumerate() {
        let found = (seen.rows, seen.raw, seen.stale, seen.has_starts, seen.first.map(|first| (first, seen.last)));
        let expected = (series.rows, series.raw, series.stale, series.has_starts, series.ts_rows);
        if found != expected {
            let what = format!("series {id} has {found:?} instead of {expected:?}");
            return Err(damaged(SAMPLES_FILE, 0, what));
        }
        let time = |row: u32| block.timeline.get(row as usize).map(|(_, time)| *time);
        let times = series.ts_rows.and_then(|(first, last)| time(first).zip(time(last)));
        if series.histograms == 0 && times != series.times {
            return Err(damaged(SAMPLES_FILE, 0, format!("series {id} spans {times:?} instead of {:?}", series.times)));
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Mantissa,
    Raw,
    Stale,
}

/// The three columns of a number.
pub(super) struct Numbers<'a> {
    mantissa: &'a Int64Array,
    divisor: &'a Float64Array,
    raw: &'a Float64Array,
}

impl<'a> Numbers<'a> {
    /// Those with a prefix.
    pub(super) fn of(batch: &'a RecordBatch, prefix: &str) -> Self {
        Self {
            mantissa: primitive::<Int64Type>(batch, &format!("{prefix}{}", c::MANTISSA)),
            divisor: primitive::<Float64Type>(batch, &format!("{prefix}{}", c::DIVISOR)),
            raw: primitive::<Float64Type>(batch, &format!("{prefix}{}", c::RAW)),
        }
    }

    /// How a value is stored; `None` if not as the format wants it.
    pub(super) fn kind(&self, at: usize) -> Option<Kind> {
        match (self.mantissa.is_valid(at), self.raw.is_valid(at)) {
            (true, false) => (self.mantissa.value(at).unsigned_abs() < MANTISSA_END).then_some(Kind::Mantissa),
            (false, true) => Some(Kind::Raw),
            (false, false) => Some(Kind::Stale),
            (true, true) => None,
        }
    }
}
