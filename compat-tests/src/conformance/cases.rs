//! The four cases: rules, and the samples that they are fed with.

use super::Timing;
use super::oracle::{Source, Texts};
use std::fmt::Write;

const METRIC: &str = "conformance";

/// One rule group and its samples.
#[derive(Debug)]
pub struct Case {
    /// Name of the group.
    pub name: &'static str,
    pub(super) rules: Vec<CaseRule>,
    pub(super) series: Vec<Series>,
    /// How long to watch, in steps.
    pub steps: usize,
}

#[derive(Debug)]
pub(super) struct CaseRule {
    pub(super) alert: &'static str,
    pub(super) query: String,
    pub(super) hold_steps: i64,
    pub(super) labels: Vec<(&'static str, &'static str)>,
    /// As configured.
    pub(super) annotations: Vec<(&'static str, String)>,
    pub(super) source: Source,
    /// What the annotations become: from the value, and the step of the last sample before the evaluation.
    pub(super) expanded: fn(&str, usize) -> Vec<(&'static str, String)>,
}

/// A series: `(how many steps, value)` one after the other.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) labels: Vec<(&'static str, String)>,
    runs: Vec<(usize, f64)>,
}

impl Series {
    fn new(labels: &[(&'static str, &str)], runs: &[(usize, f64)]) -> Self {
        let mut labels: Vec<_> = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        labels.push(("__name__", METRIC.to_owned()));
        labels.sort_unstable();
        Self { labels, runs: runs.to_vec() }
    }

    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    pub(super) fn steps(&self) -> usize {
        self.runs.iter().map(|(steps, _)| steps).sum()
    }

    /// The sample at `step`, if the series has not ended.
    pub(super) fn at(&self, step: usize) -> Option<f64> {
        let mut end = 0;
        self.runs.iter().find_map(|(steps, value)| {
            end += steps;
            (step < end).then_some(*value)
        })
    }
}

impl Case {
    /// The samples at `step`: labels in ascending order of names, and the value.
    pub fn samples(&self, step: usize) -> impl Iterator<Item = (Vec<(&str, &str)>, f64)> {
        self.series.iter().filter_map(move |series| {
            let labels = series.labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
            Some((labels, series.at(step)?))
        })
    }

    /// The group as a rule file has it, below `groups:`.
    #[must_use]
    pub fn rules_yaml(&self, timing: &Timing) -> String {
        let mut text = format!("- name: {}\n  interval: {}ms\n  rules:\n", self.name, timing.interval_ms);
        for rule in &self.rules {
            // Writing to a string cannot fail. JSON strings are YAML strings.
            let _ = writeln!(text, "  - alert: {}\n    expr: {:?}", rule.alert, rule.query);
            if rule.hold_steps > 0 {
                let _ = writeln!(text, "    for: {}ms", rule.hold_steps * timing.step_ms);
            }
            let _ = writeln!(text, "    labels:");
            for (name, value) in &rule.labels {
                let _ = writeln!(text, "      {name}: {value:?}");
            }
            let _ = writeln!(text, "    annotations:");
            for (name, value) in &rule.annotations {
                let _ = writeln!(text, "      {name}: {value:?}");
            }
        }
        text
    }

    pub(super) fn raw_texts(pairs: &[(&'static str, String)]) -> Texts {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }
}

/// All of them.
#[must_use]
pub fn cases() -> Vec<Case> {
    vec![
        pending_and_firing_and_resolved(),
        pending_and_resolved_always_inactive(),
        zero_for_small_for(),
        new_alerts_order_check(),
    ]
}

/// Fires and resolves with every evaluation for twenty minutes. Not one of the rules' own cases.
#[must_use]
pub fn flapping() -> Case {
    const NAME: &str = "Flapping";
    let runs: Vec<_> = [(2, 5.0), (2, 15.0)].repeat(20);
    Case {
        name: NAME,
        rules: vec![CaseRule {
            alert: "Flapping_Zero",
            query: above(NAME, "flap", 10),
            hold_steps: 0,
            labels: vec![("rulegroup", NAME)],
            annotations: vec![("description", "To and fro".into())],
            source: Source::Above { rule: "flap", limit: 10.0 },
            expanded: |_, _| vec![("description", "To and fro".into())],
        }],
        series: vec![Series::new(&[("case", NAME), ("rule", "flap")], &runs)],
        steps: 120,
    }
}

fn above(case: &str, rule: &str, limit: u32) -> String {
    format!("{METRIC}{{case=\"{case}\",rule=\"{rule}\"}} > {limit}")
}

/// Pending, firing with values that change, resolved, pending again while the resolution is still repeated, firing, resolved.
fn pending_and_firing_and_resolved() -> Case {
    const NAME: &str = "PendingAndFiringAndResolved";
    Case {
        name: NAME,
        rules: vec![CaseRule {
            alert: "PendingAndFiringAndResolved_Simple",
            query: above(NAME, "simple", 10),
            hold_steps: 24,
            labels: vec![("foo", "bar"), ("rulegroup", NAME)],
            annotations: vec![
                ("description", "It fires".into()),
                ("summary", "The value is {{$value}}, that is {{.Value}}".into()),
            ],
            source: Source::Above { rule: "simple", limit: 10.0 },
            expanded: |value, _| {
                vec![("description", "It fires".into()), ("summary", format!("The value is {value}, that is {value}"))]
            },
        }],
        series: vec![Series::new(
            &[("case", NAME), ("rule", "simple")],
            &[(8, 5.0), (12, 11.0), (32, 15.0), (16, 19.0), (20, 9.0), (45, 15.0), (16, 8.0)],
        )],
        steps: 149,
    }
}

/// Never held for long enough, and never returned at all: nobody hears of either.
fn pending_and_resolved_always_inactive() -> Case {
    const NAME: &str = "PendingAndResolved_AlwaysInactive";
    let rule = |alert, rule, limit| CaseRule {
        alert,
        query: above(NAME, rule, limit),
        hold_steps: 12,
        labels: vec![("foo", "bar"), ("rulegroup", NAME)],
        annotations: vec![("description", "Never sent".into())],
        source: Source::Above { rule, limit: f64::from(limit) },
        expanded: |_, _| vec![("description", "Never sent".into())],
    };
    let series = |rule| Series::new(&[("case", NAME), ("rule", rule)], &[(8, 5.0), (10, 11.0), (40, 5.0)]);
    Case {
        name: NAME,
        rules: vec![
            rule("PendingAndResolved_AlwaysInactive_Pending", "pending", 10),
            rule("PendingAndResolved_AlwaysInactive_Inactive", "inactive", 99),
        ],
        series: vec![series("pending"), series("inactive")],
        steps: 58,
    }
}

/// Without `for`, and with one shorter than the interval; resolutions that are repeated for a quarter of an hour and not
/// longer; the end of the samples; templates of every kind.
fn zero_for_small_for() -> Case {
    const NAME: &str = "ZeroFor_SmallFor";
    /// When the series that the templates ask for double, in steps.
    const DOUBLE: usize = 60;
    const QUERY: &str = "{{ define \"listed\" }}Args are: {{.arg0}} {{.arg1}} {{.arg2}}. \
        {{ with query \"conformance{case='ZeroFor_SmallFor',rule='template'}\" }}\
        first_id:{{ . | sortByLabel \"id\" | first | label \"id\" }},\
        {{ range $v := sortByLabel \"id\" . }}{{ $v | label \"id\" }}:{{ $v | value }},{{ end }}{{ end }}{{ end }}\
        {{ template \"listed\" (args \"foo\" \"bar\" 99) }}";
    const HUMANE: &str = "{{humanize 1048576}} {{humanize1024 1048576}} {{humanizeDuration 135.3563}} \
        {{humanizePercentage 0.959}} {{humanizeTimestamp 1643114203}}";
    const STRINGS: &str = "{{title \"this part\"}} {{toUpper \"is testing\"}} {{toLower \"THE STRINGS\"}}. \
        {{ stripPort \"[::1]:6006\"}} {{ stripPort \"127.0.0.1:4004\"}}. {{parseDuration \"2h10m15s\"}}. \
        {{if match \"[0-9]+\" \"1234\"}}{{reReplaceAll \"r.*d\" \"replaced\" \"rpld text\"}}{{end}}. \
        {{if match \"[0-9]+$\" \"1234a\"}}WRONG{{end}}.";
    let values = [(8, 5.0), (13, 15.0), (72, 9.0), (14, 11.0)];
    let mut series = vec![
        Series::new(&[("case", NAME), ("rule", "zero")], &values),
        Series::new(&[("case", NAME), ("rule", "small")], &values),
    ];
    for (id, value) in [("101", 1.0), ("102", 2.0), ("103", 3.0)] {
        let labels = [("case", NAME), ("id", id), ("rule", "template")];
        series.push(Series::new(&labels, &[(DOUBLE, value), (135 - DOUBLE, 2.0 * value)]));
    }
    Case {
        name: NAME,
        rules: vec![
            CaseRule {
                alert: "ZeroFor_SmallFor_Zero",
                query: above(NAME, "zero", 10),
                hold_steps: 0,
                labels: vec![("foo", "bar"), ("rulegroup", NAME)],
                annotations: vec![
                    ("description", "At once".into()),
                    ("template_query", QUERY.into()),
                    ("template_test", HUMANE.into()),
                ],
                source: Source::Above { rule: "zero", limit: 10.0 },
                expanded: |_, step| {
                    let factor = if step < DOUBLE { 1 } else { 2 };
                    let list = format!("101:{},102:{},103:{},", factor, 2 * factor, 3 * factor);
                    vec![
                        ("description", "At once".into()),
                        ("template_query", format!("Args are: foo bar 99. first_id:101,{list}")),
                        ("template_test", "1.049M 1Mi 2m 15s 95.9% 2022-01-25 12:36:43 +0000 UTC".into()),
                    ]
                },
            },
            CaseRule {
                alert: "ZeroFor_SmallFor_Small",
                query: above(NAME, "small", 13),
                hold_steps: 1,
                labels: vec![("ba_dum", "tss"), ("rulegroup", NAME)],
                annotations: vec![("description", "After an interval".into()), ("template_test", STRINGS.into())],
                source: Source::Above { rule: "small", limit: 13.0 },
                expanded: |_, _| {
                    let text = "This Part IS TESTING the strings. ::1 127.0.0.1. 7815. replaced text. .";
                    vec![("description", "After an interval".into()), ("template_test", text.into())]
                },
            },
        ],
        series,
        steps: 135,
    }
}

/// The second rule sees in the same evaluation what became of the alerts of the first; its annotations see the labels of its
/// result, not its own; further alerts of the first come later.
fn new_alerts_order_check() -> Case {
    const NAME: &str = "NewAlerts_OrderCheck";
    const FIRST: &str = "NewAlerts_OrderCheck_First";
    let series = |variant, runs: &[(usize, f64)]| {
        Series::new(&[("case", NAME), ("foo", "original"), ("rule", "first"), ("variant", variant)], runs)
    };
    let firing = |variant| {
        format!(
            "ALERTS{{alertname=\"{FIRST}\",alertstate=\"firing\",foo=\"bar\",rulegroup=\"{NAME}\",variant=\"{variant}\"}}"
        )
    };
    Case {
        name: NAME,
        rules: vec![
            CaseRule {
                alert: FIRST,
                query: above(NAME, "first", 10),
                hold_steps: 12,
                labels: vec![("foo", "bar"), ("rulegroup", NAME)],
                annotations: vec![("description", "More of these come later".into())],
                source: Source::Above { rule: "first", limit: 10.0 },
                expanded: |_, _| vec![("description", "More of these come later".into())],
            },
            CaseRule {
                alert: "NewAlerts_OrderCheck_Second",
                query: format!("({} + ignoring (variant) {}) == 2", firing("one"), firing("two")),
                hold_steps: 0,
                labels: vec![("ba_dum", "tss"), ("foo", "baz"), ("rulegroup", NAME)],
                annotations: vec![(
                    "description",
                    "The alertname was {{$labels.alertname}}, foo was {{.Labels.foo}}.".into(),
                )],
                source: Source::BothFire { rule: 0, label: "variant", values: ["one", "two"] },
                expanded: |_, _| vec![("description", format!("The alertname was {FIRST}, foo was bar."))],
            },
        ],
        series: vec![
            series("one", &[(8, 5.0), (60, 11.0), (20, 5.0)]),
            series("two", &[(8, 5.0), (40, 11.0), (40, 5.0)]),
            series("three", &[(24, 5.0), (30, 20.0), (34, 5.0)]),
        ],
        steps: 88,
    }
}
