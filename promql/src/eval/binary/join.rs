//! Arithmetic and comparison between two vectors.
//!
//! Where a match group has one series on each side (or one on the "one" side and results that cannot collide), the pair is
//! evaluated when asked for. Other groups are entangled: which series match may change from step to step, and may be an
//! error at some of them, so they are evaluated at once, step by step.

use super::cells::Outcome;
use super::is_trim;
use super::matching::{Group, MatchGroups, Pairing, Signature};
use super::with_scalar::change_each;
use crate::ast::{BinaryOp, Cardinality, VectorMatching};
use crate::budget::Charge;
use crate::eval::exec::{Exec, Worker};
use crate::eval::names::{OnEqual, settle};
use crate::eval::remarks::Place;
use crate::eval::row::{Cell, Row, has_bit, unite_bits, words_for};
use crate::eval::vector::{SeriesVector, Table, Vector, announce, announced};
use crate::plan::Node;
use crate::query_error::QueryError;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use model::labels::Labels;
use std::sync::Arc;

/// `lhs op rhs`
pub(crate) fn join<'q>(
    node: &Node,
    op: BinaryOp,
    (lhs, rhs): (Vector<'q>, Vector<'q>),
    matching: &VectorMatching,
    return_bool: bool,
    steps: usize,
    exec: &Exec<'q>,
) -> Result<Vector<'q>, QueryError> {
    let pairing = Pairing {
        op,
        signature: Signature::of(matching),
        matching: matching.clone(),
        return_bool,
        delayed_name_removal: exec.settings.delayed_name_removal,
        place: Place { ordinal: node.ordinal, span: node.span },
    };
    let (many, one) = if pairing.is_swapped() { (rhs, lhs) } else { (lhs, rhs) };
    let has_fill = matching.fill_left.is_some() || matching.fill_right.is_some();
    if !has_fill && (many.len() == 0 || one.len() == 0) {
        return Ok(Arc::new(crate::eval::vector::Nothing));
    }
    let matched = MatchGroups::find(&pairing.signature, many.as_ref(), one.as_ref(), exec)?;
    let unique = pairing.keeps_labels_unique(many.as_ref());
    let mut sorted = Sorted::default();
    for (number, group) in matched.groups.iter().enumerate() {
        let distinct = |members: &[u32], partner| {
            Ok(unique || pairing.are_distinct(members, partner, many.as_ref(), one.as_ref(), exec)?)
        };
        sorted.place(number, group, has_fill, pairing.is_one_to_one(), distinct)?;
    }
    let one: Vector<'q> =
        if sorted.shares_one { Arc::new(Table::evaluate(one.as_ref(), steps, true, exec)?) } else { one };
    let mut entanglement = Entanglement { pairing: &pairing, many: &many, one: &one, steps, many_seen: None };
    let mut rows = Table::builder(steps, exec);
    for number in sorted.entangled {
        entanglement.resolve(&matched.groups[number], &matched.labels.labels()[number], exec, &mut rows)?;
    }
    drop(matched);
    let unique = unique && rows.is_empty();
    let (pairs, resolved) = (sorted.pairs, rows.finish());
    let mut charge = Charge::none(exec.budget);
    charge.add(0, pairs.capacity() * size_of::<(u32, u32)>())?;
    let joined: Vector<'q> = Arc::new(Joined { many, one, pairs, resolved, pairing, _charge: charge });
    if unique { Ok(joined) } else { settle(joined, steps, OnEqual::Merge, exec) }
}

/// Match groups by how they are evaluated.
#[derive(Default)]
struct Sorted {
    pairs: Vec<(u32, u32)>,
    entangled: Vec<usize>,
    /// Whether a series of the "one" side occurs in several pairs.
    shares_one: bool,
}

impl Sorted {
    /// `distinct` says whether some series of the "many" side get labels of their own beside one of the other side.
    fn place(
        &mut self,
        number: usize,
        group: &Group,
        has_fill: bool,
        is_one_to_one: bool,
        distinct: impl FnOnce(&[u32], u32) -> Result<bool, QueryError>,
    ) -> Result<(), QueryError> {
        if has_fill {
            self.entangled.push(number);
            return Ok(());
        }
        match (group.many.as_slice(), group.one.as_slice()) {
            (_, []) => {}
            ([], [_]) => {}
            ([many], [one]) => self.pairs.push((*many, *one)),
            (members, [partner]) if !is_one_to_one && distinct(members, *partner)? => {
                self.shares_one = true;
                self.pairs.extend(members.iter().map(|index| (*index, *partner)));
            }
            _ => self.entangled.push(number),
        }
        Ok(())
    }
}

/// The evaluation of entangled groups.
struct Entanglement<'a, 'q> {
    pairing: &'a Pairing,
    many: &'a Vector<'q>,
    one: &'a Vector<'q>,
    steps: usize,
    /// Steps at which the whole "many" side has any series; found when an error depends on it.
    many_seen: Option<Vec<u64>>,
}

impl<'q> Entanglement<'_, 'q> {
    fn resolve(
        &mut self,
        group: &Group,
        labels: &Labels,
        exec: &Exec<'q>,
        into: &mut crate::eval::vector::TableBuilder<'q>,
    ) -> Result<(), QueryError> {
        let mut charge = Charge::none(exec.budget);
        let many_rows = rows(self.many, &group.many, &mut charge, exec)?;
        let one_rows = rows(self.one, &group.one, &mut charge, exec)?;
        let mut results = Results::new(self.steps, exec);
        for step in 0..self.steps {
            let partner = self.partner(step, group, labels, &many_rows, &one_rows, exec)?;
            self.match_step(step, partner, group, labels, (&many_rows, &one_rows), (exec, &mut results))?;
        }
        drop((many_rows, one_rows, charge));
        let drops_name = self.pairing.return_bool && self.pairing.delayed_name_removal;
        for (labels, row) in results.rows {
            results.charge.give_back(0, Results::bytes(&labels, self.steps));
            into.push(labels, drops_name, &row)?;
        }
        Ok(())
    }

    /// The series of the "one" side that is present; several are an error, unless the other side is empty.
    fn partner(
        &mut self,
        step: usize,
        group: &Group,
        labels: &Labels,
        many_rows: &[Row],
        one_rows: &[Row],
        exec: &Exec<'q>,
    ) -> Result<Option<usize>, QueryError> {
        let mut present = (0..one_rows.len()).filter(|i| one_rows[*i].is_seen(step));
        let first = present.next();
        let (Some(first_at), Some(second_at)) = (first, present.next()) else { return Ok(first) };
        let matching = &self.pairing.matching;
        let has_fill = matching.fill_left.is_some() || matching.fill_right.is_some();
        let matters = has_fill || many_rows.iter().any(|row| row.is_seen(step)) || self.many_present(step, exec)?;
        if !matters {
            return Ok(None);
        }
        let name = |at: usize| self.one.labels(group.one[at] as usize).to_string();
        let mut names = [name(first_at), name(second_at)];
        names.sort();
        let [first, second] = names;
        let side = if matching.cardinality == Cardinality::OneToMany { "left" } else { "right" };
        Err(QueryError::DuplicateMatch { group: labels.to_string(), side, first, second })
    }

    fn many_present(&mut self, step: usize, exec: &Exec<'q>) -> Result<bool, QueryError> {
        if self.many_seen.is_none() {
            let mut seen = vec![0; words_for(self.steps)];
            let mut worker = exec.worker();
            let mut row = worker.take_row();
            for index in announced(self.many.as_ref(), 0..self.many.len()) {
                self.many.row(index, &mut worker, &mut row)?;
                unite_bits(&mut seen, &row.seen());
            }
            worker.give_row(row);
            self.many_seen = Some(seen);
        }
        Ok(self.many_seen.as_ref().is_some_and(|seen| has_bit(seen, step)))
    }

    fn match_step(
        &self,
        step: usize,
        partner: Option<usize>,
        group: &Group,
        labels: &Labels,
        (many_rows, one_rows): (&[Row], &[Row]),
        (exec, results): (&Exec<'_>, &mut Results<'_>),
    ) -> Result<(), QueryError> {
        let (pairing, matching) = (self.pairing, &self.pairing.matching);
        let one_labels = || match partner {
            Some(at) => self.one.labels(group.one[at] as usize),
            None => labels.clone(),
        };
        // Which operand a fill value stands for is decided before the sides are swapped, as Prometheus does it.
        let one_value = partner.and_then(|at| one_rows[at].cell(step)).or(matching.fill_right.map(Cell::Float));
        let mut matched = false;
        if let Some(one_value) = &one_value {
            for (row, index) in many_rows.iter().zip(&group.many) {
                let Some(value) = row.cell(step) else { continue };
                let outcome = pairing.combine_cells(&value, one_value, exec);
                if outcome == Outcome::Undefined {
                    continue;
                }
                if pairing.is_one_to_one() && matched {
                    return Err(QueryError::ImplicitManyToOne);
                }
                matched = true;
                let labels = pairing.labels(&self.many.labels(*index as usize), one_labels);
                results.add(step, labels, outcome)?;
            }
        }
        if let (false, Some(fill), Some(at)) = (matched, matching.fill_left, partner)
            && let Some(one_value) = one_rows[at].cell(step)
        {
            let outcome = pairing.combine_cells(&Cell::Float(fill), &one_value, exec);
            if outcome != Outcome::Undefined {
                results.add(step, pairing.labels(labels, one_labels), outcome)?;
            }
        }
        Ok(())
    }
}

/// Some series of a vector, evaluated and charged.
fn rows<'q>(
    vector: &Vector<'q>,
    members: &[u32],
    charge: &mut Charge<'q>,
    exec: &Exec<'q>,
) -> Result<Vec<Row>, QueryError> {
    let mut worker = exec.worker();
    let mut rows = Vec::with_capacity(members.len());
    for index in announced(vector.as_ref(), members.iter().map(|index| *index as usize)) {
        let mut row = Row::default();
        vector.row(index, &mut worker, &mut row)?;
        let (samples, bytes) = row.held();
        charge.add(samples, bytes)?;
        rows.push(row);
    }
    Ok(rows)
}

/// Results of one group by labels.
struct Results<'q> {
    steps: usize,
    rows: Vec<(Labels, Row)>,
    at: HashMap<Labels, (usize, Option<usize>)>,
    /// Of labels and rows; samples are charged where they stay.
    charge: Charge<'q>,
}

impl<'q> Results<'q> {
    fn new(steps: usize, exec: &Exec<'q>) -> Self {
        Self { steps, rows: Vec::new(), at: HashMap::new(), charge: Charge::none(exec.budget) }
    }

    /// What one of them holds.
    fn bytes(labels: &Labels, steps: usize) -> usize {
        labels.held_bytes() + Row::float_bytes(steps)
    }

    /// Notes a match; one that a comparison filtered counts as a match all the same.
    fn add(&mut self, step: usize, labels: Labels, outcome: Outcome) -> Result<(), QueryError> {
        let (at, last_step) = match self.at.entry(labels) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                self.charge.add(0, Self::bytes(free.key(), self.steps))?;
                self.rows.push((free.key().clone(), Row::absent(self.steps)));
                free.insert((self.rows.len() - 1, None))
            }
        };
        if last_step.replace(step) == Some(step) {
            return Err(QueryError::GroupingNotUnique);
        }
        if let Outcome::Value(cell) = outcome {
            self.rows[*at].1.set_cell(step, cell);
        }
        Ok(())
    }
}

/// Pairs, then the rows of entangled groups.
struct Joined<'q> {
    many: Vector<'q>,
    one: Vector<'q>,
    pairs: Vec<(u32, u32)>,
    resolved: Table<'q>,
    pairing: Pairing,
    _charge: Charge<'q>,
}

impl SeriesVector for Joined<'_> {
    fn len(&self) -> usize {
        self.pairs.len() + self.resolved.len()
    }

    fn labels(&self, index: usize) -> Labels {
        match self.pairs.get(index) {
            Some((many, one)) => {
                let included = || self.pairing.included(self.one.as_ref(), *one);
                self.pairing.labels(&self.many.labels(*many as usize), included)
            }
            None => self.resolved.labels(index - self.pairs.len()),
        }
    }

    fn prefetch(&self, indices: &[usize]) {
        let pairs = || indices.iter().filter_map(|index| self.pairs.get(*index));
        announce(self.many.as_ref(), pairs().map(|(many, _)| *many as usize));
        announce(self.one.as_ref(), pairs().map(|(_, one)| *one as usize));
    }

    fn drops_name(&self, index: usize) -> bool {
        match self.pairs.get(index) {
            Some(_) => self.pairing.return_bool && self.pairing.delayed_name_removal,
            None => self.resolved.drops_name(index - self.pairs.len()),
        }
    }

    fn has_one_name(&self) -> bool {
        self.pairing.matching.include.is_empty() && self.many.has_one_name() && self.resolved.len() == 0
    }

    fn may_have_histograms(&self, index: usize) -> bool {
        match self.pairs.get(index) {
            Some((many, one)) => {
                self.many.may_have_histograms(*many as usize) || self.one.may_have_histograms(*one as usize)
            }
            None => self.resolved.may_have_histograms(index - self.pairs.len()),
        }
    }

    fn row(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        let Some((many, one)) = self.pairs.get(index) else {
            return self.resolved.row(index - self.pairs.len(), worker, out);
        };
        self.many.row(*many as usize, worker, out)?;
        let mut other = worker.take_row();
        self.one.row(*one as usize, worker, &mut other)?;
        if out.has_histograms() || other.has_histograms() || is_trim(self.pairing.op) {
            combine_cells(&self.pairing, out, &other, worker.exec);
            worker.give_row(other);
            return Ok(());
        }
        for (into, from) in out.present_mut().iter_mut().zip(other.present()) {
            *into &= from;
        }
        combine_rows(&self.pairing, out, &other);
        worker.give_row(other);
        Ok(())
    }
}

/// Combines the values of any kind at the steps where both have one; `out` holds the "many" side and gets the result.
fn combine_cells(pairing: &Pairing, out: &mut Row, one: &Row, exec: &Exec<'_>) {
    for step in 0..out.steps() {
        let Some(many) = out.cell(step) else { continue };
        let outcome = one.cell(step).map(|one| pairing.combine_cells(&many, &one, exec));
        match outcome {
            Some(Outcome::Value(cell)) => out.set_cell(step, cell),
            _ => out.clear_step(step),
        }
    }
}

/// Combines the steps present in both; `out` holds the "many" side and gets the result.
fn combine_rows(pairing: &Pairing, out: &mut Row, one: &Row) {
    let ones = one.values();
    match (pairing.op, pairing.is_swapped()) {
        (BinaryOp::Add, _) => change_each(out, |step, many| many + ones[step]),
        (BinaryOp::Mul, _) => change_each(out, |step, many| many * ones[step]),
        (BinaryOp::Sub, false) => change_each(out, |step, many| many - ones[step]),
        (BinaryOp::Div, false) => change_each(out, |step, many| many / ones[step]),
        _ if pairing.return_bool || super::changes_metric(pairing.op) => {
            change_each(out, |step, many| pairing.combine(many, ones[step]).unwrap_or(f64::NAN));
        }
        _ => {
            out.retain(|step, many| pairing.combine(many, ones[step]).is_some());
            if pairing.is_swapped() {
                // A comparison returns its left operand.
                change_each(out, |step, _| ones[step]);
            }
        }
    }
}
