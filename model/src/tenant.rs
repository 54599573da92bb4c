//! Who owns a series. Without tenancy everything belongs to `anonymous`.

use std::fmt;
use std::sync::Arc;

/// The name of a tenant, as the header `X-Scope-OrgID` carries it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

/// The tenant that owns everything while tenancy is off.
pub const ANONYMOUS: &str = "anonymous";

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
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
