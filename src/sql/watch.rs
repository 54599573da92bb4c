//! Looks at the budget between the steps of planning, so that planning ends soon after its query was stopped, and refuses
//! plans that become too large on the way.
//!
//! Every rule of DataFusion's is wrapped. Conditions that are moved below the expressions that they are about take these in,
//! as often as they name them, and so double at each step: what the text does not tell (`expansion.rs`) is counted here.

use super::expansion::TERMS_MAX;
use super::failure::external_query;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::planner::{RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::analyzer::{Analyzer, AnalyzerRule};
use datafusion::optimizer::optimizer::{ApplyOrder, Optimizer, OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_optimizer::{PhysicalOptimizerContext, PhysicalOptimizerRule};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::sqlparser::ast::TableFactor;
use promql::budget::Budget;
use std::fmt;
use std::sync::Arc;

type Analysis = dyn AnalyzerRule + Send + Sync;
type Optimization = dyn OptimizerRule + Send + Sync;
type PhysicalOptimization = dyn PhysicalOptimizerRule + Send + Sync;

/// What a column of one node of a plan takes, and what a term: names, types, and copies of both on the way to the next plan.
const COLUMN_BYTES: u64 = 256;
const TERM_BYTES: u64 = 512;

/// DataFusion's rules, watched.
pub(super) fn analyzer_rules(budget: &Arc<Budget>) -> Vec<Arc<Analysis>> {
    let watched = |rule| Arc::new(Watched { rule, budget: Arc::clone(budget) }) as Arc<Analysis>;
    Analyzer::new().rules.into_iter().map(watched).collect()
}

/// DataFusion's rules, watched.
pub(super) fn optimizer_rules(budget: &Arc<Budget>) -> Vec<Arc<Optimization>> {
    let watched = |rule| Arc::new(Watched { rule, budget: Arc::clone(budget) }) as Arc<Optimization>;
    Optimizer::new().rules.into_iter().map(watched).collect()
}

/// DataFusion's rules, watched.
pub(super) fn physical_rules(budget: &Arc<Budget>) -> Vec<Arc<PhysicalOptimization>> {
    let watched = |rule| Arc::new(Watched { rule, budget: Arc::clone(budget) }) as Arc<PhysicalOptimization>;
    PhysicalOptimizer::new().rules.into_iter().map(watched).collect()
}

/// Columns of one node: rules compare each with all others.
const COLUMNS_MAX: u64 = 20_000;

/// About how many bytes a plan takes while it is optimized.
///
/// # Errors
/// It has too many columns.
pub(super) fn plan_bytes(plan: &LogicalPlan) -> Result<usize> {
    let mut bytes = 0u64;
    plan.apply_with_subqueries(|node| {
        let columns = node.schema().fields().len() as u64;
        if columns > COLUMNS_MAX {
            return Err(too_large(&format!("{columns} columns beside each other, at most {COLUMNS_MAX} can be")));
        }
        bytes = bytes.saturating_add(columns * COLUMN_BYTES).saturating_add(terms(node)? * TERM_BYTES);
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// The terms of one node; counts not far beyond [`TERMS_MAX`].
fn terms(node: &LogicalPlan) -> Result<u64> {
    let mut found = 0;
    node.apply_expressions(|expr| {
        expr.apply(|_| {
            found += 1;
            Ok(if found > TERMS_MAX { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(found)
}

/// How often a condition may name a column of the lowest projection after it was taken through those right below it, at most.
fn growth(plan: &LogicalPlan) -> Result<u64> {
    let LogicalPlan::Filter(filter) = plan else { return Ok(1) };
    let (mut growth, mut below) = (1u64, &*filter.input);
    while let LogicalPlan::Projection(projection) = below {
        let mut most = 1;
        for expr in &projection.expr {
            let mut columns = 0;
            expr.apply(|part| {
                columns += u64::from(matches!(part, Expr::Column(_)));
                Ok(TreeNodeRecursion::Continue)
            })?;
            most = most.max(columns);
        }
        growth = growth.saturating_mul(most);
        below = &projection.input;
    }
    Ok(growth)
}

fn too_large(what: &str) -> DataFusionError {
    DataFusionError::Plan(format!("the statement is too large to be planned: it becomes {what}"))
}

fn check(budget: &Budget) -> Result<()> {
    budget.check().map_err(external_query)
}

/// A rule that runs only while the budget allows it.
struct Watched<R: ?Sized> {
    rule: Arc<R>,
    budget: Arc<Budget>,
}

impl<R: fmt::Debug + ?Sized> fmt::Debug for Watched<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rule.fmt(f)
    }
}

impl AnalyzerRule for Watched<Analysis> {
    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        check(&self.budget)?;
        self.rule.analyze(plan, config)
    }

    fn name(&self) -> &str {
        self.rule.name()
    }
}

impl OptimizerRule for Watched<Optimization> {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        check(&self.budget)?;
        // Takes a condition through all projections below it in one go.
        if self.rule.name() == "eliminate_outer_join" && growth(&plan)? > TERMS_MAX {
            return Ok(Transformed::no(plan));
        }
        let rewritten = self.rule.rewrite(plan, config)?;
        // A condition that is moved down ends at a node below.
        let children = rewritten.data.inputs();
        for node in std::iter::once(&rewritten.data).chain(children).filter(|_| rewritten.transformed) {
            if terms(node)? > TERMS_MAX {
                return Err(too_large(&format!("more than {TERMS_MAX} terms")));
            }
        }
        Ok(rewritten)
    }
}

impl PhysicalOptimizerRule for Watched<PhysicalOptimization> {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        check(&self.budget)?;
        self.rule.optimize(plan, config)
    }

    fn optimize_with_context(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: &dyn PhysicalOptimizerContext,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        check(&self.budget)?;
        self.rule.optimize_with_context(plan, context)
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

/// Looks at the budget wherever a table is read, and plans nothing.
#[derive(Debug)]
pub(super) struct WatchedRelations {
    budget: Arc<Budget>,
}

impl WatchedRelations {
    pub(super) fn new(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget) }
    }
}

impl RelationPlanner for WatchedRelations {
    fn plan_relation(
        &self,
        relation: TableFactor,
        _context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        check(&self.budget)?;
        Ok(RelationPlanning::Original(Box::new(relation)))
    }
}
