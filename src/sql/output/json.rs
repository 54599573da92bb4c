//! `{"status":"success","data":{"columns":[{"name":…,"type":…}],"rows":[[…],…]}}`, row by row.

use super::cell::push_json;
use super::type_name;
use crate::http::json::text::push_string;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::error::Result;

/// The rows written so far.
#[derive(Debug, Default)]
pub(in crate::sql) struct JsonRows {
    begun: bool,
}

pub(super) fn begin(schema: &Schema, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"status\":\"success\",\"data\":{\"columns\":[");
    for (i, field) in schema.fields().iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"name\":");
        push_string(out, field.name());
        out.extend_from_slice(b",\"type\":");
        push_string(out, &type_name(field.data_type()));
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"rows\":[");
}

pub(super) fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"]}}");
}

impl JsonRows {
    pub(super) fn write(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        for row in 0..batch.num_rows() {
            out.extend_from_slice(if std::mem::replace(&mut self.begun, true) { b",[" } else { b"[" });
            for (i, column) in batch.columns().iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                push_json(out, column, row)?;
            }
            out.push(b']');
        }
        Ok(())
    }
}
