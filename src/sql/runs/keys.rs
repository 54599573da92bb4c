//! Numbers groups by their keys: labels by their texts, times and whole numbers by their bits.

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, Int64Array, StringArray, make_array,
};
use datafusion::arrow::datatypes::{DataType, Int32Type, Schema};
use datafusion::error::{DataFusionError, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// Columns of a key: each has a bit for being absent.
pub(super) const COLUMNS_MAX: usize = 64;

/// Whether rows can be grouped by a column of this type.
pub(super) fn is_known(kind: &DataType) -> bool {
    is_text(kind) || matches!(kind, DataType::Timestamp(..) | DataType::Int64 | DataType::UInt64)
}

/// Whether one of the first columns is a label: others are grouped as fast without this.
pub(super) fn has_text(schema: &Schema, columns: usize) -> bool {
    schema.fields().iter().take(columns).any(|field| is_text(field.data_type()))
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Dictionary(key, value) if **key == DataType::Int32 && **value == DataType::Utf8)
}

/// A value of each column, and a bit for each that has none.
type Key = Arc<[u64]>;

/// What a missing value has for bits.
const NULL: u64 = u64::MAX;

/// The groups so far.
pub(super) struct GroupKeys {
    columns: Vec<KeyColumn>,
    numbers: HashMap<Key, usize>,
    keys: Vec<Key>,
}

struct KeyColumn {
    kind: DataType,
    /// Of labels.
    texts: Texts,
}

/// The texts of a column, numbered in the order in which they came.
#[derive(Default)]
struct Texts {
    numbers: HashMap<Arc<str>, u64>,
    all: Vec<Arc<str>>,
    bytes: usize,
    /// The dictionary seen last, and the numbers of its texts.
    last: Option<(ArrayRef, Vec<u64>)>,
}

/// A column of one batch as bits.
struct Bits {
    values: Vec<u64>,
    nulls: Option<datafusion::arrow::buffer::NullBuffer>,
}

impl Bits {
    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }
}

impl GroupKeys {
    /// No groups, of the first `columns` of a schema.
    pub(super) fn new(schema: &Schema, columns: usize) -> Self {
        let column = |kind: &DataType| KeyColumn { kind: kind.clone(), texts: Texts::default() };
        let columns = schema.fields().iter().take(columns).map(|field| column(field.data_type())).collect();
        Self { columns, numbers: HashMap::default(), keys: Vec::new() }
    }

    /// How many groups there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Memory, about.
    pub(super) fn memory(&self) -> usize {
        let texts: usize = self.columns.iter().map(|column| column.texts.bytes).sum();
        texts + self.keys.len() * (2 * size_of::<Key>() + 8 * self.columns.len() + 48)
    }

    /// Replaces `into` by the number of the group of each row.
    pub(super) fn number(&mut self, columns: &[ArrayRef], rows: usize, into: &mut Vec<usize>) -> Result<()> {
        let bits: Vec<Bits> =
            self.columns.iter_mut().zip(columns).map(|(column, array)| column.bits(array)).collect::<Result<_>>()?;
        let mut key: Vec<u64> = Vec::with_capacity(bits.len() + 1);
        into.clear();
        into.reserve(rows);
        let mut start = 0;
        while start < rows {
            let end = bits.iter().map(|column| run_end(column, start, rows)).min().unwrap_or(rows);
            key.clear();
            key.extend(bits.iter().map(|column| column.values[start]));
            let absent = bits.iter().enumerate().filter(|(_, column)| column.is_null(start));
            let mut mask = 0;
            for (at, _) in absent {
                key[at] = NULL;
                mask |= 1 << at;
            }
            key.push(mask);
            let next = self.keys.len();
            let number = match self.numbers.get(key.as_slice()) {
                Some(number) => *number,
                None => {
                    let key = Key::from(key.as_slice());
                    self.keys.push(Arc::clone(&key));
                    self.numbers.insert(key, next);
                    next
                }
            };
            into.resize(end, number);
            start = end;
        }
        Ok(())
    }

    /// The keys of all groups as columns.
    pub(super) fn columns(&self) -> Result<Vec<ArrayRef>> {
        let column = |(at, column): (usize, &KeyColumn)| {
            let value = |key: &Key| {
                let is_null = key.last().is_some_and(|mask| mask >> at & 1 == 1) && key[at] == NULL;
                (!is_null).then(|| key[at])
            };
            let values = self.keys.iter().map(value);
            if is_text(&column.kind) {
                let numbers: Int32Array = values.map(|number| number.map(|number| number as i32)).collect();
                let texts: StringArray = column.texts.all.iter().map(|text| Some(&**text)).collect();
                return Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(numbers, Arc::new(texts))?) as ArrayRef);
            }
            let values: Int64Array = values.map(|bits| bits.map(|bits| bits as i64)).collect();
            Ok(make_array(values.into_data().into_builder().data_type(column.kind.clone()).build()?))
        };
        self.columns.iter().enumerate().map(column).collect()
    }
}

/// Where the run that begins at a row ends.
fn run_end(column: &Bits, start: usize, rows: usize) -> usize {
    let Some(first) = column.values.get(start) else { return rows };
    let equal = column.values[start..rows].iter().take_while(|bits| *bits == first).count();
    match &column.nulls {
        None => start + equal,
        Some(nulls) => {
            let is_null = nulls.is_null(start);
            start + (start..start + equal).take_while(|row| nulls.is_null(*row) == is_null).count()
        }
    }
}

impl KeyColumn {
    fn bits(&mut self, array: &ArrayRef) -> Result<Bits> {
        if is_text(&self.kind) {
            let array = array.as_dictionary_opt::<Int32Type>().ok_or_else(|| unexpected(array))?;
            return self.texts.bits(array);
        }
        if *array.data_type() != self.kind {
            return Err(unexpected(array));
        }
        let data = array.to_data();
        let values = data.buffer::<u64>(0).get(..array.len()).unwrap_or_default().to_vec();
        Ok(Bits { values, nulls: array.logical_nulls() })
    }
}

impl Texts {
    fn bits(&mut self, array: &DictionaryArray<Int32Type>) -> Result<Bits> {
        let values = array.values();
        let is_last = |(last, _): &(ArrayRef, Vec<u64>)| Arc::ptr_eq(last, values);
        if !self.last.as_ref().is_some_and(is_last) {
            let texts = values.as_string_opt::<i32>().ok_or_else(|| unexpected(values))?;
            let numbers = texts.iter().map(|text| text.map_or(NULL, |text| self.number(text))).collect();
            self.last = Some((Arc::clone(values), numbers));
        }
        let numbers = self.last.as_ref().map(|(_, numbers)| numbers.as_slice()).unwrap_or_default();
        let number = |key: &i32| usize::try_from(*key).ok().and_then(|key| numbers.get(key)).copied().unwrap_or(NULL);
        Ok(Bits { values: array.keys().values().iter().map(number).collect(), nulls: array.logical_nulls() })
    }

    fn number(&mut self, text: &str) -> u64 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let (number, text) = (self.all.len() as u64, Arc::<str>::from(text));
        self.bytes += text.len() + 64;
        self.all.push(Arc::clone(&text));
        self.numbers.insert(text, number);
        number
    }
}

fn unexpected(array: &dyn Array) -> DataFusionError {
    DataFusionError::Internal(format!("a group column has the type {}", array.data_type()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::TimestampMillisecondArray;
    use datafusion::arrow::datatypes::{Field, TimeUnit};

    #[test]
    fn groups_are_told_apart_by_value_whatever_their_dictionaries_say() {
        let label = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let schema = Schema::new(vec![Field::new("job", label, true), Field::new("t", time, true)]);
        let mut keys = GroupKeys::new(&schema, 2);
        let mut number = |jobs: &[Option<&str>], times: &[Option<i64>]| {
            let jobs: DictionaryArray<Int32Type> = jobs.iter().copied().collect();
            let times = TimestampMillisecondArray::from(times.to_vec()).with_timezone("UTC");
            let (columns, mut into): (Vec<ArrayRef>, _) = (vec![Arc::new(jobs), Arc::new(times)], Vec::new());
            keys.number(&columns, columns[0].len(), &mut into).unwrap();
            into
        };
        let first = number(
            &[Some("a"), Some("a"), Some("b"), None, None, Some("a")],
            &[Some(1), Some(1), Some(1), Some(1), None, Some(-1)],
        );
        assert_eq!(first, [0, 0, 1, 2, 3, 4]);
        assert_eq!(number(&[Some("b"), Some("a"), None], &[Some(1), None, Some(1)]), [1, 5, 2]);
        let columns = keys.columns().unwrap();
        let jobs = columns[0].as_dictionary::<Int32Type>().downcast_dict::<StringArray>().unwrap();
        let expected = [Some("a"), Some("b"), None, None, Some("a"), Some("a")];
        assert_eq!(jobs.into_iter().collect::<Vec<_>>(), expected);
        let times = columns[1].as_primitive::<datafusion::arrow::datatypes::TimestampMillisecondType>();
        assert_eq!(times.iter().collect::<Vec<_>>(), [Some(1), Some(1), Some(1), None, Some(-1), None]);
        assert!(is_known(columns[1].data_type()) && is_known(columns[0].data_type()));
    }
}
