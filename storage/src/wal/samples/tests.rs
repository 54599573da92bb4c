use super::*;
use crate::append::{Rows, SeriesRef};
use proptest::prelude::*;

fn encode(encoder: &mut SampleEncoder, rows: &Rows) -> (Vec<u8>, bool) {
    let mut payload = Vec::new();
    let restart = encoder.encode(&rows.series, &rows.timestamps_ms, &rows.values, &mut payload);
    assert!(payload.len() <= SampleEncoder::bytes_max(rows.len()), "{} rows in {} bytes", rows.len(), payload.len());
    (payload, restart)
}

fn bits(rows: &Rows) -> (Vec<SeriesRef>, Vec<i64>, Vec<u64>) {
    (rows.series.clone(), rows.timestamps_ms.clone(), rows.values.iter().map(|value| value.to_bits()).collect())
}

fn assert_round_trip(records: &[Rows], restart_before: &[bool]) {
    let (mut encoder, mut decoder) = (SampleEncoder::default(), SampleDecoder::default());
    let mut decoded = Rows::default();
    for (rows, restart) in records.iter().zip(restart_before) {
        if *restart {
            encoder.restart();
        }
        let (payload, restart) = encode(&mut encoder, rows);
        assert_eq!(row_count(&payload), rows.len());
        decoder.decode(&payload, restart, false, u32::MAX, &mut decoded).expect("own record");
        assert_eq!(bits(&decoded), bits(rows));
    }
}

/// Values of the kinds that the codes are made for, and any bits at all.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        (0i64..1000).prop_map(|n| n as f64),
        any::<i64>().prop_map(|n| n as f64),
        (-1_000_000i64..1_000_000).prop_map(|n| n as f64 / 1000.0),
        any::<u64>().prop_map(f64::from_bits),
        prop::sample::select(vec![
            0.0,
            -0.0,
            f64::NAN,
            model::sample::stale_marker(),
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE,
            5e-324,
            f64::MAX,
            9_007_199_254_740_993.0,
            -9_007_199_254_740_991.0,
        ]),
    ]
}

fn rows() -> impl Strategy<Value = Rows> {
    let row = (0u32..40, prop_oneof![Just(1_000i64), 0i64..5_000, any::<i64>()], value());
    prop::collection::vec(row, 0..80).prop_map(|list| {
        let mut rows = Rows::default();
        list.into_iter().for_each(|(series, timestamp, value)| rows.push(SeriesRef(series * 7), timestamp, value));
        rows
    })
}

proptest! {
    #[test]
    fn every_bit_comes_back(records in prop::collection::vec((rows(), any::<bool>()), 1..6)) {
        let (records, restarts): (Vec<_>, Vec<_>) = records.into_iter().unzip();
        assert_round_trip(&records, &restarts);
    }

    #[test]
    fn any_bytes_decode_without_panic(payload in prop::collection::vec(any::<u8>(), 0..300), bound in 0u32..5000) {
        let mut rows = Rows::default();
        if SampleDecoder::default().decode(&payload, true, false, bound, &mut rows).is_ok() {
            prop_assert!(rows.series.iter().all(|series| series.0 < bound));
            prop_assert_eq!(rows.series.len(), rows.values.len());
        }
    }
}

/// A sender that repeats its series in one order pays for the order once.
#[test]
fn repeated_order_of_series_is_nearly_free() {
    let mut encoder = SampleEncoder::default();
    let mut rows = Rows::default();
    (0..1000u32).for_each(|n| rows.push(SeriesRef(n * 13 % 1000), 15_000, 1.0));
    let first = encode(&mut encoder, &rows).0.len();
    rows.timestamps_ms.fill(30_000);
    let second = encode(&mut encoder, &rows).0.len();
    assert!(first > 2500, "{first} bytes");
    assert!(second < 520, "{second} bytes");
}

#[test]
fn differences_take_few_bytes() {
    let bytes = |before: f64, after: f64| encode::encode_value(before, after).2;
    assert_eq!(bytes(1000.0, 1005.0), 1);
    assert_eq!(bytes(1e9, 1e9 + 1000.0), 2);
    assert_eq!(bytes(12.34, 13.07), 2);
    assert_eq!(bytes(0.125, 0.126), 1);
    assert_eq!(bytes(0.1234567890123, 0.1234567890456), 6);
}

/// Without the record that it builds on a record must not be decoded to wrong values.
#[test]
fn after_a_missing_record_nothing_is_decoded_until_the_next_start() {
    let (mut encoder, mut decoder) = (SampleEncoder::default(), SampleDecoder::default());
    let mut rows = Rows::default();
    rows.push(SeriesRef(1), 10, 5.0);
    let (first, first_restarts) = encode(&mut encoder, &rows);
    rows.values[0] = 6.0;
    let (second, second_restarts) = encode(&mut encoder, &rows);
    encoder.restart();
    let (third, third_restarts) = encode(&mut encoder, &rows);
    assert_eq!((first_restarts, second_restarts, third_restarts), (true, false, true));
    let mut decoded = Rows::default();
    assert_eq!(decoder.decode(&second, false, false, 9, &mut decoded), Err(DecodeError::BaseMissing));
    assert_eq!(decoder.decode(&first, true, false, 9, &mut decoded), Ok(()));
    decoder.lose_step();
    assert_eq!(decoder.decode(&second, false, false, 9, &mut decoded), Err(DecodeError::BaseMissing));
    assert_eq!(decoder.decode(&third, true, false, 9, &mut decoded), Ok(()));
    assert_eq!(bits(&decoded), bits(&rows));
}

#[test]
fn references_at_the_bound_are_refused() {
    let mut encoder = SampleEncoder::default();
    let mut rows = Rows::default();
    rows.push(SeriesRef(9), 10, 5.0);
    let (payload, _) = encode(&mut encoder, &rows);
    let refused = SampleDecoder::default().decode(&payload, true, false, 9, &mut Rows::default());
    assert_eq!(refused, Err(DecodeError::Malformed));
}

/// Long segments start afresh now and then, so that a damaged record does not cost the rest of its segment.
#[test]
fn a_long_log_starts_afresh_now_and_then() {
    let mut encoder = SampleEncoder::default();
    let mut rows = Rows::default();
    (0..2000u32).for_each(|n| rows.push(SeriesRef(n), 0, 0.0));
    let mut starts = 0;
    for round in 0..3000u64 {
        let noise = |n: usize| f64::from_bits((round * 2000 + n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        rows.values.iter_mut().enumerate().for_each(|(n, value)| *value = noise(n));
        starts += usize::from(encode(&mut encoder, &rows).1);
        if starts == 3 {
            return;
        }
    }
    panic!("{starts} starts in 48 MB");
}
