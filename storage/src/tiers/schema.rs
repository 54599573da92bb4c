//! The columns of a tier's `samples.parquet`: one row per series and bucket, sorted by (`series_id`, `ts_row`).
//!
//! All other files of the block are as they are for samples; `ts_row` leads to the bucket's **end**. Numbers are three
//! columns each, as everywhere (see `block/schema.rs`). What follows from other columns is NULL:
//!
//! | number      | NULL means | in SQL, with `x` for the number of that name |
//! |-------------|------------|---------------|
//! | `first`     | no sample, a stale marker alone | `first` |
//! | `last`      | `first`: there is one sample | `coalesce(last, first)` |
//! | `sum`       | `first`: there is one sample | `coalesce(sum, first)` |
//! | `min`       | `first`, as for any counter without a reset | `coalesce(min, first)` |
//! | `max`       | `last`, likewise | `coalesce(max, last, first)` |
//! | `reset_sum` | 0: there is no reset | `coalesce(last, first) - first + coalesce(reset_sum, 0)` is the increase |

use crate::block::schema::column as block_column;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use model::bucket::BucketFields;
use std::sync::Arc;

/// Columns beside those of the numbers.
pub mod column {
    pub use crate::block::schema::column::{SERIES_ID, TS_ROW};

    /// Samples in the bucket.
    pub const COUNT: &str = "count";
    /// When the first sample was taken, in milliseconds after the bucket's start; 0 without samples.
    pub const FIRST_OFF_MS: &str = "first_off_ms";
    /// When the last sample was taken, likewise.
    pub const LAST_OFF_MS: &str = "last_off_ms";
    /// How many samples are lower than the one before in the bucket.
    pub const RESETS: &str = "resets";
    /// How many samples differ from the one before in the bucket.
    pub const CHANGES: &str = "changes";
    /// Whether a stale marker follows the last sample.
    pub const STALE_END: &str = "stale_end";
}

/// A number of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// The first value.
    First,
    /// The last value.
    Last,
    /// The sum of all values.
    Sum,
    /// The smallest value.
    Min,
    /// The largest value.
    Max,
    /// The sum of the values right before resets.
    ResetSum,
}

impl Number {
    /// All, in the order of their columns.
    pub const ALL: [Self; 6] = [Self::First, Self::Last, Self::Sum, Self::Min, Self::Max, Self::ResetSum];

    /// What the names of its columns begin with.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Last => "last",
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
            Self::ResetSum => "reset_sum",
        }
    }

    /// The names of its columns: mantissa, divisor, raw.
    #[must_use]
    pub fn columns(self) -> [String; 3] {
        use block_column::{DIVISOR, MANTISSA, RAW};
        [MANTISSA, DIVISOR, RAW].map(|column| block_column::of_number(self.name(), column))
    }

    /// Whether it has to be read for any of `fields`; others may refer to it.
    #[must_use]
    pub fn is_needed_for(self, fields: BucketFields) -> bool {
        let any = |of: &[BucketFields]| of.iter().any(|field| fields.contains(*field));
        use BucketFields as F;
        match self {
            Self::First => any(&[F::FIRST, F::LAST, F::SUM, F::MIN, F::MAX]),
            Self::Last => any(&[F::LAST, F::MAX]),
            Self::Sum => any(&[F::SUM]),
            Self::Min => any(&[F::MIN]),
            Self::Max => any(&[F::MAX]),
            Self::ResetSum => any(&[F::RESETS]),
        }
    }
}

/// Columns of a tier's samples file.
#[must_use]
pub fn tier_samples() -> SchemaRef {
    let required = |name: &str, data_type| Field::new(name, data_type, false);
    let integers = [
        column::SERIES_ID,
        column::TS_ROW,
        column::COUNT,
        column::FIRST_OFF_MS,
        column::LAST_OFF_MS,
        column::RESETS,
        column::CHANGES,
    ];
    let mut fields: Vec<Field> = integers.into_iter().map(|name| required(name, DataType::UInt32)).collect();
    fields.push(required(column::STALE_END, DataType::Boolean));
    for [mantissa, divisor, raw] in Number::ALL.map(Number::columns) {
        fields.push(Field::new(mantissa, DataType::Int64, true));
        fields.push(required(&divisor, DataType::Float64));
        fields.push(Field::new(raw, DataType::Float64, true));
    }
    Arc::new(Schema::new(fields))
}

/// The names of the columns that hold `fields`, series and time left out.
#[must_use]
pub fn columns_of(fields: BucketFields) -> Vec<String> {
    let mut names = vec![column::COUNT.to_owned()];
    for (field, name) in [
        (BucketFields::FIRST_TIME, column::FIRST_OFF_MS),
        (BucketFields::LAST_TIME, column::LAST_OFF_MS),
        (BucketFields::RESETS, column::RESETS),
        (BucketFields::CHANGES, column::CHANGES),
        (BucketFields::STALE_END, column::STALE_END),
    ] {
        if fields.contains(field) {
            names.push(name.to_owned());
        }
    }
    names.extend(Number::ALL.into_iter().filter(|number| number.is_needed_for(fields)).flat_map(Number::columns));
    names
}
