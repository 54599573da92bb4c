//! What the files of a block consist of.

use super::BlockStore;
use crate::block::meta::{BlockFile, BlockMeta};
use crate::block::read::ReadError;
use crate::store::StoreError;
use parquet::file::metadata::ParquetMetaDataReader;

/// A Parquet file by columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileColumns {
    /// Name within the block's directory.
    pub name: String,
    /// Length.
    pub bytes: u64,
    /// Of all its row groups together.
    pub rows: u64,
    /// How many row groups.
    pub row_groups: usize,
    /// In the order of the file.
    pub columns: Vec<ColumnSize>,
}

/// A column of a Parquet file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSize {
    /// Path of the column.
    pub name: String,
    /// Bytes in the file.
    pub compressed_bytes: u64,
    /// Bytes as encoded.
    pub encoded_bytes: u64,
}

impl BlockStore {
    /// What the Parquet files of a block consist of; reads their footers.
    ///
    /// # Errors
    /// A footer cannot be read.
    pub fn columns(&self, meta: &BlockMeta) -> Result<Vec<FileColumns>, StoreError> {
        let tables = meta.files.iter().filter(|file| file.footer_bytes > 0);
        tables.map(|file| self.columns_of(meta, file)).collect()
    }

    fn columns_of(&self, meta: &BlockMeta, file: &BlockFile) -> Result<FileColumns, StoreError> {
        let key = format!("{}{}", meta.prefix(), file.name);
        let start = file.bytes.saturating_sub(file.footer_bytes);
        let range = start..file.bytes;
        let tail = self.io.wait(self.bucket.get_ranges(&key, &[range]))?.pop().unwrap_or_default();
        let mut reader = ParquetMetaDataReader::new();
        let parsed = reader.try_parse_sized(&tail, file.bytes).and_then(|()| reader.finish());
        let metadata = parsed.map_err(|error| ReadError::unreadable(&key.as_str().into(), error.to_string()))?;
        let mut columns: Vec<ColumnSize> = Vec::new();
        for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
            let name = column.column_path().string();
            let size = match columns.iter_mut().find(|size| size.name == name) {
                Some(size) => size,
                None => {
                    columns.push(ColumnSize { name, compressed_bytes: 0, encoded_bytes: 0 });
                    let Some(size) = columns.last_mut() else { continue };
                    size
                }
            };
            size.compressed_bytes += column.compressed_size().max(0).unsigned_abs();
            size.encoded_bytes += column.uncompressed_size().max(0).unsigned_abs();
        }
        let (name, bytes, rows) = (file.name.clone(), file.bytes, file.rows);
        Ok(FileColumns { name, bytes, rows, row_groups: metadata.num_row_groups(), columns })
    }
}
