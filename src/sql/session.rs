//! The session of one statement: our catalogue, DataFusion's functions, no files, no stores, no disk.

use super::catalog::{CATALOG, Catalog, PUBLIC};
use super::failure::query_failure;
use super::functions::{self, Literals};
use super::guard::GuardRule;
use super::memory::BudgetPool;
use super::promql_function::PromqlFunction;
use super::runs::RunsRule;
use super::scope::Scope;
use super::watch::{self, WatchedRelations};
use crate::query::error::QueryFailure;
use datafusion::catalog::TableFunction;
use datafusion::common::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SessionState, SessionStateBuilder, SessionStateDefaults};
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::object_store::ObjectStore;
use datafusion::prelude::SessionConfig;
use std::sync::Arc;
use url::Url;

/// A session over the tables of `scope`, which splits work into `partitions` parts.
pub(super) fn open(scope: &Arc<Scope>, partitions: usize) -> Result<SessionState, QueryFailure> {
    let budget = scope.pieces.budget();
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(BudgetPool::new(Arc::clone(budget))))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .with_object_store_registry(Arc::new(NoStores))
        .build_arc()
        .map_err(|error| query_failure(&error))?;
    let mut rules = watch::physical_rules(budget);
    rules.push(Arc::new(RunsRule));
    rules.push(Arc::new(GuardRule::new(Arc::clone(budget))));
    let promql = TableFunction::new("promql".into(), Arc::new(PromqlFunction::new(scope)));
    let mut tables = SessionStateDefaults::default_table_functions();
    tables.push(Arc::new(promql));
    let functions = functions::scalar_functions();
    let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(Literals::over(&functions))];
    planners.extend(SessionStateDefaults::default_expr_planners());
    let mut state = SessionStateBuilder::new()
        .with_config(config(partitions))
        .with_runtime_env(runtime)
        .with_catalog_list(Arc::new(Catalog::new(scope)))
        .with_expr_planners(planners)
        .with_scalar_functions(functions)
        .with_higher_order_functions(SessionStateDefaults::default_higher_order_functions())
        .with_aggregate_functions(SessionStateDefaults::default_aggregate_functions())
        .with_window_functions(SessionStateDefaults::default_window_functions())
        .with_table_function_list(tables)
        .with_relation_planners(vec![Arc::new(WatchedRelations::new(budget))])
        .with_analyzer_rules(watch::analyzer_rules(budget))
        .with_optimizer_rules(watch::optimizer_rules(budget))
        .with_physical_optimizer_rules(rules)
        .build();
    state.mark_start_execution();
    Ok(state)
}

fn config(partitions: usize) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_information_schema(true)
        .with_default_catalog_and_schema(CATALOG, PUBLIC)
        .with_create_default_catalog_and_schema(false)
        .with_target_partitions(partitions);
    let options: &mut ConfigOptions = config.options_mut();
    // Names of metrics and labels are told apart by case.
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.collect_spans = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.time_zone = Some("UTC".into());
    // A recursion ends when it likes.
    options.execution.enable_recursive_ctes = false;
    // Rows come sorted by series and time.
    options.optimizer.prefer_existing_sort = true;
    // Scans take no conditions that are found while others run; these double in each projection that they are moved through.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    options.optimizer.enable_topk_dynamic_filter_pushdown = false;
    options.optimizer.enable_join_dynamic_filter_pushdown = false;
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    // There is no disk to spill to, so nothing is kept for it.
    options.execution.sort_spill_reservation_bytes = 0;
    config
}

/// There are no object stores, not even the file system.
#[derive(Debug)]
struct NoStores;

impl ObjectStoreRegistry for NoStores {
    fn register_store(&self, _url: &Url, _store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        Err(DataFusionError::Plan(format!("{url} is out of reach: a statement reads the tables of the catalogue only")))
    }
}
