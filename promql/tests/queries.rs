//! Own lists of valid and invalid queries: what is accepted, how it is printed, and how errors read.

mod support;

use promql::parse::parse_selector;
use promql::printer::{prettify, print};
use promql::{ParseOptions, parse};
use support::without_spans;

/// The entries of a page as (query, what follows the arrow).
fn entries(page: &str) -> Vec<(String, Option<String>)> {
    let decode = |text: &str| text.replace('␊', "\n").replace('␍', "\r").replace('␉', "\t").replace('␣', "\u{a0}");
    let (_, listed) = page.split_once("\n## ").expect("a page has headings");
    let lines = listed.lines().skip(1).filter(|line| !line.is_empty() && !line.starts_with("## "));
    lines
        .map(|line| match line.split_once(" ⇒ ") {
            Some((query, outcome)) => (decode(query), Some(decode(outcome))),
            None => (decode(line), None),
        })
        .collect()
}

#[test]
fn valid_queries_are_accepted_and_printed() {
    let options = ParseOptions::all();
    let entries = entries(include_str!("queries/valid.txt"));
    assert!(entries.len() > 300, "only {} entries", entries.len());
    for (query, printed) in entries {
        let expr = parse(&query, &options).unwrap_or_else(|error| panic!("{query}: {error}"));
        let expected = printed.as_ref().unwrap_or(&query);
        assert_eq!(&print(&expr), expected, "{query}");
        for text in [expected, &prettify(&expr)] {
            let again = parse(text, &options).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(without_spans(&again), without_spans(&expr), "{query}");
        }
    }
}

#[test]
fn invalid_queries_are_refused_with_place_and_reason() {
    let options = ParseOptions::all();
    let entries = entries(include_str!("queries/invalid.txt"));
    assert!(entries.len() > 300, "only {} entries", entries.len());
    for (query, outcome) in entries {
        let error = parse(&query, &options).expect_err(&query);
        assert_eq!(Some(error.to_string()), outcome, "{query:?}");
    }
}

/// What a Prometheus 3.14 server refuses without feature flags is refused by default, and only that.
#[test]
fn experimental_parts_are_off_by_default() {
    let refused = [
        ("info(foo)", "1:1: parse error: function \"info\" is not enabled"),
        ("1 + step()", "1:5: parse error: function \"step\" is not enabled"),
        (
            "sum(limitk(1, foo))",
            "1:5: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
        ),
        (
            "limit_ratio by (a) (1, foo)",
            "1:1: parse error: limit_ratio() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
        ),
        ("rate(foo[5m] anchored)", "1:6: parse error: anchored modifier is experimental and not enabled"),
        ("foo smoothed", "1:1: parse error: smoothed modifier is experimental and not enabled"),
        ("0 + foo + fill(1) bar", "1:1: parse error: binop fill modifiers are experimental and not enabled"),
    ];
    let options = ParseOptions::default();
    for (query, message) in refused {
        assert_eq!(parse(query, &options).expect_err(query).to_string(), message);
    }
    for query in ["foo[5m * 2]", "foo offset step()", "anchored + fill", "sum(foo @ end() offset -5m)", "foo </ 2"] {
        parse(query, &options).unwrap_or_else(|error| panic!("{query}: {error}"));
    }
}

#[test]
fn duration_expressions_can_be_turned_off() {
    let options = ParseOptions { duration_expressions: false, ..ParseOptions::default() };
    for (query, at) in
        [("foo[5m+1m]", "1:5"), ("foo[step()]", "1:5"), ("foo offset (5m)", "1:13"), ("foo[1:(2)]", "1:8")]
    {
        let message = format!("{at}: parse error: experimental duration expression is not enabled");
        assert_eq!(parse(query, &options).expect_err(query).to_string(), message);
    }
    for query in ["foo[5m]", "foo offset -5m", "foo[5m:30]", "foo[1.5e1]"] {
        parse(query, &options).unwrap_or_else(|error| panic!("{query}: {error}"));
    }
}

/// What `match[]` parameters hold.
#[test]
fn selectors_are_read_alone() {
    let options = ParseOptions::default();
    let matchers = |text: &str| {
        let matchers = parse_selector(text, &options);
        matchers.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")).map_err(|e| e.to_string())
    };
    let accepted = [
        ("up", "__name__=\"up\""),
        ("up{job=\"a\",}", "job=\"a\" __name__=\"up\""),
        (" {\"quoted name\", a!~'b'} # comment", "__name__=\"quoted name\" a!~\"b\""),
        ("{}", ""),
        ("sum", "__name__=\"sum\""),
    ];
    for (text, expected) in accepted {
        assert_eq!(matchers(text), Ok(expected.to_owned()));
    }
    let refused = [
        ("", "unknown position: parse error: unexpected end of input"),
        ("up offset 5m", "1:4: parse error: unexpected <offset>"),
        ("up[5m]", "1:3: parse error: unexpected \"[\""),
        ("sum(up)", "1:4: parse error: unexpected \"(\""),
        ("up{a=~\"*\"}", "1:4: parse error: error parsing regexp: missing argument to repetition operator: `*`"),
        ("1", "1:1: parse error: unexpected number \"1\""),
        ("{a=\"b\"", "1:7: parse error: unexpected end of input inside braces"),
    ];
    for (text, message) in refused {
        assert_eq!(matchers(text), Err(message.to_owned()));
    }
}
