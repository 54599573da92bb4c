//! Reads a request body within bounds: its own, and that of all bodies together.

use crate::ingest::inflight::{Hold, Overloaded};
use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body as _;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// Larger than any body that would be accepted.
    #[error("the compressed body has more than {bytes_max} bytes")]
    TooLarge {
        /// The bound.
        bytes_max: usize,
    },
    /// Too many bytes are in work.
    #[error("too much at once: {0}")]
    Overloaded(#[from] Overloaded),
    /// The connection broke.
    #[error("the body did not arrive whole: {0}")]
    Broken(axum::Error),
}

/// Reads all of a body. What it takes is counted in `hold` before it is taken.
pub(super) async fn read(mut body: Body, bytes_max: usize, hold: &mut Hold) -> Result<Bytes, BodyError> {
    let declared = body.size_hint().exact();
    if declared.is_some_and(|declared| declared > bytes_max as u64) {
        return Err(BodyError::TooLarge { bytes_max });
    }
    let declared = declared.map(|declared| declared as usize);
    hold.grow(declared.unwrap_or(0))?;
    let mut gathered = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else { continue };
        if gathered.is_empty() && Some(data.len()) == declared {
            return Ok(data);
        }
        if gathered.len() + data.len() > bytes_max {
            return Err(BodyError::TooLarge { bytes_max });
        }
        match declared {
            Some(declared) if gathered.is_empty() => gathered.reserve_exact(declared),
            Some(_) => {}
            None => hold.grow(data.len())?,
        }
        gathered.extend_from_slice(&data);
    }
    Ok(Bytes::from(gathered))
}
