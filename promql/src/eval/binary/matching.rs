//! How the series of two vectors find each other, and what labels a pair gets.

use super::cells::{CellOperator, Outcome};
use super::changes_metric;
use crate::ast::{BinaryOp, Cardinality, VectorMatching};
use crate::budget::Charge;
use crate::eval::exec::Exec;
use crate::eval::numbered::NumberedLabels;
use crate::eval::remarks::Place;
use crate::eval::row::Cell;
use crate::eval::vector::SeriesVector;
use crate::query_error::QueryError;
use model::labels::{Labels, METRIC_NAME, METRIC_TYPE, METRIC_UNIT};
use smallvec::SmallVec;

/// Series of both sides that share the labels they are matched by.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) many: SmallVec<[u32; 2]>,
    pub(crate) one: SmallVec<[u32; 2]>,
}

/// All match groups, in the order in which they first occur.
pub(crate) struct MatchGroups<'q> {
    pub(crate) labels: NumberedLabels<'q>,
    pub(crate) groups: Vec<Group>,
}

/// Signatures that are found and held at once.
const SIGNATURES_AT_ONCE: usize = 1 << 16;

/// The labels that series are matched by: `on (…)` or `ignoring (…)`; names sorted.
pub(crate) struct Signature {
    names: Vec<String>,
    on: bool,
}

impl Signature {
    pub(crate) fn of(matching: &VectorMatching) -> Self {
        let mut names = matching.labels.clone();
        names.sort();
        names.dedup();
        Self { names, on: matching.on }
    }

    fn lists(&self, name: &str) -> bool {
        self.names.binary_search_by(|n| n.as_str().cmp(name)).is_ok()
    }

    /// Hands `take` the signature of each series in order. A few are found at once, on all threads, and held together.
    ///
    /// # Errors
    /// Those of `take`, or the query may hold no more.
    pub(crate) fn each(
        &self,
        vector: &dyn SeriesVector,
        exec: &Exec<'_>,
        mut take: impl FnMut(usize, Labels) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let signature = |index| {
            if self.on {
                return vector.labels_among(index, &names);
            }
            vector.labels(index).filter(|name| name != METRIC_NAME && !self.lists(name))
        };
        for first in (0..vector.len()).step_by(SIGNATURES_AT_ONCE) {
            let count = SIGNATURES_AT_ONCE.min(vector.len() - first);
            let chunks = exec.map_chunks(count, 1024, |range, _| {
                let signatures: Vec<Labels> = range.map(|at| signature(first + at)).collect();
                let mut charge = Charge::none(exec.budget);
                charge.add(0, signatures.iter().map(Labels::held_bytes).sum())?;
                Ok((signatures, charge))
            })?;
            let mut index = first;
            for (signatures, _charge) in chunks {
                for labels in signatures {
                    take(index, labels)?;
                    index += 1;
                }
            }
        }
        Ok(())
    }

    /// Whether pairs of distinct signatures may get equal labels once name, type and unit are removed.
    fn lists_reserved(&self) -> bool {
        self.on && [METRIC_NAME, METRIC_TYPE, METRIC_UNIT].iter().any(|name| self.lists(name))
    }
}

impl<'q> MatchGroups<'q> {
    /// Matches the series of both sides.
    pub(crate) fn find(
        signature: &Signature,
        many: &dyn SeriesVector,
        one: &dyn SeriesVector,
        exec: &Exec<'q>,
    ) -> Result<Self, QueryError> {
        let mut labels = NumberedLabels::new(size_of::<Group>(), exec);
        let mut groups: Vec<Group> = Vec::new();
        for (side, vector) in [many, one].into_iter().enumerate() {
            signature.each(vector, exec, |index, signature| {
                let number = labels.number(signature)?;
                if number == groups.len() {
                    groups.push(Group::default());
                }
                let group = &mut groups[number];
                let members = if side == 0 { &mut group.many } else { &mut group.one };
                members.push(index as u32);
                Ok(())
            })?;
        }
        labels.charge_rest()?;
        Ok(Self { labels, groups })
    }
}

/// How a pair of series becomes one.
pub(crate) struct Pairing {
    pub(crate) op: BinaryOp,
    pub(crate) matching: VectorMatching,
    pub(crate) signature: Signature,
    pub(crate) return_bool: bool,
    pub(crate) delayed_name_removal: bool,
    /// Where remarks point.
    pub(crate) place: Place,
}

impl Pairing {
    /// Whether the "many" side is the right operand.
    pub(crate) fn is_swapped(&self) -> bool {
        self.matching.cardinality == Cardinality::OneToMany
    }

    pub(crate) fn is_one_to_one(&self) -> bool {
        self.matching.cardinality == Cardinality::OneToOne
    }

    fn removes_name(&self) -> bool {
        changes_metric(self.op) || (self.return_bool && !self.delayed_name_removal)
    }

    /// The labels of a pair; `one` is only asked for when labels are copied from there.
    pub(crate) fn labels(&self, many: &Labels, one: impl FnOnce() -> Labels) -> Labels {
        let mut labels = many.clone();
        if self.removes_name() {
            labels = labels.without_metric_name();
        }
        if self.is_one_to_one() {
            labels = labels.filter(|name| self.signature.lists(name) == self.signature.on);
        }
        if !self.matching.include.is_empty() {
            let one = one();
            for name in &self.matching.include {
                labels = labels.with(name, one.get(name).unwrap_or_default());
            }
        }
        labels
    }

    /// What pairs get of the labels of a series of the "one" side.
    pub(crate) fn included(&self, one: &dyn SeriesVector, index: u32) -> Labels {
        let mut names: SmallVec<[&str; 4]> = self.matching.include.iter().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        one.labels_among(index as usize, &names)
    }

    /// Whether distinct pairs are known to get distinct labels.
    pub(crate) fn keeps_labels_unique(&self, many: &dyn SeriesVector) -> bool {
        let names_matter = self.removes_name() && !many.has_one_name();
        match (self.is_one_to_one(), self.signature.on) {
            (true, true) => !(self.removes_name() && self.signature.lists_reserved()),
            (true, false) => !names_matter,
            (false, _) => self.matching.include.is_empty() && !names_matter,
        }
    }

    /// Whether some series of the "many" side get labels of their own beside one of the "one" side.
    ///
    /// # Errors
    /// The query may hold no more.
    pub(crate) fn are_distinct(
        &self,
        members: &[u32],
        partner: u32,
        many: &dyn SeriesVector,
        one: &dyn SeriesVector,
        exec: &Exec<'_>,
    ) -> Result<bool, QueryError> {
        let included = self.included(one, partner);
        let mut seen = NumberedLabels::new(0, exec);
        for (count, index) in members.iter().enumerate() {
            let labels = self.labels(&many.labels(*index as usize), || included.clone());
            if seen.number(labels)? < count {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The result of the operator between floats of the "many" and the "one" side; `None` when a comparison filters it.
    #[inline(always)]
    pub(crate) fn combine(&self, many: f64, one: f64) -> Option<f64> {
        use crate::eval::scalar::{arithmetic, compare};
        let (left, right) = if self.is_swapped() { (one, many) } else { (many, one) };
        if !self.op.is_comparison() {
            return Some(arithmetic(self.op, left, right));
        }
        let holds = compare(self.op, left, right);
        if self.return_bool { Some(f64::from(u8::from(holds))) } else { holds.then_some(left) }
    }

    /// The same between values of any kind.
    pub(crate) fn combine_cells(&self, many: &Cell, one: &Cell, exec: &Exec<'_>) -> Outcome {
        let operator = CellOperator { op: self.op, exec, place: self.place };
        let outcome = if self.is_swapped() { operator.apply(one, many) } else { operator.apply(many, one) };
        match outcome {
            Outcome::Value(_) if self.return_bool => Outcome::Value(Cell::Float(1.0)),
            Outcome::Filtered if self.return_bool => Outcome::Value(Cell::Float(0.0)),
            outcome => outcome,
        }
    }
}
