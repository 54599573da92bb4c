//! Columns as the tables make them.

use datafusion::arrow::array::{
    Array, ArrayRef, DictionaryArray, Int32Array, MapArray, RecordBatch, RecordBatchOptions, StringArray,
    StringBuilder, StructArray, TimestampMillisecondArray,
};
use datafusion::arrow::buffer::{OffsetBuffer, ScalarBuffer};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema, SchemaRef, TimeUnit};
use datafusion::error::DataFusionError;
use model::labels::{Labels, METRIC_NAME};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// Rows of a batch.
pub(super) const BATCH_ROWS: usize = 8192;

/// Dictionaries of up to so many values are shared by all batches; larger ones are cut down to what a batch uses, since
/// operators look at every value of a dictionary once per batch.
const SHARED_VALUES_MAX: usize = 256;

static ENTRIES: LazyLock<Fields> = LazyLock::new(|| {
    vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Utf8, true)].into()
});
static ENTRY: LazyLock<Arc<Field>> =
    LazyLock::new(|| Arc::new(Field::new("entries", DataType::Struct(ENTRIES.clone()), false)));

/// Points in time.
pub(super) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

/// Texts of which few differ.
pub(super) fn label_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// Label sets.
pub(super) fn labels_type() -> DataType {
    DataType::Map(Arc::clone(&ENTRY), false)
}

/// A schema of columns that may be NULL or not.
pub(super) fn schema(columns: &[(&str, DataType, bool)]) -> SchemaRef {
    let field = |(name, kind, nullable): &(&str, DataType, bool)| Field::new(*name, kind.clone(), *nullable);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// A batch of `rows` rows, of which there may be more than none without any column.
pub(super) fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, DataFusionError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// A column of points in time.
pub(super) fn times(milliseconds: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from(milliseconds).with_timezone("UTC"))
}

/// A column of label sets without the name of the metric: each repeated as often as it says.
pub(super) fn label_maps<'a>(runs: impl IntoIterator<Item = (&'a Labels, usize)>) -> ArrayRef {
    let (mut keys, mut values) = (StringBuilder::new(), StringBuilder::new());
    let mut offsets = vec![0i32];
    let mut entries = 0i32;
    for (labels, count) in runs {
        for _ in 0..count {
            for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
                keys.append_value(name);
                values.append_value(value);
                entries += 1;
            }
            offsets.push(entries);
        }
    }
    let entries = StructArray::new(ENTRIES.clone(), vec![Arc::new(keys.finish()), Arc::new(values.finish())], None);
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    Arc::new(MapArray::new(Arc::clone(&ENTRY), offsets, entries, None, false))
}

/// Texts by number, in ascending order, each once.
#[derive(Debug, Clone)]
pub(super) struct Dictionary {
    values: Arc<StringArray>,
}

/// Stands for no text.
pub(super) const ABSENT: i32 = i32::MAX;

impl Dictionary {
    /// Numbers `texts`: equal texts have equal numbers, and numbers are ordered as texts are; [`ABSENT`] comes last.
    pub(super) fn number(texts: &[Option<Arc<str>>]) -> (Self, Vec<i32>) {
        let mut distinct: Vec<&str> = texts.iter().flatten().map(|text| &**text).collect();
        distinct.sort_unstable();
        distinct.dedup();
        let numbers: HashMap<&str, i32> = (0..).zip(&distinct).map(|(number, text)| (*text, number)).collect();
        let number =
            |text: &Option<Arc<str>>| text.as_ref().and_then(|text| numbers.get(&**text).copied()).unwrap_or(ABSENT);
        let keys = texts.iter().map(number).collect();
        (Self { values: Arc::new(StringArray::from(distinct)) }, keys)
    }

    /// A column of runs of the same text.
    pub(super) fn column(&self, runs: impl IntoIterator<Item = (i32, usize)>, rows: usize) -> ArrayRef {
        let mut keys: Vec<i32> = Vec::with_capacity(rows);
        let mut absent = false;
        if self.values.len() <= SHARED_VALUES_MAX {
            for (key, count) in runs {
                absent |= key == ABSENT;
                keys.extend(std::iter::repeat_n(key, count));
            }
            return dictionary_column(keys, absent, Arc::clone(&self.values) as ArrayRef);
        }
        let mut local: HashMap<i32, i32> = HashMap::new();
        let mut texts = StringBuilder::new();
        for (key, count) in runs {
            let number = match key {
                ABSENT => ABSENT,
                key => {
                    let next = local.len() as i32;
                    *local.entry(key).or_insert_with(|| {
                        texts.append_value(self.values.value(key as usize));
                        next
                    })
                }
            };
            absent |= number == ABSENT;
            keys.extend(std::iter::repeat_n(number, count));
        }
        dictionary_column(keys, absent, Arc::new(texts.finish()))
    }

    /// Memory of the texts.
    pub(super) fn bytes(&self) -> usize {
        self.values.get_array_memory_size()
    }
}

fn dictionary_column(keys: Vec<i32>, absent: bool, values: ArrayRef) -> ArrayRef {
    let keys: Int32Array = match absent {
        true => keys.into_iter().map(|key| (key != ABSENT).then_some(key)).collect(),
        false => keys.into(),
    };
    Arc::new(DictionaryArray::<Int32Type>::new(keys, values))
}

/// A column of texts, each with a dictionary entry of its own at most.
pub(super) fn text_column<'a>(texts: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(texts.into_iter().collect::<DictionaryArray<Int32Type>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::AsArray;

    #[test]
    fn texts_are_numbered_in_order_and_large_dictionaries_are_cut_down() {
        for many in [3, 1000] {
            let texts: Vec<Option<Arc<str>>> =
                (0..many).rev().map(|i| (i > 0).then(|| Arc::from(format!("v{i:04}")))).collect();
            let (dictionary, keys) = Dictionary::number(&texts);
            assert!(keys.windows(2).all(|pair| pair[0] > pair[1] || pair[1] == ABSENT));
            let column = dictionary.column([(keys[1], 2), (ABSENT, 1), (keys[0], 1)], 4);
            let column = column.as_dictionary::<Int32Type>().downcast_dict::<StringArray>().unwrap();
            let shown: Vec<_> = column.into_iter().collect();
            let (first, second) = (texts[0].as_deref(), texts[1].as_deref());
            assert_eq!(shown, [second, second, None, first]);
        }
    }

    #[test]
    fn label_sets_are_maps_without_the_name_of_the_metric() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a"), ("zone", "b")]).unwrap();
        let column = label_maps([(&labels, 2), (&Labels::empty(), 1)]);
        let lengths: Vec<_> = column.as_map().iter().map(|entry| entry.unwrap().len()).collect();
        assert_eq!(lengths, [2, 2, 0]);
        assert_eq!(column.data_type(), &labels_type());
    }
}
