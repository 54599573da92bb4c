//! What an annotation costs: loading it once, expanding it for every alert.

use criterion::{Criterion, criterion_group, criterion_main};
use model::labels::Labels;
use std::hint::black_box;
use template::Value;
use template::prometheus::{AlertTemplate, AlertTemplateData};

const TYPICAL: &str =
    "{{ $labels.instance }} of job {{ $labels.job }} has been at {{ $value | humanizePercentage }} for five minutes.";
const LOGIC: &str = r#"{{ if gt $value 0.9 }}{{ printf "%.1f" $value }}{{ else }}low{{ end }} {{ range $k, $v := $labels }}{{ $k }}={{ $v }} {{ end }}{{ reReplaceAll ":.*" "" $labels.instance }}"#;

fn data() -> AlertTemplateData {
    let labels = (0..8).map(|i| (format!("label_{i}"), format!("value of the label {i}")));
    let own = [("instance".to_owned(), "10.0.0.1:9100".to_owned()), ("job".to_owned(), "node".to_owned())];
    AlertTemplateData {
        labels: Labels::from_pairs(labels.chain(own)).expect("valid labels"),
        external_labels: Labels::from_pairs([("cluster", "eu"), ("replica", "a")]).expect("valid labels"),
        external_url: "http://localhost:9009".into(),
        value: Value::Float(0.954),
    }
}

fn benches(criterion: &mut Criterion) {
    let query = |_: &str| Ok(Vec::new());
    for (name, text) in [("typical", TYPICAL), ("logic", LOGIC)] {
        let template = AlertTemplate::parse("Bench", text).expect("valid template");
        let data = data();
        criterion
            .bench_function(&format!("parse {name}"), |b| b.iter(|| AlertTemplate::parse("Bench", black_box(text))));
        criterion.bench_function(&format!("expand {name}"), |b| {
            b.iter(|| template.expand(black_box(&data), &query, 1_700_000_000_000))
        });
    }
}

criterion_group!(expand, benches);
criterion_main!(expand);
