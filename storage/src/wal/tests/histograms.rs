//! Records of histograms, exemplars and start timestamps.

use super::*;
use crate::append::{HISTOGRAM_BUCKETS_MAX, HistogramRow};
use model::exemplar::Exemplar;
use model::histogram::{Histogram, Span};
use model::labels::Labels;

/// Histograms larger than a record should be, and more of them than fit one segment.
#[test]
fn histograms_and_exemplars_come_back() {
    let disk = SimulatedDisk::new();
    let (mut log, _, _) = open(&disk, 0).expect("an empty disk");
    for round in 0..40 {
        let buckets = if round == 20 { HISTOGRAM_BUCKETS_MAX } else { 30 };
        let series = (0..5).map(SeriesRef);
        let histograms = series.map(|series| histogram_row(series, i64::from(round) * 15_000, buckets));
        let exemplar = Exemplar {
            labels: Labels::from_pairs([("trace_id", round.to_string())]).expect("one label"),
            value: f64::from(round),
            timestamp_ms: i64::from(round),
        };
        let exemplars = vec![ExemplarRow { series: SeriesRef(1), exemplar }];
        log.append(Batch { rows: scrape(round, 3), histograms: histograms.collect(), exemplars, ..Batch::default() });
    }
    let (told, report) = read(&disk, 0);
    assert_eq!((told.histograms.len(), told.exemplars.len(), report.damage_count), (200, 40, 0));
    assert_eq!(told, Told { last_lsn: told.last_lsn, ..log.durable });
}

/// A histogram whose populations compress badly.
fn histogram_row(series: SeriesRef, timestamp_ms: i64, buckets: usize) -> HistogramRow {
    let population = |n: usize| f64::from_bits((n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2);
    let histogram = Histogram {
        schema: 3,
        zero_threshold: 0.001,
        count: timestamp_ms as f64,
        sum: 0.1,
        positive_spans: vec![Span { offset: -4, length: buckets as u32 }],
        positive_buckets: (0..buckets).map(population).collect(),
        ..Histogram::default()
    };
    HistogramRow { series, timestamp_ms, start_ms: timestamp_ms / 2, histogram }
}

#[test]
fn start_timestamps_come_back_where_they_were_told() {
    let disk = SimulatedDisk::new();
    let (mut log, _, _) = open(&disk, 0).expect("an empty disk");
    let mut rows = Rows::default();
    for n in 0..9i64 {
        rows.push_started(SeriesRef(n as u32 % 3), 1_000 + n, n as f64, if n < 4 { 0 } else { 500 + n / 3 });
    }
    let expected = rows.starts_ms.clone();
    log.append(rows);
    log.append(scrape(0, 3));
    assert_eq!(read(&disk, 0).0.starts, [expected, Vec::new()]);
}
