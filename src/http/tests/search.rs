//! Searches for names and values: lines, order, limits, and parameters that are wrong.

use super::fixture::{App, answer, get_request};
use axum::http::header;

async fn search(app: &App, path: &str) -> (u16, String) {
    let found = answer(&app.router, get_request(&format!("/api/v1/search/{path}"))).await;
    let content_type = if found.status == 200 { "application/x-ndjson; charset=utf-8" } else { "application/json" };
    assert_eq!(found.headers[header::CONTENT_TYPE], content_type);
    (found.status, found.text())
}

/// The lines of a search over all samples of the fixture.
async fn lines(path: &str) -> Vec<String> {
    let (status, text) = search(&App::new(), &format!("{path}&start=0&end=600")).await;
    assert_eq!(status, 200, "{text}");
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{text}");
    text.lines().map(str::to_owned).collect()
}

const END: &str = r#"{"status":"success","has_more":false}"#;
const MORE: &str = r#"{"status":"success","has_more":true}"#;

#[tokio::test]
async fn results_come_in_batches_before_a_trailer() {
    let all = [
        r#"{"results":[{"name":"http.requests"},{"name":"requests_total"},{"name":"tiny"}]}"#,
        r#"{"results":[{"name":"up"}]}"#,
        END,
    ];
    assert_eq!(lines("metric_names?batch_size=3").await, all);
    assert_eq!(lines("label_names?match[]=tiny").await, [r#"{"results":[{"name":"__name__"},{"name":"job"}]}"#, END]);
    assert_eq!(lines("label_values?label=job").await, [r#"{"results":[{"value":"a"},{"value":"b"}]}"#, END]);
    assert_eq!(lines("label_values?label=none").await, [r#"{"results":[]}"#, END]);
    let (status, text) = search(&App::new(), "metric_names").await;
    assert_eq!((status, text.as_str()), (200, "{\"results\":[]}\n{\"status\":\"success\",\"has_more\":false}\n"));
}

#[tokio::test]
async fn results_are_limited_and_sorted() {
    assert_eq!(lines("label_values?label=job&limit=1").await, [r#"{"results":[{"value":"a"}]}"#, MORE]);
    let descending = lines("label_values?label=job&sort_by=alpha&sort_dir=dsc&limit=2").await;
    assert_eq!(descending, [r#"{"results":[{"value":"b"},{"value":"a"}]}"#, END]);
    let of_both = lines("label_values?label=job&match[]=up&match[]=tiny&limit=1").await;
    assert_eq!(of_both, [r#"{"results":[{"value":"a"}]}"#, MORE]);
}

#[tokio::test]
async fn terms_choose_and_rank() {
    let ranked = lines("metric_names?search[]=re&sort_by=score&fuzz_alg=jarowinkler&include_score=true").await;
    let expected =
        r#"{"results":[{"name":"requests_total","score":1},{"name":"http.requests","score":0.5909090909090908}]}"#;
    assert_eq!(ranked, [expected, END]);
    let subsequence = lines("metric_names?search[]=rqt&include_metadata=true").await;
    let with_metadata = r#"{"name":"requests_total","type":"counter","help":"How often."}"#;
    let expected = format!(r#"{{"results":[{{"name":"http.requests"}},{with_metadata}]}}"#);
    assert_eq!(subsequence, [&expected, END]);
    assert_eq!(
        lines("metric_names?search[]=TINY&case_sensitive=false").await,
        [r#"{"results":[{"name":"tiny"}]}"#, END]
    );
    assert_eq!(lines("metric_names?search[]=TINY").await, [r#"{"results":[]}"#, END]);
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let app = App::new();
    for (path, reason) in [
        ("metric_names?limit=0", "invalid limit \\\"0\\\": must be a positive integer"),
        ("metric_names?limit=10001", "limit 10001 exceeds the maximum (10000)"),
        ("metric_names?batch_size=-1", "invalid batch_size \\\"-1\\\": must be a positive integer"),
        ("metric_names?fuzz_threshold=200", "invalid fuzz_threshold \\\"200\\\": must be 0-100"),
        (
            "metric_names?fuzz_alg=levenshtein",
            "unsupported fuzz_alg \\\"levenshtein\\\": must be one of [subsequence jarowinkler]",
        ),
        ("metric_names?include_metadata=maybe", "invalid include_metadata \\\"maybe\\\": must be boolean"),
        ("metric_names?sort_dir=asc", "sort_dir is only valid when sort_by is set"),
        ("metric_names?sort_by=score", "sort_by=score requires search[] to be set"),
        ("metric_names?sort_by=score&sort_dir=asc&search[]=a", "sort_dir is not supported for sort_by=score"),
        (
            "metric_names?sort_by=size",
            "invalid sort_by \\\"size\\\" for metric_names: must be \\\"alpha\\\" or \\\"score\\\"",
        ),
        ("metric_names?sort_by=alpha&sort_dir=up", "invalid sort_dir \\\"up\\\": must be \\\"asc\\\" or \\\"dsc\\\""),
        ("metric_names?start=5&end=4", "end timestamp must not be before start timestamp"),
        ("metric_names?match[]={a=~\".*\"}", "match[] must contain at least one non-empty matcher"),
        ("label_values", "missing required parameter \\\"label\\\""),
    ] {
        let (status, text) = search(&app, path).await;
        let expected = format!("{{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"{reason}\"}}");
        assert_eq!((status, text), (400, expected), "{path}");
    }
    let many = "search[]=a&".repeat(33);
    let (status, text) = search(&app, &format!("label_names?{many}")).await;
    assert!(status == 400 && text.contains("too many search[] terms: got 33, maximum is 32"), "{text}");
}
