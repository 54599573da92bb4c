//! Reads the form of a request, within bounds of size, time and memory of all forms together.

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{Method, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Largest form, in bytes. Queries alone may have a mebibyte; a dashboard's `match[]` lists are long too.
pub const BYTES_MAX: usize = 10 << 20;

/// How long a client may take to send its form, waiting for room included.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);

/// Room for all forms that are being read, in units of [`UNIT_BYTES`]: 256 MiB.
static ROOM: Semaphore = Semaphore::const_new(4096);
const UNIT_BYTES: usize = 64 << 10;

/// Why a form was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormError {
    #[error("the form is larger than {BYTES_MAX} bytes")]
    TooLarge,
    #[error("the form took too long to arrive")]
    TooSlow,
    #[error("the form broke off")]
    BrokenOff,
}

/// A form, and the room that it takes.
#[derive(Debug)]
pub(crate) struct Form {
    bytes: Bytes,
    _room: SemaphorePermit<'static>,
}

impl Form {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Whether the body of a request is a form.
pub(super) fn is_sent_with(request: &Request) -> bool {
    matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH)
        && media_type(request).eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// What a request says its body is; empty when it does not.
pub(crate) fn media_type(request: &Request) -> &str {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

/// Reads a whole form.
pub(crate) async fn read(body: Body, wait_max: Duration) -> Result<Form, FormError> {
    let reading = async {
        // A sender that does not say how much it sends is taken for the largest.
        let announced =
            body.size_hint().upper().map_or(BYTES_MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        if announced > BYTES_MAX {
            return Err(FormError::TooLarge);
        }
        let units = u32::try_from(announced / UNIT_BYTES + 1).unwrap_or(u32::MAX);
        let room = ROOM.acquire_many(units).await.map_err(|_closed| FormError::TooSlow)?;
        match Limited::new(body, BYTES_MAX).collect().await {
            Ok(collected) => Ok(Form { bytes: collected.to_bytes(), _room: room }),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(FormError::TooLarge),
            Err(_) => Err(FormError::BrokenOff),
        }
    };
    tokio::time::timeout(wait_max, reading).await.unwrap_or(Err(FormError::TooSlow))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    /// A body of unknown length that ends after `count` pieces of 64 KiB, or never.
    fn endless(count: Option<usize>) -> Body {
        let piece = Bytes::from(vec![b'a'; UNIT_BYTES]);
        let pieces = std::iter::repeat_n(Ok::<_, Infallible>(piece), count.unwrap_or(0));
        let pieces = futures::stream::iter(pieces);
        match count {
            Some(_) => Body::from_stream(pieces),
            None => Body::from_stream(futures::StreamExt::chain(pieces, futures::stream::pending())),
        }
    }

    #[tokio::test]
    async fn a_form_is_bounded_in_size_and_time() {
        let soon = Duration::from_secs(5);
        assert_eq!(read(Body::from("a=1"), soon).await.unwrap().bytes(), b"a=1");
        assert_eq!(read(endless(Some(2)), soon).await.unwrap().bytes().len(), 2 * UNIT_BYTES);
        let announced = Body::from(vec![b'a'; BYTES_MAX + 1]);
        assert!(matches!(read(announced, soon).await, Err(FormError::TooLarge)));
        assert!(matches!(read(endless(Some(BYTES_MAX / UNIT_BYTES + 1)), soon).await, Err(FormError::TooLarge)));
        assert!(matches!(read(endless(None), Duration::from_millis(20)).await, Err(FormError::TooSlow)));
    }
}
