//! Columns in memory on their way into a file.

use super::number::{Scale, Stored};
use super::timeline::Rows;
use arrow::array::NullBufferBuilder;
use arrow::array::{
    ArrayRef, Float64Array, Int64Array, MapArray, StringArray, StructArray, TimestampMillisecondArray, UInt32Array,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field};
use model::sample::is_stale_marker;
use std::sync::Arc;

/// The three columns of a number.
#[derive(Debug)]
pub(crate) struct Numbers {
    mantissas: Vec<i64>,
    with_mantissa: NullBufferBuilder,
    divisors: Vec<f64>,
    raws: Vec<f64>,
    with_raw: NullBufferBuilder,
}

/// How values were stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kinds {
    pub(crate) raw: u32,
    pub(crate) stale: u32,
}

impl Numbers {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            mantissas: Vec::with_capacity(capacity),
            with_mantissa: NullBufferBuilder::new(capacity),
            divisors: Vec::with_capacity(capacity),
            raws: Vec::with_capacity(capacity),
            with_raw: NullBufferBuilder::new(capacity),
        }
    }

    /// Appends values that are stored by one scale.
    pub(crate) fn push_all(&mut self, scale: Scale, values: &[f64]) -> Kinds {
        let mut kinds = Kinds::default();
        let as_they_are = !scale.is_of_integers() && !values.iter().any(|value| is_stale_marker(*value));
        let mut rest = values;
        if as_they_are {
            kinds.raw = values.len() as u32;
            self.raws.extend_from_slice(values);
            self.with_raw.append_n_non_nulls(values.len());
            self.with_mantissa.append_n_nulls(values.len());
            self.mantissas.resize(self.raws.len(), 0);
            rest = &[];
        }
        while !rest.is_empty() {
            let exact = scale.push_mantissas(rest, &mut self.mantissas);
            self.with_mantissa.append_n_non_nulls(exact);
            self.with_raw.append_n_nulls(exact);
            let (_, others) = rest.split_at(exact);
            // A few values one by one, then many at once again.
            let (slow, later) = others.split_at(others.len().min(if exact == 0 { 64 } else { 32 }));
            slow.iter().for_each(|value| self.push_slowly(scale, *value, &mut kinds));
            rest = later;
        }
        self.raws.resize(self.mantissas.len(), 0.0);
        self.divisors.resize(self.mantissas.len(), scale.divisor());
        kinds
    }

    fn push_slowly(&mut self, scale: Scale, value: f64, kinds: &mut Kinds) {
        let stored = scale.store(value);
        let mantissa = if let Stored::Mantissa(mantissa) = stored { mantissa } else { 0 };
        self.with_mantissa.append(matches!(stored, Stored::Mantissa(_)));
        self.with_raw.append(stored == Stored::Raw);
        if stored == Stored::Raw {
            self.raws.resize(self.mantissas.len(), 0.0);
            self.raws.push(value);
        }
        self.mantissas.push(mantissa);
        kinds.raw += u32::from(stored == Stored::Raw);
        kinds.stale += u32::from(stored == Stored::Stale);
    }

    /// Mantissa, divisor, raw; empty afterwards.
    pub(crate) fn take(&mut self) -> [ArrayRef; 3] {
        let capacity = self.mantissas.len();
        let Self { mantissas, mut with_mantissa, divisors, raws, mut with_raw } =
            std::mem::replace(self, Self::new(capacity));
        [
            Arc::new(Int64Array::new(ScalarBuffer::from(mantissas), with_mantissa.finish())),
            Arc::new(Float64Array::new(ScalarBuffer::from(divisors), None)),
            Arc::new(Float64Array::new(ScalarBuffer::from(raws), with_raw.finish())),
        ]
    }
}

/// A column of timestamps where zero stands for NULL.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    values: Vec<i64>,
    any: bool,
}

impl Starts {
    /// Appends `count` values, NULL if none are given. Returns whether any is known.
    pub(crate) fn push_all(&mut self, starts_ms: &[i64], count: usize) -> bool {
        let known = starts_ms.iter().any(|start| *start != 0);
        if known {
            self.values.extend_from_slice(starts_ms);
        } else {
            self.values.resize(self.values.len() + count, 0);
        }
        self.any |= known;
        known
    }

    pub(crate) fn take(&mut self) -> ArrayRef {
        let Self { values, any } = std::mem::take(self);
        let mut known = NullBufferBuilder::new(values.len());
        if any {
            values.iter().for_each(|start| known.append(*start != 0));
        } else {
            known.append_n_nulls(values.len());
        }
        Arc::new(timestamps(values, known))
    }
}

/// A column of timestamps in UTC.
pub(crate) fn timestamps(values: Vec<i64>, mut known: NullBufferBuilder) -> TimestampMillisecondArray {
    TimestampMillisecondArray::new(ScalarBuffer::from(values), known.finish()).with_timezone("UTC")
}

/// Appends rows of the timelines file.
pub(crate) fn extend_rows(column: &mut Vec<u32>, rows: Rows<'_>, count: usize) {
    match rows {
        Rows::Consecutive(first) => column.extend(first..first + count as u32),
        Rows::Listed(rows) => column.extend_from_slice(rows),
    }
}

/// Numbers without NULL; empty afterwards.
pub(crate) fn take_u32(column: &mut Vec<u32>) -> ArrayRef {
    let capacity = column.len();
    Arc::new(UInt32Array::from(std::mem::replace(column, Vec::with_capacity(capacity))))
}

/// A column of label sets.
#[derive(Debug)]
pub(crate) struct LabelMaps {
    offsets: Vec<i32>,
    names: Texts,
    values: Texts,
}

impl Default for LabelMaps {
    fn default() -> Self {
        Self { offsets: vec![0], names: Texts::default(), values: Texts::default() }
    }
}

impl LabelMaps {
    pub(crate) fn push<'a>(&mut self, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
        for (name, value) in pairs {
            self.names.push(name);
            self.values.push(value);
        }
        self.offsets.push(self.names.len() as i32);
    }

    /// Bytes of text.
    pub(crate) fn bytes(&self) -> usize {
        self.names.bytes.len() + self.values.bytes.len()
    }

    pub(crate) fn take(&mut self, data_type: &DataType) -> ArrayRef {
        let Self { offsets, mut names, mut values } = std::mem::take(self);
        let DataType::Map(entries, sorted) = data_type else { unreachable!("the column of labels is a map") };
        let DataType::Struct(fields) = entries.data_type() else { unreachable!("a map has entries") };
        let columns = vec![names.take(), values.take()];
        let pairs = StructArray::new(fields.clone(), columns, None);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Arc::new(MapArray::new(Arc::<Field>::clone(entries), offsets, pairs, None, *sorted))
    }
}

/// A column of text, with NULL.
#[derive(Debug)]
pub(crate) struct Texts {
    offsets: Vec<i32>,
    bytes: Vec<u8>,
    known: NullBufferBuilder,
}

impl Default for Texts {
    fn default() -> Self {
        Self { offsets: vec![0], bytes: Vec::new(), known: NullBufferBuilder::new(0) }
    }
}

impl Texts {
    pub(crate) fn push(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        self.offsets.push(self.bytes.len() as i32);
        self.known.append_non_null();
    }

    /// Appends NULL until there are so many rows.
    pub(crate) fn pad(&mut self, rows: usize) {
        let missing = rows - self.len();
        self.offsets.resize(rows + 1, self.bytes.len() as i32);
        self.known.append_n_nulls(missing);
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(crate) fn take(&mut self) -> ArrayRef {
        let Self { offsets, bytes, mut known } = std::mem::take(self);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Arc::new(StringArray::new(offsets, bytes.into(), known.finish()))
    }
}
