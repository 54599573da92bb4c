use super::super::query_result::ResultDocument;
use super::super::stream::{Document, Framed};
use super::*;
use http_body_util::BodyExt;
use model::histogram::{Histogram, HistogramColumns, Span};
use model::labels::Labels;
use promql::value::{MatrixSeries, QueryValue, SampleValue, VectorSample};
use std::io::Read;
use std::sync::Arc;

/// Series of `points` values each, and a histogram in every third.
fn matrix(series: usize, points: i64) -> QueryValue {
    let timestamps_ms: Arc<[i64]> = (0..points).map(|n| 1_700_000_000_000 + n * 15_007).collect();
    let one = |n: usize| {
        let mut histograms = HistogramColumns::default();
        if n.is_multiple_of(3) {
            histograms.push(1_700_000_000_000, Arc::new(Histogram { count: n as f64, ..Histogram::default() }));
        }
        MatrixSeries {
            labels: Labels::from_pairs([("__name__", "up"), ("n", &n.to_string())]).unwrap(),
            timestamps_ms: Arc::clone(&timestamps_ms),
            values: (0..points).map(|point| n as f64 / (point + 1) as f64).collect(),
            histograms,
        }
    };
    QueryValue::Matrix((0..series).map(one).collect())
}

fn vector(samples: usize) -> QueryValue {
    let one = |n: usize| VectorSample {
        labels: Labels::from_pairs([("n", n.to_string().as_str())]).unwrap(),
        value: SampleValue::Float(n as f64 / 7.0),
    };
    QueryValue::Vector { timestamp_ms: 1500, samples: (0..samples).map(one).collect() }
}

fn document(value: QueryValue) -> Framed<ResultDocument> {
    Framed::new(b"{\"result\":".to_vec(), ResultDocument::new(value), b"}".to_vec())
}

fn whole(value: QueryValue) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(!document(value).write_some(&mut out, usize::MAX));
    out
}

/// The body as it arrives, and in how many frames; `None` if the document does not divide.
async fn arriving(value: QueryValue, threads: usize, packing: Packing) -> Option<(Vec<u8>, usize)> {
    let pool = CpuPool::with_size(2, threads).unwrap();
    let mut rest = document(value);
    let first = rest.divide()?;
    let mut body = body(&pool, first, rest, packing);
    let (mut all, mut frames) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let bytes = frame.unwrap().into_data().unwrap();
        assert!(bytes.len() <= PART_BYTES_MAX + (32 << 10), "{}", bytes.len());
        all.extend_from_slice(&bytes);
        frames += 1;
    }
    Some((all, frames))
}

fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut text).unwrap();
    text
}

#[tokio::test]
async fn the_bytes_are_the_same_for_any_number_of_threads_and_as_of_one_writer() {
    for make in [|| matrix(300, 200), || matrix(7, 30_000), || vector(20_000)] {
        let expected = whole(make());
        let mut packed = Vec::new();
        for threads in [1, 2, 3] {
            let (plain, frames) = arriving(make(), threads, Packing::Plain).await.unwrap();
            assert!(frames > 3, "{frames} frames");
            assert!(plain == expected, "{threads} threads");
            let (gzip, _) = arriving(make(), threads, Packing::Gzip).await.unwrap();
            assert!(unpacked(&gzip) == expected, "{threads} threads");
            packed.push(gzip);
        }
        assert!(packed.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

#[tokio::test]
async fn small_answers_are_not_divided() {
    for value in [matrix(0, 0), matrix(10, 100), vector(0), vector(100)] {
        assert!(arriving(value, 2, Packing::Plain).await.is_none());
    }
}

/// Histograms make far more text than values: their parts are written to the bound, and the rest by whoever sends.
#[tokio::test]
async fn a_part_that_becomes_far_longer_than_expected_is_not_held_whole() {
    let positive_spans = vec![Span { offset: 0, length: 200 }];
    let buckets = Histogram { positive_spans, positive_buckets: vec![1.5; 200], ..Histogram::default() };
    let mut histograms = HistogramColumns::default();
    (0..300).for_each(|at| histograms.push(at, Arc::new(buckets.clone())));
    let make = || {
        let one = |n: usize| MatrixSeries {
            labels: Labels::from_pairs([("n", n.to_string().as_str())]).unwrap(),
            timestamps_ms: Arc::default(),
            values: Vec::new(),
            histograms: histograms.clone(),
        };
        QueryValue::Matrix((0..3).map(one).collect())
    };
    let expected = whole(make());
    assert!(expected.len() > 3 * PART_BYTES_MAX, "{}", expected.len());
    let (plain, _) = arriving(make(), 2, Packing::Plain).await.unwrap();
    assert!(plain == expected);
    let (gzip, _) = arriving(make(), 2, Packing::Gzip).await.unwrap();
    assert!(unpacked(&gzip) == expected);
}

/// What a client has not read yet is neither written nor held: a few parts are.
#[tokio::test]
async fn parts_wait_for_the_client() {
    let pool = CpuPool::with_size(2, 1).unwrap();
    let mut rest = document(matrix(3000, 200));
    let total = whole(matrix(3000, 200)).len();
    let first = rest.divide().unwrap();
    let series = Arc::new(());
    let watched = Watched { inner: Some(rest), alive: Arc::clone(&series) };
    let mut body = body(&pool, Watched { inner: Some(first), alive: Arc::clone(&series) }, watched, Packing::Plain);
    let read = body.frame().await.unwrap().unwrap().into_data().unwrap().len();
    assert!(read * 10 < total);
    // The rest of the document, and what is being written or waits: two threads' worth of it and one.
    assert!(Arc::strong_count(&series) <= 1 + 1 + 3, "{}", Arc::strong_count(&series));
    drop(body);
    while pool.jobs() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(Arc::strong_count(&series), 1);
}

/// A document whose parts can be counted.
struct Watched {
    inner: Option<Framed<ResultDocument>>,
    alive: Arc<()>,
}

impl Document for Watched {
    fn write_some(&mut self, out: &mut Vec<u8>, target: usize) -> bool {
        self.inner.as_mut().is_some_and(|inner| inner.write_some(out, target))
    }
}

impl Divisible for Watched {
    fn divide(&mut self) -> Option<Self> {
        let part = self.inner.as_mut()?.divide()?;
        Some(Self { inner: Some(part), alive: Arc::clone(&self.alive) })
    }
}
