//! Reads the native histograms of selected series a portion at a time, for the tables that show them and their buckets.
//!
//! A series is read whole and shown in batches; what was read is charged until the next one is.

use super::selected::{Needed, SelectedSeries};
use super::{Scan, ScanRequest};
use crate::query::error::QueryFailure;
use crate::query::executor::LocalQueries;
use crate::sql::batch::BATCH_ROWS;
use crate::sql::memory::HeldBytes;
use crate::sql::scan::{Output, Portions, ScanSource};
use crate::sql::scope::Scope;
use datafusion::arrow::array::ArrayRef;
use model::histogram::{Histogram, HistogramColumns};
use model::labels::Labels;
use promql::budget::Budget;
use std::ops::Range;
use std::sync::Arc;

/// The first columns of these tables.
pub(super) const TIME: usize = 0;
pub(super) const METRIC: usize = 1;
pub(super) const LABELS: usize = 2;
pub(super) const FINGERPRINT: usize = 3;

/// How a table shows histograms.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    /// Whether stale ones, which mark the end of a series, are shown.
    pub(super) include_stale: bool,
    /// How many rows of a batch a histogram stands for, at least one.
    pub(super) weight: fn(&Histogram) -> usize,
    pub(super) show: Show,
}

/// Makes columns, by their place in the table, of histograms of one series, and says how many rows these are.
pub(super) type Show = fn(&[usize], &Labels, &[(i64, &Histogram)]) -> (Vec<ArrayRef>, usize);

/// Finds out what is to be read.
pub(super) fn open(
    rows: Rows,
    request: ScanRequest,
    local: &LocalQueries<'_>,
    scope: &Scope,
) -> Result<Scan, QueryFailure> {
    let ScanRequest { selector, columns, partitions } = request;
    let needed = Needed { fingerprint: columns.contains(&FINGERPRINT), ..Needed::default() };
    let selected = SelectedSeries::select(&selector, &needed, local, scope)?;
    let orderings = vec![ordering(&columns)];
    let source = HistogramScan {
        partitions: partitions.min(selected.order.len()).max(1),
        selected: Arc::new(selected),
        columns: columns.into(),
        rows,
        budget: Arc::clone(scope.pieces.budget()),
    };
    Ok(Scan { source: Arc::new(source), orderings })
}

/// By fingerprint and time, as far as these are shown: series come by fingerprint only when it is.
fn ordering(columns: &[usize]) -> Vec<usize> {
    let place = |wanted: usize| columns.iter().position(|column| *column == wanted);
    place(FINGERPRINT).into_iter().flat_map(|fingerprint| [Some(fingerprint), place(TIME)]).flatten().collect()
}

#[derive(Clone)]
struct HistogramScan {
    selected: Arc<SelectedSeries>,
    columns: Arc<[usize]>,
    partitions: usize,
    rows: Rows,
    budget: Arc<Budget>,
}

impl ScanSource for HistogramScan {
    fn partitions(&self) -> usize {
        self.partitions
    }

    fn open(&self, partition: usize) -> Box<dyn Portions> {
        Box::new(HistogramPortions {
            places: self.selected.part(partition, self.partitions),
            scan: self.clone(),
            labels: Labels::empty(),
            series: HistogramColumns::default(),
            shown: 0,
            held: None,
        })
    }

    fn describe(&self) -> String {
        self.selected.describe()
    }
}

/// One part of the series on its way.
struct HistogramPortions {
    scan: HistogramScan,
    /// Series not read yet.
    places: Range<usize>,
    /// The series being shown, how many of its samples have been, and their memory.
    labels: Labels,
    series: HistogramColumns,
    shown: usize,
    held: Option<HeldBytes>,
}

impl Portions for HistogramPortions {
    fn next(&mut self, local: &LocalQueries<'_>, rows_max: usize, out: &mut Output) -> Result<bool, QueryFailure> {
        let mut weight = 0;
        while out.rows() < rows_max && weight < BATCH_ROWS {
            local.budget().check()?;
            if self.shown == self.series.len() {
                let Some(place) = self.places.next() else { return Ok(false) };
                self.read(place, out)?;
            }
            weight += self.show(BATCH_ROWS - weight, out)?;
        }
        Ok(true)
    }
}

impl HistogramPortions {
    /// Reads a series; of most there are no histograms.
    fn read(&mut self, place: usize, out: &Output) -> Result<(), QueryFailure> {
        self.series.clear();
        (self.held, self.shown) = (None, 0);
        let selected = &self.scan.selected;
        let index = selected.index(place);
        if !selected.set.may_have_histograms(index) {
            return Ok(());
        }
        selected.set.read_histograms(index, selected.after_ms, selected.until_ms, &mut self.series)?;
        out.count(1, self.series.len());
        let bytes = self.series.histograms.iter().map(|histogram| bytes(histogram)).sum();
        self.held = Some(HeldBytes::hold(&self.scan.budget, bytes)?);
        if !self.series.is_empty() {
            self.labels = selected.labels_at(place);
        }
        Ok(())
    }

    /// Shows the next samples, a batch of about `weight_max`; returns what they weigh.
    fn show(&mut self, weight_max: usize, out: &mut Output) -> Result<usize, QueryFailure> {
        let Rows { include_stale, weight: weight_of, show } = self.scan.rows;
        let (mut rows, mut weight) = (Vec::new(), 0);
        let samples = self.series.timestamps_ms.iter().zip(&self.series.histograms);
        for (at_ms, histogram) in samples.skip(self.shown) {
            if weight >= weight_max {
                break;
            }
            self.shown += 1;
            if include_stale || !histogram.is_stale() {
                rows.push((*at_ms, &**histogram));
                weight += weight_of(histogram);
            }
        }
        if !rows.is_empty() {
            let (columns, count) = show(&self.scan.columns, &self.labels, &rows);
            out.push(columns, count)?;
        }
        Ok(weight)
    }
}

/// Memory of a histogram.
fn bytes(histogram: &Histogram) -> usize {
    let Histogram { positive_spans, negative_spans, positive_buckets, negative_buckets, .. } = histogram;
    let spans = size_of_val(&**positive_spans) + size_of_val(&**negative_spans);
    size_of::<Histogram>() + spans + size_of_val(&**positive_buckets) + size_of_val(&**negative_buckets)
}
