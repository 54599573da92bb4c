//! The groups of one namespace, and the content of their document.

use super::RuleConfigError;
use ruler::rule_file::GroupText;
use serde::{Deserialize, Serialize};

/// Longest content of a document.
const CONTENT_BYTES_MAX: usize = 32 << 20;

/// Groups with distinct names, in the order in which they came.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct NamespaceText {
    pub(super) groups: Vec<GroupText>,
}

impl NamespaceText {
    /// What a document says; without content there are no groups.
    pub(super) fn decode(name: &str, content: Option<&str>) -> Result<Self, RuleConfigError> {
        let Some(content) = content else { return Ok(Self::default()) };
        serde_json::from_str(content).map_err(|source| RuleConfigError::Damaged { namespace: name.to_owned(), source })
    }

    pub(super) fn encode(&self) -> Result<String, RuleConfigError> {
        let content = serde_json::to_string(self).expect("texts and numbers have a form in JSON");
        if content.len() > CONTENT_BYTES_MAX {
            return Err(RuleConfigError::TooLarge { bytes: content.len(), max: CONTENT_BYTES_MAX });
        }
        Ok(content)
    }

    /// Puts a group in the place of one of that name, or behind the others; says whether that changed anything.
    pub(super) fn set(&mut self, group: GroupText) -> bool {
        match self.groups.iter_mut().find(|known| known.name == group.name) {
            Some(known) if *known == group => return false,
            Some(known) => *known = group,
            None => self.groups.push(group),
        }
        true
    }

    /// Removes a group; says whether there was one.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let before = self.groups.len();
        self.groups.retain(|group| group.name != name);
        self.groups.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, limit: i64) -> GroupText {
        GroupText { name: name.into(), limit, ..GroupText::default() }
    }

    #[test]
    fn groups_keep_their_place_when_they_change() {
        let mut namespace = NamespaceText::default();
        assert!(namespace.set(group("a", 0)) && namespace.set(group("b", 0)) && namespace.set(group("a", 1)));
        assert!(!namespace.set(group("a", 1)), "nothing changes");
        assert_eq!(namespace.groups, [group("a", 1), group("b", 0)]);
        assert_eq!(NamespaceText::decode("n", Some(&namespace.encode().unwrap())).unwrap(), namespace);
        assert!(namespace.remove("a") && !namespace.remove("a"));
    }

    #[test]
    fn content_that_is_none_is_told_with_its_namespace() {
        let error = NamespaceText::decode("team", Some("{")).unwrap_err();
        assert!(error.to_string().contains("team"), "{error}");
    }
}
