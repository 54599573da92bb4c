//! Which rules of a group read what others write, and in which batches they may therefore run.
//!
//! The rules of one batch neither read nor write what another of them writes: they can run in any order, or at once, with the
//! results that they have one after the other. What a rule reads follows from the names in its selectors; `ALERTS` and
//! `ALERTS_FOR_STATE` are told apart by `alertname`. A selector without a name, `info()` and templates that ask queries read
//! everything: such a rule runs alone, after all rules before it and before all after it.

use crate::alerting::{ALERTS, ALERTS_FOR_STATE};
use crate::evaluation::ALERT_NAME;
use crate::rule::Rule;
use hashbrown::{HashMap, HashSet};
use model::labels::METRIC_NAME;
use model::matcher::{MatchOp, Matcher};
use promql::ast::Expr;
use std::sync::Arc;

/// So many names are compared with patterns for one group; patterns beyond it count as reading everything.
const COMPARISONS_MAX: usize = 1 << 20;

/// How the rules of a group depend on each other. Rules are numbered from 0 in the order of the group.
#[derive(Debug, Clone, PartialEq)]
pub struct Dependencies {
    batches: Vec<Vec<usize>>,
    rules: Vec<Access>,
}

/// What a rule reads and writes, by the numbers of what the group writes.
#[derive(Debug, Clone, PartialEq)]
struct Access {
    writes: usize,
    reads: Reads,
}

#[derive(Debug, Clone, PartialEq)]
enum Reads {
    These(Vec<usize>),
    Everything,
}

/// The rules of one slot that have no result, and what therefore is missing.
#[derive(Debug, Default)]
pub struct Missing {
    /// What was not written, and the first rule that should have.
    outputs: HashMap<usize, usize>,
    first: Option<usize>,
}

/// What a rule writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Output<'a> {
    /// A series of this name.
    Series(&'a str),
    /// The two series of an alert of this name.
    Alert(&'a str),
}

impl Dependencies {
    /// Those of `rules`, in the order of their group.
    #[must_use]
    pub fn of(rules: &[Arc<Rule>]) -> Self {
        let mut outputs = Outputs::default();
        let writes: Vec<usize> = rules.iter().map(|rule| outputs.number(output(rule))).collect();
        let mut comparisons = 0;
        let access = rules.iter().zip(writes);
        let rules = access.map(|(rule, writes)| Access { writes, reads: outputs.read_by(rule, &mut comparisons) });
        let rules: Vec<Access> = rules.collect();
        Self { batches: batches(&rules, outputs.names.len()), rules }
    }

    /// The rules that may run at once, batch by batch. Each rule is in one batch; batches ascend.
    #[must_use]
    pub fn batches(&self) -> &[Vec<usize>] {
        &self.batches
    }

    /// Whether a rule reads what it or a later rule writes: that is what was written in earlier slots.
    #[must_use]
    pub fn reads_ahead(&self) -> bool {
        let mut last_writers: HashMap<usize, usize> = HashMap::new();
        for (rule, access) in self.rules.iter().enumerate() {
            last_writers.insert(access.writes, rule);
        }
        self.rules.iter().enumerate().any(|(rule, access)| match &access.reads {
            Reads::Everything => true,
            Reads::These(names) => {
                names.iter().any(|name| last_writers.get(name).is_some_and(|writer| *writer >= rule))
            }
        })
    }

    /// Notes that `rule` has no result in a slot.
    pub fn note_missing(&self, rule: usize, missing: &mut Missing) {
        let Some(access) = self.rules.get(rule) else { return };
        let first = missing.outputs.entry(access.writes).or_insert(rule);
        *first = rule.min(*first);
        missing.first = Some(missing.first.map_or(rule, |first| first.min(rule)));
    }

    /// Whether `rule` reads what an earlier rule should have written.
    #[must_use]
    pub fn lacks(&self, rule: usize, missing: &Missing) -> bool {
        let is_earlier = |writer: usize| writer < rule;
        match self.rules.get(rule).map(|access| &access.reads) {
            None => false,
            Some(Reads::Everything) => missing.first.is_some_and(is_earlier),
            Some(Reads::These(names)) => {
                !missing.outputs.is_empty()
                    && names.iter().any(|name| missing.outputs.get(name).copied().is_some_and(is_earlier))
            }
        }
    }
}

/// What rules write, numbered.
#[derive(Debug, Default)]
pub(crate) struct Outputs<'a> {
    numbers: HashMap<Output<'a>, usize>,
    names: Vec<Output<'a>>,
}

impl<'a> Outputs<'a> {
    /// The number of `output`, a new one if it has none yet.
    pub(crate) fn number(&mut self, output: Output<'a>) -> usize {
        *self.numbers.entry(output).or_insert_with(|| {
            self.names.push(output);
            self.names.len() - 1
        })
    }

    fn read_by(&self, rule: &Rule, comparisons: &mut usize) -> Reads {
        if rule.asks_queries() || reads_by_labels(rule.query.expr()) {
            return Reads::Everything;
        }
        let mut reads = HashSet::new();
        for selector in rule.query.expr().selectors() {
            if !self.selected(&selector.matchers, &mut reads, comparisons) {
                return Reads::Everything;
            }
        }
        let mut reads: Vec<usize> = reads.into_iter().collect();
        reads.sort_unstable();
        Reads::These(reads)
    }

    /// What has that number.
    pub(crate) fn get(&self, number: usize) -> Option<Output<'a>> {
        self.names.get(number).copied()
    }

    /// Adds what a selector reads; `false` if that may be anything.
    pub(crate) fn selected(&self, matchers: &[Matcher], reads: &mut HashSet<usize>, comparisons: &mut usize) -> bool {
        let on_name: Vec<&Matcher> = matchers.iter().filter(|matcher| matcher.name() == METRIC_NAME).collect();
        if on_name.is_empty() {
            return false;
        }
        let is_name = |name: &str| on_name.iter().all(|matcher| matcher.matches(name));
        let reads_alerts = is_name(ALERTS) || is_name(ALERTS_FOR_STATE);
        let is_alert = |alert: &str| {
            reads_alerts && matchers.iter().filter(|matcher| matcher.name() == ALERT_NAME).all(|m| m.matches(alert))
        };
        if let Some(exact) = on_name.iter().find(|matcher| matcher.op() == MatchOp::Equal)
            && !reads_alerts
        {
            let name = exact.value();
            reads.extend(self.numbers.get(&Output::Series(name)).filter(|_| is_name(name)));
            return true;
        }
        *comparisons = comparisons.saturating_add(self.names.len());
        if *comparisons > COMPARISONS_MAX {
            return false;
        }
        reads.extend(self.names.iter().enumerate().filter_map(|(number, output)| {
            let selected = match output {
                Output::Series(name) => is_name(name),
                Output::Alert(alert) => is_alert(alert),
            };
            selected.then_some(number)
        }));
        true
    }
}

/// What a rule writes.
pub(crate) fn output(rule: &Rule) -> Output<'_> {
    if rule.alerting().is_some() { Output::Alert(&rule.name) } else { Output::Series(&rule.name) }
}

/// Whether an expression reads series that no selector names.
fn reads_by_labels(expr: &Expr) -> bool {
    expr.nodes().any(|node| matches!(node, Expr::Call(call) if call.function.name == "info"))
}

/// Puts each rule into the first batch after those of the rules before it that write what it reads or writes, and of those that
/// read what it writes.
fn batches(rules: &[Access], outputs: usize) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    // For each output the first batch that comes after all who wrote it so far, and after all who read it.
    let (mut after_writers, mut after_readers) = (vec![0; outputs], vec![0; outputs]);
    // The first batch after the last rule that reads everything.
    let mut floor = 0;
    for (rule, Access { writes, reads }) in rules.iter().enumerate() {
        let batch = match reads {
            Reads::Everything => batches.len(),
            Reads::These(names) => {
                let written = names.iter().filter_map(|name| after_writers.get(*name));
                let own = [&after_writers, &after_readers].into_iter().filter_map(|after| after.get(*writes));
                written.chain(own).copied().max().unwrap_or(0).max(floor)
            }
        };
        match reads {
            Reads::Everything => floor = batch + 1,
            Reads::These(names) => {
                for name in names {
                    raise(&mut after_readers, *name, batch + 1);
                }
            }
        }
        raise(&mut after_writers, *writes, batch + 1);
        if batch == batches.len() {
            batches.push(Vec::new());
        }
        if let Some(batch) = batches.get_mut(batch) {
            batch.push(rule);
        }
    }
    batches
}

fn raise(after: &mut [usize], output: usize, batch: usize) {
    if let Some(after) = after.get_mut(output) {
        *after = batch.max(*after);
    }
}

#[cfg(test)]
mod tests;
