//! What a refused request is told: one mapping from kinds of errors to status codes and Prometheus' error types.
//!
//! Subsystems say by their own `kind()` what a caller can do about a failure; this file alone turns that into HTTP.

use super::json::text::push_string;
use crate::query::error::{FailureKind, QueryFailure};
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::fmt;

/// The code of a request whose client went away before the answer was ready; nginx introduced it.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Seconds after which a client may try again what failed for lack of room, or of an object store.
pub(super) const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Prometheus' error types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    /// The request can never succeed as it is.
    BadData,
    /// The expression cannot be evaluated on the data as they are.
    Execution,
    /// Somebody stopped it.
    Canceled,
    /// It took too long.
    Timeout,
    /// We failed.
    Internal,
    /// There is no such thing.
    NotFound,
    /// There is no room for it now, or what it needs cannot be reached; the same request can succeed later.
    Unavailable,
}

impl ErrorType {
    /// The name in the field `errorType`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Canceled => "canceled",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
            Self::NotFound => "not_found",
            Self::Unavailable => "unavailable",
        }
    }

    /// The status code. `unavailable` is 503 here and 500 in Prometheus 3.14, which has no case for it: clients
    /// retry a 503.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Canceled => StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::BAD_REQUEST),
            Self::Timeout | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotFound => StatusCode::NOT_FOUND,
        }
    }
}

/// A request that failed; as a response it is the envelope with `status: "error"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// What kind of failure.
    pub error_type: ErrorType,
    /// What happened, for people.
    pub message: String,
}

impl ApiError {
    /// An error of a kind.
    #[must_use]
    pub fn new(error_type: ErrorType, message: impl Into<String>) -> Self {
        Self { error_type, message: message.into() }
    }

    /// The request can never succeed as it is.
    #[must_use]
    pub fn bad_data(message: impl fmt::Display) -> Self {
        Self::new(ErrorType::BadData, message.to_string())
    }

    /// One parameter is wrong: `invalid parameter "query": …`.
    #[must_use]
    pub fn bad_parameter(name: &str, reason: impl fmt::Display) -> Self {
        Self::bad_data(format_args!("invalid parameter \"{name}\": {reason}"))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.error_type == ErrorType::Internal {
            tracing::error!(error = self.message, "a request failed");
        }
        let mut body = Vec::with_capacity(64 + self.message.len());
        body.extend_from_slice(b"{\"status\":\"error\",\"errorType\":");
        push_string(&mut body, self.error_type.name());
        body.extend_from_slice(b",\"error\":");
        push_string(&mut body, &self.message);
        body.push(b'}');
        let json = HeaderValue::from_static("application/json");
        let mut response = (self.error_type.status(), [(header::CONTENT_TYPE, json)], Body::from(body)).into_response();
        if self.error_type == ErrorType::Unavailable {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}

impl From<QueryFailure> for ApiError {
    fn from(failure: QueryFailure) -> Self {
        match failure.kind() {
            FailureKind::BadQuery => Self::bad_parameter("query", failure),
            FailureKind::Execution => Self::new(ErrorType::Execution, failure.to_string()),
            FailureKind::Canceled => Self::new(ErrorType::Canceled, failure.to_string()),
            FailureKind::Timeout => Self::new(ErrorType::Timeout, failure.to_string()),
            FailureKind::Busy | FailureKind::Unavailable => Self::new(ErrorType::Unavailable, failure.to_string()),
            FailureKind::Internal => Self::new(ErrorType::Internal, failure.to_string()),
        }
    }
}
