//! The metrics of the process and those of its tenants, apart.

use model::tenant::TenantId;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

/// The registries of a process. Cheap to clone: clones share them.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    shared: Arc<RwLock<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    process: Arc<Registry>,
    /// With whether their metrics say whose they are.
    tenants: BTreeMap<TenantId, (Arc<Registry>, bool)>,
}

impl Registries {
    /// What the process has; nothing of tenants yet.
    #[must_use]
    pub fn of(process: Registry) -> Self {
        let registries = Self::default();
        registries.set_process(process);
        registries
    }

    /// Replaces what the process has.
    pub fn set_process(&self, registry: Registry) {
        self.write().process = Arc::new(registry);
    }

    /// What a tenant has from now on. `labelled`: its metrics get its name as a label.
    pub fn set_tenant(&self, tenant: &TenantId, registry: Registry, labelled: bool) {
        self.write().tenants.insert(tenant.clone(), (Arc::new(registry), labelled));
    }

    /// All of them, those of tenants whose metrics shall say so with their names.
    #[must_use]
    pub fn all(&self) -> Vec<(Arc<Registry>, Option<TenantId>)> {
        let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        let tenants = shared
            .tenants
            .iter()
            .map(|(tenant, (registry, labelled))| (Arc::clone(registry), labelled.then(|| tenant.clone())));
        std::iter::once((Arc::clone(&shared.process), None)).chain(tenants).collect()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Shared> {
        self.shared.write().unwrap_or_else(PoisonError::into_inner)
    }
}
