//! One request from its compressed body to the account of what became of it: runs the work, waits for the store, counts.

use super::appender::{AppendError, Appender, Done};
use super::inflight::Hold;
use super::ledger::Refusal;
use super::prepare::{Prepared, Refused, Source, look_up, prepare};
use super::reason::Reason;
use super::report::{Example, WriteError, WriteReport};
use super::scratch::Scratch;
use super::{Ingest, Inner};
use crate::wire::compression::{Encoding, declared_len};
use crate::wire::{Protocol, canonical, decode};
use bytes::Bytes;
use model::metadata::Metadata;
use model::tenant::TenantId;
use std::sync::Arc;
use storage::append::{AppendOutcome, Batch, Pin, Rejection};
use tokio::sync::oneshot;

/// A request as it came, headers understood.
#[derive(Debug, Clone)]
pub struct WriteRequest {
    /// Which message the body holds.
    pub protocol: Protocol,
    /// How it is compressed.
    pub encoding: Encoding,
    /// The compressed body.
    pub body: Bytes,
    /// Whose samples they are.
    pub tenant: TenantId,
    /// This machine's clock, milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// So many series that are not known by their bytes, native histograms and exemplars are worked on between two awaits; more
/// take a thread of their own, since parsing and creating them takes microseconds each.
const INLINE_MISSING_MAX: usize = 64;

/// A request that was decoded and whose series were looked up.
struct Decoded {
    protocol: Protocol,
    now_ms: i64,
    scratch: Scratch,
    /// Length of the decompressed body in the scratch.
    body_len: usize,
    missing: Vec<u32>,
    /// Taken before the lookup.
    pin: Option<Pin>,
    /// Counts its memory until it is done with.
    _hold: Hold,
}

impl Ingest {
    /// Stores what a request says, as far as it is valid, and returns once that is durable.
    ///
    /// `hold` counts the compressed body already; the memory for the rest is added.
    ///
    /// # Errors
    /// Nothing was stored: the body is no message, or there is no room or no store for it now.
    pub async fn write(&self, request: WriteRequest, mut hold: Hold) -> Result<WriteReport, WriteError> {
        if let Some(memory) = self.inner.memory.get() {
            memory.admit_write()?;
        }
        if let Some(space) = self.inner.space.get() {
            space.admit_write()?;
        }
        let options = &self.inner.options;
        let declared = declared_len(request.encoding, &request.body, options.decoded_bytes_max)?;
        // Without a declaration: what zstd usually makes of such bodies.
        let usual = || request.body.len().saturating_mul(16).min(options.decoded_bytes_max);
        let expected = declared.unwrap_or_else(usual);
        hold.grow(expected + expected / 2)?;

        let tenant = request.tenant.clone();
        let inner = Arc::clone(&self.inner);
        let short = expected <= options.inline_bytes_max;
        let decoded = self.inner.run(short, move || inner.decode(&request, hold, expected)).await??;
        let inner = Arc::clone(&self.inner);
        let few = decoded.missing.len() + decoded.scratch.table.other_count() <= INLINE_MISSING_MAX;
        let (decoded, mut prepared) = self.inner.run(few, move || inner.sort_out(decoded)).await??;

        let (metadata, hashes) = std::mem::take(&mut prepared.metadata).into_parts();
        let (appended, told) = tokio::join!(
            self.inner.append(std::mem::take(&mut prepared.batch)),
            self.inner.put_metadata(metadata, &hashes)
        );
        let failure = appended.as_ref().err().or(told.as_ref().err()).cloned();
        if let Ok(refused @ 1..) = told {
            // To ask for it again would hold up the samples of a sender that repeats it with each of them.
            prepared.refused.push(Refused::metadata(refused, Reason::MetadataRefused));
        }
        let account = Account { inner: &self.inner, decoded: &decoded, tenant: &tenant };
        let report = account.settle(prepared, appended.unwrap_or_default(), failure);
        self.inner.pool.give_back(decoded.scratch);
        Ok(report)
    }
}

impl Inner {
    /// Runs CPU work here if it is short, else on the pool, where it keeps nobody waiting.
    async fn run<T: Send + 'static>(
        &self,
        short: bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AppendError> {
        if short {
            return Ok(work());
        }
        self.cpu.run(|_| work()).await.map_err(|panicked| AppendError::unavailable(panicked.to_string()))
    }

    /// Decompresses, walks and looks up; waits for nothing.
    ///
    /// `hold` counts one and a half times the `expected` bytes: the body, and half as much for the table.
    fn decode(&self, request: &WriteRequest, mut hold: Hold, expected: usize) -> Result<Decoded, WriteError> {
        let store = self.route.store()?;
        let mut scratch = self.pool.take();
        let pin = store.pin();
        let decoded = self.decode_into(&mut scratch, request, store).and_then(|found| {
            let (body_len, _) = found;
            hold.grow((body_len + scratch.table.used_bytes()).saturating_sub(expected + expected / 2))?;
            Ok(found)
        });
        match decoded {
            Ok((body_len, missing)) => {
                self.metrics.count_bytes(request.body.len(), body_len);
                let WriteRequest { protocol, now_ms, .. } = *request;
                Ok(Decoded { protocol, now_ms, scratch, body_len, missing, pin, _hold: hold })
            }
            Err(error) => {
                self.pool.give_back(scratch);
                Err(error)
            }
        }
    }

    fn decode_into(
        &self,
        scratch: &mut Scratch,
        request: &WriteRequest,
        store: &dyn Appender,
    ) -> Result<(usize, Vec<u32>), WriteError> {
        let Scratch { decompressor, table, refs } = scratch;
        let body_len = decompressor.decompress(request.encoding, &request.body, self.options.decoded_bytes_max)?;
        decode(request.protocol, decompressor.bytes(body_len), &self.limits, table)?;
        Ok((body_len, look_up(store, table, refs)))
    }

    /// Resolves series that are not known by their bytes and makes the rows.
    fn sort_out(&self, mut decoded: Decoded) -> Result<(Decoded, Prepared), WriteError> {
        let store = self.route.store()?;
        let missing = std::mem::take(&mut decoded.missing);
        let Scratch { decompressor, table, refs } = &mut decoded.scratch;
        let body = decompressor.bytes(decoded.body_len);
        let source = Source { protocol: decoded.protocol, body, table, now_ms: decoded.now_ms };
        match prepare(self, store, &source, missing, refs) {
            Ok(mut prepared) => {
                prepared.batch.pin = decoded.pin.take();
                self.metrics.count_lookups(&prepared.tally);
                Ok((decoded, prepared))
            }
            Err(error) => {
                self.pool.give_back(decoded.scratch);
                Err(error.into())
            }
        }
    }

    /// Hands a batch to the store and waits until it is durable.
    pub(super) async fn append(&self, batch: Batch) -> Result<AppendOutcome, AppendError> {
        if batch.is_empty() {
            return Ok(AppendOutcome::default());
        }
        let store = self.route.store()?;
        answer_of(|done| store.append(batch, done)).await
    }

    /// Tells the store about metrics and waits until it will not forget; returns how many entries it has no room for.
    pub(super) async fn put_metadata(
        &self,
        entries: Vec<(String, Metadata)>,
        hashes: &[u128],
    ) -> Result<u64, AppendError> {
        if entries.is_empty() {
            return Ok(0);
        }
        let store = self.route.store()?;
        let refused = answer_of(|done| store.put_metadata(entries, done)).await?;
        if refused == 0 {
            self.told.remember(hashes);
        }
        Ok(refused)
    }
}

/// Calls the store and waits until it answers.
async fn answer_of<T: Send + 'static>(call: impl FnOnce(Done<T>)) -> Result<T, AppendError> {
    let (tell, told) = oneshot::channel();
    // A request that was given up has nobody to be told.
    call(Box::new(move |outcome| drop(tell.send(outcome))));
    told.await.unwrap_or_else(|_| Err(AppendError::unavailable("the store stopped before it answered")))
}

/// Makes the account of a request.
struct Account<'a> {
    inner: &'a Inner,
    decoded: &'a Decoded,
    tenant: &'a TenantId,
}

impl Account<'_> {
    fn settle(&self, mut prepared: Prepared, outcome: AppendOutcome, failure: Option<AppendError>) -> WriteReport {
        for (row, rejection) in &outcome.rejected {
            let refused = self.refused_row(prepared.sample_of_row(*row), *rejection);
            prepared.refused.push(refused);
        }
        for (row, rejection) in &outcome.histograms_rejected {
            let Some(&(entry, timestamp_ms)) = prepared.histogram_origin.get(*row as usize) else { continue };
            prepared.refused.push(Refused::other(entry, timestamp_ms, Reason::from(*rejection)));
        }
        let kept = outcome.exemplars_written as usize;
        if failure.is_none()
            && let Some(&(entry, timestamp_ms)) = prepared.exemplar_origin.get(kept)
        {
            let count = (prepared.exemplar_origin.len() - kept) as u64;
            let first = Refused::other(entry, timestamp_ms, Reason::ExemplarsOff);
            prepared.refused.push(Refused { count, ..first });
        }
        let retry = failure.or(prepared.blocked.take());
        let metrics = &self.inner.metrics;
        metrics.count_written(&outcome);
        let mut report = WriteReport::new(self.decoded.protocol, &outcome, retry);
        if report.retry.is_none() && !prepared.refused.is_empty() {
            self.keep(&prepared.refused);
            let mut labels = Vec::new();
            for refused in &prepared.refused {
                metrics.count_refused(refused.reason, refused.count);
                report.add(refused.reason, refused.count, || {
                    self.encoded_labels(refused, &mut labels);
                    let series = canonical::to_text(Refusal::kept_part(&labels));
                    Example {
                        series,
                        timestamp_ms: refused.timestamp_ms,
                        detail: refused.detail.map(|d| d.to_string()),
                    }
                });
            }
        }
        report
    }

    fn refused_row(&self, sample: usize, rejection: Rejection) -> Refused {
        let table = &self.decoded.scratch.table;
        let (timestamps, values) = table.samples();
        Refused {
            entry: Some(table.entry_of_sample(sample) as u32),
            timestamp_ms: timestamps.get(sample).copied(),
            value: values.get(sample).copied(),
            count: 1,
            reason: Reason::from(rejection),
            detail: None,
        }
    }

    /// Enters the refusals into the ledger, as far as it has room.
    fn keep(&self, refused: &[Refused]) {
        let ledger = &self.inner.ledger;
        let last = refused.get(refused.len().saturating_sub(ledger.capacity())..).unwrap_or_default();
        let mut labels = Vec::new();
        let describe = |refused: &Refused| {
            self.encoded_labels(refused, &mut labels);
            Refusal {
                refused_at_ms: self.decoded.now_ms,
                tenant: self.tenant.clone(),
                encoded_labels: Box::from(Refusal::kept_part(&labels)),
                timestamp_ms: refused.timestamp_ms,
                value: refused.value,
                count: refused.count,
                reason: refused.reason,
                detail: refused.detail,
            }
        };
        // Described before the ledger is locked.
        let refusals: Vec<Refusal> = last.iter().map(describe).collect();
        ledger.record(refusals);
    }

    fn encoded_labels(&self, refused: &Refused, out: &mut Vec<u8>) {
        let body = self.decoded.scratch.decompressor.bytes(self.decoded.body_len);
        match refused.entry {
            Some(entry) => self.decoded.scratch.table.encoded_labels_of(body, entry as usize, out),
            None => out.clear(),
        }
    }
}
