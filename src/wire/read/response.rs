//! Writes the answers of remote read: protobuf by hand, because the messages are few and the samples many.

use super::chunks::Chunk;
use model::histogram::{CounterResetHint, Histogram, HistogramColumns, Span};
use model::labels::Labels;
use model::sample::SampleColumns;
use storage::crc32c::crc32c;

/// Wire types of protobuf.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const DELIMITED: u32 = 2;

fn push_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn push_key(out: &mut Vec<u8>, field: u32, wire_type: u32) {
    push_varint(out, u64::from(field << 3 | wire_type));
}

/// Left out when it is zero, as generated encoders do.
fn push_int(out: &mut Vec<u8>, field: u32, n: i64) {
    if n != 0 {
        push_key(out, field, VARINT);
        push_varint(out, n.cast_unsigned());
    }
}

fn zigzag(n: i64) -> i64 {
    (n << 1) ^ (n >> 63)
}

/// Left out when it is zero; negative zero is not.
fn push_double(out: &mut Vec<u8>, field: u32, value: f64) {
    if value.to_bits() != 0 {
        push_whole_double(out, field, value);
    }
}

fn push_whole_double(out: &mut Vec<u8>, field: u32, value: f64) {
    push_key(out, field, FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

fn push_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    push_key(out, field, DELIMITED);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn push_doubles(out: &mut Vec<u8>, field: u32, values: &[f64]) {
    if !values.is_empty() {
        push_key(out, field, DELIMITED);
        push_varint(out, size_of_val(values) as u64);
        values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
    }
}

/// Appends a message as a field: written by `content`, then moved up for its length, whose size is not known before.
fn push_message(out: &mut Vec<u8>, field: u32, content: impl FnOnce(&mut Vec<u8>)) {
    push_key(out, field, DELIMITED);
    let start = out.len();
    content(out);
    let length = out.len() - start;
    push_varint(out, length as u64);
    let prefix = out.len() - start - length;
    if let Some(message) = out.get_mut(start..) {
        message.rotate_right(prefix);
    }
}

fn push_labels(out: &mut Vec<u8>, labels: &Labels) {
    for (name, value) in labels.iter() {
        push_message(out, 1, |out| {
            push_bytes(out, 1, name.as_bytes());
            push_bytes(out, 2, value.as_bytes());
        });
    }
}

/// Appends one `TimeSeries` to a `QueryResult`.
pub fn push_series(out: &mut Vec<u8>, labels: &Labels, floats: &SampleColumns, histograms: &HistogramColumns) {
    push_message(out, 1, |out| {
        push_labels(out, labels);
        for (at_ms, value) in floats.timestamps_ms.iter().zip(&floats.values) {
            push_sample(out, *at_ms, *value);
        }
        for (at_ms, histogram) in histograms.timestamps_ms.iter().zip(&histograms.histograms) {
            push_message(out, 4, |out| push_histogram(out, *at_ms, histogram));
        }
    });
}

/// One of millions: at most 20 bytes, so that the length is one byte, filled in afterwards.
fn push_sample(out: &mut Vec<u8>, at_ms: i64, value: f64) {
    push_key(out, 2, DELIMITED);
    let length_at = out.len();
    out.push(0);
    push_double(out, 1, value);
    push_int(out, 2, at_ms);
    let length = out.len() - length_at - 1;
    if let Some(place) = out.get_mut(length_at) {
        *place = length as u8;
    }
}

/// Appends one `QueryResult`, whose series [`push_series`] wrote, to a `ReadResponse`.
pub fn push_result(out: &mut Vec<u8>, series: &[u8]) {
    push_bytes(out, 1, series);
}

fn push_histogram(out: &mut Vec<u8>, at_ms: i64, histogram: &Histogram) {
    // Members of a choice are written even when they are zero: they say which one it is.
    push_whole_double(out, 2, histogram.count);
    push_double(out, 3, histogram.sum);
    push_int(out, 4, zigzag(i64::from(histogram.schema)));
    push_double(out, 5, histogram.zero_threshold);
    push_whole_double(out, 7, histogram.zero_count);
    push_spans(out, 8, &histogram.negative_spans);
    push_doubles(out, 10, &histogram.negative_buckets);
    push_spans(out, 11, &histogram.positive_spans);
    push_doubles(out, 13, &histogram.positive_buckets);
    let hint = match histogram.counter_reset_hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::Reset => 1,
        CounterResetHint::NotReset => 2,
        CounterResetHint::Gauge => 3,
    };
    push_int(out, 14, hint);
    push_int(out, 15, at_ms);
    push_doubles(out, 16, &histogram.custom_values);
}

fn push_spans(out: &mut Vec<u8>, field: u32, spans: &[Span]) {
    for Span { offset, length } in spans {
        push_message(out, field, |out| {
            push_int(out, 1, zigzag(i64::from(*offset)));
            push_int(out, 2, i64::from(*length));
        });
    }
}

/// Appends frames to `out` with the next chunks of a series, one series a frame, until `chunks` has no more. Each frame is
/// cut behind the chunk that brings it to `frame_bytes_max`; stops after the frame that brings `out` to `out_bytes_max`.
/// Returns whether chunks may be left.
pub fn push_frames(
    out: &mut Vec<u8>,
    labels: &Labels,
    query_index: i64,
    chunks: &mut impl Iterator<Item = Chunk>,
    frame_bytes_max: usize,
    out_bytes_max: usize,
) -> bool {
    let mut head = Vec::new();
    push_labels(&mut head, labels);
    let mut series = head.clone();
    for chunk in chunks {
        push_message(&mut series, 2, |out| {
            push_int(out, 1, chunk.min_ms);
            push_int(out, 2, chunk.max_ms);
            push_int(out, 3, i64::from(chunk.encoding));
            push_bytes(out, 4, &chunk.data);
        });
        if series.len() >= frame_bytes_max {
            push_frame(out, &series, query_index);
            series.clone_from(&head);
            if out.len() >= out_bytes_max {
                return true;
            }
        }
    }
    if series.len() > head.len() {
        push_frame(out, &series, query_index);
    }
    false
}

/// A `ChunkedReadResponse` behind its length and checksum.
fn push_frame(out: &mut Vec<u8>, series: &[u8], query_index: i64) {
    let mut message = Vec::with_capacity(series.len() + 16);
    push_bytes(&mut message, 1, series);
    push_int(&mut message, 2, query_index);
    push_varint(out, message.len() as u64);
    out.extend_from_slice(&crc32c(&message).to_be_bytes());
    out.extend_from_slice(&message);
}
