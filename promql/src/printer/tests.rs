use super::*;
use crate::{ParseOptions, parse};

fn parsed(query: &str) -> Expr {
    parse(query, &ParseOptions::all()).unwrap_or_else(|error| panic!("{query}: {error}"))
}

#[test]
fn short_expressions_stay_in_one_line() {
    let exactly_100 = format!("sum by (job) (rate({}[5m]))", "x".repeat(75));
    assert_eq!(exactly_100.len(), 100);
    assert_eq!(prettify(&parsed(&exactly_100)), exactly_100);
    assert_eq!(prettify(&parsed("sum(foo)by(a)")), "sum by (a) (foo)");
}

#[test]
fn longer_ones_are_split_at_parentheses_and_operators() {
    let long = format!("sum by (job) (rate({}[5m]))", "x".repeat(76));
    let lines = ["sum by (job) (".to_owned(), format!("  rate({}[5m])", "x".repeat(76)), ")".to_owned()];
    assert_eq!(prettify(&parsed(&long)), lines.join("\n"));
}

/// Lines of at most ten bytes, so that examples stay small.
#[test]
fn every_kind_of_node_has_its_layout() {
    let cases = [
        ("aaaa + bbbb", "  aaaa\n+\n  bbbb"),
        ("a + b * ccccccc", "  a\n+\n    b\n  *\n    ccccccc"),
        ("aaaa - bbbb - c", "    aaaa\n  -\n    bbbb\n-\n  c"),
        ("aa > bool on(x) bb", "  aa\n> bool on (x)\n  bb"),
        ("(aaaa + bbbb)", "(\n    aaaa\n  +\n    bbbb\n)"),
        ("((aaaaaaaaa))", "(\n  (\n    aaaaaaaaa\n  )\n)"),
        ("topk(5, aaaaaaa)", "topk(\n  5,\n  aaaaaaa\n)"),
        ("sum(aaaaaaaaa) by (b)", "sum by (b) (\n  aaaaaaaaa\n)"),
        ("clamp(aaaa, 1, 2)", "clamp(\n  aaaa,\n  1,\n  2\n)"),
        ("abs(sum(aaaaaa))", "abs(\n  sum(\n    aaaaaa\n  )\n)"),
        ("-abs(aaaaaaaa)", "-abs(\n  aaaaaaaa\n)"),
        ("abs(-(aaaaaaaaa))", "abs(\n  -(\n    aaaaaaaaa\n  )\n)"),
        ("aaaaaaaaaaaaaaaa{b=\"c\"}[5m] offset 1h", "aaaaaaaaaaaaaaaa{b=\"c\"}[5m] offset 1h"),
        ("\"a long string\"", "\"a long string\""),
        ("abs(aaaa)[5m:1m] offset 1h", "abs(aaaa)[5m:1m] offset 1h"),
        ("abs(aaaaaaa)[5m:1m]", "abs(\n  aaaaaaa\n)[5m:1m]"),
        // A subquery that fits is not indented, in Prometheus either.
        ("rate(a[5m:])", "rate(\na[5m:]\n)"),
        ("-aaaaaaaaaaaaa", "-aaaaaaaaaaaaa"),
    ];
    for (query, expected) in cases {
        assert_eq!(pretty::prettify_within(&parsed(query), 10), expected, "{query}");
    }
}

#[test]
fn bytes_that_are_no_text_are_escaped() {
    assert_eq!(quote_bytes(b"a\xc5z\"\n"), r#""a\xc5z\"\n""#);
    assert_eq!(quote_bytes("é\u{fffd}".as_bytes()), "\"é\\ufffd\"");
    assert_eq!(print(&parsed("foo{a=\"\\ufffd\"}")), "foo{a=\"\\ufffd\"}");
}

#[test]
fn floats_take_an_exponent_as_in_go() {
    let cases = [
        (0.0, "0"),
        (-0.0, "-0"),
        (999_999.0, "999999"),
        (1e6, "1e+06"),
        (1.5e10, "1.5e+10"),
        (0.0001, "0.0001"),
        (0.00009, "9e-05"),
        (-1e-100, "-1e-100"),
        (f64::INFINITY, "+Inf"),
        (f64::NAN, "NaN"),
    ];
    for (value, expected) in cases {
        assert_eq!(format_general(value), expected);
    }
}
