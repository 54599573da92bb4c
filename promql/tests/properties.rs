//! Properties of the front end on generated queries: no panic, printing loses nothing, and promql-parser alone sees the
//! same structure where it accepts the same text.

mod support;

use promql::ast::{AtModifier, Cardinality, DurationValue, Expr, VectorMatching, VectorSelector};
use promql::printer::{prettify, print};
use promql::tree::tree_json;
use promql::{ParseOptions, parse};
use promql_parser::label::MatchOp;
use promql_parser::parser as foreign;
use promql_parser::parser::{LabelModifier, Offset, VectorMatchCardinality};
use proptest::prelude::*;
use std::time::{Duration, SystemTime};
use support::without_spans;

/// Texts of tokens, and what can pass for one.
const TOKENS: &[&str] = &[
    "foo",
    "a:b",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ",",
    ":",
    "=",
    "=~",
    "!~",
    "!=",
    "==",
    ">",
    "<",
    ">=",
    "<=",
    "</",
    ">/",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "@",
    "and",
    "or",
    "unless",
    "atan2",
    "bool",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "fill",
    "fill_left",
    "fill_right",
    "by",
    "without",
    "offset",
    "anchored",
    "smoothed",
    "start",
    "end",
    "step",
    "range",
    "min_of",
    "max_of",
    "sum",
    "topk",
    "count_values",
    "limitk",
    "rate",
    "time",
    "info",
    "label_join",
    "1",
    "0",
    "0x1f",
    "1e3",
    "5m",
    "1h30m",
    "0s",
    "NaN",
    "Inf",
    "\"a\"",
    "'b'",
    "`c`",
    "\"\\xff\"",
    "\"",
    "#x\n",
    " ",
    "\n",
    "é",
    "$",
    "{a=\"b\"}",
    "[5m]",
    "[5m:1m]",
    "(foo)",
    "foo{a=\"b\"}",
    "rate(foo[5m])",
    "1e400",
    "999y",
    "on(a)",
    "by (a)",
];

fn soup() -> impl Strategy<Value = String> {
    let token = prop::sample::select(TOKENS);
    let blank = prop::sample::select(&[" ", "", " "][..]);
    prop::collection::vec((token, blank), 0..24)
        .prop_map(|parts| parts.iter().map(|(token, blank)| format!("{token}{blank}")).collect())
}

/// Queries that are mostly well-formed, often well-typed.
fn query() -> impl Strategy<Value = String> {
    let selector = prop_oneof![
        Just("foo".to_owned()),
        Just("foo{a=\"b\",c!=\"d\"}".to_owned()),
        Just("{__name__=~\"x.*\"}".to_owned()),
        Just("foo offset 5m".to_owned()),
        Just("foo @ 10 offset -1h".to_owned()),
        Just("sum @ end()".to_owned()),
    ];
    let range = prop_oneof![
        Just("foo[5m]"),
        Just("foo{a=~\"b|c\"}[90] offset 1m"),
        Just("foo[1h:5m] @ start()"),
        Just("foo[1h:]")
    ];
    let scalar =
        prop_oneof![Just("1"), Just("0x10"), Just("NaN"), Just("5m"), Just("time()"), Just("pi()"), Just("2.5e-3")];
    let leaf =
        prop_oneof![4 => selector, 2 => scalar.prop_map(str::to_owned), 1 => range.prop_map(|r| format!("rate({r})"))];
    let operator = prop::sample::select(
        &[
            "+",
            "-",
            "*",
            "/",
            "%",
            "^",
            "atan2",
            "==",
            "!= bool",
            ">",
            "<= bool",
            "and",
            "or",
            "unless",
            "+ on(a)",
            "- ignoring(a, b)",
            "* on(a) group_left(c)",
            "/ on() group_right",
            "and on(a)",
            "+ fill(1)",
        ][..],
    );
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            4 => (inner.clone(), operator.clone(), inner.clone()).prop_map(|(l, op, r)| format!("{l} {op} {r}")),
            1 => inner.clone().prop_map(|e| format!("({e})")),
            1 => inner.clone().prop_map(|e| format!("-{e}")),
            1 => inner.clone().prop_map(|e| format!("+{e}")),
            1 => inner.clone().prop_map(|e| format!("sum by (a) ({e})")),
            1 => inner.clone().prop_map(|e| format!("topk(2, {e}) without (b)")),
            1 => inner.clone().prop_map(|e| format!("abs({e})")),
            1 => inner.clone().prop_map(|e| format!("max_over_time(({e})[10m:1m])")),
            1 => (inner.clone(), inner).prop_map(|(l, r)| format!("clamp_max({l}, scalar({r}))")),
        ]
    })
}

/// A query that is accepted prints to a text that means the same, in either form.
fn check_printing(text: &str) -> Result<(), TestCaseError> {
    let options = ParseOptions::all();
    let Ok(expr) = parse(text, &options) else { return Ok(()) };
    let _ = tree_json(&expr);
    for printed in [print(&expr), prettify(&expr)] {
        let again = parse(&printed, &options);
        prop_assert!(again.is_ok(), "{} printed as {}: {:?}", text, printed, again);
        let again = again.expect("just checked");
        prop_assert_eq!(without_spans(&again), without_spans(&expr), "{} printed as {}", text, printed);
    }
    Ok(())
}

/// Both parsers accept the text: they see the same structure.
fn check_structure(text: &str) -> Result<(), TestCaseError> {
    let (Ok(ours), Ok(theirs)) = (parse(text, &ParseOptions::all()), foreign::parse(text)) else { return Ok(()) };
    prop_assert_eq!(outline(&ours), foreign_outline(&theirs), "{}", text);
    Ok(())
}

/// A tree as nested text, of what both parsers know.
fn outline(expr: &Expr) -> String {
    match expr {
        Expr::Number(number) => format!("{:?}", number.value),
        Expr::String(string) => format!("{:?}", String::from_utf8_lossy(&string.value)),
        Expr::VectorSelector(selector) => selector_outline(selector),
        Expr::MatrixSelector(matrix) => format!("{}[{}]", selector_outline(&matrix.selector), fixed(&matrix.range)),
        Expr::Subquery(subquery) => {
            let step = subquery.step.as_ref().map(fixed);
            let time = time_outline(subquery.offset.as_ref(), subquery.at);
            format!("{}[{}:{step:?}]{time}", outline(&subquery.expr), fixed(&subquery.range))
        }
        Expr::Aggregation(aggregation) => {
            let grouping = match (aggregation.without, aggregation.grouping.as_slice()) {
                (false, []) => String::new(),
                (without, labels) => format!("{without} {labels:?}"),
            };
            let param = aggregation.param.as_deref().map(outline);
            format!("{} {grouping}({param:?} {})", aggregation.op.as_str(), outline(&aggregation.expr))
        }
        Expr::Binary(binary) => {
            let matching = binary.matching.as_ref().map(matching_outline).unwrap_or_default();
            let (left, right) = (outline(&binary.lhs), outline(&binary.rhs));
            format!("({left} {}{} {matching} {right})", binary.op.as_str(), binary.return_bool)
        }
        Expr::Unary(unary) if unary.negative => format!("-{}", outline(&unary.expr)),
        // Dropped there.
        Expr::Unary(unary) => outline(&unary.expr),
        Expr::Call(call) => format!("{}{:?}", call.function.name, call.args.iter().map(outline).collect::<Vec<_>>()),
        Expr::Paren(paren) => format!("paren {}", outline(&paren.expr)),
    }
}

fn fixed(duration: &DurationValue) -> i64 {
    match duration {
        DurationValue::Fixed(ms) => *ms,
        DurationValue::Expr(_) => i64::MIN,
    }
}

fn time_outline(offset: Option<&DurationValue>, at: Option<AtModifier>) -> String {
    format!("{} {at:?}", offset.map_or(0, fixed))
}

fn selector_outline(selector: &VectorSelector) -> String {
    let named = selector.name.is_some();
    let mut matchers: Vec<String> = selector.matchers.iter().map(ToString::to_string).collect();
    matchers.truncate(matchers.len() - usize::from(named));
    format!("{:?}{matchers:?}{}", selector.name, time_outline(selector.offset.as_ref(), selector.at))
}

fn matching_outline(matching: &VectorMatching) -> String {
    let cardinality = match matching.cardinality {
        Cardinality::OneToOne => "1:1",
        Cardinality::ManyToOne => "n:1",
        Cardinality::OneToMany => "1:n",
        Cardinality::ManyToMany => "n:n",
    };
    let VectorMatching { on, labels, include, fill_left, fill_right, .. } = matching;
    format!("{cardinality} {on} {labels:?} {include:?} {fill_left:?} {fill_right:?}")
}

fn foreign_outline(expr: &foreign::Expr) -> String {
    match expr {
        foreign::Expr::NumberLiteral(number) => format!("{:?}", number.val),
        foreign::Expr::StringLiteral(string) => format!("{:?}", string.val),
        foreign::Expr::VectorSelector(selector) => foreign_selector(selector),
        foreign::Expr::MatrixSelector(matrix) => {
            format!("{}[{}]", foreign_selector(&matrix.vs), matrix.range.as_millis())
        }
        foreign::Expr::Subquery(subquery) => {
            let step = subquery.step.map(|step| step.as_millis());
            let time = foreign_time(subquery.offset.as_ref(), subquery.at.as_ref());
            format!("{}[{}:{step:?}]{time}", foreign_outline(&subquery.expr), subquery.range.as_millis())
        }
        foreign::Expr::Aggregate(aggregate) => {
            let grouping = match &aggregate.modifier {
                Some(LabelModifier::Include(labels)) if labels.is_empty() => String::new(),
                Some(modifier) => format!("{} {:?}", !modifier.is_include(), modifier.labels().labels),
                None => String::new(),
            };
            let param = aggregate.param.as_deref().map(foreign_outline);
            format!("{} {grouping}({param:?} {})", aggregate.op, foreign_outline(&aggregate.expr))
        }
        foreign::Expr::Binary(binary) => {
            let vectors = [&binary.lhs, &binary.rhs]
                .iter()
                .all(|side| side.value_type() == promql_parser::parser::value::ValueType::Vector);
            let matching = if vectors { foreign_matching(binary) } else { String::new() };
            let (left, right) = (foreign_outline(&binary.lhs), foreign_outline(&binary.rhs));
            format!("({left} {}{} {matching} {right})", binary.op, binary.return_bool())
        }
        foreign::Expr::Unary(unary) => format!("-{}", foreign_outline(&unary.expr)),
        foreign::Expr::Call(call) => {
            let args: Vec<String> = call.args.args.iter().map(|arg| foreign_outline(arg)).collect();
            format!("{}{args:?}", call.func.name)
        }
        foreign::Expr::Paren(paren) => format!("paren {}", foreign_outline(&paren.expr)),
        foreign::Expr::Extension(_) => unreachable!("never produced by the parser"),
    }
}

fn foreign_matching(binary: &foreign::BinaryExpr) -> String {
    let Some(modifier) = &binary.modifier else { return "1:1 false [] [] None None".to_owned() };
    let (cardinality, include) = match &modifier.card {
        VectorMatchCardinality::OneToOne => ("1:1", Vec::new()),
        VectorMatchCardinality::ManyToOne(labels) => ("n:1", labels.labels.clone()),
        VectorMatchCardinality::OneToMany(labels) => ("1:n", labels.labels.clone()),
        VectorMatchCardinality::ManyToMany => ("n:n", Vec::new()),
    };
    let labels = modifier.matching.as_ref().map(|matching| matching.labels().labels.clone()).unwrap_or_default();
    let fill = &modifier.fill_values;
    format!("{cardinality} {} {labels:?} {include:?} {:?} {:?}", modifier.is_matching_on(), fill.lhs, fill.rhs)
}

fn foreign_time(offset: Option<&Offset>, at: Option<&foreign::AtModifier>) -> String {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).expect("small");
    let offset = match offset {
        Some(Offset::Pos(duration)) => ms(*duration),
        Some(Offset::Neg(duration)) => -ms(*duration),
        None => 0,
    };
    let at = at.map(|at| match at {
        foreign::AtModifier::Start => AtModifier::Start,
        foreign::AtModifier::End => AtModifier::End,
        foreign::AtModifier::At(time) => AtModifier::At(match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => ms(after),
            Err(before) => -ms(before.duration()),
        }),
    });
    format!("{offset} {at:?}")
}

fn foreign_selector(selector: &foreign::VectorSelector) -> String {
    let matchers: Vec<String> = selector
        .matchers
        .matchers
        .iter()
        .map(|matcher| {
            let op = match matcher.op {
                MatchOp::Equal => "=",
                MatchOp::NotEqual => "!=",
                MatchOp::Re(_) => "=~",
                MatchOp::NotRe(_) => "!~",
            };
            format!("{}{op}{}", matcher.name, model::text::quote(&matcher.value))
        })
        .collect();
    format!("{:?}{matchers:?}{}", selector.name, foreign_time(selector.offset.as_ref(), selector.at.as_ref()))
}

/// Queries on which promql-parser alone panics, or reads bytes as characters.
fn is_beyond_promql_parser(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ["1e400", "nan", "inf", "999y", "\\xff"].iter().any(|literal| lower.contains(literal))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn token_soup_never_panics(text in soup()) {
        check_printing(&text)?;
        if !is_beyond_promql_parser(&text) {
            check_structure(&text)?;
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,40}") {
        check_printing(&text)?;
    }

    #[test]
    fn queries_print_and_nest_as_promql_parser_nests_them(text in query()) {
        check_printing(&text)?;
        check_structure(&text)?;
    }
}

/// The comparison is not vacuous: it sees the queries of everyday use.
#[test]
fn both_parsers_accept_common_queries() {
    for text in [
        "sum by (job) (rate(http_requests_total{code=~\"5..\"}[5m])) / on(job) group_left sum(foo) > bool 0.5",
        "-a ^ b * c - d atan2 e == f and g or h unless i",
        "topk(3, max_over_time(foo[1h:1m] offset 5m)) without (a)",
        "histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m] @ 100)))",
    ] {
        let ours = parse(text, &ParseOptions::default()).unwrap_or_else(|error| panic!("{text}: {error}"));
        let theirs = foreign::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(outline(&ours), foreign_outline(&theirs), "{text}");
    }
}
