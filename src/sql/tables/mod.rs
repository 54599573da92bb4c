//! The tables: what they are made of and how they are read.
//!
//! A [`Table`] says what its columns are to a store and reads what a [`ScanRequest`] selects; [`Provider`] makes it a table of
//! DataFusion's.
mod alerts;
mod buckets;
mod exemplars;
mod hist_buckets;
mod histogram_scan;
mod histograms;
mod listings;
mod samples;
mod selected;
mod series;

use super::failure::{external, external_query};
use super::pushdown::{Role, Selector, condition};
use super::scan::{ScanSource, StoreScan};
use super::scope::Scope;
use crate::query::error::QueryFailure;
use crate::query::executor::LocalQueries;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use model::labels::METRIC_NAME;
use std::fmt;
use std::sync::Arc;

pub(super) use buckets::bucket_tables;
pub(super) use samples::{MetricTable, label_column_names};

/// The names of the tables that are not metrics.
pub(super) const SYSTEM_TABLES: [&str; 8] =
    ["alerts", "blocks", "exemplars", "hist_buckets", "histograms", "metadata", "samples", "series"];

/// The table of that name, unless it is that of a metric.
pub(super) fn system_table(name: &str, scope: &Arc<Scope>) -> Option<Arc<dyn TableProvider>> {
    Some(match name {
        "alerts" => Provider::over(alerts::Alerts, scope),
        "blocks" => Provider::over(listings::Blocks, scope),
        "exemplars" => Provider::over(exemplars::Exemplars, scope),
        "hist_buckets" => Provider::over(hist_buckets::HistogramBuckets, scope),
        "histograms" => Provider::over(histograms::Histograms { include_stale: scope.include_stale }, scope),
        "metadata" => Provider::over(listings::KnownMetadata, scope),
        "samples" => Provider::over(samples::AllSamples { include_stale: scope.include_stale }, scope),
        "series" => Provider::over(series::AllSeries, scope),
        _ => Provider::over(buckets::Buckets::named(name, scope)?, scope),
    })
}

/// A table over the stores.
pub(super) trait Table: fmt::Debug + Clone + Send + Sync + 'static {
    /// All columns.
    fn schema(&self) -> SchemaRef;

    /// What a column is to a store; most tables have these three.
    fn role(&self, column: &str) -> Role {
        match column {
            "time" => Role::Time,
            "metric" => Role::Label(METRIC_NAME.into()),
            "labels" => Role::Labels,
            _ => Role::Other,
        }
    }

    /// Whether the store selects by conditions at all; if not, DataFusion checks all of them.
    fn selects(&self) -> bool {
        true
    }

    /// What every selection begins with, such as the name of a metric.
    fn selector(&self) -> Selector {
        Selector::default()
    }

    /// Whether samples of all selected series are read for some columns, by their place in the table.
    fn reads_samples(&self, _columns: &[usize]) -> bool {
        true
    }

    /// Finds out what is to be read.
    ///
    /// # Errors
    /// Storage failed, or it is more than the query may touch.
    fn open(&self, request: ScanRequest, local: &LocalQueries<'_>, scope: &Scope) -> Result<Scan, QueryFailure>;
}

/// What is asked of a table.
#[derive(Debug, Clone)]
pub(super) struct ScanRequest {
    pub(super) selector: Selector,
    /// The columns, by their place in the table.
    pub(super) columns: Vec<usize>,
    /// How many parts should be read beside each other.
    pub(super) partitions: usize,
}

/// What will be read.
pub(super) struct Scan {
    pub(super) source: Arc<dyn ScanSource>,
    /// Orders of the rows of each part, by columns of the request.
    pub(super) orderings: Vec<Vec<usize>>,
}

impl Scan {
    /// Without an order.
    pub(super) fn new(source: impl ScanSource) -> Self {
        Self { source: Arc::new(source), orderings: Vec::new() }
    }
}

/// A table as DataFusion sees it.
#[derive(Debug)]
pub(super) struct Provider<T> {
    table: T,
    scope: Arc<Scope>,
}

impl<T: Table> Provider<T> {
    /// The table for one statement.
    pub(super) fn over(table: T, scope: &Arc<Scope>) -> Arc<dyn TableProvider> {
        Arc::new(Self { table, scope: Arc::clone(scope) })
    }

    fn selector(&self, filters: &[Expr]) -> Selector {
        let mut selector = self.table.selector();
        let role = |column: &str| self.table.role(column);
        filters.iter().filter_map(|filter| condition(filter, &role)).for_each(|found| selector.narrow(found));
        selector.or_bounds(self.scope.bounds)
    }
}

#[async_trait::async_trait]
impl<T: Table> TableProvider for Provider<T> {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // Tables are planned one after the other.
        self.scope.pieces.budget().check().map_err(external_query)?;
        let schema = self.table.schema();
        let columns = projection.cloned().unwrap_or_else(|| (0..schema.fields().len()).collect());
        let schema: SchemaRef = Arc::new(schema.project(&columns)?);
        let partitions = state.config().target_partitions();
        let selector = self.selector(filters);
        if self.table.selects() && self.table.reads_samples(&columns) {
            let foreseen = selector.foreseen(self.scope.pieces.budget().series_left());
            self.scope.pieces.prepare(vec![foreseen]).await.map_err(external)?;
        }
        let request = ScanRequest { selector, columns, partitions };
        let table = self.table.clone();
        let Scan { source, orderings } = self.scope.run(move |local, scope| table.open(request, local, scope)).await?;
        Ok(Arc::new(StoreScan::new(Arc::clone(&self.scope), source, schema, &orderings, limit)))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let role = |column: &str| self.table.role(column);
        let exact = |filter: &&Expr| match self.table.selects() && condition(filter, &role).is_some() {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(exact).collect())
    }
}
