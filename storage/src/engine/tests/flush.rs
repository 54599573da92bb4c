//! Flushing: whatever happens in whatever order, each acknowledged sample is in what was flushed or in the head, and
//! nowhere with another value.

use super::*;
use crate::append::{ExemplarRow, HistogramRow, Rejection};
use crate::head::{FlushPart, View};
use model::exemplar::Exemplar;
use model::histogram::{Histogram, HistogramColumns, Span};
use model::labels::Labels;
use proptest::prelude::*;

/// One step of a history.
#[derive(Debug, Clone)]
enum Step {
    /// All series of one target some ticks on, with starts or without.
    Scrape {
        target: u8,
        ticks: u8,
        started: bool,
    },
    /// One series, floats or a histogram, so far behind the newest time, perhaps several in a row.
    Late {
        series: u8,
        behind_ms: u32,
        count: u8,
        value: u8,
        histogram: bool,
    },
    /// Sends some of the last batch again, perhaps with other values.
    Again {
        change: bool,
    },
    Begin {
        behind_ms: u32,
    },
    /// Publishes and ends the flush.
    Finish {
        told: bool,
    },
    Abort,
    Snapshot,
    Collect,
    /// Opens a view, or closes the one that is open.
    View,
    /// The next process; with a clean end, or as after a power cut.
    Restart {
        closed: bool,
        seed: u64,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        14 => (0u8..4, 1u8..40, any::<bool>()).prop_map(|(target, ticks, started)| Step::Scrape { target, ticks, started }),
        4 => (any::<u8>(), 0u32..40_000_000, 1u8..90, any::<u8>(), any::<bool>())
            .prop_map(|(series, behind_ms, count, value, histogram)| Step::Late { series, behind_ms, count, value, histogram }),
        2 => any::<bool>().prop_map(|change| Step::Again { change }),
        3 => (0u32..20_000_000).prop_map(|behind_ms| Step::Begin { behind_ms }),
        3 => any::<bool>().prop_map(|told| Step::Finish { told }),
        1 => Just(Step::Abort),
        1 => Just(Step::Snapshot),
        2 => Just(Step::Collect),
        2 => Just(Step::View),
        1 => (any::<bool>(), any::<u64>()).prop_map(|(closed, seed)| Step::Restart { closed, seed }),
    ]
}

/// A float with its start timestamp, or the sum of a histogram with its.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    Float { bits: u64, start_ms: i64 },
    Histogram { sum: u64, start_ms: i64 },
}

impl Stored {
    /// What a repeated sample has in common with the first.
    fn value(self) -> (bool, u64) {
        match self {
            Self::Float { bits, .. } => (false, bits),
            Self::Histogram { sum, .. } => (true, sum),
        }
    }
}

type Samples = BTreeMap<(String, i64), Stored>;

fn histogram(sum: f64) -> Histogram {
    Histogram {
        schema: 1,
        count: 3.0,
        sum,
        positive_spans: vec![Span { offset: 0, length: 1 }],
        positive_buckets: vec![3.0],
        ..Histogram::default()
    }
}

struct History {
    place: Place,
    engine: Option<Engine>,
    flush: Option<Flush>,
    published: FlushedState,
    /// With what it showed when it was opened.
    view: Option<(View, Samples)>,
    /// All that was acknowledged.
    twin: Samples,
    blocks: Samples,
    /// Samples that are in a block, and were taken with another value after that, which the head has perhaps.
    taken_anew: BTreeSet<(String, i64)>,
    exemplars: Vec<(String, i64)>,
    exemplars_in_blocks: Vec<(String, i64)>,
    clock_ms: i64,
    /// Series of target 3 change from time to time.
    churn: i64,
    last: Vec<(String, i64, Stored)>,
}

const START_MS: i64 = 1_790_000_000_000;
const TARGETS: u8 = 4;
const PER_TARGET: u8 = 6;

impl History {
    fn new() -> Self {
        let mut place = Place::new();
        place.options.out_of_order_bytes_max = 8_192;
        place.options.histogram_bytes_max = 8_192;
        let engine = Some(place.open());
        Self {
            place,
            engine,
            flush: None,
            published: FlushedState::default(),
            view: None,
            twin: Samples::new(),
            blocks: Samples::new(),
            taken_anew: BTreeSet::new(),
            exemplars: Vec::new(),
            exemplars_in_blocks: Vec::new(),
            clock_ms: START_MS,
            churn: 0,
            last: Vec::new(),
        }
    }

    fn engine(&self) -> Engine {
        self.engine.clone().expect("open")
    }

    fn name(&self, target: u8, n: u8) -> Labels {
        let churn = if target == 3 { self.churn } else { 0 };
        let mut pairs =
            vec![("instance", format!("host-{target}")), ("job", "node".to_owned()), ("n", format!("{n}-{churn}"))];
        if n > 0 {
            pairs.push(("__name__", format!("metric_{n}")));
        }
        Labels::from_pairs(pairs).expect("distinct names")
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Scrape { target, ticks, started } => {
                self.clock_ms += 15_000 * i64::from(ticks);
                self.churn = (self.clock_ms - START_MS) / 7_200_000;
                let clock_ms = self.clock_ms;
                let sample = |n: u8| {
                    let start_ms = if started { clock_ms - 1_000 * i64::from(n) } else { 0 };
                    match n {
                        5 => Stored::Histogram { sum: (clock_ms as f64).to_bits(), start_ms },
                        _ => Stored::Float { bits: f64::from(n).to_bits(), start_ms },
                    }
                };
                let rows = (0..PER_TARGET).map(|n| (self.name(target, n), clock_ms, sample(n))).collect();
                self.append(rows, true);
            }
            Step::Late { series, behind_ms, count, value, histogram } => {
                let series = self.name(series % TARGETS, series / TARGETS % PER_TARGET);
                let first_ms = self.clock_ms - i64::from(behind_ms);
                let row = |i: u8| {
                    let value = f64::from(value).to_bits();
                    let start_ms = i64::from(i % 3) * 1_000;
                    let stored = match histogram {
                        true => Stored::Histogram { sum: value, start_ms },
                        false => Stored::Float { bits: value, start_ms },
                    };
                    (series.clone(), first_ms - i64::from(i) * 60_000, stored)
                };
                self.append((0..count).map(row).collect(), false);
            }
            Step::Again { change } => {
                let rows = std::mem::take(&mut self.last).into_iter().map(|(series, at, stored)| {
                    let labels: Vec<(String, String)> = pairs_of(&series);
                    let stored = match stored {
                        Stored::Float { bits, start_ms } if change => Stored::Float { bits: bits ^ 1, start_ms },
                        stored => stored,
                    };
                    (Labels::from_pairs(labels).expect("as before"), at, stored)
                });
                let rows = rows.collect();
                self.append(rows, false);
            }
            Step::Begin { behind_ms } => {
                let flush = self.engine().begin_flush(self.clock_ms - i64::from(behind_ms));
                assert_eq!(flush.is_none(), self.flush.is_some(), "one at a time");
                self.flush = flush.or(self.flush.take());
            }
            Step::Finish { told } => self.finish(told),
            Step::Abort => self.flush = None,
            Step::Snapshot => drop(self.engine().snapshot_now().expect("healthy")),
            Step::Collect => drop(self.engine().collect_idle(self.clock_ms - 3_600_000)),
            Step::View if self.view.is_some() => self.view = None,
            Step::View => {
                let engine = self.engine();
                let selection = engine.select(&[], i64::MIN, i64::MAX, usize::MAX).expect("no limit");
                self.view = Some((engine.head().view(), read_all(&selection)));
            }
            Step::Restart { closed, seed } => {
                (self.flush, self.view) = (None, None);
                let engine = self.engine.take().expect("open");
                if closed {
                    engine.flush_and_close().expect("healthy");
                }
                drop(engine);
                self.place.restart(seed);
                let engine = self.place.open_flushed(&self.published).expect("whole");
                let report = engine.restore_report();
                assert_eq!((report.damage_count(), report.orphans, report.conflicts), (0, 0, 0), "{report:?}");
                self.engine = Some(engine);
            }
        }
    }

    fn append(&mut self, rows: Vec<(Labels, i64, Stored)>, exemplar: bool) {
        let engine = self.engine();
        let mut batch = Batch { pin: Some(engine.pin()), ..Batch::default() };
        let (mut floats, mut histograms) = (Vec::new(), Vec::new());
        for (labels, timestamp_ms, stored) in &rows {
            let pairs: Vec<_> = labels.iter().collect();
            let hash = LabelHash::of_pairs(pairs.iter().copied(), &mut Vec::new());
            let mut found = [None];
            engine.lookup(&[hash], &mut found);
            let series = match found {
                [Some(series)] => series,
                [None] => engine.create(hash, &pairs).expect("room"),
            };
            let row = (labels.to_string(), *timestamp_ms, *stored);
            match *stored {
                Stored::Float { bits, start_ms } => {
                    batch.rows.push_started(series, *timestamp_ms, f64::from_bits(bits), start_ms);
                    floats.push(row);
                }
                Stored::Histogram { sum, start_ms } => {
                    let histogram = histogram(f64::from_bits(sum));
                    batch.histograms.push(HistogramRow { series, timestamp_ms: *timestamp_ms, start_ms, histogram });
                    histograms.push(row);
                }
            }
            if exemplar && batch.exemplars.is_empty() {
                let trace = Labels::from_pairs([("trace_id", timestamp_ms.to_string())]).expect("one");
                let exemplar = Exemplar { labels: trace, value: 1.0, timestamp_ms: *timestamp_ms };
                batch.exemplars.push(ExemplarRow { series, exemplar });
                self.exemplars.push((labels.to_string(), *timestamp_ms));
            }
        }
        let outcome = engine.append_wait(batch).expect("healthy");
        self.account(&floats, &outcome.rejected);
        self.account(&histograms, &outcome.histograms_rejected);
        self.last = floats.into_iter().chain(histograms).collect();
    }

    /// What the engine says of rows must fit what the twin knows of them.
    fn account(&mut self, rows: &[(String, i64, Stored)], rejected: &[(u32, Rejection)]) {
        for (index, (series, timestamp_ms, stored)) in rows.iter().enumerate() {
            let key = (series.clone(), *timestamp_ms);
            let refused = rejected.iter().any(|(row, _)| *row as usize == index);
            match self.twin.get(&key) {
                None => {
                    assert!(!refused, "{series} at {timestamp_ms} is new");
                    self.twin.insert(key, *stored);
                }
                Some(known) if known.value() == stored.value() => {
                    assert!(!refused || self.taken_anew.contains(&key), "{key:?} repeats");
                }
                Some(_) if refused => {}
                Some(_) => {
                    assert!(self.blocks.contains_key(&key), "{key:?} conflicts in the head");
                    self.taken_anew.insert(key);
                }
            }
        }
    }

    fn finish(&mut self, told: bool) {
        let Some(flush) = self.flush.take() else { return };
        let mut flushed = Samples::new();
        for metric in flush.metrics() {
            for series in flush.series_of(metric.as_deref()) {
                assert_eq!(series.labels.get("__name__"), metric.as_deref());
                for part in [FlushPart::Window, FlushPart::Below] {
                    read_part(&flush, &series, part, &mut flushed);
                }
            }
        }
        let names = flush.label_names();
        assert!(flushed.is_empty() || names.iter().any(|(name, _)| name == "instance"), "{names:?}");
        for ((series, at), stored) in flushed {
            // What is in a block already wins; the rest is new, or is flushed once more after a flush that was given up.
            let held = *self.blocks.entry((series.clone(), at)).or_insert(stored);
            let acknowledged = self.twin.get(&(series.clone(), at)).copied();
            assert_eq!(Some(held), acknowledged, "{series} at {at}");
        }
        for (_, labels, exemplars) in flush.exemplars() {
            let of_series = exemplars.iter().map(|exemplar| (labels.to_string(), exemplar.timestamp_ms));
            self.exemplars_in_blocks.extend(of_series);
        }
        self.published = flush.state();
        if told {
            self.engine().finish_flush(flush);
        } else {
            // As if the process ended between the two.
            drop(flush);
            self.apply(&Step::Restart { closed: false, seed: 1 });
        }
    }

    /// Blocks and head together are what the twin knows.
    fn compare(&self) {
        let mut found = self.blocks.clone();
        let engine = self.engine();
        let selection = engine.select(&[], i64::MIN, i64::MAX, usize::MAX).expect("no limit");
        for (key, stored) in read_all(&selection) {
            found.entry(key).or_insert(stored);
        }
        assert_eq!(found, self.twin);
        if let Some((view, shown)) = &self.view {
            let selection = view.select(&[], i64::MIN, i64::MAX, usize::MAX).expect("no limit");
            assert_eq!(read_all(&selection), *shown, "a view shows the same all along");
        }
    }
}

fn read_all(selection: &crate::select::Selection) -> Samples {
    let mut found = Samples::new();
    for index in 0..selection.len() {
        let series = selection.labels(index).to_string();
        found.extend(read_selected(selection, index).into_iter().map(|(at, stored)| ((series.clone(), at), stored)));
    }
    found
}

fn pairs_of(text: &str) -> Vec<(String, String)> {
    let pairs = text.trim_matches(['{', '}']).split(", ").map(|pair| pair.split_once('=').expect("a pair"));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
}

fn read_part(flush: &Flush, series: &crate::head::FlushSeries, part: FlushPart, into: &mut Samples) {
    let name = series.labels.to_string();
    let (mut columns, mut starts) = (SampleColumns::default(), Vec::new());
    flush.read_floats(series.series, part, &mut columns).expect("readable");
    flush.read_float_starts(series.series, part, &columns.timestamps_ms, &mut starts).expect("readable");
    for (i, (at, value)) in columns.timestamps_ms.iter().zip(&columns.values).enumerate() {
        let start_ms = starts.get(i).copied().unwrap_or(0);
        let twice = into.insert((name.clone(), *at), Stored::Float { bits: value.to_bits(), start_ms });
        assert!(twice.is_none(), "{name} at {at} is flushed twice");
        assert!(*at < flush.boundary_ms());
        assert!(part == FlushPart::Below || *at >= flush.floor_ms());
    }
    let mut columns = HistogramColumns::default();
    flush.read_histograms(series.series, part, &mut columns, &mut starts).expect("readable");
    for ((at, histogram), start_ms) in columns.timestamps_ms.iter().zip(&columns.histograms).zip(&starts) {
        let stored = Stored::Histogram { sum: histogram.sum.to_bits(), start_ms: *start_ms };
        assert!(into.insert((name.clone(), *at), stored).is_none(), "{name} at {at} is flushed twice");
    }
}

fn read_selected(selection: &crate::select::Selection, index: usize) -> Vec<(i64, Stored)> {
    let (mut floats, mut histograms, mut starts) = (SampleColumns::default(), HistogramColumns::default(), Vec::new());
    selection.read(index, i64::MIN, i64::MAX, &mut floats).expect("readable");
    selection.read_histograms(index, i64::MIN, i64::MAX, &mut histograms).expect("readable");
    selection.read_start_timestamps(index, i64::MIN, i64::MAX, &mut starts).expect("readable");
    let latest = selection.latest(index, i64::MIN, i64::MAX).expect("readable");
    assert_eq!(latest.map(|sample| sample.timestamp_ms), floats.timestamps_ms.last().copied());
    let newest = selection.latest_histogram(index, i64::MIN, i64::MAX).expect("readable");
    assert_eq!(newest.map(|newest| newest.0), histograms.timestamps_ms.last().copied());
    assert!(histograms.timestamps_ms.is_empty() || selection.has_histograms(index));
    let floats = floats.timestamps_ms.iter().zip(&floats.values);
    let floats = floats.map(|(at, value)| (*at, Stored::Float { bits: value.to_bits(), start_ms: 0 }));
    let sums = histograms.timestamps_ms.iter().zip(&histograms.histograms);
    let sums = sums.map(|(at, histogram)| (*at, Stored::Histogram { sum: histogram.sum.to_bits(), start_ms: 0 }));
    let mut all: Vec<_> = floats.chain(sums).collect();
    all.sort_by_key(|(at, _)| *at);
    assert!(starts.is_empty() || starts.len() == all.len());
    for ((_, stored), start) in all.iter_mut().zip(starts) {
        match stored {
            Stored::Float { start_ms, .. } | Stored::Histogram { start_ms, .. } => *start_ms = start,
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn acknowledged_samples_are_in_blocks_or_in_the_head_whatever_happens(steps in prop::collection::vec(any_step(), 0..120)) {
        let mut history = History::new();
        for step in &steps {
            history.apply(step);
            if !matches!(step, Step::Scrape { .. }) {
                history.compare();
            }
        }
        history.compare();
        history.apply(&Step::Restart { closed: true, seed: 3 });
        history.compare();
        // Flushes that end leave nothing behind, and no exemplar is forgotten.
        history.flush = None;
        history.clock_ms += 1;
        history.apply(&Step::Begin { behind_ms: 0 });
        history.apply(&Step::Finish { told: true });
        history.compare();
        history.exemplars.retain(|exemplar| !history.exemplars_in_blocks.contains(exemplar));
        prop_assert!(history.exemplars.is_empty(), "{:?}", history.exemplars);
    }
}
