//! Runs of samples as columns: what a chunk file holds of native histograms. Byte layout: `docs/formats/histogram.md`.
//!
//! Every bucket is a counter series, coded as float samples are; timestamps are in the column of the counts. All samples of a
//! chunk have one scale; a bucket that some of them do not populate has a population of zero there.
#![warn(clippy::indexing_slicing)]

use super::row::{push_buckets, push_scale, read_buckets, read_scale};
use super::stored::{Bucket, COUNT, SUM, Scale, Stored, TOTALS, ZERO_COUNT};
use crate::chunk::bits::{BitBuffer, Code};
use crate::chunk::decode::{Decoded, Times};
use crate::chunk::value::{ValueState, encode, encode_first};
use crate::chunk::{ChunkError, SAMPLES_MAX, timestamp};
use crate::wal::cursor::{Cursor, push_varint};
use std::sync::Arc;

/// The largest distance of neighbours that a chunk can express.
const DELTA_MAX: i64 = i32::MAX as i64;
/// Zeros that may follow a column: a code that ends in zeros, and one bit for each repeated value.
const ZEROS: [u8; 64] = [0; 64];
/// Unused bits of the flags are zero.
const AFTER_RESET: u8 = 1;
/// The column of counts has what the zero bucket and the others leave: zero, unless NaN was observed or counts are floats.
const COUNT_OF_REST: u8 = 2;
const KNOWN_FLAGS: u8 = AFTER_RESET | COUNT_OF_REST;

/// Splits samples in ascending order of time into runs that [`encode`] takes: one scale each, near each other, and only the
/// first one behind a known reset.
pub(crate) fn runs(samples: &[Stored]) -> impl Iterator<Item = &[Stored]> {
    let follows = |a: &Stored, b: &Stored| {
        let near = b.timestamp_ms.checked_sub(a.timestamp_ms).is_some_and(|delta| delta <= DELTA_MAX);
        near && !b.after_reset && a.scale == b.scale
    };
    samples.chunk_by(follows).flat_map(|run| run.chunks(SAMPLES_MAX))
}

/// Encodes one of the runs of [`runs`].
pub(crate) fn encode_run(run: &[Stored]) -> Vec<u8> {
    let Some(first) = run.first() else { return Vec::new() };
    let mut buckets: Vec<Bucket> =
        run.iter().flat_map(|sample| sample.buckets.iter().map(|(bucket, _)| *bucket)).collect();
    buckets.sort_unstable();
    buckets.dedup();
    let of_rest = run.iter().all(|sample| {
        let (count, sum) = (total(sample, COUNT), bucket_sum(sample));
        (sum + (count - sum)).to_bits() == count.to_bits()
    });
    let flags = if first.after_reset { AFTER_RESET } else { 0 } | if of_rest { COUNT_OF_REST } else { 0 };
    let mut out = vec![flags];
    push_scale(&mut out, &first.scale);
    push_buckets(&mut out, buckets.iter().copied());
    let count =
        |sample: &Stored| if of_rest { total(sample, COUNT) - bucket_sum(sample) } else { total(sample, COUNT) };
    push_column(&mut out, column_with_times(run, |sample| count(sample).to_bits()));
    push_column(&mut out, column(run.iter().map(|sample| (sample.start_ms as f64).to_bits())));
    for number in [ZERO_COUNT, SUM] {
        push_column(&mut out, column(run.iter().map(|sample| total(sample, number).to_bits())));
    }
    // Of each sample, its buckets that have no column yet.
    let mut rests: Vec<&[(Bucket, u64)]> = run.iter().map(|sample| sample.buckets.as_slice()).collect();
    for bucket in buckets {
        let population = |rest: &mut &[(Bucket, u64)]| match rest.split_first() {
            Some(((first, bits), behind)) if *first == bucket => {
                *rest = behind;
                *bits
            }
            _ => 0,
        };
        push_column(&mut out, column(rests.iter_mut().map(population)));
    }
    out
}

fn total(sample: &Stored, number: usize) -> f64 {
    f64::from_bits(sample.totals.get(number).copied().unwrap_or(0))
}

/// The zero bucket and the others, added up in the order of their columns.
fn bucket_sum(sample: &Stored) -> f64 {
    sample.buckets.iter().fold(total(sample, ZERO_COUNT), |sum, (_, bits)| sum + f64::from_bits(*bits))
}

fn column_with_times(run: &[Stored], value: impl Fn(&Stored) -> u64) -> BitBuffer {
    let (mut buffer, mut state) = (BitBuffer::default(), ValueState::default());
    let (mut before, mut last_delta) = (None, 0);
    for sample in run {
        let bits = value(sample);
        match before {
            None => {
                buffer.push(timestamp::encode_first(sample.timestamp_ms));
                buffer.push(encode_first(&mut state, None, bits));
            }
            Some((before_ms, before_bits)) => {
                let delta = u32::try_from(sample.timestamp_ms - before_ms).expect("runs are split at longer distances");
                buffer.push(timestamp::encode(last_delta, delta));
                buffer.push(encode(&mut state, before_bits, bits));
                last_delta = delta;
            }
        }
        before = Some((sample.timestamp_ms, bits));
    }
    buffer
}

fn column(values: impl Iterator<Item = u64>) -> BitBuffer {
    let (mut buffer, mut state) = (BitBuffer::default(), ValueState::default());
    let mut before = None;
    for bits in values {
        let code: Code = match before {
            None => encode_first(&mut state, None, bits),
            Some(before) => encode(&mut state, before, bits),
        };
        buffer.push(code);
        before = Some(bits);
    }
    buffer
}

/// A column without its trailing zeros: a bucket that stands still costs as good as nothing.
fn push_column(out: &mut Vec<u8>, column: BitBuffer) {
    let bytes = column.finish();
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    push_varint(out, used as u64);
    out.extend(bytes.iter().take(used));
}

/// Appends the samples of a chunk to `out`.
///
/// # Errors
/// No writer writes such bytes.
pub(crate) fn decode_run(payload: &[u8], count: usize, out: &mut Vec<Stored>) -> Result<(), ChunkError> {
    let mut cursor = Cursor::new(payload);
    let (flags, scale, buckets) = read_front(&mut cursor).ok_or(ChunkError::BadCode)?;
    let scale = Arc::new(scale);
    let (mut stream, mut decoded) = (Vec::new(), Box::<Decoded>::default());
    read_column(&mut cursor, &mut stream)?;
    decoded.decode(&stream, count, Times::Own)?;
    let times = decoded.timestamps_ms().to_vec();
    let first = out.len();
    for (number, (timestamp_ms, count)) in times.iter().zip(decoded.values()).enumerate() {
        let after_reset = number == 0 && flags & AFTER_RESET != 0;
        let mut totals = [0; TOTALS];
        totals[COUNT] = count.to_bits();
        let scale = Arc::clone(&scale);
        let timestamp_ms = *timestamp_ms;
        out.push(Stored { timestamp_ms, start_ms: 0, scale, after_reset, totals, buckets: Vec::new() });
    }
    let samples = out.get_mut(first..).unwrap_or_default();
    let mut each = |take: &mut dyn FnMut(&mut Stored, u64)| {
        read_column(&mut cursor, &mut stream)?;
        decoded.decode(&stream, count, Times::Shared(&times))?;
        samples.iter_mut().zip(decoded.values()).for_each(|(sample, value)| take(sample, value.to_bits()));
        Ok(())
    };
    each(&mut |sample, bits| sample.start_ms = f64::from_bits(bits) as i64)?;
    each(&mut |sample, bits| sample.totals[ZERO_COUNT] = bits)?;
    each(&mut |sample, bits| sample.totals[SUM] = bits)?;
    for bucket in buckets {
        each(&mut |sample, bits| {
            if f64::from_bits(bits) != 0.0 {
                sample.buckets.push((bucket, bits));
            }
        })?;
    }
    if flags & COUNT_OF_REST != 0 {
        samples
            .iter_mut()
            .for_each(|sample| sample.totals[COUNT] = (bucket_sum(sample) + total(sample, COUNT)).to_bits());
    }
    if cursor.is_empty() { Ok(()) } else { Err(ChunkError::BadCode) }
}

fn read_front(cursor: &mut Cursor<'_>) -> Option<(u8, Scale, Vec<Bucket>)> {
    let flags = cursor.u8().filter(|flags| flags & !KNOWN_FLAGS == 0)?;
    Some((flags, read_scale(cursor)?, read_buckets(cursor)?))
}

fn read_column(cursor: &mut Cursor<'_>, stream: &mut Vec<u8>) -> Result<(), ChunkError> {
    let bytes = cursor.varint_usize().and_then(|length| cursor.take(length)).ok_or(ChunkError::Truncated)?;
    stream.clear();
    stream.extend_from_slice(bytes);
    stream.extend_from_slice(&ZEROS);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::stored::tests::any_stored;
    use super::*;
    use proptest::prelude::*;

    fn decoded(run: &[Stored]) -> Vec<Stored> {
        let mut out = Vec::new();
        decode_run(&encode_run(run), run.len(), &mut out).expect("own bytes");
        out
    }

    proptest! {
        #[test]
        fn runs_come_back(mut samples in prop::collection::vec(any_stored(), 1..40), one_scale: bool, step in 1i64..100_000) {
            let scale = Arc::clone(&samples[0].scale);
            for (n, sample) in samples.iter_mut().enumerate() {
                if one_scale {
                    sample.timestamp_ms = 1_700_000_000_000 + n as i64 * step;
                    sample.scale = Arc::clone(&scale);
                }
            }
            samples.sort_by_key(|sample| sample.timestamp_ms);
            samples.dedup_by_key(|sample| sample.timestamp_ms);
            let found: Vec<Stored> = runs(&samples).flat_map(decoded).collect();
            prop_assert_eq!(found, samples);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..120), count in 0usize..200) {
            let _ = decode_run(&bytes, count, &mut Vec::new());
        }
    }

    /// Chunks of every format version are read for ever. Set `HEARTH_BLESS=1` to write the golden file of a new version.
    #[test]
    fn a_chunk_of_version_1_is_written_byte_for_byte_and_read() {
        let bucket = |negative, index| Bucket { negative, index };
        let scale = Scale {
            schema: 2,
            zero_threshold: 0.001f64.to_bits(),
            custom_values: vec![0.5f64.to_bits()],
            gauge: false,
        };
        let scale = Arc::new(scale);
        let sample = |n: i64| Stored {
            timestamp_ms: 1_700_000_000_000 + n * 15_000 + n % 3,
            start_ms: if n < 20 { 1_600_000_000_000 } else { 0 },
            scale: Arc::clone(&scale),
            after_reset: n == 0,
            totals: [(n * 40) as f64, 2.0, if n == 30 { f64::NAN } else { n as f64 / 8.0 }].map(f64::to_bits),
            buckets: [(bucket(false, -3), n), (bucket(false, 7), 3 * n), (bucket(true, 1), n / 5)]
                .into_iter()
                .filter(|(_, population)| *population > 0)
                .map(|(bucket, population)| (bucket, (population as f64).to_bits()))
                .collect(),
        };
        let run: Vec<Stored> = (0..40).map(sample).collect();
        let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/histogram-chunk-v1.bin");
        if std::env::var_os("HEARTH_BLESS").is_some() {
            std::fs::write(&golden, encode_run(&run)).expect("the directory exists");
        }
        let stored = std::fs::read(&golden).expect("the golden file is there");
        assert_eq!(encode_run(&run), stored);
        let mut found = Vec::new();
        decode_run(&stored, run.len(), &mut found).expect("own bytes");
        assert_eq!(found, run);
    }

    #[test]
    fn buckets_that_stand_still_cost_a_few_bytes() {
        let scale = Arc::new(Scale { schema: 3, ..Scale::default() });
        let sample = |n: i64| Stored {
            timestamp_ms: 1_700_000_000_000 + n * 15_000,
            start_ms: 1_600_000_000_000,
            scale: Arc::clone(&scale),
            after_reset: false,
            totals: [1_000.0f64, 0.0, 0.125].map(f64::to_bits),
            buckets: (0..40).map(|index| (Bucket { negative: false, index }, 25.0f64.to_bits())).collect(),
        };
        let run: Vec<Stored> = (0..120).map(sample).collect();
        assert_eq!(decoded(&run), run);
        assert!(encode_run(&run).len() < 260, "{} bytes", encode_run(&run).len());
    }
}
