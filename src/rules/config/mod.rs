//! Rule groups that come by API instead of by file: the ruler's configuration as Mimir and Cortex have it.
//!
//! A namespace is a document in the object store (`storage::documents`), so two writers cannot overwrite each other's
//! groups and older versions can be looked at. What is stored is what runs: after a change, at the start and every minute the
//! groups are handed to a [`ConfiguredGroups`], which runs them beside those of the rule files.

mod error;
mod metrics;
mod namespace;

pub use error::{RuleConfigError, RuleConfigErrorKind};
pub use metrics::RuleConfigCollector;

use futures::future::BoxFuture;
use model::tenant::TenantId;
use namespace::NamespaceText;
use promql::parse::ParseOptions;
use ruler::rule_file::{FileGroup, GroupText, ReadOptions, namespaces_to_yaml};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use storage::documents::{Change, Document, DocumentError, Documents, Updated};
use tokio_util::sync::CancellationToken;

/// How often the store is asked for changes that others made.
const REFRESH_EVERY: Duration = Duration::from_secs(60);
/// First pause after a load that failed; it doubles up to [`REFRESH_EVERY`].
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Bounds of what the API takes; 0 means none.
#[derive(Debug, Clone, Copy, Default)]
pub struct RuleLimits {
    /// Groups of a tenant.
    pub groups_max: usize,
    /// Rules of one group.
    pub rules_max: usize,
}

/// Runs what is configured.
pub trait ConfiguredGroups: Send + Sync {
    /// Makes `groups`, with the name of their namespace, the configured groups that run.
    fn apply(&self, groups: Vec<(String, FileGroup)>) -> BoxFuture<'_, ()>;

    /// Whether a rule file has this group.
    fn is_in_file(&self, file: &str, group: &str) -> bool;

    /// Whether the configuration restricts names to those that Prometheus 2 allowed.
    fn legacy_names(&self) -> bool {
        false
    }
}

/// The configured groups of the tenant. Cheap to clone.
#[derive(Clone)]
pub struct RuleConfig {
    shared: Arc<Shared>,
}

struct Shared {
    /// Whose groups they are.
    tenant: TenantId,
    documents: Documents,
    limits: RuleLimits,
    parse: ParseOptions,
    groups: Arc<dyn ConfiguredGroups>,
    state: Mutex<State>,
    /// Held while groups are handed over, so that the newest come last.
    applying: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    namespaces: BTreeMap<String, Vec<ConfiguredGroup>>,
    /// Newest version by namespace, removed ones included.
    versions: BTreeMap<String, u64>,
    /// Whether the store was read once.
    is_loaded: bool,
    /// Whether all that was in the store ran once.
    is_whole: bool,
    problem: Option<String>,
    load_failures: u64,
}

/// What documents came to.
struct Adopted {
    /// Whether they change what runs.
    is_changed: bool,
    /// Whether all could be read.
    is_whole: bool,
}

#[derive(Clone)]
struct ConfiguredGroup {
    text: GroupText,
    /// `None` when this process cannot run it, such as for a feature that is off here.
    group: Option<FileGroup>,
}

impl RuleConfig {
    /// The groups of `tenant` in `documents`, which nobody has read yet.
    #[must_use]
    pub fn new(
        tenant: TenantId,
        documents: Documents,
        limits: RuleLimits,
        parse: ParseOptions,
        groups: Arc<dyn ConfiguredGroups>,
    ) -> Self {
        let (state, applying) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { shared: Arc::new(Shared { tenant, documents, limits, parse, groups, state, applying }) }
    }

    /// Reads what is new in the store, and runs it.
    ///
    /// # Errors
    /// The store cannot be read; what ran goes on.
    pub async fn load(&self) -> Result<(), RuleConfigError> {
        let known = self.shared.state().versions.clone();
        let loaded = match self.shared.documents.load(&known).await {
            Ok(loaded) => loaded,
            Err(error) => {
                self.shared.note_failure(&error);
                return Err(error.into());
            }
        };
        let mut failed = None;
        let readable = loaded.into_iter().filter_map(|document| document.map_err(|error| failed = Some(error)).ok());
        let Adopted { is_changed, is_whole } = self.adopt(readable.collect()).await;
        {
            let mut state = self.shared.state();
            state.is_loaded = true;
            state.problem = None;
        }
        if is_changed {
            self.apply().await;
        }
        match failed {
            Some(error) => {
                self.shared.note_failure(&error);
                Err(error.into())
            }
            None => {
                self.shared.state().is_whole |= is_whole;
                Ok(())
            }
        }
    }

    /// Returns when all that was in the store ran once. While a namespace cannot be read nobody knows what groups there are.
    pub async fn until_whole(&self) {
        while !self.shared.state().is_whole {
            tokio::time::sleep(RETRY_AFTER).await;
        }
        let _until_applied = self.shared.applying.lock().await;
    }

    /// Loads again and again until `stop`; sooner while it fails.
    pub async fn run(self, stop: CancellationToken) {
        let mut pause = if self.shared.state().is_loaded { REFRESH_EVERY } else { RETRY_AFTER };
        while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            pause = match stop.run_until_cancelled(self.load()).await {
                None => return,
                Some(Ok(())) => REFRESH_EVERY,
                Some(Err(error)) => {
                    let problem = crate::app::load::with_causes(&error);
                    tracing::warn!(problem, "configured rules could not be read; those that run go on");
                    if pause == REFRESH_EVERY { RETRY_AFTER } else { (2 * pause).min(REFRESH_EVERY) }
                }
            };
        }
    }

    /// All groups by namespace, or those of one, as YAML.
    ///
    /// # Errors
    /// Nothing was read yet, or there is no such namespace.
    pub fn list(&self, namespace: Option<&str>) -> Result<String, RuleConfigError> {
        let found: BTreeMap<String, Vec<GroupText>> = {
            let state = self.shared.loaded()?;
            let wanted = state.namespaces.iter().filter(|(name, _)| namespace.is_none_or(|wanted| wanted == *name));
            let texts = |groups: &Vec<ConfiguredGroup>| groups.iter().map(|group| group.text.clone()).collect();
            wanted.map(|(name, groups)| (name.clone(), texts(groups))).collect()
        };
        if namespace.is_some() && found.is_empty() {
            return Err(RuleConfigError::NoNamespace);
        }
        Ok(namespaces_to_yaml(&found))
    }

    /// One group as YAML.
    ///
    /// # Errors
    /// Nothing was read yet, or there is no such group.
    pub fn group(&self, namespace: &str, name: &str) -> Result<String, RuleConfigError> {
        let state = self.shared.loaded()?;
        let mut groups = state.namespaces.get(namespace).into_iter().flatten();
        let group = groups.find(|group| group.text.name == name).ok_or(RuleConfigError::NoGroup)?;
        Ok(group.text.to_yaml())
    }

    /// Stores a group, in the place of one of that name, and runs it.
    ///
    /// # Errors
    /// It is not valid or too much, or the store fails.
    pub async fn set(&self, namespace: &str, yaml: &str) -> Result<(), RuleConfigError> {
        let (file, yaml, parse) = (namespace.to_owned(), yaml.to_owned(), self.shared.parse.clone());
        let legacy_names = self.shared.groups.legacy_names();
        let parsed = computed(move || {
            GroupText::parse(&file, &yaml, &ReadOptions { parse: &parse, ignore_unknown_fields: false, legacy_names })
        });
        let parsed = parsed.await;
        let (text, group) = parsed.map_err(RuleConfigError::Invalid)?;
        if let Some(foreign) = group.foreign_tenant(namespace, self.shared.tenant.as_str()) {
            return Err(RuleConfigError::Invalid(vec![foreign]));
        }
        self.check(namespace, &text)?;
        self.change(namespace, |namespace| Ok(namespace.set(text.clone()))).await
    }

    /// Removes a group.
    ///
    /// # Errors
    /// There is none of that name, or the store fails.
    pub async fn remove(&self, namespace: &str, group: &str) -> Result<(), RuleConfigError> {
        let remove = |namespace: &mut NamespaceText| {
            if namespace.remove(group) { Ok(true) } else { Err(RuleConfigError::NoGroup) }
        };
        self.change(namespace, remove).await
    }

    /// Removes all groups of a namespace.
    ///
    /// # Errors
    /// It has none, or the store fails.
    pub async fn remove_namespace(&self, namespace: &str) -> Result<(), RuleConfigError> {
        let remove = |namespace: &mut NamespaceText| {
            if namespace.groups.is_empty() {
                return Err(RuleConfigError::NoNamespace);
            }
            namespace.groups.clear();
            Ok(true)
        };
        self.change(namespace, remove).await
    }

    /// Removes everything.
    ///
    /// # Errors
    /// Nothing was read yet, or the store fails; what was removed until then stays removed.
    pub async fn remove_all(&self) -> Result<(), RuleConfigError> {
        let names: Vec<String> = self.shared.loaded()?.namespaces.keys().cloned().collect();
        for name in names {
            match self.remove_namespace(&name).await {
                Ok(()) | Err(RuleConfigError::NoNamespace) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn check(&self, namespace: &str, text: &GroupText) -> Result<(), RuleConfigError> {
        let RuleLimits { groups_max, rules_max } = self.shared.limits;
        if rules_max > 0 && text.rules.len() > rules_max {
            return Err(RuleConfigError::TooManyRules { max: rules_max, rules: text.rules.len() });
        }
        if self.shared.groups.is_in_file(namespace, &text.name) {
            return Err(RuleConfigError::InFile);
        }
        let state = self.shared.state();
        let is_new = |groups: &Vec<ConfiguredGroup>| groups.iter().all(|group| group.text.name != text.name);
        if groups_max > 0 && state.namespaces.get(namespace).is_none_or(is_new) {
            let groups = state.namespaces.values().map(Vec::len).sum::<usize>() + 1;
            if groups > groups_max {
                return Err(RuleConfigError::TooManyGroups { max: groups_max, groups });
            }
        }
        Ok(())
    }

    /// Changes a namespace in the store and what runs; `change` says whether it changed anything.
    async fn change(
        &self,
        name: &str,
        mut change: impl FnMut(&mut NamespaceText) -> Result<bool, RuleConfigError>,
    ) -> Result<(), RuleConfigError> {
        let update = |content: Option<&str>| {
            let mut namespace = NamespaceText::decode(name, content)?;
            if !change(&mut namespace)? {
                return Ok(Change::Nothing);
            }
            if namespace.groups.is_empty() { Ok(Change::Remove) } else { namespace.encode().map(Change::Content) }
        };
        let document = match self.shared.documents.update(name, update).await? {
            Updated::Refused(error) => return Err(error),
            Updated::Unchanged(document) => document,
            Updated::To(document) => Some(document),
        };
        if self.adopt(document.into_iter().collect()).await.is_changed {
            self.apply().await;
        }
        Ok(())
    }

    /// Takes in versions of documents.
    async fn adopt(&self, documents: Vec<Document>) -> Adopted {
        let this = self.clone();
        let adopt_all = move || {
            documents.into_iter().fold(Adopted { is_changed: false, is_whole: true }, |all, document| {
                match this.adopt_one(document) {
                    Some(is_changed) => Adopted { is_changed: all.is_changed | is_changed, ..all },
                    None => Adopted { is_whole: false, ..all },
                }
            })
        };
        computed(adopt_all).await
    }

    /// Whether that changes what runs; `None` if it cannot be read.
    fn adopt_one(&self, document: Document) -> Option<bool> {
        let Document { name, version, content, .. } = document;
        let groups = match NamespaceText::decode(&name, content.as_deref()) {
            Ok(namespace) => self.resolve(&name, namespace),
            Err(error) => {
                tracing::warn!(namespace = name, %error, "configured rules cannot be read; those that run go on");
                return None;
            }
        };
        let mut state = self.shared.state();
        if state.versions.get(&name).is_some_and(|known| *known >= version) {
            return Some(false);
        }
        state.versions.insert(name.clone(), version);
        Some(if groups.is_empty() {
            state.namespaces.remove(&name).is_some()
        } else {
            state.namespaces.insert(name, groups);
            true
        })
    }

    fn resolve(&self, name: &str, namespace: NamespaceText) -> Vec<ConfiguredGroup> {
        // What was stored with names that are not allowed any more goes on.
        let options = ReadOptions { parse: &self.shared.parse, ignore_unknown_fields: false, legacy_names: false };
        let resolve = |text: GroupText| match GroupText::parse(name, &text.to_yaml(), &options) {
            Ok((text, group)) => ConfiguredGroup { text, group: Some(group) },
            Err(errors) => {
                let (group, error) = (&text.name, RuleConfigError::Invalid(errors));
                tracing::warn!(namespace = name, group, %error, "a configured rule group cannot run here");
                ConfiguredGroup { text, group: None }
            }
        };
        namespace.groups.into_iter().map(resolve).collect()
    }

    async fn apply(&self) {
        let _in_order = self.shared.applying.lock().await;
        let groups = {
            let state = self.shared.state();
            let all = state.namespaces.iter().flat_map(|(name, groups)| groups.iter().map(move |group| (name, group)));
            all.filter_map(|(name, group)| Some((name.clone(), group.group.clone()?))).collect()
        };
        self.shared.groups.apply(groups).await;
    }
}

/// Runs what computes for a while on a thread that may.
async fn computed<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn loaded(&self) -> Result<MutexGuard<'_, State>, RuleConfigError> {
        let state = self.state();
        if state.is_loaded { Ok(state) } else { Err(RuleConfigError::NotLoaded(state.problem.clone())) }
    }

    fn note_failure(&self, error: &DocumentError) {
        let mut state = self.state();
        state.problem = Some(crate::app::load::with_causes(error));
        state.load_failures += 1;
    }
}

impl std::fmt::Debug for RuleConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuleConfig").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
