//! `and`, `or`, `unless`: which series of two vectors are present together, step by step.

use super::matching::Signature;
use crate::ast::{BinaryOp, VectorMatching};
use crate::budget::Charge;
use crate::eval::exec::{Exec, Worker};
use crate::eval::mapped::Rows;
use crate::eval::names::{OnEqual, settle};
use crate::eval::numbered::NumberedLabels;
use crate::eval::row::{Row, unite_bits, words_for};
use crate::eval::vector::{SeriesVector, Table, Vector, announce, announced};
use crate::query_error::QueryError;
use model::labels::Labels;
use std::sync::Arc;

/// `lhs op rhs`
pub(crate) fn set<'q>(
    op: BinaryOp,
    (lhs, rhs): (Vector<'q>, Vector<'q>),
    matching: &VectorMatching,
    steps: usize,
    exec: &Exec<'q>,
) -> Result<Vector<'q>, QueryError> {
    let signature = Signature::of(matching);
    match op {
        BinaryOp::And | BinaryOp::Unless => {
            let present = Presence::find(rhs.as_ref(), &signature, steps, exec)?;
            drop(rhs);
            Masked::of(lhs, &signature, present, op == BinaryOp::And, exec)
        }
        _ => {
            // The left side is needed twice, its values and its presence: evaluate it once, and let go of what it is made of.
            let table: Vector<'q> = Arc::new(Table::evaluate(lhs.as_ref(), steps, false, exec)?);
            drop(lhs);
            if rhs.len() == 0 {
                return Ok(table);
            }
            let present = Presence::find(table.as_ref(), &signature, steps, exec)?;
            let rest = Masked::of(rhs, &signature, present, false, exec)?;
            settle(Arc::new(Chained { first: table, second: rest }), steps, OnEqual::Merge, exec)
        }
    }
}

/// At which steps any series of each match group is present.
struct Presence<'q> {
    groups: NumberedLabels<'q>,
    /// One mask per group, each of `words` words.
    masks: Vec<u64>,
    words: usize,
}

/// Words of masks that are found and held at once, before they are united.
const WORDS_AT_ONCE: usize = 1 << 20;

impl<'q> Presence<'q> {
    fn find(
        vector: &dyn SeriesVector,
        signature: &Signature,
        steps: usize,
        exec: &Exec<'q>,
    ) -> Result<Self, QueryError> {
        let words = words_for(steps);
        let mut groups = NumberedLabels::new(words * size_of::<u64>(), exec);
        let mut charge = Charge::none(exec.budget);
        charge.add(0, vector.len() * size_of::<u32>())?;
        let mut group_of = Vec::with_capacity(vector.len());
        signature.each(vector, exec, |_, labels| {
            group_of.push(groups.number(labels)? as u32);
            Ok(())
        })?;
        groups.charge_rest()?;
        let mut masks = vec![0; groups.len() * words];
        let at_once = (WORDS_AT_ONCE / words.max(1)).max(1);
        for (batch, group_of) in group_of.chunks(at_once).enumerate() {
            let parts = exec.map_rows(group_of.len(), steps, |range, worker| {
                let mut present = Vec::with_capacity(range.len() * words);
                let mut row = worker.take_row();
                let first = batch * at_once;
                for index in announced(vector, first + range.start..first + range.end) {
                    vector.row(index, worker, &mut row)?;
                    present.extend_from_slice(&row.seen());
                }
                worker.give_row(row);
                Ok(present)
            })?;
            let present = parts.iter().flat_map(|part| part.chunks(words.max(1)));
            for (group, present) in group_of.iter().zip(present) {
                unite_bits(&mut masks[*group as usize * words..][..words], present);
            }
        }
        Ok(Self { groups, masks, words })
    }

    fn mask(&self, group: usize) -> &[u64] {
        &self.masks[group * self.words..][..self.words]
    }
}

/// A vector restricted to steps at which the other side is present, or is not.
struct Masked<'q> {
    inner: Vector<'q>,
    /// The group of each series; [`NO_GROUP`] when the other side has no such series.
    groups: Vec<u32>,
    present: Presence<'q>,
    /// Keep where the other side is present (`and`), else where it is not.
    keep: bool,
    _charge: Charge<'q>,
}

/// There are never so many groups: selections are numbered by 32 bits.
const NO_GROUP: u32 = u32::MAX;

impl<'q> Masked<'q> {
    fn of(
        inner: Vector<'q>,
        signature: &Signature,
        present: Presence<'q>,
        keep: bool,
        exec: &Exec<'q>,
    ) -> Result<Vector<'q>, QueryError> {
        let mut charge = Charge::none(exec.budget);
        charge.add(0, inner.len() * size_of::<u32>())?;
        let mut groups = Vec::with_capacity(inner.len());
        signature.each(inner.as_ref(), exec, |_, labels| {
            groups.push(present.groups.find(&labels).map_or(NO_GROUP, |group| group as u32));
            Ok(())
        })?;
        Ok(Arc::new(Self { inner, groups, present, keep, _charge: charge }))
    }
}

impl Rows for Masked<'_> {
    fn inner(&self) -> &dyn SeriesVector {
        self.inner.as_ref()
    }

    fn evaluate(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        self.inner.row(index, worker, out)?;
        match self.groups[index] {
            NO_GROUP if self.keep => out.reset(out.steps()),
            NO_GROUP => {}
            group => out.mask(self.present.mask(group as usize), self.keep),
        }
        Ok(())
    }
}

/// One vector after the other.
struct Chained<'q> {
    /// A table: nothing of it is left to read.
    first: Vector<'q>,
    second: Vector<'q>,
}

impl Chained<'_> {
    fn part(&self, index: usize) -> (&dyn SeriesVector, usize) {
        match index.checked_sub(self.first.len()) {
            None => (self.first.as_ref(), index),
            Some(index) => (self.second.as_ref(), index),
        }
    }
}

impl SeriesVector for Chained<'_> {
    fn len(&self) -> usize {
        self.first.len() + self.second.len()
    }

    fn labels(&self, index: usize) -> Labels {
        let (part, index) = self.part(index);
        part.labels(index)
    }

    fn labels_among(&self, index: usize, names: &[&str]) -> Labels {
        let (part, index) = self.part(index);
        part.labels_among(index, names)
    }

    fn prefetch(&self, indices: &[usize]) {
        announce(self.second.as_ref(), indices.iter().filter_map(|index| index.checked_sub(self.first.len())));
    }

    fn drops_name(&self, index: usize) -> bool {
        let (part, index) = self.part(index);
        part.drops_name(index)
    }

    fn may_have_histograms(&self, index: usize) -> bool {
        let (part, index) = self.part(index);
        part.may_have_histograms(index)
    }

    fn row(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        let (part, index) = self.part(index);
        part.row(index, worker, out)
    }
}
