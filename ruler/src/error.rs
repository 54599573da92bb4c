//! Why a rule could not be evaluated.

/// What an operator can do about a failed evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The rule itself is at fault: its author has to change it.
    Invalid,
    /// The rule returned more than it may.
    Limited,
    /// Storage or the query engine failed or was too slow: the next evaluation may succeed.
    Unavailable,
    /// The evaluation was cut short because the process stops or the rules change.
    Canceled,
}

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Whoever asked went away.
    #[error("query was canceled")]
    Canceled,
    /// The expression cannot be evaluated on the data as they are; asking again will not help.
    #[error("{0}")]
    Invalid(String),
    /// The query was too large or took too long.
    #[error("{0}")]
    Limited(String),
    /// Storage failed.
    #[error("{0}")]
    Unavailable(String),
}

impl QueryError {
    /// What can be done about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Canceled => ErrorKind::Canceled,
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::Limited(_) => ErrorKind::Limited,
            Self::Unavailable(_) => ErrorKind::Unavailable,
        }
    }
}

/// Why the evaluation of a rule failed. The texts are those of Prometheus: people search for them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The expression has no answer.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The expression returned a range vector or a text.
    #[error("rule result is not a vector or scalar")]
    NotAVector,
    /// Two results become one alert.
    #[error("vector contains metrics with the same labelset after applying alert labels")]
    SameAlertLabels,
    /// Two results become one series.
    #[error("vector contains metrics with the same labelset after applying rule labels")]
    SameSeriesLabels,
    /// More alerts than the group's `limit`.
    #[error("exceeded limit of {limit} with {alerts} alerts")]
    TooManyAlerts {
        /// The group's limit.
        limit: u64,
        /// Pending and firing alerts of the rule.
        alerts: usize,
    },
    /// More series than the group's `limit`.
    #[error("exceeded limit of {limit} with {series} series")]
    TooManySeries {
        /// The group's limit.
        limit: u64,
        /// Series that the rule returned.
        series: usize,
    },
    /// Storage refused some of the samples.
    #[error("{reason}")]
    SamplesDiscarded {
        /// Why the last of them was refused.
        reason: String,
    },
    /// No sample could be stored.
    #[error("{0}")]
    Append(String),
}

impl RuleError {
    /// What can be done about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Query(error) => error.kind(),
            Self::NotAVector | Self::SameAlertLabels | Self::SameSeriesLabels | Self::SamplesDiscarded { .. } => {
                ErrorKind::Invalid
            }
            Self::TooManyAlerts { .. } | Self::TooManySeries { .. } => ErrorKind::Limited,
            Self::Append(_) => ErrorKind::Unavailable,
        }
    }
}
