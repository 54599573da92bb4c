//! `/api/v1/sql` over HTTP.

use super::fixture::{App, answer, escaped, get_request};
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, header};

fn post(path: &str, content_type: &str, body: &str) -> Request {
    let request = Request::builder().method(Method::POST).uri(escaped(path)).header(header::CONTENT_TYPE, content_type);
    request.body(Body::from(body.to_owned())).unwrap()
}

const STATEMENT: &str = "SELECT job, count(*) AS n FROM up GROUP BY job ORDER BY job";
const ROWS: &str = concat!(
    r#"{"status":"success","data":{"columns":[{"name":"job","type":"VARCHAR"},{"name":"n","type":"BIGINT"}],"#,
    r#""rows":[["a",41],["b",41]]}}"#
);

#[tokio::test]
async fn the_statement_is_a_parameter_or_the_body() {
    let app = App::new();
    let form = format!("query={}", STATEMENT.replace(' ', "+"));
    for request in [
        post("/api/v1/sql", "application/sql", STATEMENT),
        post("/api/v1/sql?format=json", "application/sql; charset=utf-8", STATEMENT),
        post("/prometheus/api/v1/sql", "application/x-www-form-urlencoded", &form),
        post("/api/v1/sql", "application/x-www-form-urlencoded", &form.replace("query=", "q=")),
        get_request(&format!("/api/v1/sql?{}", form.replace('+', "%20"))),
    ] {
        let shown = format!("{request:?}");
        let answer = answer(&app.router, request).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, ROWS), "{shown}");
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    }
}

#[tokio::test]
async fn the_form_of_the_answer_can_be_chosen() {
    let app = App::new();
    let csv = answer(&app.router, post("/api/v1/sql?format=csv", "application/sql", STATEMENT)).await;
    assert_eq!(csv.text(), "job,n\r\na,41\r\nb,41\r\n");
    assert_eq!(csv.headers[header::CONTENT_TYPE], "text/csv; charset=utf-8; header=present");
    let mut request = post("/api/v1/sql", "application/sql", STATEMENT);
    request.headers_mut().insert(header::ACCEPT, "application/vnd.apache.arrow.stream".parse().unwrap());
    let arrow = answer(&app.router, request).await;
    assert_eq!(arrow.headers[header::CONTENT_TYPE], "application/vnd.apache.arrow.stream");
    // A continuation marker begins the stream, another one of no length ends it.
    assert!(arrow.body.starts_with(&[0xff; 4]) && arrow.body.ends_with(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]));
}

#[tokio::test]
async fn stale_markers_are_included_when_that_is_asked_for() {
    let app = App::recent();
    let ended = "SELECT count(*) AS n, count(value) AS v FROM up WHERE job = 'b'";
    for (parameter, status, part) in [
        ("", 200, "[[1,1]]"),
        ("?include_stale=false", 200, "[[1,1]]"),
        ("?include_stale=true", 200, "[[2,1]]"),
        ("?include_stale=yes", 400, "neither true nor false"),
    ] {
        let path = format!("/api/v1/sql{parameter}");
        let answer = answer(&app.router, post(&path, "application/sql", ended)).await;
        assert_eq!(answer.status, status, "{parameter}: {}", answer.text());
        assert!(answer.text().contains(part), "{parameter}: {}", answer.text());
    }
}

#[tokio::test]
async fn what_is_wrong_has_the_status_of_other_queries() {
    let app = App::new();
    for (statement, status, part) in [
        ("SELEC 1", 400, r#""errorType":"bad_data","error":"invalid parameter \"query\""#),
        ("SELECT * FROM nothing", 400, "table 'nothing' not found"),
        ("DROP TABLE up", 400, "DROP TABLE is not supported"),
        ("SELECT 1 / 0", 422, r#""errorType":"execution""#),
    ] {
        let answer = answer(&app.router, post("/api/v1/sql", "application/sql", statement)).await;
        assert_eq!(answer.status, status, "{statement}: {}", answer.text());
        assert!(answer.text().contains(part), "{statement}: {}", answer.text());
    }
    let missing = answer(&app.router, get_request("/api/v1/sql")).await;
    assert_eq!((missing.status, missing.text().contains("missing")), (400, true));
    let format = answer(&app.router, post("/api/v1/sql?format=xml", "application/sql", STATEMENT)).await;
    assert_eq!(format.status, 400);
    let failing = App::failing("disk on fire");
    let failed = answer(&failing.router, post("/api/v1/sql", "application/sql", "SELECT * FROM samples")).await;
    assert_eq!((failed.status, failed.text().contains("disk on fire")), (500, true), "{}", failed.text());
}
