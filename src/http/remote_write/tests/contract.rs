//! What a receiver has to answer, situation by situation.

use super::*;
use crate::ingest::AppendError;

const UP: &[(&str, &str)] = &[("__name__", "up"), ("job", "node")];

#[tokio::test]
async fn everything_stored_is_204_with_an_empty_body_on_all_paths() {
    let receiver = Receiver::new();
    let body = snappy(&request_v1(vec![series_v1(UP, &[(NOW_MS, 1.0)])]).encode_to_vec());
    for prefix in ["", "/prometheus"] {
        for path in ["/api/v1/write", "/api/v1/push", "/api/v1/receive"] {
            let reply = receiver.call("POST", &format!("{prefix}{path}"), &V1_HEADERS, body.clone()).await;
            reply.expect(204, None);
        }
    }
    assert_eq!(receiver.store.samples(UP), [(NOW_MS, 1.0)]);
    assert_eq!(receiver.ingest.metrics().samples(), 6, "identical resends count as written");
}

#[tokio::test]
async fn version_2_says_what_was_written_whatever_the_outcome() {
    let receiver = Receiver::new();
    let good = Message2::new().series(UP).sample(NOW_MS - 1, 1.0).sample(NOW_MS, 2.0);
    receiver.send_v2(&good).await.expect(204, Some((2, 0, 0)));

    let partly = Message2::new().series(UP).sample(NOW_MS, 9.0).sample(NOW_MS + 1, 2.0);
    receiver.send_v2(&partly).await.expect(400, Some((1, 0, 0)));

    receiver.post(&V2_HEADERS, b"no snappy".to_vec()).await.expect(400, Some((0, 0, 0)));

    receiver.store.fail_appends(Some(AppendError::unavailable("the disk is full")));
    receiver.send_v2(&good).await.expect(503, Some((0, 0, 0)));
}

#[tokio::test]
async fn version_1_never_says_what_was_written() {
    let receiver = Receiver::new();
    receiver.send_v1(&request_v1(vec![series_v1(UP, &[(NOW_MS, 1.0)])])).await.expect(204, None);
    receiver.send_v1(&request_v1(vec![series_v1(UP, &[(NOW_MS, 2.0)])])).await.expect(400, None);
    receiver.post(&V1_HEADERS, b"no snappy".to_vec()).await.expect(400, None);
    receiver.store.fail_appends(Some(AppendError::unavailable("the disk is full")));
    receiver.send_v1(&request_v1(vec![series_v1(UP, &[(NOW_MS, 1.0)])])).await.expect(503, None);
}

#[tokio::test]
async fn unknown_content_types_and_encodings_are_415_even_if_the_body_is_broken_too() {
    let receiver = Receiver::new();
    let v2_type = V2_HEADERS[0].1;
    for (content_type, encoding) in [
        ("application/json", "snappy"),
        ("image/png", "snappy"),
        ("application/x-protobuf;proto=io.prometheus.write.v9.Request", "snappy"),
    ] {
        let headers = [("content-type", content_type), ("content-encoding", encoding)];
        receiver.post(&headers, b"\xff\xff\xff".to_vec()).await.expect(415, None);
    }
    for encoding in ["gzip", "deflate"] {
        let headers = [("content-type", v2_type), ("content-encoding", encoding)];
        receiver.post(&headers, b"\xff\xff\xff".to_vec()).await.expect(415, Some((0, 0, 0)));
    }
}

#[tokio::test]
async fn what_is_invalid_is_400_with_reason_and_counts_and_the_rest_is_stored() {
    let receiver = Receiver::new();
    let request = request_v1(vec![
        series_v1(&[("job", "node")], &[(NOW_MS, 1.0)]),
        series_v1(UP, &[(NOW_MS, 1.0)]),
        series_v1(&[("__name__", "up"), ("a", "1"), ("a", "2")], &[(NOW_MS, 1.0), (NOW_MS + 1, 1.0)]),
        series_v1(&[("__name__", "empty")], &[]),
        series_v1(&[("__name__", "later")], &[(NOW_MS, 3.0), (NOW_MS + 601_000, 1.0)]),
    ]);
    let reply = receiver.send_v1(&request).await;
    reply.expect(400, None);
    assert_eq!(
        reply.text,
        "refused 5, stored 2: 1 no_samples: the series has neither samples nor histograms, first \
         {__name__=\"empty\"}; 1 missing_metric_name: the series has no metric name, first {job=\"node\"} at 1795132800; \
         2 duplicate_label: a label name is not unique, first {__name__=\"up\", a=\"1\", a=\"2\"} at 1795132800; \
         1 too_far_ahead: out of bounds: too far ahead of the receiver's clock, first {__name__=\"later\"} at \
         1795133401\n"
    );
    assert_eq!(receiver.store.samples(UP), [(NOW_MS, 1.0)]);
    assert_eq!(receiver.store.samples(&[("__name__", "later")]), [(NOW_MS, 3.0)]);
    assert_eq!(receiver.store.series().len(), 2, "nothing is created for what is refused");
}

#[tokio::test]
async fn invalid_utf8_is_refused_series_by_series() {
    let receiver = Receiver::new();
    let mut request = request_v1(vec![series_v1(UP, &[(NOW_MS, 1.0)]), series_v1(UP, &[(NOW_MS, 1.0)])]);
    request.timeseries[1].labels[1].value = vec![b'a', 0xff];
    let reply = receiver.send_v1(&request).await;
    reply.expect(400, None);
    assert!(reply.text.contains("1 invalid_utf8"), "{}", reply.text);
    assert_eq!(receiver.store.samples(UP), [(NOW_MS, 1.0)]);
}

#[tokio::test]
async fn corrupt_bodies_are_400_and_leave_no_trace() {
    let receiver = Receiver::new();
    let good = request_v1(vec![series_v1(UP, &[(NOW_MS, 1.0)]), series_v1(&[("__name__", "b")], &[(NOW_MS, 1.0)])]);
    let good = good.encode_to_vec();
    // The second series' label says that it is longer than its message.
    let mut broken_label = good.clone();
    let at = broken_label.windows(8).rposition(|window| window == b"__name__").unwrap() - 1;
    broken_label[at] = 100;
    for body in [&broken_label, &good[..good.len() - 1], b"\xff\xff", b"\x0a\x7f"] {
        receiver.post(&V1_HEADERS, snappy(body)).await.expect(400, None);
    }
    receiver.post(&V1_HEADERS, Vec::new()).await.expect(400, None);
    receiver.post(&V2_HEADERS, snappy(b"\x2a\x7f")).await.expect(400, Some((0, 0, 0)));
    assert!(receiver.store.series().is_empty());
}

#[tokio::test]
async fn references_to_symbols_that_are_not_there_are_400_and_the_rest_is_stored() {
    let receiver = Receiver::new();
    for (labels_refs, metadata) in [
        (vec![1, 99], None),
        (vec![u32::MAX, 2], None),
        (vec![1, 2, 1], None),
        (vec![1, 2], Some(v2::Metadata { r#type: 1, help_ref: 99, unit_ref: 0 })),
        (vec![1, 2], Some(v2::Metadata { r#type: 1, help_ref: 0, unit_ref: 99 })),
    ] {
        let mut request = Message2::new().series(UP).sample(NOW_MS, 1.0);
        let samples = vec![v2::Sample { value: 1.0, timestamp: NOW_MS, start_timestamp: 0 }];
        request.request.timeseries.push(v2::TimeSeries { labels_refs, samples, metadata, ..Default::default() });
        let reply = receiver.send_v2(&request).await;
        reply.expect(400, Some((1, 0, 0)));
        assert!(reply.text.contains("bad_reference"), "{}", reply.text);
    }
    assert_eq!(receiver.store.series().len(), 1);
}

#[tokio::test]
async fn histograms_and_exemplars_wait_for_the_store_like_samples() {
    let receiver = Receiver::new();
    let request = Message2::new()
        .series(UP)
        .sample(NOW_MS, 1.0)
        .exemplar(&[("trace_id", "abc")], NOW_MS, 1.0)
        .series(&[("__name__", "latency")])
        .histogram(native_histogram(NOW_MS));
    receiver.store.fail_appends(Some(AppendError::unavailable("the disk is full")));
    receiver.send_v2(&request).await.expect(503, Some((0, 0, 0)));
    receiver.store.fail_appends(None);
    receiver.send_v2(&request).await.expect(204, Some((1, 1, 1)));
    assert_eq!(receiver.store.histograms(&[("__name__", "latency")]).len(), 1);
}

#[tokio::test]
async fn what_may_succeed_later_is_503_and_retrying_it_is_harmless() {
    let receiver = Receiver::new();
    let request = Message2::new().series(UP).sample(NOW_MS, 1.0).series(&[("__name__", "b")]).sample(NOW_MS, 2.0);
    let full =
        AppendError { kind: crate::ingest::AppendErrorKind::Limited, reason: "no room for another series".into() };
    receiver.store.limit_series(1, full.clone());
    let reply = receiver.send_v2(&request).await;
    reply.expect(503, Some((1, 0, 0)));
    assert!(reply.text.contains("no room for another series"), "{}", reply.text);

    receiver.store.limit_series(10, full);
    receiver.send_v2(&request).await.expect(204, Some((2, 0, 0)));
    assert_eq!(receiver.store.samples(UP), [(NOW_MS, 1.0)]);
}

#[tokio::test]
async fn a_series_that_the_store_can_never_take_is_refused() {
    let receiver = Receiver::new();
    let invalid = AppendError { kind: crate::ingest::AppendErrorKind::Invalid, reason: "label too long".into() };
    receiver.store.limit_series(1, invalid);
    let request = Message2::new().series(UP).sample(NOW_MS, 1.0).series(&[("__name__", "b")]).sample(NOW_MS, 2.0);
    let reply = receiver.send_v2(&request).await;
    reply.expect(400, Some((1, 0, 0)));
    assert!(reply.text.contains("1 series_refused"), "{}", reply.text);
}

#[tokio::test]
async fn identical_samples_succeed_conflicting_ones_do_not_and_late_ones_are_stored() {
    let receiver = Receiver::new();
    receiver.store.refuse_before(NOW_MS - 86_400_000);
    let send = async |timestamp, value| receiver.send_v1(&request_v1(vec![series_v1(UP, &[(timestamp, value)])])).await;
    send(NOW_MS, 1.0).await.expect(204, None);
    send(NOW_MS, 1.0).await.expect(204, None);
    send(NOW_MS - 3_600_000, 5.0).await.expect(204, None);
    let conflict = send(NOW_MS, 2.0).await;
    conflict.expect(400, None);
    assert!(conflict.text.contains("1 conflicting_value: duplicate sample for timestamp"), "{}", conflict.text);
    let old = send(NOW_MS - 86_400_001, 5.0).await;
    old.expect(400, None);
    assert!(old.text.contains("1 too_old: out of bounds"), "{}", old.text);
    assert_eq!(receiver.store.samples(UP), [(NOW_MS - 3_600_000, 5.0), (NOW_MS, 1.0)]);
}

#[tokio::test]
async fn the_senders_of_victoriametrics_are_offered_zstd_and_may_use_it() {
    let receiver = Receiver::new();
    for method in ["GET", "POST"] {
        let headers = [("content-encoding", "zstd")];
        let reply = receiver.call(method, "/api/v1/write?get_vm_proto_version=1", &headers, Vec::new()).await;
        assert_eq!((reply.status, reply.text.as_str()), (200, "1"));
    }
    let body = request_v1(vec![series_v1(UP, &[(NOW_MS, 1.0)])]).encode_to_vec();
    let body = zstd::bulk::compress(&body, 1).unwrap();
    let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "zstd")];
    receiver.post(&headers, body).await.expect(204, None);
    assert_eq!(receiver.store.samples(UP), [(NOW_MS, 1.0)]);
    assert_eq!(receiver.call("GET", "/api/v1/write", &[], Vec::new()).await.status, 405);
    assert_eq!(receiver.call("PUT", "/api/v1/write", &[], Vec::new()).await.status, 405);
}

#[tokio::test]
async fn metadata_of_both_versions_is_kept() {
    let receiver = Receiver::new();
    let mut old = request_v1(Vec::new());
    old.metadata.push(v1::MetricMetadata {
        r#type: 1,
        metric_family_name: "requests_total".into(),
        help: "Requests.".into(),
        unit: Vec::new(),
    });
    receiver.send_v1(&old).await.expect(204, None);
    let new = Message2::new()
        .series(&[("__name__", "latency_seconds_bucket"), ("le", "1")])
        .sample(NOW_MS, 1.0)
        .metadata(3, "Latency.", "seconds");
    receiver.send_v2(&new).await.expect(204, Some((1, 0, 0)));
    let told: Vec<String> = receiver
        .store
        .metadata()
        .into_iter()
        .map(|(name, metadata)| format!("{name} {} {} {}", metadata.metric_type, metadata.help, metadata.unit))
        .collect();
    assert_eq!(told, ["latency_seconds histogram Latency. seconds", "requests_total counter Requests. "]);

    old.metadata[0].metric_family_name = vec![0xff];
    receiver.send_v1(&old).await.expect(400, None);
}

#[test]
fn times_to_try_again_grow_and_differ() {
    assert!((0..20).all(|random| (1..=2).contains(&retry_after_seconds(0, random))));
    assert!((0..200).all(|random| (32..=64).contains(&retry_after_seconds(9, random))));
    let distinct: std::collections::HashSet<u64> = (0..200).map(|random| retry_after_seconds(9, random)).collect();
    assert!(distinct.len() > 20);
}
