//! The similarity of two texts after Jaro and Winkler, as Prometheus counts it.
//!
//! Not the textbook's: transpositions are halved as a fraction, and the bonus of a common prefix is given at any similarity.
//! Scores decide what is shown and in which order, so they are Prometheus' to the last bit, which libraries are not.

/// 1 for equal texts, 0 for texts without a common character.
pub(super) fn jaro_winkler<C: PartialEq>(a: &[C], b: &[C]) -> f64 {
    if a == b {
        return 1.0;
    }
    let (short, long) = if a.len() > b.len() { (b, a) } else { (a, b) };
    let (in_short, in_long) = matches(short, long);
    if in_short.is_empty() {
        return 0.0;
    }
    let matches = in_short.len() as f64;
    let transpositions = in_short.iter().zip(&in_long).filter(|(a, b)| a != b).count() as f64;
    let (share_short, share_long) = (1.0 / short.len() as f64, 1.0 / long.len() as f64);
    let jaro = (matches * share_short + matches * share_long + (matches - transpositions * 0.5) / matches) / 3.0;
    let prefix = short.iter().zip(long).take(4).take_while(|(a, b)| a == b).count();
    jaro + prefix as f64 * 0.1 * (1.0 - jaro)
}

/// The characters that match one of the other text within half of its length, in the order of each text.
fn matches<'a, C: PartialEq>(short: &'a [C], long: &'a [C]) -> (Vec<&'a C>, Vec<&'a C>) {
    let distance = (long.len() / 2).saturating_sub(1);
    let mut taken = vec![false; long.len()];
    let mut in_short = Vec::new();
    for (i, character) in short.iter().enumerate() {
        let near = i.saturating_sub(distance)..i.saturating_add(distance + 1);
        let mut candidates = long.iter().zip(&mut taken).take(near.end).skip(near.start);
        if let Some((_, taken)) = candidates.find(|(other, taken)| !**taken && *other == character) {
            *taken = true;
            in_short.push(character);
        }
    }
    let in_long = long.iter().zip(taken).filter(|(_, taken)| *taken).map(|(character, _)| character).collect();
    (in_short, in_long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_pairs() {
        let score = |a: &str, b: &str| jaro_winkler(a.as_bytes(), b.as_bytes());
        for (a, b, expected) in [
            ("martha", "marhta", 0.961_111_111),
            ("dixon", "dicksonx", 0.813_333_333),
            ("dwayne", "duane", 0.84),
            ("abc", "abc", 1.0),
            ("", "abc", 0.0),
            ("abc", "xyz", 0.0),
        ] {
            assert!((score(a, b) - expected).abs() < 1e-8, "{a} {b}: {}", score(a, b));
            assert_eq!(score(a, b), score(b, a));
        }
    }
}
