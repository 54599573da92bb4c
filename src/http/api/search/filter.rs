//! Which candidates resemble a search, and how well.

use super::jaro_winkler::jaro_winkler;
use super::subsequence::subsequence;
use std::borrow::Cow;

/// How a term is compared beyond "contains".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// All characters of the term in order, with gaps.
    Subsequence,
    /// The term as it is; or, with a threshold, a similar text.
    JaroWinkler,
}

/// Longer texts are not compared by the fuzzy algorithms, whose time grows with the square of the length.
const FUZZY_BYTES_MAX: usize = 4096;

/// Terms of which one must match.
#[derive(Debug)]
pub(super) struct Filter {
    terms: Vec<Term>,
    algorithm: Algorithm,
    threshold: f64,
    case_sensitive: bool,
}

#[derive(Debug)]
struct Term {
    text: String,
    characters: Vec<char>,
}

impl Filter {
    /// `None` when there is no term with content: everything matches. `threshold` is 0 to 1.
    pub(super) fn new(terms: &[&str], algorithm: Algorithm, threshold: f64, case_sensitive: bool) -> Option<Self> {
        let fold = |term: &&str| if case_sensitive { (*term).to_owned() } else { term.to_lowercase() };
        let terms: Vec<Term> = terms
            .iter()
            .filter(|term| !term.is_empty())
            .map(fold)
            .map(|text| Term { characters: text.chars().collect(), text })
            .collect();
        (!terms.is_empty()).then_some(Self { terms, algorithm, threshold, case_sensitive })
    }

    /// How well a candidate matches the best of the terms, 0 to 1; `None` when it matches none.
    pub(super) fn score(&self, candidate: &str) -> Option<f64> {
        let candidate =
            if self.case_sensitive { Cow::Borrowed(candidate) } else { Cow::Owned(candidate.to_lowercase()) };
        let mut best = None;
        for term in &self.terms {
            best = self.score_of(term, &candidate).into_iter().chain(best).reduce(f64::max);
            if best.is_some_and(|score| score >= 1.0) {
                break;
            }
        }
        best
    }

    fn score_of(&self, term: &Term, candidate: &str) -> Option<f64> {
        let short = term.text.len() <= FUZZY_BYTES_MAX && candidate.len() <= FUZZY_BYTES_MAX;
        match self.algorithm {
            Algorithm::Subsequence if candidate.starts_with(&term.text) => Some(1.0),
            Algorithm::Subsequence if short => {
                let score = term.compare(candidate, subsequence, subsequence);
                (score > 0.0 && score >= self.threshold).then_some(score)
            }
            Algorithm::JaroWinkler if short && self.threshold > 0.0 => contained(&term.text, candidate).or_else(|| {
                let score = term.compare(candidate, jaro_winkler, jaro_winkler);
                (score >= self.threshold).then_some(score)
            }),
            _ => contained(&term.text, candidate),
        }
    }
}

impl Term {
    /// By bytes where they are characters.
    fn compare(&self, candidate: &str, bytes: fn(&[u8], &[u8]) -> f64, characters: fn(&[char], &[char]) -> f64) -> f64 {
        if self.text.is_ascii() && candidate.is_ascii() {
            return bytes(self.text.as_bytes(), candidate.as_bytes());
        }
        characters(&self.characters, &candidate.chars().collect::<Vec<_>>())
    }
}

/// 1 for a prefix, down to 0.1 for a suffix, by the place of the first occurrence.
fn contained(term: &str, candidate: &str) -> Option<f64> {
    let at = candidate.find(term)?;
    let before = candidate.get(..at)?.chars().count();
    let last = candidate.chars().count() - term.chars().count();
    Some(if before == 0 || last == 0 { 1.0 } else { 1.0 - 0.9 * before as f64 / last as f64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(terms: &[&str], algorithm: Algorithm, percent: u32, candidate: &str) -> Option<f64> {
        Filter::new(terms, algorithm, f64::from(percent) / 100.0, true).unwrap().score(candidate)
    }

    fn near(found: Option<f64>, expected: f64) -> bool {
        found.is_some_and(|found| (found - expected).abs() < 1e-9)
    }

    #[test]
    fn terms_are_contained_the_better_the_earlier() {
        let contained = |candidate| score(&["go"], Algorithm::JaroWinkler, 0, candidate);
        assert_eq!(contained("go_gc"), Some(1.0));
        assert!(near(contained("a_go_x"), 1.0 - 0.9 * 2.0 / 4.0));
        assert!(near(contained("äago"), 0.1));
        assert_eq!(contained("gauge_o"), None);
    }

    #[test]
    fn the_best_term_counts() {
        let found = |candidate| score(&["zz", "go", ""], Algorithm::JaroWinkler, 0, candidate);
        assert_eq!((found("go_gc"), found("other")), (Some(1.0), None));
        assert!(Filter::new(&["", ""], Algorithm::Subsequence, 0.0, true).is_none());
    }

    #[test]
    fn case_is_folded_on_both_sides() {
        let filter = Filter::new(&["GO_gc"], Algorithm::Subsequence, 0.0, false).unwrap();
        assert_eq!(filter.score("Go_Gc_duration"), Some(1.0));
        assert_eq!(score(&["GO"], Algorithm::Subsequence, 0, "go"), None);
    }

    #[test]
    fn similar_texts_match_above_the_threshold() {
        let found = |percent| score(&["go_goroutins"], Algorithm::JaroWinkler, percent, "go_goroutines");
        assert!(found(80).is_some_and(|score| score > 0.95 && score < 1.0), "{:?}", found(80));
        assert_eq!(found(0), None);
        assert_eq!(score(&["abc"], Algorithm::JaroWinkler, 100, "xyz"), None);
    }

    #[test]
    fn very_long_texts_are_only_searched_for_the_term() {
        let long = "ab".repeat(5000);
        assert_eq!(score(&["aa"], Algorithm::Subsequence, 0, &long), None);
        assert!(score(&["ba"], Algorithm::Subsequence, 0, &long).is_some());
    }
}
