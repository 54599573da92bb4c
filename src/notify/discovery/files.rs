//! Targets by files that list them.

use super::{Counters, LIST_BYTES_MAX, list, read_bounded};
use crate::config::FileSdConfig;
use crate::notify::resolve::TargetGroup;
use crate::rules::glob;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How often files are looked at for changes.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What is known of each file. Looking at files blocks.
#[derive(Clone)]
pub(super) struct FileDiscovery {
    config: FileSdConfig,
    counters: Arc<Counters>,
    found: BTreeMap<PathBuf, Found>,
    read_all_at: Option<Instant>,
}

#[derive(Clone)]
struct Found {
    stamp: Option<(SystemTime, u64)>,
    groups: Vec<TargetGroup>,
}

impl FileDiscovery {
    pub(super) fn new(config: FileSdConfig, counters: Arc<Counters>) -> Self {
        Self { config, counters, found: BTreeMap::new(), read_all_at: None }
    }

    /// Reads files that are new or changed, and all of them once in a while. A file that cannot be read or is no list keeps
    /// the targets that it had; one that is gone takes them with it.
    pub(super) fn refresh(&mut self) -> Vec<TargetGroup> {
        let every = self.config.refresh_interval.as_std();
        let all = self.read_all_at.is_none_or(|at| at.elapsed() >= every);
        if all {
            self.read_all_at = Some(Instant::now());
        }
        let mut before = std::mem::take(&mut self.found);
        for path in self.paths() {
            let stamp = std::fs::metadata(&path).ok().and_then(|data| Some((data.modified().ok()?, data.len())));
            let known = before.remove(&path);
            let unchanged = known.as_ref().is_some_and(|known| known.stamp == stamp && stamp.is_some());
            let known = known.unwrap_or(Found { stamp: None, groups: Vec::new() });
            let groups = if unchanged && !all { Ok(known.groups.clone()) } else { read(&path) };
            let groups = groups.unwrap_or_else(|problem| {
                self.counters.read_failed();
                let file = path.display();
                tracing::warn!(%file, problem, "a list of Alertmanagers cannot be read; those found before stay");
                known.groups
            });
            self.found.insert(path, Found { stamp, groups });
        }
        self.found.values().flat_map(|found| found.groups.iter().cloned()).collect()
    }

    fn paths(&self) -> Vec<PathBuf> {
        let expanded = self.config.files.iter().map(|pattern| {
            glob::expand(pattern).unwrap_or_else(|error| {
                let file = pattern.display();
                tracing::warn!(%file, %error, "no such files");
                Vec::new()
            })
        });
        expanded.flatten().collect()
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<TargetGroup>, String> {
    let bytes = read_bounded(path, LIST_BYTES_MAX).map_err(|error| error.to_string())?;
    let name = path.display().to_string();
    let label = ("__meta_filepath", name.as_str());
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    if is_json {
        return list::of_json(&bytes, label);
    }
    list::of_yaml(&crate::rules::load::decode(bytes)?, label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PromDuration;

    fn addresses(groups: &[TargetGroup]) -> Vec<&str> {
        groups.iter().flat_map(|group| &group.targets).map(|target| target["__address__"].as_str()).collect()
    }

    #[test]
    fn files_are_read_again_when_they_change_and_a_bad_one_keeps_what_it_had() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let config =
            FileSdConfig { files: vec![file("*.json"), file("b.yml")], refresh_interval: PromDuration::from_secs(300) };
        let mut discovery = FileDiscovery::new(config, Arc::default());
        assert!(discovery.refresh().is_empty());
        std::fs::write(file("a.json"), r#"[{"targets": ["a:1"]}]"#).unwrap();
        std::fs::write(file("b.yml"), "- targets: ['b:1']\n").unwrap();
        let groups = discovery.refresh();
        assert_eq!(addresses(&groups), ["a:1", "b:1"]);
        assert_eq!(groups[0].labels["__meta_filepath"], file("a.json").display().to_string());
        std::fs::write(file("a.json"), r#"[{"targets": ["a:1", "a:2"]"#).unwrap();
        assert_eq!(addresses(&discovery.refresh()), ["a:1", "b:1"], "half written");
        assert_eq!(discovery.counters.stats().file_read_errors, 1);
        std::fs::write(file("a.json"), r#"[{"targets": ["a:1", "a:2"]}]"#).unwrap();
        assert_eq!(addresses(&discovery.refresh()), ["a:1", "a:2", "b:1"]);
        std::fs::remove_file(file("b.yml")).unwrap();
        assert_eq!(addresses(&discovery.refresh()), ["a:1", "a:2"]);
    }
}
