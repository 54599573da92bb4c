//! Prometheus' own acceptance suite on the store of head and blocks: what is in the head, in blocks as flushed, in merged
//! blocks, and in these beside blocks of buckets must give the same answers.

use crate::twin::generate;
use hearth::query::engine_store::EngineStore;
use model::bucket::BucketUse;
use model::histogram::Histogram;
use promql::budget::Budget;
use promql::engine::{Engine, EngineOptions, QueryContext};
use promql::parse::{ParseOptions, parse};
use promql::source::{SelectRequest, SeriesSet, SeriesSource, SourceError};
use promql::testing::memory::{Appended, MemorySource};
use promql::testing::runner::{run_on, suite_engine};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use regex::{Captures, Regex};
use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use storage::append::{Batch, HistogramRow, LabelHash, Rows};
use storage::bucket::Bucket;
use storage::lifecycle::retention::Retention;
use storage::store::{Store, StoreOptions};
use storage::tiers::policy::{TierOptions, TierPolicy};
use storage::wal::replay::ReplayProgress;

/// A time that no eval of the suite looks at, in milliseconds after its newest sample.
const LONG_AFTER_MS: i64 = 4_000 * 86_400_000;

/// How many evals the suite of Prometheus 3.14 has, so that none goes missing unseen.
const EVALS: usize = 2214;

/// Where samples are when queries run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    /// In blocks, two in time and one of late samples in between, and a few in the head.
    Flushed,
    /// In one block per day.
    Compacted,
    /// In one block per day, beside blocks of buckets for each day but the last.
    Tiered,
}

/// The widths of buckets, in seconds.
const TIERS: [u64; 2] = [60, 300];

/// A policy by which nothing expires.
fn tiers() -> Retention {
    let keep = Duration::from_secs(1_000 * 365 * 86_400);
    let tier = |seconds| TierOptions { resolution: Duration::from_secs(seconds), keep };
    Retention { tiers: Some(TierPolicy { raw_keep: keep, tiers: TIERS.map(tier).to_vec() }), ..Retention::default() }
}

/// Where the test files are; `None` when they are not on this machine.
fn directory() -> Option<PathBuf> {
    if let Some(directory) = std::env::var_os("HEARTH_PROMQLTEST_DIR") {
        return Some(directory.into());
    }
    let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/promqltest"));
    beside.is_dir().then_some(beside)
}

/// Counts the selections of which some time is served from buckets.
struct Counting<'c> {
    source: EngineStore,
    from_buckets: &'c AtomicUsize,
}

impl SeriesSource for Counting<'_> {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        self.source.select(request)
    }

    fn select_with_buckets(
        &self,
        request: &SelectRequest<'_>,
        buckets: &BucketUse,
    ) -> Result<Box<dyn SeriesSet>, SourceError> {
        let selected = self.source.select_with_buckets(request, buckets)?;
        if !selected.is_empty() && selected.coverage().is_some_and(|coverage| !coverage.segments.is_empty()) {
            self.from_buckets.fetch_add(1, Ordering::Relaxed);
        }
        Ok(selected)
    }
}

/// A store with what a source holds.
struct Loaded {
    version: u64,
    store: Store,
    _dir: tempfile::TempDir,
}

impl Loaded {
    fn new(source: &MemorySource, place: Place) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = StoreOptions::new(dir.path());
        options.engine.segment_bytes = 256 << 10;
        options.engine.shards = Some(2);
        // Only what is asked for happens.
        options.check_interval = Duration::from_secs(3600);
        let store = Store::open_on(Bucket::in_memory(), options, &ReplayProgress::default()).unwrap();
        let end_ms = source.appended().filter_map(|series| last_ms(&series)).max().unwrap_or(0);
        match place {
            Place::Head => append(&store, source, |_, _| true),
            Place::Flushed => {
                let middle_ms = end_ms / 2;
                append(&store, source, |n, at| at < middle_ms && (n + at / 1000) % 3 != 0);
                store.flush(false).unwrap();
                append(&store, source, |n, at| at >= middle_ms || (n + at / 1000) % 3 == 0);
                store.flush(false).unwrap();
                assert_eq!(store.engine().head().extent().time_range_ms, None, "the head still has samples");
            }
            Place::Compacted => {
                append(&store, source, |n, at| (n + at / 1000) % 2 == 0);
                store.flush(false).unwrap();
                append(&store, source, |n, at| (n + at / 1000) % 2 != 0);
                store.flush(true).unwrap();
                assert!(store.stats().blocks.iter().all(|group| group.level > 0), "{:?}", store.stats().blocks);
            }
            Place::Tiered => {
                append(&store, source, |_, _| true);
                // A day becomes buckets when it is over, and that it is says a sample of a later one.
                let labels = [("__name__", "long_after")];
                let hash = LabelHash::of_pairs(labels, &mut Vec::new());
                let series = store.engine().create(hash, &labels).unwrap();
                let mut rows = Rows::default();
                rows.push(series, end_ms + LONG_AFTER_MS, 1.0);
                store.engine().append_wait(rows).unwrap();
                store.set_retention(tiers());
                store.flush(true).unwrap();
                if source.appended().any(|series| !series.samples.timestamps_ms.is_empty()) {
                    let blocks = store.stats().blocks;
                    for seconds in TIERS {
                        let is_there = blocks.iter().any(|group| group.resolution_ms == seconds * 1000);
                        assert!(is_there, "no buckets of {seconds} s: {blocks:?}");
                    }
                }
            }
        }
        Self { version: source.version(), store, _dir: dir }
    }
}

fn last_ms(series: &Appended<'_>) -> Option<i64> {
    let histogram = series.histograms.keys().next_back();
    series.samples.timestamps_ms.last().max(histogram).copied()
}

/// Appends the samples for whose series and time `wanted` holds.
fn append(store: &Store, source: &MemorySource, wanted: impl Fn(i64, i64) -> bool) {
    let mut batch = Batch::default();
    let mut rows = Rows::default();
    for (number, series) in (0..).zip(source.appended()) {
        let pairs: Vec<(&str, &str)> = series.labels.iter().collect();
        let hash = LabelHash::of_pairs(pairs.iter().copied(), &mut Vec::new());
        let start_of = |at: i64| series.starts.get(&at).copied().unwrap_or(0);
        let in_store = store.engine().create(hash, &pairs).unwrap();
        for (at, value) in series.samples.timestamps_ms.iter().zip(&series.samples.values) {
            if wanted(number, *at) {
                rows.push_started(in_store, *at, *value, start_of(*at));
            }
        }
        for (timestamp_ms, histogram) in series.histograms.iter().filter(|(at, _)| wanted(number, **at)) {
            let (timestamp_ms, histogram) = (*timestamp_ms, Histogram::clone(histogram));
            let start_ms = start_of(timestamp_ms);
            batch.histograms.push(HistogramRow { series: in_store, timestamp_ms, start_ms, histogram });
        }
    }
    batch.rows = rows;
    let outcome = store.engine().append_wait(batch).unwrap();
    assert!(outcome.rejected.is_empty() && outcome.histograms_rejected.is_empty(), "{outcome:?}");
}

/// An answer as text, or that there is none. Numbers are rounded: where groups are aggregated once more, the last bits depend on the
/// order in which their series are met, and that is another one in blocks.
fn answer(loaded: &Loaded, query: &str) -> Result<String, String> {
    let expr = parse(query, &ParseOptions::all()).map_err(|error| format!("{query}: {error}"))?;
    let options = EngineOptions { start_timestamps: true, subquery_step_ms: 15_000, ..EngineOptions::default() };
    let (budget, source) = (Budget::default(), EngineStore::new(loaded.store.clone()));
    let context = QueryContext::new(&source, &budget);
    match Engine::new(options).range(&expr, 120_000, 435_000, 35_000, &context) {
        Ok(result) => {
            let number = Regex::new(r"-?\d+\.\d+(e-?\d+)?").unwrap();
            let text = format!("{:?}", result.value);
            let rounded = |found: &Captures<'_>| format!("{:.9e}", found[0].parse::<f64>().unwrap());
            Ok(number.replace_all(&text, rounded).into_owned())
        }
        // Which series it names depends on their order, too.
        Err(_) => Ok("fails".to_owned()),
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// `HEARTH_TWIN_CASES` asks for more.
fn cases() -> u32 {
    number("HEARTH_TWIN_CASES").map_or(6, |cases| cases as u32)
}

/// `HEARTH_TWIN_SEED` asks for others.
fn seed() -> RngSeed {
    RngSeed::Fixed(number("HEARTH_TWIN_SEED").unwrap_or(1))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), rng_seed: seed(), failure_persistence: None, max_shrink_iters: 0, ..ProptestConfig::default() })]

    /// Random series, histograms and starts, asked what the twin of PromQL is asked.
    #[test]
    fn random_queries_have_the_same_answers_wherever_samples_are(
        series in generate::data(),
        histograms in generate::histograms(),
        queries in proptest::collection::vec(
            prop_oneof![generate::query(), generate::histogram_query(), generate::extended_query()]
                .prop_filter("rounded", |query| !generate::compares_rounded(query)),
            40
        ),
    ) {
        let mut source = generate::source(&series, &histograms);
        for ((labels, _), started) in series.iter().zip(generate::starts(&series)) {
            source.append_starts(labels, started);
        }
        let [head, flushed, merged, tiered] = [Place::Head, Place::Flushed, Place::Compacted, Place::Tiered]
            .map(|place| Loaded::new(&source, place));
        for query in &queries {
            let expected = answer(&head, query);
            prop_assert_eq!(&answer(&flushed, query), &expected, "flushed: {}", query);
            prop_assert_eq!(&answer(&merged, query), &expected, "merged: {}", query);
            prop_assert_eq!(&answer(&tiered, query), &expected, "tiered: {}", query);
        }
    }
}

fn passes(place: Place) {
    let Some(directory) = directory() else {
        assert!(std::env::var_os("CI").is_none(), "set HEARTH_PROMQLTEST_DIR: the suite must run in CI");
        // Not by the macro, whose output a passing test keeps to itself.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: the acceptance suite is not here; set HEARTH_PROMQLTEST_DIR to its directory"
        );
        return;
    };
    let (mut passed, mut failing, from_buckets) = (0, Vec::new(), AtomicUsize::new(0));
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "test") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let loaded: RefCell<Option<Loaded>> = RefCell::new(None);
        let outcome = run_on(&text, &suite_engine(), |source, eval| {
            let mut loaded = loaded.borrow_mut();
            if loaded.as_ref().is_none_or(|loaded| loaded.version != source.version()) {
                *loaded = Some(Loaded::new(source, place));
            }
            let Some(loaded) = &*loaded else { return Err("nothing is loaded".to_owned()) };
            eval(&Counting { source: EngineStore::new(loaded.store.clone()), from_buckets: &from_buckets })
        });
        let outcome = outcome.unwrap();
        passed += outcome.passed;
        failing.extend(outcome.failed.iter().map(|f| format!("{name}:{} {}\n    {}", f.line, f.expression, f.reason)));
    }
    assert!(failing.is_empty(), "{place:?}: {} evals fail:\n{}", failing.len(), failing.join("\n"));
    assert_eq!(passed, EVALS);
    let from_buckets = from_buckets.into_inner();
    assert_eq!(from_buckets > 500, place == Place::Tiered, "{from_buckets} selections from buckets");
}

#[test]
fn every_eval_passes_on_the_head() {
    passes(Place::Head);
}

#[test]
fn every_eval_passes_on_flushed_blocks() {
    passes(Place::Flushed);
}

#[test]
fn every_eval_passes_on_merged_blocks() {
    passes(Place::Compacted);
}

/// Buckets answer where they are exact, samples elsewhere.
#[test]
fn every_eval_passes_on_blocks_of_buckets() {
    passes(Place::Tiered);
}
