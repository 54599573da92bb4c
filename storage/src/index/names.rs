//! Label names: who has them, and their values in order.

use super::arena::Text;
use super::postings::Postings;

/// Values that are not sorted in yet, at most.
const RECENT_MAX: usize = 64;
/// A run is at least so many times as long as the next.
const RATIO: usize = 8;

/// One label name.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) text: Text,
    /// The series that have the label.
    pub(super) present: Postings,
    /// How many they are.
    pub(super) series: u32,
    /// Bytes of their values, each counted for every series that has it.
    pub(super) value_bytes: u64,
    /// Runs of pairs in ascending order of their values, longest first.
    runs: Vec<Vec<u32>>,
    /// Pairs not sorted in yet.
    recent: Vec<u32>,
}

impl Name {
    pub(super) fn new(text: Text) -> Self {
        Self { text, present: Postings::default(), series: 0, value_bytes: 0, runs: Vec::new(), recent: Vec::new() }
    }

    /// Adds a pair of this name. The cost of keeping order is spread: each pair is sorted in once per run, of which there
    /// are a logarithmic number.
    pub(super) fn add_value<'a>(&mut self, pair: u32, value: impl Fn(u32) -> &'a str) {
        self.recent.push(pair);
        if self.recent.len() <= RECENT_MAX {
            return;
        }
        let mut run = std::mem::take(&mut self.recent);
        sort(&mut run, &value);
        while let Some(longer) = self.runs.pop_if(|longer| longer.len() < RATIO * run.len()) {
            run = merge(&longer, &run, &value);
        }
        self.runs.push(run);
    }

    /// Keeps some of the pairs.
    pub(super) fn retain(&mut self, kept: impl Fn(u32) -> bool) {
        for run in self.runs.iter_mut().chain([&mut self.recent]) {
            run.retain(|pair| kept(*pair));
            // Growing and shrinking names would otherwise keep the room of their best days.
            if run.len() * 4 < run.capacity() {
                run.shrink_to(run.len() * 2);
            }
        }
        self.runs.retain(|run| !run.is_empty());
        // The lengths of neighbours are what adding relies on to stay cheap, not to stay right.
    }

    pub(super) fn value_count(&self) -> usize {
        self.runs.iter().map(Vec::len).sum::<usize>() + self.recent.len()
    }

    /// All pairs, in no order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = u32> {
        self.runs.iter().flatten().chain(&self.recent).copied()
    }

    /// All pairs in ascending order of their values.
    pub(super) fn in_order<'a>(&self, value: impl Fn(u32) -> &'a str) -> Vec<u32> {
        let mut recent = self.recent.clone();
        sort(&mut recent, &value);
        self.runs.iter().rev().fold(recent, |shorter, longer| merge(longer, &shorter, &value))
    }

    /// All pairs in ascending order of their values, each found when it is asked for: for whoever wants only a few.
    pub(super) fn in_order_lazily<'a>(&self, value: impl Fn(u32) -> &'a str) -> impl Iterator<Item = u32> {
        let mut recent = self.recent.clone();
        sort(&mut recent, &value);
        let runs = self.runs.iter().map(|run| run.iter().copied());
        let mut recent = recent.into_iter().peekable();
        let mut runs: Vec<_> = runs.map(Iterator::peekable).collect();
        std::iter::from_fn(move || {
            let least = runs.iter_mut().filter_map(|run| run.peek().copied().map(|pair| (value(pair), run)));
            let least = least.min_by(|a, b| a.0.cmp(b.0));
            match (least, recent.peek()) {
                (Some((text, _)), Some(pair)) if value(*pair) < text => recent.next(),
                (Some((_, run)), _) => run.next(),
                (None, _) => recent.next(),
            }
        })
    }

    /// The pairs whose value begins with `prefix`, in no order.
    pub(super) fn with_prefix<'a>(&self, prefix: &str, value: impl Fn(u32) -> &'a str) -> Vec<u32> {
        let mut found: Vec<u32> = Vec::new();
        for run in &self.runs {
            let start = run.partition_point(|pair| value(*pair) < prefix);
            let rest = &run[start..];
            let end = rest.partition_point(|pair| value(*pair).starts_with(prefix));
            found.extend_from_slice(&rest[..end]);
        }
        found.extend(self.recent.iter().copied().filter(|pair| value(*pair).starts_with(prefix)));
        found
    }

    /// Up to `count` pairs, evenly spread over all of them.
    pub(super) fn sample(&self, count: usize) -> impl Iterator<Item = u32> {
        let all = self.value_count();
        let step = all.div_ceil(count.max(1)).max(1);
        let of_run = move |run: &'_ Vec<u32>| run.iter().copied().step_by(step).collect::<Vec<_>>();
        let parts: Vec<Vec<u32>> = self.runs.iter().chain([&self.recent]).map(of_run).collect();
        parts.into_iter().flatten()
    }

    pub(super) fn bytes(&self) -> usize {
        let pairs = self.runs.iter().map(Vec::capacity).sum::<usize>() + self.recent.capacity();
        pairs * size_of::<u32>()
            + self.runs.capacity() * size_of::<Vec<u32>>()
            + self.present.bytes()
            + size_of::<Self>()
    }
}

fn sort<'a>(pairs: &mut [u32], value: &impl Fn(u32) -> &'a str) {
    pairs.sort_unstable_by(|a, b| value(*a).cmp(value(*b)));
}

/// One run of two, the first of which is much longer: places are looked for from the last one on, in growing steps.
fn merge<'a>(longer: &[u32], shorter: &[u32], value: &impl Fn(u32) -> &'a str) -> Vec<u32> {
    let mut merged = Vec::with_capacity(longer.len() + shorter.len());
    let mut rest = longer;
    for pair in shorter {
        let text = value(*pair);
        let mut bound = RATIO;
        while rest.get(bound).is_some_and(|other| value(*other) < text) {
            bound *= 4;
        }
        let near = &rest[..bound.min(rest.len())];
        let smaller = near.partition_point(|other| value(*other) < text);
        merged.extend_from_slice(&rest[..smaller]);
        merged.push(*pair);
        rest = &rest[smaller..];
    }
    merged.extend_from_slice(rest);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::arena::TextArena;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn values_come_in_order_however_many_were_added(order in Just((0u32..700).collect::<Vec<_>>()).prop_shuffle(), count in 0usize..700, first in 0usize..40) {
            let texts: Vec<String> = (0..700).map(|n| format!("{:03}", (n * 7) % 701)).collect();
            let value = |pair: u32| texts[pair as usize].as_str();
            let mut name = Name::new(TextArena::default().push("n").unwrap());
            order[..count].iter().for_each(|pair| name.add_value(*pair, value));
            let expected: BTreeSet<&str> = order[..count].iter().map(|pair| value(*pair)).collect();
            let in_order: Vec<&str> = name.in_order(value).into_iter().map(value).collect();
            prop_assert_eq!(&in_order, &expected.iter().copied().collect::<Vec<_>>());
            let lazily: Vec<&str> = name.in_order_lazily(value).take(first).map(value).collect();
            prop_assert_eq!(&lazily[..], &in_order[..first.min(count)]);
            prop_assert!(name.runs.windows(2).all(|pair| pair[0].len() >= RATIO * pair[1].len()));
            let prefixed: BTreeSet<&str> = name.with_prefix("1", value).into_iter().map(value).collect();
            prop_assert_eq!(prefixed, expected.iter().copied().filter(|text| text.starts_with('1')).collect::<BTreeSet<_>>());
            let sample: BTreeSet<&str> = name.sample(first).map(value).collect();
            prop_assert!(sample.is_subset(&expected) && sample.len() >= first.min(count) / 2);
            prop_assert_eq!(name.sample(count).count(), count);
        }
    }
}
