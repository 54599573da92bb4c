//! Which rules of the files run in a backtest, and since when.

use super::split::QueryPlan;
use crate::group::GroupSpec;
use crate::rule::{Rule, RuleKind};
use crate::rule_file::{FileGroup, GroupDefaults, Problem, RuleFile, RuleFileError, RuleReference};
use hashbrown::HashMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A rule and where it is.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    file: &'a str,
    file_index: usize,
    group: &'a FileGroup,
    number: usize,
}

/// All rules of `files`, in their order.
pub(super) fn places(files: &[(String, RuleFile)]) -> impl Iterator<Item = Place<'_>> {
    files.iter().enumerate().flat_map(|(file_index, (file, content))| {
        content
            .groups
            .iter()
            .flat_map(move |group| (0..group.rules.len()).map(move |number| Place { file, file_index, group, number }))
    })
}

impl<'a> Place<'a> {
    pub(super) fn rule(&self) -> &'a Rule {
        &self.group.rules[self.number]
    }

    /// Something about its expression.
    pub(super) fn problem(&self, problem: String) -> RuleFileError {
        let name = self.rule().name.clone();
        RuleFileError {
            file: self.file.to_owned(),
            places: self.group.places.get(self.number).map(|places| places.expr).into_iter().collect(),
            rule: Some(RuleReference { group: self.group.name.clone(), number: self.number + 1, name }),
            problem: Problem::Backtest(problem),
        }
    }
}

/// The alerting rules that are to be tested.
pub(super) fn chosen(all: &[Place<'_>], only: &[String]) -> Result<BTreeSet<usize>, String> {
    let alerting = all.iter().enumerate().filter(|(_, place)| place.rule().alerting().is_some());
    let is_meant = |place: &Place<'_>, text: &str| {
        let name = &place.rule().name;
        text == name
            || text
                .strip_suffix(name.as_str())
                .is_some_and(|group| group.strip_suffix('/').is_some_and(|group| group == place.group.name))
    };
    let unknown = only.iter().find(|text| !alerting.clone().any(|(_, place)| is_meant(place, text)));
    if let Some(unknown) = unknown {
        return Err(format!("no alerting rule is {}", model::text::quote(unknown)));
    }
    let chosen: BTreeSet<usize> = alerting
        .filter(|(_, place)| only.is_empty() || only.iter().any(|text| is_meant(place, text)))
        .map(|(index, _)| index)
        .collect();
    if chosen.is_empty() { Err("there is no alerting rule".to_owned()) } else { Ok(chosen) }
}

/// How far before an alert its recording rules have to begin: as far as it looks back, and as far as these do, in turn.
pub(super) fn warm_up_ms(
    all: &[Place<'_>],
    needed: &BTreeSet<usize>,
    plans: &HashMap<Arc<str>, QueryPlan>,
    writers: &HashMap<usize, Vec<usize>>,
) -> i64 {
    // Longest way, as many rounds as rules: what reads its own past is cut there.
    let mut reach: HashMap<usize, i64> = HashMap::new();
    let plan = |index: &usize| all.get(*index).and_then(|place| plans.get(place.rule().query.text()));
    let is_recording = |index: &&usize| all.get(**index).is_some_and(|place| place.rule().alerting().is_none());
    for _ in 0..needed.len().min(16) {
        let mut has_changed = false;
        for index in needed {
            let Some(plan) = plan(index) else { continue };
            let read = plan.reads.iter().filter_map(|number| writers.get(number)).flatten();
            let read = read.filter(is_recording).filter(|writer| *writer != index);
            let far = read.map(|writer| {
                let interval_ms = all.get(*writer).and_then(|place| place.group.interval_ms).unwrap_or_default();
                reach.get(writer).copied().unwrap_or_default().saturating_add(interval_ms)
            });
            let Some(far) = far.max() else { continue };
            let far = far.saturating_add(plan.reach_ms.unwrap_or_default());
            has_changed |= reach.insert(*index, far) != Some(far);
        }
        if !has_changed {
            break;
        }
    }
    reach.into_values().max().unwrap_or_default()
}

/// The groups with their needed rules alone, without annotations.
pub(super) fn groups(
    files: &[(String, RuleFile)],
    all: &[Place<'_>],
    needed: &BTreeSet<usize>,
    defaults: GroupDefaults,
) -> Vec<GroupSpec> {
    let mut groups: Vec<GroupSpec> = Vec::new();
    let mut last = None;
    for place in needed.iter().filter_map(|index| all.get(*index)) {
        let Some((file, _)) = files.get(place.file_index) else { continue };
        let is_new = last.replace((place.file_index, &place.group.name)) != Some((place.file_index, &place.group.name));
        if is_new {
            groups.push(GroupSpec { rules: Vec::new(), ..place.group.clone().resolve(file, defaults) });
        }
        if let Some(group) = groups.last_mut() {
            let mut rule = place.rule().clone();
            if let RuleKind::Alerting(alerting) = &mut rule.kind {
                alerting.annotations.clear();
            }
            group.rules.push(Arc::new(rule));
        }
    }
    groups
}
