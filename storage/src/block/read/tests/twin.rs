//! Blocks of random series answer as a list of these series does.

use super::model::{BASE_MS, Series, any_series, block_with, small_layout, wait};
use crate::append::LabelHash;
use crate::block::read::{Block, ReadError, What};
use crate::bucket::Bucket;
use crate::select::{Listing, TimeRange};
use model::histogram::HistogramColumns;
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use model::sample::SampleColumns;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};

fn any_matchers() -> impl Strategy<Value = Vec<Matcher>> {
    let name =
        prop::sample::select(vec!["__name__", "job", "instance", "le", "path", "code", "pod", "zone", "nowhere"]);
    let value = prop::sample::select(vec![
        "",
        "metric_1",
        "job-0",
        "host-2",
        "3",
        "metric_[12]",
        "host-.*",
        ".*",
        ".+",
        "[0-3]",
        "|5",
        "metric_3|",
    ]);
    let op = prop::sample::select(vec![MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]);
    let matcher = (name, op, value).prop_map(|(name, op, value)| Matcher::new(name, op, value).unwrap());
    prop::collection::vec(matcher, 0..4)
}

fn any_range() -> impl Strategy<Value = TimeRange> {
    let time =
        prop_oneof![1 => Just(i64::MIN), 1 => Just(i64::MAX), 6 => (-20i64..4_000_000).prop_map(|at| BASE_MS + at)];
    let time = || time.clone();
    prop_oneof![
        2 => Just(TimeRange::ALL),
        5 => (time(), time()).prop_map(|(a, b)| TimeRange { after_ms: a.min(b), until_ms: a.max(b) }),
        2 => (0i64..300, 0i64..20).prop_map(|(at, steps)| TimeRange { after_ms: BASE_MS + at * 15_000, until_ms: BASE_MS + (at + steps) * 15_000 }),
    ]
}

fn listing(all: BTreeSet<String>, limit: usize) -> Listing {
    Listing { truncated: all.len() > limit, items: all.into_iter().take(limit).collect() }
}

async fn check_selection(block: &Block, all: &[Series], matchers: &[Matcher], range: TimeRange) {
    let expected: Vec<&Series> =
        all.iter().filter(|series| series.matches(matchers) && series.overlaps(range)).collect();
    let found = block.select(matchers, range, usize::MAX).await.unwrap();
    assert_eq!(found.len(), expected.len());
    let labels = found.labels(None).await.unwrap();
    let hashes = found.hashes().await.unwrap();
    let names = ["__name__", "code", "pod"];
    let mut numbers_of: HashMap<Vec<u32>, Labels> = HashMap::new();
    let pages = found.fetch(0..found.len(), range, What::ALL).await.unwrap();
    let (mut floats, mut histograms, mut starts) = <(SampleColumns, HistogramColumns, Vec<i64>)>::default();
    let mut times_of: HashMap<u64, Vec<i64>> = HashMap::new();
    for (index, series) in expected.iter().enumerate() {
        assert_eq!(labels.of(index).unwrap(), series.labels);
        assert_eq!(hashes[index], LabelHash::of_pairs(series.labels.iter(), &mut Vec::new()));
        let among = labels.among(index, &names).unwrap();
        assert_eq!(among, series.labels.filter(|name| names.contains(&name)));
        let mut numbers = Vec::new();
        if labels.numbers(index, &names, &mut numbers).unwrap() {
            assert!(numbers.len() == names.len() + 1 && numbers[0] <= u16::MAX.into());
            assert_eq!(*numbers_of.entry(numbers).or_insert(among.clone()), among);
        } else {
            assert!(numbers.is_empty());
        }
        assert_eq!(labels.value(index, "zone").unwrap(), series.labels.get("zone").unwrap_or(""));

        let token = found.read(&pages, index, range, &mut floats).unwrap();
        let read: Vec<_> =
            floats.timestamps_ms.iter().copied().zip(floats.values.iter().map(|v| v.to_bits())).collect();
        assert_eq!(read, series.floats_in(range), "{}", series.labels);
        if let Some(token) = token {
            assert_eq!(*times_of.entry(token).or_insert(floats.timestamps_ms.clone()), floats.timestamps_ms);
        }
        let latest = found.latest(&pages, index, range).unwrap();
        assert_eq!(latest.map(|sample| (sample.timestamp_ms, sample.value.to_bits())), read.last().copied());

        found.read_histograms(&pages, index, range, &mut histograms).unwrap();
        let read = histograms.timestamps_ms.iter().zip(&histograms.histograms);
        let read: Vec<_> = read.map(|(time, histogram)| (*time, format!("{histogram:?}"))).collect();
        assert_eq!(read, series.histograms_in(range), "{}", series.labels);
        assert_eq!(found.has_histograms(index).unwrap(), !series.histograms.is_empty());
        found.read_start_timestamps(&pages, index, range, &mut starts).unwrap();
        assert_eq!(starts, series.starts_in(range));
    }
}

async fn check_listings(block: &Block, all: &[Series], matchers: &[Matcher], range: TimeRange, limit: usize) {
    let matching: Vec<&Series> =
        all.iter().filter(|series| series.matches(matchers) && series.overlaps(range)).collect();
    let names = matching.iter().flat_map(|series| series.labels.iter()).map(|(name, _)| name.to_owned()).collect();
    assert_eq!(block.label_names(matchers, range, limit).await.unwrap(), listing(names, limit));
    for name in ["__name__", "code", "zone", "nowhere"] {
        let values = matching.iter().filter_map(|series| series.labels.get(name)).map(str::to_owned).collect();
        assert_eq!(block.label_values(name, matchers, range, limit).await.unwrap(), listing(values, limit), "{name}");
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        all.iter()
            .filter_map(|series| series.labels.get(name))
            .for_each(|value| *counts.entry(value.to_owned()).or_default() += 1);
        let found: BTreeMap<_, _> = block.series_by_value(name).await.unwrap().into_iter().collect();
        assert_eq!(found, counts);
    }
    assert_eq!(block.count(matchers, range).await.unwrap(), matching.len());
    let first = block.select_first(matchers, range, limit).await.unwrap();
    assert_eq!(first.len(), matching.len().min(limit));
    if matching.len() > limit {
        let error = block.select(matchers, range, limit).await.unwrap_err();
        assert!(matches!(error, ReadError::TooManySeries { .. }));
    }
    let every = block.select_all(matchers).await.unwrap();
    let matching: Vec<&Series> = all.iter().filter(|series| series.matches(matchers)).collect();
    assert_eq!(every.len(), matching.len());
    let (start, end) = (range.after_ms.saturating_add(1), range.until_ms);
    let found = every.exemplars(start, end).await.unwrap();
    let in_range = |series: &Series| {
        let exemplars = series.exemplars.iter().filter(|exemplar| (start..=end).contains(&exemplar.timestamp_ms));
        exemplars.cloned().collect::<Vec<_>>()
    };
    let expected = matching.iter().enumerate().map(|(index, series)| (index, in_range(series)));
    assert_eq!(found, expected.filter(|(_, exemplars)| !exemplars.is_empty()).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn blocks_answer_as_their_series_do(
        seed: u64,
        in_parts: bool,
        queries in prop::collection::vec((any_matchers(), any_range(), 0usize..40), 1..5),
    ) {
        let series = any_series(seed, 60, 300);
        wait(async {
            let block = block_with(&Bucket::in_memory(), &series, small_layout(seed), if in_parts { 0 } else { 8 << 20 }).await;
            check_selection(&block, &series, &[], TimeRange::ALL).await;
            for (matchers, range, limit) in &queries {
                check_selection(&block, &series, matchers, *range).await;
                check_listings(&block, &series, matchers, *range, *limit).await;
            }
        });
    }
}
