//! Reads the body of a remote read, within bounds of size, time and memory of all such bodies together.

use super::{DECODED_BYTES_MAX, ReadError};
use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long a client may take to send its request, waiting for room included.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Room for all bodies that are being read and decoded, in units of [`UNIT_BYTES`]: 64 MiB.
static ROOM: Semaphore = Semaphore::const_new(1024);
const UNIT_BYTES: usize = 64 << 10;

/// Reads a whole body; the permit is the room that it takes.
pub(super) async fn read(body: Body) -> Result<(Bytes, SemaphorePermit<'static>), ReadError> {
    let unavailable =
        || ReadError { status: StatusCode::SERVICE_UNAVAILABLE, message: "the body took too long".into() };
    let bytes_max = snap::raw::max_compress_len(DECODED_BYTES_MAX);
    let reading = async {
        // A sender that does not say how much it sends is taken for the largest.
        let announced = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(bytes_max);
        let units = u32::try_from(announced.min(bytes_max) / UNIT_BYTES + 1).unwrap_or(u32::MAX);
        let room = ROOM.acquire_many(units).await.map_err(|_closed| unavailable())?;
        match Limited::new(body, bytes_max).collect().await {
            Ok(collected) => Ok((collected.to_bytes(), room)),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(ReadError::bad(format_args!("the body has more than {bytes_max} bytes")))
            }
            Err(error) => Err(ReadError::bad(format_args!("the body did not arrive whole: {error}"))),
        }
    };
    tokio::time::timeout(WAIT_MAX, reading).await.unwrap_or_else(|_| Err(unavailable()))
}
