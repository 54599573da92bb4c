//! What it costs to list a query and to write it down: paid by every query.
#![allow(missing_docs, reason = "criterion's macros")]

use criterion::{Criterion, criterion_group, criterion_main};
use hearth::query::active::ActiveQueries;
use hearth::query::journal::Journal;
use model::tenant::TenantId;
use promql::budget::Budget;
use std::sync::Arc;

const QUERY: &str = r#"sum by (job, instance) (rate(http_requests_total{job="api",code=~"5.."}[5m])) > 0.1"#;

fn active(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let written = ActiveQueries::default();
    let (journal, interrupted) = Journal::open(&dir.path().join("queries.active")).expect("a journal");
    written.keep_journal(journal, interrupted);
    for (name, active) in [("listed", ActiveQueries::default()), ("listed and written", written)] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| active.register(QUERY, &TenantId::anonymous(), Arc::new(Budget::default())));
        });
    }
}

criterion_group!(benches, active);
criterion_main!(benches);
