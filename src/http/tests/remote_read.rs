//! Remote read over HTTP: both forms, external labels, limits, and bodies that are no requests.

use super::fixture::{Answer, App, answer};
use crate::wire::prost_types::v1;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use prost::Message;
use std::io::Read;

/// A request for series by one matcher, over all of time.
fn body(kind: u8, name: &str, value: &str, accepted: &[u8]) -> Vec<u8> {
    let field = |tag: u8, bytes: &[u8]| [&[tag, bytes.len() as u8], bytes].concat();
    let matcher = [vec![0x08, kind], field(0x12, name.as_bytes()), field(0x1a, value.as_bytes())].concat();
    let query = [vec![0x10, 0x80, 0x80, 0x80, 0x80, 0x10], field(0x1a, &matcher)].concat();
    let message = [field(0x0a, &query), field(0x12, accepted)].concat();
    snap::raw::Encoder::new().compress_vec(&message).unwrap()
}

async fn ask(app: &App, path: &str, body: Vec<u8>) -> Answer {
    answer(&app.router, Request::post(path).body(Body::from(body)).unwrap()).await
}

#[derive(Clone, PartialEq, Message)]
struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    results: Vec<v1::WriteRequest>,
}

async fn series(app: &App, path: &str, body: Vec<u8>) -> Vec<(String, usize)> {
    let found = ask(app, path, body).await;
    assert_eq!(found.status, 200, "{}", found.text());
    assert_eq!(found.headers[header::CONTENT_TYPE], "application/x-protobuf");
    assert_eq!(found.headers[header::CONTENT_ENCODING], "snappy");
    let message = snap::raw::Decoder::new().decompress_vec(&found.body).unwrap();
    let response = ReadResponse::decode(message.as_slice()).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let one = |series: &v1::TimeSeries| {
        let labels: Vec<_> = series.labels.iter().map(|l| format!("{}={}", text(&l.name), text(&l.value))).collect();
        (labels.join(","), series.samples.len())
    };
    response.results[0].timeseries.iter().map(one).collect()
}

#[tokio::test]
async fn samples_are_sent_in_order_of_their_labels() {
    let app = App::new();
    for path in ["/api/v1/read", "/prometheus/api/v1/read"] {
        let found = series(&app, path, body(0, "__name__", "up", &[])).await;
        let expected = [("__name__=up,instance=x:1,job=a", 41), ("__name__=up,instance=y\"1,job=b", 41)];
        assert_eq!(found, expected.map(|(labels, count)| (labels.to_owned(), count)));
    }
    let all_but_up = series(&app, "/api/v1/read", body(3, "__name__", "up|tiny", &[0])).await;
    assert_eq!(all_but_up.len(), 2);
}

#[tokio::test]
async fn external_labels_are_added_and_matchers_on_them_satisfied() {
    let app = App::with_external_labels(&[("job", "z"), ("cluster", "lab")]);
    let found = series(&app, "/api/v1/read", body(0, "cluster", "lab", &[0, 1])).await;
    assert_eq!(found.len(), 5);
    assert_eq!(found[0].0, "__name__=http.requests,cluster=lab,http.code=5_0,job=z");
    assert_eq!(found[1].0, "__name__=requests_total,cluster=lab,code=200,job=a");
    assert_eq!(series(&app, "/api/v1/read", body(0, "cluster", "other", &[])).await, []);
}

#[tokio::test]
async fn chunks_are_streamed() {
    let app = App::new();
    let found = ask(&app, "/api/v1/read", body(0, "__name__", "up", &[1])).await;
    assert_eq!(found.status, 200);
    let expected = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    assert_eq!(found.headers[header::CONTENT_TYPE], expected);
    assert!(!found.headers.contains_key(header::CONTENT_ENCODING));
    // Two frames: length, checksum, message.
    let first = usize::from(found.body[0]);
    let second = usize::from(found.body[first + 5]);
    assert_eq!(found.body.len(), first + second + 10);
    assert!(app.queries.active().is_empty());

    let mut request = Request::post("/api/v1/read").body(Body::from(body(0, "__name__", "up", &[1]))).unwrap();
    request.headers_mut().insert(header::ACCEPT_ENCODING, axum::http::HeaderValue::from_static("gzip"));
    let packed = answer(&app.router, request).await;
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, found.body);
}

#[tokio::test]
async fn what_is_no_request_or_asks_for_too_much_is_refused() {
    let app = App::new();
    let refused = async |app: &App, body| {
        let found = ask(app, "/api/v1/read", body).await;
        (found.status, found.text())
    };
    for (body, reason) in [
        (b"no snappy".to_vec(), "snappy"),
        (vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0], "cannot hold"),
        (body(2, "a", "(", &[]), "matcher of label \"a\""),
        (body(7, "a", "b", &[]), "unknown matcher type 7"),
        (body(0, "a", "b", &[7]), "does not support any of the requested response types: [7]"),
        (snap::raw::Encoder::new().compress_vec(&[0x0a, 0x7f]).unwrap(), "byte"),
        (snap::raw::Encoder::new().compress_vec(&vec![0; 5 << 20]).unwrap(), "more than 4194304 bytes"),
    ] {
        let (status, text) = refused(&app, body).await;
        assert!(status == 400 && text.contains(reason), "{status} {text} instead of {reason}");
    }
    let (status, text) = refused(&App::long(), body(0, "__name__", "long", &[])).await;
    assert_eq!((status, text.as_str()), (400, "exceeded sample limit (20000)\n"));
    let (status, text) = refused(&App::failing("disk on fire"), body(0, "a", "b", &[1])).await;
    assert_eq!((status, text.as_str()), (500, "disk on fire\n"));
}
