//! Looks once at the files that list Alertmanagers, for who checks a configuration. Blocks.

use super::files;
use crate::config::{AlertingConfig, AlertmanagerConfig, relabel};
use crate::notify::resolve::resolve;
use crate::rules::glob;

/// What is wrong with lists of Alertmanagers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CheckedLists {
    /// A list cannot be read, or has an address that is none.
    pub problems: Vec<String>,
    /// There is no list; it may come later.
    pub warnings: Vec<String>,
}

/// Reads the files that `config` names now.
#[must_use]
pub fn check_lists(config: &AlertingConfig) -> CheckedLists {
    let mut checked = CheckedLists::default();
    config.alertmanagers.iter().for_each(|group| checked.add(group));
    checked
}

impl CheckedLists {
    fn add(&mut self, config: &AlertmanagerConfig) {
        let rules = relabel::rules(&config.relabel_configs);
        for pattern in config.file_sd_configs.iter().flat_map(|places| &places.files) {
            let paths = glob::expand(pattern).unwrap_or_default();
            if paths.is_empty() {
                self.warnings.push(format!("file_sd_configs: {} matches no file", pattern.display()));
            }
            for path in paths {
                let problems = match files::read(&path) {
                    Ok(groups) => resolve(config, &rules, &groups).problems,
                    Err(problem) => vec![problem],
                };
                self.problems.extend(problems.iter().map(|problem| format!("{}: {problem}", path.display())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn lists_are_read_and_their_addresses_looked_at_as_the_server_does() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        let checked = |groups: &str| {
            write("hearth.yml", &format!("alerting: {{alertmanagers: [{groups}]}}"));
            let config = Config::load(&directory.path().join("hearth.yml")).unwrap();
            let CheckedLists { problems, warnings } = check_lists(&config.alerting);
            let root = format!("{}/", directory.path().display());
            [problems, warnings].map(|texts| texts.iter().map(|text| text.replace(&root, "")).collect::<Vec<_>>())
        };
        write("good.yml", "- targets: ['a:1']\n");
        write("bad.json", "no list");
        write("url.yml", "- targets: ['http://a:1']\n");
        let nothing: [Vec<String>; 2] = Default::default();
        assert_eq!(checked("{file_sd_configs: [{files: [good.yml]}]}"), nothing);
        let [problems, warnings] = checked("{file_sd_configs: [{files: ['*.json', url.yml]}, {files: ['none*.yml']}]}");
        assert!(problems[0].starts_with("bad.json: "), "{problems:?}");
        assert_eq!(problems[1..], ["url.yml: \"http://a:1\" is not a valid hostname"]);
        assert_eq!(warnings, ["file_sd_configs: none*.yml matches no file"]);
        let rewritten = "relabel_configs: [{target_label: __address__, replacement: 'a:1'}]";
        assert_eq!(checked(&format!("{{file_sd_configs: [{{files: [url.yml]}}], {rewritten}}}")), nothing);
    }
}
