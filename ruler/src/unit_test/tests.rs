use super::*;
use crate::rule_file::RuleFile;
use promql::engine::EngineOptions;
use promql::parse::ParseOptions;

const RULES: &str = "groups:\n- name: g\n  rules:\n  - record: job:up:sum\n    expr: sum by (job) (up)\n  - alert: Down\n    \
                     expr: up == 0\n    for: 2m\n    labels: {severity: page}\n    annotations: {text: 'value {{ $value }} \
                     of {{ $labels.job }}'}\n";

fn run(rules: &str, tests: &str) -> FileReport {
    let file = TestFile::parse("t.yml", tests).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let rules = RuleFile::parse("r.yml", rules, &ParseOptions::default());
    let rules = rules
        .map(|rules| vec![("r.yml".to_owned(), rules)])
        .map_err(|errors| errors.iter().map(ToString::to_string).collect());
    let tests = file.tests.iter().map(|test| run_test(&file, test, &rules, &EngineOptions::default(), false));
    FileReport { file: "t.yml".to_owned(), problems: Vec::new(), tests: tests.collect() }
}

/// The failures of a test with `fields`, `|` for the start of a line at the level of a test.
fn failures(rules: &str, fields: &str) -> String {
    run(rules, &format!("tests:\n- {}\n", fields.replace('|', "\n  "))).failures(true)
}

#[test]
fn alerts_are_compared_with_labels_and_annotations() {
    let input = "input_series: [{series: 'up{job=\"a\"}', values: '1 0x4'}]|alert_rule_test:";
    let pending = format!("{input}|- {{eval_time: 2m, alertname: Down}}");
    assert_eq!(failures(RULES, &pending), "");
    let firing = format!(
        "{input}|- {{eval_time: 3m59s, alertname: Down, exp_alerts: [{{exp_labels: {{job: a, severity: page}}, \
         exp_annotations: {{text: value 0 of a}}}}]}}"
    );
    assert_eq!(failures(RULES, &firing), "");
    let wrong = failures(RULES, &firing.replace("page", "info"));
    assert_eq!(
        wrong,
        "t.yml:4:5: test \"unnamed#0\": alertname: Down, time: 3m59s,\n    diff (-expected +got):\n      - \
         Labels:{alertname=\"Down\", job=\"a\", severity=\"info\"}\n      - Annotations:{text=\"value 0 of a\"}\n      + \
         Labels:{alertname=\"Down\", job=\"a\", severity=\"page\"}\n      + Annotations:{text=\"value 0 of a\"}\n"
    );
}

#[test]
fn expressions_see_what_rules_recorded_and_nothing_after_the_last_evaluation() {
    let input = "interval: 30s|input_series: [{series: up, values: 0+1x10}]|promql_expr_test:";
    let recorded =
        format!("{input}|- {{expr: 'job:up:sum', eval_time: 1m, exp_samples: [{{labels: 'job:up:sum', value: 2}}]}}");
    assert_eq!(failures(RULES, &recorded), "");
    let last = format!("{input}|- {{expr: up, eval_time: 1m30s, exp_samples: [{{labels: up, value: 2}}]}}");
    assert_eq!(failures(RULES, &last), "");
}

#[test]
fn a_failing_rule_ends_its_test() {
    let rules = "groups:\n- name: g\n  rules:\n  - record: a\n    expr: b * on() c\n";
    let text = failures(
        rules,
        "input_series: [{series: 'b{x=\"1\"}', values: 1}, {series: 'b{x=\"2\"}', values: 1}, {series: c, values: \
         1}]|promql_expr_test: [{expr: b, eval_time: 5m}]",
    );
    assert!(text.starts_with("t.yml:2:3: test \"unnamed#0\": rule: a, time: 0s, err: "), "{text}");
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn native_histograms_are_compared_with_their_hints() {
    let rules = "";
    let test = |expected: &str| {
        failures(
            rules,
            &format!(
                "input_series: [{{series: h, values: '{{{{count:2 sum:3 buckets:[2]}}}}x2'}}]|promql_expr_test: [{{expr: h, \
                 eval_time: 2m, exp_samples: [{{labels: h, histogram: '{expected}'}}]}}]"
            ),
        )
    };
    assert_eq!(test("{{count:2 sum:3 counter_reset_hint:not_reset buckets:[2]}}"), "");
    assert!(test("{{count:2 sum:3 buckets:[2]}}").contains("not_reset"));
    assert!(test("5").contains("expected histogram"));
}

#[test]
fn numbers_may_differ_in_the_last_bit_only_when_the_file_says_so() {
    let test = "tests:\n- input_series: [{series: x, values: '0.1'}]\n  promql_expr_test:\n  - {expr: x + 0.2, exp_samples: \
                [{value: 0.3}]}\n";
    assert!(!run("", test).passed());
    assert!(run("", &format!("fuzzy_compare: true\n{test}")).passed());
    assert!(!run("", &format!("fuzzy_compare: true\n{}", test.replace("0.3}", "0.31}"))).passed());
}

#[test]
fn time_may_begin_anywhere() {
    for start in ["2024-01-15T10:30:00Z", "1705314600", "1705314600.000"] {
        let test = format!(
            "start_timestamp: {start}|input_series: [{{series: x, values: 1x3}}]|promql_expr_test: [{{expr: timestamp(x), \
             eval_time: 2m, exp_samples: [{{value: 1705314720}}]}}]"
        );
        assert_eq!(failures("", &test), "", "{start}");
    }
}

#[test]
fn problems_of_the_file_are_reported_together_with_their_places() {
    let text = "evaluation_interval: 1x\ntests:\n- nam: a\n  start_timestamp: soon\n  alert_rule_test:\n  - eval_time: later\n";
    let problems = TestFile::parse("t.yml", text).expect_err("problems");
    let starts: Vec<&str> =
        problems.iter().map(|problem| problem.split([' ', '\n']).next().unwrap_or_default()).collect();
    assert_eq!(starts, ["t.yml:1:22:", "t.yml:3:3:", "t.yml:4:20:", "t.yml:6:16:"]);
    assert!(TestFile::parse("t.yml", "group_eval_order: [a, b, a]").is_err());
    assert!(TestFile::parse("t.yml", "").is_ok_and(|file| file.tests.is_empty()));
}

#[test]
fn tests_without_end_are_refused() {
    let endless = failures("", "promql_expr_test: [{expr: '1', eval_time: 290y}]");
    assert!(endless.contains("are more than 10000000"), "{endless}");
    let huge = failures("", "input_series: [{series: x, values: 1x99999999}]");
    assert!(huge.contains("are more than 5000000"), "{huge}");
}

#[test]
fn junit_names_suites_tests_and_failures() {
    let report = run("", "tests:\n- name: a<b\n  promql_expr_test: [{expr: 'vector(1)'}]\n- name: ok\n");
    let xml = junit::document(&[report], "2026-01-01T00:00:00");
    assert!(xml.starts_with(r#"<testsuites><testsuite name="t.yml" tests="2" failures="1" errors="0""#), "{xml}");
    assert!(
        xml.contains(r#"<testcase name="a&lt;b"><failure>t.yml:3:22: expr: &#34;vector(1)&#34;, time: 0s,"#),
        "{xml}"
    );
    assert!(xml.ends_with("<testcase name=\"ok\"></testcase></testsuite></testsuites>\n"), "{xml}");
}
