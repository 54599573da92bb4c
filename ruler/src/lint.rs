//! Finds what is valid in a rule file and yet probably a mistake.
//!
//! Every lint has a name by which it is switched off, for a run or by a comment `# hearth-lint: ignore NAME` in a rule or
//! directly above it. What needs to know the data asks [`Facts`]; what cannot be known is not reported.

mod bounds; // which values an expression can have
mod expression; // lints of one expression
mod live; // what only the data tell
mod result_labels; // which labels its results can have
mod texts; // lints of labels and annotations

pub use live::Facts;

use crate::rule::Rule;
use crate::rule_file::{Place, RuleFile, RulePlaces};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A kind of mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "explained by `explanation`")]
pub enum Lint {
    DuplicateRules,
    AlertWithoutFor,
    NeverTrue,
    AlwaysTrue,
    AlwaysFiring,
    BoolInAlert,
    MissingLabel,
    RateOfAggregation,
    NeedlessRegex,
    NoData,
    RateOfGauge,
    DeltaOfCounter,
}

/// Something that is probably a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub at: Place,
    /// Name of the alert or recorded series.
    pub rule: String,
    /// What kind of mistake.
    pub lint: Lint,
    /// What is wrong.
    pub message: String,
}

impl Lint {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::DuplicateRules,
        Self::AlertWithoutFor,
        Self::NeverTrue,
        Self::AlwaysTrue,
        Self::AlwaysFiring,
        Self::BoolInAlert,
        Self::MissingLabel,
        Self::RateOfAggregation,
        Self::NeedlessRegex,
        Self::NoData,
        Self::RateOfGauge,
        Self::DeltaOfCounter,
    ];

    /// The name by which it is switched off.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DuplicateRules => "duplicate-rules",
            Self::AlertWithoutFor => "alert-without-for",
            Self::NeverTrue => "never-true",
            Self::AlwaysTrue => "always-true",
            Self::AlwaysFiring => "always-firing",
            Self::BoolInAlert => "bool-in-alert",
            Self::MissingLabel => "missing-label",
            Self::RateOfAggregation => "rate-of-aggregation",
            Self::NeedlessRegex => "needless-regex",
            Self::NoData => "no-data",
            Self::RateOfGauge => "rate-of-gauge",
            Self::DeltaOfCounter => "delta-of-counter",
        }
    }

    /// What it finds.
    #[must_use]
    pub fn explanation(self) -> &'static str {
        match self {
            Self::DuplicateRules => "two rules have the same name and labels",
            Self::AlertWithoutFor => "an alert fires on a single sample, for want of `for`",
            Self::NeverTrue => "a comparison can never be true",
            Self::AlwaysTrue => "a comparison is true for every value",
            Self::AlwaysFiring => "the expression of an alert always returns something",
            Self::BoolInAlert => "an alert compares with `bool`, which returns a sample whether true or not",
            Self::MissingLabel => "a text uses a label that the expression does not return",
            Self::RateOfAggregation => "the rate of a sum is taken, which sees a reset wherever one series ends",
            Self::NeedlessRegex => "a regular expression is a plain text",
            Self::NoData => "a selector matches nothing in the data (needs --url)",
            Self::RateOfGauge => "a function for counters is given a gauge (needs --url)",
            Self::DeltaOfCounter => "a function for gauges is given a counter (needs --url)",
        }
    }

    /// The lint of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lint| lint.name() == name)
    }
}

/// All findings of a file in its order; `text` is the file, for comments. Without `facts` the data are not asked.
#[must_use]
pub fn lint(file: &RuleFile, text: &str, disabled: &BTreeSet<Lint>, facts: Option<&dyn Facts>) -> Vec<Finding> {
    let lines: Vec<&str> = text.lines().collect();
    let recorded: BTreeSet<&str> = file
        .groups
        .iter()
        .flat_map(|group| &group.rules)
        .filter(|rule| rule.alerting().is_none())
        .map(|rule| rule.name.as_str())
        .collect();
    let mut findings = Vec::new();
    let mut seen: HashMap<(&str, &BTreeMap<String, String>), Place> = HashMap::new();
    for group in &file.groups {
        for (number, (rule, places)) in group.rules.iter().zip(&group.places).enumerate() {
            let mut of_rule = Findings { rule, places, list: Vec::new() };
            if let Some(first) = seen.get(&(rule.name.as_str(), &rule.labels)) {
                let message = format!("the rule at {first} has the same name and labels");
                of_rule.report(Lint::DuplicateRules, places.at, message);
            } else {
                seen.insert((rule.name.as_str(), &rule.labels), places.at);
            }
            expression::check(&mut of_rule);
            texts::check(&mut of_rule);
            if let Some(facts) = facts {
                live::check(&mut of_rule, facts, &recorded);
            }
            let next = group.places.get(number + 1).map(|next| next.at.line);
            let ignored = ignored(&lines, places.at.line, next);
            of_rule.list.retain(|finding| !disabled.contains(&finding.lint) && !ignored.contains(&finding.lint));
            findings.extend(of_rule.list);
        }
    }
    findings.sort_by_key(|finding| (finding.at, finding.lint));
    findings.dedup();
    findings
}

/// What is found in one rule.
struct Findings<'a> {
    rule: &'a Rule,
    places: &'a RulePlaces,
    list: Vec<Finding>,
}

impl Findings<'_> {
    fn report(&mut self, lint: Lint, at: Place, message: String) {
        self.list.push(Finding { at, rule: self.rule.name.clone(), lint, message });
    }

    fn of_expression(&mut self, lint: Lint, message: String) {
        self.report(lint, self.places.expr, message);
    }
}

/// The lints that comments of a rule switch off, from the line above it to the one before the line above the `next` rule.
fn ignored(lines: &[&str], first: u64, next: Option<u64>) -> BTreeSet<Lint> {
    let position = |line: u64| usize::try_from(line).unwrap_or(usize::MAX).min(lines.len());
    let start = position(first.saturating_sub(2));
    let comment = |line: &&str| line.trim_start().starts_with('#');
    let mut end = next.map_or(lines.len(), |next| position(next.saturating_sub(1)));
    if next.is_some() && end > start + 1 && lines.get(end - 1).is_some_and(comment) {
        end -= 1; // belongs to the next rule
    }
    // A line above the first rule that is no comment is that of something else.
    let own = lines.get(start..end.max(start)).unwrap_or_default().iter().enumerate();
    let own = own.filter(|(i, line)| *i > 0 || first <= 1 || comment(line)).map(|(_, line)| *line);
    let names = own.filter_map(|line| Some(line.split_once("# hearth-lint: ignore ")?.1));
    names.flat_map(|names| names.split([',', ' '])).filter_map(|name| Lint::from_name(name.trim())).collect()
}

#[cfg(test)]
mod tests;
