//! The order of series in a block: what is asked for together lies together.
//!
//! By `__name__`, then `job`, then `instance`, then the remaining labels pair by pair, and `le` last and by number, so that
//! the buckets of a classic histogram follow each other. An absent label comes before every value; text compares by bytes.

use std::cmp::Ordering;

/// Compares two label sets given as pairs in ascending order of names.
#[must_use]
pub fn compare<'a>(
    a: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    b: impl Iterator<Item = (&'a str, &'a str)> + Clone,
) -> Ordering {
    for name in FIRST {
        let order = get(a.clone(), name).cmp(&get(b.clone(), name));
        if order.is_ne() {
            return order;
        }
    }
    let rest = a.clone().filter(|(name, _)| is_rest(name)).cmp(b.clone().filter(|(name, _)| is_rest(name)));
    rest.then_with(|| compare_bounds(get(a, LAST), get(b, LAST)))
}

const FIRST: [&str; 3] = ["__name__", "job", "instance"];
const LAST: &str = "le";

fn is_rest(name: &str) -> bool {
    name != LAST && !FIRST.contains(&name)
}

fn get<'a>(mut pairs: impl Iterator<Item = (&'a str, &'a str)>, name: &str) -> Option<&'a str> {
    pairs.find(|(other, _)| *other == name).map(|(_, value)| value)
}

/// What is no number comes before all numbers; equal numbers and other text by bytes.
fn compare_bounds(a: Option<&str>, b: Option<&str>) -> Ordering {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<f64>().ok());
    match (number(a), number(b)) {
        (Some(x), Some(y)) => x.total_cmp(&y).then_with(|| a.cmp(&b)),
        (x, y) => x.is_some().cmp(&y.is_some()).then_with(|| a.cmp(&b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::labels::Labels;
    use proptest::prelude::*;

    fn sorted(sets: &[&[(&str, &str)]]) -> Vec<String> {
        let mut sets: Vec<_> = sets.iter().map(|set| Labels::from_pairs(set.iter().copied()).unwrap()).collect();
        sets.sort_by(|a, b| compare(a.iter(), b.iter()));
        sets.iter().map(Labels::to_string).collect()
    }

    #[test]
    fn bounds_of_a_histogram_ascend_within_their_series() {
        let of = |path, le| [("__name__", "x_bucket"), ("instance", "a"), ("job", "j"), ("le", le), ("path", path)];
        let expected = [of("/a", "0.5"), of("/a", "2"), of("/a", "10"), of("/a", "+Inf"), of("/b", "2")];
        let [a, b, c, d, e] = &expected;
        let labels = expected.iter().map(|set| Labels::from_pairs(set.iter().copied()).unwrap().to_string());
        assert_eq!(sorted(&[e, d, c, b, a]), labels.collect::<Vec<_>>());
    }

    #[test]
    fn job_and_instance_come_before_other_labels() {
        let first: &[_] = &[("__name__", "up"), ("cluster", "z"), ("instance", "a"), ("job", "a")];
        let second: &[_] = &[("__name__", "up"), ("cluster", "a"), ("instance", "b"), ("job", "a")];
        let third: &[_] = &[("__name__", "up"), ("cluster", "a"), ("instance", "a"), ("job", "b")];
        let expected = [r#"cluster="z""#, r#"instance="b""#, r#"job="b""#];
        for (set, part) in sorted(&[third, second, first]).iter().zip(expected) {
            assert!(set.contains(part), "{set}");
        }
    }

    proptest! {
        /// Equal only if the sets are, and transitive as a sort needs it.
        #[test]
        fn it_is_a_total_order(sets in prop::collection::vec(prop::collection::btree_map("job|le|a|z|__name__", "[0-9+NaInf.e]{1,3}", 0..4), 3)) {
            let sets: Vec<_> = sets.iter().map(|set| Labels::from_pairs(set).unwrap()).collect();
            let [a, b, c] = sets.as_slice() else { unreachable!() };
            let order = |a: &Labels, b: &Labels| compare(a.iter(), b.iter());
            prop_assert_eq!(order(a, b), order(b, a).reverse());
            prop_assert_eq!(order(a, b).is_eq(), a == b);
            if order(a, b).is_le() && order(b, c).is_le() {
                prop_assert!(order(a, c).is_le());
            }
        }
    }
}
