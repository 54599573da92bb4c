//! Answers of queries, in columns, so that whoever prints them walks slices.
//!
//! Values are floats or native histograms; over time each kind has columns of its own.

use crate::annotation::Annotations;
use crate::eval::row::histogram_bytes;
use crate::explain::Explanation;
use model::histogram::{Histogram, HistogramColumns};
use model::labels::Labels;
use std::sync::Arc;

/// What a query returned.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryValue {
    /// One number; of instant queries only.
    Scalar {
        /// The evaluation time, in milliseconds.
        timestamp_ms: i64,
        /// The number.
        value: f64,
    },
    /// A text; of instant queries only.
    String {
        /// The evaluation time, in milliseconds.
        timestamp_ms: i64,
        /// Its bytes; escapes of the language may have made them invalid UTF-8.
        value: Vec<u8>,
    },
    /// A set of series with one value each, all at the evaluation time; of instant queries only. In the order that the
    /// query asked for, else in no particular one.
    Vector {
        /// The evaluation time, in milliseconds.
        timestamp_ms: i64,
        /// The series.
        samples: Vec<VectorSample>,
    },
    /// A set of series with many values each, sorted by labels: range queries, and instant queries of range vectors.
    Matrix(Vec<MatrixSeries>),
}

impl QueryValue {
    /// Bytes of memory that the value takes, columns that series may share not counted.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Scalar { .. } => 0,
            Self::String { value, .. } => value.len(),
            Self::Vector { samples, .. } => samples
                .iter()
                .map(|sample| {
                    let histogram = match &sample.value {
                        SampleValue::Histogram(histogram) => histogram_bytes(histogram),
                        SampleValue::Float(_) => 0,
                    };
                    sample.labels.held_bytes() + size_of::<SampleValue>() + histogram
                })
                .sum(),
            Self::Matrix(series) => series.iter().map(MatrixSeries::held_bytes).sum(),
        }
    }
}

/// One series of a vector.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSample {
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: SampleValue,
}

/// The value of one sample.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleValue {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// One series of a matrix: two columns of equal length for floats, and two for native histograms, which have timestamps of
/// their own. Either may be empty.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixSeries {
    /// Its labels.
    pub labels: Labels,
    /// Milliseconds since the Unix epoch, ascending. Series that have a value at every step share one column.
    pub timestamps_ms: Arc<[i64]>,
    /// One value per timestamp.
    pub values: Vec<f64>,
    /// Native histograms, at other times than the values.
    pub histograms: HistogramColumns,
}

impl MatrixSeries {
    /// Bytes of memory that it takes, timestamps not counted: series may share them.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let floats = self.values.len() * size_of::<f64>();
        let histograms: usize = self.histograms.histograms.iter().map(|histogram| histogram_bytes(histogram)).sum();
        self.labels.held_bytes() + size_of::<Self>() + floats + histograms
    }
}

/// What answering cost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Samples that selectors handed to the expression, counted once per step that used them.
    pub samples_total: u64,
    /// The same per step, when asked for: the time of the step in milliseconds and its samples.
    pub samples_per_step: Option<Vec<(i64, u64)>>,
    /// Samples that selectors read: as `samples_total`, but of those that several steps used only the first time. As in
    /// Prometheus, what a subquery hands to a function counts beside what the subquery read.
    pub samples_read: u64,
    /// The same per step, when asked for; what subqueries read counts to the first step.
    pub samples_read_per_step: Option<Vec<(i64, u64)>>,
    /// The most samples held in memory at once.
    pub samples_peak: usize,
    /// Series that selectors touched.
    pub series: usize,
}

/// An answer with all that belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryResult {
    /// The answer.
    pub value: QueryValue,
    /// Remarks on it.
    pub annotations: Annotations,
    /// What it cost.
    pub stats: QueryStats,
    /// How it was evaluated, when that was asked for.
    pub explanation: Option<Explanation>,
}
