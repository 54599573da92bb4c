//! Exemplars: single observations behind samples, mostly with a trace.

use super::selected::fingerprint;
use super::{Scan, ScanRequest, Table};
use crate::query::error::QueryFailure;
use crate::query::executor::LocalQueries;
use crate::sql::batch::{label_maps, label_type, labels_type, schema, text_column, time_type, times};
use crate::sql::scan::{Output, Whole};
use crate::sql::scope::Scope;
use datafusion::arrow::array::{ArrayRef, Float64Array, UInt64Array};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use model::exemplar::Exemplar;
use model::labels::Labels;
use std::sync::Arc;

/// All exemplars.
#[derive(Debug, Clone)]
pub(super) struct Exemplars;

const TIME: usize = 0;
const METRIC: usize = 1;
const LABELS: usize = 2;
const FINGERPRINT: usize = 3;
const VALUE: usize = 4;

impl Table for Exemplars {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("time", time_type(), false),
            ("metric", label_type(), true),
            ("labels", labels_type(), false),
            ("fingerprint", DataType::UInt64, false),
            ("value", DataType::Float64, false),
            ("exemplar_labels", labels_type(), false),
        ])
    }

    fn reads_samples(&self, _columns: &[usize]) -> bool {
        false
    }

    fn open(&self, request: ScanRequest, _local: &LocalQueries<'_>, scope: &Scope) -> Result<Scan, QueryFailure> {
        let store = Arc::clone(&scope.sources.store);
        let ScanRequest { selector, columns, .. } = request;
        let read = move |local: &LocalQueries<'_>, out: &mut Output| {
            let from_ms = selector.bounds.start_ms.unwrap_or(i64::MIN);
            let found = store.exemplars(std::slice::from_ref(&selector.matchers), from_ms, selector.until_ms())?;
            local.budget().touch_series(found.len())?;
            for (labels, exemplars) in &found {
                local.budget().check()?;
                out.count(1, exemplars.len());
                out.push(columns_of(&columns, labels, exemplars), exemplars.len())?;
            }
            Ok(())
        };
        Ok(Scan::new(Whole::new("exemplars", read)))
    }
}

fn columns_of(columns: &[usize], labels: &Labels, exemplars: &[Exemplar]) -> Vec<ArrayRef> {
    let column = |column: &usize| -> ArrayRef {
        match *column {
            TIME => times(exemplars.iter().map(|exemplar| exemplar.timestamp_ms).collect()),
            METRIC => text_column(exemplars.iter().map(|_| labels.metric_name())),
            LABELS => label_maps([(labels, exemplars.len())]),
            FINGERPRINT => Arc::new(UInt64Array::from_value(fingerprint(labels), exemplars.len())),
            VALUE => Arc::new(exemplars.iter().map(|exemplar| exemplar.value).collect::<Float64Array>()),
            _ => label_maps(exemplars.iter().map(|exemplar| (&exemplar.labels, 1))),
        }
    };
    columns.iter().map(column).collect()
}
