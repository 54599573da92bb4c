use super::*;
use crate::block::read::delta::DeltaCursor;
use proptest::prelude::*;

fn page(values: &[i64]) -> Integers {
    let mut integers = Integers::default();
    let mut rest = values;
    while !rest.is_empty() {
        let (these, behind) = rest.split_at(rest.len().min(integers.missing()));
        integers.extend(these);
        rest = behind;
    }
    integers.finish();
    integers
}

fn encoded(values: &[i64], form: Form) -> Vec<u8> {
    let mut out = Vec::new();
    page(values).encode(form, &mut out);
    out
}

fn decoded(bytes: &[u8]) -> Vec<i64> {
    let mut cursor = DeltaCursor::new(bytes).expect("a header");
    let mut values = vec![0; cursor.count()];
    cursor.fill(bytes, &mut values, |value| value).expect("integers");
    values
}

/// Counters of which each begins lower than the one before ended.
fn counters(series: i64, samples: i64) -> Vec<i64> {
    let start = |n: i64| (n * 7919 % 13) * 1_000_000;
    (0..series).flat_map(|n| (0..samples).map(move |at| start(n) + at * 20 + (at * 31 + n) % 17)).collect()
}

#[test]
fn a_drop_between_series_widens_one_run() {
    let long = encoded(&counters(1, 5_000), Form::Tight).len();
    let short = encoded(&counters(10, 500), Form::Tight).len();
    let widest = RUN * 8;
    assert!(short < long + 9 * widest, "{short} and {long} bytes");
    assert!(short > long);
}

#[test]
fn equal_differences_are_equal_bytes_throughout_a_series() {
    let values = counters(1, BLOCK as i64 * 3 + 1);
    let bytes = encoded(&values, Form::Aligned);
    let differences: Vec<i64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let least = *differences.iter().min().expect("some");
    let packed: Vec<u8> = differences.iter().map(|difference| (difference - least) as u8).collect();
    for block in packed.chunks(BLOCK) {
        assert!(bytes.windows(BLOCK).any(|window| window == block));
    }
}

#[test]
fn a_constant_takes_no_bits() {
    let bytes = encoded(&[7; 10_000], Form::Tight);
    assert!(bytes.len() < 10_000usize.div_ceil(BLOCK) * (RUNS + 1) + 10, "{} bytes", bytes.len());
    assert!(!page(&[7; 10_000]).has_small(), "nothing to align");
}

#[test]
fn extremes_wrap() {
    let values: Vec<i64> = (0..600).map(|n| [i64::MIN, 0, i64::MAX, -1][n % 4]).collect();
    for form in [Form::Tight, Form::Aligned] {
        assert_eq!(decoded(&encoded(&values, form)), values);
    }
}

fn any_values() -> impl Strategy<Value = Vec<i64>> {
    let step = prop_oneof![
        8 => -3i64..40,
        2 => Just(0),
        1 => -100_000i64..100_000,
        1 => any::<i64>(),
    ];
    let same = prop::collection::vec((step, 1usize..90), 0..12);
    same.prop_map(|steps| {
        let mut value = 0i64;
        let each = steps.into_iter().flat_map(|(step, count)| (0..count).map(move |n| step.wrapping_add(n as i64 % 5)));
        each.map(|step| {
            value = value.wrapping_add(step);
            value
        })
        .collect()
    })
}

proptest! {
    #[test]
    fn every_integer_comes_back(values in any_values()) {
        for form in [Form::Tight, Form::Aligned] {
            prop_assert_eq!(&decoded(&encoded(&values, form)), &values);
        }
    }
}
