use super::*;
use datafusion::common::Column;
use datafusion::prelude::{col, lit};

fn role(column: &str) -> Role {
    match column {
        "time" => Role::Time,
        "value" => Role::Other,
        "labels" => Role::Labels,
        name => Role::Label(name.to_owned()),
    }
}

/// `job="a", time 1..2`, or nothing.
fn shown(expr: &Expr) -> String {
    match condition(expr, &role) {
        None => "-".into(),
        Some(Condition::Matchers(matchers)) => matchers.iter().map(Matcher::to_string).collect::<Vec<_>>().join(" "),
        Some(Condition::Time(Bounds { start_ms, end_ms })) => {
            let text = |bound: Option<i64>| bound.map_or_else(String::new, |ms| ms.to_string());
            format!("{}..{}", text(start_ms), text(end_ms))
        }
    }
}

fn ns(value: i64) -> Expr {
    Expr::Literal(ScalarValue::TimestampNanosecond(Some(value), None), None)
}

use datafusion::common::ScalarValue;

#[test]
fn conditions_on_labels_are_matchers() {
    let job = || Expr::Column(Column::from_name("job"));
    let cases = [
        (job().eq(lit("a")), r#"job="a""#),
        (lit("a").eq(job()), r#"job="a""#),
        (job().eq(lit("")), r#"job!="" job="""#),
        (job().not_eq(lit("a")), r#"job!="" job!="a""#),
        (job().in_list(vec![lit("b"), lit("a.c"), lit("")], false), r#"job=~"a\\.c|b""#),
        (job().in_list(vec![lit("a"), lit("b")], true), r#"job!="" job!="a" job!="b""#),
        (job().eq(lit("a")).or(job().eq(lit("b"))), r#"job=~"a|b""#),
        (job().eq(lit("a")).or(col("instance").eq(lit("b"))), "-"),
        (job().is_null(), r#"job="""#),
        (job().is_not_null(), r#"job!="""#),
        (job().like(lit("a%")), r#"job=~"a.*" job!="""#),
        (job().not_like(lit("a%")), r#"job!~"a.*" job!="""#),
        (job().ilike(lit("a%")), "-"),
        (job().gt(lit("a")), "-"),
        (job().eq(col("instance")), "-"),
        (col("value").eq(lit("a")), "-"),
    ];
    for (expr, expected) in cases {
        assert_eq!(shown(&expr), expected, "{expr}");
    }
}

#[test]
fn conditions_on_time_are_ranges_of_whole_milliseconds() {
    let cases = [
        (col("time").gt_eq(ns(5_000_000)), "5.."),
        (col("time").gt_eq(ns(5_000_001)), "6.."),
        (col("time").gt(ns(5_000_000)), "6.."),
        (col("time").gt(ns(5_999_999)), "6.."),
        (col("time").lt(ns(5_000_000)), "..4"),
        (col("time").lt(ns(5_000_001)), "..5"),
        (col("time").lt_eq(ns(-1)), "..-1"),
        (ns(5_000_000).lt_eq(col("time")), "5.."),
        (col("time").eq(ns(5_000_000)), "5..5"),
        (col("time").eq(ns(5_000_001)), "0..-1"),
        (col("time").between(ns(1_000_000), ns(2_000_000)), "1..2"),
        (col("time").not_eq(ns(1_000_000)), "-"),
        (col("value").gt(ns(1)), "-"),
    ];
    for (expr, expected) in cases {
        assert_eq!(shown(&expr), expected, "{expr}");
    }
}

#[test]
fn bounds_of_the_request_fill_what_the_statement_left_open() {
    let mut selector = Selector::default();
    selector.narrow(Condition::Time(Bounds { start_ms: Some(5), end_ms: None }));
    selector.narrow(Condition::Time(Bounds { start_ms: Some(3), end_ms: None }));
    let selector = selector.or_bounds(Bounds { start_ms: Some(100), end_ms: Some(9) });
    assert_eq!((selector.after_ms(), selector.until_ms()), (4, 9));
}
