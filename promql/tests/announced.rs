//! A source hears which series are read next, whatever the operators between it and the result: each series that is read was
//! announced before, and none that is not.

use model::labels::Labels;
use model::sample::{Sample, SampleColumns};
use promql::budget::Budget;
use promql::source::{SelectRequest, SeriesSet, SeriesSource, SourceError, TimelineToken};
use promql::testing::memory::MemorySource;
use promql::{Engine, ParseOptions, QueryContext, parse};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

/// What happened to the series of all sets.
#[derive(Default)]
struct Log {
    sets: usize,
    /// Series by the numbers of their sets and their own.
    announced: BTreeSet<(usize, usize)>,
    read: BTreeSet<(usize, usize)>,
    /// Those that were read before they were announced.
    unheard: Vec<(usize, usize)>,
}

#[derive(Default)]
struct Listening {
    inner: MemorySource,
    log: Arc<Mutex<Log>>,
}

struct ListeningSet {
    inner: Box<dyn SeriesSet>,
    number: usize,
    log: Arc<Mutex<Log>>,
}

impl SeriesSource for Listening {
    fn select(&self, request: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        let mut log = self.log.lock().expect("no holder panics");
        log.sets += 1;
        let number = log.sets;
        Ok(Box::new(ListeningSet { inner: self.inner.select(request)?, number, log: Arc::clone(&self.log) }))
    }
}

impl ListeningSet {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("no holder panics")
    }

    fn is_read(&self, index: usize) {
        let (mut log, series) = (self.log(), (self.number, index));
        if !log.announced.contains(&series) {
            log.unheard.push(series);
        }
        log.read.insert(series);
    }
}

impl SeriesSet for ListeningSet {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.inner.labels(index)
    }

    fn prefetch(&self, indices: &[usize]) {
        self.log().announced.extend(indices.iter().map(|index| (self.number, *index)));
    }

    fn read(
        &self,
        index: usize,
        after_ms: i64,
        until_ms: i64,
        into: &mut SampleColumns,
    ) -> Result<Option<TimelineToken>, SourceError> {
        self.is_read(index);
        self.inner.read(index, after_ms, until_ms, into)
    }

    fn latest(&self, index: usize, after_ms: i64, at_ms: i64) -> Result<Option<Sample>, SourceError> {
        self.is_read(index);
        self.inner.latest(index, after_ms, at_ms)
    }
}

/// Twenty series of each of `m` and `n`, of which `half` has ten, and one of `one`; classic histograms of ten buckets.
fn source() -> Listening {
    let mut source = Listening::default();
    for name in ["m", "n", "half", "bucket", "one"] {
        for number in 0..20_u32 {
            let (a, b) = (number.to_string(), (number % 2).to_string());
            let mut pairs = vec![("__name__", name), ("a", &a), ("b", &b)];
            match name {
                "half" if number >= 10 => continue,
                "one" if number > 0 => continue,
                "one" => pairs.truncate(1),
                "bucket" => pairs = vec![("__name__", name), ("b", &b), ("le", &a)],
                _ => {}
            }
            let labels = Labels::from_pairs(pairs).expect("labels");
            source.inner.append(&labels, (0..=100).map(|i| (i * 10_000, f64::from(number))));
        }
    }
    source
}

#[test]
fn what_is_read_was_announced_and_nothing_else() {
    let queries = [
        ("m + on (a) n", 40),
        ("m * on () group_left () one", 21),
        ("one * on () group_right () m", 21),
        ("(m + n) / (n - m) > on (a) (m or n)", 120),
        ("max_over_time((m + n)[1m:10s])", 40),
        // Without a partner, a series is not read, unless a fill stands for that.
        ("m * on (a) group_left (b) half", 20),
        ("m + on (a) fill (0) half", 30),
        ("half or m", 30),
        ("half or on (a) m", 30),
        ("m unless on (a) half", 30),
        ("m and half", 30),
        // Without their names some series are one.
        ("-(half > 5 or m < 3)", 30),
        ("scalar(m)", 20),
        ("limitk(20, m)", 20),
        ("histogram_quantile(0.9, bucket)", 20),
        ("histogram_quantile(0.9, rate(bucket[1m]))", 20),
    ];
    for (query, expected) in queries {
        let source = source();
        let expr = parse(query, &ParseOptions::all()).expect("a query");
        let budget = Budget::default();
        let context = QueryContext::new(&source, &budget);
        let answer = Engine::default().range(&expr, 200_000, 300_000, 10_000, &context);
        answer.unwrap_or_else(|error| panic!("{query}: {error}"));
        let log = source.log.lock().expect("no holder panics");
        assert!(log.unheard.is_empty(), "{query}: {:?}", log.unheard);
        assert_eq!(log.announced, log.read, "{query}");
        assert_eq!(log.read.len(), expected, "{query}");
    }
}
