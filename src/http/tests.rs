//! The HTTP interface as recorded pairs of requests and answers, and what pairs cannot show.
mod fixture;
mod notifications;
mod pairs;
mod remote_read;
mod rule_config;
mod rules;
mod search;
#[cfg(feature = "sql")]
mod sql;

use super::switch::RouterSwitch;
use super::*;
use crate::runtime::memory::Memory;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use fixture::{App, answer, get_request};
use http_body_util::BodyExt;
use std::io::Read;
use std::time::Duration;

fn header(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn answers_are_compressed_for_those_who_ask() {
    let app = App::new();
    let plain = answer(&app.router, get_request("/api/v1/status/buildinfo")).await;
    assert_eq!(header(&plain.headers, "content-encoding"), "");
    for encoding in ["gzip", "deflate"] {
        let mut request = get_request("/api/v1/status/buildinfo");
        request.headers_mut().insert(header::ACCEPT_ENCODING, encoding.parse().unwrap());
        let packed = answer(&app.router, request).await;
        assert_eq!(header(&packed.headers, "content-encoding"), encoding);
        assert!(packed.headers.get_all("vary").iter().any(|value| value == "accept-encoding"));
        let mut unpacked = Vec::new();
        match encoding {
            "gzip" => flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked),
            _ => flate2::read::ZlibDecoder::new(&packed.body[..]).read_to_end(&mut unpacked),
        }
        .unwrap();
        assert_eq!(unpacked, plain.body);
    }
}

#[tokio::test]
async fn nothing_but_health_is_answered_before_the_process_is_ready() {
    let app = App::new();
    for (phase, stopping) in [(readiness::Phase::Starting, "false"), (readiness::Phase::Stopping, "true")] {
        app.readiness.set(phase);
        for router in [&app.router, &starting_app(&app.early)] {
            for path in ["/api/v1/query?query=1", "/federate", "/-/ready", "/ready", "/prometheus/api/v1/labels"] {
                let refused = answer(router, get_request(path)).await;
                assert_eq!(refused.status, 503, "{path}");
                assert_eq!(header(&refused.headers, "x-prometheus-stopping"), stopping, "{path}");
                assert_eq!(refused.text(), "Service Unavailable");
            }
            for path in ["/-/healthy", "/metrics", "/api/v1/status/walreplay", "/prometheus/-/healthy"] {
                assert_eq!(answer(router, get_request(path)).await.status, 200, "{path}");
            }
        }
    }
}

/// Senders drop what is answered 404.
#[tokio::test]
async fn a_process_that_becomes_ready_never_says_that_there_is_no_write_path() {
    let app = App::new();
    app.readiness.set(readiness::Phase::Ready);
    let router = starting_app(&app.early);
    for path in ["/api/v1/write", "/api/v1/push", "/api/v1/query?query=1", "/-/ready"] {
        let refused = answer(&router, get_request(path)).await;
        assert_eq!(refused.status, 503, "{path}");
        assert_eq!(header(&refused.headers, "x-prometheus-stopping"), "false", "{path}");
        assert_eq!(header(&refused.headers, "retry-after"), "1");
    }
}

#[tokio::test]
async fn a_request_is_counted_by_its_route() {
    let app = App::new();
    for path in
        ["/api/v1/label/job/values", "/prometheus/api/v1/label/code/values", "/no/such/path", "/api/v1/query?query=("]
    {
        answer(&app.router, get_request(path)).await;
    }
    let text = answer(&app.router, get_request("/metrics")).await.text();
    for line in [
        "hearth_http_requests_total{handler=\"/api/v1/label/{name}/values\",code=\"200\"} 2",
        "hearth_http_requests_total{handler=\"other\",code=\"404\"} 1",
        "hearth_http_requests_total{handler=\"/api/v1/query\",code=\"400\"} 1",
        "hearth_http_request_duration_seconds_count{handler=\"other\"} 1",
        "hearth_http_requests_in_flight 1",
        "hearth_queries_total{class=\"interactive\",outcome=\"bad_query\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn browsers_may_read_answers() {
    let app = App::new();
    let mut request = get_request("/api/v1/query?query=1&time=1");
    request.headers_mut().insert(header::ORIGIN, "https://grafana.example".parse().unwrap());
    let read = answer(&app.router, request).await;
    assert_eq!(header(&read.headers, "access-control-allow-origin"), "*");
    let options = Request::options("/api/v1/query").header(header::ORIGIN, "https://a.example").body(Body::empty());
    let options = answer(&app.router, options.unwrap()).await;
    assert_eq!((options.status, options.body.len()), (204, 0));
    assert_eq!(header(&options.headers, "access-control-allow-methods"), "GET, POST, OPTIONS");
}

#[tokio::test]
async fn wrong_methods_are_told_the_right_ones() {
    let app = App::new();
    let request = Request::delete("/api/v1/query").body(Body::empty()).unwrap();
    let refused = answer(&app.router, request).await;
    assert_eq!((refused.status, refused.text().as_str()), (405, "Method Not Allowed\n"));
    assert!(header(&refused.headers, "allow").contains("GET"), "{:?}", refused.headers);
    let reload = answer(&app.router, get_request("/-/reload")).await;
    assert_eq!((reload.status, reload.text().as_str()), (405, "Only POST or PUT requests allowed"));
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let app = App::new();
    for path in ["/-/healthy", "/-/ready", "/api/v1/status/buildinfo"] {
        let request = Request::head(path).body(Body::empty()).unwrap();
        let answer = answer(&app.router, request).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{path}");
    }
}

#[tokio::test]
async fn a_form_that_is_too_large_is_refused() {
    let app = App::new();
    let form = Bytes::from(vec![b'a'; params::form::BYTES_MAX + 1]);
    let request = Request::post("/api/v1/query").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let refused = answer(&app.router, request.body(Body::from(form)).unwrap()).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("error parsing form values"), "{}", refused.text());
}

#[tokio::test]
async fn reload_reports_what_is_wrong_with_the_file() {
    let app = App::new();
    for method in [Method::POST, Method::PUT] {
        let request = Request::builder().method(method).uri("/-/reload").body(Body::empty()).unwrap();
        assert_eq!(answer(&app.router, request).await.status, 200);
    }
    app.break_config();
    let request = Request::post("/-/reload").body(Body::empty()).unwrap();
    let refused = answer(&app.router, request).await;
    assert_eq!((refused.status, refused.text().as_str()), (500, "failed to reload config: line 1: no\n"));
}

#[tokio::test]
async fn storage_that_fails_is_an_internal_error() {
    let app = App::failing("disk on fire");
    for (path, status) in [("/api/v1/query?query=up", 500), ("/api/v1/series?match[]=up", 500), ("/api/v1/labels", 500)]
    {
        let failed = answer(&app.router, get_request(path)).await;
        assert_eq!(failed.status, status, "{path}");
        assert!(failed.text().contains("\"errorType\":\"internal\""), "{}", failed.text());
        assert!(failed.text().contains("disk on fire"), "{}", failed.text());
    }
}

#[tokio::test]
async fn a_query_in_flight_can_be_seen_and_stopped() {
    let app = App::slow();
    let router = app.router.clone();
    let asked = tokio::spawn(async move { answer(&router, get_request("/api/v1/query?query=sum(slow)&time=1")).await });
    let listed = loop {
        let text = answer(&app.router, get_request("/api/v1/status/active_queries")).await.text();
        if text.contains("\"evaluating\"") {
            break text;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(listed.contains("\"id\":1,\"query\":\"sum(slow)\",\"tenant\":\"anonymous\""), "{listed}");
    let cancel =
        |id: u32| Request::post(format!("/api/v1/status/active_queries/{id}/cancel")).body(Body::empty()).unwrap();
    assert_eq!(answer(&app.router, cancel(7)).await.status, 404);
    assert_eq!(answer(&app.router, cancel(1)).await.status, 204);
    let stopped = asked.await.unwrap();
    assert_eq!(stopped.status, 499);
    assert!(stopped.text().contains("query was canceled in expression evaluation"), "{}", stopped.text());
}

#[tokio::test]
async fn a_client_that_goes_away_stops_its_evaluation() {
    let app = App::slow();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let options = server::ServerOptions { connections_max: 8, drain_timeout: Duration::from_secs(5) };
    let serving = tokio::spawn(server::serve(listener, RouterSwitch::new(app.router.clone()), stop.clone(), options));
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET /api/v1/query?query=sum(slow)&time=1 HTTP/1.1\r\nHost: a\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut client, request).await.unwrap();
    while app.reads.count() < 5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(client);
    while !app.queries.active().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let count = app.reads.count();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(app.reads.count(), count, "the evaluation went on");
    assert!(count < 25_000, "the evaluation ran to its end");
    stop.cancel();
    serving.await.unwrap();
}

/// So many points that threads of the pool write and compress them.
const LONG_ANSWER: &str = "/api/v1/query_range?query=requests_total&start=0&end=900&step=0.1";
const LONG_ANSWER_POINTS: usize = 9_000;

#[tokio::test]
async fn a_long_answer_is_sent_in_pieces() {
    let app = App::new();
    let ask = |encoding: &str| {
        let mut request = get_request(LONG_ANSWER);
        request.headers_mut().insert(header::ACCEPT_ENCODING, encoding.parse().unwrap());
        tower::ServiceExt::oneshot(app.router.clone(), request)
    };
    let response = ask("identity").await.unwrap();
    assert_eq!(axum::body::HttpBody::size_hint(response.body()).exact(), None);
    assert_eq!(header(response.headers(), "content-encoding"), "");
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.len() > 100_000, "a part of {} bytes", first.len());
    let plain = [first, body.collect().await.unwrap().to_bytes()].concat();
    let parsed: serde_json::Value = serde_json::from_slice(&plain).unwrap();
    assert_eq!(parsed["data"]["result"][0]["values"].as_array().unwrap().len(), LONG_ANSWER_POINTS);

    let response = ask("gzip").await.unwrap();
    assert_eq!(axum::body::HttpBody::size_hint(response.body()).exact(), None);
    assert_eq!(header(response.headers(), "content-encoding"), "gzip");
    assert_eq!(header(response.headers(), "vary"), "accept-encoding");
    let packed = response.into_body().collect().await.unwrap().to_bytes();
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    assert!(packed.len() < plain.len() / 2 && unpacked == plain, "{} of {}", packed.len(), plain.len());
}

/// What is on its way counts among what all queries hold; what does not fit there is asked to come again.
#[tokio::test]
async fn answers_are_held_until_they_are_sent() {
    let app = App::new();
    let memory = Memory::new(1 << 30);
    app.queries.bound_by(memory.clone());
    let ask = |app: &App, path: &str| tower::ServiceExt::oneshot(app.router.clone(), get_request(path));
    let response = ask(&app, LONG_ANSWER).await.unwrap();
    let held = memory.queries().held();
    assert!((LONG_ANSWER_POINTS * 8..20 * LONG_ANSWER_POINTS).contains(&held), "{held}");
    drop(response);
    assert_eq!(memory.queries().held(), 0);

    let app = App::recent();
    let memory = Memory::new(1 << 30);
    app.queries.bound_by(memory.clone());
    let response = ask(&app, "/federate?match[]=up").await.unwrap();
    assert!(memory.queries().held() > 100, "{}", memory.queries().held());
    drop(response);
    assert_eq!(memory.queries().held(), 0);

    let app = App::recent();
    app.queries.bound_by(Memory::new(100));
    for path in ["/federate?match[]=up", "/api/v1/series?match[]=up&limit=5", "/api/v1/label/job/values?match[]=up"] {
        let refused = answer(&app.router, get_request(path)).await;
        assert_eq!(refused.status, 503, "{path}: {}", refused.text());
        assert!(refused.text().contains("all queries together hold"), "{path}: {}", refused.text());
    }
}

/// Whoever looks up series waits as queries do until there is memory.
#[tokio::test]
async fn look_ups_are_turned_away_while_memory_is_short() {
    let app = App::recent();
    let memory = Memory::new(1_000_000);
    app.queries.bound_by(memory.clone());
    let selected = "match[]=up";
    let series = format!("/api/v1/series?{selected}");
    let paths = [
        format!("{series}&limit=5"),
        format!("/api/v1/labels?{selected}"),
        format!("/api/v1/label/job/values?{selected}"),
        "/api/v1/query_exemplars?query=up".into(),
        "/api/v1/query?query=up".into(),
        series,
    ];
    for (used, status) in [(799_999, 200), (800_000, 503), (100, 200)] {
        memory.note(used);
        for path in &paths {
            let answered = answer(&app.router, get_request(path)).await;
            assert_eq!(answered.status, status, "{path}, {used} bytes in use: {}", answered.text());
            assert_eq!(answered.headers.contains_key(header::RETRY_AFTER), status == 503, "{path}");
        }
    }
    assert_eq!(memory.turned_away(), (0, paths.len() as u64));
}

#[tokio::test]
async fn stats_tell_what_a_query_cost() {
    let app = App::new();
    let asked = |stats: &str| format!("/api/v1/query_range?query=sum(up)&start=0&end=30&step=15&stats={stats}");
    let text = answer(&app.router, get_request(&asked("all"))).await.text();
    let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
    let stats = &parsed["data"]["stats"];
    assert_eq!(stats["samples"]["totalQueryableSamples"], 6);
    assert_eq!(stats["samples"]["totalQueryableSamplesPerStep"], serde_json::json!([[0.0, 2], [15.0, 2], [30.0, 2]]));
    assert_eq!((&stats["samples"]["samplesRead"], &stats["samples"]["seriesSelected"]), (&6.into(), &2.into()));
    assert_eq!(stats["samples"]["samplesReadPerStep"], stats["samples"]["totalQueryableSamplesPerStep"]);
    assert!(stats["timings"]["execTotalTime"].as_f64().unwrap() > 0.0);

    // An instant query has one step.
    let range = "/api/v1/query?query=sum(count_over_time(up[1m]))&time=30&stats=all";
    let parsed: serde_json::Value =
        serde_json::from_str(&answer(&app.router, get_request(range)).await.text()).unwrap();
    let samples = &parsed["data"]["stats"]["samples"];
    let expected = serde_json::json!({
        "totalQueryableSamplesPerStep": [[30.0, 6]], "totalQueryableSamples": 6, "samplesReadPerStep": [[30.0, 6]],
        "samplesRead": 6, "peakSamples": samples["peakSamples"].as_u64().unwrap(), "seriesSelected": 2,
    });
    assert_eq!(samples, &expected);
    let page = answer(&app.router, get_request("/metrics")).await.text();
    for line in ["hearth_query_samples_total 12", "hearth_query_samples_read_total 12"] {
        assert!(page.contains(line), "{line}");
    }

    let text = answer(&app.router, get_request(&asked("true"))).await.text();
    assert!(text.contains("totalQueryableSamples\"") && !text.contains("PerStep"), "{text}");
    let text = answer(&app.router, get_request(&asked("1"))).await.text();
    assert!(
        text.contains("\"stats\":{") && text.contains("value \\\"1\\\" for parameter \\\"stats\\\" is deprecated"),
        "{text}"
    );
}

#[tokio::test]
async fn federation_gives_the_newest_samples() {
    let app = App::recent();
    let page = answer(&app.router, get_request("/federate?match[]=up&match[]={job=\"a\"}")).await;
    assert_eq!(header(&page.headers, "content-type"), "text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
    let text = page.text();
    let lines: Vec<&str> = text.lines().map(|line| line.rsplit_once(' ').map_or(line, |(before, _)| before)).collect();
    let expected = [
        "# TYPE requests_total",
        "requests_total{job=\"a\",instance=\"\"} 620",
        "# TYPE up",
        "up{instance=\"x:1\",job=\"a\"} 1",
    ];
    assert_eq!(lines, expected, "{text}");
    assert_eq!(answer(&app.router, get_request("/federate?match[]=up{")).await.status, 400);
}
