//! As much of an HTTP server as the protocols of object stores need.

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use percent_encoding::percent_decode_str;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;

pub(crate) type Body = BoxBody<Bytes, io::Error>;
pub(crate) type Answer = Response<Body>;

/// A request of which everything has come.
pub(crate) struct Call {
    pub(crate) method: Method,
    /// As it was sent, percent signs and all.
    pub(crate) path: String,
    /// Names and values, decoded.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What a server does.
pub(crate) trait Protocol: Clone + Send + Sync + 'static {
    fn answer(&self, call: Call) -> impl Future<Output = Answer> + Send;
}

/// Serves on a free port until the runtime ends.
pub(crate) async fn serve(protocol: impl Protocol) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            let protocol = protocol.clone();
            let service = service_fn(move |request| {
                let protocol = protocol.clone();
                async move { Ok::<_, hyper::Error>(protocol.answer(Call::receive(request).await?).await) }
            });
            tokio::spawn(async move {
                // A client that breaks off is no business of ours.
                let _ =
                    auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(connection), service).await;
            });
        }
    });
    address
}

impl Call {
    async fn receive(request: Request<Incoming>) -> Result<Self, hyper::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        Ok(Self::new(parts.method, target, parts.headers, body))
    }

    /// A request for a path, perhaps with a query.
    pub(crate) fn new(method: Method, target: &str, headers: HeaderMap, body: Bytes) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        };
        let query = query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
        Self { method, path: path.to_owned(), query, headers, body }
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The bytes of an object of `size` that are asked for: all without `Range`, `None` when it begins behind the end.
    pub(crate) fn range(&self, size: u64) -> Option<Range<u64>> {
        let Some(range) = self.header("range") else { return Some(0..size) };
        let (start, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let (start, last): (u64, u64) = (start.parse().unwrap(), last.parse().unwrap());
        (start < size).then(|| start..size.min(last + 1))
    }
}

/// An answer with text.
pub(crate) fn text(status: u16, text: impl Into<Bytes>) -> Answer {
    let body = Full::new(text.into()).map_err(|never| match never {}).boxed();
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

/// The answer to a request for a range of bytes, of which only half come when it `is_cut`.
pub(crate) fn bytes(call: &Call, bytes: &Bytes, range: Range<u64>, size: u64, is_cut: bool) -> Answer {
    let status = if call.header("range").is_some() { 206 } else { 200 };
    let mut answer = text(status, bytes.clone());
    if is_cut {
        let chunks = [Ok(Frame::data(bytes.slice(..bytes.len() / 2))), Err(io::Error::other("cut"))];
        *answer.body_mut() = StreamBody::new(futures::stream::iter(chunks)).boxed();
    }
    set(&mut answer, "content-length", &bytes.len().to_string());
    if status == 206 {
        set(&mut answer, "content-range", &format!("bytes {}-{}/{size}", range.start, range.end - 1));
    }
    answer
}

/// The texts of all elements of a name in a document of XML.
pub(crate) fn elements<'a>(xml: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let texts: Vec<_> =
        xml.split(begin.as_str()).skip(1).filter_map(|rest| Some(rest.split_once(end.as_str())?.0)).collect();
    texts.into_iter()
}

pub(crate) fn set(answer: &mut Answer, name: &'static str, value: &str) {
    answer.headers_mut().insert(name, value.parse().unwrap());
}
