//! What this process writes itself: results of rules and its own metrics. Labels are valid and canonical by their type;
//! native histograms are checked like those of remote write, because arithmetic makes some that are none.

use super::Ingest;
use super::appender::AppendError;
use super::ledger::Refusal;
use super::others::storable;
use super::reason::Reason;
use crate::wire::canonical;
use model::histogram::Histogram;
use model::histogram::validate::{Candidate, InvalidHistogram, Populations};
use model::labels::Labels;
use model::metadata::Metadata;
use promql::value::SampleValue;
use std::time::{SystemTime, UNIX_EPOCH};
use storage::append::{Batch, HistogramRow, LabelHash, Rejection};

/// A sample of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnSample {
    /// Which series.
    pub labels: Labels,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Any float, or a native histogram.
    pub value: SampleValue,
}

/// What became of own samples.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OwnOutcome {
    /// Samples that are stored and durable.
    pub written: u64,
    /// Those that are not, in their order.
    pub refused: Vec<OwnRefusal>,
}

/// Why one sample was not stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OwnRefusal {
    /// Which of the samples.
    pub index: usize,
    /// Why.
    pub reason: Reason,
    /// What is wrong with a native histogram that is none.
    pub detail: Option<InvalidHistogram>,
}

/// Rows for the store, and for each the sample that it is.
#[derive(Default)]
struct OwnBatch {
    batch: Batch,
    float_origin: Vec<usize>,
    histogram_origin: Vec<usize>,
    refused: Vec<OwnRefusal>,
}

impl Ingest {
    /// Stores samples together and returns once they are durable and visible.
    ///
    /// # Errors
    /// A series cannot be created, or the store takes nothing now. Nothing of `samples` is then known to be stored.
    pub async fn write_own(&self, samples: &[OwnSample]) -> Result<OwnOutcome, AppendError> {
        let OwnBatch { batch, float_origin, histogram_origin, mut refused } = self.own_batch(samples)?;
        let outcome = self.inner.append(batch).await?;
        self.inner.metrics.count_written(&outcome);
        refused.extend(rejections(&outcome.rejected, &float_origin));
        refused.extend(rejections(&outcome.histograms_rejected, &histogram_origin));
        refused.sort_unstable_by_key(|refusal| refusal.index);
        self.note_refusals(samples, &refused);
        Ok(OwnOutcome { written: outcome.written + outcome.histograms_written, refused })
    }

    /// Finds or creates the series of what can be stored.
    fn own_batch(&self, samples: &[OwnSample]) -> Result<OwnBatch, AppendError> {
        let store = self.inner.route.store()?;
        let pin = store.pin();
        let mut scratch = Vec::new();
        let hashes: Vec<LabelHash> = samples.iter().map(|own| LabelHash::of_pairs(&own.labels, &mut scratch)).collect();
        let mut found = vec![None; hashes.len()];
        store.lookup(&hashes, &mut found);
        let mut own = OwnBatch { batch: Batch { pin, ..Batch::default() }, ..OwnBatch::default() };
        for (index, ((sample, hash), found)) in samples.iter().zip(hashes).zip(found).enumerate() {
            let OwnSample { labels, timestamp_ms, value } = sample;
            let series = || match found {
                Some(series) => Ok(series),
                None => store.create(hash, &labels.iter().collect::<Vec<_>>()),
            };
            match value {
                SampleValue::Float(value) => {
                    own.batch.rows.push(series()?, *timestamp_ms, *value);
                    own.float_origin.push(index);
                }
                SampleValue::Histogram(histogram) => match storable(candidate(histogram)) {
                    Ok(histogram) => {
                        let (series, timestamp_ms) = (series()?, *timestamp_ms);
                        own.batch.histograms.push(HistogramRow { series, timestamp_ms, start_ms: 0, histogram });
                        own.histogram_origin.push(index);
                    }
                    Err((reason, detail)) => own.refused.push(OwnRefusal { index, reason, detail }),
                },
            }
        }
        Ok(own)
    }

    /// Counts refusals and enters them into the ledger.
    fn note_refusals(&self, samples: &[OwnSample], refused: &[OwnRefusal]) {
        let refused_at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let mut labels = Vec::new();
        for OwnRefusal { index, reason, detail } in refused {
            self.inner.metrics.count_refused(*reason, 1);
            let Some(own) = samples.get(*index) else { continue };
            labels.clear();
            for (name, value) in &own.labels {
                canonical::push_label(&mut labels, name.as_bytes(), value.as_bytes());
            }
            let value = match own.value {
                SampleValue::Float(value) => Some(value),
                SampleValue::Histogram(_) => None,
            };
            self.inner.ledger.record([Refusal {
                refused_at_ms,
                tenant: self.inner.tenant.clone(),
                encoded_labels: Box::from(Refusal::kept_part(&labels)),
                timestamp_ms: Some(own.timestamp_ms),
                value,
                count: 1,
                reason: *reason,
                detail: *detail,
            }]);
        }
    }

    /// Tells the store what is known about metrics, by name, and returns once it is durable. What it has no room for is
    /// counted.
    ///
    /// # Errors
    /// The store takes nothing now.
    pub async fn write_own_metadata(&self, entries: Vec<(String, Metadata)>) -> Result<(), AppendError> {
        let refused = self.inner.put_metadata(entries, &[]).await?;
        self.inner.metrics.count_refused(Reason::MetadataRefused, refused);
        Ok(())
    }
}

/// Refused rows as refused samples.
fn rejections(rejected: &[(u32, Rejection)], origin: &[usize]) -> impl Iterator<Item = OwnRefusal> {
    let refusal = |(row, why): &(u32, Rejection)| {
        Some(OwnRefusal { index: *origin.get(*row as usize)?, reason: Reason::from(*why), detail: None })
    };
    rejected.iter().filter_map(refusal)
}

/// A histogram as if somebody had sent it.
fn candidate(histogram: &Histogram) -> Candidate {
    Candidate {
        counter_reset_hint: histogram.counter_reset_hint,
        schema: histogram.schema.into(),
        zero_threshold: histogram.zero_threshold,
        sum: histogram.sum,
        positive_spans: histogram.positive_spans.clone(),
        negative_spans: histogram.negative_spans.clone(),
        custom_values: histogram.custom_values.to_vec(),
        populations: Populations::Floats {
            count: histogram.count,
            zero_count: histogram.zero_count,
            positive: histogram.positive_buckets.clone(),
            negative: histogram.negative_buckets.clone(),
        },
    }
}
