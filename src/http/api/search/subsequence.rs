//! How well all characters of a pattern are found in a text, in order.
//!
//! Prometheus' scorer: runs of consecutive characters count by the square of their length, characters left out before and
//! between them cost their share of the text, those behind them half of that. Each place where the pattern can begin is
//! tried, and from there characters are taken as they come.

/// What is not equal stays below 1, so that rounded scores can be told apart.
const NOT_EQUAL: f64 = 0.999;

/// 1 for equal texts, 0 when a character is missing.
pub(super) fn subsequence<C: PartialEq>(pattern: &[C], text: &[C]) -> f64 {
    let (Some(first), Some(last_start)) = (pattern.first(), text.len().checked_sub(pattern.len())) else {
        return if pattern.is_empty() { 1.0 } else { 0.0 };
    };
    if pattern == text {
        return 1.0;
    }
    let mut best = -1.0;
    let starts = text.iter().take(last_start + 1).enumerate().filter(|(_, c)| *c == first);
    for (start, _) in starts {
        // What is not found from here is not found from later places either.
        let Some(score) = score_from(start, pattern, text) else { break };
        best = f64::max(best, score);
    }
    if best < 0.0 { 0.0 } else { best / (pattern.len() * pattern.len()) as f64 * NOT_EQUAL }
}

fn score_from<C: PartialEq>(start: usize, pattern: &[C], text: &[C]) -> Option<f64> {
    let share = 1.0 / text.len() as f64;
    let mut score = 0.0;
    let mut wanted = pattern.iter().peekable();
    let (mut at, mut end_of_run) = (start, 0);
    while let Some(next) = wanted.peek() {
        at += text.get(at..)?.iter().position(|c| c == *next)?;
        let run_start = at;
        while wanted.peek().is_some_and(|next| text.get(at) == Some(*next)) {
            wanted.next();
            at += 1;
        }
        let run = at - run_start;
        score += (run * run) as f64 - (run_start - end_of_run) as f64 * share;
        end_of_run = at;
    }
    Some(score - (text.len() - end_of_run) as f64 * share * 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn score(pattern: &str, text: &str) -> f64 {
        subsequence(pattern.as_bytes(), text.as_bytes())
    }

    #[test]
    fn scores_are_those_of_the_formula() {
        assert_eq!((score("", "abc"), score("abc", "abc"), score("abcd", "abc")), (1.0, 1.0, 0.0));
        assert_eq!((score("acb", "abc"), score("x", "abc")), (0.0, 0.0));
        let expected = |raw: f64, length: f64| raw / (length * length) * 0.999;
        assert!((score("ac", "abc") - expected(1.0 + 1.0 - 1.0 / 3.0, 2.0)).abs() < 1e-12);
        assert!((score("bc", "abcd") - expected(4.0 - 0.25 - 0.125, 2.0)).abs() < 1e-12);
        // The second place to begin is better.
        assert!((score("ab", "a_ab") - expected(4.0 - 0.5, 2.0)).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn a_score_says_whether_all_characters_are_there(pattern in "[ab]{1,4}", text in "[abc]{0,8}") {
            let mut rest = text.chars();
            let present = pattern.chars().all(|wanted| rest.any(|c| c == wanted));
            let score = score(&pattern, &text);
            prop_assert!((0.0..=1.0).contains(&score));
            prop_assert!(present || score == 0.0);
            let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(subsequence(&pattern, &text), score);
        }
    }
}
