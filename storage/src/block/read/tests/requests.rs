//! How many requests reading takes, and what a damaged or missing object leads to.

use super::model::{Series, any_series, block, block_with, columns, small_layout, upload, wait, write};
use crate::account::Account;
use crate::block::read::column::Numbers;
use crate::block::read::matching::overlap;
use crate::block::read::rows::RowRanges;
use crate::block::read::{Block, BlockCaches, CacheKind, ReadError, What};
use crate::block::schema::{CHECKSUMS_FILE, column};
use crate::block::writer::Layout;
use crate::bucket::testing::FaultyStore;
use crate::bucket::{Bucket, BucketStore, RetryPolicy};
use crate::error::ErrorKind;
use crate::select::TimeRange;
use model::labels::Labels;
use model::matcher::Matcher;
use model::sample::SampleColumns;
use std::sync::Arc;

fn counting() -> (FaultyStore, Bucket) {
    let store = FaultyStore::new(BucketStore::in_memory(), 1);
    let bucket = Bucket::new(store.store(), "", RetryPolicy::default(), 1);
    (store, bucket)
}

/// A fleet of ten targets with jitter and twenty metrics each.
fn fleet() -> Vec<Series> {
    let mut fleet = Vec::new();
    for metric in 0..20 {
        for target in 0..10i64 {
            let labels = [
                ("__name__", format!("metric_{metric:02}")),
                ("instance", format!("host-{target}")),
                ("job", "j".into()),
            ];
            let times: Vec<i64> = (0..480i64).map(|n| n * 15_000 + (n * 7 + target) % 5).collect();
            let values = times.iter().map(|time| (time * (metric + 1) / 1000) as f64).collect();
            fleet.push(Series { labels: Labels::from_pairs(labels).unwrap(), times, values, ..Series::default() });
        }
    }
    fleet
}

/// A cold block takes two round trips: checksums, series, samples' footer, timelines' footer; then samples and timelines. A warm
/// one takes none.
#[test]
fn a_cold_block_takes_six_requests_and_a_warm_one_none() {
    let (store, bucket) = counting();
    let series = fleet();
    wait(async {
        let block = block(&bucket, &series, Layout::of_level(0)).await;
        let matchers = [Matcher::equal("__name__", "metric_03")];
        let mut requests = Vec::new();
        let mut query = async || {
            let before = store.requests();
            let found = block.select(&matchers, TimeRange::ALL, 100).await.unwrap();
            let selected = store.requests();
            let pages = found.fetch(0..found.len(), TimeRange::ALL, What::FLOATS).await.unwrap();
            let fetched = store.requests();
            let labels = found.labels(None).await.unwrap();
            let mut into = SampleColumns::default();
            for index in 0..found.len() {
                found.read(&pages, index, TimeRange::ALL, &mut into).unwrap();
                assert_eq!((into.len(), labels.of(index).unwrap().len()), (480, 3));
            }
            assert_eq!(store.requests(), fetched);
            requests.push((selected - before, fetched - selected));
        };
        query().await;
        query().await;
        assert_eq!(requests, [(4, 2), (0, 0)]);
    });
}

/// A series file too large to be read as a whole: its footer, then the pages that are needed in one request, each fetched once.
#[test]
fn a_large_series_file_is_read_by_columns() {
    let (store, bucket) = counting();
    let series = fleet();
    wait(async {
        let block = block_with(&bucket, &series, Layout::of_level(0), 0).await;
        store.forget_round_trips();
        let matchers = [Matcher::equal("__name__", "metric_03"), Matcher::equal("instance", "host-7")];
        let mut requests = Vec::new();
        let mut query = async || {
            let before = store.requests();
            let found = block.select(&matchers, TimeRange::ALL, 100).await.unwrap();
            let selected = store.requests();
            let pages = found.fetch(0..found.len(), TimeRange::ALL, What::FLOATS).await.unwrap();
            let labels = found.labels(None).await.unwrap();
            let mut into = SampleColumns::default();
            found.read(&pages, 0, TimeRange::ALL, &mut into).unwrap();
            assert_eq!((found.len(), into.len(), labels.of(0).unwrap().len()), (1, 480, 3));
            requests.push((selected - before, store.requests() - selected));
        };
        query().await;
        query().await;
        // Checksums and three footers, columns of the metric; samples, timelines.
        assert_eq!(requests, [(5, 2), (0, 0)]);
        assert!(store.round_trips() <= 3, "{} round trips", store.round_trips());
    });
}

/// What labels there are, and which values they have, is in the footer and in dictionaries.
#[test]
fn labels_of_all_series_are_listed_without_reading_columns() {
    let (store, bucket) = counting();
    let series = fleet();
    wait(async {
        let block = block_with(&bucket, &series, Layout::of_level(0), 0).await;
        let range = TimeRange { after_ms: -1, until_ms: i64::MAX };
        let before = store.requests();
        let names = block.label_names(&[], range, 100).await.unwrap();
        let values = block.label_values("instance", &[], range, 100).await.unwrap();
        assert_eq!(
            (names.items, values.items.len()),
            (["__name__", "instance", "job"].map(str::to_owned).to_vec(), 10)
        );
        // Checksums and footer; then the column for its dictionary.
        assert_eq!(store.requests() - before, 3);
        let decoded = block.inner.source.cache.counts(CacheKind::Series);
        assert_eq!((decoded.hits, decoded.misses), (0, 1));
    });
}

/// Times of series are as different as their targets: their pages have no dictionary that would say it.
#[test]
fn a_range_that_cuts_a_block_off_takes_no_look_at_series_that_live_through_it() {
    let (_, bucket) = counting();
    let series = fleet();
    wait(async {
        let layout = Layout { series_page_rows: 64, ..Layout::of_level(0) };
        let block = block(&bucket, &series, layout).await;
        let account = Account::default();
        let file = block.inner.open_series(&account).await.unwrap();
        let paths = [column::MIN_TS, column::MAX_TS].map(str::to_owned);
        let columns = block.inner.with_columns(&file, paths, &RowRanges::all(200), &account).await.unwrap();
        let [first, last] = [column::MIN_TS, column::MAX_TS].map(|path| columns.column::<Numbers>(path).unwrap());
        let answers = |after_ms, until_ms| -> Vec<_> {
            let range = TimeRange { after_ms, until_ms };
            let pages = 0..first.layout.pages.len();
            pages.map(|n| overlap(first.page(n).unwrap().0, last.page(n).unwrap().0, range)).collect()
        };
        assert_eq!(first.page(0).unwrap().0.signed_bounds(), Some((0, 4)));
        assert_eq!(answers(1_000_000, 2_000_000), [Some(true); 4]);
        assert_eq!(answers(i64::MIN, -1), [Some(false); 4]);
        assert_eq!(answers(479 * 15_000 + 4, i64::MAX), [Some(false); 4]);
        assert_eq!(answers(i64::MIN, 2), [None; 4], "some begin later");
        let cut = TimeRange { after_ms: 1_000_000, until_ms: 2_000_000 };
        assert_eq!(block.select(&[], cut, 1_000).await.unwrap().len(), 200);
    });
}

/// An instant query reads pages around its time, although only timelines say which these are.
#[test]
fn a_narrow_range_of_irregular_series_takes_few_pages() {
    let (store, bucket) = counting();
    let mut state = 1u64;
    let mut random = || {
        state = xxhash_rust::xxh3::xxh3_64(&state.to_le_bytes());
        state
    };
    let mut series = Vec::new();
    for target in 0..4i64 {
        let labels = [("__name__", "noise".to_owned()), ("instance", format!("host-{target}"))];
        let mut times: Vec<i64> = (0..60_000i64).map(|n| n * 15_000 + (random() % 7) as i64).collect();
        let mut shared = times.clone();
        // A second series with gaps on the same timeline.
        shared.retain(|_| random() % 50 > 0);
        for (name, times) in [("noise", std::mem::take(&mut times)), ("noise_with_gaps", shared)] {
            let mut labels = labels.clone();
            labels[0].1 = name.into();
            let values = times.iter().map(|_| (random() % 1_000_000_007) as f64).collect();
            series.push(Series { labels: Labels::from_pairs(labels).unwrap(), times, values, ..Series::default() });
        }
    }
    series.sort_by(|a, b| crate::block::order::compare(a.labels.iter(), b.labels.iter()));
    wait(async {
        let block = block(&bucket, &series, Layout::of_level(0)).await;
        let bytes = block.meta().file("samples.parquet").unwrap().bytes;
        let mut requests = Vec::new();
        for at in [300_000_000, 600_000_000] {
            let range = TimeRange { after_ms: at, until_ms: at + 300_000 };
            let before = store.requests();
            let found = block.select(&[], range, 100).await.unwrap();
            let pages = found.fetch(0..found.len(), range, What::FLOATS).await.unwrap();
            requests.push(store.requests() - before);
            assert!((pages.bytes() as u64) < bytes / 4, "{} of {bytes}", pages.bytes());
            let mut into = SampleColumns::default();
            for (index, series) in series.iter().enumerate() {
                found.read(&pages, index, range, &mut into).unwrap();
                let read = into.timestamps_ms.iter().copied().zip(into.values.iter().map(|value| value.to_bits()));
                assert_eq!(read.collect::<Vec<_>>(), series.floats_in(range));
            }
        }
        assert!(requests[0] <= 7 && requests[1] <= 4, "{requests:?}");
    });
}

/// Series with one timeline have one token, those of other targets another.
#[test]
fn series_of_a_target_share_their_token() {
    let series = fleet();
    wait(async {
        let block = block(&Bucket::in_memory(), &series, Layout::of_level(0)).await;
        let found = block.select(&[], TimeRange::ALL, 1000).await.unwrap();
        let pages = found.fetch(0..found.len(), TimeRange::ALL, What::FLOATS).await.unwrap();
        let mut into = SampleColumns::default();
        let range = TimeRange { after_ms: 100_000, until_ms: 2_000_000 };
        let mut read = |index| found.read(&pages, index, range, &mut into).unwrap();
        let tokens: Vec<_> = (0..found.len()).map(&mut read).collect();
        assert!(tokens.iter().enumerate().all(|(index, token)| token.is_some() && *token == tokens[index % 10]));
        assert_ne!(tokens[0], tokens[1]);
    });
}

#[test]
fn a_missing_object_is_named() {
    let bucket = Bucket::in_memory();
    let series = any_series(3, 20, 50);
    let dir = tempfile::tempdir().unwrap();
    let meta = write(dir.path(), &series, small_layout(3), columns());
    let block = Block::new(&bucket, Arc::new(meta), &BlockCaches::new(1 << 20, 1.0)).unwrap();
    let error = wait(block.select(&[], TimeRange::ALL, 100)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(&block.meta().ulid), "{error}");
}

/// Whatever is wrong with the bytes: samples or an error, and the other block stays usable.
#[test]
fn damaged_blocks_are_refused_and_others_stay_usable() {
    let bucket = Bucket::in_memory();
    let series = any_series(5, 40, 200);
    let dir = tempfile::tempdir().unwrap();
    let meta = write(dir.path(), &series, small_layout(5), columns());
    let caches = BlockCaches::new(8 << 20, 1.0);
    let mut refused = 0;
    wait(async {
        let mut other = meta.clone();
        other.tenant = "other".into();
        upload(&bucket, dir.path(), &other).await;
        let other = Block::new(&bucket, Arc::new(other), &caches).unwrap();
        for damage in 0..120u64 {
            let mut meta = meta.clone();
            meta.tenant = format!("tenant-{damage}");
            upload(&bucket, dir.path(), &meta).await;
            let file = &meta.files[damage as usize % meta.files.len()];
            let mut bytes = std::fs::read(dir.path().join(&file.name)).unwrap();
            for n in 0..4 {
                let at = xxhash_rust::xxh3::xxh3_64(&(damage * 4 + n).to_le_bytes()) as usize % bytes.len();
                bytes[at] ^= 0x55;
            }
            bucket.put(&format!("{}{}", meta.prefix(), file.name), bytes.into()).await.unwrap();
            let block = Block::new(&bucket, Arc::new(meta), &caches).unwrap();
            if let Err(error) = read_all(&block).await {
                assert!(error.to_string().contains(&format!("tenant-{damage}/")), "{error}");
                refused += 1;
            }
            read_all(&other).await.unwrap();
        }
    });
    assert!(refused > 40, "{refused} of 120 were noticed");
}

/// One flipped bit anywhere: what is used of the 16 KiB around it is refused with its place; what is not, does no harm.
#[test]
fn a_flipped_bit_is_noticed_and_has_a_place() {
    let bucket = Bucket::in_memory();
    let series = any_series(11, 300, 300);
    let dir = tempfile::tempdir().unwrap();
    let mut meta = write(dir.path(), &series, Layout { zstd_level: 1, ..Layout::of_level(0) }, columns());
    let caches = BlockCaches::new(8 << 20, 1.0);
    let mut refused = 0;
    wait(async {
        for flip in 0..60u64 {
            meta.tenant = format!("tenant-{flip}");
            upload(&bucket, dir.path(), &meta).await;
            let file = &meta.files[flip as usize % meta.files.len()];
            let mut bytes = std::fs::read(dir.path().join(&file.name)).unwrap();
            let at = xxhash_rust::xxh3::xxh3_64(&flip.to_le_bytes()) as usize % bytes.len();
            bytes[at] ^= 1 << (flip % 8);
            let key = format!("{}{}", meta.prefix(), file.name);
            bucket.put(&key, bytes.into()).await.unwrap();
            let block = Block::new(&bucket, Arc::new(meta.clone()), &caches).unwrap();
            match read_all(&block).await {
                Ok(()) => assert_ne!(file.name, CHECKSUMS_FILE),
                Err(ReadError::Damaged { key: named, offset, .. }) => {
                    assert_eq!((&*named, offset), (key.as_str(), at as u64 / 16384 * 16384));
                    refused += 1;
                }
                Err(error) => {
                    assert_eq!(file.name, CHECKSUMS_FILE, "{error}");
                    assert!(error.to_string().contains(&key), "{error}");
                    refused += 1;
                }
            }
        }
    });
    assert!(refused >= 55, "{refused} of 60 were noticed");
}

async fn read_all(block: &Block) -> Result<(), ReadError> {
    let found = block.select(&[], TimeRange::ALL, usize::MAX).await?;
    let labels = found.labels(None).await?;
    found.hashes().await?;
    let pages = found.fetch(0..found.len(), TimeRange::ALL, What::ALL).await?;
    let mut into = SampleColumns::default();
    for index in 0..found.len() {
        labels.of(index)?;
        found.read(&pages, index, TimeRange::ALL, &mut into)?;
        found.read_histograms(&pages, index, TimeRange::ALL, &mut Default::default())?;
        found.read_start_timestamps(&pages, index, TimeRange::ALL, &mut Vec::new())?;
    }
    found.exemplars(i64::MIN, i64::MAX).await?;
    Ok(())
}
