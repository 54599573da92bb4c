//! The table function `promql('expression', start, end, step)`: the result of a PromQL query as a table.
//!
//! With one argument the expression is evaluated now, with two at that time. A column per label is there when the labels of
//! the result can be told from the expression and the names of labels in store; the map of labels always is. The result is
//! computed when the scan is executed, from the budget of the statement.
mod arguments;
mod labels;
mod rows;

use super::batch::{label_type, labels_type, time_type};
use super::pushdown::Role;
use super::scan::{Output, Portions, ScanSource};
use super::scope::Scope;
use super::tables::{Provider, Scan, ScanRequest, Table, label_column_names};
use crate::query::error::QueryFailure;
use crate::query::executor::LocalQueries;
use crate::query::request::Window;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::error::{DataFusionError, Result};
use promql::ast::{Expr, ValueType};
use promql::parse::parse;
use rows::Rows;
use std::sync::Arc;

pub(super) use labels::{expressions, prepare};

/// The function of one statement.
#[derive(Debug)]
pub(super) struct PromqlFunction {
    scope: Arc<Scope>,
}

impl PromqlFunction {
    pub(super) fn new(scope: &Arc<Scope>) -> Self {
        Self { scope: Arc::clone(scope) }
    }
}

impl TableFunctionImpl for PromqlFunction {
    fn call_with_args(&self, call: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let (text, window) = arguments::read(call.exprs(), self.scope.now_ms)?;
        let refused = |reason: String| DataFusionError::Plan(format!("promql: {reason}"));
        let expr = parse(&text, &self.scope.parse).map_err(|error| refused(error.to_string()))?;
        let plottable = matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector);
        let instant = matches!(window, Window::Instant(_));
        match expr.value_type() {
            ValueType::String => return Err(refused("a text is no table".into())),
            ValueType::Matrix if !instant => {
                return Err(refused("an expression with a range can be evaluated at one time only".into()));
            }
            _ => debug_assert!(plottable || instant),
        }
        let known = self.scope.promql_labels.get().and_then(|labels| labels.get(&text));
        Ok(Provider::over(PromqlTable::new(text, expr, window, known.map_or(&[], Vec::as_slice)), &self.scope))
    }
}

/// What a column shows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shown {
    Time,
    Metric,
    Value,
    Label(String),
    Labels,
    Histogram,
}

/// The result of an expression.
#[derive(Debug, Clone)]
struct PromqlTable {
    text: Arc<str>,
    expr: Arc<Expr>,
    window: Window,
    columns: Arc<[Shown]>,
    schema: SchemaRef,
}

impl PromqlTable {
    fn new(text: String, expr: Expr, window: Window, labels: &[String]) -> Self {
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let names = label_column_names(&labels, &["time", "metric", "value", "labels", "histogram"]);
        let mut columns = vec![Shown::Time, Shown::Metric, Shown::Value];
        let mut fields = vec![
            Field::new("time", time_type(), false),
            Field::new("metric", label_type(), true),
            Field::new("value", DataType::Float64, true),
        ];
        for (label, name) in labels.iter().zip(names) {
            columns.push(Shown::Label((*label).to_owned()));
            fields.push(Field::new(name, label_type(), true));
        }
        columns.extend([Shown::Labels, Shown::Histogram]);
        fields.push(Field::new("labels", labels_type(), false));
        fields.push(Field::new("histogram", DataType::Utf8, true));
        let schema = Arc::new(Schema::new(fields));
        Self { text: text.into(), expr: Arc::new(expr), window, columns: columns.into(), schema }
    }
}

impl Table for PromqlTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn role(&self, _column: &str) -> Role {
        Role::Other
    }

    fn selects(&self) -> bool {
        false
    }

    fn open(&self, request: ScanRequest, _local: &LocalQueries<'_>, _scope: &Scope) -> Result<Scan, QueryFailure> {
        let columns = request.columns.iter().filter_map(|column| self.columns.get(*column).cloned()).collect();
        Ok(Scan::new(PromqlScan { table: self.clone(), columns }))
    }
}

struct PromqlScan {
    table: PromqlTable,
    columns: Arc<[Shown]>,
}

impl ScanSource for PromqlScan {
    fn partitions(&self) -> usize {
        1
    }

    fn open(&self, _partition: usize) -> Box<dyn Portions> {
        let (expr, window) = (Arc::clone(&self.table.expr), self.table.window);
        Box::new(PromqlPortions { expr, window, columns: Arc::clone(&self.columns), rows: None })
    }

    fn describe(&self) -> String {
        let time = |ms: i64| jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.to_string());
        let when = match self.table.window {
            Window::Instant(at_ms) => time(at_ms),
            Window::Range { start_ms, end_ms, step_ms } => {
                let step = model::time::format_duration(step_ms);
                format!("[{}, {}] step {step}", time(start_ms), time(end_ms))
            }
        };
        format!("promql({}), time={when}", self.table.text)
    }
}

struct PromqlPortions {
    expr: Arc<Expr>,
    window: Window,
    columns: Arc<[Shown]>,
    /// `None` until the expression has been evaluated.
    rows: Option<Rows>,
}

impl Portions for PromqlPortions {
    fn next(&mut self, local: &LocalQueries<'_>, rows_max: usize, out: &mut Output) -> Result<bool, QueryFailure> {
        let rows = match &mut self.rows {
            Some(rows) => rows,
            None => {
                let result = local.over(&self.expr, self.window)?;
                out.count(result.stats.series, usize::try_from(result.stats.samples_total).unwrap_or(usize::MAX));
                self.rows.insert(Rows::new(result.value))
            }
        };
        while out.rows() < rows_max {
            local.budget().check()?;
            let batch = rows.next_batch();
            if batch.rows == 0 {
                return Ok(false);
            }
            out.push(self.columns.iter().map(|column| batch.column(column)).collect(), batch.rows)?;
        }
        Ok(true)
    }
}
