//! What Go's own text/template makes of several hundred templates, and what ours does.
//!
//! The files are made by a program for Go that `golden/README.md` holds; the data below is that program's data.

use model::labels::Labels;
use std::fmt::Write;
use std::sync::Arc;
use template::prometheus::{AlertTemplateData, ExpandError, Sample, expand};
use template::{
    CallError, Function, FunctionNames, Integer, IntegerKind, List, Map, NoFunctions, Object, Options, Signature,
    Template, Time, Type, Value,
};

#[test]
fn structure_is_as_in_go() {
    compare("structure", include_str!("golden/structure.txt"));
}

#[test]
fn pipelines_are_as_in_go() {
    compare("pipelines", include_str!("golden/pipelines.txt"));
}

#[test]
fn functions_are_as_in_go() {
    compare("functions", include_str!("golden/functions.txt"));
}

#[test]
fn printf_values_are_as_in_go() {
    compare("printf_values", include_str!("golden/printf_values.txt"));
}

#[test]
fn printf_flags_are_as_in_go() {
    compare("printf_flags", include_str!("golden/printf_flags.txt"));
}

#[test]
fn rules_are_expanded_as_in_prometheus() {
    compare_with("prometheus", include_str!("golden/prometheus.txt"), |text, _| expanded(text));
}

fn compare(name: &str, file: &str) {
    compare_with(name, file, outcome);
}

/// Runs every case of a file and shows all that differ at once.
fn compare_with(name: &str, file: &str, outcome: impl Fn(&str, &str) -> String) {
    let mut report = String::new();
    let mut differing = 0;
    let file = format!("\n{}", file.strip_suffix('\n').unwrap_or(file));
    let cases: Vec<&str> = file.split("\n== ").skip(1).collect();
    assert!(cases.len() > 20, "{name} holds cases");
    for case in &cases {
        let (data_name, rest) = case.split_once('\n').expect("the name of the data stands alone");
        let (text, expected) = rest.split_once("\n-> ").expect("a template is followed by its outcome");
        let outcome = outcome(text, data_name);
        if outcome != expected {
            differing += 1;
            let _ = write!(report, "\n{text}\n  Go:   {expected:?}\n  ours: {outcome:?}\n");
        }
    }
    assert!(report.is_empty(), "{differing} of {} cases of {name} differ:\n{report}", cases.len());
}

fn outcome(text: &str, data_name: &str) -> String {
    let data = if data_name == "nil" { Value::NoValue } else { Value::object(Data { fields: fields() }) };
    match Template::parse("t", text, FunctionNames::NONE) {
        Err(error) => format!("parse error\n{error}"),
        Ok(template) => match template.execute(data, &NoFunctions, &Options::default()) {
            Err(error) => format!("error\n{error}"),
            Ok(text) => format!("text\n{text}"),
        },
    }
}

/// An annotation of a rule; the queries `up`, `one` and `fail` have answers.
fn expanded(text: &str) -> String {
    let labels = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied()).expect("valid");
    let data = AlertTemplateData {
        labels: labels(&[("instance", "a:9100"), ("job", "node"), ("severity", "page")]),
        external_labels: labels(&[("cluster", "eu")]),
        external_url: "http://testhost:9090/path/prefix".into(),
        value: Value::Float(1_234_567.5),
    };
    let sample = |value: f64, pairs: &[(&str, &str)]| Sample { labels: labels(pairs), value: Value::Float(value) };
    let query = |expression: &str| match expression {
        "up" => Ok(vec![
            sample(1.0, &[("__name__", "up"), ("instance", "b:9100"), ("job", "node")]),
            sample(0.0, &[("__name__", "up"), ("instance", "a:9100"), ("job", "node")]),
        ]),
        "one" => Ok(vec![sample(1.5, &[("__name__", "one"), ("__value__", "v")])]),
        "fail" => Err("query failed".to_owned()),
        _ => Ok(Vec::new()),
    };
    match expand("Test", text, &data, &query, 1_353_755_652_000) {
        Ok(text) => format!("text\n{text}"),
        Err(error @ ExpandError::Parse(_)) => format!("parse error\n{error}"),
        Err(error @ ExpandError::Execute(_)) => format!("error\n{error}"),
    }
}

#[derive(Debug)]
struct Data {
    fields: Vec<(&'static str, Value)>,
}

impl Object for Data {
    fn type_name(&self) -> &str {
        "main.Data"
    }

    fn fields(&self) -> Vec<(&str, Value)> {
        self.fields.clone()
    }

    fn method(&self, name: &str) -> Option<Signature> {
        Some(match name {
            "Greet" => Signature::fixed(&[Type::String]),
            "Sum" => Signature::variadic(&[], Type::Int),
            "Half" => Signature::fixed(&[Type::Float]),
            "Refuse" => Signature::fixed(&[]),
            "Pick" => Signature::fixed(&[Type::Bool, Type::Int]),
            "Later" => Signature::fixed(&[Type::Duration]),
            "Self" => Signature::fixed(&[Type::Named("main.Point")]),
            _ => return None,
        })
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, CallError> {
        Ok(match (name, arguments) {
            ("Greet", [Value::String(name)]) => Value::from(format!("Hello {name}")),
            ("Sum", numbers) => Value::int(numbers.iter().map(integer).sum()),
            ("Half", [Value::Float(float)]) => Value::Float(float / 2.0),
            ("Pick", [Value::Bool(yes), number]) => Value::from(format!("{yes} {}", integer(number))),
            ("Later", [Value::Integer(nanos)]) => Value::from(match nanos.value() {
                1500 => "1.5µs",
                _ => "1h30m1.5s",
            }),
            ("Self", [Value::Object(point)]) => point.field("X").expect("a point has coordinates"),
            _ => return Err(CallError::failed("refused")),
        })
    }
}

fn fields() -> Vec<(&'static str, Value)> {
    let labels = [("job", "node"), ("instance", "a:9100"), ("severity", "page")];
    let inner = Map::of_any(vec![("deep".into(), Value::Float(1.5))]);
    let any = Map::of_any(vec![
        ("text".into(), Value::from("t")),
        ("number".into(), Value::int(5)),
        ("nil".into(), Value::Nil),
        ("inner".into(), Value::from(inner)),
    ]);
    let counts = [("one", 1), ("two", 2), ("ten", 10)];
    let counts = counts.iter().map(|(name, count)| (Arc::from(*name), Value::int(*count))).collect();
    let nanos_2022 = 1_643_114_203_123_456_789;
    vec![
        ("Name", Value::from("web")),
        ("Empty", Value::from("")),
        ("Accents", Value::from("déjà vu")),
        ("Markup", Value::from("<a href=\"x\">Tom & 'Jerry'</a>")),
        ("Count", Value::int(42)),
        ("Zero", Value::int(0)),
        ("Negative", Value::int(-7)),
        ("Large", Value::Integer(Integer::unsigned(u64::MAX))),
        ("Ratio", Value::Float(0.123456789)),
        ("Million", Value::Float(1_234_567.0)),
        ("Yes", Value::Bool(true)),
        ("No", Value::Bool(false)),
        ("Labels", Value::from(Map::of_texts(labels))),
        ("None", Value::from(Map::of_texts::<&str, &str>([]))),
        ("Counts", Value::from(Map::new("map[string]int", counts, Value::int(0)))),
        ("Any", Value::from(any)),
        ("List", Value::texts(["b", "a", "c"])),
        ("Numbers", list("[]int", [3, 1, 2].map(Value::int))),
        ("Floats", list("[]float64", [1.0, 2.5, 1e21, 1e-7].map(Value::Float))),
        ("Nothing", Value::texts::<&str>([])),
        ("Nested", list("[][]string", [Value::texts(["x"]), Value::texts(["y", "z"])])),
        ("Point", Value::Object(Arc::new(Point { x: 3, label: "p" }))),
        ("Pointer", Value::object(Point { x: 4, label: "q" }).pointer()),
        ("Points", list("[]main.Point", [("a", 1), ("b", 2)].map(|(label, x)| Value::object(Point { x, label })))),
        ("Pairs", Value::object(Kv)),
        ("Heat", Value::object(Celsius)),
        ("Time", Value::Time(Time::from_unix_nanos(nanos_2022))),
        ("Zone", Value::Time(Time::from_unix_millis(1_656_983_045_000).in_zone(7200, "CEST"))),
        ("Wait", Value::duration(5_401_500_000_000)),
        ("Add", function("func(int, int) int", Signature::fixed(&[Type::Int, Type::Int]), add)),
        ("Join", function("func(string, ...string) string", Signature::variadic(&[Type::String], Type::String), join)),
        ("Fail", function("func() (string, error)", Signature::fixed(&[]), |_| Err(CallError::failed("failed")))),
    ]
}

fn integer(value: &Value) -> i64 {
    match value {
        Value::Integer(integer) => i64::try_from(integer.value()).expect("small"),
        _ => 0,
    }
}

fn add(arguments: &[Value]) -> Result<Value, CallError> {
    Ok(Value::int(arguments.iter().map(integer).fold(0, i64::wrapping_add)))
}

fn join(arguments: &[Value]) -> Result<Value, CallError> {
    let texts: Vec<&str> = arguments.iter().filter_map(Value::as_text).collect();
    let (separator, parts) = texts.split_first().expect("the first argument is obligatory");
    Ok(Value::from(parts.join(separator)))
}

fn function(
    type_name: &'static str,
    signature: Signature,
    body: impl Fn(&[Value]) -> Result<Value, CallError> + Send + Sync + 'static,
) -> Value {
    Value::Function(Arc::new(Function { type_name, signature, body: Box::new(body) }))
}

fn list<const N: usize>(type_name: &'static str, items: [Value; N]) -> Value {
    Value::from(List::new(type_name, items.to_vec()))
}

#[derive(Debug)]
struct Point {
    x: i64,
    label: &'static str,
}

impl Object for Point {
    fn type_name(&self) -> &str {
        "main.Point"
    }

    fn fields(&self) -> Vec<(&str, Value)> {
        vec![("X", Value::int(self.x)), ("Label", Value::from(self.label))]
    }

    fn method(&self, name: &str) -> Option<Signature> {
        (name == "Double").then_some(Signature::fixed(&[]))
    }

    fn call(&self, _: &str, _: &[Value]) -> Result<Value, CallError> {
        Ok(Value::int(self.x * 2))
    }
}

/// A map of texts with a method.
#[derive(Debug)]
struct Kv;

impl Object for Kv {
    fn type_name(&self) -> &str {
        "main.KV"
    }

    fn underlying(&self) -> Option<Value> {
        Some(Value::from(Map::of_texts([("b", "2"), ("a", "1")])))
    }

    fn method(&self, name: &str) -> Option<Signature> {
        (name == "SortedPairs").then_some(Signature::fixed(&[]))
    }

    fn call(&self, _: &str, _: &[Value]) -> Result<Value, CallError> {
        Ok(Value::object(Pairs))
    }
}

/// A list of structures with a method.
#[derive(Debug)]
struct Pairs;

impl Object for Pairs {
    fn type_name(&self) -> &str {
        "main.Pairs"
    }

    fn underlying(&self) -> Option<Value> {
        Some(list("[]main.Pair", [("a", "1"), ("b", "2")].map(|(name, value)| Value::object(Pair { name, value }))))
    }

    fn method(&self, name: &str) -> Option<Signature> {
        (name == "Values").then_some(Signature::fixed(&[]))
    }

    fn call(&self, _: &str, _: &[Value]) -> Result<Value, CallError> {
        Ok(Value::texts(["1", "2"]))
    }
}

#[derive(Debug)]
struct Pair {
    name: &'static str,
    value: &'static str,
}

impl Object for Pair {
    fn type_name(&self) -> &str {
        "main.Pair"
    }

    fn fields(&self) -> Vec<(&str, Value)> {
        vec![("Name", Value::from(self.name)), ("Value", Value::from(self.value))]
    }
}

#[derive(Debug)]
struct Celsius;

impl Object for Celsius {
    fn type_name(&self) -> &str {
        "main.Celsius"
    }

    fn fields(&self) -> Vec<(&str, Value)> {
        vec![("Degrees", Value::Float(21.55))]
    }

    fn text(&self) -> Option<String> {
        Some("21.6°C".into())
    }

    fn method(&self, name: &str) -> Option<Signature> {
        (name == "String").then_some(Signature::fixed(&[]))
    }

    fn call(&self, _: &str, _: &[Value]) -> Result<Value, CallError> {
        Ok(Value::from("21.6°C"))
    }
}

/// Integers that are not `int` exist in hosts, too.
#[test]
fn integers_of_all_types_compare() {
    let seconds = Value::Integer(Integer::new(5, IntegerKind::Int64));
    let data = Value::from(Map::of_any(vec![("x".into(), seconds)]));
    let template =
        Template::parse("t", "{{eq .x 5}} {{lt .x 6}} {{printf `%d %T` .x .x}}", FunctionNames::NONE).expect("valid");
    let text = template.execute(data, &NoFunctions, &Options::default());
    assert_eq!(text.as_deref(), Ok("true true 5 int64"));
}
