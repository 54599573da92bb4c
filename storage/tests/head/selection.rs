//! Matchers, listings and counts against the naive twin.

use crate::naive::NaiveHead;
use crate::samples::open;
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use proptest::prelude::*;
use std::collections::BTreeMap;
use storage::append::{LabelHash, Rows};
use storage::head::Head;
use storage::select::{SelectError, TimeRange};

const NAMES: [&str; 5] = ["__name__", "job", "instance", "pod", "le"];

/// Few values of some labels, hundreds of others, absent ones.
fn any_labels() -> impl Strategy<Value = Labels> {
    (0u8..5, 0u8..3, 0u16..40, prop_oneof![Just(None), (0u16..700).prop_map(Some)], proptest::option::of(0u8..4))
        .prop_map(|(name, job, instance, pod, le)| {
            let pod = pod.map_or(String::new(), |pod| format!("service-{:03}-{}", pod, pod % 7));
            let pairs = [
                ("__name__", format!("metric_{name}")),
                ("job", ["", "api", "node"][usize::from(job)].to_owned()),
                ("instance", format!("10.0.0.{instance}:80")),
                ("pod", pod),
                ("le", le.map_or(String::new(), |le| format!("0.{le}"))),
            ];
            Labels::from_pairs(pairs).unwrap()
        })
}

fn any_matcher() -> impl Strategy<Value = Matcher> {
    let value = prop_oneof![
        Just("".to_owned()),
        (0u8..6).prop_map(|n| format!("metric_{n}")),
        Just("api".to_owned()),
        (0u16..45).prop_map(|n| format!("10.0.0.{n}:80")),
        (0u16..710).prop_map(|n| format!("service-{:03}-{}", n, n % 7)),
        (0u8..5).prop_map(|n| format!("0.{n}")),
    ];
    let pattern = prop_oneof![
        Just(".*".to_owned()),
        Just(".+".to_owned()),
        Just("".to_owned()),
        Just("api|node".to_owned()),
        Just("|api".to_owned()),
        Just("metric_[0-2]".to_owned()),
        (0u8..8).prop_map(|n| format!("service-.*-{n}")),
        (0u16..8).prop_map(|n| format!("service-{n}.*")),
        (0u16..400).prop_map(|n| format!("service-{n:03}-.|service-{:03}-.", n + 7)),
        Just("10\\.0\\.0\\.1.:80".to_owned()),
        Just(".*3.*".to_owned()),
        Just("(service-.*)?".to_owned()),
    ];
    let name = prop_oneof![9 => (0usize..NAMES.len()).prop_map(|n| NAMES[n]), 1 => Just("unknown")];
    prop_oneof![
        (name.clone(), any::<bool>(), value).prop_map(|(name, equal, value)| {
            Matcher::new(name, if equal { MatchOp::Equal } else { MatchOp::NotEqual }, value).unwrap()
        }),
        (name, any::<bool>(), pattern).prop_map(|(name, is, pattern)| {
            Matcher::new(name, if is { MatchOp::Regex } else { MatchOp::NotRegex }, pattern).unwrap()
        }),
    ]
}

/// Every series gets one sample, the n-th at minute n, so that ranges choose series as well.
fn fill(head: &Head, twin: &mut NaiveHead, sets: &[Labels]) {
    for (n, labels) in sets.iter().enumerate() {
        let series = twin.create(head, labels);
        let mut rows = Rows::default();
        rows.push(series, n as i64 * 60_000, 1.0);
        assert_eq!(head.append(&rows), twin.append(&rows));
    }
}

/// A metric has a few series of each target, a target a few of each metric.
#[test]
fn the_bound_of_two_values_that_many_series_have_is_what_both_have() {
    let dir = tempfile::tempdir().unwrap();
    let head = open(dir.path(), 2);
    let labels = |metric: usize, target: usize, pod: usize| {
        let pairs = [
            ("__name__", format!("metric_{metric}")),
            ("instance", format!("t{target}")),
            ("pod", format!("p{}", pod * (1 + target % 2))),
        ];
        Labels::from_pairs(pairs).unwrap()
    };
    let sets: Vec<Labels> = (0..2_400).map(|n| labels(n / 8 % 12, n / 96, n % 8)).collect();
    fill(&head, &mut NaiveHead::default(), &sets);
    let bound = |pairs: &[(&str, &str)]| {
        head.series_bound(
            &pairs.iter().map(|(name, value)| Matcher::equal(*name, *value)).collect::<Vec<_>>(),
            TimeRange::ALL,
        )
    };
    assert_eq!(bound(&[("instance", "t7")]), 96);
    assert_eq!(bound(&[("__name__", "metric_3")]), 200);
    assert_eq!(bound(&[("__name__", "metric_3"), ("instance", "t7")]), 8);
    assert_eq!(bound(&[("instance", "t7"), ("__name__", "metric_3"), ("job", "")]), 8);
    assert_eq!(bound(&[("instance", "t7"), ("__name__", "metric_99")]), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn matchers_of_all_kinds_select_as_the_twin(
        sets in proptest::collection::vec(any_labels(), 0..600),
        queries in proptest::collection::vec((proptest::collection::vec(any_matcher(), 0..4), 0usize..NAMES.len(), 1usize..60), 20),
        shards in 0u32..3,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let head = open(dir.path(), 1 << shards);
        let mut twin = NaiveHead::default();
        fill(&head, &mut twin, &sets);
        for (matchers, name, limit) in &queries {
            let selection = head.select(matchers, i64::MIN, i64::MAX, usize::MAX).unwrap();
            prop_assert!(head.series_bound(matchers, TimeRange::ALL) >= selection.len());
            let nothing = TimeRange { after_ms: i64::MAX - 1, until_ms: i64::MAX };
            prop_assert_eq!(head.series_bound(matchers, nothing), 0);
            let mut selected: Vec<Labels> = (0..selection.len()).map(|i| selection.labels(i)).collect();
            selected.sort();
            let mut expected: Vec<Labels> = twin.matching(matchers).map(|series| series.labels.clone()).collect();
            expected.sort();
            prop_assert_eq!(&selected, &expected, "{:?}", matchers);
            let bounded = head.select(matchers, i64::MIN, i64::MAX, *limit);
            match bounded {
                Ok(selection) => prop_assert!(selection.len() == expected.len() && expected.len() <= *limit),
                Err(error) => {
                    let SelectError::TooManySeries { series_max } = error else { panic!("{error}") };
                    prop_assert_eq!(series_max, *limit);
                    prop_assert!(expected.len() > *limit);
                }
            }
            let first = head.select_first(matchers, TimeRange::ALL, *limit);
            prop_assert_eq!(first.len(), expected.len().min(*limit));
            prop_assert!((0..first.len()).all(|i| first.series(i) == selection.series(i)));
            let asked = [NAMES[0], NAMES[*name]];
            let asked = if name == &0 { &asked[..1] } else { &asked[..] };
            let mut numbers = Vec::new();
            selection.label_numbers(0..selection.len(), asked, &mut numbers);
            let keys: Vec<_> = numbers.chunks(asked.len() + 1).collect();
            prop_assert_eq!(keys.len(), selection.len());
            let labels_of: BTreeMap<_, _> = keys.iter().enumerate().map(|(i, key)| (*key, selection.labels_among(i, asked))).collect();
            prop_assert!(keys.iter().enumerate().all(|(i, key)| labels_of[key] == selection.labels_among(i, asked)));
            let different: std::collections::BTreeSet<_> = labels_of.iter().map(|(key, labels)| (key[0], labels)).collect();
            prop_assert_eq!(different.len(), labels_of.len(), "one number for each label set of a shard");
            let listed = head.label_names(matchers, TimeRange::ALL, usize::MAX).unwrap();
            prop_assert_eq!(listed.items, twin.names(matchers));
            let mut values = twin.values(NAMES[*name], matchers);
            let listed = head.label_values(NAMES[*name], matchers, TimeRange::ALL, *limit).unwrap();
            prop_assert_eq!(listed.truncated, values.len() > *limit);
            let at_a_glance = head.list_at_a_glance(Some(NAMES[*name]), matchers, TimeRange::ALL, *limit);
            prop_assert_eq!(at_a_glance.as_ref(), Some(&listed), "few series");
            values.truncate(*limit);
            prop_assert_eq!(listed.items, values, "{} of {:?}", NAMES[*name], matchers);
        }
    }

    /// A range may include a series that has no sample in it, never the reverse; what ended before is left out.
    #[test]
    fn ranges_leave_out_what_ended_before_and_what_began_after(sets in proptest::collection::vec(any_labels(), 1..300), from in 0usize..300, len in 0usize..50, name in 0usize..NAMES.len()) {
        let dir = tempfile::tempdir().unwrap();
        let head = open(dir.path(), 2);
        let mut twin = NaiveHead::default();
        fill(&head, &mut twin, &sets);
        let range = TimeRange { after_ms: from as i64 * 60_000, until_ms: (from + len) as i64 * 60_000 };
        let certain: BTreeMap<_, _> = twin.series.iter().filter(|s| !s.within(range.after_ms, range.until_ms).is_empty()).map(|s| (s.series, s)).collect();
        let selection = head.select(&[], range.after_ms, range.until_ms, usize::MAX).unwrap();
        let selected: Vec<_> = (0..selection.len()).map(|i| selection.series(i)).collect();
        prop_assert!(certain.keys().all(|series| selected.contains(series)));
        for series in twin.series.iter().filter(|s| selected.contains(&s.series)) {
            let (first, last) = (*series.samples.keys().next().unwrap(), *series.samples.keys().next_back().unwrap());
            prop_assert!(last > range.after_ms && first < range.until_ms + 30 * 60_000);
        }
        let values = head.label_values(NAMES[name], &[], range, usize::MAX).unwrap().items;
        prop_assert!(certain.values().filter_map(|s| s.labels.get(NAMES[name])).all(|value| values.iter().any(|v| v == value)));
        let names = head.label_names(&[], range, usize::MAX).unwrap().items;
        let at_a_glance = |label| head.list_at_a_glance(label, &[], range, usize::MAX).expect("few series").items;
        prop_assert_eq!((&at_a_glance(None), &at_a_glance(Some(NAMES[name]))), (&names, &values));
        prop_assert!(certain.values().flat_map(|s| s.labels.iter()).all(|(name, _)| names.iter().any(|n| n == name)));
    }

    #[test]
    fn cardinality_counts_over_all_shards(sets in proptest::collection::vec(any_labels(), 0..300), top in 1usize..8) {
        let dir = tempfile::tempdir().unwrap();
        let head = open(dir.path(), 4);
        let mut twin = NaiveHead::default();
        fill(&head, &mut twin, &sets);
        let mut pairs: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for (name, value) in twin.series.iter().flat_map(|series| series.labels.iter()) {
            *pairs.entry((name, value)).or_default() += 1;
        }
        let found = head.cardinality(top);
        let mut by_pair: Vec<(String, u64)> = pairs.iter().map(|((n, v), c)| (format!("{n}={v}"), *c)).collect();
        by_pair.sort_by_key(|line| std::cmp::Reverse(line.1));
        let counts: Vec<u64> = found.series_by_label_pair.iter().map(|c| c.value).collect();
        prop_assert_eq!(counts, by_pair.iter().take(top).map(|line| line.1).collect::<Vec<_>>());
        for line in &found.series_by_metric_name {
            prop_assert_eq!(pairs.get(&("__name__", line.name.as_str())), Some(&line.value));
        }
        for line in &found.bytes_by_label_name {
            let of_name = pairs.iter().filter(|((name, _), _)| *name == line.name);
            let bytes: u64 = of_name.map(|((_, value), series)| value.len() as u64 * series).sum();
            prop_assert_eq!(bytes, line.value);
        }
        for line in &found.values_by_label_name {
            prop_assert_eq!(pairs.keys().filter(|(name, _)| *name == line.name).count() as u64, line.value);
        }
        prop_assert_eq!(found.label_pairs, pairs.len() as u64);
    }
}

#[test]
fn labels_can_be_restricted_without_building_all() {
    let dir = tempfile::tempdir().unwrap();
    let head = open(dir.path(), 1);
    let mut twin = NaiveHead::default();
    let labels = Labels::from_pairs([("__name__", "up"), ("job", "api"), ("zone", "a")]).unwrap();
    fill(&head, &mut twin, &[labels]);
    let selection = head.select(&[Matcher::equal("job", "api")], -1, i64::MAX, 10).unwrap();
    assert_eq!(selection.labels_among(0, &["absent", "zone"]), Labels::from_pairs([("zone", "a")]).unwrap());
}

/// Values that one series has, values that all series share, and values between: the counts stay close to the truth when there
/// are too many to look at.
#[test]
fn many_values_are_counted_to_a_few_percent() {
    let dir = tempfile::tempdir().unwrap();
    let head = open(dir.path(), 4);
    let mut twin = NaiveHead::default();
    for n in 0..20_000 {
        let (own, shared, between) = (format!("own-{n}"), format!("s{}", n % 3000), format!("between-{}", n / 3));
        let pairs = [("__name__", "m"), ("between", &between), ("own", &own), ("shared", &shared)];
        twin.create(&head, &Labels::from_pairs(pairs).unwrap());
    }
    let found = head.cardinality(3);
    let names: Vec<_> = found.values_by_label_name.iter().map(|line| line.name.as_str()).collect();
    assert_eq!(names, ["own", "between", "shared"]);
    for (line, expected) in found.values_by_label_name.iter().zip([20_000.0, 6_667.0, 3_000.0]) {
        assert!((line.value as f64 / expected - 1.0).abs() < 0.1, "{line:?} instead of {expected}");
    }
    assert!((found.label_pairs as f64 / 29_668.0 - 1.0).abs() < 0.1, "{}", found.label_pairs);
    assert_eq!(found.series_by_label_pair[0].name, "__name__=m");
    assert_eq!(found.series_by_label_pair[0].value, 20_000);
    assert_eq!(head.extent().series, 20_000);
}

/// A large selection on a thread of a pool is shared with its other threads.
#[test]
fn many_series_are_selected_in_the_same_order_on_a_pool() {
    let dir = tempfile::tempdir().unwrap();
    let head = open(dir.path(), 4);
    let mut rows = Rows::default();
    for i in 0..9000 {
        let number = i.to_string();
        let labels = [("__name__", "load"), ("i", number.as_str())];
        let hash = LabelHash::of_pairs(labels, &mut Vec::new());
        let (series, _) = head.create(hash, &labels, |_| {}).unwrap();
        rows.push(series, 60_000 * (i % 2), 1.0);
    }
    head.append(&rows);
    let select = |series_max| {
        let selection = head.select(&[Matcher::equal("__name__", "load")], 0, 90_000, series_max)?;
        Ok::<_, SelectError>((0..selection.len()).map(|i| selection.series(i)).collect::<Vec<_>>())
    };
    let alone = select(usize::MAX).unwrap();
    assert_eq!(alone.len(), 4500);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    assert_eq!(pool.install(|| select(4500)).unwrap(), alone);
    assert!(matches!(pool.install(|| select(4499)), Err(SelectError::TooManySeries { series_max: 4499 })));
}
