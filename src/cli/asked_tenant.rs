//! For which tenant a command asks a server.

use clap::Args;
use model::tenant::{self, TenantId};
use reqwest::ClientBuilder;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// The flag.
#[derive(Debug, Clone, Default, Args)]
pub struct AskedTenant {
    /// Tenant to ask for, where the server has several (--tenants.enabled)
    #[arg(long, value_name = "NAME", env = "HEARTH_TENANT")]
    tenant: Option<TenantId>,
}

impl AskedTenant {
    /// What is built then says in every request for which tenant it is.
    pub(super) fn in_requests(&self, client: ClientBuilder) -> ClientBuilder {
        let Some(tenant) = &self.tenant else { return client };
        let name = HeaderName::from_bytes(tenant::HEADER.as_bytes()).expect("the name of the header is one");
        let value = HeaderValue::from_str(tenant.as_str()).expect("names of tenants are visible ASCII");
        client.default_headers(HeaderMap::from_iter([(name, value)]))
    }
}
