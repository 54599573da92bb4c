//! Reads the body of a remote read within a bound and a time.

use super::{DECODED_BYTES_MAX, ReadError};
use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::time::Duration;

/// How long a client may take to send its request.
const WAIT_MAX: Duration = Duration::from_secs(30);

pub(super) async fn read(body: Body) -> Result<Bytes, ReadError> {
    let bytes_max = snap::raw::max_compress_len(DECODED_BYTES_MAX);
    let late = |_| ReadError { status: StatusCode::SERVICE_UNAVAILABLE, message: "the body took too long".into() };
    match tokio::time::timeout(WAIT_MAX, Limited::new(body, bytes_max).collect()).await.map_err(late)? {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(ReadError::bad(format_args!("the body has more than {bytes_max} bytes")))
        }
        Err(error) => Err(ReadError::bad(format_args!("the body did not arrive whole: {error}"))),
    }
}
