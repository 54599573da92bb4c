//! The cases of the remote write 2.0 receiver compliance suite that have native histograms or exemplars. Each is sent to a
//! store in memory and to the real engine.

use super::*;
use model::sample::stale_marker;
use storage::engine::{Engine, Options};

const BASE: &[(&str, &str)] = &[("__name__", "test_metric"), ("instance", "localhost:9090"), ("job", "test")];
const TRACE: &[(&str, &str)] = &[("trace_id", "0af7651916cd43dd8448eb211c80319c"), ("span_id", "b7ad6b7169203331")];

fn on(labels: &[(&str, &str)]) -> Message2 {
    Message2::new().series(labels)
}

/// Sends a message twice to both stores: the second time repeats what is stored.
async fn expect(message: &Message2, status: u16, written: (u64, u64, u64), text: &str) -> Receiver {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(&Options { segment_bytes: 1 << 20, ..Options::new(directory.path()) }).unwrap();
    let receivers = [Receiver::over(Arc::new(engine), IngestOptions::default()), Receiver::new()];
    for receiver in &receivers {
        for _ in 0..2 {
            let reply = receiver.send_v2(message).await;
            reply.expect(status, Some(written));
            assert!(reply.text.contains(text), "{}", reply.text);
        }
    }
    let [_, in_memory] = receivers;
    in_memory
}

async fn accepted(message: &Message2, written: (u64, u64, u64)) -> Receiver {
    expect(message, 204, written, "").await
}

/// As the suite makes them: 1, 3, 4, 7 and 8 positive observations, 1 and 2 negative ones, one of about zero.
fn histogram(positive: bool, negative: bool, zero: bool) -> v2::Histogram {
    let mut made =
        v2::Histogram { sum: 18.4, schema: 1, zero_threshold: 0.001, timestamp: NOW_MS, ..Default::default() };
    let mut count = 0;
    if positive {
        made.positive_spans = vec![v2::BucketSpan { offset: 0, length: 3 }, v2::BucketSpan { offset: 2, length: 2 }];
        made.positive_deltas = vec![1, 2, 1, 3, 1];
        count += 23;
    }
    if negative {
        made.negative_spans = vec![v2::BucketSpan { offset: 0, length: 2 }];
        made.negative_deltas = vec![1, 1];
        count += 3;
    }
    if zero {
        count += 1;
    }
    made.zero_count = Some(v2::histogram::ZeroCount::Int(u64::from(zero)));
    made.count = Some(v2::histogram::Count::Int(count));
    made
}

fn custom_buckets() -> v2::Histogram {
    v2::Histogram {
        schema: -53,
        zero_threshold: 0.0,
        custom_values: vec![0.1, 0.5, 1.0, 2.5, 5.0, 10.0],
        positive_spans: vec![v2::BucketSpan { offset: 0, length: 6 }],
        positive_deltas: vec![2, 1, 2, 3, -1, -2],
        count: Some(v2::histogram::Count::Int(30)),
        ..histogram(false, false, false)
    }
}

// Native histograms.

#[tokio::test]
async fn native_histograms_of_all_kinds_are_stored() {
    let floats = v2::Histogram {
        count: Some(v2::histogram::Count::Float(12.5)),
        zero_count: Some(v2::histogram::ZeroCount::Float(0.5)),
        positive_spans: vec![v2::BucketSpan { offset: -1, length: 3 }],
        positive_counts: vec![4.0, 4.0, 4.0],
        ..histogram(false, false, false)
    };
    let stale = v2::Histogram { sum: stale_marker(), timestamp: NOW_MS, ..Default::default() };
    let nan =
        v2::Histogram { sum: f64::NAN, count: Some(v2::histogram::Count::Int(99)), ..histogram(true, false, false) };
    let fine = v2::Histogram { schema: 52, ..histogram(true, true, true) };
    for (histogram, buckets) in [
        (histogram(true, true, true), 7),
        (histogram(true, false, false), 5),
        (histogram(false, true, false), 2),
        (histogram(false, false, true), 0),
        (histogram(false, false, false), 0),
        (v2::Histogram { timestamp: NOW_MS, ..Default::default() }, 0),
        (v2::Histogram { reset_hint: 3, ..histogram(true, false, true) }, 5),
        (custom_buckets(), 6),
        (floats, 3),
        (stale, 0),
        (nan, 5),
        (fine, 4),
    ] {
        let receiver = accepted(&on(BASE).histogram(histogram), (0, 1, 0)).await;
        let found = receiver.store.histograms(BASE);
        let [(timestamp_ms, 0, stored)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(*timestamp_ms, NOW_MS);
        assert_eq!(stored.positive_buckets.len() + stored.negative_buckets.len(), buckets, "{stored:?}");
    }
}

#[tokio::test]
async fn histograms_that_contradict_themselves_are_refused_and_the_rest_is_stored() {
    let with = |change: fn(&mut v2::Histogram)| {
        let mut histogram = histogram(true, true, true);
        change(&mut histogram);
        histogram
    };
    for (histogram, why) in [
        (
            with(|h| h.count = Some(v2::histogram::Count::Int(99))),
            "the buckets have 27 observations, the histogram has 99",
        ),
        (with(|h| h.positive_spans[1].length = 3), "the spans need 6 buckets, there are 5"),
        (with(|h| h.positive_spans[1].offset = -1), "a span begins -1 buckets behind the one before"),
        (with(|h| h.negative_deltas[1] = -2), "negative number of observations"),
        (with(|h| h.schema = 53), "schema 53 does not exist"),
        (with(|h| h.schema = -5), "schema -5 does not exist"),
        (with(|h| h.custom_values = vec![1.0]), "exponential buckets have no listed bounds"),
        (v2::Histogram { custom_values: vec![1.0, 1.0], ..custom_buckets() }, "not ascending and finite"),
        (v2::Histogram { custom_values: vec![1.0, 2.0], ..custom_buckets() }, "2 bounds do not suffice"),
    ] {
        let message = on(&[("__name__", "good")]).sample(NOW_MS, 1.0).series(BASE).histogram(histogram);
        let receiver = expect(&message, 400, (1, 0, 0), why).await;
        assert_eq!(receiver.store.series().len(), 1, "no series is made for what is refused");
        assert_eq!(receiver.ingest.metrics().rejected(crate::ingest::Reason::InvalidHistogram), 2);
        let refusal = &receiver.ingest.ledger().last(1).0[0];
        assert_eq!(refusal.timestamp_ms, Some(NOW_MS));
        assert!(refusal.explanation().contains(why), "{}", refusal.explanation());
    }
    let huge = v2::Histogram {
        count: Some(v2::histogram::Count::Int(5_000)),
        positive_spans: vec![v2::BucketSpan { offset: 0, length: 5_000 }],
        positive_deltas: std::iter::once(1).chain([0; 4_999]).collect(),
        ..histogram(false, false, false)
    };
    expect(&on(BASE).histogram(huge), 400, (0, 0, 0), "1 histogram_too_large").await;
}

#[tokio::test]
async fn several_histograms_with_metadata_exemplars_and_starts_are_stored() {
    let later = |timestamp| v2::Histogram { timestamp, start_timestamp: NOW_MS - 9, ..histogram(true, false, true) };
    let message = on(BASE)
        .histogram(later(NOW_MS - 3_600_000))
        .histogram(later(NOW_MS - 60_000))
        .histogram(later(NOW_MS))
        .metadata(3, "A histogram.", "seconds")
        .exemplar(TRACE, NOW_MS, 0.4)
        .series(&[("__name__", "other")])
        .histogram(custom_buckets())
        .metadata(3, "Another.", "")
        .exemplar(&[("trace_id", "custom"), ("bucket", "0.1")], NOW_MS, 0.05);
    let receiver = accepted(&message, (0, 4, 2)).await;
    let starts: Vec<i64> = receiver.store.histograms(BASE).iter().map(|(_, start_ms, _)| *start_ms).collect();
    assert_eq!(starts, [0, 0, NOW_MS - 9], "a start after its sample says nothing");
}

#[tokio::test]
async fn a_series_may_have_samples_and_histograms_but_one_at_a_time() {
    let message =
        on(BASE).sample(NOW_MS, 1.0).histogram(v2::Histogram { timestamp: NOW_MS + 1, ..histogram(true, true, true) });
    accepted(&message, (1, 1, 0)).await;
    let both = on(BASE).sample(NOW_MS, 1.0).histogram(histogram(true, true, true));
    expect(&both, 400, (1, 0, 0), "1 conflicting_value").await;
    let other = on(BASE).histogram(histogram(true, true, true)).histogram(histogram(true, true, false));
    expect(&other, 400, (0, 1, 0), "1 conflicting_value").await;
    let ahead = on(BASE).histogram(v2::Histogram { timestamp: NOW_MS + 601_000, ..histogram(true, true, true) });
    expect(&ahead, 400, (0, 0, 0), "1 too_far_ahead").await;
}

// Exemplars.

#[tokio::test]
async fn exemplars_of_all_kinds_are_stored_with_their_samples() {
    let many = [("trace_id", "abc"), ("span_id", "def"), ("user", "1"), ("endpoint", "/x"), ("zone", "eu")];
    for (labels, value) in [
        (TRACE, 0.5),
        (&[("span_id", "only")], 1.0),
        (&many, 1.0),
        (&[], 1.0),
        (&[("spür", "✓"), ("special", "a-b_c.d:e/f")], 1.0),
        (TRACE, 0.0),
        (TRACE, -123.456),
        (TRACE, 1e10),
        (TRACE, 1e-10),
        (TRACE, f64::NAN),
        (TRACE, f64::INFINITY),
        (TRACE, f64::NEG_INFINITY),
    ] {
        let message = on(BASE).sample(NOW_MS, 1.0).exemplar(labels, NOW_MS, value);
        let receiver = accepted(&message, (1, 0, 1)).await;
        let stored = receiver.store.exemplars(BASE);
        assert_eq!((stored[0].value.to_bits(), stored[0].labels.len()), (value.to_bits(), labels.len()));
    }
}

#[tokio::test]
async fn several_exemplars_of_any_age_and_orphans_are_stored() {
    let (hour, minute) = (NOW_MS - 3_600_000, NOW_MS - 60_000);
    let message = on(BASE)
        .sample(hour, 1.0)
        .sample(minute, 2.0)
        .sample(NOW_MS, 3.0)
        .exemplar(TRACE, hour, 1.0)
        .exemplar(TRACE, minute, 2.0)
        .exemplar(TRACE, NOW_MS, 3.0);
    accepted(&message, (3, 0, 3)).await;
    let late = on(BASE).sample(hour, 1.0).exemplar(TRACE, NOW_MS, 1.0).exemplar(TRACE, NOW_MS - 1_800_000, 2.0);
    accepted(&late, (1, 0, 2)).await;
    let mut started = on(BASE).sample(NOW_MS, 1.0).exemplar(TRACE, NOW_MS, 1.0);
    started.last().samples[0].start_timestamp = NOW_MS - 10_000;
    accepted(&started, (1, 0, 1)).await;
    let receiver = accepted(&on(&[("__name__", "orphan")]).exemplar(TRACE, NOW_MS, 42.0), (0, 0, 1)).await;
    assert_eq!(receiver.store.exemplars(&[("__name__", "orphan")]).len(), 1);
}

#[tokio::test]
async fn exemplars_of_series_without_a_name_are_refused_with_their_samples() {
    for labels in [&[("job", "test")][..], &[("__name__", "")]] {
        let message = on(labels).sample(NOW_MS, 1.0).exemplar(TRACE, NOW_MS, 1.0);
        expect(&message, 400, (0, 0, 0), "2 missing_metric_name").await;
        expect(&on(labels).exemplar(TRACE, NOW_MS, 1.0), 400, (0, 0, 0), "1 missing_metric_name").await;
        let message = on(labels).histogram(histogram(true, true, true));
        expect(&message, 400, (0, 0, 0), "1 missing_metric_name").await;
    }
}

#[tokio::test]
async fn exemplars_that_are_none_are_refused_and_their_samples_stored() {
    let long = "x".repeat(120);
    for (labels, reason) in [
        (&[("trace_id", long.as_str()), ("a", "")][..], "1 exemplar_labels_too_long"),
        (&[("a", "1"), ("a", "2")], "1 duplicate_label"),
        (&[("", "1")], "1 empty_label_name"),
    ] {
        let message = on(BASE).sample(NOW_MS, 1.0).exemplar(labels, NOW_MS, 1.0);
        expect(&message, 400, (1, 0, 0), reason).await;
    }
    for labels_refs in [vec![1], vec![1, 999]] {
        let mut message = on(BASE).sample(NOW_MS, 1.0).exemplar(TRACE, NOW_MS, 1.0);
        message.last().exemplars[0].labels_refs = labels_refs;
        expect(&message, 400, (1, 0, 0), "1 bad_reference").await;
    }
    let receiver = Receiver::new();
    receiver.store.keep_no_exemplars();
    let reply = receiver.send_v2(&on(BASE).sample(NOW_MS, 1.0).exemplar(TRACE, NOW_MS, 1.0)).await;
    reply.expect(400, Some((1, 0, 0)));
    assert!(reply.text.contains("1 exemplars_off"), "{}", reply.text);
}

// Requests with everything.

#[tokio::test]
async fn fifty_series_with_samples_or_histograms_metadata_and_exemplars_are_stored() {
    let names: Vec<String> = (0..50).map(|n| format!("series_{n}")).collect();
    for histograms in [false, true] {
        let mut message = Message2::new();
        for (n, name) in names.iter().enumerate() {
            message = message.series(&[("__name__", name), ("job", "test")]);
            message = if histograms {
                message.histogram(histogram(true, n % 2 == 0, true))
            } else {
                message.sample(NOW_MS, n as f64)
            };
            let trace = format!("trace_{n}");
            message = message.metadata(1, "Help.", "").exemplar(&[("trace_id", &trace)], NOW_MS, n as f64);
        }
        let written = if histograms { (0, 50, 50) } else { (50, 0, 50) };
        let receiver = accepted(&message, written).await;
        assert_eq!((receiver.store.series().len(), receiver.store.metadata().len()), (50, 50));
    }
}

#[tokio::test]
async fn special_characters_are_kept_everywhere() {
    let labels = [("__name__", "test_metric"), ("environment", "test🚀"), ("job", "test-job_with.special@chars")];
    let message = on(&labels)
        .sample(NOW_MS, 42.0)
        .metadata(2, "Special: äöü, newlines\nand \"quotes\"", "special/units")
        .exemplar(
            &[("trace_id", "special_trace_äöü-123"), ("span_id", "span_with.dots-and_underscores")],
            NOW_MS,
            42.0,
        );
    let receiver = accepted(&message, (1, 0, 1)).await;
    assert_eq!(receiver.store.exemplars(&labels)[0].labels.get("trace_id"), Some("special_trace_äöü-123"));
}

// Compatibility with 1.0.

#[tokio::test]
async fn version_1_stores_histograms_and_exemplars_without_saying_so() {
    let receiver = Receiver::new();
    let mut series = series_v1(BASE, &[(NOW_MS, 1.0)]);
    let label = v1::Label { name: "trace_id".into(), value: "abc".into() };
    series.exemplars.push(v1::Exemplar { labels: vec![label], value: 0.5, timestamp: NOW_MS });
    series.histograms.push(v1::Histogram {
        count: Some(v1::histogram::Count::Int(3)),
        zero_count: Some(v1::histogram::ZeroCount::Int(3)),
        timestamp: NOW_MS + 1,
        ..Default::default()
    });
    receiver.send_v1(&request_v1(vec![series.clone()])).await.expect(204, None);
    assert_eq!(receiver.store.histograms(BASE)[0].2.zero_count, 3.0);
    assert_eq!(receiver.store.exemplars(BASE)[0].labels.get("trace_id"), Some("abc"));
    series.histograms[0].count = None;
    let reply = receiver.send_v1(&request_v1(vec![series])).await;
    reply.expect(400, None);
    assert!(reply.text.contains("1 invalid_histogram"), "{}", reply.text);
}
