//! Hostile sizes: the largest queries within the caps fit a small stack, and what exceeds a cap is refused at once.

mod support;

use promql::ast::Expr;
use promql::parse::ErrorKind;
use promql::printer::{prettify, print};
use promql::tree::tree_json;
use promql::{ParseOptions, parse};

/// Half of what a thread of the standard library gets; without optimisation, frames are at their largest.
const STACK_BYTES: usize = 1 << 20;

fn on_small_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).expect("a thread");
    thread.join().expect("no overflow, no panic")
}

/// Queries as deep and as long as the default caps allow.
fn largest_queries() -> Vec<(&'static str, String)> {
    let ParseOptions { depth_max, operators_max, tokens_max, .. } = ParseOptions::all();
    let nest = |open: &str, inner: &str, depth: usize| format!("{}{inner}{}", open.repeat(depth), ")".repeat(depth));
    let chain = |operand: &str, op: &str, count: usize| vec![operand; count + 1].join(op);
    let signs = "-+".repeat((operators_max - depth_max) / 2);
    vec![
        ("chain to the left", chain("a", " or ", operators_max)),
        ("chain of numbers", chain("1", " + ", operators_max)),
        ("chain to the right", chain("a", " ^ ", operators_max)),
        ("chain in a range", format!("a[{}]", chain("1", " ^ ", operators_max))),
        ("chain in an offset", format!("a offset ({})", chain("step()", " + ", operators_max))),
        ("signs", format!("{}a", "-".repeat(operators_max))),
        ("signs in a range", format!("a[1m - {}1]", "-".repeat(operators_max - 1))),
        ("parentheses", nest("(", "a", depth_max)),
        ("parentheses in a range", format!("a[{}]", nest("(", "1 + 1", depth_max))),
        ("calls", nest("abs(", "a", depth_max)),
        ("aggregations", nest("sum by (x) (", "a", depth_max / 2)),
        ("calls in a range", format!("a[{}1{}]", "min_of(".repeat(depth_max), ", 1)".repeat(depth_max))),
        ("deep on the left", format!("{}a{}", "(".repeat(depth_max), " + a)".repeat(depth_max))),
        ("deep on the right", nest("(a + ", "a", depth_max)),
        ("signs and parentheses", format!("{signs}{}", nest("-(", "a", depth_max))),
        ("subqueries", format!("{}a{}", "sum(max_over_time(".repeat(depth_max / 2), "[5m:]))".repeat(depth_max / 2))),
        ("matchers", format!("{{{}}}", "a=\"b\",".repeat(tokens_max / 4 - 1))),
        ("labels", format!("sum by ({}) (a)", "a,".repeat(tokens_max / 2 - 8))),
        ("arguments", format!("label_join(a, \"b\"{})", ", \"c\"".repeat(tokens_max / 2 - 8))),
        ("postfixes", format!("a{}", "[1m:]".repeat(tokens_max / 4 - 1))),
    ]
}

/// Everything that walks a tree does so within the stack, dropping it included.
#[test]
fn the_largest_queries_fit_a_small_stack() {
    for (name, query) in largest_queries() {
        on_small_stack(move || match parse(&query, &ParseOptions::all()) {
            Ok(expr) => use_everywhere(expr, &query),
            // Subqueries of subqueries have no type; only their depth matters here.
            Err(error) => assert_eq!((name, error.kind()), ("postfixes", ErrorKind::Semantic), "{error}"),
        });
    }
}

fn use_everywhere(expr: Expr, query: &str) {
    let options = ParseOptions::all();
    assert_eq!(parse(query, &options).as_ref(), Ok(&expr));
    assert!(expr.nodes().count() > 0);
    assert_eq!(expr.selectors().count() > 0, query.contains('a'));
    let _ = (expr.value_type(), expr.span(), format!("{expr:?}"));
    let printed = print(&expr);
    assert_eq!(parse(&printed, &options).as_ref().map(print), Ok(printed));
    assert!(prettify(&expr).len() >= expr.to_string().len() / 2);
    let _ = tree_json(&expr);
    drop(expr);
}

#[test]
fn one_more_of_anything_is_refused() {
    let options = ParseOptions::all();
    let (depth, operators) = (options.depth_max + 1, options.operators_max + 1);
    let cases = [
        ("a + ".repeat(operators), format!("query has more than {} operators", options.operators_max)),
        ("-".repeat(operators), format!("query has more than {} operators", options.operators_max)),
        ("(".repeat(depth), format!("query nests deeper than {} parentheses", options.depth_max)),
        (format!("a[{}", "(".repeat(depth)), format!("query nests deeper than {} parentheses", options.depth_max)),
        (
            format!("label_join(a{}", ", \"b\"".repeat(options.tokens_max)),
            format!("query has more than {} tokens", options.tokens_max),
        ),
        (" ".repeat(options.query_bytes_max + 1), format!("query is longer than {} bytes", options.query_bytes_max)),
    ];
    for (query, message) in cases {
        let error = on_small_stack(move || parse(&query, &ParseOptions::all())).expect_err("exceeds a cap");
        assert_eq!((error.kind(), error.message()), (ErrorKind::TooLarge, message.as_str()));
    }
}

/// A megabyte of anything is read once: what took quadratic time would not return.
#[test]
fn megabytes_are_answered() {
    for unit in [
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "a",
        "a ",
        "1",
        "1m",
        "\"",
        "`",
        "'a'",
        "#",
        "# \n",
        "-",
        "a+",
        "a or ",
        "a{",
        "a[1m:]",
        "@",
        "\\",
        "é",
        "sum(",
        "a{b=\"c\"} ",
        "a offset ",
        "a[(",
        "on(",
        "_",
        "0x",
        "1e",
        ".",
        ":",
        "\n",
        "a{b=~\"",
        "a,",
    ] {
        let mut query = unit.repeat((1 << 20) / unit.len());
        let _ = on_small_stack(move || parse(&query, &ParseOptions::all()).is_ok());
        query = format!("foo{{a=~\"{}\"}}", unit.replace(['"', '\\', '\n'], "x").repeat((1 << 16) / unit.len()));
        let _ = on_small_stack(move || parse(&query, &ParseOptions::all()).is_ok());
    }
}

/// One large expression is fine, many of them are not: they are counted together.
#[test]
fn regular_expressions_share_a_budget() {
    let options = ParseOptions { regex_bytes_max: 2 << 20, ..ParseOptions::default() };
    let matchers = |count: usize| format!("foo{{{}}}", "a=~\"[^x]{200}y|.*z\",".repeat(count));
    parse(&matchers(1), &options).expect("one fits");
    let error = parse(&matchers(100), &options).expect_err("a hundred do not");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(error.message(), "regular expressions of the query need more than 2097152 bytes");
}
