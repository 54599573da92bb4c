//! Stores what rules produce through the door that everything takes which is written. Returns when the samples are durable
//! and visible, so that the next rule of a group reads them.

use crate::ingest::{Ingest, OwnRefusal, OwnSample, Reason};
use ruler::ports::{AppendPort, Discard, RuleSample};

impl AppendPort for Ingest {
    async fn append(&self, samples: &[RuleSample]) -> Result<Vec<(usize, Discard)>, String> {
        let samples: Vec<OwnSample> = samples.iter().map(own).collect();
        let outcome = self.write_own(&samples).await.map_err(|error| error.to_string())?;
        Ok(outcome.refused.iter().map(|refusal| (refusal.index, discard(refusal))).collect())
    }
}

fn own(RuleSample { labels, at, value }: &RuleSample) -> OwnSample {
    OwnSample { labels: labels.clone(), timestamp_ms: at.0, value: value.clone() }
}

fn discard(refusal: &OwnRefusal) -> Discard {
    match (refusal.reason, &refusal.detail) {
        (Reason::ConflictingValue, _) => Discard::Duplicate,
        (Reason::TooOld, _) => Discard::TooOld,
        (reason, Some(detail)) => Discard::Other(format!("{}: {detail}", reason.explanation())),
        (reason, None) => Discard::Other(reason.explanation().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ring::{NodeId, Ring};
    use crate::ingest::testing::{MemoryStore, cpu};
    use crate::ingest::{AppendError, IngestOptions};
    use model::histogram::Histogram;
    use model::labels::Labels;
    use model::tenant::TenantId;
    use model::time::Timestamp;
    use promql::value::SampleValue;
    use std::sync::Arc;

    fn sample(name: &str, value: f64) -> RuleSample {
        let labels = Labels::from_sorted([("__name__", name)]);
        RuleSample { labels, at: Timestamp(5), value: SampleValue::Float(value) }
    }

    fn histogram(name: &str, count: f64) -> RuleSample {
        let value = SampleValue::Histogram(Arc::new(Histogram { count, ..Histogram::default() }));
        RuleSample { value, ..sample(name, 0.0) }
    }

    fn world() -> (Ingest, Arc<MemoryStore>) {
        let store = Arc::new(MemoryStore::default());
        let local = NodeId::new("local");
        let ring = Arc::new(Ring::of_one(local.clone()));
        (Ingest::new(TenantId::anonymous(), IngestOptions::default(), ring, local, store.clone(), cpu()), store)
    }

    #[tokio::test]
    async fn samples_are_stored_and_refusals_are_told_one_by_one() {
        let (ingest, store) = world();
        assert_eq!(ingest.append(&[sample("a", 1.0), sample("b", 2.0)]).await, Ok(vec![]));
        assert_eq!(store.samples(&[("__name__", "b")]), [(5, 2.0)]);
        let refused = ingest.append(&[sample("a", 1.0), sample("b", 3.0), sample("c", 4.0)]).await;
        assert_eq!(refused, Ok(vec![(1, Discard::Duplicate)]));
        store.fail_appends(Some(AppendError::unavailable("disk full")));
        assert_eq!(ingest.append(&[sample("a", 1.0)]).await, Err("disk full".into()));
    }

    #[tokio::test]
    async fn refused_histograms_are_told_among_the_floats_and_say_what_is_wrong() {
        let (ingest, store) = world();
        let samples = vec![histogram("h", 1.0), histogram("bad", -1.0), sample("h", 1.0), sample("f", 2.0)];
        let refused = ingest.append(&samples).await.expect("the store is there");
        let negative =
            "the native histogram is not valid: a bucket, or the histogram, has a negative number of observations";
        // Floats of a request are stored before its histograms.
        assert_eq!(refused, [(0, Discard::Duplicate), (1, Discard::Other(negative.into()))]);
        assert_eq!(store.samples(&[("__name__", "f")]), [(5, 2.0)]);
    }
}
