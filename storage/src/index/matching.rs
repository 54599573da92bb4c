//! Finds the series that satisfy matchers.
//!
//! Each matcher either keeps the series with certain values or removes those with certain values. It removes when an absent
//! label satisfies it, because then series without the label stay. Exact sets come first, smallest first; an expression is
//! tried on the distinct values of its label, or only on those of the remaining series when that is less work.

use super::{LabelIndex, pairs_of, postings};
use crate::index::Address;
use model::matcher::{MatchOp, Matcher};
use roaring::RoaringBitmap;

/// Trying a value on a remaining series costs about this many times trying it on the list of values.
const SERIES_COST: u64 = 5;

/// Uniting the postings of values costs about as much for so many series as trying one value.
const UNITED_FOR_ONE: u64 = 64;

/// What one matcher asks of the index.
enum Step<'a> {
    /// Everything satisfies it.
    Skip,
    /// Nothing satisfies it.
    Nothing,
    Keep(Source<'a>),
    Remove(Source<'a>),
}

/// A set of series.
enum Source<'a> {
    Pair(u32),
    Name(u32),
    /// The series with a value for which the matcher says `outcome`.
    Values {
        name: u32,
        matcher: &'a Matcher,
        outcome: bool,
    },
}

impl LabelIndex {
    /// The slots of the series that satisfy all matchers; `labels_of` gives the label set of a slot.
    pub(crate) fn evaluate(&self, matchers: &[Matcher], labels_of: impl Fn(u32) -> Address) -> RoaringBitmap {
        let (mut keep, mut remove) = (Vec::new(), Vec::new());
        for matcher in matchers {
            match self.step(matcher) {
                Step::Skip => {}
                Step::Nothing => return RoaringBitmap::new(),
                Step::Keep(source) => keep.push(source),
                Step::Remove(source) => remove.push(source),
            }
        }
        keep.sort_by_key(|source| self.size(source));
        remove.sort_by_key(|source| self.size(source));
        let mut keep = keep.iter();
        let mut series = match keep.next() {
            Some(first) => self.series_of(first),
            None => self.all.to_bitmap(),
        };
        for source in keep {
            self.intersect(&mut series, source, &labels_of);
        }
        for source in &remove {
            self.subtract(&mut series, source, &labels_of);
        }
        series
    }

    fn step<'a>(&self, matcher: &'a Matcher) -> Step<'a> {
        let takes_absent = matcher.matches("");
        let Some(name) = self.name_number(matcher.name()) else {
            return if takes_absent { Step::Skip } else { Step::Nothing };
        };
        match (matcher.op(), matcher.value()) {
            (MatchOp::Equal, "") | (MatchOp::NotRegex, ".+") => Step::Remove(Source::Name(name)),
            (MatchOp::NotEqual, "") | (MatchOp::Regex, ".+") => Step::Keep(Source::Name(name)),
            (MatchOp::Regex, ".*") => Step::Skip,
            (MatchOp::NotRegex, ".*") => Step::Nothing,
            (MatchOp::Equal, value) => match self.pair_number(name, value) {
                Some(pair) => Step::Keep(Source::Pair(pair)),
                None => Step::Nothing,
            },
            (MatchOp::NotEqual, value) => match self.pair_number(name, value) {
                Some(pair) => Step::Remove(Source::Pair(pair)),
                None => Step::Skip,
            },
            (MatchOp::Regex | MatchOp::NotRegex, _) if takes_absent => {
                Step::Remove(Source::Values { name, matcher, outcome: false })
            }
            (MatchOp::Regex | MatchOp::NotRegex, _) => Step::Keep(Source::Values { name, matcher, outcome: true }),
        }
    }

    /// Sources whose size is not known before they are worked out come last.
    fn size(&self, source: &Source<'_>) -> u64 {
        match source {
            Source::Pair(pair) => u64::from(self.pairs[*pair as usize].series),
            Source::Name(name) => u64::from(self.names[*name as usize].series),
            Source::Values { name, .. } => u64::from(u32::MAX) + self.names[*name as usize].value_count() as u64,
        }
    }

    fn series_of(&self, source: &Source<'_>) -> RoaringBitmap {
        match source {
            Source::Pair(pair) => self.postings[*pair as usize].to_bitmap(),
            Source::Name(name) => self.names[*name as usize].present.to_bitmap(),
            Source::Values { name, matcher, outcome } => self.series_with_values(*name, matcher, *outcome),
        }
    }

    fn intersect(&self, series: &mut RoaringBitmap, source: &Source<'_>, labels_of: &impl Fn(u32) -> Address) {
        match source {
            Source::Pair(pair) => self.postings[*pair as usize].intersect_into(series),
            Source::Name(name) => self.names[*name as usize].present.intersect_into(series),
            Source::Values { name, matcher, outcome } if self.few_remain(series, *name) => {
                *series = self.filter(series, *name, matcher, |verdict| verdict == Some(*outcome), labels_of);
            }
            Source::Values { name, matcher, outcome } => *series &= self.series_with_values(*name, matcher, *outcome),
        }
    }

    fn subtract(&self, series: &mut RoaringBitmap, source: &Source<'_>, labels_of: &impl Fn(u32) -> Address) {
        match source {
            Source::Pair(pair) => self.postings[*pair as usize].subtract_from(series),
            Source::Name(name) => self.names[*name as usize].present.subtract_from(series),
            Source::Values { name, matcher, outcome } if self.few_remain(series, *name) => {
                *series = self.filter(series, *name, matcher, |verdict| verdict != Some(*outcome), labels_of);
            }
            Source::Values { name, matcher, outcome } => *series -= self.series_with_values(*name, matcher, *outcome),
        }
    }

    /// Whether it is cheaper to look at each series than to find the values, and unite their series.
    fn few_remain(&self, series: &RoaringBitmap, name: u32) -> bool {
        let name = &self.names[name as usize];
        series.len() * SERIES_COST < name.value_count() as u64 + u64::from(name.series) / UNITED_FOR_ONE
    }

    /// Tries a matcher on the values of the remaining series, each distinct value once. `wanted` gets `None` for a series
    /// without the label.
    fn filter(
        &self,
        series: &RoaringBitmap,
        name: u32,
        matcher: &Matcher,
        wanted: impl Fn(Option<bool>) -> bool,
        labels_of: &impl Fn(u32) -> Address,
    ) -> RoaringBitmap {
        let mut verdicts = hashbrown::HashMap::<u32, bool, foldhash::fast::RandomState>::default();
        let verdict = |slot: u32| {
            let pair = self.pair_of(labels_of(slot), name)?;
            Some(*verdicts.entry(pair).or_insert_with(|| matcher.matches(self.value(pair))))
        };
        let verdicts_of_all: Vec<(u32, Option<bool>)> = series.iter().zip(series.iter().map(verdict)).collect();
        postings::ascending(verdicts_of_all.into_iter().filter(|(_, verdict)| wanted(*verdict)).map(|(slot, _)| slot))
    }

    /// The pair of one name in a label set.
    pub(super) fn pair_of(&self, labels: Address, name: u32) -> Option<u32> {
        pairs_of(self.sets.from(labels)).find(|pair| self.pairs[*pair as usize].name == name)
    }

    fn series_with_values(&self, name: u32, matcher: &Matcher, outcome: bool) -> RoaringBitmap {
        let pairs = self.pairs_with(name, matcher, outcome);
        if pairs.len() == self.names[name as usize].value_count() {
            return self.names[name as usize].present.to_bitmap();
        }
        postings::union(pairs.into_iter().map(|pair| &self.postings[pair as usize]))
    }

    /// The pairs of a name for whose value an expression's matcher says `outcome`.
    fn pairs_with(&self, name: u32, matcher: &Matcher, outcome: bool) -> Vec<u32> {
        let Some(regex) = matcher.regex() else { return Vec::new() };
        let values = &self.names[name as usize];
        let mut found = match regex.literals() {
            Some(literals) => literals.iter().filter_map(|literal| self.pair_number(name, literal)).collect(),
            None => {
                let mut found = match regex.prefix() {
                    "" => values.pairs().collect(),
                    prefix => values.with_prefix(prefix, |pair| self.value(pair)),
                };
                found.retain(|pair| regex.is_match(self.value(*pair)));
                found
            }
        };
        if outcome == (matcher.op() == MatchOp::Regex) {
            return found;
        }
        found.sort_unstable();
        values.pairs().filter(|pair| found.binary_search(pair).is_err()).collect()
    }
}
