use super::*;
use crate::tokens::tokenize;

fn lowered(query: &str) -> Lowered {
    let options = ParseOptions::all();
    lower(query, &tokenize(query, &options), &options).unwrap_or_else(|error| panic!("{query}: {error:?}"))
}

#[test]
fn only_operators_groups_and_ordinals_remain() {
    let cases = [
        ("foo", "m0"),
        ("foo{a=\"(\"}[5m:1s] offset -1h @ end()", "m0"),
        ("1 + \"x\" * foo", "m0 + fill(1) m2 * fill(3) m4"),
        ("-a ^ +2", "-m0 ^ fill(1) -m2"),
        ("a </ 1 >/ 2", "m0 < fill(1) m2 > fill(3) m4"),
        ("a == bool on(x) group_left(y) fill(7) b", "m0 == fill(1) m2"),
        ("a ATAN2 b UNLESS c", "m0 atan2 fill(1) m2 unless fill(3) m4"),
        ("(a)", "hearth_group(m0,m1)"),
        ("time()", "hearth_group(m0)"),
        ("clamp(a, (1), time())", "hearth_group(m0,m1,hearth_group(m2,m3),hearth_group(m4))"),
        ("sum by (a) (b) + sum(b) without (a)", "hearth_group(m0,m1) + fill(2) hearth_group(m3,m4)"),
        ("rate(a[5m])[1h:] offset (1 + step())", "hearth_group(m0,m1)"),
    ];
    for (query, expected) in cases {
        assert_eq!(lowered(query).text, expected, "{query}");
    }
}

#[test]
fn signs_are_kept_in_order() {
    let signs: Vec<_> = lowered("-a + +b - (-1)").signs.iter().map(|sign| (sign.negative, sign.start)).collect();
    assert_eq!(signs, [(true, 0), (false, 5), (true, 11)]);
}

/// What promql-parser gets to read grows with the number of tokens, whatever they are.
#[test]
fn output_is_linear_in_tokens() {
    let options =
        ParseOptions { tokens_max: 1 << 20, operators_max: 1 << 20, depth_max: 1 << 20, ..ParseOptions::all() };
    for unit in ["a+", "-", "(", "abs(", "sum by(x)(", "a[5m:]offset 1m+", "clamp(a,1,", "\"text\"*", "a==bool on(x)"] {
        let mut sizes = Vec::new();
        for count in [1_000, 2_000] {
            let closing = ")".repeat(unit.matches('(').count().saturating_sub(unit.matches(')').count()) * count);
            let query = format!("{}a{closing}", unit.repeat(count));
            let tokens = tokenize(&query, &options);
            let lowered = lower(&query, &tokens, &options).unwrap_or_else(|error| panic!("{unit}: {}", error.message));
            assert!(lowered.items.len() <= tokens.list.len(), "{unit}");
            assert!(lowered.text.len() <= 24 * tokens.list.len(), "{unit}: {}", lowered.text.len());
            sizes.push(lowered.text.len());
        }
        assert!(sizes[1] <= 2 * sizes[0] + 4 * 2_000, "{unit}: {sizes:?}");
    }
}
