//! Remote read answered with frames of encoded chunks, read while they are sent: the memory of an answer is one series and
//! one portion of frames, however much it is.
//!
//! An error behind the first portion can only break the connection off, which the client notices.

use super::selection::{ExternalLabels, Series, SortedSeries};
use crate::query::error::QueryFailure;
use crate::query::executor::Reading;
use crate::wire::read::chunks::Chunks;
use crate::wire::read::request::ReadQuery;
use crate::wire::read::response::push_frames;
use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use model::labels::Labels;
use promql::budget::Budget;
use promql::source::SeriesSource;
use std::collections::VecDeque;

const CONTENT_TYPE: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

/// A frame ends behind the chunk that brings it to this size, as in Prometheus.
const FRAME_BYTES: usize = 1 << 20;

/// Frames are handed to the network in portions of at least this size.
const PORTION_BYTES: usize = 64 << 10;

pub(super) async fn answer(
    reading: Reading,
    queries: Vec<ReadQuery>,
    external: ExternalLabels,
) -> Result<Response, QueryFailure> {
    let frames = Frames { queries: queries.into(), external, query_index: 0, selected: None, current: None };
    // The first portion is read before the status is sent, so that what fails at once is told properly.
    let (first, frames) = portion(&reading, frames).await?;
    let rest = stream::unfold(Some((reading, frames)), |state| async move {
        let (reading, frames) = state?;
        match portion(&reading, frames?).await {
            Ok((bytes, frames)) => Some((Ok(bytes), Some((reading, frames)))),
            Err(failure) => {
                tracing::warn!(%failure, "a streamed remote read breaks off");
                Some((Err(failure), None))
            }
        }
    });
    // Fused: compression polls a body again after its end.
    let body = Body::from_stream(stream::once(async move { Ok(first) }).chain(rest).fuse());
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response())
}

/// Reads the next portion; returns the frames behind it unless it was the last.
async fn portion(reading: &Reading, frames: Frames) -> Result<(Bytes, Option<Frames>), QueryFailure> {
    let portion = read_portion(reading, frames).await;
    match &portion {
        Ok((_, Some(_))) => {}
        Ok((_, None)) => reading.end(None),
        Err(failure) => reading.end(Some(failure)),
    }
    portion
}

/// The same, on the CPU pool.
async fn read_portion(reading: &Reading, mut frames: Frames) -> Result<(Bytes, Option<Frames>), QueryFailure> {
    let read = move |source: &dyn SeriesSource, budget: &Budget| {
        let mut out = Vec::new();
        let more = frames.write_some(&mut out, source, budget)?;
        Ok((Bytes::from(out), more.then_some(frames)))
    };
    reading.piece(read).await?
}

/// What is still to be sent.
struct Frames {
    /// Queries whose series are not selected yet.
    queries: VecDeque<ReadQuery>,
    external: ExternalLabels,
    /// Of the selected query, in the request.
    query_index: i64,
    selected: Option<SortedSeries>,
    current: Option<(Labels, Chunks)>,
}

impl Frames {
    /// Appends frames until there are enough for one portion; returns whether any may be left.
    fn write_some(
        &mut self,
        out: &mut Vec<u8>,
        source: &dyn SeriesSource,
        budget: &Budget,
    ) -> Result<bool, QueryFailure> {
        while out.len() < PORTION_BYTES {
            budget.check()?;
            if let Some((labels, chunks)) = &mut self.current {
                if !push_frames(out, labels, self.query_index, chunks, FRAME_BYTES, PORTION_BYTES) {
                    self.current = None;
                }
            } else if let Some(selected) = &mut self.selected {
                match selected.next(budget)? {
                    Some(Series { labels, floats, histograms }) => {
                        self.current = Some((labels, Chunks::new(floats, histograms)));
                    }
                    None => (self.selected, self.query_index) = (None, self.query_index + 1),
                }
            } else if let Some(query) = self.queries.pop_front() {
                self.selected = Some(SortedSeries::select(&query, &self.external, source, budget)?);
            } else {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
