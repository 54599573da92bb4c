//! Buckets of old samples, a table for each resolution that is stored: `buckets_5m`, `buckets_1h`.
//!
//! A row is what is kept of the samples of one series with `time - resolution < t <= time`. Buckets without a sample, which stand
//! for a stale marker, are not shown.

use super::selected::{Needed, SelectedSeries, fingerprint};
use super::{Scan, ScanRequest, Table};
use crate::query::error::QueryFailure;
use crate::query::executor::LocalQueries;
use crate::sql::batch::{label_maps, label_type, labels_type, schema, text_column, time_type, times};
use crate::sql::pushdown::Condition;
use crate::sql::scan::{Output, Portions, ScanSource};
use crate::sql::scope::{Bounds, Scope};
use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, UInt32Array, UInt64Array};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use model::bucket::{Bucket, BucketColumns, BucketFields, BucketUse};
use promql::duration::{format_ms, parse_ms};
use std::ops::Range;
use std::sync::Arc;

const PREFIX: &str = "buckets_";

/// The buckets of one resolution.
#[derive(Debug, Clone)]
pub(super) struct Buckets {
    resolution_ms: i64,
}

/// The resolutions of all blocks with buckets. Where blocks cannot be listed, there are none.
fn resolutions(scope: &Scope) -> Vec<i64> {
    let blocks = scope.sources.blocks.blocks().unwrap_or_default();
    let mut found: Vec<i64> = blocks.iter().filter_map(|block| i64::try_from(block.resolution_ms).ok()).collect();
    found.retain(|resolution_ms| *resolution_ms > 0);
    found.sort_unstable();
    found.dedup();
    found
}

/// The names of these tables.
pub(in crate::sql) fn bucket_tables(scope: &Scope) -> Vec<String> {
    resolutions(scope).into_iter().map(|resolution_ms| format!("{PREFIX}{}", format_ms(resolution_ms))).collect()
}

impl Buckets {
    /// The table of that name, if there are such buckets.
    pub(super) fn named(name: &str, scope: &Scope) -> Option<Self> {
        let resolution_ms = parse_ms(name.strip_prefix(PREFIX)?).ok()?;
        resolutions(scope).contains(&resolution_ms).then_some(Self { resolution_ms })
    }

    /// The time of these buckets. Of other days not even the labels are needed, which would be read of all series while a
    /// deletion waits.
    fn bounds(&self, scope: &Scope) -> Result<Bounds, QueryFailure> {
        let mut blocks = scope.sources.blocks.blocks()?;
        blocks.retain(|block| block.resolution_ms == self.resolution_ms.unsigned_abs());
        let start_ms = blocks.iter().map(|block| block.min_ms).min();
        let end_ms = blocks.iter().map(|block| block.max_ms).max();
        Ok(Bounds { start_ms, end_ms })
    }
}

const TIME: usize = 0;
const METRIC: usize = 1;
const LABELS: usize = 2;
const FINGERPRINT: usize = 3;
const COUNT: usize = 4;
const SUM: usize = 5;
const MIN: usize = 6;
const MAX: usize = 7;
const FIRST: usize = 8;
const LAST: usize = 9;
const FIRST_TIME: usize = 10;
const LAST_TIME: usize = 11;
const RESETS: usize = 12;
const RESET_SUM: usize = 13;
const CHANGES: usize = 14;

/// What of buckets some columns need.
fn fields(columns: &[usize]) -> BucketFields {
    let field = |column: &usize| match *column {
        SUM => BucketFields::SUM,
        MIN => BucketFields::MIN,
        MAX => BucketFields::MAX,
        FIRST => BucketFields::FIRST,
        LAST => BucketFields::LAST,
        FIRST_TIME => BucketFields::FIRST_TIME,
        LAST_TIME => BucketFields::LAST_TIME,
        RESETS | RESET_SUM => BucketFields::RESETS,
        CHANGES => BucketFields::CHANGES,
        TIME | METRIC | LABELS | FINGERPRINT | COUNT => BucketFields::COUNT,
        _ => BucketFields::STALE_END,
    };
    columns.iter().map(field).fold(BucketFields::COUNT, BucketFields::and)
}

impl Table for Buckets {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("time", time_type(), false),
            ("metric", label_type(), true),
            ("labels", labels_type(), false),
            ("fingerprint", DataType::UInt64, false),
            ("count", DataType::UInt32, false),
            ("sum", DataType::Float64, false),
            ("min", DataType::Float64, false),
            ("max", DataType::Float64, false),
            ("first", DataType::Float64, false),
            ("last", DataType::Float64, false),
            ("first_time", time_type(), false),
            ("last_time", time_type(), false),
            ("resets", DataType::UInt32, false),
            ("reset_sum", DataType::Float64, false),
            ("changes", DataType::UInt32, false),
            ("stale_end", DataType::Boolean, false),
        ])
    }

    fn reads_samples(&self, _columns: &[usize]) -> bool {
        false
    }

    fn open(&self, mut request: ScanRequest, local: &LocalQueries<'_>, scope: &Scope) -> Result<Scan, QueryFailure> {
        request.selector.narrow(Condition::Time(self.bounds(scope)?));
        let fields = fields(&request.columns);
        // The coarsest that is no coarser than this: where this resolution is stored, it is this.
        let wanted =
            BucketUse { approximate_max_ms: self.resolution_ms, where_expired: true, fields, ..BucketUse::default() };
        let selected =
            SelectedSeries::select_with_buckets(&request.selector, &wanted, &Needed::default(), local, scope)?;
        let (selected, columns) = (Arc::new(selected), request.columns.into());
        Ok(Scan::new(BucketScan { selected, columns, fields, resolution_ms: self.resolution_ms }))
    }
}

#[derive(Clone)]
struct BucketScan {
    selected: Arc<SelectedSeries>,
    columns: Arc<[usize]>,
    fields: BucketFields,
    resolution_ms: i64,
}

impl ScanSource for BucketScan {
    fn partitions(&self) -> usize {
        1
    }

    fn open(&self, _partition: usize) -> Box<dyn Portions> {
        Box::new(BucketPortions { scan: self.clone(), places: 0..self.selected.order.len() })
    }

    fn describe(&self) -> String {
        format!("{}, buckets of {}", self.selected.describe(), format_ms(self.resolution_ms))
    }
}

struct BucketPortions {
    scan: BucketScan,
    places: Range<usize>,
}

impl Portions for BucketPortions {
    fn next(&mut self, local: &LocalQueries<'_>, rows_max: usize, out: &mut Output) -> Result<bool, QueryFailure> {
        let BucketScan { selected, columns, fields, resolution_ms } = &self.scan;
        let mut read = BucketColumns::default();
        while out.rows() < rows_max {
            local.budget().check()?;
            let Some(place) = self.places.next() else { return Ok(false) };
            let (set, index) = (&selected.set, selected.index(place));
            let segments = set.coverage().map(|coverage| coverage.segments.as_slice()).unwrap_or_default();
            for segment in segments.iter().filter(|segment| segment.resolution_ms == *resolution_ms) {
                let range = (segment.after_ms.max(selected.after_ms), segment.until_ms.min(selected.until_ms));
                set.read_buckets(index, segment, range, *fields, &mut read)?;
                let rows: Vec<Bucket> = read.iter().filter(|bucket| bucket.count > 0).collect();
                out.count(1, rows.len());
                out.push(columns_of(columns, selected, place, &rows), rows.len())?;
            }
        }
        Ok(true)
    }
}

fn columns_of(columns: &[usize], selected: &SelectedSeries, place: usize, rows: &[Bucket]) -> Vec<ArrayRef> {
    let labels = selected.labels_at(place);
    let number = |of: fn(&Bucket) -> f64| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<Float64Array>()) };
    let count = |of: fn(&Bucket) -> u32| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<UInt32Array>()) };
    let time = |of: fn(&Bucket) -> i64| times(rows.iter().map(of).collect());
    let column = |column: &usize| -> ArrayRef {
        match *column {
            TIME => time(|bucket| bucket.end_ms),
            METRIC => text_column(rows.iter().map(|_| labels.metric_name())),
            LABELS => label_maps([(&labels, rows.len())]),
            FINGERPRINT => Arc::new(UInt64Array::from_value(fingerprint(&labels), rows.len())),
            COUNT => count(|bucket| bucket.count),
            SUM => number(|bucket| bucket.sum),
            MIN => number(|bucket| bucket.min),
            MAX => number(|bucket| bucket.max),
            FIRST => number(|bucket| bucket.first),
            LAST => number(|bucket| bucket.last),
            FIRST_TIME => time(|bucket| bucket.first_ms),
            LAST_TIME => time(|bucket| bucket.last_ms),
            RESETS => count(|bucket| bucket.resets),
            RESET_SUM => number(|bucket| bucket.reset_sum),
            CHANGES => count(|bucket| bucket.changes),
            _ => Arc::new(rows.iter().map(|bucket| Some(bucket.stale_end)).collect::<BooleanArray>()),
        }
    };
    columns.iter().map(column).collect()
}
