use super::*;
use crate::alerting::LimitMode;
use crate::rule::RuleKind;
use crate::rule_state::OnError;
use proptest::prelude::*;

fn parse(text: &str) -> Result<RuleFile, Vec<RuleFileError>> {
    RuleFile::parse("f.yml", text, &ParseOptions::default())
}

fn errors(text: &str) -> Vec<String> {
    let errors = parse(text).expect_err("a file with a problem");
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_with_everything_is_read() {
    let file = parse(
        r#"
groups:
- name: one
  interval: 1h30m
  query_offset: 0s
  limit: 10
  labels: {team: db, sev: low, zero: ~}
  rules:
  - record: job:up:sum
    expr: sum( up ) by(job)
    labels: {sev: 1, none: null, yes: no}
  - alert: Down
    expr: |
      up
        == 0
    for: 1d
    keep_firing_for: 90s
    labels: {}
    annotations:
      summary: 'Instance {{ $labels.instance }} is down'
      empty:
- name: two
"#,
    )
    .expect("valid");
    assert_eq!(file.rule_count(), 2);
    let one = &file.groups[0];
    assert_eq!((one.interval_ms, one.query_offset_ms, one.limit), (Some(5_400_000), Some(0), 10));
    let record = &one.rules[0];
    assert_eq!((record.name.as_str(), &**record.query.text()), ("job:up:sum", "sum by (job) (up)"));
    let labels: Vec<_> = record.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("none", ""), ("sev", "1"), ("team", "db"), ("yes", "no"), ("zero", "")]);
    let RuleKind::Alerting(alert) = &one.rules[1].kind else { panic!("an alerting rule") };
    assert_eq!((alert.hold_ms, alert.keep_firing_ms), (86_400_000, 90_000));
    let annotations: Vec<_> = alert.annotations.iter().map(|(name, text)| (&**name, text.source())).collect();
    assert_eq!(annotations, [("empty", ""), ("summary", "Instance {{ $labels.instance }} is down")]);
    assert_eq!(&**one.rules[1].query.text(), "up == 0");
    let two = file.groups[1].clone().resolve("f.yml", GroupDefaults { interval_ms: 7, query_offset_ms: 8 });
    assert_eq!((two.interval_ms, two.query_offset_ms, two.limit, two.rules.len()), (7, 8, 0, 0));
}

#[test]
fn an_empty_file_is_valid() {
    for text in ["", "\n", "# nothing yet\n", "---\n", "groups:\n", "groups: []\n", "~\n", "{}"] {
        assert_eq!(parse(text), Ok(RuleFile { groups: vec![], has_ignored_documents: false }), "{text:?}");
    }
}

/// What promtool takes and refuses, with the values that Go reads.
#[test]
fn a_limit_is_any_number_that_go_reads_into_an_int() {
    let limit =
        |text: &str| parse(&format!("groups: [{{name: g, limit: {text}}}]")).ok().map(|file| file.groups[0].limit);
    for (text, value) in [
        ("1e3", 1000),
        ("1E3", 1000),
        ("1.5", 1),
        (".5", 0),
        ("1.", 1),
        ("1e-1", 0),
        ("-1", -1),
        ("+5", 5),
        ("1_000", 1000),
        ("0x10", 16),
        ("0o10", 8),
        ("010", 8),
        ("0b11", 3),
        ("", 0),
        ("9223372036854775807", i64::MAX),
    ] {
        assert_eq!(limit(text), Some(value), "{text}");
    }
    for text in ["1e30", "-1e30", ".inf", ".nan", "9223372036854775808", "x", "true", "[1]", "\"5\"", "'5'", "\"010\""]
    {
        assert_eq!(limit(text), None, "{text}");
    }
}

#[test]
fn a_zero_interval_means_the_default() {
    let file = parse("groups: [{name: g, interval: 0s}]").expect("valid");
    let defaults = GroupDefaults { interval_ms: 15, query_offset_ms: 0 };
    assert_eq!(file.groups[0].clone().resolve("f", defaults).interval_ms, 15);
}

#[test]
fn null_items_of_lists_do_not_count() {
    let file = parse("groups:\n-\n- name: g\n  rules:\n  - ~\n  - record: r\n    expr: up\n  -\n").expect("valid");
    assert_eq!((file.groups.len(), file.rule_count()), (1, 1));
}

#[test]
fn anchors_aliases_and_merge_keys_work_as_in_go() {
    let file = parse(
        "groups:\n- name: g\n  rules:\n  - &base\n    alert: &name High\n    expr: &expr up == 0\n    for: 5m\n    labels: \
         {sev: &sev page}\n  - record: r\n    expr: *expr\n  - <<: *base\n    alert: High2\n  - alert: *name\n    expr: \
         *expr\n    labels: {sev: *sev}\n",
    )
    .expect("valid");
    let rules: Vec<_> = file.groups[0].rules.iter().map(|rule| (rule.name.as_str(), &**rule.query.text())).collect();
    assert_eq!(rules, [("High", "up == 0"), ("r", "up == 0"), ("High2", "up == 0"), ("High", "up == 0")]);
    assert_eq!(file.groups[0].rules[2].alerting().map(|alert| alert.hold_ms), Some(300_000));
}

#[test]
fn only_the_first_document_counts() {
    for rest in ["groups: [{name: b}]\n", ": : :\n", "groups: 5\n"] {
        let file = parse(&format!("groups: [{{name: a}}]\n---\n{rest}")).expect("valid");
        assert!(file.has_ignored_documents);
        assert_eq!(file.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["a"]);
    }
    let error = &errors("groups:\n- nam: a\n---\ngroups: []\n")[0];
    assert!(error.starts_with("f.yml: 2:3: unknown field `nam`"), "{error}");
}

#[test]
fn names_may_be_any_text() {
    let text = "groups:\n- name: g\n  rules:\n  - record: größe.total\n    expr: '{\"größe.total\"}'\n    labels: \
                {ins-tance: a}\n  - alert: A\n    expr: '1'\n    annotations: {ins-tance: b}\n";
    assert_eq!(parse(text).expect("valid").groups[0].rules[0].name, "größe.total");
}

/// One problem per file, and the whole message with file, place, group, rule and name.
#[test]
fn every_problem_is_reported_with_its_place() {
    let rule = |fields: &str| format!("groups:\n- name: g\n  rules:\n  - {}\n", fields.replace('\n', "\n    "));
    let cases = [
        ("groups:\n- interval: 1m\n".into(), "f.yml: 2:3: Groupname must not be empty"),
        (
            "groups:\n- name: yolo\n- name: yolo\n".into(),
            "f.yml: 3:3: groupname: \"yolo\" is repeated in the same file",
        ),
        ("groups:\n- name: g\n  labels: {__name__: x}\n".into(), "f.yml: 3:12: invalid label name: __name__"),
        ("groups:\n- name: g\n  interval: 1x\n".into(), "f.yml: 3:13: not a valid duration string: \"1x\""),
        (
            rule("record: Hi\nalert: Hello\nexpr: 1"),
            "f.yml: 4:13: 5:12: group \"g\", rule 1, \"Hello\": only one of 'record' and 'alert' must be set",
        ),
        (rule("expr: 1"), "f.yml: 4:5: group \"g\", rule 1, \"\": one of 'record' or 'alert' must be set"),
        (rule("record: ylo"), "f.yml: 4:5: group \"g\", rule 1, \"ylo\": field 'expr' must be set in rule"),
        (rule("record: ylo\nexpr: ''"), "f.yml: 5:11: group \"g\", rule 1, \"ylo\": field 'expr' must be set in rule"),
        (
            rule("record: yolo\nexpr: rate(hi)"),
            "f.yml: 5:11: group \"g\", rule 1, \"yolo\": could not parse expression: 1:6: parse error: expected type range \
             vector in call to function \"rate\", got instant vector",
        ),
        (
            rule("record: r\nexpr: 1\nannotations: {a: b}"),
            "f.yml: 4:13: group \"g\", rule 1, \"r\": invalid field 'annotations' in recording rule",
        ),
        (
            rule("record: r\nexpr: 1\nfor: 1m"),
            "f.yml: 4:13: group \"g\", rule 1, \"r\": invalid field 'for' in recording rule",
        ),
        (
            rule("record: r\nexpr: 1\nkeep_firing_for: 1m"),
            "f.yml: 4:13: group \"g\", rule 1, \"r\": invalid field 'keep_firing_for' in recording rule",
        ),
        (
            rule("record: strawberry{flavor=\"sweet\"}\nexpr: 1"),
            "f.yml: 4:13: group \"g\", rule 1, \"strawberry{flavor=\\\"sweet\\\"}\": braces present in the recording rule \
             name; should it be in expr?: strawberry{flavor=\"sweet\"}",
        ),
        (
            rule("record: hola\nexpr: 1\nlabels:\n  __name__: anything"),
            "f.yml: 7:7: group \"g\", rule 1, \"hola\": invalid label name: __name__",
        ),
        (
            rule("alert: hola\nexpr: 1\nannotations:\n  '': anything"),
            "f.yml: 7:7: group \"g\", rule 1, \"hola\": invalid annotation name: ",
        ),
        (
            rule("alert: hola\nexpr: 1\nfor: 1.5m"),
            "f.yml: 6:10: group \"g\", rule 1, \"hola\": not a valid duration string: \"1.5m\"",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(errors(&text), [message], "{text}");
    }
}

#[test]
fn templates_that_do_not_parse_are_reported_for_alerts_only() {
    let rule = |kind: &str, label: &str| {
        format!("groups:\n- name: g\n  rules:\n  - {kind}: n\n    expr: 1\n    labels:\n      sev: '{label}'\n")
    };
    for broken in
        ["{{ $label.instance }}", "{{ $this_is_wrong }}", "{{$labels.quantile * 100}}", "{{ if }}", "{{ nope 1 }}"]
    {
        let found = errors(&rule("alert", broken));
        assert_eq!(found.len(), 1, "{broken}");
        let prefix = "f.yml: 7:12: group \"g\", rule 1, \"n\": label \"sev\": template: __alert_n:1:";
        assert!(found[0].starts_with(prefix), "{}", found[0]);
        assert!(parse(&rule("record", broken)).is_ok(), "no template in a recording rule: {broken}");
    }
    let annotation =
        "groups:\n- name: g\n  rules:\n  - alert: n\n    expr: 1\n    annotations: {a: ok, b: '{{ x }}'}\n";
    let found = errors(annotation);
    assert!(found[0].starts_with("f.yml: 6:29: group \"g\", rule 1, \"n\": annotation \"b\": template:"), "{found:?}");
    // Prometheus looks at the templates of group labels only when they expand.
    assert!(parse("groups:\n- name: g\n  labels: {a: '{{ x }}'}\n  rules:\n  - alert: n\n    expr: 1\n").is_ok());
}

#[test]
fn yaml_problems_name_the_place_and_show_it() {
    for (text, start) in [
        ("groups:\n- name: a\n  ruless: []\n", "f.yml: 3:3: unknown field `ruless`"),
        ("groups:\n- name: a\n  name: b\n", "f.yml: 3:3: duplicate mapping key: name\n"),
        ("groups: 5\n", "f.yml: 1:9: "),
        ("groups:\n- 5\n", "f.yml: 2:3: "),
        ("groups:\n- name: g\n  limit: x\n", "f.yml: 3:10: "),
        ("groups:\n\t- name: x\n", "f.yml: 2:2: tabs disallowed"),
        ("groups:\n- name: g\n  source_tenants: a\n", "f.yml: 3:19: "),
        ("groups:\n- name: g\n  align_evaluation_time_on_interval: 5\n", "f.yml: 3:38: "),
        (
            "groups:\n- name: g\n  rules:\n  - alert: a\n    expr: 1\n    annotation: {a: b}\n",
            "f.yml: 6:5: group \"g\", rule 1, \"a\": unknown field `annotation`",
        ),
    ] {
        let found = errors(text);
        assert!(found.len() == 1 && found[0].starts_with(start), "{text}: {found:?}");
        assert!(found[0].contains('^') && found[0].contains("--> f.yml:"), "an excerpt: {}", found[0]);
    }
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_file() {
    let text =
        "groups:\n- name: ''\n  rules:\n  - alert: a\n    expr: up ===== 0\n  - alert: b\n    expr: up ===== 1\n";
    let found = errors(text);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[1].starts_with("f.yml: 5:11: group \"\", rule 1, \"a\": could not parse expression: 1:"));
    assert!(found[2].starts_with("f.yml: 7:11: group \"\", rule 2, \"b\": could not parse expression: 1:"));
}

#[test]
fn rules_with_equal_names_and_labels_are_duplicates() {
    let file = parse(
        "groups:\n- name: g\n  rules:\n  - record: r\n    expr: a\n    labels: {x: y}\n  - record: r\n    expr: b\n  - \
         record: r\n    expr: c\n- name: h\n  labels: {x: y}\n  rules:\n  - record: r\n    expr: d\n",
    )
    .expect("valid");
    let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let (plain, labelled) = (labels(&[]), labels(&[("x", "y")]));
    assert_eq!(file.duplicate_rules().into_iter().collect::<Vec<_>>(), [("r", &plain), ("r", &labelled)]);
}

#[test]
fn files_of_tens_of_thousands_of_rules_are_read() {
    let rules = "  - record: a\n    expr: up\n    labels: {a: b, c: d, e: f}\n".repeat(40_000);
    assert_eq!(parse(&format!("groups:\n- name: g\n  rules:\n{rules}")).expect("valid").rule_count(), 40_000);
}

#[test]
fn aliases_cannot_blow_up_a_small_file() {
    let mut text = "groups:\n- name: g\n  labels: &a {x: y}\n  rules:\n  - &r0 {record: r, expr: up}\n".to_owned();
    text.push_str("x0: &x0 [a, a, a, a, a, a, a, a, a, a]\n");
    for level in 1..12 {
        let before = level - 1;
        let aliases = vec![format!("*x{before}"); 10].join(", ");
        text.push_str(&format!("x{level}: &x{level} [{aliases}]\n"));
    }
    assert_eq!(errors(&text).len(), 1);
}

proptest! {
    /// Whatever the text, reading ends with groups or with problems.
    #[test]
    fn no_text_panics(text in "[-a-z:{}\\[\\]'\"|>&*!#~%@`, \n\t]{0,200}") {
        let _ = parse(&text);
    }

    /// Mutations of a good file reach deeper.
    #[test]
    fn no_mutation_of_a_file_panics(at in 0usize..260, cut in 0usize..20, insert in "[-a-z:{}'\" \n]{0,4}") {
        let good = "groups:\n- name: g\n  interval: 1m\n  labels: {a: b}\n  rules:\n  - alert: A\n    expr: up == 0\n    for: \
                    5m\n    labels: {sev: '{{ $value }}'}\n    annotations:\n      summary: down\n  - record: r\n    expr: sum(up)\n";
        let at = at.min(good.len());
        let end = (at + cut).min(good.len());
        let _ = parse(&format!("{}{insert}{}", &good[..at], &good[end..]));
    }
}

#[test]
fn what_becomes_of_alerts_that_are_too_many_or_not_known_is_said_in_words() {
    let of = |text: &str| parse(&format!("groups:\n- name: g\n{text}")).map(|file| file.groups[0].policy);
    assert_eq!(of(""), Ok(AlertPolicy { on_error: OnError::Keep, limit_mode: LimitMode::Error }));
    let both = of("  limit_mode: truncate\n  on_error: resolve\n");
    assert_eq!(both, Ok(AlertPolicy { on_error: OnError::Resolve, limit_mode: LimitMode::Truncate }));
    let wrong = errors("groups:\n- name: g\n  on_error: ignore\n");
    assert_eq!(wrong, ["f.yml: 3:13: on_error is one of keep, resolve, not \"ignore\""]);
}

#[test]
fn unknown_fields_are_all_reported_or_skipped_on_request() {
    let text = "owner: me\ngroups:\n- name: g\n  team: a\n  rules:\n  - record: r\n    expr: up\n    note: {x: [1]}\n";
    let found = errors(text);
    let starts =
        ["f.yml: 1:1: unknown field `owner`", "f.yml: 4:3: unknown field `team`", "f.yml: 8:5: group \"g\", rule 1"];
    assert_eq!(found.len(), 3);
    assert!(found.iter().zip(starts).all(|(found, start)| found.starts_with(start)), "{found:#?}");
    let options = ReadOptions { parse: &ParseOptions::default(), ignore_unknown_fields: true, legacy_names: false };
    assert_eq!(RuleFile::read("f.yml", text, &options).map(|file| file.rule_count()), Ok(1));
}

/// What rule files for Mimir and Cortex have beside Prometheus' keys.
#[test]
fn keys_of_mimir_are_read() {
    let text = "groups:\n- name: g\n  evaluation_delay: 30s\n  align_evaluation_time_on_interval: true\n  source_tenants: [a, \
                b]\n";
    let group = &parse(text).expect("valid").groups[0];
    assert_eq!((group.query_offset_ms, group.aligned), (Some(30_000), true));
    let foreign = group.foreign_tenant("f.yml", "a").expect("b is another tenant").to_string();
    assert!(foreign.starts_with("f.yml: 5:23: source_tenants: \"b\" is another tenant"), "{foreign}");
    let spec = group.clone().resolve("f.yml", GroupDefaults { interval_ms: 60_000, query_offset_ms: 0 });
    assert!(spec.aligned);
    assert!(parse("groups:\n- name: g\n  evaluation_delay: 30s\n  query_offset: 30s\n").is_ok());
    let found = errors("groups:\n- name: g\n  evaluation_delay: 30s\n  query_offset: 31s\n");
    assert_eq!(found, ["f.yml: 4:17: 3:21: query_offset and evaluation_delay contradict each other"]);
}

/// `metric_name_validation_scheme: legacy` of the configuration.
#[test]
fn names_are_any_text_unless_they_are_to_be_legacy_ones() {
    let text = "groups:\n- name: g\n  labels: {a.b: c}\n  rules:\n  - record: r.s\n    expr: up\n  - alert: A.B\n    expr: up\n    \
                annotations: {c-d: e}\n";
    let parse = ParseOptions::default();
    let read = |legacy_names| {
        let options = ReadOptions { parse: &parse, ignore_unknown_fields: false, legacy_names };
        let errors = RuleFile::read("f.yml", text, &options).err().unwrap_or_default();
        errors
            .iter()
            .map(|error| error.to_string().rsplit(": ").next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert!(read(false).is_empty());
    assert_eq!(read(true), ["a.b", "r.s", "c-d"], "the name of an alert is a value");
}
