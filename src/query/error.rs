//! Why a query or a look-up of series has no answer.

use crate::runtime::cpu::JobPanicked;
use crate::runtime::memory::MemoryFull;
use promql::engine::{QueryError, QueryErrorKind};
use promql::source::SourceError;

/// What a caller can do about a failed query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The query can never succeed as it is.
    BadQuery,
    /// The query cannot be evaluated on the data as they are, or needs more than it may use.
    Execution,
    /// Somebody stopped it.
    Canceled,
    /// Its time was over.
    Timeout,
    /// Too many queries wait already; the same query can succeed later.
    Busy,
    /// What it reads cannot be reached now; the same query can succeed later.
    Unavailable,
    /// We failed: storage, or a bug.
    Internal,
}

/// Why a query has no answer. The texts are those of Prometheus where it has the case.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QueryFailure {
    /// The text is no query.
    #[error("{0}")]
    Parse(String),
    /// The evaluation failed.
    #[error(transparent)]
    Evaluation(#[from] QueryError),
    /// SQL that cannot be executed on the data as they are.
    #[error("{0}")]
    Sql(String),
    /// Its time was over before a place was free.
    #[error("query timed out in query queue")]
    TimedOutInQueue,
    /// Somebody stopped it before a place was free.
    #[error("query was canceled in query queue")]
    CanceledInQueue,
    /// The queue is full.
    #[error("{waiting} queries are waiting already, try again later")]
    QueueFull {
        /// How many.
        waiting: usize,
    },
    /// There is no memory for it.
    #[error("{0}, try again later")]
    NoMemory(#[from] MemoryFull),
    /// Storage failed, outside of an evaluation.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A bug.
    #[error(transparent)]
    Panicked(JobPanicked),
}

impl From<JobPanicked> for QueryFailure {
    fn from(panicked: JobPanicked) -> Self {
        match panicked.gave_up {
            Some(error) => Self::Source(error),
            None => Self::Panicked(panicked),
        }
    }
}

impl QueryFailure {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Parse(_) => FailureKind::BadQuery,
            Self::Evaluation(QueryError::SourceUnavailable(_)) => FailureKind::Unavailable,
            Self::Evaluation(error) => match error.kind() {
                QueryErrorKind::BadData => FailureKind::BadQuery,
                QueryErrorKind::Execution => FailureKind::Execution,
                QueryErrorKind::Canceled => FailureKind::Canceled,
                QueryErrorKind::Timeout => FailureKind::Timeout,
                QueryErrorKind::Unavailable => FailureKind::Busy,
                QueryErrorKind::Internal => FailureKind::Internal,
            },
            Self::Sql(_) => FailureKind::Execution,
            Self::TimedOutInQueue => FailureKind::Timeout,
            Self::CanceledInQueue => FailureKind::Canceled,
            Self::QueueFull { .. } | Self::NoMemory(_) => FailureKind::Busy,
            Self::Source(SourceError::TooManySeries { .. } | SourceError::TooManyBytes { .. }) => {
                FailureKind::Execution
            }
            Self::Source(SourceError::NoMemory { .. }) => FailureKind::Busy,
            Self::Source(SourceError::Unavailable(_)) => FailureKind::Unavailable,
            Self::Source(SourceError::Failed(_)) | Self::Panicked(_) => FailureKind::Internal,
        }
    }
}
