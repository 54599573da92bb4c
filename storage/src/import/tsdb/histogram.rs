//! Chunks of native histograms, of integers and of floats.
//!
//! One layout for all of a chunk; numbers of integer histograms as changes of differences, those of float histograms and all sums
//! as [`XorColumn`] reads them. A stale histogram has a sum and no buckets.

use super::bits::{BitReader, XorColumn};
use model::histogram::validate::{Candidate, Populations};
use model::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Histogram, HistogramColumns, Span};
use model::sample::is_stale_marker;
use std::sync::Arc;

/// More than any sender has; what says more is damaged.
const BUCKETS_MAX: u64 = 1 << 20;

/// Adds the histograms of a chunk behind its count.
pub(super) fn decode(
    bits: &mut BitReader<'_>,
    count: u16,
    floats: bool,
    into: &mut HistogramColumns,
) -> Result<(), String> {
    let short = || "the chunk ends too early or has an impossible layout".to_owned();
    let flags = bits.bits(8).ok_or_else(short)?;
    let layout = Layout::read(bits).ok_or_else(short)?;
    let mut state = State::default();
    for number in 0..count {
        state.read(bits, number, floats, &layout).ok_or_else(short)?;
        let hint = match (flags >> 6, number) {
            (0b11, _) => CounterResetHint::Gauge,
            (0b10, 0) => CounterResetHint::Reset,
            _ => CounterResetHint::Unknown,
        };
        let histogram = state.histogram(floats, &layout, hint)?;
        into.push(state.at_ms, Arc::new(histogram));
    }
    Ok(())
}

struct Layout {
    schema: i32,
    zero_threshold: f64,
    positive: Vec<Span>,
    negative: Vec<Span>,
    bounds: Vec<f64>,
}

impl Layout {
    fn read(bits: &mut BitReader<'_>) -> Option<Self> {
        let zero_threshold = read_zero_threshold(bits)?;
        let schema = i32::try_from(bits.varbit_int()?).ok()?;
        let (positive, negative) = (read_spans(bits)?, read_spans(bits)?);
        let mut bounds = Vec::new();
        if schema == i32::from(CUSTOM_BUCKETS_SCHEMA) {
            let count = bits.varbit_uint().filter(|count| *count <= BUCKETS_MAX)?;
            for _ in 0..count {
                bounds.push(read_bound(bits)?);
            }
        }
        Some(Self { schema, zero_threshold, positive, negative, bounds })
    }

    fn buckets(&self) -> [usize; 2] {
        [&self.positive, &self.negative].map(|spans| spans.iter().map(|span| span.length as usize).sum())
    }
}

fn read_spans(bits: &mut BitReader<'_>) -> Option<Vec<Span>> {
    let count = bits.varbit_uint().filter(|count| *count <= BUCKETS_MAX)?;
    let (mut spans, mut buckets) = (Vec::new(), 0u64);
    for _ in 0..count {
        let length = u32::try_from(bits.varbit_uint()?).ok()?;
        let offset = i32::try_from(bits.varbit_int()?).ok()?;
        buckets += u64::from(length);
        spans.push(Span { offset, length });
    }
    (buckets <= BUCKETS_MAX).then_some(spans)
}

/// Zero and the powers of two from 2^-243 to 2^10 take one byte.
fn read_zero_threshold(bits: &mut BitReader<'_>) -> Option<f64> {
    match bits.bits(8)? {
        0 => Some(0.0),
        255 => bits.float(),
        code => Some(f64::powi(2.0, code as i32 - 244)),
    }
}

/// Thousandths are written as integers.
fn read_bound(bits: &mut BitReader<'_>) -> Option<f64> {
    match bits.varbit_uint()? {
        0 => bits.float(),
        thousandths => Some((thousandths - 1) as f64 / 1000.0),
    }
}

/// The sample that was read last, and what the next one is written as a difference from.
#[derive(Default)]
struct State {
    at_ms: i64,
    distance_ms: i64,
    sum: Option<XorColumn>,
    last_sum: f64,
    /// Count, zero count, positive, negative buckets: value and difference.
    integers: Vec<(i64, i64)>,
    floats: Vec<(f64, XorColumn)>,
}

impl State {
    fn read(&mut self, bits: &mut BitReader<'_>, number: u16, floats: bool, layout: &Layout) -> Option<()> {
        match number {
            0 => self.at_ms = bits.varbit_int()?,
            1 => self.distance_ms = bits.varbit_int()?,
            _ => self.distance_ms = self.distance_ms.wrapping_add(bits.varbit_int()?),
        }
        if number > 0 {
            self.at_ms = self.at_ms.wrapping_add(self.distance_ms);
        }
        let columns = layout.buckets().iter().sum::<usize>() + 2;
        for column in 0..columns {
            if column == 2 {
                self.read_sum(bits)?;
                if number > 0 && is_stale_marker(self.last_sum) {
                    return Some(());
                }
            }
            match floats {
                true => self.read_float(bits, number, column)?,
                false => self.read_integer(bits, number, column)?,
            }
        }
        if columns == 2 {
            self.read_sum(bits)?;
        }
        Some(())
    }

    fn read_sum(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        self.last_sum = match &mut self.sum {
            Some(sum) => sum.read(bits)?,
            None => {
                let sum = bits.float()?;
                self.sum = Some(XorColumn::after(sum));
                sum
            }
        };
        Some(())
    }

    fn read_float(&mut self, bits: &mut BitReader<'_>, number: u16, column: usize) -> Option<()> {
        if number == 0 {
            let value = bits.float()?;
            self.floats.push((value, XorColumn::after(value)));
            return Some(());
        }
        let (value, xor) = self.floats.get_mut(column)?;
        *value = xor.read(bits)?;
        Some(())
    }

    fn read_integer(&mut self, bits: &mut BitReader<'_>, number: u16, column: usize) -> Option<()> {
        if number == 0 {
            // Counts cannot be negative, differences of buckets can.
            let value = if column < 2 { bits.varbit_uint()?.cast_signed() } else { bits.varbit_int()? };
            self.integers.push((value, 0));
            return Some(());
        }
        let change = bits.varbit_int()?;
        let (value, difference) = self.integers.get_mut(column)?;
        *difference = if number == 1 { change } else { difference.wrapping_add(change) };
        *value = value.wrapping_add(*difference);
        Some(())
    }

    fn histogram(&self, floats: bool, layout: &Layout, hint: CounterResetHint) -> Result<Histogram, String> {
        if is_stale_marker(self.last_sum) {
            return Ok(Histogram { sum: self.last_sum, ..Histogram::default() });
        }
        let [positive, _] = layout.buckets();
        let populations = match floats {
            true => {
                let values: Vec<f64> = self.floats.iter().map(|(value, _)| *value).collect();
                let (counts, buckets) = values.split_at(2.min(values.len()));
                let (positive, negative) = buckets.split_at(positive.min(buckets.len()));
                Populations::Floats {
                    count: counts.first().copied().unwrap_or_default(),
                    zero_count: counts.last().copied().unwrap_or_default(),
                    positive: positive.to_vec(),
                    negative: negative.to_vec(),
                }
            }
            false => {
                let values: Vec<i64> = self.integers.iter().map(|(value, _)| *value).collect();
                let (counts, buckets) = values.split_at(2.min(values.len()));
                let (positive, negative) = buckets.split_at(positive.min(buckets.len()));
                Populations::Integers {
                    count: counts.first().copied().unwrap_or_default().cast_unsigned(),
                    zero_count: counts.last().copied().unwrap_or_default().cast_unsigned(),
                    positive_deltas: positive.to_vec(),
                    negative_deltas: negative.to_vec(),
                }
            }
        };
        let candidate = Candidate {
            counter_reset_hint: hint,
            schema: layout.schema,
            zero_threshold: layout.zero_threshold,
            sum: self.last_sum,
            positive_spans: layout.positive.clone(),
            negative_spans: layout.negative.clone(),
            custom_values: layout.bounds.clone(),
            populations,
        };
        candidate.validate().map_err(|error| format!("a histogram is none: {error}"))
    }
}
