//! The leaf of every plan that reads our tables: batches made on the CPU pool, a portion of about a millisecond at a time.
//!
//! A table says what is read ([`ScanSource`]); this file knows how it becomes a stream: limits, budget, counters.

use super::batch::batch;
use super::failure::external_query;
use super::memory::HeldBytes;
use super::scope::Scope;
use crate::query::error::QueryFailure;
use crate::query::executor::LocalQueries;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::stream;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// Rows after which a portion ends: about a millisecond of work.
pub(super) const PORTION_ROWS: usize = 64 << 10;

/// What a scan reads.
pub(super) trait ScanSource: Send + Sync + 'static {
    /// How many parts can be read beside each other; at least one.
    fn partitions(&self) -> usize;

    /// Begins to read one part.
    fn open(&self, partition: usize) -> Box<dyn Portions>;

    /// What is read, for `EXPLAIN`.
    fn describe(&self) -> String;
}

/// One part that is being read.
pub(super) trait Portions: Send {
    /// Reads about `rows_max` rows, or fewer when they take long; returns whether any may be left.
    ///
    /// # Errors
    /// Storage failed, or the query is to stop.
    fn next(&mut self, local: &LocalQueries<'_>, rows_max: usize, out: &mut Output) -> Result<bool, QueryFailure>;
}

/// Where batches go.
pub(super) struct Output {
    pub(super) schema: SchemaRef,
    batches: VecDeque<RecordBatch>,
    rows: usize,
    counts: Counts,
}

/// What was read, for `EXPLAIN ANALYZE`.
#[derive(Clone)]
struct Counts {
    series: Count,
    samples: Count,
}

impl Output {
    /// Adds a batch.
    pub(super) fn push(
        &mut self,
        columns: Vec<datafusion::arrow::array::ArrayRef>,
        rows: usize,
    ) -> Result<(), QueryFailure> {
        if rows > 0 {
            let batch = batch(&self.schema, columns, rows).map_err(|error| super::failure::query_failure(&error))?;
            self.rows += rows;
            self.batches.push_back(batch);
        }
        Ok(())
    }

    /// Rows of this portion.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Counts what was read.
    pub(super) fn count(&self, series: usize, samples: usize) {
        self.counts.series.add(series);
        self.counts.samples.add(samples);
    }
}

/// The leaf.
#[derive(Clone)]
pub(super) struct StoreScan {
    scope: Arc<Scope>,
    source: Arc<dyn ScanSource>,
    properties: Arc<PlanProperties>,
    limit: Option<usize>,
    metrics: ExecutionPlanMetricsSet,
}

impl StoreScan {
    /// Reads `source` as batches of `schema`, each partition sorted by each of `orderings` (columns of the schema, ascending,
    /// NULL last), and no more than `limit` rows of each.
    pub(super) fn new(
        scope: Arc<Scope>,
        source: Arc<dyn ScanSource>,
        schema: SchemaRef,
        orderings: &[Vec<usize>],
        limit: Option<usize>,
    ) -> Self {
        let by = |column: &usize| {
            let expr: Arc<dyn PhysicalExpr> = Arc::new(Column::new(schema.field(*column).name(), *column));
            PhysicalSortExpr::new(expr, SortOptions { descending: false, nulls_first: false })
        };
        let orderings = orderings.iter().filter(|ordering| !ordering.is_empty());
        let orderings = orderings.map(|ordering| ordering.iter().map(by).collect::<Vec<_>>());
        let equivalence = EquivalenceProperties::new_with_orderings(Arc::clone(&schema), orderings);
        let partitioning = Partitioning::UnknownPartitioning(source.partitions().max(1));
        let properties =
            PlanProperties::new(equivalence, partitioning, EmissionType::Incremental, Boundedness::Bounded);
        Self { scope, source, properties: Arc::new(properties), limit, metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl fmt::Debug for StoreScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreScan").field("source", &self.source.describe()).finish_non_exhaustive()
    }
}

impl DisplayAs for StoreScan {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.schema();
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        if kind == DisplayFormatType::TreeRender {
            return write!(f, "{}", self.source.describe());
        }
        write!(f, "StoreScan: {}, columns=[{}]", self.source.describe(), columns.join(", "))?;
        match self.limit {
            Some(limit) => write!(f, ", limit={limit}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for StoreScan {
    fn name(&self) -> &str {
        "StoreScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let count = |name: &'static str| MetricBuilder::new(&self.metrics).counter(name, partition);
        let reader = Reader {
            scope: Arc::clone(&self.scope),
            schema: self.schema(),
            portions: Some(self.source.open(partition)),
            ready: VecDeque::new(),
            held: None,
            rows_left: self.limit.unwrap_or(usize::MAX),
            baseline: BaselineMetrics::new(&self.metrics, partition),
            counts: Counts { series: count("series"), samples: count("samples") },
        };
        let batches = stream::try_unfold(reader, |mut reader| async move {
            let batch = reader.next().await?;
            Ok::<_, DataFusionError>(batch.map(|batch| (batch, reader)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(Self { limit, ..self.clone() }))
    }

    fn fetch(&self) -> Option<usize> {
        self.limit
    }
}

/// One partition on its way.
struct Reader {
    scope: Arc<Scope>,
    schema: SchemaRef,
    /// `None` when nothing is left.
    portions: Option<Box<dyn Portions>>,
    ready: VecDeque<RecordBatch>,
    /// The memory of `ready`.
    held: Option<HeldBytes>,
    rows_left: usize,
    baseline: BaselineMetrics,
    counts: Counts,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(self.hand_out(batch));
            }
            self.held = None;
            match self.portions.take() {
                Some(portions) if self.rows_left > 0 => self.read(portions).await?,
                _ => return Ok(None),
            }
        }
    }

    fn hand_out(&mut self, batch: RecordBatch) -> Option<RecordBatch> {
        let rows = batch.num_rows().min(self.rows_left);
        self.rows_left -= rows;
        self.baseline.record_output(rows);
        // Cut off by the limit.
        (rows > 0).then(|| if rows < batch.num_rows() { batch.slice(0, rows) } else { batch })
    }

    async fn read(&mut self, mut portions: Box<dyn Portions>) -> Result<()> {
        let rows_max = self.rows_left.min(PORTION_ROWS);
        let schema = Arc::clone(&self.schema);
        let mut out = Output { schema, batches: VecDeque::new(), rows: 0, counts: self.counts.clone() };
        let timer = self.baseline.elapsed_compute().clone();
        let (more, out, portions) = self
            .scope
            .run(move |local, _| {
                let _timer = timer.timer();
                local.budget().check()?;
                let more = portions.next(local, rows_max, &mut out)?;
                Ok((more, out, portions))
            })
            .await?;
        self.ready = out.batches;
        let bytes = self.ready.iter().map(RecordBatch::get_array_memory_size).sum();
        self.held = Some(HeldBytes::hold(self.scope.pieces.budget(), bytes).map_err(external_query)?);
        self.portions = more.then_some(portions);
        Ok(())
    }
}

/// A source of one part that is read as a whole: what a closure returns.
pub(super) struct Whole<F> {
    read: F,
    text: String,
}

impl<F> Whole<F>
where
    F: Fn(&LocalQueries<'_>, &mut Output) -> Result<(), QueryFailure> + Clone + Send + Sync + 'static,
{
    /// Calls `read` when the scan is executed.
    pub(super) fn new(text: impl Into<String>, read: F) -> Self {
        Self { read, text: text.into() }
    }
}

impl<F> ScanSource for Whole<F>
where
    F: Fn(&LocalQueries<'_>, &mut Output) -> Result<(), QueryFailure> + Clone + Send + Sync + 'static,
{
    fn partitions(&self) -> usize {
        1
    }

    fn open(&self, _partition: usize) -> Box<dyn Portions> {
        Box::new(WholePortions(self.read.clone()))
    }

    fn describe(&self) -> String {
        self.text.clone()
    }
}

struct WholePortions<F>(F);

impl<F> Portions for WholePortions<F>
where
    F: Fn(&LocalQueries<'_>, &mut Output) -> Result<(), QueryFailure> + Send,
{
    fn next(&mut self, local: &LocalQueries<'_>, _rows_max: usize, out: &mut Output) -> Result<bool, QueryFailure> {
        (self.0)(local, out)?;
        Ok(false)
    }
}
