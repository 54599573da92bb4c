//! Evaluates recording rules over time that has passed and stores what they would have recorded.
//!
//! A job is one request: groups and a range of time. Jobs run one after the other, as queries of people do, so that they delay
//! neither rules nor alerts. What a job wrote stays when it fails or is cancelled; to run it again is harmless, since equal samples
//! are stored once and others refused. Memory is bounded by the budget of one query: a piece of time whose results do not fit is
//! divided.

mod run;

use crate::ingest::Ingest;
use crate::query::executor::QueryExecutor;
use ruler::group::GroupSpec;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Jobs that wait or run at once.
const UNFINISHED_MAX: usize = 32;
/// Jobs that are remembered.
const JOBS_MAX: usize = 200;

/// Takes and runs jobs. Cheap to clone.
#[derive(Clone)]
pub struct Backfill {
    shared: Arc<Shared>,
}

struct Shared {
    queries: QueryExecutor,
    ingest: Ingest,
    jobs: Mutex<Jobs>,
    one_at_a_time: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Default)]
struct Jobs {
    last_id: u64,
    /// Oldest first.
    kept: VecDeque<Arc<Job>>,
}

struct Job {
    groups: Vec<GroupSpec>,
    /// First and last time, in milliseconds since the Unix epoch.
    range_ms: (i64, i64),
    status: Mutex<JobStatus>,
    stop: CancellationToken,
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus {
    /// Names it; never used twice by one process.
    pub id: u64,
    /// Where it stands.
    pub state: JobState,
    /// Names of its groups.
    pub groups: Vec<String>,
    /// How many recording rules they have.
    pub rules: usize,
    /// First and last time, as RFC 3339 in UTC.
    pub start: String,
    /// See `start`.
    pub end: String,
    /// How much is done, from 0 to 1.
    pub progress: f64,
    /// Samples that were stored, or had been before.
    pub samples_written: u64,
    /// Samples that were refused: another value is stored at their time, or they are too old.
    pub samples_refused: u64,
    /// Slots of which nothing was stored, since a rule returned more series than the limit of its group.
    pub slots_over_limit: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Others come first.
    Waiting,
    /// It is at work.
    Running,
    /// Everything is stored.
    Done,
    /// It gave up.
    Failed,
    /// Somebody stopped it, or the process ends.
    Canceled,
}

impl JobState {
    fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Canceled)
    }
}

/// So many jobs are waiting already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{UNFINISHED_MAX} jobs are waiting already, try again later")]
pub struct TooManyJobs;

impl Backfill {
    /// Without jobs. They read from `queries`, write to `ingest`, run in `tasks` and end with `stop`.
    #[must_use]
    pub fn new(queries: QueryExecutor, ingest: Ingest, tasks: TaskTracker, stop: CancellationToken) -> Self {
        let (jobs, one_at_a_time) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { shared: Arc::new(Shared { queries, ingest, jobs, one_at_a_time, tasks, stop }) }
    }

    /// Begins a job for the recording rules of `groups` and returns its status; alerting rules are left out.
    ///
    /// # Errors
    /// Too many wait.
    pub fn begin(&self, groups: Vec<GroupSpec>, range_ms: (i64, i64)) -> Result<JobStatus, TooManyJobs> {
        let time = |ms| jiff::Timestamp::from_millisecond(ms).unwrap_or_default().to_string();
        let recording = |group: &GroupSpec| group.rules.iter().filter(|rule| rule.alerting().is_none()).count();
        let mut jobs = self.shared.jobs();
        if jobs.kept.iter().filter(|job| !job.status().state.is_final()).count() >= UNFINISHED_MAX {
            return Err(TooManyJobs);
        }
        jobs.last_id += 1;
        let status = JobStatus {
            id: jobs.last_id,
            state: JobState::Waiting,
            groups: groups.iter().map(|group| group.name.clone()).collect(),
            rules: groups.iter().map(recording).sum(),
            start: time(range_ms.0),
            end: time(range_ms.1),
            progress: 0.0,
            samples_written: 0,
            samples_refused: 0,
            slots_over_limit: 0,
            error: None,
        };
        let stop = self.shared.stop.child_token();
        let job = Arc::new(Job { groups, range_ms, status: Mutex::new(status.clone()), stop });
        jobs.kept.push_back(Arc::clone(&job));
        while jobs.kept.len() > JOBS_MAX {
            let Some(oldest) = jobs.kept.iter().position(|job| job.status().state.is_final()) else { break };
            jobs.kept.remove(oldest);
        }
        drop(jobs);
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move {
            let ran = job.stop.run_until_cancelled(shared.run(&job)).await;
            let mut status = job.status();
            status.state = match &ran {
                None => JobState::Canceled,
                Some(Ok(())) => JobState::Done,
                Some(Err(_)) => JobState::Failed,
            };
            let (id, samples) = (status.id, status.samples_written);
            match ran {
                Some(Ok(())) => {
                    status.progress = 1.0;
                    tracing::info!(id, samples, "recording rules were evaluated over the past");
                }
                Some(Err(error)) => {
                    tracing::warn!(id, samples, error, "recording rules could not be evaluated over the past");
                    status.error = Some(error);
                }
                None => {}
            }
        });
        Ok(status)
    }

    /// All jobs that are remembered, oldest first.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobStatus> {
        self.shared.jobs().kept.iter().map(|job| job.status().clone()).collect()
    }

    /// Stops a job; returns whether there is one of that number.
    pub fn cancel(&self, id: u64) -> bool {
        let jobs = self.shared.jobs();
        let found = jobs.kept.iter().find(|job| job.status().id == id);
        found.inspect(|job| job.stop.cancel()).is_some()
    }
}

impl Shared {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, job: &Job) -> Result<(), String> {
        let _turn = self.one_at_a_time.lock().await;
        job.status().state = JobState::Running;
        run::run(&self.queries, &self.ingest, job).await
    }
}

impl Job {
    fn status(&self) -> MutexGuard<'_, JobStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
