//! `info`: adds labels of info series, such as `target_info`, to the series that describe the same target.
//!
//! Which info series describes a target may change from step to step; the newest sample decides. So the result is put
//! together step by step, and a base series may become several.

use crate::eval::exec::{Counting, Exec};
use crate::eval::names::{OnEqual, settle};
use crate::eval::remarks::Place;
use crate::eval::row::{Row, has_bit, unite_bits, words_for};
use crate::eval::select::{Field, InstantSelector};
use crate::eval::steps::{LookTimes, Steps};
use crate::eval::vector::{SeriesVector, Table, Vector};
use crate::plan::When;
use crate::query_error::QueryError;
use hashbrown::{HashMap, HashSet};
use model::labels::{Labels, METRIC_NAME};
use model::matcher::{MatchOp, Matcher};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The labels that say which target a series belongs to.
const TARGET_LABELS: [&str; 2] = ["instance", "job"];

/// Adds labels to the series of `base`. `selector` holds the matchers of the second argument.
pub(crate) fn info<'q>(
    base: &dyn SeriesVector,
    selector: Option<&[Matcher]>,
    when: When,
    steps: &Steps,
    counting: Counting,
    place: Place,
    exec: &Exec<'q>,
) -> Result<Vector<'q>, QueryError> {
    let base = Table::evaluate(base, steps.count, false, exec)?;
    let wanted = Wanted::of(selector.unwrap_or_default());
    let is_info: Vec<bool> = (0..base.len()).map(|index| wanted.is_info(base.labels_ref(index))).collect();
    // Without series it is not known whose information is wanted; what there is of all of them is foreseen.
    let foreseen = || Some([wanted.all(), exec.source.rehearsed_matchers(&TARGET_LABELS)?].concat());
    let infos = match wanted.matchers(&base, &is_info).or_else(foreseen) {
        Some(matchers) => {
            let look = LookTimes::new(steps, when.at_ms, when.offset_ms);
            let selected = InstantSelector::build((&matchers, false), look, Field::InfoTime, counting, place, exec)?;
            Table::evaluate(selected.as_ref(), steps.count, false, exec)?
        }
        None => Table::builder(steps.count, exec).finish(),
    };
    let newest = Newest::find(&infos, &base, steps.count)?;
    let mut rows = Table::builder(steps.count, exec);
    for (index, is_info) in is_info.iter().enumerate() {
        let labels = base.labels_ref(index);
        let (values, present) = base.columns(index);
        let mut row = Row::default();
        row.copy_from(values, present, base.histograms(index));
        if *is_info {
            rows.push(labels.clone(), base.drops_name(index), &row)?;
            continue;
        }
        for (labels, row) in enrich(labels, &row, &infos, &newest, &wanted)? {
            rows.push(labels, base.drops_name(index), &row)?;
        }
    }
    settle(Arc::new(rows.finish()), steps.count, OnEqual::Merge, exec)
}

/// What the second argument asks for.
struct Wanted {
    /// Conditions on the name of info metrics; all must hold.
    names: Vec<Matcher>,
    /// Conditions on other labels, by label. When there is any, only these labels are added.
    data: BTreeMap<String, Vec<Matcher>>,
}

impl Wanted {
    fn of(selector: &[Matcher]) -> Self {
        let (mut names, others): (Vec<Matcher>, Vec<Matcher>) =
            selector.iter().cloned().partition(|matcher| matcher.name() == METRIC_NAME);
        let says_which = names.iter().any(|matcher| matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex));
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, "target_info"));
        } else if !says_which {
            // Only what is not wanted was said.
            names.extend(Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info"));
        }
        let mut data: BTreeMap<String, Vec<Matcher>> = BTreeMap::new();
        for matcher in others {
            data.entry(matcher.name().to_owned()).or_default().push(matcher);
        }
        Self { names, data }
    }

    /// Whether the series is itself an info series; those pass unchanged.
    fn is_info(&self, labels: &Labels) -> bool {
        let name = labels.metric_name().unwrap_or_default();
        self.names.iter().all(|matcher| matcher.matches(name))
    }

    /// What selects the info series of all targets.
    fn all(&self) -> Vec<Matcher> {
        self.names.iter().chain(self.data.values().flatten()).cloned().collect()
    }

    /// What selects the info series of the targets in `base`; `None` when no series has a target.
    fn matchers(&self, base: &Table<'_>, is_info: &[bool]) -> Option<Vec<Matcher>> {
        let mut matchers = self.all();
        let mut any = false;
        for name in TARGET_LABELS {
            let values: std::collections::BTreeSet<&str> = (0..base.len())
                .filter(|index| !is_info[*index])
                .filter_map(|index| base.labels_ref(index).get(name))
                .collect();
            if !values.is_empty() {
                any = true;
                let alternatives: Vec<String> = values.into_iter().map(escape).collect();
                matchers.extend(Matcher::new(name, MatchOp::Regex, alternatives.join("|")));
            }
        }
        any.then_some(matchers)
    }

    fn adds(&self, label: &str) -> bool {
        label != METRIC_NAME && (self.data.is_empty() || self.data.contains_key(label))
    }

    /// Whether a series without any info may pass.
    fn accepts_none(&self) -> bool {
        self.data.values().flatten().all(|matcher| matcher.matches(""))
    }
}

/// A pattern that matches exactly `text`.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The labels that an info series of metric `name` must have to describe the target of `labels`.
fn target(labels: &Labels, name: &str) -> Labels {
    labels.filter(|label| TARGET_LABELS.contains(&label)).with(METRIC_NAME, name)
}

/// Per info metric and target, the newest info series at each step.
struct Newest {
    names: Vec<String>,
    by_target: HashMap<Labels, Vec<Option<u32>>>,
}

impl Newest {
    fn find(infos: &Table<'_>, base: &Table<'_>, steps: usize) -> Result<Self, QueryError> {
        let mut base_seen = vec![0; words_for(steps)];
        for index in 0..base.len() {
            unite_bits(&mut base_seen, base.columns(index).1);
            for (step, histogram) in base.histograms(index).iter().enumerate() {
                base_seen[step / 64] |= u64::from(histogram.is_some()) << (step % 64);
            }
        }
        let mut names = HashSet::new();
        let mut by_target: HashMap<Labels, Vec<Option<u32>>> = HashMap::new();
        for index in 0..infos.len() {
            let labels = infos.labels_ref(index);
            let name = labels.metric_name().unwrap_or_default();
            names.insert(name.to_owned());
            let newest = by_target.entry(target(labels, name)).or_insert_with(|| vec![None; steps]);
            let (times, present) = infos.columns(index);
            for (step, newest) in newest.iter_mut().enumerate().filter(|(step, _)| has_bit(present, *step)) {
                let Some(rival) = *newest else {
                    *newest = Some(index as u32);
                    continue;
                };
                let rival_time = infos.columns(rival as usize).0[step];
                if rival_time < times[step] {
                    *newest = Some(index as u32);
                } else if rival_time == times[step] && has_bit(&base_seen, step) {
                    return Err(QueryError::DuplicateInfo {
                        existing: infos.labels_ref(rival as usize).to_string(),
                        new: labels.to_string(),
                        at_ms: (times[step] * 1000.0).round() as i64,
                    });
                }
            }
        }
        let mut names: Vec<String> = names.into_iter().collect();
        names.sort();
        Ok(Self { names, by_target })
    }
}

/// One base series with the labels it has at each step.
fn enrich(
    labels: &Labels,
    base: &Row,
    infos: &Table<'_>,
    newest: &Newest,
    wanted: &Wanted,
) -> Result<Vec<(Labels, Row)>, QueryError> {
    let sources: Vec<&Vec<Option<u32>>> =
        newest.names.iter().filter_map(|name| newest.by_target.get(&target(labels, name))).collect();
    let mut known: HashMap<Vec<u32>, Option<usize>> = HashMap::new();
    let mut rows: Vec<(Labels, Row)> = Vec::new();
    for (step, cell) in (0..base.steps()).filter_map(|step| Some((step, base.cell(step)?))) {
        let found: Vec<u32> = sources.iter().filter_map(|source| source[step]).collect();
        let row = match known.get(&found) {
            Some(row) => *row,
            None => {
                let row = if found.is_empty() && !wanted.accepts_none() {
                    None
                } else {
                    let labels = with_labels_of(labels, &found, infos, wanted)?;
                    rows.push((labels, Row::absent(base.steps())));
                    Some(rows.len() - 1)
                };
                known.insert(found, row);
                row
            }
        };
        if let Some(row) = row {
            rows[row].1.set_cell(step, cell);
        }
    }
    Ok(rows)
}

/// The labels of a base series and those that its info series add; its own come first.
fn with_labels_of(labels: &Labels, found: &[u32], infos: &Table<'_>, wanted: &Wanted) -> Result<Labels, QueryError> {
    let mut added: BTreeMap<&str, &str> = BTreeMap::new();
    for index in found {
        for (name, value) in infos.labels_ref(*index as usize) {
            if !wanted.adds(name) {
                continue;
            }
            if added.get(name).is_some_and(|known| *known != value) {
                return Err(QueryError::ConflictingInfoLabel(name.to_owned()));
            }
            if labels.get(name).is_none() {
                added.insert(name, value);
            }
        }
    }
    Ok(added.into_iter().fold(labels.clone(), |labels, (name, value)| labels.with(name, value)))
}
