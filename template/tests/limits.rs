//! No template runs on, recurses without end or fills the memory: each ends with a clear error, soon.

use model::labels::Labels;
use std::time::{Duration, Instant};
use template::prometheus::{AlertTemplateData, Sample, expand};
use template::{Error, ErrorKind, FunctionNames, Limits, NoFunctions, Options, Template, Value};

/// Executes `text` in a thread with a small stack.
fn outcome(text: &str) -> Result<String, Error> {
    outcome_within(text, Limits::default())
}

fn outcome_within(text: &str, limits: Limits) -> Result<String, Error> {
    let text = text.to_owned();
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
        let template = Template::parse("t", &text, FunctionNames::NONE)?;
        template.execute(Value::texts(["a"]), &NoFunctions, &Options { limits, ..Options::default() })
    });
    thread.expect("a thread can be started").join().expect("no panic, no stack overflow")
}

fn refusal(text: &str) -> (ErrorKind, String) {
    refusal_within(text, Limits::default())
}

fn refusal_within(text: &str, limits: Limits) -> (ErrorKind, String) {
    let started = Instant::now();
    let error = match outcome_within(text, limits) {
        Ok(output) => panic!("no bound is reached, but {} bytes: {text:.80}", output.len()),
        Err(error) => error,
    };
    assert!(started.elapsed() < Duration::from_secs(10), "{text:.80}");
    (error.kind(), error.message().rsplit(": ").next().unwrap_or_default().to_owned())
}

#[test]
fn endless_recursion_ends_within_a_small_stack() {
    for text in [
        r#"{{define "r"}}{{template "r" .}}{{end}}{{template "r" .}}"#,
        r#"{{define "r"}}{{if .}}{{range .}}{{with .}}{{template "r" $}}{{end}}{{end}}{{end}}{{end}}{{template "r" .}}"#,
        r#"{{define "r"}}{{template "r" (printf "%s" (print (print .)))}}{{end}}{{template "r" .}}"#,
        r#"{{define "a"}}{{block "b" .}}{{template "a" .}}{{end}}{{end}}{{template "a" .}}"#,
    ] {
        assert_eq!(refusal(text), (ErrorKind::Limit, "exceeded maximum template depth (500)".into()));
    }
}

#[test]
fn recursion_that_ends_may_be_a_hundred_deep() {
    let text = r#"{{define "r"}}{{if lt (len .) 100}}{{template "r" (print . "x")}}{{else}}{{len .}}{{end}}{{end}}{{template "r" ""}}"#;
    assert_eq!(outcome(text).as_deref(), Ok("100"));
}

#[test]
fn nesting_beyond_reason_is_refused_when_loaded() {
    let parentheses = format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000));
    assert_eq!(refusal(&parentheses), (ErrorKind::Syntax, "max expression depth exceeded".into()));
    let structures = format!("{}{}", "{{if .}}".repeat(50_000), "{{end}}".repeat(50_000));
    assert_eq!(refusal(&structures), (ErrorKind::Syntax, "exceeded max nesting of control structures".into()));
    let mixed = format!("{}{{{{ {}", "{{range .}}".repeat(100), "(".repeat(100));
    assert_eq!(refusal(&mixed).0, ErrorKind::Syntax);
}

#[test]
fn a_hundred_levels_are_fine_and_so_are_chains_of_any_length() {
    let nested = format!("{}x{}", "{{with .}}".repeat(100), "{{end}}".repeat(100));
    assert_eq!(outcome(&nested).as_deref(), Ok("x"));
    let chain = format!("{{{{if false}}}}{}{{{{else}}}}x{{{{end}}}}", "{{else if false}}".repeat(10_000));
    assert_eq!(outcome(&chain).as_deref(), Ok("x"));
    let fields = format!("{{{{ $x := . }}}}{{{{ $x{} }}}}", ".a".repeat(10_000));
    assert_eq!(outcome(&fields).map_err(|error| error.kind()), Err(ErrorKind::Execution));
}

#[test]
fn loops_and_long_texts_end() {
    for text in [
        "{{range 9223372036854775807}}{{end}}",
        "{{range 1000000}}{{range 1000000}}{{end}}{{end}}",
        r#"{{$x := printf "%100000s" ""}}{{range 100000}}{{if eq $x (print $x)}}{{end}}{{end}}"#,
        r#"{{$x := printf "%100000s" ""}}{{range 100000}}{{$y := html $x}}{{end}}"#,
    ] {
        let limits = Limits { steps: 100_000, ..Limits::default() };
        let expected = (ErrorKind::Limit, "exceeded maximum of 100000 steps".into());
        assert_eq!(refusal_within(text, limits), expected, "{text}");
    }
    for text in [
        r#"{{range 1000}}{{printf "%1000000d" 1}}{{end}}"#,
        r#"{{$x := "xx"}}{{range 100}}{{$x = printf "%s%s" $x $x}}{{end}}"#,
        r#"{{$x := "xx"}}{{range 100}}{{$x = print $x $x}}{{end}}"#,
        r#"{{printf "%1000000s%1000000s%1000000s%1000000s%1000000s" 1 2 3 4 5}}"#,
        r#"{{printf "%.1000000f%.1000000f%.1000000f%.1000000f%.1000000f" 1.0 1.0 1.0 1.0 1.0}}"#,
        r#"{{$x := printf "%1000000s" "<"}}{{range 20}}{{$x}}{{end}}"#,
        r#"{{$x := printf "%1000000s" ""}}{{urlquery (js (printf "%q%q%q%q%q" $x $x $x $x $x))}}"#,
    ] {
        assert_eq!(refusal(text), (ErrorKind::Limit, "exceeded maximum output of 4194304 bytes".into()), "{text}");
    }
}

#[test]
fn limits_can_be_set() {
    let template = Template::parse("t", "{{range 10}}x{{end}}", FunctionNames::NONE).expect("valid");
    let limited = |limits: Limits| {
        let options = Options { limits, ..Options::default() };
        template.execute(Value::NoValue, &NoFunctions, &options).map_err(|error| error.kind())
    };
    assert_eq!(limited(Limits::default()).as_deref(), Ok("xxxxxxxxxx"));
    assert_eq!(limited(Limits { output_bytes: 9, ..Limits::default() }), Err(ErrorKind::Limit));
    assert_eq!(limited(Limits { steps: 20, ..Limits::default() }), Err(ErrorKind::Limit));
    assert_eq!(limited(Limits { depth: 1, ..Limits::default() }), Err(ErrorKind::Limit));
}

/// Expands an annotation without labels; every query answers with one sample.
fn expanded(text: &str) -> Result<String, ErrorKind> {
    let data = AlertTemplateData {
        labels: Labels::empty(),
        external_labels: Labels::empty(),
        external_url: "".into(),
        value: Value::Float(1.0),
    };
    let query = |_: &str| Ok(vec![Sample { labels: Labels::empty(), value: Value::Float(1.0) }]);
    expand("Test", text, &data, &query, 0).map_err(|error| error.kind())
}

#[test]
fn rules_cannot_ask_or_compute_without_end() {
    for text in [
        r#"{{range 100000}}{{$x := query "up"}}{{end}}"#,
        r#"{{$x := 1}}{{range 100000}}{{$x = args $x $x}}{{end}}"#,
        r#"{{$x := printf "%1000000s" ""}}{{reReplaceAll "" $x $x}}"#,
        r#"{{range $i := 100000}}{{$x := match (printf "%d[a-z]{100}[0-9a-z]{100}" $i) "x"}}{{end}}"#,
    ] {
        let started = Instant::now();
        assert_eq!(expanded(text), Err(ErrorKind::Limit), "{text}");
        assert!(started.elapsed() < Duration::from_secs(20), "{text}");
    }
    assert_eq!(expanded(r#"{{range 500}}{{$x := query "up"}}{{end}}ok"#).as_deref(), Ok("ok"));
    let long = "a".repeat(5_000);
    assert_eq!(expanded(&format!("{{{{match \"{long}\" \"x\"}}}}")), Err(ErrorKind::Execution));
}
