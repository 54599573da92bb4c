//! What a relabelling rule may say.

use crate::regex::RegexError;
use std::fmt;
use std::str::FromStr;

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// Writes the replacement into the target label if the expression matches.
    #[default]
    Replace,
    /// Drops what the expression does not match.
    Keep,
    /// Drops what the expression matches.
    Drop,
    /// Drops what does not have the joined source labels as its target label.
    KeepEqual,
    /// Drops what has the joined source labels as its target label.
    DropEqual,
    /// Writes a hash of the source labels modulo the modulus into the target label.
    HashMod,
    /// Copies labels whose names the expression matches to the names that the replacement says.
    LabelMap,
    /// Removes labels whose names the expression matches.
    LabelDrop,
    /// Removes labels whose names the expression does not match.
    LabelKeep,
    /// Writes the source labels in lower case into the target label.
    Lowercase,
    /// Writes the source labels in upper case into the target label.
    Uppercase,
}

const NAMES: [(&str, Action); 11] = [
    ("replace", Action::Replace),
    ("keep", Action::Keep),
    ("drop", Action::Drop),
    ("keepequal", Action::KeepEqual),
    ("dropequal", Action::DropEqual),
    ("hashmod", Action::HashMod),
    ("labelmap", Action::LabelMap),
    ("labeldrop", Action::LabelDrop),
    ("labelkeep", Action::LabelKeep),
    ("lowercase", Action::Lowercase),
    ("uppercase", Action::Uppercase),
];

/// In any case.
impl FromStr for Action {
    type Err = RelabelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.to_lowercase();
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, action)| *action).ok_or_else(|| RelabelError::UnknownAction(text.to_owned()))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES.iter().find(|(_, action)| action == self).map_or("", |(name, _)| name))
    }
}

/// A rule as it is written. What was left out has the default, and it makes a difference whether a list or an expression
/// was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelabelConfig {
    /// Labels whose values are joined.
    pub source_labels: Option<Vec<String>>,
    /// Put between them.
    pub separator: String,
    /// Must match the whole; [`RelabelConfig::REGEX`] if it was left out.
    pub regex: Option<String>,
    /// For `hashmod`.
    pub modulus: u64,
    /// The label that is written or compared; may refer to groups of the expression for `replace`.
    pub target_label: String,
    /// What is written; may refer to groups of the expression.
    pub replacement: String,
    /// What to do.
    pub action: Action,
}

impl Default for RelabelConfig {
    fn default() -> Self {
        Self {
            source_labels: None,
            separator: Self::SEPARATOR.into(),
            regex: None,
            modulus: 0,
            target_label: String::new(),
            replacement: Self::REPLACEMENT.into(),
            action: Action::Replace,
        }
    }
}

/// Why a rule is none, in Prometheus' words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelabelError {
    /// No such action.
    #[error("unknown relabel action {0:?}")]
    UnknownAction(String),
    /// The action has no name.
    #[error("relabel action cannot be empty")]
    EmptyAction,
    /// `hashmod` modulo nothing.
    #[error("relabel configuration for hashmod requires non-zero modulus")]
    NoModulus,
    /// Nothing says where the result goes.
    #[error("relabel configuration for {0} action requires 'target_label' value")]
    NoTarget(Action),
    /// `labelmap` to a label without a name.
    #[error("{value:?} is invalid 'replacement' for {action} action")]
    BadReplacement {
        /// What was said.
        value: String,
        /// For which action.
        action: Action,
    },
    /// The action has no use for a replacement.
    #[error("'replacement' can not be set for {0} action")]
    ReplacementSet(Action),
    /// The action compares, and needs no more.
    #[error("{0} action requires only 'source_labels' and `target_label`, and no other fields")]
    OnlySourceAndTarget(Action),
    /// The action looks at names, and needs no more.
    #[error("{0} action requires only 'regex', and no other fields")]
    OnlyRegex(Action),
    /// A source label without a name.
    #[error("{0:?} is not a valid label name")]
    BadSource(String),
    /// Not RE2.
    #[error(transparent)]
    Regex(#[from] RegexError),
}

impl RelabelConfig {
    /// Matches everything.
    pub const REGEX: &str = "(.*)";
    /// Put between source labels unless something else is said.
    pub const SEPARATOR: &str = ";";
    /// What the expression's first group matched.
    pub const REPLACEMENT: &str = "$1";

    pub(super) fn check(&self) -> Result<(), RelabelError> {
        use Action::{DropEqual, HashMod, KeepEqual, LabelDrop, LabelKeep, LabelMap, Lowercase, Replace, Uppercase};
        let action = self.action;
        if let Some(name) = self.source_labels.iter().flatten().find(|name| name.is_empty()) {
            return Err(RelabelError::BadSource(name.clone()));
        }
        if action == HashMod && self.modulus == 0 {
            return Err(RelabelError::NoModulus);
        }
        let writes_or_compares = matches!(action, Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual);
        if writes_or_compares && self.target_label.is_empty() {
            return Err(RelabelError::NoTarget(action));
        }
        let default_replacement = self.replacement == Self::REPLACEMENT;
        if matches!(action, Lowercase | Uppercase | KeepEqual | DropEqual) && !default_replacement {
            return Err(RelabelError::ReplacementSet(action));
        }
        if action == LabelMap && self.replacement.is_empty() {
            return Err(RelabelError::BadReplacement { value: self.replacement.clone(), action });
        }
        let rest_is_default = self.modulus == 0 && self.separator == Self::SEPARATOR && default_replacement;
        if matches!(action, DropEqual | KeepEqual) && !(self.regex.is_none() && rest_is_default) {
            return Err(RelabelError::OnlySourceAndTarget(action));
        }
        let names_only = self.source_labels.is_none() && self.target_label.is_empty() && rest_is_default;
        if matches!(action, LabelDrop | LabelKeep) && !names_only {
            return Err(RelabelError::OnlyRegex(action));
        }
        Ok(())
    }
}
