//! Annotations of rules: whatever loads expands to a text or an error, within its bounds.
#![no_main]

use model::labels::Labels;
use template::prometheus::{AlertTemplate, AlertTemplateData, Sample};
use template::{FunctionNames, Limits, NoFunctions, Options, Template, Value};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let limits = Limits { steps: 20_000, output_bytes: 1 << 20, ..Limits::default() };
    if let Ok(template) = Template::parse("fuzz", text, FunctionNames::NONE) {
        let output = template.execute(Value::texts(["a", "b"]), &NoFunctions, &Options { limits, ..Options::default() });
        assert!(output.is_ok_and(|output| output.len() <= limits.output_bytes) || text.contains("{{"));
    }
    let labels = Labels::from_pairs([("instance", "a:9100"), ("job", "node")]).expect("valid labels");
    let data = AlertTemplateData {
        labels: labels.clone(),
        external_labels: Labels::empty(),
        external_url: "http://h/p".into(),
        value: Value::Float(1.5),
    };
    let query = |_: &str| Ok(vec![Sample { labels: labels.clone(), value: Value::Float(2.0) }]);
    match AlertTemplate::parse("Fuzz", text) {
        Ok(template) => drop(template.expand(&data, &query, 1_000)),
        Err(error) => assert!(error.line() > 0, "{error}"),
    }
});
