//! From what was discovered to whom alerts are posted. Pure.

use super::url::{alerts_path, url};
use crate::config::AlertmanagerConfig;
use model::relabel::{LabelsBuilder, RelabelRule};
use std::collections::{BTreeMap, BTreeSet};

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const PATH: &str = "__alerts_path__";

/// Targets that were discovered together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct TargetGroup {
    /// Labels of each.
    pub(super) targets: Vec<BTreeMap<String, String>>,
    /// Labels of all, where a target does not have its own.
    pub(super) labels: BTreeMap<String, String>,
}

impl TargetGroup {
    /// Targets by address alone.
    pub(super) fn of_addresses(addresses: &[String], labels: BTreeMap<String, String>) -> Self {
        let target = |address: &String| BTreeMap::from([(ADDRESS.to_owned(), address.clone())]);
        Self { targets: addresses.iter().map(target).collect(), labels }
    }
}

/// Whom alerts are posted to, and who was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Resolved {
    /// URLs, each once.
    pub(super) active: BTreeSet<String>,
    /// URLs that these would have had; any of them may occur again.
    pub(super) dropped: Vec<String>,
    /// What is wrong with groups that were left out as a whole.
    pub(super) problems: Vec<String>,
}

/// Applies the settings of `config` and its compiled `rules` to what was discovered.
pub(super) fn resolve<'a>(
    config: &AlertmanagerConfig,
    rules: &[RelabelRule],
    groups: impl IntoIterator<Item = &'a TargetGroup>,
) -> Resolved {
    let mut resolved = Resolved::default();
    for group in groups {
        match resolve_group(config, rules, group) {
            Ok((active, dropped)) => {
                resolved.active.extend(active);
                resolved.dropped.extend(dropped);
            }
            Err(problem) => resolved.problems.push(problem),
        }
    }
    resolved
}

fn resolve_group(
    config: &AlertmanagerConfig,
    rules: &[RelabelRule],
    group: &TargetGroup,
) -> Result<(Vec<String>, Vec<String>), String> {
    let path = alerts_path(&config.path_prefix);
    let (mut active, mut dropped) = (Vec::new(), Vec::new());
    for target in &group.targets {
        let mut labels = LabelsBuilder::default();
        target.iter().for_each(|(name, value)| labels.set(name, value));
        labels.set(SCHEME, config.scheme.as_str());
        labels.set(PATH, &path);
        for (name, value) in group.labels.iter().filter(|(name, _)| !target.contains_key(*name)) {
            labels.set(name, value);
        }
        let before = url_of(&labels);
        if !rules.iter().all(|rule| rule.apply(&mut labels)) {
            dropped.push(before);
            continue;
        }
        let address = labels.get(ADDRESS);
        if address.contains('/') {
            return Err(format!("{address:?} is not a valid hostname"));
        }
        active.push(url_of(&labels));
    }
    Ok((active, dropped))
}

fn url_of(labels: &LabelsBuilder) -> String {
    url(labels.get(SCHEME), labels.get(ADDRESS), labels.get(PATH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, relabel};

    fn resolved(section: &str, target: &[(&str, &str)], labels: &[(&str, &str)]) -> Resolved {
        let config = Config::parse(&format!("alerting: {{alertmanagers: [{{{section}}}]}}")).unwrap();
        let config = &config.alerting.alertmanagers[0];
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let group = TargetGroup { targets: vec![map(target)], labels: map(labels) };
        resolve(config, &relabel::rules(&config.relabel_configs), [&group])
    }

    fn active(section: &str, target: &[(&str, &str)], labels: &[(&str, &str)]) -> Vec<String> {
        resolved(section, target, labels).active.into_iter().collect()
    }

    #[test]
    fn address_scheme_and_path_make_the_url() {
        let a = [("__address__", "a:1")];
        assert_eq!(active("", &a, &[]), ["http://a:1/api/v2/alerts"]);
        assert_eq!(active("scheme: https, path_prefix: /x/", &a, &[]), ["https://a:1/x/api/v2/alerts"]);
        let labels = [("__scheme__", "https"), ("__alerts_path__", "/p"), ("zone", "z")];
        assert_eq!(active("", &a, &labels), ["https://a:1/p"], "labels of the group come later, as in Prometheus");
    }

    #[test]
    fn rules_rewrite_and_drop_targets() {
        let a = [("__address__", "a:1"), ("__meta_x", "b")];
        let rewrite = "relabel_configs: [{source_labels: [__meta_x], target_label: __address__, replacement: '$1:2'}]";
        assert_eq!(active(rewrite, &a, &[]), ["http://b:2/api/v2/alerts"]);
        let drop = "relabel_configs: [{target_label: __address__, replacement: c}, {source_labels: [zone], regex: old, action: drop}]";
        let result = resolved(drop, &a, &[("zone", "old")]);
        assert!(result.active.is_empty());
        assert_eq!(result.dropped, ["http://a:1/api/v2/alerts"], "shown as before the rules");
    }

    #[test]
    fn a_group_with_an_address_that_is_none_is_left_out() {
        let result = resolved("", &[("__address__", "http://a")], &[]);
        assert_eq!(result.problems, ["\"http://a\" is not a valid hostname"]);
        assert!(result.active.is_empty());
    }
}
