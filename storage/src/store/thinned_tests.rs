//! Native histograms of days whose floats have expired: what is kept of them, and what room that takes.

use super::tiered_tests::{base_ms, open};
use super::*;
use crate::append::{Batch, HistogramRow, LabelHash};
use crate::block::verify::verify;
use crate::tiers::policy::{TierOptions, TierPolicy};
use model::bucket::{BucketUse, thin};
use model::histogram::{Histogram, HistogramColumns, Span};
use model::sample::stale_marker;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::time::Duration;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn series(store: &Store, number: usize) -> crate::append::SeriesRef {
    let number = number.to_string();
    let labels = [("__name__", "h"), ("n", number.as_str())];
    store.engine().create(LabelHash::of_pairs(labels, &mut Vec::new()), &labels).unwrap()
}

/// Lets time pass: samples of the first days expire, and perhaps the finer tier.
fn live(store: &Store, raw_days: u32, fine_days: u32) {
    let days = |count: u32| Duration::from_secs(24 * 3600) * count;
    let tier = |minutes: u64, keep| TierOptions { resolution: Duration::from_secs(60 * minutes), keep: days(keep) };
    let tiers = vec![tier(5, fine_days), tier(60, 365)];
    store.set_retention(Retention {
        tiers: Some(TierPolicy { raw_keep: days(raw_days), tiers }),
        ..Retention::default()
    });
    store.flush(true).unwrap();
}

/// Three days of two series, scraped every minute: resets, stale markers, gaps, other layouts, new starts; and a float for each day and the next.
fn fill(store: &Store, base_ms: i64, seed: u64) -> Vec<(HistogramColumns, Vec<i64>)> {
    let random = &mut SmallRng::seed_from_u64(seed);
    let mut truth = vec![(HistogramColumns::default(), Vec::new()); 2];
    let mut batch = Batch::default();
    for (number, (columns, starts)) in truth.iter_mut().enumerate() {
        let (mut schema, mut total, mut start_ms) = (3, 0.0, base_ms - 1);
        for scrape in 0..3 * DAY / MINUTE {
            let timestamp_ms = base_ms + scrape * MINUTE + random.random_range(0..900);
            match random.random_range(0..150) {
                0 => schema = random.random_range(0..4),
                1 => total = 0.0,
                2 => start_ms = timestamp_ms - 10,
                3..8 => continue,
                _ => {}
            }
            total += f64::from(random.random_range(0..50));
            let positive_spans = vec![Span { offset: 2, length: 2 }];
            let is_stale = random.random_bool(0.01);
            let histogram = Histogram {
                schema,
                count: 2.0 * total + 3.0,
                sum: if is_stale { stale_marker() } else { total / 3.0 },
                zero_count: 1.0,
                positive_spans,
                positive_buckets: vec![total + 1.0, total + 1.0],
                ..Histogram::default()
            };
            let histogram =
                if is_stale { Histogram { sum: stale_marker(), ..Histogram::default() } } else { histogram };
            columns.push(timestamp_ms, Arc::new(histogram.clone()));
            starts.push(start_ms);
            batch.histograms.push(HistogramRow { series: series(store, number), timestamp_ms, start_ms, histogram });
        }
    }
    for day in 0..4 {
        batch.rows.push(series(store, 9), base_ms + day * DAY + HOUR, 1.0);
    }
    assert!(store.engine().append_wait(batch).unwrap().rejected.is_empty());
    truth
}

/// The histograms and starts of both series.
fn read(store: &Store, base_ms: i64) -> Vec<(HistogramColumns, Vec<i64>)> {
    let wanted = BucketUse { exact_grid_ms: HOUR, where_expired: true, ..BucketUse::default() };
    let range = TimeRange { after_ms: base_ms - 1, until_ms: base_ms + 3 * DAY };
    let selection = store.select_with_buckets(&[], range, 100, &wanted).unwrap();
    let mut found = vec![(HistogramColumns::default(), Vec::new()); 2];
    for index in (0..selection.len()).filter(|index| selection.has_histograms(*index)) {
        let number: usize = selection.labels(index).unwrap().get("n").unwrap().parse().unwrap();
        let (columns, starts) = &mut found[number];
        selection.read_histograms(index, range.after_ms, range.until_ms, columns).unwrap();
        selection.read_start_timestamps(index, range.after_ms, range.until_ms, starts).unwrap();
    }
    found
}

/// What is to be kept, block by block.
fn thinned(
    truth: &[(HistogramColumns, Vec<i64>)],
    base_ms: i64,
    resolution_ms: i64,
) -> Vec<(HistogramColumns, Vec<i64>)> {
    let of = |(all, starts): &(HistogramColumns, Vec<i64>)| {
        let (mut columns, mut kept) = (HistogramColumns::default(), Vec::new());
        for day in 0..3 {
            let (mut part, mut part_starts) = (HistogramColumns::default(), Vec::new());
            for ((time_ms, histogram, _), start_ms) in all.clone().drain().zip(starts) {
                if (time_ms - base_ms).div_euclid(DAY) == day {
                    part.push(time_ms, histogram);
                    part_starts.push(*start_ms);
                }
            }
            thin(&mut part, &mut part_starts, resolution_ms);
            part.drain().for_each(|(time_ms, histogram, left_out)| columns.push_after(time_ms, histogram, left_out));
            kept.append(&mut part_starts);
        }
        (columns, kept)
    };
    truth.iter().map(of).collect()
}

fn check(store: &Store, dir: &std::path::Path, expected: &[(HistogramColumns, Vec<i64>)], base_ms: i64) {
    let mut found = read(store, base_ms);
    // What is known of resets is found when they are read; that it is the same is shown where functions are.
    for (columns, _) in &mut found {
        let unhinted = |histogram: &Arc<Histogram>| {
            Arc::new(Histogram { counter_reset_hint: Default::default(), ..Histogram::clone(histogram) })
        };
        columns.histograms = columns.histograms.iter().map(unhinted).collect();
    }
    for ((found, found_starts), (expected, starts)) in found.into_iter().zip(expected.to_vec()) {
        assert_eq!(found.timestamps_ms, expected.timestamps_ms);
        assert_eq!(found.left_out, expected.left_out);
        assert_eq!(found_starts, starts);
        for (found, expected) in found.histograms.iter().zip(&expected.histograms) {
            assert_eq!(format!("{found:?}"), format!("{expected:?}"));
        }
    }
    for block in &store.manifest().blocks {
        let problems = verify(&dir.join("blocks").join(block.prefix()), Some(block)).unwrap().problems;
        assert!(problems.is_empty(), "{problems:?}");
    }
}

#[test]
fn histograms_are_thinned_when_floats_expire_and_again_when_the_finer_tier_does() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base_ms) = (open(dir.path()), base_ms());
    let truth = fill(&store, base_ms, 21);
    live(&store, 30, 40);
    check(&store, dir.path(), &truth, base_ms);
    live(&store, 5, 40);
    let fine = thinned(&truth, base_ms, 5 * MINUTE);
    check(&store, dir.path(), &fine, base_ms);
    assert!(fine.iter().zip(&truth).all(|(fine, all)| fine.0.len() < all.0.len() / 2 && !fine.0.left_out.is_empty()));
    store.close().unwrap();
    drop(store);
    let store = open(dir.path());
    check(&store, dir.path(), &fine, base_ms);
    live(&store, 5, 5);
    let coarse = thinned(&truth, base_ms, HOUR);
    check(&store, dir.path(), &coarse, base_ms);
    assert!(coarse.iter().zip(&fine).all(|(coarse, fine)| coarse.0.len() < fine.0.len() / 2));
    // Nothing is left to do.
    let before = store.manifest().blocks.clone();
    live(&store, 5, 5);
    assert_eq!(store.manifest().blocks, before);
    // What may not be approximate is not answered from what is left of them.
    let range = TimeRange { after_ms: base_ms, until_ms: base_ms + DAY };
    let selection = store.select_with_buckets(&[], range, 100, &BucketUse::default()).unwrap();
    let mut columns = HistogramColumns::default();
    for index in 0..selection.len() {
        selection.read_histograms(index, range.after_ms, range.until_ms, &mut columns).unwrap();
        assert!(selection.coverage().unwrap().refused && columns.is_empty());
    }
}

/// Late histograms are merged with what is left of a day, and what is deleted goes.
#[test]
fn late_histograms_and_deletions_leave_the_others_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base_ms) = (open(dir.path()), base_ms());
    let truth = fill(&store, base_ms, 22);
    live(&store, 5, 40);
    let mut expected = thinned(&truth, base_ms, 5 * MINUTE);
    let (time_ms, start_ms) = (expected[0].0.timestamps_ms[40] + 1, expected[0].1[40]);
    let late = Histogram::clone(&expected[0].0.histograms[40]);
    let row = HistogramRow { series: series(&store, 0), timestamp_ms: time_ms, start_ms, histogram: late.clone() };
    store.engine().append_wait(Batch { histograms: vec![row], ..Batch::default() }).unwrap();
    live(&store, 5, 40);
    live(&store, 5, 40);
    let (columns, starts) = &mut expected[0];
    let mut all: Vec<_> = columns.drain().collect();
    all.insert(41, (time_ms, Arc::new(late), 0));
    all.into_iter().for_each(|(time_ms, histogram, left_out)| columns.push_after(time_ms, histogram, left_out));
    starts.insert(41, start_ms);
    check(&store, dir.path(), &expected, base_ms);
    store.delete_series(&[vec![Matcher::equal("n", "0")]], i64::MIN, i64::MAX).unwrap();
    expected[0] = Default::default();
    check(&store, dir.path(), &expected, base_ms);
    store.clean_tombstones().unwrap();
    check(&store, dir.path(), &expected, base_ms);
}

/// A day of four series, scraped every 15 s, of 20 buckets that grow by up to a few dozen.
#[test]
fn thinned_histograms_take_less_room() {
    let dir = tempfile::tempdir().unwrap();
    let (store, base_ms) = (open(dir.path()), base_ms());
    let random = &mut SmallRng::seed_from_u64(23);
    let mut batch = Batch::default();
    for number in 0..4 {
        let mut positive_buckets = vec![0.0; 20];
        let mut sum = 0.0;
        for scrape in 0..DAY / 15_000 {
            for (index, bucket) in (0..20i32).zip(&mut positive_buckets) {
                let increase = f64::from(random.random_range(0..=40 / (1 + (index - 10).abs())));
                *bucket += increase;
                sum += increase * 2f64.powi(index - 10) * random.random_range(0.5..1.0);
            }
            let histogram = Histogram {
                count: positive_buckets.iter().sum(),
                sum,
                positive_spans: vec![Span { offset: -10, length: 20 }],
                positive_buckets: positive_buckets.clone(),
                ..Histogram::default()
            };
            let timestamp_ms = base_ms + scrape * 15_000 + 3_777;
            batch.histograms.push(HistogramRow {
                series: series(&store, number),
                timestamp_ms,
                start_ms: 0,
                histogram,
            });
        }
    }
    let count = batch.histograms.len() as f64;
    // Floats, so that there are tiers of the day, and of the next one, so that it is over.
    for day in 0..2 {
        batch.rows.push(series(&store, 9), base_ms + day * DAY + HOUR, 1.0);
    }
    assert!(store.engine().append_wait(batch).unwrap().rejected.is_empty());
    let bytes = |store: &Store| {
        let of = |block: &crate::block::meta::BlockMeta| {
            let files = block.files.iter().filter(|file| file.name.starts_with("hist"));
            files.map(|file| file.bytes).sum::<u64>()
        };
        store.manifest().blocks.iter().map(of).sum::<u64>() as f64 / count
    };
    live(&store, 30, 40);
    let all = bytes(&store);
    live(&store, 5, 40);
    let fine = bytes(&store);
    live(&store, 5, 5);
    let coarse = bytes(&store);
    println!("bytes per histogram that came: {all:.2}, thinned for 5 m {fine:.2}, for 1 h {coarse:.2}");
    assert!(fine < all / 4.0 && coarse < all / 25.0, "{all} {fine} {coarse}");
}
