//! The cases of the remote write 2.0 receiver compliance suite (prometheus/compliance, `remotewrite/receiver`), as facts:
//! what is sent and what must come back. Those with native histograms and exemplars are in `compliance_others.rs`.

use super::*;
use model::sample::stale_marker;

const BASE: &[(&str, &str)] = &[("__name__", "test_metric"), ("instance", "localhost:9090"), ("job", "test")];

fn one_sample(value: f64) -> Message2 {
    Message2::new().series(BASE).sample(NOW_MS, value)
}

async fn accepted(message: &Message2, samples: u64) -> Receiver {
    let receiver = Receiver::new();
    receiver.send_v2(message).await.expect(204, Some((samples, 0, 0)));
    receiver
}

async fn refused(message: &Message2, samples: u64, reason: &str) {
    let receiver = Receiver::new();
    let reply = receiver.send_v2(message).await;
    reply.expect(400, Some((samples, 0, 0)));
    assert!(reply.text.contains(reason), "{}", reply.text);
}

// Samples.

#[tokio::test]
async fn a_sample_of_any_value_is_stored_bit_for_bit() {
    for value in [1.0, 0.0, -1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, stale_marker(), f64::MAX, 5e-324] {
        let receiver = accepted(&one_sample(value), 1).await;
        let stored: Vec<u64> = receiver.store.samples(BASE).iter().map(|(_, value)| value.to_bits()).collect();
        assert_eq!(stored, [value.to_bits()]);
    }
}

#[tokio::test]
async fn several_samples_and_several_series_are_counted() {
    accepted(&one_sample(1.0).sample(NOW_MS + 1, 2.0).sample(NOW_MS + 2, 3.0), 3).await;
    let two = one_sample(1.0).series(&[("__name__", "other")]).sample(NOW_MS, 2.0);
    accepted(&two, 2).await;
}

#[tokio::test]
async fn samples_of_the_last_hour_are_stored_and_so_they_are_when_repeated_out_of_order() {
    let (hour, minute) = (NOW_MS - 3_600_000, NOW_MS - 60_000);
    let message = Message2::new().series(BASE).sample(hour, 1.0).sample(minute, 2.0).sample(NOW_MS, 3.0);
    let receiver = accepted(&message, 3).await;
    let again = Message2::new().series(BASE).sample(NOW_MS, 3.0).sample(hour, 1.0).sample(hour + 1, 7.0);
    receiver.send_v2(&again).await.expect(204, Some((3, 0, 0)));
    assert_eq!(receiver.store.samples(BASE), [(hour, 1.0), (hour + 1, 7.0), (minute, 2.0), (NOW_MS, 3.0)]);
}

#[tokio::test]
async fn start_timestamps_are_accepted() {
    let mut message = one_sample(1.0).sample(NOW_MS + 1, 2.0);
    message.last().samples[0].start_timestamp = NOW_MS - 1_000;
    // A start after its sample says nothing.
    message.last().samples[1].start_timestamp = NOW_MS + 2;
    let receiver = accepted(&message, 2).await;
    assert_eq!(receiver.store.starts(BASE), [NOW_MS - 1_000, 0]);
    let message = one_sample(1.0);
    // The field of earlier drafts, in the series: 6, a varint.
    let body = [message.encode().as_slice(), &[0x2a, 2, 0x30, 7]].concat();
    let reply = Receiver::new().post(&V2_HEADERS, snappy(&body)).await;
    reply.expect(400, Some((1, 0, 0)));
    assert!(reply.text.contains("1 no_samples"), "{}", reply.text);
}

// Labels.

#[tokio::test]
async fn names_and_values_may_be_any_utf8() {
    let labels =
        [("__name__", "metric.with.dots and blanks"), ("emoji", "🔥"), ("läbel.näme", "línea\nnueva\t\"quoted\"")];
    let receiver = accepted(&Message2::new().series(&labels).sample(NOW_MS, 1.0), 1).await;
    assert_eq!(receiver.store.samples(&labels), [(NOW_MS, 1.0)]);
}

#[tokio::test]
async fn many_labels_and_long_values_are_stored() {
    let names: Vec<String> = (0..50).map(|n| format!("label_{n:02}")).collect();
    let long = "v".repeat(4_000);
    let mut labels = vec![("__name__", "wide")];
    labels.extend(names.iter().map(|name| (name.as_str(), long.as_str())));
    let receiver = accepted(&Message2::new().series(&labels).sample(NOW_MS, 1.0), 1).await;
    assert_eq!(receiver.store.samples(&labels).len(), 1);
}

#[tokio::test]
async fn series_without_a_name_are_refused() {
    refused(&Message2::new().series(&[("job", "test")]).sample(NOW_MS, 1.0), 0, "missing_metric_name").await;
    refused(&Message2::new().series(&[("__name__", "")]).sample(NOW_MS, 1.0), 0, "missing_metric_name").await;
    refused(&Message2::new().series(&[]).sample(NOW_MS, 1.0), 0, "missing_metric_name").await;
}

#[tokio::test]
async fn repeated_label_names_are_refused() {
    let labels = [("__name__", "a"), ("job", "1"), ("job", "2")];
    refused(&Message2::new().series(&labels).sample(NOW_MS, 1.0), 0, "duplicate_label").await;
    let labels = [("__name__", "a"), ("job", "1"), ("job", "1")];
    refused(&Message2::new().series(&labels).sample(NOW_MS, 1.0), 0, "duplicate_label").await;
}

#[tokio::test]
async fn labels_in_any_order_are_the_same_series() {
    let receiver = accepted(&one_sample(1.0), 1).await;
    let reversed: Vec<(&str, &str)> = BASE.iter().rev().copied().collect();
    for (timestamp, value) in [(NOW_MS + 1, 2.0), (NOW_MS + 2, 3.0)] {
        let message = Message2::new().series(&reversed).sample(timestamp, value);
        receiver.send_v2(&message).await.expect(204, Some((1, 0, 0)));
    }
    assert_eq!(receiver.store.samples(BASE), [(NOW_MS, 1.0), (NOW_MS + 1, 2.0), (NOW_MS + 2, 3.0)]);
    assert_eq!(receiver.store.series().len(), 1);
}

// Partial writes.

#[tokio::test]
async fn of_four_samples_with_one_invalid_three_are_written() {
    let message = one_sample(1.0)
        .series(&[("__name__", "second")])
        .sample(NOW_MS, 2.0)
        .series(&[("job", "nameless")])
        .sample(NOW_MS, 3.0)
        .series(&[("__name__", "fourth")])
        .sample(NOW_MS, 4.0);
    refused(&message, 3, "refused 1, stored 3").await;
}

// Metadata.

#[tokio::test]
async fn metadata_of_all_types_is_accepted() {
    for metric_type in 0..=8 {
        let receiver = accepted(&one_sample(1.0).metadata(metric_type, "What it is.", "bytes"), 1).await;
        assert_eq!(receiver.store.metadata().len(), 1, "type {metric_type}");
    }
    accepted(&one_sample(1.0).metadata(1, "", ""), 1).await;
    accepted(&one_sample(1.0).metadata(0, "", ""), 1).await;
    accepted(&one_sample(1.0).metadata(2, &"Lång hjälp. 🔥\n".repeat(200), "mℓ"), 1).await;
}

#[tokio::test]
async fn metadata_without_samples_is_accepted_and_creates_no_series() {
    let receiver = accepted(&Message2::new().series(BASE).metadata(2, "Orphan.", ""), 0).await;
    assert_eq!(receiver.store.metadata()["test_metric"].help, "Orphan.");
    assert!(receiver.store.series().is_empty());
}

#[tokio::test]
async fn series_that_carry_nothing_are_refused() {
    refused(&one_sample(1.0).series(&[("__name__", "nothing")]), 1, "1 no_samples").await;
    // Some senders write an empty metadata message with every series.
    refused(&Message2::new().series(BASE).metadata(0, "", ""), 0, "1 no_samples").await;
}

// Requests.

#[tokio::test]
async fn an_empty_request_is_accepted() {
    accepted(&Message2::new(), 0).await;
    Receiver::new().post(&V1_HEADERS, snappy(b"")).await.expect(204, None);
}

#[tokio::test]
async fn corrupt_compression_and_corrupt_messages_are_400() {
    let whole = one_sample(1.0).encode();
    for body in
        [b"\x00\x01\x02".to_vec(), snappy(&whole)[1..].to_vec(), whole.clone(), snappy(&whole[..whole.len() - 3])]
    {
        Receiver::new().post(&V2_HEADERS, body).await.expect(400, Some((0, 0, 0)));
    }
}

// Compatibility with 1.0.

#[tokio::test]
async fn version_1_is_accepted_without_any_written_header() {
    let receiver = Receiver::new();
    let samples = [(NOW_MS - 1, f64::NAN), (NOW_MS, stale_marker())];
    receiver.send_v1(&request_v1(vec![series_v1(BASE, &samples)])).await.expect(204, None);
    assert_eq!(receiver.store.samples(BASE).len(), 2);
    receiver.post(&V1_HEADERS, snappy(b"\x0a\xff")).await.expect(400, None);
    receiver.post(&V1_HEADERS, b"\xff\xff\xff\xff\xff\xff\xff".to_vec()).await.expect(400, None);
}

#[tokio::test]
async fn version_1_under_its_full_content_type_is_the_same() {
    let receiver = Receiver::new();
    let headers =
        [("content-type", "application/x-protobuf;proto=prometheus.WriteRequest"), ("content-encoding", "snappy")];
    let body = request_v1(vec![series_v1(BASE, &[(NOW_MS, 1.0)])]).encode_to_vec();
    receiver.post(&headers, snappy(&body)).await.expect(204, None);
}
