//! What waits for the log: a queue bounded in bytes from the call of a writer until its samples are in the head.

use super::histograms::SeriesHistogram;
use super::payload::{self, Checkpoint};
use super::writer::RecordLimits;
use crate::append::{AppendOutcome, Batch, ExemplarRow, LabelHash, Pin, Rows, SeriesRef};
use crate::error::Error;
use crate::histogram::BUCKETS_MAX;
use crate::histogram::stored::Stored;
use model::metadata::Metadata;
use parking_lot::{Condvar, Mutex};

/// Called once, when the samples are durable and in the head, or when they never will be.
pub(crate) type AppendDone = Box<dyn FnOnce(Result<AppendOutcome, Error>) + Send>;
/// Called once, when the work is durable and applied, or when it never will be.
pub(crate) type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// One thing to log.
pub(crate) enum Work {
    /// New series, as the payload of one record.
    Series(Vec<u8>),
    /// Series that left the head, as the payload of one record.
    Gone(Vec<u8>),
    /// Samples and exemplars of series whose records are in the queue before them or in the log already.
    Append { content: Content, done: AppendDone },
    /// Metadata of metrics.
    Metadata { entries: Vec<(String, Metadata)>, done: Done },
    /// A snapshot was published.
    Checkpoint(Checkpoint),
}

/// What is appended together, in the form in which it is logged.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) rows: Rows,
    pub(crate) histograms: Vec<SeriesHistogram>,
    pub(crate) exemplars: Vec<ExemplarRow>,
    /// Lets go once the rows are applied.
    pub(crate) pin: Option<Pin>,
}

impl From<Batch> for Content {
    fn from(Batch { rows, histograms, exemplars, pin }: Batch) -> Self {
        let mut stored: Vec<SeriesHistogram> = Vec::with_capacity(histograms.len());
        for row in histograms {
            let scale = stored.last().map(|(_, before)| &before.scale);
            let histogram = Stored::new(row.timestamp_ms, row.start_ms, &row.histogram, scale);
            stored.push((row.series, histogram));
        }
        Self { rows, histograms: stored, exemplars, pin }
    }
}

impl Content {
    /// # Panics
    /// If it is not what an append may be.
    pub(crate) fn check(&self) {
        let Rows { series, timestamps_ms, values, starts_ms } = &self.rows;
        let equal = timestamps_ms.len() == series.len() && values.len() == series.len();
        assert!(equal && (starts_ms.is_empty() || starts_ms.len() == series.len()), "columns of unequal length");
        let fits = self.histograms.iter().all(|(_, histogram)| histogram.size() <= BUCKETS_MAX);
        assert!(fits, "histograms are checked before they come here");
    }

    fn bytes(&self) -> usize {
        const EXEMPLAR: usize = 192;
        let of_histogram = |(_, histogram): &SeriesHistogram| 128 + histogram.size() * 16;
        let histograms: usize = self.histograms.iter().map(of_histogram).sum();
        self.rows.len() * 20 + self.rows.starts_ms.len() * 8 + histograms + self.exemplars.len() * EXEMPLAR
    }
}

impl Work {
    /// Bytes of memory that it holds, more or less.
    pub(crate) fn bytes(&self) -> usize {
        const OVERHEAD: usize = 128;
        OVERHEAD
            + match self {
                Self::Series(payload) | Self::Gone(payload) => payload.len(),
                Self::Append { content, .. } => content.bytes(),
                Self::Metadata { entries, .. } => entries
                    .iter()
                    .map(|(metric, metadata)| OVERHEAD + metric.len() + metadata.help.len() + metadata.unit.len())
                    .sum(),
                Self::Checkpoint(_) => 0,
            }
    }

    /// Tells the one who waits that it will never be done.
    pub(crate) fn refuse(self, error: Error) {
        match self {
            Self::Append { done, .. } => done(Err(error)),
            Self::Metadata { done, .. } => done(Err(error)),
            Self::Series(_) | Self::Gone(_) | Self::Checkpoint(_) => {}
        }
    }
}

/// The queue between the writers and the log.
pub(crate) struct LogQueue {
    bytes_max: usize,
    limits: RecordLimits,
    state: Mutex<State>,
    /// There is work, or there will be no more.
    ready: Condvar,
}

#[derive(Default)]
struct State {
    work: Vec<Work>,
    /// Of everything between `push` and `release`.
    bytes: usize,
    /// Why nothing is taken any more.
    refusal: Option<Error>,
}

impl LogQueue {
    pub(crate) fn new(bytes_max: usize, limits: RecordLimits) -> Self {
        Self { bytes_max, limits, state: Mutex::default(), ready: Condvar::new() }
    }

    /// Adds work. When there is no room, or the log is closed or failed, the one who waits is told at once. One piece of
    /// work larger than the queue is taken when the queue is empty.
    pub(crate) fn push(&self, work: Work) -> Result<(), Error> {
        self.offer(work).map_err(|refused| {
            let (work, error) = *refused;
            work.refuse(error.clone());
            error
        })
    }

    /// As [`LogQueue::push`], but what is refused comes back, and nobody is told.
    pub(crate) fn offer(&self, work: Work) -> Result<(), Box<(Work, Error)>> {
        let bytes = work.bytes();
        let mut state = self.state.lock();
        let refusal = match &state.refusal {
            Some(error) => Some(error.clone()),
            None if state.bytes > 0 && state.bytes + bytes > self.bytes_max => Some(self.full()),
            None => None,
        };
        if let Some(error) = refusal {
            return Err(Box::new((work, error)));
        }
        state.bytes += bytes;
        state.work.push(work);
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Whether a series may be made now.
    pub(crate) fn admit(&self) -> Result<(), Error> {
        let state = self.state.lock();
        match &state.refusal {
            Some(error) => Err(error.clone()),
            None if state.bytes > self.bytes_max => Err(self.full()),
            None => Ok(()),
        }
    }

    fn full(&self) -> Error {
        Error::QueueFull { bytes_max: self.bytes_max }
    }

    /// Adds a new series. Never refused, for the series exists already: the bound is kept by [`LogQueue::admit`], up to one
    /// series per thread. It is written with what follows; a series without samples may wait for ever.
    pub(crate) fn push_series(&self, series: SeriesRef, pairs: &[(&str, &str)]) {
        let mut state = self.state.lock();
        if state.refusal.is_some() {
            return;
        }
        if !matches!(state.work.last(), Some(Work::Series(payload)) if payload.len() < self.limits.payload_bytes) {
            let work = Work::Series(Vec::new());
            state.bytes += work.bytes();
            state.work.push(work);
        }
        if let Some(Work::Series(payload)) = state.work.last_mut() {
            let before = payload.len();
            payload::push_series(payload, series, pairs.len(), pairs.iter().copied());
            let added = payload.len() - before;
            state.bytes += added;
        }
    }

    /// Adds series that left the head, before any other can get their references. Never refused, like new series.
    pub(crate) fn push_gone(&self, gone: &[(SeriesRef, LabelHash)]) {
        let mut state = self.state.lock();
        if gone.is_empty() || state.refusal.is_some() {
            return;
        }
        if !matches!(state.work.last(), Some(Work::Gone(payload)) if payload.len() < self.limits.payload_bytes / 2) {
            let work = Work::Gone(Vec::new());
            state.bytes += work.bytes();
            state.work.push(work);
        }
        if let Some(Work::Gone(payload)) = state.work.last_mut() {
            let before = payload.len();
            payload::push_gone(payload, gone);
            let added = payload.len() - before;
            state.bytes += added;
        }
    }

    /// Everything that waits, in order; blocks until there is something. `None` when there will never be more.
    pub(crate) fn take(&self) -> Option<Vec<Work>> {
        let mut state = self.state.lock();
        loop {
            if !state.work.is_empty() {
                return Some(std::mem::take(&mut state.work));
            }
            if state.refusal.is_some() {
                return None;
            }
            self.ready.wait(&mut state);
        }
    }

    /// Everything that waits, without blocking.
    pub(crate) fn take_now(&self) -> Vec<Work> {
        std::mem::take(&mut self.state.lock().work)
    }

    /// Why nothing is taken any more, if so.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.state.lock().refusal.clone()
    }

    /// Work of this size is done.
    pub(crate) fn release(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
    }

    /// Takes no more work, for this reason or an earlier one. What waits can still be taken.
    pub(crate) fn close(&self, error: Error) {
        self.state.lock().refusal.get_or_insert(error);
        self.ready.notify_all();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use std::sync::mpsc;

    fn queue(bytes_max: usize) -> LogQueue {
        LogQueue::new(bytes_max, RecordLimits::new(1 << 20))
    }

    fn content(count: usize) -> Content {
        let mut rows = Rows::default();
        (0..count).for_each(|n| rows.push(SeriesRef(n as u32), 0, 0.0));
        Batch::from(rows).into()
    }

    fn push(queue: &LogQueue, count: usize) -> Result<(), Error> {
        queue.push(Work::Append { content: content(count), done: Box::new(|_| {}) })
    }

    /// A full queue refuses at once, and the bytes count until they are released, not until they are taken.
    #[test]
    fn a_full_queue_refuses_until_work_is_released() {
        let queue = queue(5_000);
        push(&queue, 100).expect("room");
        push(&queue, 100).expect("room");
        assert_eq!(push(&queue, 100).unwrap_err().kind(), ErrorKind::Unavailable);
        let taken = queue.take().expect("work");
        assert_eq!(push(&queue, 100).unwrap_err().kind(), ErrorKind::Unavailable);
        queue.release(taken.iter().map(Work::bytes).sum());
        assert_eq!(queue.bytes(), 0);
        push(&queue, 100).expect("room again");
    }

    #[test]
    fn work_larger_than_the_queue_is_taken_when_it_is_empty() {
        let queue = queue(100);
        push(&queue, 1000).expect("the queue is empty");
        assert!(queue.admit().is_err());
    }

    #[test]
    fn the_one_who_waits_is_told_of_a_refusal() {
        let queue = queue(100);
        queue.close(Error::Closed);
        let (sender, receiver) = mpsc::channel();
        let done = Box::new(move |result| sender.send(result).expect("receiver lives"));
        let work = Work::Append { content: content(1), done };
        assert!(queue.push(work).is_err());
        assert!(matches!(receiver.recv().expect("called"), Err(Error::Closed)));
        assert!(queue.take().is_none());
    }

    #[test]
    fn series_made_one_after_the_other_share_a_record() {
        let queue = queue(1 << 20);
        (0..3).for_each(|n| queue.push_series(SeriesRef(n), &[("a", "1")]));
        push(&queue, 1).expect("room");
        queue.push_series(SeriesRef(3), &[("a", "2")]);
        let kinds: Vec<_> = queue.take().expect("work").iter().map(|work| matches!(work, Work::Series(_))).collect();
        assert_eq!(kinds, [true, false, true]);
    }
}
