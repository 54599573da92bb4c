//! What one slot of one alerting rule costs while its alerts go on firing: query results to labels and annotations, states,
//! samples. Each alert has ten labels and two annotations, one of them a template.
#![allow(missing_docs, reason = "criterion's macro makes a public function")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model::labels::Labels;
use model::time::Timestamp;
use promql::ast::Expr;
use promql::parse::ParseOptions;
use promql::value::SampleValue;
use ruler::annotate::TemplateContext;
use ruler::error::QueryError;
use ruler::group::{Group, GroupSettings, Work};
use ruler::ports::{Element, Moment, Queries, QueryValue};
use ruler::restore::ForRestore;
use ruler::rule_file::{GroupDefaults, RuleFile};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ALERTS: usize = 10_000;
const FILE: &str = "
groups:
- name: g
  rules:
  - alert: Down
    expr: up == 0
    for: 5m
    labels: {severity: page}
    annotations:
      runbook: https://runbooks.example/down
      summary: 'Instance {{ $labels.instance }} of {{ $labels.job }} is down, value {{ $value }}'
";

struct Fixed(Vec<Element>);

impl Queries for Fixed {
    fn instant(&self, _: &Expr, _: Timestamp) -> Result<QueryValue, QueryError> {
        Ok(QueryValue::Vector(self.0.clone()))
    }
}

fn results() -> Fixed {
    let element = |i: usize| {
        let instance = format!("10.0.{}.{}:9100", i / 250, i % 250);
        let mut pairs = vec![("__name__".to_owned(), "up".to_owned()), ("instance".into(), instance)];
        pairs.push(("job".into(), "node".into()));
        pairs.extend((0..7).map(|n| (format!("label_{n}"), format!("value-{}", i % (n + 2)))));
        Element { labels: Labels::from_pairs(pairs).expect("distinct names"), value: SampleValue::Float(0.0) }
    };
    Fixed((0..ALERTS).map(element).collect())
}

fn group() -> Group {
    let file = RuleFile::parse("bench.yml", FILE, &ParseOptions::default()).expect("a valid file");
    let defaults = GroupDefaults { interval_ms: 60_000, query_offset_ms: 0 };
    let spec = file.groups.into_iter().map(|group| group.resolve("bench.yml", defaults)).next();
    let context = TemplateContext {
        external_labels: Labels::empty(),
        external_url: "http://localhost:9009".into(),
        parse: ParseOptions::default(),
    };
    let settings = GroupSettings {
        context: Arc::new(context),
        resend_delay_ms: 60_000,
        repair_window_ms: 0,
        unknown_max_ms: 3_600_000,
        for_restore: ForRestore::default(),
    };
    Group::new(spec.expect("one group"), settings)
}

fn at(minute: u64) -> Moment {
    Moment { wall: Timestamp(minute as i64 * 60_000), monotonic: Duration::from_secs(minute * 60) }
}

fn slot(criterion: &mut Criterion) {
    let mut benches = criterion.benchmark_group("alerts");
    benches.throughput(Throughput::Elements(ALERTS as u64)).sample_size(20);
    let (queries, mut group) = (results(), group());
    let mut minute = 0;
    let mut next = |group: &mut Group| {
        minute += 1;
        group.begin(at(minute)).expect("a slot is due every minute");
        assert_eq!(group.next_batch(), Some(vec![0]));
        let Work::Evaluate(request) = group.begin_rule(0, at(minute)) else { panic!("a rule to evaluate") };
        (request, at(minute))
    };
    let _ = group.begin(at(0));
    let (request, _) = next(&mut group);
    benches.bench_function("evaluate", |bencher| bencher.iter(|| request.evaluate(&queries)));
    benches.bench_function("apply", |bencher| {
        bencher.iter_custom(|slots| {
            let mut spent = Duration::ZERO;
            for _ in 0..slots {
                let (request, now) = next(&mut group);
                let evaluation = request.evaluate(&queries);
                let started = Instant::now();
                let outcome = group.handle_evaluation(0, evaluation);
                let _ = group.handle_append(0, now, Ok(Vec::new()));
                spent += started.elapsed();
                drop(outcome);
            }
            spent
        });
    });
    benches.finish();
}

criterion_group!(benches, slot);
criterion_main!(benches);
