//! Refusals can be looked up and are counted.

use super::*;
use crate::ingest::{AppendError, Reason};
use serde_json::{Value, json};

const UP: &[(&str, &str)] = &[("__name__", "up"), ("job", "node")];

async fn listed(receiver: &Receiver, query: &str) -> (u16, Value) {
    let uri = format!("/api/v1/status/rejected_samples{query}");
    let reply = receiver.call("GET", &uri, &[], Vec::new()).await;
    (reply.status, serde_json::from_str(&reply.text).unwrap())
}

#[tokio::test]
async fn a_refused_sample_can_be_looked_up_with_series_time_and_reason() {
    let receiver = Receiver::new();
    receiver.send_v1(&request_v1(vec![series_v1(UP, &[(NOW_MS, 1.0)])])).await.expect(204, None);
    receiver.send_v1(&request_v1(vec![series_v1(UP, &[(NOW_MS + 500, 1.0), (NOW_MS, 2.5)])])).await.expect(400, None);
    let (status, document) = listed(&receiver, "").await;
    assert_eq!(status, 200);
    assert_eq!(
        document,
        json!({"status": "success", "data": {
            "rejected": [{
                "refusedAt": 1_795_132_800,
                "tenant": "anonymous",
                "series": "{__name__=\"up\", job=\"node\"}",
                "timestamp": 1_795_132_800,
                "value": "2.5",
                "count": 1,
                "reason": "conflicting_value",
                "explanation": "duplicate sample for timestamp: another value is stored already",
            }],
            "totals": {"conflicting_value": 1},
        }})
    );
    let below = receiver.call("GET", "/prometheus/api/v1/status/rejected_samples", &[], Vec::new()).await;
    assert_eq!(below.status, 200);
}

#[tokio::test]
async fn labels_of_both_versions_are_shown_however_wrong_they_are() {
    let receiver = Receiver::new();
    let mut old = request_v1(vec![series_v1(&[("job", "a"), ("job", "b"), ("__name__", "x")], &[(NOW_MS, f64::NAN)])]);
    old.timeseries[0].labels[1].value = vec![0xff];
    receiver.send_v1(&old).await.expect(400, None);
    let new = Message2::new().series(&[("", "value"), ("__name__", "y")]).sample(NOW_MS, 1.0).sample(NOW_MS + 1, 2.0);
    receiver.send_v2(&new).await.expect(400, Some((0, 0, 0)));
    let (_, document) = listed(&receiver, "").await;
    let lines: Vec<String> = document["data"]["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            format!("{} {} {}", line["count"], line["reason"].as_str().unwrap(), line["series"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        lines,
        [
            "2 empty_label_name {\"\"=\"value\", __name__=\"y\"}",
            "1 invalid_utf8 {job=\"a\", job=\"\u{fffd}\", __name__=\"x\"}",
        ]
    );
}

#[tokio::test]
async fn the_list_is_bounded_newest_first_and_limited_on_request() {
    let receiver = Receiver::with(IngestOptions { ledger_capacity: 3, ..IngestOptions::default() });
    let names: Vec<String> = (0..5).map(|n| format!("{n}")).collect();
    let series = names.iter().map(|name| series_v1(&[("n", name)], &[(NOW_MS, 1.0)])).collect();
    receiver.send_v1(&request_v1(series)).await.expect(400, None);
    for (query, expected, warned) in
        [("", &["4", "3", "2"][..], false), ("?limit=2", &["4", "3"], true), ("?limit=0", &["4", "3", "2"], false)]
    {
        let (_, document) = listed(&receiver, query).await;
        let shown: Vec<&str> = document["data"]["rejected"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| &line["series"].as_str().unwrap()[4..5])
            .collect();
        assert_eq!(shown, expected, "{query}");
        assert_eq!(document.get("warnings").is_some(), warned, "{query}");
        assert_eq!(document["data"]["totals"]["missing_metric_name"], 5);
    }
    let (status, document) = listed(&receiver, "?limit=-1").await;
    assert_eq!((status, document["errorType"].as_str()), (400, Some("bad_data")));
}

#[tokio::test]
async fn what_is_asked_for_again_is_not_counted_as_refused() {
    let receiver = Receiver::new();
    receiver.store.fail_appends(Some(AppendError::unavailable("the disk is full")));
    let request = request_v1(vec![series_v1(UP, &[(NOW_MS, 1.0)]), series_v1(&[("job", "a")], &[(NOW_MS, 1.0)])]);
    receiver.send_v1(&request).await.expect(503, None);
    assert_eq!(receiver.ingest.metrics().rejected(Reason::MissingMetricName), 0);
    receiver.store.fail_appends(None);
    receiver.send_v1(&request).await.expect(400, None);
    assert_eq!(receiver.ingest.metrics().rejected(Reason::MissingMetricName), 1);
    assert_eq!(receiver.ingest.ledger().last(10).0.len(), 1);
}
