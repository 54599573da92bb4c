//! What this process writes itself: results of rules and its own metrics. Labels are valid and canonical by their type.

use super::Ingest;
use super::appender::AppendError;
use super::ledger::Refusal;
use super::reason::Reason;
use crate::wire::canonical;
use model::labels::Labels;
use model::metadata::Metadata;
use model::sample::Sample;
use model::tenant::TenantId;
use std::time::{SystemTime, UNIX_EPOCH};
use storage::append::{AppendOutcome, LabelHash, Rows};

/// A sample of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnSample {
    /// Which series.
    pub labels: Labels,
    /// When and what.
    pub sample: Sample,
}

impl Ingest {
    /// Stores samples and returns once they are durable; the indexes of the outcome are those of `samples`.
    ///
    /// # Errors
    /// A series cannot be created, or the store takes nothing now. Nothing of `samples` is then known to be stored.
    pub async fn write_own(&self, samples: &[OwnSample]) -> Result<AppendOutcome, AppendError> {
        let mut rows = Rows::default();
        {
            let store = self.inner.route.store()?;
            let mut scratch = Vec::new();
            let hashes: Vec<LabelHash> =
                samples.iter().map(|own| LabelHash::of_pairs(&own.labels, &mut scratch)).collect();
            let mut found = vec![None; hashes.len()];
            store.lookup(&hashes, &mut found);
            for ((own, hash), found) in samples.iter().zip(hashes).zip(found) {
                let series = match found {
                    Some(series) => series,
                    None => store.create(hash, &own.labels.iter().collect::<Vec<_>>())?,
                };
                rows.push(series, own.sample.timestamp_ms, own.sample.value);
            }
        }
        let outcome = self.inner.append(rows.into()).await?;
        self.inner.metrics.count_written(&outcome);
        let refused_at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        let mut labels = Vec::new();
        for (row, rejection) in &outcome.rejected {
            let reason = Reason::from(*rejection);
            self.inner.metrics.count_refused(reason, 1);
            let Some(own) = samples.get(*row as usize) else { continue };
            labels.clear();
            for (name, value) in &own.labels {
                canonical::push_label(&mut labels, name.as_bytes(), value.as_bytes());
            }
            self.inner.ledger.record([Refusal {
                refused_at_ms,
                tenant: TenantId::anonymous(),
                encoded_labels: Box::from(Refusal::kept_part(&labels)),
                timestamp_ms: Some(own.sample.timestamp_ms),
                value: Some(own.sample.value),
                count: 1,
                reason,
                detail: None,
            }]);
        }
        Ok(outcome)
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
