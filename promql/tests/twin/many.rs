//! So many series that work on them is shared.

use model::histogram::{Histogram, Span};
use promql::testing::memory::MemorySource;

/// Enough series that work is cut into many tasks.
pub(crate) fn many_series() -> MemorySource {
    let mut source = MemorySource::new();
    for i in 0..3000_i64 {
        let labels = model::labels::Labels::from_pairs([
            ("__name__".to_owned(), "c_total".to_owned()),
            ("i".to_owned(), i.to_string()),
            ("group".to_owned(), (i % 7).to_string()),
        ])
        .expect("labels");
        let step = 0.1 + (i % 13) as f64 * 0.37;
        source.append(&labels, (0..40).map(|t| (t * 15_000 + i % 5, (t % 17) as f64 * step)));
    }
    source
}

/// Histograms of which groups are cut into segments; their numbers are no round ones.
pub(crate) fn many_histograms() -> MemorySource {
    let mut source = MemorySource::new();
    for i in 0..1300_i32 {
        let labels = model::labels::Labels::from_pairs([
            ("__name__".to_owned(), "h".to_owned()),
            ("i".to_owned(), i.to_string()),
            ("group".to_owned(), (i % 2).to_string()),
        ])
        .expect("labels");
        let step = 0.1 + f64::from(i % 13) * 0.37;
        let histograms = (0..12_i32).map(|t| {
            let counted = f64::from(t % 9) * step;
            let histogram = Histogram {
                schema: (i % 3) as i8,
                zero_threshold: if i % 5 == 0 { 0.01 } else { 0.001 },
                zero_count: counted * 0.3,
                count: counted * 1.7,
                sum: if i == 700 { f64::NAN } else { counted * 0.1 },
                positive_spans: vec![Span { offset: i % 4 - 2, length: 3 }],
                positive_buckets: vec![counted * 0.2, counted * 0.5, counted * 0.7],
                ..Histogram::default()
            };
            (i64::from(t) * 15_000, std::sync::Arc::new(histogram))
        });
        source.append_histograms(&labels, histograms);
    }
    source
}
