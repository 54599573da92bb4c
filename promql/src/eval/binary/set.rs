//! `and`, `or`, `unless`: which series of two vectors are present together, step by step.

use super::matching::Signature;
use crate::ast::{BinaryOp, VectorMatching};
use crate::budget::Charge;
use crate::eval::exec::{Exec, Worker};
use crate::eval::names::{OnEqual, settle};
use crate::eval::row::{Row, unite_bits, words_for};
use crate::eval::vector::{SeriesVector, Table, Vector};
use crate::query_error::QueryError;
use hashbrown::HashMap;
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
            let masks = present.numbers(&signature.all(lhs.as_ref(), exec)?.0);
            Ok(Arc::new(Masked { inner: lhs, masks, present, keep: op == BinaryOp::And }))
        }
        _ => {
            // The left side is needed twice, its values and its presence: evaluate it once.
            let lhs: Vector<'q> = Arc::new(Table::evaluate(lhs.as_ref(), steps, false, exec)?);
            if rhs.len() == 0 {
                return Ok(lhs);
            }
            let present = Presence::find(lhs.as_ref(), &signature, steps, exec)?;
            let masks = present.numbers(&signature.all(rhs.as_ref(), exec)?.0);
            let rest: Vector<'q> = Arc::new(Masked { inner: rhs, masks, present, keep: false });
            settle(Arc::new(Chained { first: lhs, second: rest }), steps, OnEqual::Merge, exec)
        }
    }
}

/// At which steps any series of each match group is present.
struct Presence<'q> {
    groups: HashMap<Labels, usize, foldhash::fast::RandomState>,
    /// One mask per group, each of `words` words.
    masks: Vec<u64>,
    words: usize,
    _charge: Charge<'q>,
}

impl<'q> Presence<'q> {
    fn find(
        vector: &dyn SeriesVector,
        signature: &Signature,
        steps: usize,
        exec: &Exec<'q>,
    ) -> Result<Self, QueryError> {
        let words = words_for(steps);
        let mut groups: HashMap<Labels, usize, foldhash::fast::RandomState> = HashMap::default();
        let mut group_of = Vec::with_capacity(vector.len());
        let (signatures, charge) = signature.all(vector, exec)?;
        for labels in signatures {
            let next = groups.len();
            group_of.push(*groups.entry(labels).or_insert(next));
        }
        let least = (1 << 14) / steps.max(1);
        let parts = exec.map_chunks(vector.len(), least, |range, worker| {
            let mut present = Vec::with_capacity(range.len() * words);
            let mut row = worker.take_row();
            for index in range {
                vector.row(index, worker, &mut row)?;
                present.extend_from_slice(&row.seen());
            }
            worker.give_row(row);
            Ok(present)
        })?;
        let mut masks = vec![0; groups.len() * words];
        let present = parts.concat();
        for (group, present) in group_of.into_iter().zip(present.chunks(words.max(1))) {
            unite_bits(&mut masks[group * words..][..words], present);
        }
        Ok(Self { groups, masks, words, _charge: charge })
    }

    /// The group of each signature.
    fn numbers(&self, signatures: &[Labels]) -> Vec<Option<usize>> {
        signatures.iter().map(|labels| self.groups.get(labels).copied()).collect()
    }

    fn mask(&self, group: usize) -> &[u64] {
        &self.masks[group * self.words..][..self.words]
    }
}

/// A vector restricted to steps at which the other side is present, or is not.
struct Masked<'q> {
    inner: Vector<'q>,
    /// The group of each series; `None` when the other side has no such series.
    masks: Vec<Option<usize>>,
    present: Presence<'q>,
    /// Keep where the other side is present (`and`), else where it is not.
    keep: bool,
}

impl SeriesVector for Masked<'_> {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn labels(&self, index: usize) -> Labels {
        self.inner.labels(index)
    }

    fn labels_among(&self, index: usize, names: &[&str]) -> Labels {
        self.inner.labels_among(index, names)
    }

    fn drops_name(&self, index: usize) -> bool {
        self.inner.drops_name(index)
    }

    fn has_one_name(&self) -> bool {
        self.inner.has_one_name()
    }

    fn may_have_histograms(&self, index: usize) -> bool {
        self.inner.may_have_histograms(index)
    }

    fn row(&self, index: usize, worker: &mut Worker<'_, '_>, out: &mut Row) -> Result<(), QueryError> {
        self.inner.row(index, worker, out)?;
        match self.masks[index] {
            Some(group) => out.mask(self.present.mask(group), self.keep),
            None if self.keep => out.reset(out.steps()),
            None => {}
        }
        Ok(())
    }
}

/// One vector after the other.
struct Chained<'q> {
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
