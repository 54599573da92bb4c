//! Makes operators that can produce much from little look at the budget, once per batch.
//!
//! Scans look at it themselves; a join of two series of numbers, or a projection that writes long texts, would go on after
//! its query was stopped or had more than it may use.

use super::failure::external_query;
use super::memory::HeldBytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;
use promql::budget::Budget;
use std::fmt;
use std::sync::Arc;

/// Puts a [`Guard`] on such operators.
#[derive(Debug)]
pub(super) struct GuardRule {
    budget: Arc<Budget>,
}

impl GuardRule {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { budget }
    }
}

impl PhysicalOptimizerRule for GuardRule {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let guard = |node: Arc<dyn ExecutionPlan>| {
            if !needs_guard(&*node) {
                return Ok(Transformed::no(node));
            }
            let guard: Arc<dyn ExecutionPlan> = Arc::new(Guard { input: node, budget: Arc::clone(&self.budget) });
            Ok(Transformed::yes(guard))
        };
        plan.transform_up(guard).data()
    }

    fn name(&self) -> &str {
        "guard"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn needs_guard(node: &dyn ExecutionPlan) -> bool {
    let name = node.name();
    let leaf = node.children().is_empty() && name != "StoreScan";
    leaf || name.contains("Join") || matches!(name, "ProjectionExec" | "UnnestExec" | "FilterExec")
}

/// Passes batches on while the budget allows it.
#[derive(Debug)]
struct Guard {
    input: Arc<dyn ExecutionPlan>,
    budget: Arc<Budget>,
}

impl DisplayAs for Guard {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

impl ExecutionPlan for Guard {
    fn name(&self) -> &str {
        "Guard"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.pop()) {
            (Some(input), None) => Ok(Arc::new(Self { input, budget: Arc::clone(&self.budget) })),
            _ => Err(DataFusionError::Internal("a guard has one input".into())),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let budget = Arc::clone(&self.budget);
        let batches = self.input.execute(partition, context)?.map(move |batch| check(&budget, batch?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

fn check(budget: &Arc<Budget>, batch: RecordBatch) -> Result<RecordBatch> {
    budget.check().map_err(external_query)?;
    // Whoever keeps the batch charges it again.
    HeldBytes::hold(budget, batch.get_array_memory_size()).map_err(external_query)?;
    Ok(batch)
}
