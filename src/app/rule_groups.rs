//! The rule groups that run: those of the rule files and those that came by API, as one set.

use super::tenant::Rules;
use crate::rules::config::ConfiguredGroups;
use futures::FutureExt;
use futures::future::BoxFuture;
use ruler::group::{GroupSettings, GroupSpec};
use ruler::rule_file::{FileGroup, GroupDefaults};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Both kinds of groups. Whichever changes, the other goes on.
pub(super) struct RuleGroups {
    rules: Rules,
    wanted: tokio::sync::Mutex<Wanted>,
    /// File and name of the groups of rule files.
    in_files: Mutex<HashSet<(String, String)>>,
    /// What the configuration says about names.
    legacy_names: AtomicBool,
}

#[derive(Default)]
struct Wanted {
    files: Vec<GroupSpec>,
    /// By namespace.
    configured: Vec<(String, FileGroup)>,
    /// What the configuration says; `None` until there is one.
    terms: Option<Terms>,
}

/// What is the same for all groups.
pub(super) struct Terms {
    /// For groups that do not say it themselves.
    pub(super) defaults: GroupDefaults,
    /// For all.
    pub(super) settings: GroupSettings,
    /// Whether names are restricted to those that Prometheus 2 allowed.
    pub(super) legacy_names: bool,
}

impl RuleGroups {
    /// Groups that `rules` runs; none yet.
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            wanted: tokio::sync::Mutex::default(),
            in_files: Mutex::default(),
            legacy_names: AtomicBool::default(),
        }
    }

    /// Makes `files` the groups of rule files.
    pub(super) async fn apply_files(&self, files: Vec<GroupSpec>, terms: Terms) {
        let mut wanted = self.wanted.lock().await;
        let keys = files.iter().map(|spec| (spec.file.clone(), spec.name.clone())).collect();
        *self.in_files.lock().unwrap_or_else(PoisonError::into_inner) = keys;
        self.legacy_names.store(terms.legacy_names, Ordering::Relaxed);
        wanted.files = files;
        wanted.terms = Some(terms);
        self.apply_all(&wanted).await;
    }

    /// A configured group that a rule file has, too, does not run.
    async fn apply_all(&self, wanted: &Wanted) {
        let Some(Terms { defaults, settings, .. }) = &wanted.terms else { return };
        let mut specs = wanted.files.clone();
        for (namespace, group) in &wanted.configured {
            if self.is_in_file(namespace, &group.name) {
                tracing::warn!(
                    namespace,
                    group = group.name,
                    "a configured rule group does not run: a rule file has it"
                );
            } else {
                specs.push(group.clone().resolve(namespace, *defaults));
            }
        }
        self.rules.apply(specs, settings.clone()).await;
    }
}

impl ConfiguredGroups for RuleGroups {
    fn apply(&self, groups: Vec<(String, FileGroup)>) -> BoxFuture<'_, ()> {
        async {
            let mut wanted = self.wanted.lock().await;
            wanted.configured = groups;
            self.apply_all(&wanted).await;
        }
        .boxed()
    }

    fn is_in_file(&self, file: &str, group: &str) -> bool {
        let in_files = self.in_files.lock().unwrap_or_else(PoisonError::into_inner);
        in_files.contains(&(file.to_owned(), group.to_owned()))
    }

    fn legacy_names(&self) -> bool {
        self.legacy_names.load(Ordering::Relaxed)
    }
}
