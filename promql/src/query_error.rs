//! Why a query has no answer, in Prometheus' words where users know them.

use crate::source::SourceError;

/// What a caller can do about a failed query. HTTP status and error type follow from this alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryErrorKind {
    /// The request can never succeed as it is: 400, `bad_data`.
    BadData,
    /// The query cannot be evaluated on this data: 422, `execution`.
    Execution,
    /// Somebody stopped it: 499, `canceled`.
    Canceled,
    /// Its time was over: 503, `timeout`.
    Timeout,
    /// There is no room for it now, or what it reads cannot be reached; the same query can succeed later: 503, `unavailable`.
    Unavailable,
    /// Storage failed: 500, `internal`.
    Internal,
}

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QueryError {
    /// Range queries return scalars and instant vectors only.
    #[error("invalid expression type {got:?} for range query, must be Scalar or instant Vector")]
    RangeQueryType {
        /// What the expression returns, as Prometheus names it.
        got: &'static str,
    },
    /// The step is not positive, the end lies before the start, or there are too many steps to number.
    #[error("{0}")]
    BadRange(&'static str),
    /// An experimental function or aggregation that is switched off.
    #[error("{0}")]
    NotEnabled(String),
    /// A duration expression has no usable value. Offsets are those of the expression in the query.
    #[error("{start}:{end}: {reason}")]
    Duration {
        /// First byte, as Prometheus prints it.
        start: u32,
        /// One past the last byte.
        end: u32,
        /// What is wrong.
        reason: &'static str,
    },
    /// More samples than the budget allows were held at once.
    #[error(
        "query processing would load too many samples into memory in query execution: more than the {samples_max} it may hold"
    )]
    TooManySamples {
        /// The bound.
        samples_max: usize,
    },
    /// A subquery has more steps than the budget allows samples.
    #[error(
        "query processing would load too many samples into memory in query execution: a subquery has {steps} steps, \
         {allowed} are allowed"
    )]
    TooManySteps {
        /// How many.
        steps: usize,
        /// The bound.
        allowed: usize,
    },
    /// The estimate says that the query cannot fit its budget: it was not evaluated.
    #[error("the query would hold about {expected} {what} in memory, {allowed} are allowed; it was not evaluated")]
    WouldNotFit {
        /// `samples` or `bytes`.
        what: &'static str,
        /// About how many.
        expected: u64,
        /// The bound.
        allowed: usize,
    },
    /// More bytes than the budget allows were held at once.
    #[error("query needs more than the {bytes_max} bytes of memory it may use")]
    TooManyBytes {
        /// The bound.
        bytes_max: usize,
    },
    /// All queries together hold more than they may.
    #[error("all queries together hold {held} bytes of memory, {bytes_max} are allowed; try again later")]
    NoMemory {
        /// Bytes that would be held.
        held: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The selectors match more series than the budget allows.
    #[error("the query selects more than {series_max} series")]
    TooManySeries {
        /// The bound.
        series_max: usize,
    },
    /// Two series with the same labels have a sample at the same step.
    #[error("vector cannot contain metrics with the same labelset")]
    SameLabelset,
    /// The "one" side of a binary operation has several series of one match group.
    #[error(
        "found duplicate series for the match group {group} on the {side} hand-side of the operation: \
         [{first}, {second}];many-to-many matching not allowed: matching labels must be unique on one side"
    )]
    DuplicateMatch {
        /// The labels that both series share.
        group: String,
        /// `left` or `right`.
        side: &'static str,
        /// One series.
        first: String,
        /// The other; the two are in order.
        second: String,
    },
    /// Several series of the left side match one of the right side.
    #[error("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")]
    ImplicitManyToOne,
    /// Two results of a grouped match have the same labels.
    #[error("multiple matches for labels: grouping labels must ensure unique matches")]
    GroupingNotUnique,
    /// The parameter of topk, bottomk or limitk is no number.
    #[error("Parameter value is NaN")]
    ParameterNan,
    /// The parameter of limit_ratio is no number.
    #[error("Ratio value is NaN")]
    RatioNan,
    /// The parameter of topk, bottomk or limitk does not fit 64 bits.
    #[error("Scalar value {value} {direction} int64")]
    ParameterRange {
        /// The parameter as printed.
        value: String,
        /// `overflows` or `underflows`.
        direction: &'static str,
    },
    /// A label name given as a string is none.
    #[error("invalid {role}{name}")]
    LabelName {
        /// Which argument, with the blank or colon that follows it.
        role: &'static str,
        /// The name as printed.
        name: String,
    },
    /// The pattern of label_replace does not compile.
    #[error("invalid regular expression in label_replace(): {0}")]
    LabelReplacePattern(String),
    /// A factor of double_exponential_smoothing is outside (0, 1).
    #[error("invalid {factor} factor. Expected: 0 < {symbol} < 1, got: {value:.6}")]
    SmoothingFactor {
        /// `smoothing` or `trend`.
        factor: &'static str,
        /// `sf` or `tf`.
        symbol: &'static str,
        /// What was given.
        value: f64,
    },
    /// `anchored` or `smoothed` around a function that cannot use it.
    #[error("{modifier} modifier can only be used with: {allowed} - not with {function}")]
    RangeModifier {
        /// `anchored` or `smoothed`.
        modifier: &'static str,
        /// The functions that can, separated by commas.
        allowed: &'static str,
        /// The function around it.
        function: &'static str,
    },
    /// `anchored` or `smoothed` on a range vector of native histograms that is the result.
    #[error("{modifier} modifier is not supported with histograms")]
    HistogramModifier {
        /// `anchored` or `smoothed`.
        modifier: &'static str,
    },
    /// An info metric has native histograms.
    #[error("this should be an info metric, with float samples: {0}")]
    InfoHistogram(String),
    /// Two info series of equal age describe the same target.
    #[error("found duplicate series for info metric: existing {existing} @ {at_ms}, new {new} @ {at_ms}")]
    DuplicateInfo {
        /// The first one.
        existing: String,
        /// The second one.
        new: String,
        /// The time of both samples, in milliseconds.
        at_ms: i64,
    },
    /// Two info metrics disagree on a label.
    #[error("conflicting label: {0}")]
    ConflictingInfoLabel(String),
    /// Stopped from outside.
    #[error("query was canceled in expression evaluation")]
    Canceled,
    /// The deadline passed.
    #[error("query timed out in expression evaluation")]
    TimedOut,
    /// What storage would have to read cannot be reached now.
    #[error("expanding series: {0}")]
    SourceUnavailable(String),
    /// Storage failed.
    #[error("expanding series: {0}")]
    Source(String),
}

impl QueryError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> QueryErrorKind {
        match self {
            Self::RangeQueryType { .. } | Self::BadRange(_) | Self::NotEnabled(_) | Self::Duration { .. } => {
                QueryErrorKind::BadData
            }
            Self::TooManySamples { .. }
            | Self::TooManySteps { .. }
            | Self::WouldNotFit { .. }
            | Self::TooManyBytes { .. }
            | Self::TooManySeries { .. }
            | Self::SameLabelset
            | Self::DuplicateMatch { .. }
            | Self::ImplicitManyToOne
            | Self::GroupingNotUnique
            | Self::ParameterNan
            | Self::RatioNan
            | Self::ParameterRange { .. }
            | Self::LabelName { .. }
            | Self::LabelReplacePattern(_)
            | Self::SmoothingFactor { .. }
            | Self::RangeModifier { .. }
            | Self::HistogramModifier { .. }
            | Self::InfoHistogram(_)
            | Self::DuplicateInfo { .. }
            | Self::ConflictingInfoLabel(_) => QueryErrorKind::Execution,
            Self::Canceled => QueryErrorKind::Canceled,
            Self::TimedOut => QueryErrorKind::Timeout,
            Self::NoMemory { .. } | Self::SourceUnavailable(_) => QueryErrorKind::Unavailable,
            Self::Source(_) => QueryErrorKind::Internal,
        }
    }
}

impl From<SourceError> for QueryError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::TooManySeries { series_max } => Self::TooManySeries { series_max },
            SourceError::TooManyBytes { bytes_max } => Self::TooManyBytes { bytes_max },
            SourceError::NoMemory { held, bytes_max } => Self::NoMemory { held, bytes_max },
            SourceError::Unavailable(reason) => Self::SourceUnavailable(reason),
            SourceError::Failed(reason) => Self::Source(reason),
        }
    }
}
