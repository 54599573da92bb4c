#![allow(clippy::indexing_slicing)]
use super::*;
use crate::chunk::bits::BitBuffer;
use crate::chunk::timestamp;
use crate::chunk::value::{ValueState, encode, encode_first, gap_code};
use model::sample::STALE_MARKER_BITS;
use proptest::prelude::*;

fn stream(values: &[u64], before: Option<u64>) -> Vec<u8> {
    let mut state = ValueState::default();
    let mut buffer = BitBuffer::default();
    let mut last = None;
    for &bits in values {
        buffer.push(match last {
            None => encode_first(&mut state, before, bits),
            Some(last) => encode(&mut state, last, bits),
        });
        last = Some(bits);
    }
    buffer.finish()
}

fn rows(count: usize) -> Vec<i64> {
    (0..count as i64).map(|i| 1_000 * i).collect()
}

fn round_trip(values: &[u64], before: Option<u64>) {
    let bytes = stream(values, before);
    let mut decoded = Decoded::default();
    decoded.decode(&bytes, values.len(), Times::Shared(&rows(values.len()))).expect("encoded by us");
    let back: Vec<u64> = decoded.values().iter().map(|v| v.to_bits()).collect();
    assert_eq!(back, values);
    assert_eq!(decoded.timestamps_ms(), rows(values.len()));
}

/// Every class of doubles, also right after each other.
fn any_bits() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => any::<u64>(),
        8 => (0u64..2_000).prop_map(|n| (n as f64).to_bits()),
        8 => (-1_000_000i64..1_000_000, 0i32..8).prop_map(|(m, k)| (m as f64 / 10f64.powi(k)).to_bits()),
        4 => (0u64..1 << 20).prop_map(|n| (n as f64 * 4096.0).to_bits()),
        4 => any::<f64>().prop_map(f64::to_bits),
        2 => (0u64..1 << 52).prop_map(|subnormal| subnormal),
        2 => (0u64..1 << 51).prop_map(|payload| 0x7ff0_0000_0000_0000 | payload),
        1 => Just(STALE_MARKER_BITS),
        1 => Just((-0.0f64).to_bits()),
        1 => Just(0u64),
        1 => Just(f64::INFINITY.to_bits()),
        1 => Just(f64::NEG_INFINITY.to_bits()),
        1 => Just(f64::MAX.to_bits()),
        1 => (-5i64..5).prop_map(|d| ((1i64 << 53) + d).cast_unsigned() as f64).prop_map(f64::to_bits),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_double_comes_back_bit_for_bit(values in proptest::collection::vec(any_bits(), 0..=SAMPLES_MAX), before in proptest::option::of(any_bits())) {
        round_trip(&values, before);
    }

    #[test]
    fn counters_come_back(start in 0u64..1 << 50, steps in proptest::collection::vec(0u64..10_000, 1..SAMPLES_MAX), decimals in 0i32..6) {
        let mut total = start;
        let values: Vec<u64> = steps.iter().map(|step| { total += step; (total as f64 / 10f64.powi(decimals)).to_bits() }).collect();
        round_trip(&values, None);
    }

    #[test]
    fn gaps_leave_their_rows_out(gaps in proptest::collection::vec(0usize..6, 1..20), value in any_bits()) {
        let mut buffer = BitBuffer::default();
        let mut state = ValueState::default();
        let mut expected = Vec::new();
        let mut row = 0;
        for (i, &gap) in gaps.iter().enumerate() {
            if gap > 0 {
                buffer.push(gap_code(gap));
                row += gap;
            }
            buffer.push(if i == 0 { encode_first(&mut state, None, value) } else { encode(&mut state, value, value) });
            expected.push(row as i64 * 1_000);
            row += 1;
        }
        let mut decoded = Decoded::default();
        decoded.decode(&buffer.finish(), gaps.len(), Times::Shared(&rows(row))).expect("encoded by us");
        prop_assert_eq!(decoded.timestamps_ms(), &expected);
        let bits = expected.iter().fold(0u128, |bits, t| bits | 1 << (t / 1_000));
        prop_assert_eq!(decoded.rows(), bits);
    }

    #[test]
    fn own_timestamps_come_back(first in any::<i64>().prop_map(|t| t >> 1), deltas in proptest::collection::vec(prop_oneof![Just(15_000u32), 14_990u32..15_010, 1u32..1_800_000], 0..SAMPLES_MAX - 1), value in any_bits()) {
        let mut buffer = BitBuffer::default();
        let mut state = ValueState::default();
        buffer.push(timestamp::encode_first(first));
        buffer.push(encode_first(&mut state, None, value));
        let (mut expected, mut last_delta) = (vec![first], 0);
        for &delta in &deltas {
            buffer.push(timestamp::encode(last_delta, delta));
            buffer.push(encode(&mut state, value, value));
            expected.push(expected.last().copied().unwrap() + i64::from(delta));
            last_delta = delta;
        }
        let mut decoded = Decoded::default();
        decoded.decode(&buffer.finish(), expected.len(), Times::Own).expect("encoded by us");
        prop_assert_eq!(decoded.timestamps_ms(), &expected);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>, count in 0usize..200, own: bool) {
        let rows = rows(100);
        let times = if own { Times::Own } else { Times::Shared(&rows) };
        let mut decoded = Decoded::default();
        if decoded.decode(&bytes, count, times).is_ok() {
            prop_assert_eq!(decoded.values().len(), count);
        } else {
            prop_assert!(decoded.values().is_empty());
        }
    }

    #[test]
    fn a_cut_stream_is_refused(values in proptest::collection::vec(any_bits(), 40..SAMPLES_MAX)) {
        let bytes = stream(&values, None);
        let half = &bytes[..bytes.len() / 2];
        prop_assert!(Decoded::default().decode(half, values.len(), Times::Shared(&rows(values.len()))).is_err());
    }
}

/// Sizes that the head's memory budget rests on, in bits per value after the first.
#[test]
fn familiar_series_are_small() {
    let bits_per_value = |values: Vec<f64>| {
        let bits: Vec<u64> = values.iter().map(|v| v.to_bits()).collect();
        round_trip(&bits, None);
        stream(&bits, None).len() as f64 * 8.0 / values.len() as f64
    };
    let constant = bits_per_value(vec![17.0; 120]);
    let slow_counter = bits_per_value((0..120).map(|i| 10_000.0 + f64::from(i / 8)).collect());
    let cpu_seconds = bits_per_value((0..120).map(|i| f64::from(900_000 + i * 15) / 100.0).collect());
    let pages = bits_per_value((0..120).map(|i| f64::from(50_000 + i * 37 % 101) * 4096.0).collect());
    assert!(constant < 1.4, "{constant}");
    assert!(slow_counter < 2.0, "{slow_counter}");
    assert!(cpu_seconds < 8.6, "{cpu_seconds}");
    assert!(pages < 11.0, "{pages}");
}
