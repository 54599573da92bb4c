//! Who owns a series. Without tenancy everything belongs to `anonymous`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name of a tenant, as the header `X-Scope-OrgID` carries it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

/// The tenant that owns everything while tenancy is off.
pub const ANONYMOUS: &str = "anonymous";

/// The header that says for which tenant a request is, as Cortex, Mimir and Loki have it.
pub const HEADER: &str = "X-Scope-OrgID";

/// The longest name, in bytes.
const BYTES_MAX: usize = 150;
/// The longest name in a path, where what is no letter, digit, `-`, `_` or `.` takes three bytes.
const PATH_BYTES_MAX: usize = 250;

/// Why a text is no name of a tenant. The rules are Mimir's, so that its tenants can move.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantIdError {
    /// There is no text.
    #[error("no org id")]
    Empty,
    /// It is too long.
    #[error("tenant ID is too long: {bytes} bytes, at most {BYTES_MAX}")]
    Long {
        /// Its length.
        bytes: usize,
    },
    /// It is too long for a path.
    #[error("tenant ID {name:?} has too many special characters for its length")]
    LongPath {
        /// The text.
        name: String,
    },
    /// It has a character that names do not have.
    #[error(
        "tenant ID {name:?} contains unsupported character {character:?}: letters, digits and !-_.*'() are allowed"
    )]
    Character {
        /// The text.
        name: String,
        /// The character.
        character: char,
    },
    /// It would be another directory.
    #[error("tenant ID {name:?} is not allowed")]
    Path {
        /// The text.
        name: String,
    },
}

impl TenantId {
    /// The tenant of a process without tenancy.
    #[must_use]
    pub fn anonymous() -> Self {
        Self(Arc::from(ANONYMOUS))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the tenant of a process without tenancy.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        &*self.0 == ANONYMOUS
    }
}

impl FromStr for TenantId {
    type Err = TenantIdError;

    fn from_str(text: &str) -> Result<Self, TenantIdError> {
        let name = || text.to_owned();
        if text.is_empty() {
            return Err(TenantIdError::Empty);
        }
        if text.len() > BYTES_MAX {
            return Err(TenantIdError::Long { bytes: text.len() });
        }
        let allowed = |c: &char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(*c);
        if let Some(character) = text.chars().find(|c| !allowed(c)) {
            return Err(TenantIdError::Character { name: name(), character });
        }
        if text == "." || text == ".." {
            return Err(TenantIdError::Path { name: name() });
        }
        let special = text.bytes().filter(|b| !b.is_ascii_alphanumeric() && !b"-_.".contains(b)).count();
        if text.len() + 2 * special > PATH_BYTES_MAX {
            return Err(TenantIdError::LongPath { name: name() });
        }
        Ok(Self(Arc::from(text)))
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_mimir_takes() {
        for name in ["anonymous", "team-1_x.y", "a!*'()", "...", &"x".repeat(150)] {
            assert_eq!(name.parse::<TenantId>().unwrap().as_str(), name);
        }
        for name in ["", ".", "..", "a/b", "a|b", "a b", "ü", &"x".repeat(151), &"!".repeat(100)] {
            assert!(name.parse::<TenantId>().is_err(), "{name}");
        }
        let error = "a|b".parse::<TenantId>().unwrap_err().to_string();
        assert!(error.contains("'|'"), "{error}");
    }
}
