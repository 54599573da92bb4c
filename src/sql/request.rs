//! What is asked for and what comes back.

use crate::query::error::QueryFailure;
use bytes::Bytes;
use futures::stream::BoxStream;
use model::tenant::TenantId;
use std::time::Duration;

/// One statement.
#[derive(Debug, Clone)]
pub struct SqlRequest {
    /// SQL.
    pub text: String,
    /// Whose data it reads.
    pub tenant: TenantId,
    /// Oldest time of samples, inclusive, of tables on whose time the statement sets no lower bound itself.
    pub start_ms: Option<i64>,
    /// Newest time of samples, inclusive, of tables on whose time the statement sets no upper bound itself.
    pub end_ms: Option<i64>,
    /// Whether stale markers are rows without a value; otherwise they are not shown.
    pub include_stale: bool,
    /// Shortens the time it may take.
    pub timeout: Option<Duration>,
    /// Form of the answer.
    pub format: SqlFormat,
}

/// Form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlFormat {
    /// Columns and rows in Prometheus' envelope.
    Json,
    /// RFC 4180 with a header.
    Csv,
    /// Arrow's IPC stream.
    Arrow,
}

/// An answer that is computed while it is read; dropping it stops the query.
pub struct SqlAnswer {
    /// MIME type of the bytes.
    pub content_type: &'static str,
    /// The answer, in pieces. What fails behind the first piece is an error in the middle.
    pub body: BoxStream<'static, Result<Bytes, QueryFailure>>,
}
