//! Label names: who has them, and their values in order.

use super::arena::Text;
use super::postings::Postings;

/// New values are sorted in when they are more than this and than an eighth of those in order.
const RECENT_MAX: usize = 64;

/// One label name.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) text: Text,
    /// The series that have the label.
    pub(super) present: Postings,
    /// How many they are.
    pub(super) series: u32,
    /// Pairs in ascending order of their values.
    sorted: Vec<u32>,
    /// Pairs not sorted in yet.
    recent: Vec<u32>,
}

impl Name {
    pub(super) fn new(text: Text) -> Self {
        Self { text, present: Postings::default(), series: 0, sorted: Vec::new(), recent: Vec::new() }
    }

    /// Adds a pair of this name. The cost of keeping order is spread: each pair is sorted in a logarithmic number of times.
    pub(super) fn add_value<'a>(&mut self, pair: u32, value: impl Fn(u32) -> &'a str) {
        self.recent.push(pair);
        if self.recent.len() > RECENT_MAX.max(self.sorted.len() / 8) {
            self.sorted = self.in_order(value);
            self.recent.clear();
        }
    }

    pub(super) fn value_count(&self) -> usize {
        self.sorted.len() + self.recent.len()
    }

    /// All pairs, in no order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = u32> {
        self.sorted.iter().chain(&self.recent).copied()
    }

    /// All pairs in ascending order of their values.
    pub(super) fn in_order<'a>(&self, value: impl Fn(u32) -> &'a str) -> Vec<u32> {
        let mut recent = self.recent.clone();
        recent.sort_unstable_by(|a, b| value(*a).cmp(value(*b)));
        let mut merged = Vec::with_capacity(self.value_count());
        let mut rest = self.sorted.as_slice();
        for pair in recent {
            let smaller = rest.partition_point(|other| value(*other) < value(pair));
            merged.extend_from_slice(&rest[..smaller]);
            merged.push(pair);
            rest = &rest[smaller..];
        }
        merged.extend_from_slice(rest);
        merged
    }

    /// The pairs whose value begins with `prefix`, in no order.
    pub(super) fn with_prefix<'a>(&self, prefix: &str, value: impl Fn(u32) -> &'a str) -> Vec<u32> {
        let start = self.sorted.partition_point(|pair| value(*pair) < prefix);
        let rest = &self.sorted[start..];
        let end = rest.partition_point(|pair| value(*pair).starts_with(prefix));
        let recent = self.recent.iter().copied().filter(|pair| value(*pair).starts_with(prefix));
        rest[..end].iter().copied().chain(recent).collect()
    }

    pub(super) fn bytes(&self) -> usize {
        (self.sorted.capacity() + self.recent.capacity()) * size_of::<u32>() + self.present.bytes() + size_of::<Self>()
    }
}
