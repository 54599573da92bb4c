//! Rule files, as Prometheus 3.14 reads them: YAML in, checked groups of rules out.
//!
//! Reading is strict: an unknown key is an error. All problems of a file are reported at once, each with its place. Only the
//! first YAML document of a file counts. What a file leaves open (interval, query offset) is filled in by
//! [`FileGroup::resolve`], so that a file can be checked without a configuration.

mod check; // one problem after the other
mod document; // the YAML
mod text; // one group of it

pub use text::{GroupText, RuleText, namespaces_to_yaml};

use crate::group::GroupSpec;
use crate::rule::Rule;
use crate::rule_state::AlertPolicy;
use promql::parse::ParseOptions;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

pub use crate::yaml::Place;

/// The largest rule file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 64 << 20;

/// A rule file that passed every check.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleFile {
    /// In the order of the file; names are unique.
    pub groups: Vec<FileGroup>,
    /// The file has further YAML documents, which were not read.
    pub has_ignored_documents: bool,
}

/// How to read a rule file.
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions<'a> {
    /// Which parts of PromQL are enabled.
    pub parse: &'a ParseOptions,
    /// Keys that no rule file has are skipped instead of refused: some people keep notes for other tools in their files.
    pub ignore_unknown_fields: bool,
    /// Names of labels, annotations and recorded series are restricted to those that Prometheus 2 allowed.
    pub legacy_names: bool,
}

/// A group as the file has it.
#[derive(Debug, Clone, PartialEq)]
pub struct FileGroup {
    /// Not empty, unique in its file.
    pub name: String,
    /// Where it begins.
    pub at: Place,
    /// Milliseconds between evaluations; `None` or 0 means the configuration's.
    pub interval_ms: Option<i64>,
    /// How many milliseconds before the slot queries look; `None` means the configuration's.
    pub query_offset_ms: Option<i64>,
    /// Most alerts or series that one rule may have; 0 and negative numbers mean any number.
    pub limit: i64,
    /// What becomes of alerts that are too many or not known: `limit_mode` and `on_error`, which are ours.
    pub policy: AlertPolicy,
    /// Mimir's `align_evaluation_time_on_interval`: slots are multiples of the interval, so that groups are not spread.
    pub aligned: bool,
    /// Mimir's `source_tenants`: whose series the rules read; none means those of the tenant that owns the group.
    pub source_tenants: Vec<SourceTenant>,
    /// `evaluation.wait_for_ingest`: how many milliseconds a slot waits at most for samples as new as itself.
    pub wait_for_ingest_ms: i64,
    /// In the order of the file; the group's labels are already merged into theirs.
    pub rules: Vec<Arc<Rule>>,
    /// Where the rules are; as many as there are rules.
    pub places: Vec<RulePlaces>,
}

/// One of a group's `source_tenants`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTenant {
    /// Where it is written.
    pub at: Place,
    /// The tenant's name.
    pub name: String,
}

/// Where the parts of a rule are in their file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulePlaces {
    /// The rule.
    pub at: Place,
    /// Its expression.
    pub expr: Place,
    /// Its `for`, if it has one.
    pub hold: Option<Place>,
    /// The values of its own labels by name, in the order of the file.
    pub labels: Vec<(String, Place)>,
    /// The texts of its annotations by name, in the order of the file.
    pub annotations: Vec<(String, Place)>,
}

/// What a configuration says about groups that do not say it themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupDefaults {
    /// `evaluation_interval` in milliseconds, at least 1.
    pub interval_ms: i64,
    /// `rule_query_offset` in milliseconds.
    pub query_offset_ms: i64,
}

impl RuleFile {
    /// Reads and checks the text of a file; `file` is the name that errors show.
    ///
    /// # Errors
    /// Every problem that was found, in the order of the file.
    pub fn parse(file: &str, text: &str, parse: &ParseOptions) -> Result<Self, Vec<RuleFileError>> {
        Self::read(file, text, &ReadOptions { parse, ignore_unknown_fields: false, legacy_names: false })
    }

    /// Reads and checks the text of a file; `file` is the name that errors show.
    ///
    /// # Errors
    /// Every problem that was found, in the order of the file.
    pub fn read(file: &str, text: &str, options: &ReadOptions<'_>) -> Result<Self, Vec<RuleFileError>> {
        let (document, has_ignored_documents) = document::read(file, text).map_err(|(place, problem)| {
            vec![RuleFileError { file: file.to_owned(), places: place.into_iter().collect(), rule: None, problem }]
        })?;
        let groups = check::check(file, text, document, options)?;
        Ok(Self { groups, has_ignored_documents })
    }

    /// How many rules it has.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.groups.iter().map(|group| group.rules.len()).sum()
    }

    /// Rules that occur more than once by name and labels: each would overwrite or contradict what the other wrote.
    /// In ascending order.
    #[must_use]
    pub fn duplicate_rules(&self) -> BTreeSet<(&str, &BTreeMap<String, String>)> {
        let mut seen = BTreeSet::new();
        let rules = self.groups.iter().flat_map(|group| &group.rules);
        rules.map(|rule| (rule.name.as_str(), &rule.labels)).filter(|rule| !seen.insert(*rule)).collect()
    }
}

impl FileGroup {
    /// What is wrong with its `source_tenants`: one of them is not `owner`, and rules see the series of their own tenant only.
    #[must_use]
    pub fn foreign_tenant(&self, file: &str, owner: &str) -> Option<RuleFileError> {
        let foreign = self.source_tenants.iter().find(|tenant| tenant.name != owner)?;
        Some(RuleFileError {
            file: file.to_owned(),
            places: vec![foreign.at],
            rule: None,
            problem: Problem::ForeignTenant { tenant: foreign.name.clone(), owner: owner.to_owned() },
        })
    }

    /// The group as it is evaluated.
    #[must_use]
    pub fn resolve(self, file: &str, defaults: GroupDefaults) -> GroupSpec {
        GroupSpec {
            file: file.to_owned(),
            name: self.name,
            interval_ms: self.interval_ms.filter(|interval| *interval > 0).unwrap_or(defaults.interval_ms),
            query_offset_ms: self.query_offset_ms.unwrap_or(defaults.query_offset_ms),
            limit: self.limit,
            policy: self.policy,
            aligned: self.aligned,
            wait_for_ingest_ms: self.wait_for_ingest_ms,
            rules: self.rules,
        }
    }
}

/// Which rule of a file an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleReference {
    /// Name of the group.
    pub group: String,
    /// Position in the group, from 1.
    pub number: usize,
    /// Name of the alert or recorded series; empty when there is none.
    pub name: String,
}

/// One problem of a rule file. Prints as `file: line:col: group "g", rule 1, "name": problem`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFileError {
    /// The file, as it was named by the caller.
    pub file: String,
    /// Where: none for a text that is no YAML at all, two when two keys contradict each other.
    pub places: Vec<Place>,
    /// The rule, unless the problem is about the file or a group.
    pub rule: Option<RuleReference>,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for RuleFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        for place in &self.places {
            write!(f, "{place}: ")?;
        }
        if let Some(RuleReference { group, number, name }) = &self.rule {
            write!(f, "group {}, rule {number}, {}: ", model::text::quote(group), model::text::quote(name))?;
        }
        write!(f, "{}", self.problem)
    }
}

impl std::error::Error for RuleFileError {}

/// What can be wrong with a rule file. The texts are those of Prometheus: people search for them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the variants mean")]
pub enum Problem {
    #[error("{0}")]
    Yaml(String),
    #[error("file of {0} bytes is too large")]
    TooLarge(usize),
    #[error("Groupname must not be empty")]
    EmptyGroupName,
    #[error("groupname: \"{0}\" is repeated in the same file")]
    RepeatedGroupName(String),
    #[error("{field} is one of {allowed}, not {}", model::text::quote(found))]
    Word { field: &'static str, allowed: &'static str, found: String },
    #[error("invalid label name: {0}")]
    LabelName(String),
    #[error("invalid annotation name: {0}")]
    AnnotationName(String),
    #[error("{0}")]
    Duration(#[from] model::time::DurationError),
    #[error("only one of 'record' and 'alert' must be set")]
    RecordAndAlert,
    #[error("one of 'record' or 'alert' must be set")]
    NeitherRecordNorAlert,
    #[error("field 'expr' must be set in rule")]
    NoExpression,
    #[error("could not parse expression: {0}")]
    Expression(String),
    #[error("invalid field '{0}' in recording rule")]
    FieldOfAlertingRule(&'static str),
    #[error("field 'evaluate' must be 'on_ingest': {0:?}")]
    Evaluate(String),
    #[error("invalid recording rule name: {0}")]
    RecordName(String),
    #[error("braces present in the recording rule name; should it be in expr?: {0}")]
    BracesInRecordName(String),
    #[error("query_offset and evaluation_delay contradict each other")]
    TwoQueryOffsets,
    #[error("source_tenants: {tenant:?} is another tenant: rules read the series of their own tenant {owner:?} only")]
    ForeignTenant { tenant: String, owner: String },
    #[error("label {}: {error}", model::text::quote(name))]
    LabelTemplate { name: String, error: String },
    #[error("{0}")]
    Backtest(String),
    #[error("annotation {}: {error}", model::text::quote(name))]
    AnnotationTemplate { name: String, error: String },
}

#[cfg(test)]
mod tests;
