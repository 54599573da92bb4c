//! A set of series, each evaluated when somebody asks for it.
//!
//! Every operator that works series by series wraps the vector it works on, so that nothing is held but the row being
//! computed; operators that need all series at once (joins, ranks) hold what they must in a [`Table`]. Any thread may
//! evaluate any series in any order, but each only once: evaluating leaves remarks and counts samples.
//! Invariant: no two series of a vector have equal labels; what may break it is settled (`names.rs`) before it is seen.

use super::exec::{Exec, Worker};
use super::mapped::Rows;
use super::row::{HistogramColumn, Row, words_for};
use crate::budget::Charge;
use crate::query_error::QueryError;
use crate::source::PREFETCH_SERIES;
use hashbrown::HashMap;
use model::histogram::Histogram;
use model::labels::Labels;
use std::ops::Range;
use std::sync::Arc;

/// Series by index.
pub(crate) trait SeriesVector: Send + Sync {
    /// How many series there are; some may turn out to have no value.
    fn len(&self) -> usize;

    /// The labels of one series.
    fn labels(&self, index: usize) -> Labels;

    /// The labels of one series restricted to `names`, which are sorted.
    fn labels_among(&self, index: usize, names: &[&str]) -> Labels {
        self.labels(index).filter(|name| names.binary_search(&name).is_ok())
    }

    /// Appends to `into` numbers that stand for the labels of some series restricted to `names`, which are sorted, and
    /// returns whether it did: see [`crate::source::SeriesSet::label_numbers`].
    fn label_numbers(&self, _indices: Range<usize>, _names: &[&str], _into: &mut Vec<u32>) -> bool {
        false
    }

    /// Tells that these series, [`crate::source::PREFETCH_SERIES`] at most, are evaluated next.
    fn prefetch(&self, _indices: &[usize]) {}

    /// Whether the metric's name is to be removed at the end of the query.
    fn drops_name(&self, _index: usize) -> bool {
        false
    }

    /// Whether all series are known to have the same name, type and unit, so that removing them makes no two equal.
    fn has_one_name(&self) -> bool {
        false
    }

    /// Whether a series may turn out to have native histograms.
    fn may_have_histograms(&self, index: usize) -> bool;

    /// Evaluates one series over all steps.
    fn row(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError>;
}

/// A vector whose parts live as long as the query.
pub(crate) type Vector<'q> = Arc<dyn SeriesVector + 'q>;

/// Tells a vector which series are evaluated next.
pub(crate) fn announce(vector: &dyn SeriesVector, series: impl Iterator<Item = usize>) {
    let mut indices = [0; PREFETCH_SERIES];
    let mut count = 0;
    for (index, series) in indices.iter_mut().zip(series) {
        *index = series;
        count += 1;
    }
    vector.prefetch(indices.get(..count).unwrap_or_default());
}

/// The same indices, each told to the vector before it is returned.
pub(crate) fn announced<'a>(
    vector: &'a dyn SeriesVector,
    indices: impl Iterator<Item = usize> + Clone + 'a,
) -> impl Iterator<Item = usize> + 'a {
    let mut ahead = indices.clone();
    indices.enumerate().map(move |(count, index)| {
        if count.is_multiple_of(PREFETCH_SERIES) {
            announce(vector, ahead.by_ref());
        }
        index
    })
}

/// The metric's name of one series.
pub(crate) fn metric_name(vector: &dyn SeriesVector, index: usize) -> Option<String> {
    vector.labels_among(index, &[model::labels::METRIC_NAME]).metric_name().map(str::to_owned)
}

/// No series.
pub(crate) struct Nothing;

impl SeriesVector for Nothing {
    fn len(&self) -> usize {
        0
    }

    fn labels(&self, _index: usize) -> Labels {
        Labels::empty()
    }

    fn has_one_name(&self) -> bool {
        true
    }

    fn may_have_histograms(&self, _index: usize) -> bool {
        false
    }

    fn row(&self, _index: usize, _worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        out.reset(0);
        Ok(())
    }
}

/// A vector evaluated at one step, repeated over many.
pub(crate) struct Repeated<'q> {
    pub(crate) once: Vector<'q>,
    pub(crate) steps: usize,
}

impl Rows for Repeated<'_> {
    fn inner(&self) -> &dyn SeriesVector {
        self.once.as_ref()
    }

    fn evaluate(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        self.once.row(index, worker, out)?;
        out.repeat_first(self.steps);
        Ok(())
    }
}

/// Evaluated series. Rows lie one after the other in blocks, each made by one task.
pub(crate) struct Table<'q> {
    steps: usize,
    /// Index of each block's first series.
    starts: Vec<usize>,
    blocks: Vec<Block<'q>>,
    len: usize,
}

/// Some consecutive series of a table.
struct Block<'q> {
    labels: Vec<Labels>,
    drops_name: Vec<bool>,
    values: Vec<f64>,
    present: Vec<u64>,
    /// Of the series that have any, by position.
    histograms: HashMap<usize, HistogramColumn>,
    charge: Charge<'q>,
}

impl<'q> Block<'q> {
    fn empty(exec: &Exec<'q>) -> Self {
        Self {
            labels: Vec::new(),
            drops_name: Vec::new(),
            values: Vec::new(),
            present: Vec::new(),
            histograms: HashMap::new(),
            charge: Charge::none(exec.budget),
        }
    }

    fn push(&mut self, labels: Labels, drops_name: bool, row: &Row) -> Result<(), QueryError> {
        let (samples, bytes) = row.held();
        self.charge.add(samples, bytes + labels.held_bytes())?;
        if row.has_histograms() {
            self.histograms.insert(self.labels.len(), row.histogram_column().to_vec());
        }
        self.labels.push(labels);
        self.drops_name.push(drops_name);
        self.values.extend_from_slice(row.values());
        self.present.extend_from_slice(row.present());
        Ok(())
    }
}

impl<'q> Table<'q> {
    /// Evaluates all series of `vector`; those without any value are left out unless `keep_empty`.
    pub(crate) fn evaluate(
        vector: &dyn SeriesVector,
        steps: usize,
        keep_empty: bool,
        exec: &Exec<'q>,
    ) -> Result<Self, QueryError> {
        let blocks = exec.map_rows(vector.len(), steps, |range, worker| {
            let mut block = Block::empty(exec);
            let mut row = worker.take_row();
            for index in announced(vector, range) {
                vector.row(index, worker, &mut row)?;
                if keep_empty || !row.is_empty() {
                    block.push(vector.labels(index), vector.drops_name(index), &row)?;
                }
            }
            worker.give_row(row);
            Ok(block)
        })?;
        Ok(Self::from_blocks(steps, blocks))
    }

    /// Holds rows that exist already; those without any value are left out.
    pub(crate) fn from_rows(
        steps: usize,
        rows: impl IntoIterator<Item = (Labels, bool, Row)>,
        exec: &Exec<'q>,
    ) -> Result<Self, QueryError> {
        let mut builder = Self::builder(steps, exec);
        for (labels, drops_name, row) in rows {
            builder.push(labels, drops_name, &row)?;
        }
        Ok(builder.finish())
    }

    /// A table to be filled row by row.
    pub(crate) fn builder(steps: usize, exec: &Exec<'q>) -> TableBuilder<'q> {
        TableBuilder { steps, block: Block::empty(exec) }
    }

    fn from_blocks(steps: usize, blocks: Vec<Block<'q>>) -> Self {
        let mut starts = Vec::with_capacity(blocks.len());
        let mut len = 0;
        for block in &blocks {
            starts.push(len);
            len += block.labels.len();
        }
        Self { steps, starts, blocks, len }
    }

    fn find(&self, index: usize) -> (&Block<'q>, usize) {
        let block = self.starts.partition_point(|start| *start <= index) - 1;
        (&self.blocks[block], index - self.starts[block])
    }

    /// Values and bits of one series.
    pub(crate) fn columns(&self, index: usize) -> (&[f64], &[u64]) {
        let (block, at) = self.find(index);
        let words = words_for(self.steps);
        (&block.values[at * self.steps..][..self.steps], &block.present[at * words..][..words])
    }

    /// The histograms of one series: none, or an entry per step.
    pub(crate) fn histograms(&self, index: usize) -> &[Option<Arc<Histogram>>] {
        let (block, at) = self.find(index);
        if block.histograms.is_empty() { &[] } else { block.histograms.get(&at).map_or(&[], Vec::as_slice) }
    }

    /// The labels of one series.
    pub(crate) fn labels_ref(&self, index: usize) -> &Labels {
        let (block, at) = self.find(index);
        &block.labels[at]
    }
}

/// A table being filled; what it holds is charged as it comes.
pub(crate) struct TableBuilder<'q> {
    steps: usize,
    block: Block<'q>,
}

impl<'q> TableBuilder<'q> {
    /// Adds a series, unless it has no value.
    pub(crate) fn push(&mut self, labels: Labels, drops_name: bool, row: &Row) -> Result<(), QueryError> {
        if row.is_empty() { Ok(()) } else { self.block.push(labels, drops_name, row) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.block.labels.is_empty()
    }

    pub(crate) fn finish(self) -> Table<'q> {
        Table::from_blocks(self.steps, vec![self.block])
    }
}

impl SeriesVector for Table<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn labels(&self, index: usize) -> Labels {
        self.labels_ref(index).clone()
    }

    fn drops_name(&self, index: usize) -> bool {
        let (block, at) = self.find(index);
        block.drops_name[at]
    }

    fn may_have_histograms(&self, index: usize) -> bool {
        !self.histograms(index).is_empty()
    }

    fn row(&self, index: usize, _worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        let (values, present) = self.columns(index);
        out.copy_from(values, present, self.histograms(index));
        Ok(())
    }
}
