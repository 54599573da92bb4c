//! Why something of a request is refused.

use storage::append::Rejection;

/// Why one sample, histogram, exemplar, series or metadata entry is refused. Each is counted by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The series already has another value at this timestamp.
    ConflictingValue,
    /// Older than everything that may still be written.
    TooOld,
    /// Further ahead of our clock than allowed.
    TooFarAhead,
    /// No label `__name__`, or an empty one.
    MissingMetricName,
    /// Two labels of the same name.
    DuplicateLabel,
    /// A label with a value and no name.
    EmptyLabelName,
    /// A name or value that is no UTF-8.
    InvalidUtf8,
    /// The name of a label exceeds the limit.
    LabelNameTooLong,
    /// The value of a label exceeds the limit.
    LabelValueTooLong,
    /// More labels than the limit.
    TooManyLabels,
    /// A reference to a symbol that the request does not have, or a name without a value.
    BadReference,
    /// The series carries nothing.
    NoSamples,
    /// A native histogram contradicts itself.
    InvalidHistogram,
    /// A native histogram has more buckets than can be stored.
    HistogramTooLarge,
    /// The labels of an exemplar are longer than OpenMetrics allows.
    ExemplarTooLong,
    /// The storage keeps no exemplars.
    ExemplarsOff,
    /// Metadata without a metric's name, or not UTF-8.
    InvalidMetadata,
    /// The store does not take the metadata, for want of room.
    MetadataRefused,
    /// The store does not take the series.
    SeriesRefused,
}

impl Reason {
    /// All reasons, in the order of their declaration.
    pub const ALL: [Self; 19] = [
        Self::ConflictingValue,
        Self::TooOld,
        Self::TooFarAhead,
        Self::MissingMetricName,
        Self::DuplicateLabel,
        Self::EmptyLabelName,
        Self::InvalidUtf8,
        Self::LabelNameTooLong,
        Self::LabelValueTooLong,
        Self::TooManyLabels,
        Self::BadReference,
        Self::NoSamples,
        Self::InvalidHistogram,
        Self::HistogramTooLarge,
        Self::ExemplarTooLong,
        Self::ExemplarsOff,
        Self::InvalidMetadata,
        Self::MetadataRefused,
        Self::SeriesRefused,
    ];

    /// The value of the label `reason`, and of the field in the list of refusals.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ConflictingValue => "conflicting_value",
            Self::TooOld => "too_old",
            Self::TooFarAhead => "too_far_ahead",
            Self::MissingMetricName => "missing_metric_name",
            Self::DuplicateLabel => "duplicate_label",
            Self::EmptyLabelName => "empty_label_name",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::LabelNameTooLong => "label_name_too_long",
            Self::LabelValueTooLong => "label_value_too_long",
            Self::TooManyLabels => "too_many_labels",
            Self::BadReference => "bad_reference",
            Self::NoSamples => "no_samples",
            Self::InvalidHistogram => "invalid_histogram",
            Self::HistogramTooLarge => "histogram_too_large",
            Self::ExemplarTooLong => "exemplar_labels_too_long",
            Self::ExemplarsOff => "exemplars_off",
            Self::InvalidMetadata => "invalid_metadata",
            Self::MetadataRefused => "metadata_refused",
            Self::SeriesRefused => "series_refused",
        }
    }

    /// One sentence for the sender, without a full stop.
    #[must_use]
    pub fn explanation(self) -> &'static str {
        match self {
            Self::ConflictingValue => "duplicate sample for timestamp: another value is stored already",
            Self::TooOld => "out of bounds: older than everything that may still be written",
            Self::TooFarAhead => "out of bounds: too far ahead of the receiver's clock",
            Self::MissingMetricName => "the series has no metric name",
            Self::DuplicateLabel => "a label name is not unique",
            Self::EmptyLabelName => "a label has a value and no name",
            Self::InvalidUtf8 => "a label is not valid UTF-8",
            Self::LabelNameTooLong => "a label name is too long",
            Self::LabelValueTooLong => "a label value is too long",
            Self::TooManyLabels => "the series has too many labels",
            Self::BadReference => "a label or metadata refers to a symbol that the request does not have",
            Self::NoSamples => "the series has neither samples nor histograms",
            Self::InvalidHistogram => "the native histogram is not valid",
            Self::HistogramTooLarge => "the native histogram has more than 4096 buckets and bounds",
            Self::ExemplarTooLong => "the labels of the exemplar have more than 128 characters",
            Self::ExemplarsOff => "the receiver is configured to keep no exemplars",
            Self::InvalidMetadata => "metadata has no metric name or is not valid UTF-8",
            Self::MetadataRefused => "the storage has no room for more metadata",
            Self::SeriesRefused => "the storage does not take the series",
        }
    }
}

impl From<Rejection> for Reason {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::ConflictingValue => Self::ConflictingValue,
            Rejection::TooOld => Self::TooOld,
            // Does not happen to batches with a pin.
            Rejection::SeriesGone => Self::SeriesRefused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_listed_once_and_at_its_place() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{reason:?}");
        }
    }
}
