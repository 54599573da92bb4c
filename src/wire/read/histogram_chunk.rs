//! Chunks of native histograms in Prometheus' `FLOAT_HISTOGRAM` encoding.
//!
//! Two bytes of how many samples, one that tells of counter resets, then the layout that all samples share (zero threshold,
//! schema, spans, custom bounds), then samples: times as differences of differences, counts, sum and populations whole in the
//! first and as [`XorColumn`]s in the others. A stale sample ends after its sum.

use super::bits::{BitWriter, XorColumn};
use model::histogram::{CounterResetHint, Histogram, Span};

/// Bytes after which the next sample begins another chunk.
const BYTES_TARGET: usize = 4 << 10;

/// A chunk being written; the first histogram decides what others fit.
pub(super) struct HistogramChunk<'h> {
    out: BitWriter,
    first: &'h Histogram,
    count: u16,
    last_ms: i64,
    last_delta: i64,
    /// Count, zero count, sum.
    totals: [XorColumn; 3],
    /// Positive ones, then negative ones.
    buckets: Vec<XorColumn>,
}

impl<'h> HistogramChunk<'h> {
    pub(super) fn begin(at_ms: i64, first: &'h Histogram) -> Self {
        let header = match first.counter_reset_hint {
            CounterResetHint::Unknown => 0,
            CounterResetHint::NotReset => 0b0100_0000,
            CounterResetHint::Reset => 0b1000_0000,
            CounterResetHint::Gauge => 0b1100_0000,
        };
        let mut out = BitWriter::with_header(&[0, 0, header]);
        write_layout(first, &mut out);
        out.varbit_int(at_ms);
        let totals = totals(first);
        totals.iter().chain(buckets(first)).for_each(|value| out.float(*value));
        Self {
            out,
            first,
            count: 1,
            last_ms: at_ms,
            last_delta: 0,
            totals: totals.map(XorColumn::after),
            buckets: buckets(first).map(|value| XorColumn::after(*value)).collect(),
        }
    }

    /// Whether the histogram can be the next one of this chunk: readers take all but the first for samples without a reset.
    pub(super) fn takes(&self, next: &Histogram, samples_max: u16) -> bool {
        let first = self.first;
        let is_gauge = |histogram: &Histogram| histogram.counter_reset_hint == CounterResetHint::Gauge;
        let continues =
            if is_gauge(first) { is_gauge(next) } else { next.counter_reset_hint == CounterResetHint::NotReset };
        let same_layout = next.is_stale()
            || (!first.is_stale()
                && first.schema == next.schema
                && first.zero_threshold.to_bits() == next.zero_threshold.to_bits()
                && first.positive_spans == next.positive_spans
                && first.negative_spans == next.negative_spans
                && first.custom_values == next.custom_values);
        continues && same_layout && self.count < samples_max && self.out.len() < BYTES_TARGET
    }

    pub(super) fn push(&mut self, at_ms: i64, next: &Histogram) {
        let delta = at_ms.wrapping_sub(self.last_ms);
        self.out.varbit_int(delta.wrapping_sub(self.last_delta));
        (self.last_ms, self.last_delta) = (at_ms, delta);
        for (column, value) in self.totals.iter_mut().zip(totals(next)) {
            column.write(value, &mut self.out);
        }
        if !next.is_stale() {
            for (column, value) in self.buckets.iter_mut().zip(buckets(next)) {
                column.write(*value, &mut self.out);
            }
        }
        self.count += 1;
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        let mut bytes = self.out.into_bytes();
        for (place, byte) in bytes.iter_mut().zip(self.count.to_be_bytes()) {
            *place = byte;
        }
        bytes
    }
}

/// Count, zero count and sum; a stale histogram has the sum alone.
fn totals(histogram: &Histogram) -> [f64; 3] {
    if histogram.is_stale() {
        return [0.0, 0.0, histogram.sum];
    }
    [histogram.count, histogram.zero_count, histogram.sum]
}

fn buckets(histogram: &Histogram) -> impl Iterator<Item = &f64> {
    let listed = !histogram.is_stale();
    let both = histogram.positive_buckets.iter().chain(&histogram.negative_buckets);
    both.filter(move |_| listed)
}

fn write_layout(first: &Histogram, out: &mut BitWriter) {
    let empty = Histogram::default();
    let layout = if first.is_stale() { &empty } else { first };
    write_zero_threshold(layout.zero_threshold, out);
    out.varbit_int(i64::from(layout.schema));
    for spans in [&layout.positive_spans, &layout.negative_spans] {
        out.varbit_uint(spans.len() as u64);
        for Span { offset, length } in spans {
            out.varbit_uint(u64::from(*length));
            out.varbit_int(i64::from(*offset));
        }
    }
    if layout.has_custom_buckets() {
        out.varbit_uint(layout.custom_values.len() as u64);
        layout.custom_values.iter().for_each(|bound| write_custom_bound(*bound, out));
    }
}

/// Zero and the powers of two from 2^-243 to 2^10 take one byte.
fn write_zero_threshold(threshold: f64, out: &mut BitWriter) {
    const MANTISSA: u64 = (1 << 52) - 1;
    if threshold == 0.0 {
        return out.byte(0);
    }
    let bits = threshold.to_bits();
    // Of 0.5 × 2^exponent; negative numbers are far beyond the bound.
    let exponent = (bits >> 52) as i64 - 1022;
    if bits & MANTISSA == 0 && (-242..=11).contains(&exponent) {
        return out.byte((exponent + 243) as u8);
    }
    out.byte(255);
    out.float(threshold);
}

/// Thousandths up to 33,554.430 are written as integers.
fn write_custom_bound(bound: f64, out: &mut BitWriter) {
    let thousandths = bound * 1000.0;
    let whole = thousandths.round();
    if (0.0..=33_554_430.0).contains(&thousandths) && whole / 1000.0 == bound {
        return out.varbit_uint(whole as u64 + 1);
    }
    out.bit(false);
    out.float(bound);
}
