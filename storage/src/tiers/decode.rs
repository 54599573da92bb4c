//! Rows of a tier's samples file back to buckets.

use super::schema::{Number, column};
use crate::block::error::BlockError;
use arrow::array::{Array, BooleanArray, Float64Array, Int64Array, PrimitiveArray, RecordBatch, UInt32Array};
use arrow::datatypes::ArrowPrimitiveType;
use model::bucket::{BucketColumns, BucketFields};

/// Appends to `into` the buckets that `rows` hold: rows of one series, with the columns of
/// [`columns_of`](super::schema::columns_of) at least; of other columns nothing is looked at. `ends_ms` are the times that
/// their `ts_row` lead to.
///
/// # Errors
/// A column is missing or of another type, or the numbers of rows differ.
pub fn decode(
    rows: &RecordBatch,
    ends_ms: &[i64],
    resolution_ms: i64,
    fields: BucketFields,
    into: &mut BucketColumns,
) -> Result<(), BlockError> {
    let rows = Rows { rows };
    if rows.rows.num_rows() != ends_ms.len() {
        return Err(damaged("rows and times differ in number"));
    }
    let counts = rows.integers(column::COUNT)?;
    let times = |offsets: &[u32]| {
        let time = |((end_ms, offset), count): ((&i64, &u32), &u32)| {
            if *count == 0 { *end_ms } else { end_ms.saturating_sub(resolution_ms).saturating_add(i64::from(*offset)) }
        };
        ends_ms.iter().zip(offsets).zip(counts).map(time).collect::<Vec<i64>>()
    };
    if fields.contains(BucketFields::FIRST_TIME) {
        into.first_times_ms.append(&mut times(rows.integers(column::FIRST_OFF_MS)?));
    }
    if fields.contains(BucketFields::LAST_TIME) {
        into.last_times_ms.append(&mut times(rows.integers(column::LAST_OFF_MS)?));
    }
    if fields.contains(BucketFields::RESETS) {
        into.resets.extend_from_slice(rows.integers(column::RESETS)?);
    }
    if fields.contains(BucketFields::CHANGES) {
        into.changes.extend_from_slice(rows.integers(column::CHANGES)?);
    }
    if fields.contains(BucketFields::STALE_END) {
        into.stale_ends.extend(rows.column::<BooleanArray>(column::STALE_END)?.values().iter());
    }
    let read = |number: Number, otherwise: &[f64]| {
        if number.is_needed_for(fields) { rows.number(number, otherwise) } else { Ok(Vec::new()) }
    };
    let mut first = read(Number::First, &[])?;
    let mut last = read(Number::Last, &first)?;
    let mut sum = read(Number::Sum, &first)?;
    let mut min = read(Number::Min, &first)?;
    let mut max = read(Number::Max, &last)?;
    let mut reset_sum = read(Number::ResetSum, &[])?;
    into.ends_ms.extend_from_slice(ends_ms);
    into.counts.extend_from_slice(counts);
    for (field, column, values) in [
        (BucketFields::FIRST, &mut into.firsts, &mut first),
        (BucketFields::LAST, &mut into.lasts, &mut last),
        (BucketFields::SUM, &mut into.sums, &mut sum),
        (BucketFields::MIN, &mut into.mins, &mut min),
        (BucketFields::MAX, &mut into.maxs, &mut max),
        (BucketFields::RESETS, &mut into.reset_sums, &mut reset_sum),
    ] {
        if fields.contains(field) {
            column.append(values);
        }
    }
    Ok(())
}

struct Rows<'a> {
    rows: &'a RecordBatch,
}

impl Rows<'_> {
    fn column<T: Array + 'static>(&self, name: &str) -> Result<&T, BlockError> {
        let column = self.rows.column_by_name(name).ok_or_else(|| damaged(&format!("column {name} is missing")))?;
        column.as_any().downcast_ref().ok_or_else(|| damaged(&format!("column {name} has another type")))
    }

    fn required<T: ArrowPrimitiveType>(&self, name: &str) -> Result<&[T::Native], BlockError> {
        let column: &PrimitiveArray<T> = self.column(name)?;
        if column.null_count() > 0 {
            return Err(damaged(&format!("column {name} has NULL")));
        }
        Ok(column.values())
    }

    fn integers(&self, name: &str) -> Result<&[u32], BlockError> {
        self.required::<<UInt32Array as PrimitiveOf>::Type>(name)
    }

    /// A number; where it is NULL that of `otherwise`, or zero.
    fn number(&self, number: Number, otherwise: &[f64]) -> Result<Vec<f64>, BlockError> {
        let [mantissa, divisor, raw] = number.columns();
        let mantissas: &Int64Array = self.column(&mantissa)?;
        let divisors = self.required::<<Float64Array as PrimitiveOf>::Type>(&divisor)?;
        let raws: &Float64Array = self.column(&raw)?;
        let mut otherwise = otherwise.iter().copied();
        let values = mantissas.iter().zip(divisors).zip(raws).map(|((mantissa, divisor), raw)| {
            let otherwise = otherwise.next().unwrap_or_default();
            mantissa.map(|mantissa| mantissa as f64 / divisor).or(raw).unwrap_or(otherwise)
        });
        Ok(values.collect())
    }
}

/// The type of an array's elements.
trait PrimitiveOf {
    type Type: ArrowPrimitiveType;
}

impl<T: ArrowPrimitiveType> PrimitiveOf for PrimitiveArray<T> {
    type Type = T;
}

fn damaged(what: &str) -> BlockError {
    BlockError::Damaged { file: crate::block::schema::SAMPLES_FILE.to_owned(), offset: 0, what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::encode::TierRows;
    use super::super::schema::columns_of;
    use super::*;
    use model::bucket::{Bucket, aggregate};
    use model::sample::{SampleColumns, stale_marker};
    use proptest::prelude::*;

    const RESOLUTION: i64 = 300_000;

    fn buckets(values: &[(i64, f64)]) -> BucketColumns {
        let mut samples = SampleColumns::default();
        let mut time = -3_000_000;
        for (gap, value) in values {
            time += gap;
            samples.push(time, *value);
        }
        let mut buckets = BucketColumns::default();
        aggregate(&samples, RESOLUTION, &mut buckets);
        buckets
    }

    fn written(buckets: &BucketColumns) -> RecordBatch {
        let mut rows = TierRows::new(RESOLUTION);
        let ts_rows: Vec<u32> = (100..).take(buckets.len()).collect();
        rows.push(7, &ts_rows, buckets);
        assert_eq!(rows.len(), buckets.len());
        rows.take()
    }

    fn same(a: &Bucket, b: &Bucket) -> bool {
        let bits = |b: &Bucket| [b.first, b.last, b.sum, b.min, b.max, b.reset_sum].map(f64::to_bits);
        let rest = |b: &Bucket| (b.end_ms, b.count, b.first_ms, b.last_ms, b.resets, b.changes, b.stale_end);
        bits(a) == bits(b) && rest(a) == rest(b)
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            6 => (0u32..100_000).prop_map(f64::from),
            3 => (-1000i32..1000).prop_map(|value| f64::from(value) / 100.0),
            2 => any::<f64>().prop_filter("a value", |value| !value.is_nan()),
            2 => Just(stale_marker()),
            1 => prop_oneof![Just(f64::NAN), Just(-0.0), Just(f64::INFINITY)],
        ]
    }

    proptest! {
        #[test]
        fn buckets_come_back_bit_by_bit(values in prop::collection::vec((1i64..400_000, value()), 1..120)) {
            let buckets = buckets(&values);
            let mut found = BucketColumns::default();
            decode(&written(&buckets), &buckets.ends_ms, RESOLUTION, BucketFields::ALL, &mut found).expect("what was encoded");
            prop_assert_eq!(found.len(), buckets.len());
            for (found, expected) in found.iter().zip(buckets.iter()) {
                prop_assert!(same(&found, &expected), "{found:?} {expected:?}");
            }
        }

        /// Only the columns that are named are looked at.
        #[test]
        fn any_fields_can_be_read_alone(values in prop::collection::vec((1i64..400_000, value()), 1..60), wanted in 0usize..11) {
            use BucketFields as F;
            let fields = [F::COUNT, F::FIRST, F::LAST, F::FIRST_TIME, F::LAST_TIME, F::SUM, F::MIN, F::MAX, F::RESETS, F::CHANGES, F::STALE_END][wanted];
            let buckets = buckets(&values);
            let batch = written(&buckets);
            let named: Vec<usize> = columns_of(fields).iter().map(|name| batch.schema().index_of(name).expect("a column")).collect();
            let (mut found, mut expected) = (BucketColumns::default(), BucketColumns::default());
            decode(&batch.project(&named).expect("columns"), &buckets.ends_ms, RESOLUTION, fields, &mut found).expect("what was encoded");
            buckets.iter().for_each(|bucket| expected.push_fields(&bucket, fields));
            prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"));
        }
    }

    #[test]
    fn a_counter_without_resets_keeps_neither_extremes_nor_reset_sums() {
        let batch = written(&buckets(&(0..100).map(|i| (15_000, f64::from(i) * 7.0)).collect::<Vec<_>>()));
        for name in [Number::Min, Number::Max, Number::ResetSum].map(Number::columns) {
            for column in [&name[0], &name[2]] {
                let column = batch.column_by_name(column).expect("a column");
                assert_eq!(column.null_count(), column.len());
            }
        }
    }

    #[test]
    fn foreign_rows_are_refused() {
        let buckets = buckets(&[(1, 1.0), (400_000, 2.0)]);
        let batch = written(&buckets);
        let decoded = |batch: &RecordBatch, ends: &[i64]| {
            decode(batch, ends, RESOLUTION, BucketFields::ALL, &mut BucketColumns::default())
                .map_err(|error| error.to_string())
        };
        assert!(decoded(&batch, &[1]).expect_err("one end").contains("differ in number"));
        let fewer = batch.project(&[0, 1, 2]).expect("columns");
        assert!(decoded(&fewer, &buckets.ends_ms).expect_err("no offsets").contains("first_off_ms is missing"));
    }
}
