//! What calls over range vectors remark on, besides native histograms.

use super::{RangeCall, RangeInput};
use crate::annotation::Severity;
use crate::eval::exec::Exec;
use crate::eval::range::{RangeFunction, WindowInput, starts};
use crate::eval::remarks;
use crate::eval::row::Row;
use crate::eval::scalar::ScalarRow;
use crate::eval::steps::Steps;
use crate::eval::vector::SeriesVector;
use model::labels::METRIC_TYPE;
use std::sync::atomic::{AtomicBool, Ordering};

/// Remarks that a call makes at most once each.
#[derive(Debug, Default)]
pub(crate) struct Remarks {
    /// For `rate` and `increase` of series that share a name: said already, or needless.
    counter_settled: AtomicBool,
    /// That start timestamps have expired was said already; it is the same of all series.
    starts_settled: AtomicBool,
    /// Quantiles out of range, the steps that use them, and whether that was said.
    bad_quantiles: Vec<(f64, Vec<usize>, AtomicBool)>,
}

impl Remarks {
    /// Looks for remarks that follow from the parameters.
    pub(crate) fn prepare(function: RangeFunction, parameters: &[ScalarRow], steps: &Steps) -> Self {
        let mut remarks = Self::default();
        if function == RangeFunction::Quantile
            && let Some(q) = parameters.first()
        {
            for (step, q) in q.values(steps.count).enumerate().filter(|(_, q)| !(0.0..=1.0).contains(q)) {
                match remarks.bad_quantiles.iter_mut().find(|(known, _, _)| known.to_bits() == q.to_bits()) {
                    Some((_, steps, _)) => steps.push(step),
                    None => remarks.bad_quantiles.push((q, vec![step], AtomicBool::new(false))),
                }
            }
        }
        remarks
    }
}

impl RangeCall<'_> {
    /// Says that starts of samples that buckets stand for are not known any more.
    pub(super) fn remark_on_expired_starts(&self, expired_ms: i64, exec: &Exec<'_>) {
        let said = &self.remarks.starts_settled;
        if !said.load(Ordering::Relaxed) && !said.swap(true, Ordering::Relaxed) {
            let message = remarks::expired_starts(expired_ms);
            exec.annotate(Severity::Warning, message, self.range_ordinal, self.argument);
        }
    }

    /// Says when samples claim to count from a time at which the counting before had not ended.
    pub(super) fn remark_on_overlaps(&self, input: &WindowInput<'_>, index: usize, exec: &Exec<'_>) {
        if !self.function.is_counter_rate() {
            return;
        }
        let windows = input.windows.bounds().iter();
        let times = windows.filter(|(low, high)| starts::any_overlap(input, *low as usize, *high as usize)).count();
        if times > 0 {
            let name = self.input.metric_name(index).unwrap_or_default();
            let message = remarks::overlapping_starts(&name);
            exec.with_annotations(|all| all.add_counted(message, self.ordinal, self.argument, times));
        }
    }

    /// What the row of one series gives cause to say.
    pub(super) fn remark(&self, index: usize, exec: &Exec<'_>, out: &Row) {
        if self.function.is_counter_rate() && out.present().iter().any(|word| *word != 0) {
            self.remark_on_counter(index, exec);
        }
        for (q, steps, said) in &self.remarks.bad_quantiles {
            if !said.load(Ordering::Relaxed) && steps.iter().any(|step| out.is_present(*step)) {
                said.store(true, Ordering::Relaxed);
                exec.annotate(Severity::Warning, bad_quantile(*q), self.ordinal, self.argument);
            }
        }
    }

    fn remark_on_counter(&self, index: usize, exec: &Exec<'_>) {
        if self.remarks.counter_settled.load(Ordering::Relaxed) {
            return;
        }
        let typed = exec.settings.type_and_unit_labels;
        if !typed && matches!(&self.input, RangeInput::Stored(selection) if selection.name.is_some()) {
            self.remarks.counter_settled.store(true, Ordering::Relaxed);
        }
        let Some(name) = self.input.metric_name(index) else { return };
        let message = if typed {
            let kind = self.labels_among(index, &[METRIC_TYPE]).get(METRIC_TYPE).unwrap_or_default().to_owned();
            (kind != "counter" && kind != "histogram").then(|| {
                format!(
                    "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", \
                     got {}: {}",
                    model::text::quote(&kind),
                    model::text::quote(&name)
                )
            })
        } else {
            let is_counter = ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix));
            (!is_counter).then(|| {
                format!(
                    "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}",
                    model::text::quote(&name)
                )
            })
        };
        if let Some(message) = message {
            exec.annotate(Severity::Info, message, self.ordinal, self.argument);
        }
    }
}

/// What is said about a quantile out of range.
pub(crate) fn bad_quantile(q: f64) -> String {
    format!("quantile value should be between 0 and 1, got {}", crate::annotation::format_g(q, None))
}
