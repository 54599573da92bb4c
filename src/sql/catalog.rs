//! Which names are tables: in schema `metrics` those of metrics, in `public` (which nobody has to write) the tables that are
//! not metrics and, behind them, the metrics again.
//!
//! A metric is looked up when a statement names it. Only a statement that lists tables makes us list metrics, up to a limit.

use super::scope::Scope;
use super::tables::{MetricTable, Provider, SYSTEM_TABLES, bucket_tables, system_table};
use crate::query::store::LookupRequest;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::TableType;
use model::labels::METRIC_NAME;
use model::matcher::Matcher;
use std::sync::Arc;

/// The catalogue's name.
pub(super) const CATALOG: &str = "hearth";

/// The schema of names that are written without one.
pub(super) const PUBLIC: &str = "public";

/// The schema of metrics.
const METRICS: &str = "metrics";

/// Metrics that are listed.
pub(super) const LISTED_METRICS_MAX: usize = 1_000;

/// Columns of a metric's table.
const LABELS_MAX: usize = 1_000;

/// The one catalogue.
#[derive(Debug, Clone)]
pub(super) struct Catalog {
    scope: Arc<Scope>,
}

impl Catalog {
    pub(super) fn new(scope: &Arc<Scope>) -> Self {
        Self { scope: Arc::clone(scope) }
    }
}

impl CatalogProviderList for Catalog {
    fn register_catalog(&self, _name: String, _catalog: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(self.clone()) as Arc<dyn CatalogProvider>)
    }
}

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        vec![PUBLIC.to_owned(), METRICS.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let with_system_tables = name == PUBLIC;
        let scope = Arc::clone(&self.scope);
        let known = with_system_tables || name == METRICS;
        known.then(|| Arc::new(Tables { scope, with_system_tables }) as Arc<dyn SchemaProvider>)
    }
}

/// The tables of a schema.
#[derive(Debug)]
struct Tables {
    scope: Arc<Scope>,
    with_system_tables: bool,
}

#[async_trait::async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        match self.with_system_tables {
            true => SYSTEM_TABLES.map(str::to_owned).into_iter().chain(bucket_tables(&self.scope)).collect(),
            false => self.scope.metric_names.get().cloned().unwrap_or_default(),
        }
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match system_table(name, &self.scope).filter(|_| self.with_system_tables) {
            Some(table) => Ok(Some(table)),
            None => metric_table(&self.scope, name).await,
        }
    }

    async fn table_type(&self, _name: &str) -> Result<Option<TableType>> {
        Ok(Some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        // Asked only for statements that make tables.
        self.table_names().iter().any(|known| known == name)
    }
}

/// The table of a metric, if there are series of it.
async fn metric_table(scope: &Arc<Scope>, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
    let matchers = vec![Matcher::equal(METRIC_NAME, name)];
    let labels = scope.run(move |_, scope| Ok(label_names(scope, &matchers)?)).await?;
    let table = (!labels.is_empty()).then(|| MetricTable::new(name, &labels, scope.include_stale));
    Ok(table.map(|table| Provider::over(table, scope)))
}

/// The labels of the series that satisfy `matchers`, whenever.
pub(super) fn label_names(scope: &Scope, matchers: &[Matcher]) -> Result<Vec<String>, promql::source::SourceError> {
    let request = LookupRequest { matchers, after_ms: i64::MIN, until_ms: i64::MAX, limit: LABELS_MAX };
    Ok(scope.sources.store.label_names(&request)?.items)
}

/// Lists the metrics for a statement that lists tables.
pub(super) async fn list_metrics(scope: &Arc<Scope>) -> Result<()> {
    let names = scope
        .run(|_, scope| {
            let request =
                LookupRequest { matchers: &[], after_ms: i64::MIN, until_ms: i64::MAX, limit: LISTED_METRICS_MAX };
            Ok(scope.sources.store.label_values(METRIC_NAME, &request)?.items)
        })
        .await?;
    // Set once per statement.
    let _ = scope.metric_names.set(names);
    Ok(())
}
