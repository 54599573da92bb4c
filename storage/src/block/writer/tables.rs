//! Files of one kind, one behind the other.

use super::super::error::BlockError;
use super::super::schema;
use super::super::table::{Kind, Layout, Table};
use super::batch;
use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use std::path::{Path, PathBuf};

/// The first file is made when there is a row for it.
pub(super) struct Tables {
    dir: PathBuf,
    first: &'static str,
    kind: Kind,
    schema: SchemaRef,
    layout: Layout,
    tables: Vec<Table>,
    rows: u64,
}

impl Tables {
    pub(super) fn new(dir: &Path, first: &'static str, kind: Kind, schema: SchemaRef, layout: Layout) -> Self {
        Self { dir: dir.to_owned(), first, kind, schema, layout, tables: Vec::new(), rows: 0 }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows of all files.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether the row group should end before `coming` rows of one series, `pending` ones being about to be written.
    pub(super) fn is_full(&self, pending: usize, coming: usize) -> bool {
        let rows = self.tables.last().map_or(0, Table::group_rows) + pending;
        rows > 0 && rows + coming > self.layout.row_group_rows
    }

    /// Ends the row group, and the file if that is long enough.
    pub(super) fn end_row_group(&mut self) -> Result<(), BlockError> {
        let Some(table) = self.tables.last_mut() else { return Ok(()) };
        table.end_row_group()?;
        if table.bytes() >= self.layout.file_bytes_max {
            self.begin_file()?;
        }
        Ok(())
    }

    fn begin_file(&mut self) -> Result<(), BlockError> {
        let name = schema::nth_file(self.first, self.tables.len());
        self.tables.push(Table::create(&self.dir, name, &self.schema, &self.layout, self.kind)?);
        Ok(())
    }

    pub(super) fn write(&mut self, columns: Vec<ArrayRef>) -> Result<(), BlockError> {
        if self.tables.is_empty() {
            self.begin_file()?;
        }
        let batch = batch(&self.schema, columns);
        self.rows += batch.num_rows() as u64;
        self.tables.last_mut().map_or(Ok(()), |table| table.write(&batch))
    }

    /// The files, those without rows only if they are `required`.
    pub(super) fn finish(mut self, required: bool) -> Result<Vec<Table>, BlockError> {
        if self.tables.is_empty() && required {
            self.begin_file()?;
        }
        Ok(self.tables)
    }
}
