//! A label set while it is rewritten.

use crate::labels::Labels;
use std::collections::HashMap;

/// Labels by name that remember in which order they were added.
///
/// Those it began with come first, in ascending order of names; a label that was set later stands behind them, even if one
/// of that name was there before. The order decides which of two labels wins that `labelmap` gives one name.
#[derive(Debug, Clone, Default)]
pub struct LabelsBuilder {
    entries: HashMap<String, Entry>,
    /// How many labels it began with.
    begun: usize,
    next: usize,
}

#[derive(Debug, Clone)]
struct Entry {
    order: usize,
    value: String,
}

impl LabelsBuilder {
    /// Begins with `labels`.
    #[must_use]
    pub fn new(labels: &Labels) -> Self {
        let pairs = labels.iter().enumerate();
        let entry =
            |(order, (name, value)): (usize, (&str, &str))| (name.to_owned(), Entry { order, value: value.to_owned() });
        let entries: HashMap<_, _> = pairs.map(entry).collect();
        let begun = entries.len();
        Self { entries, begun, next: begun }
    }

    /// The value of `name`; empty when there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.entries.get(name).map_or("", |entry| &entry.value)
    }

    /// Gives `name` a value; an empty value removes the label. A label without a name is not set.
    pub fn set(&mut self, name: &str, value: &str) {
        if value.is_empty() || name.is_empty() {
            self.remove(name);
            return;
        }
        let kept = self.entries.get_mut(name).filter(|entry| entry.order >= self.begun);
        match kept {
            Some(entry) => value.clone_into(&mut entry.value),
            None => {
                self.entries.insert(name.to_owned(), Entry { order: self.next, value: value.to_owned() });
                self.next += 1;
            }
        }
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) {
        self.entries.remove(name);
    }

    /// A copy of all labels in their order.
    #[must_use]
    pub fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs: Vec<_> = self.entries.iter().collect();
        pairs.sort_unstable_by_key(|(_, entry)| entry.order);
        pairs.into_iter().map(|(name, entry)| (name.clone(), entry.value.clone())).collect()
    }

    /// The labels as they are now.
    #[must_use]
    pub fn labels(&self) -> Labels {
        let mut pairs: Vec<_> =
            self.entries.iter().map(|(name, entry)| (name.as_str(), entry.value.as_str())).collect();
        pairs.sort_unstable();
        Labels::from_sorted(pairs)
    }
}
