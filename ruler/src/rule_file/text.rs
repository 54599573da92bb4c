//! One group as a rule file has it: what an API that takes and gives groups one by one reads and prints.
//!
//! Durations and expressions stay as they were written, so that what was sent is what is read back.

use super::document::{Document, GroupNode, RuleNode, read};
use super::{FileGroup, ReadOptions, RuleFileError, check};
use crate::yaml::{Entries, Place, Spanned};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A group in the order and under the names of a rule file's keys; what was not given is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupText {
    /// Not empty.
    pub name: String,
    /// Distance of evaluations, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// How far before the slot queries look, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_offset: Option<String>,
    /// The same under its old name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation_delay: Option<String>,
    /// Slots are multiples of the interval.
    #[serde(rename = "align_evaluation_time_on_interval", default, skip_serializing_if = "std::ops::Not::not")]
    pub aligned: bool,
    /// Whose series the rules read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_tenants: Vec<String>,
    /// Most alerts or series of one rule; 0 means any number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub limit: i64,
    /// `error` or `truncate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_mode: Option<String>,
    /// `keep` or `resolve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<String>,
    /// How slots are evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<EvaluationText>,
    /// Labels of all rules.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// In the order of evaluation.
    #[serde(default)]
    pub rules: Vec<RuleText>,
}

/// How the slots of a group are evaluated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluationText {
    /// How long a slot waits at most for samples as new as itself, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for_ingest: Option<String>,
}

/// A rule in the order and under the names of a rule file's keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of a rule file")]
pub struct RuleText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<String>,
    pub expr: String,
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_firing_for: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluate: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl GroupText {
    /// Reads and checks the YAML of one group; `file` is the name that errors show. Returns it as it was written and as it
    /// is evaluated.
    ///
    /// # Errors
    /// Every problem that was found, in the order of the text.
    pub fn parse(file: &str, text: &str, options: &ReadOptions<'_>) -> Result<(Self, FileGroup), Vec<RuleFileError>> {
        let (group, _) = read::<Option<Spanned<GroupNode>>>(file, text).map_err(|(place, problem)| {
            vec![RuleFileError { file: file.to_owned(), places: place.into_iter().collect(), rule: None, problem }]
        })?;
        // An empty text is a group without a name.
        let start = Place { line: 1, column: 1 };
        let group = group.unwrap_or_else(|| Spanned { value: GroupNode::default(), at: start });
        let written = Self::of(&group.value);
        let document = Document { groups: Some(vec![Some(group)]), ..Document::default() };
        let mut groups = check::check(file, text, document, options)?;
        let group = groups.pop().expect("one group went in and nothing was wrong with it");
        Ok((written, group))
    }

    /// The YAML of the group, as [`GroupText::parse`] reads it.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        to_yaml(self)
    }

    fn of(group: &GroupNode) -> Self {
        Self {
            name: text(&group.name).unwrap_or_default(),
            interval: text(&group.interval),
            query_offset: text(&group.query_offset),
            evaluation_delay: text(&group.evaluation_delay),
            aligned: group.aligned.unwrap_or(false),
            source_tenants: group
                .source_tenants
                .iter()
                .flatten()
                .flatten()
                .map(|tenant| tenant.value.clone())
                .collect(),
            limit: group.limit.map_or(0, |limit| limit.0),
            limit_mode: text(&group.limit_mode),
            on_error: text(&group.on_error),
            evaluation: group
                .evaluation
                .as_ref()
                .map(|evaluation| EvaluationText { wait_for_ingest: text(&evaluation.wait_for_ingest) })
                .filter(|evaluation| evaluation.wait_for_ingest.is_some()),
            labels: map(&group.labels),
            rules: group.rules.iter().flatten().flatten().map(|rule| RuleText::of(&rule.value)).collect(),
        }
    }
}

impl RuleText {
    fn of(rule: &RuleNode) -> Self {
        Self {
            record: text(&rule.record),
            alert: text(&rule.alert),
            expr: text(&rule.expr).unwrap_or_default(),
            hold: text(&rule.hold),
            keep_firing_for: text(&rule.keep_firing_for),
            evaluate: text(&rule.evaluate),
            labels: map(&rule.labels),
            annotations: map(&rule.annotations),
        }
    }
}

/// What is empty is as good as not given.
fn text(text: &Option<Spanned<String>>) -> Option<String> {
    text.as_ref().map(|text| text.value.clone()).filter(|text| !text.is_empty())
}

fn map(entries: &Option<Entries>) -> BTreeMap<String, String> {
    let entries = entries.iter().flat_map(|entries| &entries.0);
    entries.map(|entry| (entry.name.clone(), entry.value.clone())).collect()
}

/// Groups by the name of their file or namespace, as YAML.
#[must_use]
pub fn namespaces_to_yaml(namespaces: &BTreeMap<String, Vec<GroupText>>) -> String {
    to_yaml(namespaces)
}

/// Texts that other readers of YAML may take for something else are quoted; long lines stay lines.
fn to_yaml(value: &impl Serialize) -> String {
    let options = serde_yaml::ser_options! { folded_wrap_chars: usize::MAX };
    serde_yaml::to_string_with_options(value, options).expect("texts and numbers have a form in YAML")
}

#[cfg(test)]
mod tests {
    use super::*;
    use promql::parse::ParseOptions;

    const GROUP: &str = "\
name: g
interval: 90s
limit: 5
labels:
  team: 'yes'
rules:
- record: a:b
  expr: sum(b)
- alert: A
  expr: |
    up
      == 0
  for: 1m30s
  annotations:
    empty: ''
    long: it is down and this line is longer than eighty characters, which must not make two lines of it ever
";

    fn parse(text: &str) -> Result<(GroupText, FileGroup), String> {
        let parse = ParseOptions::default();
        GroupText::parse("ns", text, &ReadOptions { parse: &parse, ignore_unknown_fields: false, legacy_names: false })
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn a_group_is_printed_as_it_was_written() {
        let (text, group) = parse(GROUP).unwrap();
        assert_eq!((group.name.as_str(), group.interval_ms, group.limit, group.rules.len()), ("g", Some(90_000), 5, 2));
        assert_eq!(text.to_yaml().replace('"', "'"), GROUP);
        assert_eq!(parse(&text.to_yaml()).unwrap().0, text);
    }

    #[test]
    fn texts_that_look_like_something_else_survive() {
        for value in [
            "1",
            "1e3",
            "0x10",
            "no",
            "~",
            "null",
            "a: b",
            "# c",
            " x ",
            "'",
            "\"",
            "a\nb",
            "\n",
            "a\n\n",
            "ä",
            "{{ $x }}",
            "2020-01-01",
            "-",
            "\t",
            "<<",
            "=",
            "%d",
            "x\u{0}y",
        ] {
            let rule = RuleText {
                record: Some("a".into()),
                expr: "b".into(),
                labels: BTreeMap::from([("l".into(), value.into())]),
                ..RuleText::default()
            };
            let group = GroupText { name: value.into(), rules: vec![rule], ..GroupText::default() };
            let (read, _) =
                parse(&group.to_yaml()).unwrap_or_else(|error| panic!("{value:?}: {error}\n{}", group.to_yaml()));
            assert_eq!(read, group, "{value:?}");
        }
    }

    #[test]
    fn problems_have_their_place_in_the_text() {
        let error = parse("name: g\nrules:\n- record: r\n  expr: sum(\n").unwrap_err();
        assert!(error.starts_with("ns: 4:9: group \"g\", rule 1, \"r\": could not parse expression: 1:"), "{error}");
        for (text, problem) in [
            ("", "Groupname must not be empty"),
            ("rules: []", "Groupname must not be empty"),
            ("name: g\nfoo: 1", "foo"),
            ("groups: []", "groups"),
            ("[1", "ns: "),
            ("name: g\nrules: [{alert: A, expr: up, annotations: {a: '{{'}}]", "annotation \"a\""),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn namespaces_are_a_map_of_lists() {
        let (group, _) = parse("name: g\nrules: [{record: r, expr: up}]").unwrap();
        let yaml = namespaces_to_yaml(&BTreeMap::from([("a/b".to_owned(), vec![group])]));
        assert_eq!(yaml, "a/b:\n- name: g\n  rules:\n  - record: r\n    expr: up\n");
    }
}
