//! Alert templates: no text panics, runs for long or takes much memory, neither when checked nor when expanded.
#![no_main]

use template::prometheus::{AlertTemplateData, expand};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let data = AlertTemplateData {
        labels: model::labels::Labels::from_sorted([("instance", "a:1"), ("job", "b")]),
        external_labels: model::labels::Labels::empty(),
        external_url: "http://h".into(),
        value: template::Value::from(1.5),
    };
    let _ = expand("fuzz", text, &data, &|_| Ok(Vec::new()), 0);
});
