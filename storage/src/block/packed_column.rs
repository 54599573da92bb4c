//! A column of integers of one row group, encoded by [`packed`](super::packed) page by page.

use super::packed::{Form, Integers};
use super::table::Layout;
use crate::wal::cursor::push_varint;
use arrow::array::{Array, Int64Array};
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

/// The aligned form is larger once it is decompressed: it has to save more than one part in so many.
const WORTH_PART: usize = 50;
/// Runs of equal levels that are shorter are packed bit by bit.
const LEVELS_SHORT: usize = 16;

/// The pages of a column so far, and the page in progress.
pub(crate) struct PackedColumn {
    column: ColumnDescPtr,
    layout: Layout,
    zstd: zstd::bulk::Compressor<'static>,
    pages: TrackedWrite<Vec<u8>>,
    index: OffsetIndexBuilder,
    page_count: usize,
    /// Sum over pages, headers included.
    uncompressed_bytes: usize,
    rows: usize,
    nulls: usize,
    bounds: Option<(i64, i64)>,
    integers: Integers,
    /// Whether rows of the page have a value, run by run.
    presence: Vec<(bool, usize)>,
    page_rows: usize,
    scratch: [Vec<u8>; 2],
}

impl PackedColumn {
    /// A column without rows.
    ///
    /// # Errors
    /// The compression does not know its level.
    pub(crate) fn new(column: ColumnDescPtr, layout: Layout) -> Result<Self> {
        Ok(Self {
            column,
            layout,
            zstd: zstd::bulk::Compressor::new(layout.zstd_level).map_err(external)?,
            pages: TrackedWrite::new(Vec::new()),
            index: OffsetIndexBuilder::new(),
            page_count: 0,
            uncompressed_bytes: 0,
            rows: 0,
            nulls: 0,
            bounds: None,
            integers: Integers::default(),
            presence: Vec::new(),
            page_rows: 0,
            scratch: Default::default(),
        })
    }

    /// Appends rows.
    ///
    /// # Errors
    /// A page cannot be compressed.
    pub(crate) fn write(&mut self, rows: &Int64Array) -> Result<()> {
        let Some(nulls) = rows.nulls().filter(|nulls| nulls.null_count() > 0) else {
            return self.push_values(rows.values());
        };
        let mut at = 0;
        for (from, to) in nulls.valid_slices() {
            self.push_nulls(from - at)?;
            self.push_values(rows.values().get(from..to).unwrap_or_default())?;
            at = to;
        }
        self.push_nulls(rows.len() - at)
    }

    fn push_values(&mut self, mut values: &[i64]) -> Result<()> {
        while !values.is_empty() {
            let count = values.len().min(self.integers.missing()).min(self.layout.page_rows - self.page_rows);
            let (these, rest) = values.split_at(count.max(1));
            let (low, high) = self.bounds.unwrap_or((i64::MAX, i64::MIN));
            self.bounds = Some(these.iter().fold((low, high), |(low, high), n| (low.min(*n), high.max(*n))));
            self.integers.extend(these);
            self.push_presence(true, these.len());
            values = rest;
            if self.integers.bytes() >= self.layout.page_bytes || self.page_rows >= self.layout.page_rows {
                self.end_page()?;
            }
        }
        Ok(())
    }

    fn push_nulls(&mut self, mut count: usize) -> Result<()> {
        while count > 0 {
            let now = count.min(self.layout.page_rows - self.page_rows).max(1);
            self.push_presence(false, now);
            count -= now;
            if self.page_rows >= self.layout.page_rows {
                self.end_page()?;
            }
        }
        Ok(())
    }

    fn push_presence(&mut self, present: bool, count: usize) {
        self.page_rows += count;
        match self.presence.last_mut() {
            Some((same, run)) if *same == present => *run += count,
            _ => self.presence.push((present, count)),
        }
    }

    fn end_page(&mut self) -> Result<()> {
        let (rows, values) = (self.page_rows, self.integers.len());
        let mut body = Vec::new();
        if self.column.max_def_level() > 0 {
            encode_presence(&self.presence, &mut body);
        }
        let levels_bytes = body.len();
        self.integers.finish();
        let (values_bytes, is_compressed) = self.append_values(&mut body)?;
        let page = Page::DataPageV2 {
            buf: body.into(),
            num_values: rows as u32,
            encoding: Encoding::DELTA_BINARY_PACKED,
            num_nulls: (rows - values) as u32,
            num_rows: rows as u32,
            def_levels_byte_len: levels_bytes as u32,
            rep_levels_byte_len: 0,
            is_compressed,
            statistics: None,
        };
        let page = CompressedPage::new(page, levels_bytes + values_bytes);
        let place = SerializedPageWriter::new(&mut self.pages).write_page(page)?;
        self.index.append_row_count(rows as i64);
        self.index.append_offset_and_size(place.offset as i64, place.compressed_size as i32);
        self.page_count += 1;
        self.uncompressed_bytes += place.uncompressed_size;
        self.rows += rows;
        self.nulls += rows - values;
        self.integers = Integers::default();
        self.presence.clear();
        self.page_rows = 0;
        Ok(())
    }

    /// Appends the values of the page in the form that is smaller. Returns their length before compression and whether they
    /// are compressed.
    fn append_values(&mut self, out: &mut Vec<u8>) -> Result<(usize, bool)> {
        let [encoded, other] = &mut self.scratch;
        self.integers.encode(Form::Tight, encoded);
        let mut stored = self.zstd.compress(encoded).map_err(external)?;
        if self.integers.has_small() {
            self.integers.encode(Form::Aligned, other);
            let aligned = self.zstd.compress(other).map_err(external)?;
            let tight = stored.len().min(encoded.len());
            if aligned.len() + tight / WORTH_PART < tight {
                (stored, *encoded) = (aligned, std::mem::take(other));
            }
        }
        let is_compressed = stored.len() < encoded.len();
        out.extend_from_slice(if is_compressed { &stored } else { encoded });
        Ok((encoded.len(), is_compressed))
    }

    /// The column's bytes and what the file says of them.
    ///
    /// # Errors
    /// The last page cannot be compressed.
    pub(crate) fn close(mut self) -> Result<(Bytes, ColumnCloseResult)> {
        if self.page_rows > 0 {
            self.end_page()?;
        }
        let bytes = self.pages.into_inner()?;
        let (low, high) = self.bounds.unzip();
        let encoding = Encoding::DELTA_BINARY_PACKED;
        let pages = PageEncodingStats { page_type: PageType::DATA_PAGE_V2, encoding, count: self.page_count as i32 };
        let metadata = ColumnChunkMetaData::builder(self.column)
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(self.layout.zstd_level)?))
            .set_encodings(vec![encoding, Encoding::RLE])
            .set_page_encoding_stats(vec![pages])
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(self.uncompressed_bytes as i64)
            .set_num_values(self.rows as i64)
            .set_data_page_offset(0)
            .set_statistics(Statistics::int64(low, high, None, Some(self.nulls as u64), false))
            .build()?;
        let closed = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.rows as u64,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(self.index.build()),
        };
        Ok((bytes.into(), closed))
    }
}

fn external(error: std::io::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// Definition levels of one bit: runs of equal ones, the rest packed.
fn encode_presence(runs: &[(bool, usize)], out: &mut Vec<u8>) {
    let (mut packed, mut filled) = (Vec::new(), 0_usize);
    for &(present, mut count) in runs {
        let fill = |packed: &mut Vec<u8>, filled: &mut usize, count: usize| {
            for _ in 0..count {
                if filled.is_multiple_of(8) {
                    packed.push(0);
                }
                if let Some(byte) = packed.last_mut() {
                    *byte |= u8::from(present) << (*filled % 8);
                }
                *filled += 1;
            }
        };
        let completing = (filled.next_multiple_of(8) - filled).min(count);
        fill(&mut packed, &mut filled, completing);
        count -= completing;
        if count >= LEVELS_SHORT {
            push_packed(&mut packed, &mut filled, out);
            push_varint(out, (count as u64) << 1);
            out.push(u8::from(present));
        } else {
            fill(&mut packed, &mut filled, count);
        }
    }
    push_packed(&mut packed, &mut filled, out);
}

fn push_packed(packed: &mut Vec<u8>, filled: &mut usize, out: &mut Vec<u8>) {
    if !packed.is_empty() {
        push_varint(out, (packed.len() as u64) << 1 | 1);
        out.append(packed);
    }
    *filled = 0;
}

#[cfg(test)]
mod tests;
