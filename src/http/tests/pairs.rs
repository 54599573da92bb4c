//! Runs the recorded pairs.
//!
//! A script is a list of pairs, separated by empty lines. A pair is a request line (`GET /path?query`), the status, and the
//! body on one line; `#` begins a comment. Each request is made below `/prometheus` too, and a `GET` of an endpoint that
//! takes forms also as a `POST` with its parameters in the body: the answers must be the same.

use super::fixture::{Answer, App, answer, escaped, get_request, request};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header;

/// Endpoints that take their parameters from a form as well.
const FORMS: [&str; 7] = ["query", "query_range", "query_exemplars", "format_query", "parse_query", "series", "labels"];

struct Pair<'a> {
    line: usize,
    method: &'a str,
    path: &'a str,
    status: u16,
    body: &'a str,
}

fn pairs(script: &str) -> Vec<Pair<'_>> {
    let mut lines = script.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let mut pairs = Vec::new();
    while let Some((at, request)) = lines.next() {
        let (method, path) = request.split_once(' ').expect("a method and a path");
        let (_, status) = lines.next().expect("a status");
        let status: u16 = status.parse().expect("a status is a number");
        let body = if status == 204 { "" } else { lines.next().expect("a body").1 };
        pairs.push(Pair { line: at + 1, method, path, status, body });
    }
    pairs
}

fn as_form(path: &str) -> Option<Request> {
    let endpoint = path.strip_prefix("/api/v1/")?;
    let (endpoint, query) = endpoint.split_once('?').unwrap_or((endpoint, ""));
    let form = Request::post(format!("/api/v1/{endpoint}"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8")
        .body(Body::from(escaped(query)));
    FORMS.contains(&endpoint).then(|| form.unwrap())
}

async fn run(name: &str, script: &str) {
    let app = App::new();
    let mut problems = Vec::new();
    for pair in pairs(script) {
        let mut forms = vec![("as written", request(pair.method.parse().unwrap(), pair.path))];
        if pair.method == "GET" {
            forms.push(("below /prometheus", get_request(&format!("/prometheus{}", pair.path))));
            forms.extend(as_form(pair.path).map(|form| ("as a form", form)));
        }
        for (form, request) in forms {
            check(&app.router, &pair, request, form, name, &mut problems).await;
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

async fn check(router: &Router, pair: &Pair<'_>, request: Request, form: &str, name: &str, problems: &mut Vec<String>) {
    let Answer { status, headers, body } = answer(router, request).await;
    let body = String::from_utf8(body).unwrap();
    if (status, body.trim_end()) != (pair.status, pair.body) {
        let place = format!("{name}:{} ({form}) {} {}", pair.line, pair.method, pair.path);
        problems.push(format!("{place}\nexpected {} {}\ngot      {status} {body}", pair.status, pair.body));
    }
    if body.starts_with('{') {
        assert_eq!(headers[header::CONTENT_TYPE], "application/json", "{}", pair.path);
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(&body);
        assert!(parsed.is_ok(), "{}: no JSON: {body}", pair.path);
    }
}

#[tokio::test]
async fn queries() {
    run("query.txt", include_str!("pairs/query.txt")).await;
}

#[tokio::test]
async fn look_ups_of_series_and_labels() {
    run("series.txt", include_str!("pairs/series.txt")).await;
}

#[tokio::test]
async fn everything_else() {
    run("other.txt", include_str!("pairs/other.txt")).await;
}
