//! Blocks behind a network: how often a reader waits for it, and what it holds in memory.

use super::*;
use crate::account::{Account, MemoryAccount, Refused};
use crate::append::{LabelHash, Rows};
use crate::block::read::ReadError;
use crate::bucket::testing::{Faults, FaultyStore};
use crate::bucket::{BucketStore, RetryPolicy};
use crate::wal::replay::ReplayProgress;
use model::matcher::MatchOp;
use model::sample::SampleColumns;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const HOUR: i64 = 3_600_000;
const BASE_MS: i64 = 1_700_049_600_000;
const BLOCKS: i64 = 10;
const RANGE: TimeRange = TimeRange { after_ms: BASE_MS, until_ms: BASE_MS + 2 * BLOCKS * HOUR };

/// Ten blocks of two hours with jitter, opened anew, in a bucket that takes 20 ms to answer.
fn cold() -> (tempfile::TempDir, FaultyStore, Store) {
    let (dir, network) = (tempfile::tempdir().unwrap(), FaultyStore::new(BucketStore::in_memory(), 1));
    let open = || {
        let mut options = StoreOptions::new(dir.path());
        options.check_interval = Duration::from_secs(3600);
        let bucket = Bucket::new(network.store(), "", RetryPolicy::default(), 1);
        Store::open_on(bucket, options, &ReplayProgress::default()).unwrap()
    };
    let store = open();
    for block in 0..BLOCKS {
        let mut rows = Rows::default();
        for number in 0..40i64 {
            let (name, instance) = (format!("m{}", number % 4), format!("i{}", number / 4));
            let labels = [("__name__", &*name), ("instance", &*instance), ("job", "j")];
            let series = store.engine().create(LabelHash::of_pairs(labels, &mut Vec::new()), &labels).unwrap();
            for scrape in 0..239 {
                let jitter = (scrape * 7 + number / 4) % 5;
                rows.push(series, BASE_MS + block * 2 * HOUR + scrape * 30_000 + jitter, (number * scrape) as f64);
            }
        }
        assert!(store.engine().append_wait(rows).unwrap().rejected.is_empty());
        store.flush(false).unwrap();
    }
    store.close().unwrap();
    drop(store);
    let store = open();
    assert_eq!(store.manifest().blocks.len(), BLOCKS as usize);
    network.set_faults(Faults { latency: Duration::from_millis(20), ..Faults::default() });
    network.forget_round_trips();
    (dir, network, store)
}

fn foreseen(metric: &str) -> Foreseen {
    Foreseen { matchers: vec![Matcher::equal("__name__", metric)], range: RANGE, series_max: 100, buckets: None }
}

fn samples(view: &StoreView, metric: &str) -> usize {
    let matchers = [Matcher::equal("__name__", metric)];
    let selection = view.select(&matchers, RANGE.after_ms, RANGE.until_ms, 100).unwrap();
    let mut columns = SampleColumns::default();
    let read = |index: usize| {
        selection.read(index, RANGE.after_ms, RANGE.until_ms, &mut columns).unwrap();
        columns.len()
    };
    (0..selection.len()).map(read).sum()
}

/// Four footers and small files, then pages of samples and timelines: two round trips, a third where answers are not awaited
/// together. Selections that want the same bytes share requests.
#[test]
fn what_is_foreseen_of_ten_cold_blocks_takes_three_round_trips() {
    let (_dir, network, store) = cold();
    let session = store.session(Account::default());
    let before = network.requests();
    session.prepare(&[foreseen("m1"), foreseen("m2")]).expect("nothing is cached").wait();
    let (requests, round_trips) = (network.requests() - before, network.round_trips());
    assert!(requests <= 7 * BLOCKS as u64, "{requests} requests");
    assert!(round_trips <= 3, "{round_trips} round trips");
    let view = session.view();
    assert_eq!([samples(&view, "m1"), samples(&view, "m2")], [10 * 10 * 239 - 2; 2]);
    assert_eq!(network.requests() - before, requests, "what was foreseen is fetched again");
}

/// What was read once is found without a request, and nobody has to wait.
#[test]
fn what_is_cached_is_ready_without_waiting() {
    let (_dir, network, store) = cold();
    store.session(Account::default()).prepare(&[foreseen("m1")]).expect("nothing is cached").wait();
    let before = network.requests();
    let session = store.session(Account::default());
    assert!(session.prepare(&[foreseen("m1")]).is_none());
    assert_eq!(samples(&session.view(), "m1"), 10 * 10 * 239 - 2);
    assert_eq!(network.requests(), before);
}

/// What takes no request and little time is told at once; the rest is left to those who may wait.
#[test]
fn a_glance_tells_what_few_blocks_in_memory_have() {
    let (_dir, network, store) = cold();
    // Two blocks of ten.
    let range = TimeRange { after_ms: BASE_MS + 16 * HOUR - 1, until_ms: RANGE.until_ms };
    let matchers = [Matcher::equal("__name__", "m1"), Matcher::equal("instance", "i3")];
    let before = network.requests();
    assert_eq!(store.list_at_a_glance(None, &[], range, 10), None);
    assert_eq!(store.list_at_a_glance(Some("instance"), &[], range, 10), None);
    assert_eq!(store.count_in_blocks_at_a_glance(&matchers, range), None);
    assert_eq!(network.requests(), before);

    let names = store.label_names(&[], range, 10).unwrap();
    let before = network.requests();
    assert_eq!(store.list_at_a_glance(None, &[], range, 10), Some(names));
    for (label, limit) in [("instance", 100), ("instance", 3), ("job", 1), ("nothing", 1)] {
        for matchers in [&[], &matchers[..1], &matchers] {
            let values = store.label_values(label, matchers, range, limit).unwrap();
            assert_eq!(store.list_at_a_glance(Some(label), matchers, range, limit), Some(values), "{label}");
        }
    }
    assert_eq!(store.count_in_blocks_at_a_glance(&matchers, range), Some(2));
    let none = [Matcher::equal("__name__", "m1"), Matcher::equal("job", "other")];
    assert_eq!(store.count_in_blocks_at_a_glance(&none, range), Some(0));
    let regex = [Matcher::new("__name__", MatchOp::Regex, "m.*").unwrap()];
    assert_eq!(store.count_in_blocks_at_a_glance(&regex, range), Some(80));
    assert_eq!(store.list_at_a_glance(None, &regex, range, 10), None);
    assert_eq!(store.list_at_a_glance(None, &[], RANGE, 10), None, "ten are not few");
    assert_eq!(network.requests(), before);
}

/// As `info` is foreseen: whoever selects fewer series afterwards finds what was fetched in the caches.
#[test]
fn what_was_foreseen_more_widely_than_it_is_selected_is_not_waited_for() {
    let (_dir, network, store) = cold();
    let session = store.session(Account::default());
    session.prepare(&[foreseen("m1")]).expect("nothing is cached").wait();
    let before = network.requests();
    let matchers = [Matcher::equal("__name__", "m1"), Matcher::new("instance", MatchOp::Regex, "i1|i2").unwrap()];
    let selection = session.view().select(&matchers, RANGE.after_ms, RANGE.until_ms, 100).unwrap();
    let mut columns = SampleColumns::default();
    selection.read(0, RANGE.after_ms, RANGE.until_ms, &mut columns).unwrap();
    assert_eq!((selection.len(), columns.len()), (2, 10 * 239));
    assert_eq!(network.requests(), before);
}

/// The same without foresight: each selection waits for itself.
#[test]
fn a_cold_selection_that_nobody_foresaw_takes_three_round_trips() {
    let (_dir, network, store) = cold();
    let view = store.view();
    assert_eq!(samples(&view, "m1"), 10 * 10 * 239 - 2);
    assert!(network.round_trips() <= 3, "{} round trips", network.round_trips());
}

#[derive(Debug)]
struct Limit {
    held: AtomicUsize,
    bytes_max: usize,
}

impl MemoryAccount for Limit {
    fn hold(&self, bytes: usize) -> Result<(), Refused> {
        if self.held.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.bytes_max {
            return Ok(());
        }
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        Err(Refused(Arc::new(std::fmt::Error)))
    }

    fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What a query holds of blocks is charged to it from the request to the end of the query.
#[test]
fn what_is_held_of_blocks_is_charged_and_given_back() {
    let (_dir, network, store) = cold();
    network.set_faults(Faults::default());
    let account = |bytes_max| Arc::new(Limit { held: AtomicUsize::new(0), bytes_max });
    let generous = account(usize::MAX);
    let session = store.session(Account::of(Arc::clone(&generous) as Arc<dyn MemoryAccount>));
    session.prepare(&[foreseen("m1")]).expect("nothing is cached").wait();
    let held = generous.held.load(Ordering::Relaxed);
    let pages: u64 = store.manifest().blocks.iter().map(|meta| meta.bytes()).sum();
    assert!(held > 10_000 && (held as u64) < 4 * pages, "{held} of {pages}");
    samples(&session.view(), "m1");
    assert_eq!(generous.held.load(Ordering::Relaxed), held, "it is held already");
    drop(session);
    assert_eq!(generous.held.load(Ordering::Relaxed), 0);

    for bytes_max in [1000, held / 2, held - 1000] {
        let strict = account(bytes_max);
        let session = store.session(Account::of(Arc::clone(&strict) as Arc<dyn MemoryAccount>));
        assert!(session.prepare(&[foreseen("m1")]).is_none(), "all is cached");
        let view = session.view();
        let matchers = [Matcher::equal("__name__", "m1")];
        let selected = view.select(&matchers, RANGE.after_ms, RANGE.until_ms, 100);
        let read = selected.and_then(|selection| {
            selection.read(0, RANGE.after_ms, RANGE.until_ms, &mut SampleColumns::default())?;
            selection.read(9, RANGE.after_ms, RANGE.until_ms, &mut SampleColumns::default())
        });
        assert!(matches!(read, Err(SelectError::Block(ReadError::Refused(_)))), "{read:?}");
        drop((view, session));
        assert_eq!(strict.held.load(Ordering::Relaxed), 0);
    }
}

/// Series that only blocks know are numbered by their labels: equal numbers mean equal labels.
#[test]
fn labels_of_series_in_blocks_have_numbers() {
    let (_dir, network, store) = cold();
    network.set_faults(Faults::default());
    let selection = store.select(&[], RANGE.after_ms, RANGE.until_ms, 100).unwrap();
    let (mut numbers, names) = (Vec::new(), ["__name__", "job"]);
    assert!(selection.label_numbers(0..selection.len(), &names, &mut numbers));
    let mut known = std::collections::BTreeMap::new();
    for (index, numbers) in numbers.chunks_exact(names.len() + 1).enumerate() {
        let labels = selection.labels_among(index, &names).unwrap();
        assert_eq!(*known.entry(numbers).or_insert_with(|| labels.clone()), labels);
    }
    assert_eq!((selection.len(), known.len()), (40, 4));
}

/// Of series that only blocks know, whoever counts memory is told of every part, and can end it.
#[test]
fn labels_of_blocks_are_counted_while_they_are_read() {
    let (_dir, network, store) = cold();
    drop(store);
    let elsewhere = tempfile::tempdir().unwrap();
    let bucket = Bucket::new(network.store(), "", RetryPolicy::default(), 1);
    let store = Store::open_on(bucket, StoreOptions::new(elsewhere.path()), &ReplayProgress::default()).unwrap();
    let selection = store.session(Account::default()).view().select(&[], RANGE.after_ms, RANGE.until_ms, 100).unwrap();
    assert_eq!(selection.len(), 40);
    let mut parts = Vec::new();
    let mut hold = |bytes| {
        parts.push(bytes);
        true
    };
    assert!(selection.fetch_labels(&mut hold).unwrap());
    // Three columns of one block; the texts of the names are the longest.
    assert_eq!(parts.len(), 3);
    assert!(parts.iter().all(|bytes| (10..1000).contains(bytes)), "{parts:?}");
    let mut asked = 0;
    let mut hold = |_| {
        asked += 1;
        asked < 2
    };
    assert!(!selection.fetch_labels(&mut hold).unwrap());
    assert_eq!(asked, 2);
}
