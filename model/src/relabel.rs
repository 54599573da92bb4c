//! Relabelling: rules that rewrite a label set, or say that it is to be dropped.
//!
//! Follows Prometheus 3.14 with UTF-8 names, its quirks included: what a rule may say is checked by
//! [`RelabelRule::new`] (`config.rs`), the order in which labels are seen is that of `builder.rs`. Pure.

mod builder;
mod case;
mod config;

pub use builder::LabelsBuilder;
pub use config::{Action, RelabelConfig, RelabelError};

use crate::labels::Labels;
use crate::regex::Regex;
use md5::{Digest, Md5};

/// The longest value that a rule may write; a rule that would write more changes nothing.
const VALUE_BYTES_MAX: usize = 16 << 20;

/// A rule that is ready to be applied. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RelabelRule {
    config: RelabelConfig,
    regex: Regex,
}

/// Two rules are equal when they were made from the same text.
impl PartialEq for RelabelRule {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config
    }
}

impl RelabelRule {
    /// Checks `config` and compiles its regular expression.
    ///
    /// # Errors
    /// What Prometheus refuses, in its words.
    pub fn new(config: RelabelConfig) -> Result<Self, RelabelError> {
        config.check()?;
        let regex = Regex::new(config.regex.as_deref().unwrap_or(RelabelConfig::REGEX))?;
        Ok(Self { config, regex })
    }

    /// What it was made from.
    #[must_use]
    pub fn config(&self) -> &RelabelConfig {
        &self.config
    }

    /// Rewrites `labels`; false when they are to be dropped, and then they may be half rewritten.
    #[must_use]
    pub fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        let RelabelConfig { action, target_label, replacement, modulus, .. } = &self.config;
        match action {
            Action::Drop => return !self.regex.is_match(&self.source(labels)),
            Action::Keep => return self.regex.is_match(&self.source(labels)),
            Action::DropEqual => return labels.get(target_label) != self.source(labels),
            Action::KeepEqual => return labels.get(target_label) == self.source(labels),
            Action::Replace => self.replace(labels),
            Action::Lowercase => labels.set(target_label, &case::lower(&self.source(labels))),
            Action::Uppercase => labels.set(target_label, &case::upper(&self.source(labels))),
            Action::HashMod => {
                let rest = last_half_of_md5(&self.source(labels)).checked_rem(*modulus);
                labels.set(target_label, &rest.unwrap_or_default().to_string());
            }
            Action::LabelMap => {
                for (name, value) in labels.pairs() {
                    if let Some(renamed) = self.expand(&name, replacement) {
                        labels.set(&renamed, &value);
                    }
                }
            }
            Action::LabelDrop => self.retain_names(labels, |matches| !matches),
            Action::LabelKeep => self.retain_names(labels, |matches| matches),
        }
        true
    }

    fn replace(&self, labels: &mut LabelsBuilder) {
        let source = self.source(labels);
        let Some(target) = self.expand(&source, &self.config.target_label) else { return };
        let Some(value) = self.expand(&source, &self.config.replacement) else { return };
        labels.set(&target, &value);
    }

    fn retain_names(&self, labels: &mut LabelsBuilder, keep: impl Fn(bool) -> bool) {
        for (name, _) in labels.pairs() {
            if !keep(self.regex.is_match(&name)) {
                labels.remove(&name);
            }
        }
    }

    /// The values of the source labels, joined.
    fn source(&self, labels: &LabelsBuilder) -> String {
        let values = self.config.source_labels.iter().flatten().map(|name| labels.get(name));
        values.collect::<Vec<_>>().join(&self.config.separator)
    }

    /// `template` filled in from the groups of a match of the whole `text`.
    fn expand(&self, text: &str, template: &str) -> Option<String> {
        self.regex.expand_bounded(text, template, VALUE_BYTES_MAX)
    }
}

/// Applies `rules` in their order; `None` when one of them says that the set is to be dropped.
#[must_use]
pub fn relabel(rules: &[RelabelRule], mut labels: LabelsBuilder) -> Option<Labels> {
    let keep = rules.iter().all(|rule| rule.apply(&mut labels));
    keep.then(|| labels.labels())
}

/// The last eight bytes of the MD5 of `text`, the most significant first.
fn last_half_of_md5(text: &str) -> u64 {
    let digest = Md5::digest(text.as_bytes());
    digest.iter().skip(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests;
