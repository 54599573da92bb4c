//! Series are found the cheap way whenever they can be, and what this process writes itself goes the same way.

use super::testing::MemoryStore;
use super::*;
use crate::cluster::ring::{Member, MemberState};
use crate::wire::Protocol;
use crate::wire::compression::Encoding;
use crate::wire::prost_types::v1;
use bytes::Bytes;
use model::histogram::validate::InvalidHistogram;
use model::histogram::{Histogram, Span};
use model::labels::Labels;
use model::tenant::TenantId;
use promql::value::SampleValue;
use prost::Message;
use storage::append::HISTOGRAM_BUCKETS_MAX;

const NOW_MS: i64 = 1_795_132_800_000;

fn door() -> (Ingest, Arc<MemoryStore>) {
    let (store, local) = (Arc::new(MemoryStore::default()), NodeId::new("local"));
    let ring = Arc::new(Ring::of_one(local.clone()));
    (Ingest::new(TenantId::anonymous(), IngestOptions::default(), ring, local, store.clone(), testing::cpu()), store)
}

fn request(series: &[&[(&str, &str)]], timestamp: i64) -> WriteRequest {
    let label = |(name, value): &(&str, &str)| v1::Label { name: (*name).into(), value: (*value).into() };
    let timeseries = series.iter().map(|labels| v1::TimeSeries {
        labels: labels.iter().map(label).collect(),
        samples: vec![v1::Sample { value: 1.0, timestamp }],
        ..Default::default()
    });
    let message = v1::WriteRequest { timeseries: timeseries.collect(), metadata: Vec::new() };
    send(&message)
}

fn send(message: &v1::WriteRequest) -> WriteRequest {
    let body = snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).unwrap();
    WriteRequest {
        protocol: Protocol::V1,
        encoding: Encoding::Snappy,
        body: Bytes::from(body),
        tenant: TenantId::anonymous(),
        now_ms: NOW_MS,
    }
}

async fn write(ingest: &Ingest, request: WriteRequest) -> WriteReport {
    ingest.write(request, ingest.inflight().begin()).await.unwrap()
}

const SORTED: &[(&str, &str)] = &[("__name__", "up"), ("job", "node")];
const UNSORTED: &[(&str, &str)] = &[("job", "node"), ("empty", ""), ("__name__", "up")];

/// One lookup for each series of a request, and nothing else, once it is known; whatever form its labels come in.
#[tokio::test]
async fn known_series_are_looked_up_once_and_never_created_again() {
    let (ingest, store) = door();
    write(&ingest, request(&[SORTED, &[("__name__", "b")]], NOW_MS)).await;
    assert_eq!(store.calls(), (2, 2, 0));
    for n in 1..4 {
        let report = write(&ingest, request(&[SORTED, &[("__name__", "b")]], NOW_MS + n)).await;
        assert_eq!(report.samples_written, 2);
    }
    assert_eq!(store.calls(), (8, 2, 0));
}

#[tokio::test]
async fn labels_that_are_not_canonical_are_parsed_once_and_then_remembered() {
    let (ingest, store) = door();
    write(&ingest, request(&[UNSORTED], NOW_MS)).await;
    write(&ingest, request(&[SORTED], NOW_MS + 1)).await;
    let (_, creates, _) = store.calls();
    for n in 2..6 {
        write(&ingest, request(&[UNSORTED], NOW_MS + n)).await;
    }
    assert_eq!(store.calls().1, creates, "an alias was parsed and created again");
    assert_eq!(store.samples(SORTED).len(), 6);
}

#[tokio::test]
async fn one_new_series_in_several_entries_of_a_request_is_one_series() {
    let (ingest, store) = door();
    let report = write(&ingest, request(&[SORTED, UNSORTED, SORTED], NOW_MS)).await;
    assert_eq!(report.samples_written, 3, "the same sample three times");
    assert_eq!(store.series().len(), 1);
}

#[tokio::test]
async fn the_store_is_told_metadata_once() {
    let (ingest, store) = door();
    let told = |help: &str| v1::MetricMetadata {
        r#type: 2,
        metric_family_name: "up".into(),
        help: help.into(),
        unit: Vec::new(),
    };
    for help in ["Whether it is up.", "Whether it is up.", "Up.", "Up."] {
        write(&ingest, send(&v1::WriteRequest { timeseries: Vec::new(), metadata: vec![told(help)] })).await;
    }
    assert_eq!(store.calls().2, 2);
    assert_eq!(store.metadata()["up"].help, "Up.");
}

#[tokio::test]
async fn metadata_that_the_store_did_not_take_is_told_again() {
    let (ingest, store) = door();
    let metadata = v1::MetricMetadata { r#type: 1, metric_family_name: "up".into(), ..Default::default() };
    let message = v1::WriteRequest { timeseries: Vec::new(), metadata: vec![metadata] };
    store.fail_metadata(Some(AppendError::unavailable("not now")));
    assert!(write(&ingest, send(&message)).await.retry.is_some());
    store.fail_metadata(None);
    assert!(write(&ingest, send(&message)).await.retry.is_none());
    assert_eq!(store.metadata().len(), 1);
}

/// Senders of version 2.0 repeat metadata with every sample: a store without room for it must not hold those up.
#[tokio::test]
async fn metadata_without_room_is_refused_and_not_asked_for_again() {
    let (ingest, store) = door();
    store.limit_metadata(0);
    let metadata = v1::MetricMetadata { r#type: 1, metric_family_name: "up".into(), ..Default::default() };
    let report = write(&ingest, send(&v1::WriteRequest { timeseries: Vec::new(), metadata: vec![metadata] })).await;
    assert_eq!(report.retry, None);
    assert_eq!(ingest.metrics().rejected(Reason::MetadataRefused), 1);
}

#[tokio::test]
async fn own_samples_are_stored_and_their_rejections_counted() {
    let (ingest, store) = door();
    let own = |value| OwnSample {
        labels: Labels::from_sorted(SORTED.iter().copied()),
        timestamp_ms: NOW_MS,
        value: SampleValue::Float(value),
    };
    assert_eq!(ingest.write_own(&[own(1.0), own(1.0)]).await.unwrap().written, 2);
    let outcome = ingest.write_own(&[own(1.0), own(2.0)]).await.unwrap();
    let refusal = |index, reason, detail| OwnRefusal { index, reason, detail };
    assert_eq!(outcome, OwnOutcome { written: 1, refused: vec![refusal(1, Reason::ConflictingValue, None)] });
    assert_eq!(ingest.metrics().rejected(Reason::ConflictingValue), 1);
    assert_eq!(ingest.ledger().last(1).0[0].series(), "{__name__=\"up\", job=\"node\"}");
    assert_eq!(store.samples(SORTED), [(NOW_MS, 1.0)]);
    // Remote write finds the series that rules made.
    let (_, creates, _) = store.calls();
    write(&ingest, request(&[SORTED], NOW_MS + 1)).await;
    assert_eq!(store.calls().1, creates);
}

#[tokio::test]
async fn own_histograms_are_stored_beside_floats_and_checked_like_those_of_remote_write() {
    let (ingest, store) = door();
    let own = |name: &str, value| OwnSample {
        labels: Labels::from_sorted([("__name__", name)]),
        timestamp_ms: NOW_MS,
        value,
    };
    let histogram = |name, histogram| own(name, SampleValue::Histogram(Arc::new(histogram)));
    let good = Histogram {
        count: 3.0,
        sum: 1.5,
        positive_spans: vec![Span { offset: 1, length: 2 }],
        positive_buckets: vec![1.0, 2.0],
        ..Histogram::default()
    };
    let negative = Histogram { positive_buckets: vec![-1.0, 2.0], ..good.clone() };
    let large = HISTOGRAM_BUCKETS_MAX as u32 + 1;
    let large = Histogram {
        positive_spans: vec![Span { offset: 0, length: large }],
        positive_buckets: vec![1.0; large as usize],
        ..good.clone()
    };
    let samples = [
        histogram("negative", negative),
        histogram("large", large),
        histogram("good", good.clone()),
        own("float", SampleValue::Float(1.0)),
        histogram("good", Histogram { sum: 2.0, ..good.clone() }),
        own("float", SampleValue::Float(2.0)),
    ];
    let outcome = ingest.write_own(&samples).await.unwrap();
    assert_eq!(outcome.written, 2);
    let refused: Vec<_> = outcome.refused.iter().map(|refusal| (refusal.index, refusal.reason)).collect();
    let conflict = Reason::ConflictingValue;
    assert_eq!(refused, [(0, Reason::InvalidHistogram), (1, Reason::HistogramTooLarge), (4, conflict), (5, conflict)]);
    assert_eq!(outcome.refused[0].detail, Some(InvalidHistogram::NegativePopulation));
    assert_eq!(store.histograms(&[("__name__", "good")]), [(NOW_MS, 0, good)]);
    assert_eq!(store.samples(&[("__name__", "float")]), [(NOW_MS, 1.0)]);
    assert_eq!(store.series().len(), 2, "what cannot be stored makes no series");
    assert_eq!(ingest.metrics().rejected(Reason::InvalidHistogram), 1);
    let (last, _) = ingest.ledger().last(4);
    assert_eq!(last.iter().filter(|refusal| refusal.value.is_some()).count(), 1, "a histogram is no float");
}

/// A ring with members that cannot be reached must not be acknowledged by the one that can.
#[tokio::test]
async fn nothing_is_acknowledged_while_others_of_the_ring_hold_series_too() {
    let member =
        |name| Member { id: NodeId::new(name), zone: String::new(), state: MemberState::Active, healthy: true };
    let store = Arc::new(MemoryStore::default());
    let ring = Arc::new(Ring::new([member("local"), member("other")], 2));
    let ingest = Ingest::new(
        TenantId::anonymous(),
        IngestOptions::default(),
        ring,
        NodeId::new("local"),
        store.clone(),
        testing::cpu(),
    );
    let error = ingest.write(request(&[SORTED], NOW_MS), ingest.inflight().begin()).await.unwrap_err();
    assert_eq!(error.kind(), WriteErrorKind::Unavailable);
    assert!(store.series().is_empty());
}
