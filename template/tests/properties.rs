//! Whatever the text, loading and executing it ends with a text or an error.

use model::labels::Labels;
use proptest::prelude::*;
use template::prometheus::{AlertTemplate, AlertTemplateData, Sample};
use template::{FunctionNames, Limits, NoFunctions, Options, Template, Value};

/// Pieces from which templates are made, so that many of them are nearly right.
const PIECES: &[&str] = &[
    "{{",
    "}}",
    "{{-",
    "-}}",
    " - ",
    "(",
    ")",
    "|",
    " | ",
    ":=",
    " = ",
    ",",
    ".",
    ".x",
    ".Labels",
    ".Value",
    "$",
    "$x",
    "$x := ",
    "$labels.job",
    "$value",
    "if ",
    "else",
    "else if ",
    "end",
    "range ",
    "with ",
    "define ",
    "template ",
    "block ",
    "break",
    "continue",
    "nil",
    "true",
    "false",
    "and ",
    "or ",
    "not ",
    "eq ",
    "lt ",
    "len ",
    "index ",
    "slice ",
    "print ",
    "printf ",
    "html ",
    "js ",
    "urlquery ",
    "call ",
    "query ",
    "first ",
    "label ",
    "value ",
    "args ",
    "humanize ",
    "humanizeDuration ",
    "humanizeTimestamp ",
    "toTime ",
    ".Format ",
    ".Add ",
    "sortByLabel ",
    "reReplaceAll ",
    "match ",
    "title ",
    "stripDomain ",
    "parseDuration ",
    "\"a\"",
    "`r`",
    "'c'",
    "\"%d %v\"",
    "\"%[2]*.[1]*f\"",
    "\"%-08.3q|%+#x\"",
    "\"up\"",
    "\"1h\"",
    "\"Jan _2 15:04:05.000 MST -07:00\"",
    "0",
    "1",
    "-1",
    "3",
    "1.5",
    "1e300",
    "0x1p-2",
    "9223372036854775807",
    "{{end}}",
    "{{else}}",
    "{{if .}}",
    "{{range .Labels}}",
    "{{with $x := .Value}}",
    "{{define \"a\"}}",
    "{{template \"a\" .}}",
    "{{/* c */}}",
    "\n",
    " ",
    "é",
    "\u{a0}",
    "text",
    "\\",
    "\"",
    "`",
    "'",
];

fn template_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => prop::sample::select(PIECES).prop_map(str::to_owned),
        1 => "\\PC{0,3}",
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

/// Whole actions, so that more of them get past the parser.
fn action_text() -> impl Strategy<Value = String> {
    let words = prop::collection::vec(prop::sample::select(PIECES), 1..6);
    prop::collection::vec(words.prop_map(|words| format!("{{{{ {} }}}}", words.join(" "))), 0..6)
        .prop_map(|a| a.concat())
}

const LIMITS: Limits = Limits { depth: 50, output_bytes: 10_000, steps: 2_000 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_template_ends(text in prop_oneof![template_text(), action_text()]) {
        if let Ok(template) = Template::parse("t", &text, FunctionNames::NONE) {
            let options = Options { limits: LIMITS, ..Options::default() };
            let output = template.execute(Value::texts(["a", "b"]), &NoFunctions, &options);
            prop_assert!(output.is_ok_and(|text| text.len() <= LIMITS.output_bytes) || text.contains("{{"));
        }
    }

    #[test]
    fn every_annotation_ends(text in prop_oneof![template_text(), action_text()]) {
        let data = AlertTemplateData {
            labels: Labels::from_pairs([("job", "a"), ("x", "b")]).expect("valid"),
            external_labels: Labels::empty(),
            external_url: "http://h/p".into(),
            value: Value::Float(1.5),
        };
        let query = |_: &str| Ok(vec![Sample { labels: data.labels.clone(), value: Value::Float(2.0) }]);
        match AlertTemplate::parse("A", &text) {
            Ok(template) => drop(template.expand(&data, &query, 1_000)),
            Err(error) => prop_assert!(error.line() >= 1 && error.to_string().starts_with("template: __alert_A:")),
        }
    }

    #[test]
    fn text_without_actions_is_its_own_expansion(text in "[^{]{0,200}") {
        let template = Template::parse("t", &text, FunctionNames::NONE).expect("plain");
        prop_assert_eq!(template.execute(Value::NoValue, &NoFunctions, &Options::default()), Ok(text));
    }

    #[test]
    fn every_format_ends(format in "[%a-zA-Z0-9#+ .*\\[\\]é-]{0,20}", float in any::<f64>(), int in any::<i64>(), text in "\\PC{0,8}") {
        let quoted = model::text::quote(&format);
        let arguments = Value::texts([text]);
        let source = format!("{{{{ printf {quoted} {int} {float:?} . (index . 0) nil true }}}}").replace("NaN", "1.5").replace("inf", "1.5");
        let template = Template::parse("t", &source, FunctionNames::NONE).expect("numbers and texts");
        let output = template.execute(arguments, &NoFunctions, &Options { limits: Limits { output_bytes: 100_000, ..LIMITS }, ..Options::default() });
        prop_assert!(output.is_ok() || format.len() > 6, "{:?}", output);
    }

    #[test]
    fn shortest_floats_read_back_the_same(bits in any::<u64>()) {
        let float = f64::from_bits(bits);
        prop_assume!(float.is_finite());
        let template = Template::parse("t", "{{printf `%v %x` . .}}", FunctionNames::NONE).expect("valid");
        let text = template.execute(Value::Float(float), &NoFunctions, &Options::default()).expect("finite");
        let (shortest, hexadecimal) = text.split_once(' ').expect("two numbers");
        prop_assert_eq!(shortest.parse::<f64>().map(f64::to_bits), Ok(bits));
        // What was printed is a literal, which means the same.
        let again = Template::parse("t", &format!("{{{{printf `%v` {hexadecimal}}}}}"), FunctionNames::NONE).expect("valid");
        let again = again.execute(Value::NoValue, &NoFunctions, &Options::default());
        prop_assert_eq!(again.as_deref(), Ok(shortest));
    }
}
