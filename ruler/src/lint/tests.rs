use super::*;
use promql::parse::ParseOptions;
use std::collections::BTreeSet;

struct Data;

impl Facts for Data {
    fn has_data(&self, selector: &str) -> Option<bool> {
        Some(!selector.contains("nothing"))
    }

    fn metric_type(&self, metric: &str) -> Option<String> {
        match metric {
            "g" => Some("gauge".to_owned()),
            "c" => Some("counter".to_owned()),
            _ => None,
        }
    }
}

fn findings(text: &str, disabled: &[Lint], facts: bool) -> Vec<String> {
    let file = RuleFile::parse("f.yml", text, &ParseOptions::all()).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let disabled: BTreeSet<Lint> = disabled.iter().copied().collect();
    let found = lint(&file, text, &disabled, facts.then_some(&Data as &dyn Facts));
    found.into_iter().map(|finding| format!("{} {}: {}", finding.at, finding.lint.name(), finding.message)).collect()
}

/// The lints that an alert with `for` and this expression has.
fn names(expr: &str) -> Vec<String> {
    let text = format!("groups: [{{name: g, rules: [{{alert: A, for: 1m, expr: '{expr}'}}]}}]");
    let name = |finding: &String| finding.split([' ', ':']).nth(2).unwrap_or_default().to_owned();
    findings(&text, &[], true).iter().map(name).collect()
}

#[test]
fn comparisons_that_are_never_true_are_found() {
    for expr in [
        "count(up == 0) == 0",
        "count(x) < 1",
        "absent(x) == 0",
        "rate(c[5m]) < 0",
        "sum(rate(c[5m])) < 0",
        "up > 1",
        "hour() > 23",
        "(x > bool 1) > 1",
        "1 - up > 1",
        "rate(a[5m]) / rate(b[5m]) < 0",
        "x > 5 and x < 3",
        "x > 5 and 5 > x",
        "clamp_max(x, 10) > 10",
        "group(x) != 1",
        "2 < up",
        "100 * up > 100",
    ] {
        assert_eq!(names(expr), ["never-true"], "{expr}");
    }
    for expr in [
        "up == 0",
        "count(x) == 1",
        "rate(c[5m]) <= 0",
        "x > 5 and x < 6",
        "x > 5 and y < 3",
        "sum(x) < 0",
        "a - b < 0",
    ] {
        assert!(names(expr).is_empty(), "{expr}: {:?}", names(expr));
    }
}

#[test]
fn comparisons_and_alerts_that_are_always_true_are_found() {
    for (expr, expected) in [
        ("rate(c[5m]) >= 0", "always-true"),
        ("count(x) > 0", "always-true"),
        ("vector(1)", "always-firing"),
        ("time() - 5", "always-firing"),
        ("sum(x) or vector(0)", "always-firing"),
        ("x > bool 5", "bool-in-alert"),
        ("rate(sum(c)[5m:1m]) > 1", "rate-of-aggregation"),
        ("rate(g[5m]) > 1", "rate-of-gauge"),
        ("deriv(c[5m]) > 1", "delta-of-counter"),
        ("nothing > 1", "no-data"),
        ("x{a=~\"b\"} > 1", "needless-regex"),
    ] {
        assert_eq!(names(expr), [expected], "{expr}");
    }
    for expr in ["absent(nothing)", "scalar(x) > y", "max_over_time(g[5m]) > 1", "x{a=~\"b|c\"} > 1", "rate(y[5m]) > 1"]
    {
        assert!(names(expr).is_empty(), "{expr}: {:?}", names(expr));
    }
}

#[test]
fn labels_that_are_aggregated_away_are_found_in_texts() {
    let found = |expr: &str, text: &str| {
        let file = format!(
            "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: {expr}\n    for: 1m\n    labels: {{own: x}}\n    annotations:\n      \
             text: '{text}'\n"
        );
        !findings(&file, &[], false).is_empty()
    };
    for (expr, text) in [
        ("sum by (job) (x) > 1", "{{ $labels.instance }}"),
        ("sum(x) > 1", "{{ .Labels.job }}"),
        ("sum without (job) (x) > 1", "{{ $labels.job | title }}"),
        ("a / on (b) c > 1", "{{ $labels.d }}"),
        ("absent(x{job=\"a\"})", "{{ $labels.instance }}"),
        ("x > 1", "{{ $labels.own }}"),
        ("histogram_quantile(0.9, sum by (le) (rate(x[5m]))) > 1", "{{ $labels.le }}"),
    ] {
        let expected = expr != "x > 1"; // a series may have the label that the rule sets, too
        assert_eq!(found(expr, text), expected, "{expr} {text}");
    }
    for (expr, text) in [
        ("sum by (job) (x) > 1", "{{ $labels.job }} and $labels.instance outside"),
        ("topk by (job) (3, x) > 1", "{{ $labels.instance }}"),
        ("a / on (b) group_left (owner) c > 1", "{{ $labels.owner }} {{ $labels.other }}"),
        ("label_replace(sum(x), \"new\", \"a\", \"b\", \"c\") > 1", "{{ $labels.new }}"),
        ("absent(x{job=\"a\"})", "{{ $labels.job }}"),
        ("sum(x) > 1", "{{ range query \"up\" }}{{ .Labels.job }}{{ end }}"),
        ("count_values(\"version\", x) > 1", "{{ $labels.version }}"),
        ("sum by (a) (x) or sum by (b) (y)", "{{ $labels.a }} {{ $labels.b }}"),
    ] {
        assert!(!found(expr, text), "{expr} {text}");
    }
}

#[test]
fn findings_have_places_and_are_switched_off_by_name_and_by_comment() {
    let text = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up > 1\n  # hearth-lint: ignore alert-without-for\n  - \
                alert: B\n    expr: up > 1\n  - alert: C\n    expr: |\n      up > 1 # hearth-lint: ignore never-true, \
                alert-without-for\n  - {record: r, expr: x}\n  - {record: r, expr: y}\n";
    let places = |disabled: &[Lint]| -> Vec<String> {
        let first_words = |finding: &String| finding.split(": ").next().unwrap_or_default().to_owned();
        findings(text, disabled, false).iter().map(first_words).collect()
    };
    let all = ["5:11 alert-without-for", "5:11 never-true", "8:11 never-true", "13:5 duplicate-rules"];
    assert_eq!(places(&[]), all);
    assert_eq!(places(&[Lint::NeverTrue, Lint::DuplicateRules]), ["5:11 alert-without-for"]);
}

#[test]
fn every_lint_is_found_by_its_name() {
    assert!(Lint::ALL.into_iter().all(|lint| Lint::from_name(lint.name()) == Some(lint)));
    assert_eq!(Lint::ALL.into_iter().collect::<BTreeSet<_>>().len(), Lint::ALL.len());
}
