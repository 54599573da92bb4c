//! The way in: waits for a place, runs the statement on threads of its own, hands out the answer.
//!
//! DataFusion's operators are tasks that compute, so they get a runtime of their own: the threads that wait for the network
//! are not theirs. Scans make their batches on the CPU pool like all other reads.

use super::output::Encoder;
use super::request::{SqlAnswer, SqlRequest};
use super::run::{Portion, drive};
use super::scope::{Bounds, Scope};
use super::statement;
use crate::query::error::QueryFailure;
use crate::query::executor::{QueryExecutor, Reading};
use crate::query::store::{MetadataSource, SeriesStore};
use crate::runtime::cpu::JobPanicked;
use bytes::Bytes;
use futures::{StreamExt, stream};
use promql::engine::QueryError;
use promql::source::SourceError;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Planning recurses with the depth of a statement, which is bounded for this much; it is touched only as far as needed.
pub(super) const STACK_BYTES: usize = 64 << 20;

/// Portions of an answer that wait for the client.
const PORTIONS_WAITING_MAX: usize = 2;

/// What statements read.
#[derive(Clone)]
pub struct SqlSources {
    /// The stored series.
    pub store: Arc<dyn SeriesStore>,
    /// What senders told about metrics.
    pub metadata: Arc<dyn MetadataSource>,
    /// The blocks.
    pub blocks: Arc<dyn BlockSource>,
    /// How long a series is taken for alive after its last sample.
    pub lookback_ms: i64,
}

/// Lists the blocks in which samples are stored.
pub trait BlockSource: Send + Sync {
    /// All blocks, in order of time.
    ///
    /// # Errors
    /// Storage failed.
    fn blocks(&self) -> Result<Vec<BlockRow>, SourceError>;
}

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockRow {
    /// Its name.
    pub ulid: String,
    /// How often it was compacted.
    pub level: u8,
    /// Distance of its samples; 0 when they are those that were received.
    pub resolution_ms: u64,
    /// Time of its first sample.
    pub min_ms: i64,
    /// Time of its last sample.
    pub max_ms: i64,
    /// Series in it.
    pub series: u64,
    /// Float samples in it.
    pub samples: u64,
    /// Native histograms in it.
    pub histograms: u64,
    /// Size of its files.
    pub bytes: u64,
}

/// A store without blocks.
#[derive(Debug, Clone, Copy)]
pub struct NoBlocks;

impl BlockSource for NoBlocks {
    fn blocks(&self) -> Result<Vec<BlockRow>, SourceError> {
        Ok(Vec::new())
    }
}

/// Runs statements. Cheap to clone.
#[derive(Clone)]
pub struct Sql {
    shared: Arc<Shared>,
}

struct Shared {
    sources: SqlSources,
    queries: QueryExecutor,
    threads: OnceLock<Threads>,
}

/// The runtime of DataFusion's operators.
struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        // The last handle may be dropped on a thread that must not wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Sql {
    /// Statements over `sources`, with places and budgets like those of `queries`.
    #[must_use]
    pub fn new(sources: SqlSources, queries: QueryExecutor) -> Self {
        Self { shared: Arc::new(Shared { sources, queries, threads: OnceLock::new() }) }
    }

    /// Runs a statement until its first rows are known.
    ///
    /// # Errors
    /// It is no statement that may be run, cannot be executed, needs more than it may use, took too long or was cancelled.
    pub async fn run(&self, request: SqlRequest) -> Result<SqlAnswer, QueryFailure> {
        let timeout = request.timeout.unwrap_or(Duration::MAX);
        let reading = self.shared.queries.open_reading_within(&request.text, &request.tenant, timeout).await?;
        let scope = Arc::new(self.scope(&reading, &request));
        let (sender, receiver) = mpsc::channel(PORTIONS_WAITING_MAX);
        let encoder = Encoder::new(request.format);
        let content_type = encoder.content_type();
        let text = request.text;
        let task = self.spawn(async move {
            match statement::parse(&text) {
                Ok(statement) => drive(&scope, statement, &text, encoder, &sender).await,
                Err(failure) => {
                    let _ = sender.send(Portion::Failed(failure)).await;
                }
            }
        });
        let task = task.inspect_err(|failure| reading.end(Some(failure)))?;
        let watch = watch(&reading);
        let mut answer = Answer { receiver, task, reading, _watch: watch };
        // The first portion is awaited before the status is sent, so that what fails at once is told properly.
        let first = answer.next().await.unwrap_or_else(|| Ok(Bytes::new()))?;
        let rest = stream::unfold(Some(answer), |answer| async move {
            let mut answer = answer?;
            match answer.next().await? {
                Ok(bytes) => Some((Ok(bytes), Some(answer))),
                Err(failure) => {
                    tracing::warn!(%failure, "the answer to a statement breaks off");
                    Some((Err(failure), None))
                }
            }
        });
        // Fused: compression polls a body again after its end.
        let body = stream::once(async move { Ok(first) }).chain(rest).fuse().boxed();
        Ok(SqlAnswer { content_type, body })
    }

    fn scope(&self, reading: &Reading, request: &SqlRequest) -> Scope {
        Scope {
            pieces: reading.pieces().clone(),
            sources: self.shared.sources.clone(),
            parse: self.shared.queries.options().parse.clone(),
            bounds: Bounds { start_ms: request.start_ms, end_ms: request.end_ms },
            include_stale: request.include_stale,
            now_ms: jiff::Timestamp::now().as_millisecond(),
            metric_names: OnceLock::new(),
            promql_labels: OnceLock::new(),
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> Result<JoinHandle<()>, QueryFailure> {
        let threads = self.shared.threads.get_or_init(|| {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let builder = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(cores)
                .thread_name("sql")
                .thread_stack_size(STACK_BYTES)
                .enable_time()
                .build();
            Threads(builder.inspect_err(|error| tracing::error!(%error, "cannot start the threads of SQL")).ok())
        });
        match &threads.0 {
            Some(runtime) => Ok(runtime.spawn(work)),
            None => Err(SourceError::Failed("the threads of SQL could not be started".into()).into()),
        }
    }
}

/// Stops the query at its deadline, wherever it is. On the threads of the caller: those of SQL may all be computing.
fn watch(reading: &Reading) -> oneshot::Sender<()> {
    let (guard, over) = oneshot::channel::<()>();
    let (budget, deadline) = (Arc::clone(reading.pieces().budget()), reading.pieces().deadline());
    tokio::spawn(async move {
        tokio::select! {
            _ = over => {}
            () = tokio::time::sleep_until(deadline) => budget.expire(),
        }
    });
    guard
}

/// An answer on its way; dropping it stops the query.
struct Answer {
    receiver: mpsc::Receiver<Portion>,
    task: JoinHandle<()>,
    reading: Reading,
    _watch: oneshot::Sender<()>,
}

impl Answer {
    /// The next piece; notes how the query ended when there is none.
    async fn next(&mut self) -> Option<Result<Bytes, QueryFailure>> {
        let next = self.receive().await;
        match &next {
            Some(Ok(_)) => {}
            Some(Err(failure)) => self.reading.end(Some(failure)),
            None => self.reading.end(None),
        }
        next
    }

    async fn receive(&mut self) -> Option<Result<Bytes, QueryFailure>> {
        let deadline = self.reading.pieces().deadline();
        let portion = tokio::select! {
            portion = self.receiver.recv() => portion,
            () = tokio::time::sleep_until(deadline) => {
                self.reading.pieces().budget().expire();
                return Some(Err(QueryError::TimedOut.into()));
            }
        };
        match portion {
            Some(Portion::Bytes(bytes)) => Some(Ok(bytes)),
            Some(Portion::Failed(failure)) => Some(Err(failure)),
            Some(Portion::End) => None,
            // The task ended before its end: a bug.
            None => {
                let outcome = (&mut self.task).await;
                let message = outcome.err().map_or_else(|| "the statement was lost".to_owned(), panic_text);
                Some(Err(JobPanicked::new(message).into()))
            }
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn panic_text(error: tokio::task::JoinError) -> String {
    let text = error.to_string();
    let Ok(panic) = error.try_into_panic() else { return text };
    let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or(text)
}
