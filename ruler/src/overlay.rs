//! Label sets with some labels replaced, in one pass.

use model::labels::Labels;
use std::collections::BTreeMap;

/// `base` with the labels of `changes` set; an empty value removes the label.
pub(crate) fn overlay(base: &Labels, changes: &BTreeMap<&str, &str>) -> Labels {
    let mut merged = Vec::with_capacity(base.len() + changes.len());
    let mut changes = changes.iter().map(|(name, value)| (*name, *value)).peekable();
    for (name, value) in base {
        while let Some(change) = changes.next_if(|(changed, _)| *changed < name) {
            merged.push(change);
        }
        merged.push(changes.next_if(|(changed, _)| *changed == name).unwrap_or((name, value)));
    }
    merged.extend(changes);
    Labels::from_sorted(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The merge equals a map with the changes written into it.
        #[test]
        fn overlay_equals_writing_into_a_map(
            base: BTreeMap<String, String>,
            changes: BTreeMap<String, String>,
        ) {
            let mut base = base;
            base.remove("");
            let mut expected = base.clone();
            let changes: BTreeMap<&str, &str> =
                changes.iter().filter(|(n, _)| !n.is_empty()).map(|(n, v)| (n.as_str(), v.as_str())).collect();
            expected.extend(changes.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
            let base = Labels::from_pairs(&base).expect("keys of a map are unique");
            prop_assert_eq!(overlay(&base, &changes), Labels::from_pairs(&expected).expect("keys of a map are unique"));
        }
    }
}
