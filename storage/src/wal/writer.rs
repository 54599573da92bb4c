//! Writes the log: numbers, encodes, writes and syncs what waits, one batch at a time.
//!
//! A batch is whatever came together while the one before was synced; there is no timer. Work leaves in the order it came,
//! each piece either durable or refused. After a failed write or sync nothing is known about the disk any more: everything
//! in flight and everything later is refused until the process starts anew.

use super::histograms::{self, SeriesHistogram};
use super::payload;
use super::pool::{Sealed, Segment, SegmentPool};
use super::queue::{LogQueue, Work};
use super::record::{self, RecordHead, RecordType, stored_bytes};
use super::samples::{SampleEncoder, push_starts};
use super::segment::SEGMENT_HEADER_BYTES;
use super::stats::{WalCounters, increment};
use crate::append::{ExemplarRow, Rows};
use crate::error::Error;
use crate::histogram::{BUCKETS_MAX, row};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// A batch is written at the latest when it has this many bytes: bounds the buffer and the wait of its first writer.
const BATCH_BYTES: usize = 4 << 20;
const ROWS_PER_RECORD_MAX: usize = 1 << 16;
const PAYLOAD_BYTES: usize = 128 << 10;
const _: () = assert!(PAYLOAD_BYTES + 2 * payload::LABEL_BYTES_MAX < record::PAYLOAD_BYTES_MAX);
/// The smallest segment has room for the largest histogram.
const _: () = assert!(row::bytes_max(BUCKETS_MAX) + 64 < (64 << 10) - SEGMENT_HEADER_BYTES);

/// Work that is durable, in the order of the log.
pub(crate) struct Durable {
    pub(crate) work: Vec<Work>,
    /// Every record up to this one belongs to this batch or an earlier one.
    pub(crate) last_lsn: u64,
}

/// How large records may be, by the size of the segments they have to fit into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordLimits {
    /// Bytes that the labels of one series, or the metadata of one metric, may have.
    pub(crate) entry_bytes_max: usize,
    /// Records of many entries end when they have this many bytes.
    pub(crate) payload_bytes: usize,
    rows: usize,
}

impl RecordLimits {
    pub(crate) fn new(segment_bytes: u64) -> Self {
        let room = segment_bytes as usize - SEGMENT_HEADER_BYTES;
        Self {
            entry_bytes_max: payload::LABEL_BYTES_MAX.min(room / 8),
            payload_bytes: PAYLOAD_BYTES.min(room / 4),
            rows: ROWS_PER_RECORD_MAX.min(room / 2 / SampleEncoder::bytes_max(1)),
        }
    }
}

/// What a sample record says of itself.
#[derive(Default)]
struct Flags {
    restart: bool,
    starts: bool,
}

/// The one writer of a log.
pub(crate) struct LogWriter {
    pool: Arc<SegmentPool>,
    queue: Arc<LogQueue>,
    counters: Arc<WalCounters>,
    segment: Option<Segment>,
    /// Where in the segment the buffer goes.
    offset: u64,
    next_lsn: u64,
    /// The last record of the work that is encoded as a whole.
    whole_lsn: u64,
    encoder: SampleEncoder,
    payload: Vec<u8>,
    /// Records that are not written yet, and the work they belong to.
    buffer: Vec<u8>,
    encoded: Vec<Work>,
    /// Series that came or went and found no room in the log; they come before any other work.
    waiting_series: VecDeque<Work>,
    limits: RecordLimits,
    failure: Option<Error>,
}

impl LogWriter {
    /// A writer that goes on after `last_lsn`, in a segment of its own.
    pub(crate) fn new(
        pool: Arc<SegmentPool>,
        queue: Arc<LogQueue>,
        counters: Arc<WalCounters>,
        limits: RecordLimits,
        last_lsn: u64,
    ) -> Self {
        counters.last_lsn.store(last_lsn, Relaxed);
        Self {
            pool,
            queue,
            counters,
            segment: None,
            offset: 0,
            next_lsn: last_lsn + 1,
            whole_lsn: last_lsn,
            encoder: SampleEncoder::default(),
            payload: Vec::new(),
            buffer: Vec::new(),
            encoded: Vec::new(),
            waiting_series: VecDeque::new(),
            limits,
            failure: None,
        }
    }

    /// Why the log takes nothing any more, if so.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Logs `work`: what is durable goes to `deliver`, the rest is refused.
    pub(crate) fn write(&mut self, work: Vec<Work>, deliver: &mut dyn FnMut(Durable)) {
        let waiting = std::mem::take(&mut self.waiting_series);
        for work in waiting.into_iter().chain(work) {
            match self.encode(&work, deliver) {
                Ok(()) => {
                    self.whole_lsn = self.next_lsn - 1;
                    self.encoded.push(work);
                }
                Err(error) => self.put_off(work, error),
            }
            if self.buffer.len() >= BATCH_BYTES {
                self.flush(deliver);
            }
        }
        self.flush(deliver);
    }

    /// Series exist in the head already: they keep their place before any sample of them until there is room.
    fn put_off(&mut self, work: Work, error: Error) {
        if matches!(error, Error::NoLogSpace { .. }) {
            if matches!(work, Work::Series(_) | Work::Gone(_)) {
                self.waiting_series.push_back(work);
                return;
            }
            increment(&self.counters.no_space);
        }
        self.refuse(work, error);
    }

    fn refuse(&self, work: Work, error: Error) {
        let bytes = work.bytes();
        work.refuse(error);
        self.queue.release(bytes);
    }

    fn encode(&mut self, work: &Work, deliver: &mut dyn FnMut(Durable)) -> Result<(), Error> {
        if let Some(error) = &self.failure {
            return Err(error.clone());
        }
        if !self.waiting_series.is_empty() {
            let reason = self.pool.failure().unwrap_or_else(|| "new series wait for it".into());
            return Err(Error::NoLogSpace { reason });
        }
        match work {
            Work::Series(payload) => self.encode_whole(RecordType::Series, payload, deliver),
            Work::Gone(payload) => self.encode_whole(RecordType::Gone, payload, deliver),
            Work::Append { content, .. } => {
                self.encode_rows(&content.rows, deliver)?;
                self.encode_histograms(&content.histograms, deliver)?;
                self.encode_exemplars(&content.exemplars, deliver)
            }
            Work::Metadata { entries, .. } => {
                let mut bytes = Vec::new();
                for (metric, metadata) in entries {
                    payload::push_metadata(&mut bytes, metric, metadata);
                    if bytes.len() > self.limits.payload_bytes {
                        self.encode_whole(RecordType::Metadata, &bytes, deliver)?;
                        bytes.clear();
                    }
                }
                if bytes.is_empty() { Ok(()) } else { self.encode_whole(RecordType::Metadata, &bytes, deliver) }
            }
            Work::Checkpoint(checkpoint) => self.encode_whole(RecordType::Checkpoint, &checkpoint.to_bytes(), deliver),
        }
    }

    fn encode_whole(
        &mut self,
        kind: RecordType,
        payload: &[u8],
        deliver: &mut dyn FnMut(Durable),
    ) -> Result<(), Error> {
        self.make_room(payload.len(), deliver)?;
        self.push_record(kind, Flags::default(), payload);
        Ok(())
    }

    fn encode_rows(&mut self, rows: &Rows, deliver: &mut dyn FnMut(Durable)) -> Result<(), Error> {
        let step = self.limits.rows;
        let columns = rows.series.chunks(step).zip(rows.timestamps_ms.chunks(step)).zip(rows.values.chunks(step));
        let mut starts_ms = rows.starts_ms.chunks(step);
        for ((series, timestamps_ms), values) in columns {
            self.make_room(SampleEncoder::bytes_max(series.len()), deliver)?;
            let mut payload = std::mem::take(&mut self.payload);
            let restart = self.encoder.encode(series, timestamps_ms, values, &mut payload);
            let starts_ms = starts_ms.next().filter(|starts_ms| starts_ms.iter().any(|start_ms| *start_ms != 0));
            starts_ms.into_iter().for_each(|starts_ms| push_starts(starts_ms, &mut payload));
            self.push_record(RecordType::Samples, Flags { restart, starts: starts_ms.is_some() }, &payload);
            self.payload = payload;
            self.counters.samples.fetch_add(series.len() as u64, Relaxed);
        }
        Ok(())
    }

    fn encode_histograms(&mut self, rows: &[SeriesHistogram], deliver: &mut dyn FnMut(Durable)) -> Result<(), Error> {
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        let mut before = None;
        for row in rows {
            let whole = payload.len();
            histograms::push_histogram(&mut payload, before, row);
            if payload.len() > self.limits.payload_bytes && whole > 0 {
                // One that is larger than a record should be has a record to itself.
                payload.truncate(whole);
                self.encode_whole(RecordType::Histograms, &payload, deliver)?;
                payload.clear();
                histograms::push_histogram(&mut payload, None, row);
            }
            before = Some(&row.1);
        }
        if !payload.is_empty() {
            self.encode_whole(RecordType::Histograms, &payload, deliver)?;
        }
        self.payload = payload;
        self.counters.samples.fetch_add(rows.len() as u64, Relaxed);
        Ok(())
    }

    fn encode_exemplars(&mut self, rows: &[ExemplarRow], deliver: &mut dyn FnMut(Durable)) -> Result<(), Error> {
        let (mut payload, mut before_ms) = (Vec::new(), 0);
        for row in rows {
            histograms::push_exemplar(&mut payload, before_ms, row);
            before_ms = row.exemplar.timestamp_ms;
            if payload.len() > self.limits.payload_bytes {
                self.encode_whole(RecordType::Exemplars, &payload, deliver)?;
                payload.clear();
                before_ms = 0;
            }
        }
        if payload.is_empty() { Ok(()) } else { self.encode_whole(RecordType::Exemplars, &payload, deliver) }
    }

    fn push_record(&mut self, record_type: RecordType, flags: Flags, payload: &[u8]) {
        let sequence = self.segment.as_ref().map_or(0, |segment| segment.sequence);
        let (lsn, batch_start) = (self.next_lsn, self.buffer.is_empty());
        let head = RecordHead { record_type, lsn, batch_start, restart: flags.restart, starts: flags.starts };
        record::push(&mut self.buffer, sequence, head, payload);
        self.next_lsn += 1;
        increment(&self.counters.records);
    }

    /// Goes on in the next segment if a record with such a payload might not fit into this one.
    fn make_room(&mut self, payload_bytes: usize, deliver: &mut dyn FnMut(Durable)) -> Result<(), Error> {
        let needed = (self.buffer.len() + stored_bytes(payload_bytes)) as u64;
        if self.segment.as_ref().is_some_and(|segment| self.offset + needed <= segment.bytes) {
            return Ok(());
        }
        // The next segment gets records only when this one is durable as a whole.
        self.flush(deliver);
        if let Some(error) = &self.failure {
            return Err(error.clone());
        }
        let next = self.pool.take_next()?;
        if let Some(full) = self.segment.replace(next) {
            self.pool.seal(Sealed { sequence: full.sequence, last_lsn: self.next_lsn - 1, damaged: false });
        }
        self.offset = SEGMENT_HEADER_BYTES as u64;
        self.encoder.restart();
        let bytes = self.segment.as_ref().map_or(0, |segment| segment.bytes);
        let needed = self.offset + stored_bytes(payload_bytes) as u64;
        assert!(needed <= bytes, "records are cut so that each fits a segment: {needed} bytes, {bytes} in the segment");
        Ok(())
    }

    /// Writes and syncs what is encoded, and delivers it.
    fn flush(&mut self, deliver: &mut dyn FnMut(Durable)) {
        let work = std::mem::take(&mut self.encoded);
        if let Err(error) = self.write_buffer() {
            let error = self.failure.get_or_insert(error).clone();
            self.buffer.clear();
            work.into_iter().for_each(|work| self.refuse(work, error.clone()));
            return;
        }
        if !work.is_empty() {
            deliver(Durable { work, last_lsn: self.whole_lsn });
        }
    }

    fn write_buffer(&mut self) -> Result<(), Error> {
        let Some(segment) = self.segment.as_ref().filter(|_| !self.buffer.is_empty()) else { return Ok(()) };
        let written = (|| {
            fail::fail_point!("wal-write", |_| Err(("write", io::Error::other("injected"))));
            segment.file.write_all_at(&self.buffer, self.offset).map_err(|error| ("write", error))?;
            fail::fail_point!("wal-sync", |_| Err(("sync", io::Error::other("injected"))));
            let start = Instant::now();
            segment.file.sync_data().map_err(|error| ("sync", error))?;
            self.counters.count_sync(start.elapsed());
            fail::fail_point!("wal-synced");
            Ok(())
        })();
        written.map_err(|(step, error): (_, io::Error)| Error::LogFailed {
            reason: format!("{step} segment {}: {error}", segment.sequence).into(),
        })?;
        let bytes = self.buffer.len() as u64;
        self.counters.bytes.fetch_add(bytes, Relaxed);
        self.counters.last_lsn.store(self.next_lsn - 1, Relaxed);
        self.offset += bytes;
        self.buffer.clear();
        Ok(())
    }
}
