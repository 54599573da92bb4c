//! What a request that succeeded is told: Prometheus' envelope around data, warnings and infos.

use super::accepted::AcceptedEncodings;
use super::json::parts::{self, Packing};
use super::json::stream::{Divisible, Document, Framed, body};
use super::json::text::push_strings;
use crate::runtime::cpu::CpuPool;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Remarks of one kind that are shown; more are counted.
pub const REMARKS_MAX: usize = 10;

/// The warning of an answer that a limit cut off.
pub const TRUNCATED: &str = "results truncated due to limit";

/// Remarks beside the data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Something is wrong or missing.
    pub warnings: Vec<String>,
    /// Something may be unexpected.
    pub infos: Vec<String>,
}

impl Remarks {
    /// The remark of an answer that was cut off, if it was.
    #[must_use]
    pub fn truncated(cut_off: bool) -> Self {
        let warnings = if cut_off { vec![TRUNCATED.to_owned()] } else { Vec::new() };
        Self { warnings, infos: Vec::new() }
    }
}

/// An answer whose data is a document of any length.
#[must_use]
pub fn success(data: impl Document, remarks: &Remarks) -> Response {
    json_response(body(framed(data, remarks)))
}

/// The same; a large document is written by the threads of `pool`, and compressed there if the client takes gzip.
#[must_use]
pub fn success_on(pool: &CpuPool, data: impl Divisible, remarks: &Remarks, accepted: AcceptedEncodings) -> Response {
    let mut document = framed(data, remarks);
    let packing = match accepted {
        AcceptedEncodings::None => Packing::Plain,
        AcceptedEncodings::Gzip => Packing::Gzip,
        AcceptedEncodings::Others => return json_response(body(document)),
    };
    let Some(first) = document.divide() else { return json_response(body(document)) };
    let mut response = json_response(parts::body(pool, first, document, packing));
    if packing == Packing::Gzip {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    response
}

fn framed<D: Document>(data: D, remarks: &Remarks) -> Framed<D> {
    let mut tail = Vec::new();
    for (field, texts) in [("warnings", &remarks.warnings), ("infos", &remarks.infos)] {
        if !texts.is_empty() {
            tail.extend_from_slice(b",\"");
            tail.extend_from_slice(field.as_bytes());
            tail.extend_from_slice(b"\":");
            push_strings(&mut tail, texts);
        }
    }
    tail.push(b'}');
    Framed::new(b"{\"status\":\"success\",\"data\":".to_vec(), data, tail)
}

/// An answer whose data is small.
#[must_use]
pub fn success_value(data: &impl Serialize) -> Response {
    match serde_json::to_vec(data) {
        Ok(text) => success(text, &Remarks::default()),
        // Maps with keys that are no strings; none of ours has them.
        Err(error) => super::error::ApiError::new(super::error::ErrorType::Internal, error.to_string()).into_response(),
    }
}

fn json_response(body: axum::body::Body) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}
