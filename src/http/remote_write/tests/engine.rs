//! The endpoint over the real storage engine.

use super::*;
use model::matcher::Matcher;
use model::metadata::MetricType;
use model::sample::SampleColumns;
use storage::engine::{Engine, Options};

const UP: &[(&str, &str)] = &[("__name__", "up"), ("instance", "localhost:9100"), ("job", "node")];

fn open(directory: &tempfile::TempDir) -> (Engine, Receiver) {
    let options = Options { segment_bytes: 1 << 20, ..Options::new(directory.path()) };
    let engine = Engine::open(&options).unwrap();
    let receiver = Receiver::over(Arc::new(engine.clone()), IngestOptions::default());
    (engine, receiver)
}

fn stored(engine: &Engine, name: &str) -> Vec<(i64, f64)> {
    let found = engine.select(&[Matcher::equal("__name__", name)], i64::MIN, i64::MAX, 10).unwrap();
    let mut all = Vec::new();
    let mut columns = SampleColumns::default();
    for index in 0..found.len() {
        found.read(index, i64::MIN, i64::MAX, &mut columns).unwrap();
        all.extend(columns.timestamps_ms.iter().copied().zip(columns.values.iter().copied()));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_there_and_still_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (engine, receiver) = open(&directory);
    let message = Message2::new().series(UP).sample(NOW_MS - 1, 1.5).sample(NOW_MS, 2.5).metadata(2, "Up.", "");
    receiver.send_v2(&message).await.expect(204, Some((2, 0, 0)));
    receiver.send_v2(&message).await.expect(204, Some((2, 0, 0)));
    receiver.send_v1(&request_v1(vec![series_v1(UP, &[(NOW_MS - 3_600_000, 0.5)])])).await.expect(204, None);
    let conflict = receiver.send_v1(&request_v1(vec![series_v1(UP, &[(NOW_MS, 9.0), (NOW_MS + 1, 3.5)])])).await;
    conflict.expect(400, None);
    assert!(conflict.text.contains("1 conflicting_value"), "{}", conflict.text);

    let expected = [(NOW_MS - 3_600_000, 0.5), (NOW_MS - 1, 1.5), (NOW_MS, 2.5), (NOW_MS + 1, 3.5)];
    assert_eq!(stored(&engine, "up"), expected);
    drop((engine, receiver));

    let (engine, _receiver) = open(&directory);
    assert_eq!(stored(&engine, "up"), expected);
    let metadata = engine.metadata(Some("up"), 10, 10);
    assert_eq!(metadata[0].1[0].metric_type, MetricType::Gauge);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_new_series_in_any_order_of_labels_are_stored() {
    let directory = tempfile::tempdir().unwrap();
    let (engine, receiver) = open(&directory);
    let values: Vec<String> = (0..3_000).map(|n| format!("value-{n}")).collect();
    let series = |timestamp| {
        let labels = |value| [("job", "churn"), ("id", value), ("__name__", "many")];
        values.iter().map(|value| series_v1(&labels(value), &[(timestamp, 1.0)])).collect()
    };
    receiver.send_v1(&request_v1(series(NOW_MS))).await.expect(204, None);
    receiver.send_v1(&request_v1(series(NOW_MS + 1))).await.expect(204, None);
    assert_eq!(engine.stats().head.series, 3_000);
    assert_eq!(receiver.ingest.metrics().samples(), 6_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_engine_asks_senders_to_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let (engine, receiver) = open(&directory);
    let request = request_v1(vec![series_v1(UP, &[(NOW_MS, 1.0)])]);
    receiver.send_v1(&request).await.expect(204, None);
    engine.flush_and_close().unwrap();
    let reply = receiver.send_v1(&request).await;
    reply.expect(503, None);
    assert!(reply.text.contains("storage is shutting down"), "{}", reply.text);
}
