//! `POST /api/v1/read`: remote read, by which a Prometheus asks for samples and evaluates them itself.
//!
//! Answers as Prometheus does: all samples at once, or frames of encoded chunks that are read while they are sent. Errors are
//! plain text; 400 also for more samples, bytes or series than one query may use. External labels are added to what is sent,
//! and equality matchers on them are taken for "absent", since no stored series has them.
//! Protocol: <https://prometheus.io/docs/prometheus/latest/querying/remote_read_api/>.

mod body;
mod samples;
mod selection;
mod streamed;

use crate::http::state::AppState;
use crate::query::error::{FailureKind, QueryFailure};
use crate::wire::compression::{Decompressor, Encoding};
use crate::wire::read::request::{self, ReadQuery, ReadRequest, ResponseType};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::matcher::Matcher;
use promql::engine::QueryError;
use selection::ExternalLabels;
use std::fmt::Write;

/// Largest request after decompression. A thousand matchers with long expressions fit.
const DECODED_BYTES_MAX: usize = 4 << 20;

/// Requests up to this size are decoded where they arrive; larger ones may have expressions that take a while.
const INLINE_BYTES_MAX: usize = 2048;

/// Longest text by which a read is listed among the queries in flight.
const NAME_BYTES_MAX: usize = 1_000;

/// Answers a remote read.
pub async fn read(State(state): State<AppState>, request: Request) -> Response {
    answer(&state, request.into_body()).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(state: &AppState, body: Body) -> Result<Response, ReadError> {
    let (body, room) = body::read(body).await?;
    let regex_bytes_max = state.queries.options().parse.regex_bytes_max;
    let mut request = match body.len() {
        ..=INLINE_BYTES_MAX => decode(&body, regex_bytes_max)?,
        _ => state.queries.run_lookup(move || decode(&body, regex_bytes_max)).await??,
    };
    drop(room);
    let response_type = request.response_type().map_err(ReadError::bad)?;
    let external = ExternalLabels::new(&state.config.load().global.external_labels);
    request.queries.iter_mut().for_each(|query| external.rewrite(&mut query.matchers));
    let reading = state.queries.open_reading(&name(&request.queries), &state.tenant).await?;
    let outcome = match response_type {
        ResponseType::Samples => {
            let outcome = samples::answer(&reading, request.queries, external).await;
            reading.end(outcome.as_ref().err());
            outcome
        }
        ResponseType::StreamedChunks => streamed::answer(reading, request.queries, external).await,
    };
    let samples_max = state.queries.options().limits.samples_max;
    outcome.map_err(|failure| match failure {
        QueryFailure::Evaluation(QueryError::TooManySamples { .. }) => {
            ReadError::bad(format_args!("exceeded sample limit ({samples_max})"))
        }
        other => other.into(),
    })
}

fn decode(compressed: &[u8], regex_bytes_max: usize) -> Result<ReadRequest, ReadError> {
    let mut decompressor = Decompressor::default();
    let length = decompressor.decompress(Encoding::Snappy, compressed, DECODED_BYTES_MAX).map_err(ReadError::bad)?;
    request::decode(decompressor.bytes(length), regex_bytes_max).map_err(ReadError::bad)
}

/// `remote read {__name__="up"}`, for the list of queries in flight.
fn name(queries: &[ReadQuery]) -> String {
    let mut text = "remote read".to_owned();
    for query in queries {
        let matchers: Vec<String> = query.matchers.iter().map(Matcher::to_string).collect();
        // Writing to a string cannot fail.
        let _ = write!(text, " {{{}}}", matchers.join(","));
        if text.len() > NAME_BYTES_MAX {
            text.truncate(text.floor_char_boundary(NAME_BYTES_MAX));
            text.push('…');
            break;
        }
    }
    text
}

/// A request that failed; as a response it is plain text.
#[derive(Debug)]
struct ReadError {
    status: StatusCode,
    message: String,
}

impl ReadError {
    fn bad(message: impl ToString) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.to_string() }
    }
}

impl From<QueryFailure> for ReadError {
    fn from(failure: QueryFailure) -> Self {
        let status = match failure.kind() {
            FailureKind::BadQuery | FailureKind::Execution => StatusCode::BAD_REQUEST,
            FailureKind::Canceled | FailureKind::Timeout | FailureKind::Busy | FailureKind::Unavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            FailureKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, message: failure.to_string() }
    }
}

impl IntoResponse for ReadError {
    fn into_response(self) -> Response {
        let Self { status, message } = self;
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = message, "a remote read failed");
        }
        let mut response = (status, message + "\n").into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
