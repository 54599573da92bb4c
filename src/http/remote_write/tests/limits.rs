//! Bounds: of one body, of all bodies together, of time.

use super::*;
use bytes::Bytes;
use futures::stream;
use std::convert::Infallible;

const UP: &[(&str, &str)] = &[("__name__", "up"), ("job", "node")];

fn body(samples: i64) -> Vec<u8> {
    let samples: Vec<(i64, f64)> = (0..samples).map(|n| (NOW_MS - n, (n * 7919) as f64)).collect();
    request_v1(vec![series_v1(UP, &samples)]).encode_to_vec()
}

#[tokio::test]
async fn bodies_above_the_bound_are_400_before_and_after_decompression() {
    let receiver = Receiver::with(IngestOptions { decoded_bytes_max: 10_000, ..IngestOptions::default() });
    let reply = receiver.post(&V1_HEADERS, snappy(&body(1_000))).await;
    reply.expect(400, None);
    assert!(reply.text.contains("more than 10000 bytes after decompression"), "{}", reply.text);
    let reply = receiver.post(&V1_HEADERS, vec![0; 20_000]).await;
    reply.expect(400, None);
    assert!(reply.text.contains("the compressed body has more than"), "{}", reply.text);
    receiver.post(&V1_HEADERS, snappy(&body(100))).await.expect(204, None);
}

#[tokio::test]
async fn a_declared_length_above_the_cap_is_refused_without_memory() {
    let receiver = Receiver::new();
    let bomb = [0xff, 0xff, 0xff, 0x7f, 0, b'x'];
    receiver.post(&V1_HEADERS, bomb.to_vec()).await.expect(400, None);
}

#[tokio::test]
async fn requests_beyond_the_bytes_in_work_are_503_and_the_bytes_come_back() {
    let receiver = Receiver::with(IngestOptions { inflight_bytes_max: 5_000, ..IngestOptions::default() });
    let mut others = receiver.ingest.inflight().begin();
    others.grow(4_999).unwrap();
    let request = snappy(&body(10));
    let reply = receiver.call("POST", "/api/v1/write", &[("retry-attempt", "4")], request.clone()).await;
    reply.expect(503, None);
    let after: u64 = reply.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((16..=32).contains(&after), "{after}");

    // The compressed body has room, what it decompresses to has not.
    drop(others);
    let mut others = receiver.ingest.inflight().begin();
    others.grow(4_990 - request.len()).unwrap();
    receiver.post(&V1_HEADERS, request.clone()).await.expect(503, None);

    drop(others);
    receiver.post(&V1_HEADERS, request).await.expect(204, None);
    assert_eq!(receiver.ingest.inflight().held(), 0);
}

/// A body of unknown length, in pieces.
fn chunked(pieces: Vec<Vec<u8>>) -> Body {
    Body::from_stream(stream::iter(pieces.into_iter().map(|piece| Ok::<_, Infallible>(Bytes::from(piece)))))
}

#[tokio::test]
async fn bodies_in_pieces_are_read_within_the_same_bounds() {
    let receiver = Receiver::with(IngestOptions { decoded_bytes_max: 10_000, ..IngestOptions::default() });
    let request = snappy(&body(100));
    let pieces: Vec<Vec<u8>> = request.chunks(7).map(<[u8]>::to_vec).collect();
    receiver.call("POST", "/api/v1/write", &V1_HEADERS, chunked(pieces)).await.expect(204, None);
    let endless = chunked(vec![vec![0; 1_000]; 1_000]);
    receiver.call("POST", "/api/v1/write", &V1_HEADERS, endless).await.expect(400, None);
    assert_eq!(receiver.store.samples(UP).len(), 100);
    assert_eq!(receiver.ingest.inflight().held(), 0);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_can_be_sent_again() {
    let receiver = Receiver::new();
    let never = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    receiver.call("POST", "/api/v1/write", &V1_HEADERS, never).await.expect(503, None);
    let broken = stream::iter([Ok(Bytes::from_static(b"x")), Err(std::io::Error::other("connection reset"))]);
    receiver.call("POST", "/api/v1/write", &V1_HEADERS, Body::from_stream(broken)).await.expect(503, None);
}

#[tokio::test]
async fn large_bodies_and_many_new_series_are_worked_on_elsewhere_with_the_same_outcome() {
    let receiver = Receiver::with(IngestOptions { inline_bytes_max: 100, ..IngestOptions::default() });
    let names: Vec<String> = (0..1_000).map(|n| format!("metric_{n}")).collect();
    let series = names.iter().map(|name| series_v1(&[("__name__", name)], &[(NOW_MS, 1.0)])).collect();
    receiver.send_v1(&request_v1(series)).await.expect(204, None);
    assert_eq!(receiver.store.series().len(), 1_000);
    receiver.post(&V1_HEADERS, snappy(&body(1_000))).await.expect(204, None);
}

#[tokio::test]
async fn labels_above_the_limits_are_refused_by_their_reasons() {
    let labels = crate::ingest::options::LabelLimits { name_bytes_max: 8, value_bytes_max: 8, count_max: 2 };
    let receiver = Receiver::with(IngestOptions { labels, ..IngestOptions::default() });
    let sample = [(NOW_MS, 1.0)];
    let request = request_v1(vec![
        series_v1(&[("__name__", "a")], &sample),
        series_v1(&[("__name__", "b"), ("nine_byte", "1")], &sample),
        series_v1(&[("__name__", "nine_byte")], &sample),
        series_v1(&[("__name__", "c"), ("x", "1"), ("y", "2")], &sample),
    ]);
    let reply = receiver.send_v1(&request).await;
    reply.expect(400, None);
    for reason in ["1 label_name_too_long", "1 label_value_too_long", "1 too_many_labels", "stored 1:"] {
        assert!(reply.text.contains(reason), "{reason} in {}", reply.text);
    }
}
