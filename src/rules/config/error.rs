//! Why configured rules cannot be read or changed.

use ruler::rule_file::RuleFileError;
use storage::documents::DocumentError;
use storage::error::ErrorKind;

/// Why configured rules cannot be read or changed. Texts that clients look for are Cortex'.
#[derive(Debug, thiserror::Error)]
pub enum RuleConfigError {
    /// The group is not valid: everything that is wrong with it.
    #[error("{}", join(.0))]
    Invalid(Vec<RuleFileError>),
    /// Too many rules.
    #[error("per-user rules per rule group limit (limit: {max} actual: {rules}) exceeded")]
    TooManyRules {
        /// Most rules.
        max: usize,
        /// Rules of the group.
        rules: usize,
    },
    /// Too many groups.
    #[error("per-user rule groups limit (limit: {max} actual: {groups}) exceeded")]
    TooManyGroups {
        /// Most groups.
        max: usize,
        /// Groups, this one included.
        groups: usize,
    },
    /// Too much text.
    #[error("the groups of the namespace take {bytes} bytes, at most {max} are taken")]
    TooLarge {
        /// How much.
        bytes: usize,
        /// At most.
        max: usize,
    },
    /// A rule file has a group of this name, and the namespace is the file's path.
    #[error("a rule file has this group")]
    InFile,
    /// There is no such group.
    #[error("group does not exist")]
    NoGroup,
    /// The namespace has no groups.
    #[error("no rule groups found")]
    NoNamespace,
    /// The store has not been read since the process started.
    #[error("configured rules were not read yet{}", .0.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    NotLoaded(Option<String>),
    /// A document was not written by Hearth.
    #[error("the groups of namespace {namespace:?} are damaged")]
    Damaged {
        /// Which namespace.
        namespace: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] DocumentError),
}

/// What a caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleConfigErrorKind {
    /// Change the request.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// Try again later.
    Unavailable,
    /// Look at the store.
    Corrupt,
}

impl RuleConfigError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> RuleConfigErrorKind {
        match self {
            Self::Invalid(_)
            | Self::TooManyRules { .. }
            | Self::TooManyGroups { .. }
            | Self::TooLarge { .. }
            | Self::InFile => RuleConfigErrorKind::Invalid,
            Self::NoGroup | Self::NoNamespace => RuleConfigErrorKind::NotFound,
            Self::NotLoaded(_) => RuleConfigErrorKind::Unavailable,
            Self::Damaged { .. } => RuleConfigErrorKind::Corrupt,
            Self::Store(error) => match error.kind() {
                ErrorKind::Invalid => RuleConfigErrorKind::Invalid,
                ErrorKind::Limited | ErrorKind::Unavailable => RuleConfigErrorKind::Unavailable,
                ErrorKind::Corrupt | ErrorKind::Internal => RuleConfigErrorKind::Corrupt,
            },
        }
    }
}

fn join(errors: &[RuleFileError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
