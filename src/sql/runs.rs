//! Groups rows by labels and times run by run: rows of one series follow each other, so neighbours mostly are of one group.
//!
//! Stands for the first stage of an aggregation, which would look up the texts of every row. Here texts are looked at once per
//! dictionary, rows are compared with the row before, and only where a run ends a group is looked up. Groups leave in the order in
//! which they came, so that what is declared about order stays true.

mod keys;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, stream};
use keys::GroupKeys;
use std::fmt;
use std::sync::Arc;

/// Rows of a batch of groups.
const BATCH_ROWS: usize = 8192;

/// Puts a [`RunAggregate`] in the place of first stages that it can stand for.
#[derive(Debug)]
pub(super) struct RunsRule;

impl PhysicalOptimizerRule for RunsRule {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let replace = |node: Arc<dyn ExecutionPlan>| {
            Ok(match node.downcast_ref::<AggregateExec>().and_then(RunAggregate::of) {
                Some(runs) => Transformed::yes(Arc::new(runs) as Arc<dyn ExecutionPlan>),
                None => Transformed::no(node),
            })
        };
        plan.transform_up(replace).data()
    }

    fn name(&self) -> &str {
        "runs"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// See the head of the file.
#[derive(Debug, Clone)]
struct RunAggregate {
    input: Arc<dyn ExecutionPlan>,
    groups: Vec<Arc<dyn PhysicalExpr>>,
    aggregates: Vec<Arc<AggregateFunctionExpr>>,
    /// Of the stage that this stands for.
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl RunAggregate {
    /// The same stage; `None` when it is another one, or groups by what this does not know.
    fn of(stage: &AggregateExec) -> Option<Self> {
        let group_by = stage.group_expr();
        let is_plain = *stage.mode() == AggregateMode::Partial
            && group_by.is_single()
            && !group_by.is_empty()
            && group_by.expr().len() <= keys::COLUMNS_MAX
            && stage.limit_options().is_none()
            && stage.filter_expr().iter().all(Option::is_none);
        let aggregates = stage.aggr_expr();
        let are_known = aggregates.iter().all(|of| of.groups_accumulator_supported() && of.order_bys().is_empty());
        let groups: Vec<_> = group_by.expr().iter().map(|(expr, _)| Arc::clone(expr)).collect();
        let schema = stage.schema();
        let are_keys = schema.fields().iter().take(groups.len()).all(|field| keys::is_known(field.data_type()));
        (is_plain && are_known && are_keys && keys::has_text(&schema, groups.len())).then(|| Self {
            input: Arc::clone(stage.input()),
            groups,
            aggregates: aggregates.to_vec(),
            properties: Arc::clone(stage.properties()),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

impl DisplayAs for RunAggregate {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<String> = self.groups.iter().map(ToString::to_string).collect();
        let aggregates: Vec<&str> = self.aggregates.iter().map(|of| of.name()).collect();
        write!(f, "RunAggregate: gby=[{}], aggr=[{}]", groups.join(", "), aggregates.join(", "))
    }
}

impl ExecutionPlan for RunAggregate {
    fn name(&self) -> &str {
        "RunAggregate"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let mut next = TreeNodeRecursion::Continue;
        for group in &self.groups {
            next = next.visit_sibling(|| visit(group))?;
        }
        Ok(next)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.pop()) {
            (Some(input), None) => Ok(Arc::new(Self { input, ..Self::clone(&self) })),
            _ => Err(DataFusionError::Internal("an aggregation has one input".into())),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let accumulators: Result<_> = self.aggregates.iter().map(|of| of.create_groups_accumulator()).collect();
        let groups = Groups {
            keys: GroupKeys::new(&self.schema(), self.groups.len()),
            groups: self.groups.clone(),
            arguments: self.aggregates.iter().map(|of| of.expressions()).collect(),
            accumulators: accumulators?,
            group_of: Vec::new(),
            reservation: MemoryConsumer::new("RunAggregate").register(context.memory_pool()),
        };
        let (schema, baseline) = (self.schema(), BaselineMetrics::new(&self.metrics, partition));
        let of = Arc::clone(&schema);
        let batches = stream::once(async move { groups.take_all(input, &of, &baseline).await });
        let batches = batches.flat_map(|batches| match batches {
            Ok(batches) => stream::iter(batches.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The groups of one partition.
struct Groups {
    keys: GroupKeys,
    groups: Vec<Arc<dyn PhysicalExpr>>,
    /// Of each aggregation.
    arguments: Vec<Vec<Arc<dyn PhysicalExpr>>>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// The group of each row of a batch.
    group_of: Vec<usize>,
    reservation: MemoryReservation,
}

impl Groups {
    /// Reads the input to its end; returns all groups with the states of their aggregations.
    async fn take_all(
        mut self,
        mut input: SendableRecordBatchStream,
        schema: &SchemaRef,
        baseline: &BaselineMetrics,
    ) -> Result<Vec<RecordBatch>> {
        while let Some(batch) = input.next().await {
            let batch = batch?;
            let _timer = baseline.elapsed_compute().timer();
            self.take(&batch)?;
            let states: usize = self.accumulators.iter().map(|of| of.size()).sum();
            self.reservation.try_resize(states + self.keys.memory() + self.group_of.capacity() * size_of::<usize>())?;
        }
        let _timer = baseline.elapsed_compute().timer();
        let mut columns: Vec<ArrayRef> = self.keys.columns()?;
        for accumulator in &mut self.accumulators {
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        let whole = RecordBatch::try_new(Arc::clone(schema), columns)?;
        let part = |from: usize| whole.slice(from, BATCH_ROWS.min(whole.num_rows() - from));
        let batches: Vec<RecordBatch> = (0..whole.num_rows()).step_by(BATCH_ROWS).map(part).collect();
        batches.iter().for_each(|batch| baseline.record_output(batch.num_rows()));
        Ok(batches)
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        let evaluate = |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(batch)?.into_array(rows);
        let columns: Vec<ArrayRef> = self.groups.iter().map(evaluate).collect::<Result<_>>()?;
        self.keys.number(&columns, rows, &mut self.group_of)?;
        for (accumulator, arguments) in self.accumulators.iter_mut().zip(&self.arguments) {
            let values: Vec<ArrayRef> = arguments.iter().map(evaluate).collect::<Result<_>>()?;
            accumulator.update_batch(&values, &self.group_of, None, self.keys.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
