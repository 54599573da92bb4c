//! Classic histograms as native ones with custom buckets: what `load_with_nhcb` adds.

use model::histogram::{CUSTOM_BUCKETS_SCHEMA, Histogram, Span};
use model::labels::{Labels, METRIC_NAME};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Native histograms and their times.
type Samples = Vec<(i64, Arc<Histogram>)>;

/// The parts of classic histograms, by the labels of the whole and by time.
#[derive(Debug, Default)]
pub(crate) struct ClassicHistograms {
    parts: BTreeMap<Labels, BTreeMap<i64, Parts>>,
}

#[derive(Debug, Default)]
struct Parts {
    /// Bounds, ascending, and observations up to each.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

impl ClassicHistograms {
    /// Adds a series if it is part of a classic histogram.
    pub(crate) fn add(&mut self, labels: &Labels, samples: &[(i64, f64)]) {
        let Some(name) = labels.metric_name() else { return };
        let part = ["_bucket", "_count", "_sum"].into_iter().find_map(|part| Some((part, name.strip_suffix(part)?)));
        let Some((part, base)) = part else { return };
        let bound = labels.get("le").and_then(|le| le.parse::<f64>().ok()).filter(|bound| !bound.is_nan());
        if part == "_bucket" && bound.is_none() {
            return;
        }
        let whole = self.parts.entry(labels.filter(|label| label != "le").with(METRIC_NAME, base)).or_default();
        for (time, value) in samples {
            let parts = whole.entry(*time).or_default();
            match (part, bound) {
                ("_bucket", Some(bound)) => {
                    let at = parts.buckets.partition_point(|(known, _)| *known < bound);
                    if parts.buckets.get(at).is_none_or(|(known, _)| *known != bound) {
                        parts.buckets.insert(at, (bound, *value));
                    }
                }
                ("_count", _) => parts.count = Some(*value),
                _ => parts.sum = *value,
            }
        }
    }

    /// The native histograms.
    pub(crate) fn convert(self) -> Result<Vec<(Labels, Samples)>, String> {
        let mut all = Vec::new();
        for (labels, by_time) in self.parts {
            let mut histograms = Vec::new();
            for (time, parts) in by_time {
                histograms.push((time, Arc::new(parts.convert()?)));
            }
            all.push((labels, histograms));
        }
        Ok(all)
    }
}

impl Parts {
    fn convert(mut self) -> Result<Histogram, String> {
        let count = self.count.or(self.buckets.last().map(|(_, count)| *count)).unwrap_or(0.0);
        if self.buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut below = 0.0;
        let mut populations = Vec::with_capacity(self.buckets.len());
        for (bound, up_to) in &self.buckets {
            if *up_to < below {
                return Err(format!("the bucket up to {bound} has {up_to} observations, the one before {below}"));
            }
            populations.push(up_to - below);
            below = *up_to;
        }
        if below != count || count < 0.0 {
            return Err(format!("{count} observations, but {below} in the buckets"));
        }
        let bounds = self.buckets.iter().map(|(bound, _)| *bound).filter(|bound| *bound != f64::INFINITY);
        let mut histogram = Histogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum,
            positive_spans: vec![Span { offset: 0, length: populations.len() as u32 }],
            positive_buckets: populations,
            custom_values: bounds.collect(),
            ..Histogram::default()
        };
        histogram.compact();
        Ok(histogram)
    }
}
