use super::*;
use crate::{ParseOptions, parse};

fn tree(query: &str) -> Value {
    tree_json(&parse(query, &ParseOptions::all()).unwrap_or_else(|error| panic!("{query}: {error}")))
}

/// The fields of a selector without any modifier.
fn selector(ty: &str, name: &str, matchers: &Value) -> Value {
    json!({
        "type": ty, "name": name, "matchers": matchers, "offset": 0, "offsetExpr": null,
        "timestamp": null, "startOrEnd": null, "anchored": false, "smoothed": false,
    })
}

fn foo() -> Value {
    selector("vectorSelector", "foo", &json!([{"name": "__name__", "value": "foo", "type": "="}]))
}

fn with(mut node: Value, fields: Value) -> Value {
    let (Value::Object(node_fields), Value::Object(fields)) = (&mut node, fields) else { panic!("not objects") };
    node_fields.extend(fields);
    node
}

#[test]
fn literals_signs_and_parentheses() {
    assert_eq!(tree("1.5e9"), json!({"type": "numberLiteral", "val": "1500000000"}));
    assert_eq!(tree("-Inf"), json!({"type": "numberLiteral", "val": "-Inf"}));
    assert_eq!(tree("5m"), json!({"type": "numberLiteral", "val": "300"}));
    assert_eq!(tree(r#""a\n""#), json!({"type": "stringLiteral", "val": "a\n"}));
    assert_eq!(tree(r#""\xff""#), json!({"type": "stringLiteral", "val": "\u{fffd}"}));
    assert_eq!(tree("-(foo)"), json!({"type": "unaryExpr", "op": "-", "expr": {"type": "parenExpr", "expr": foo()}}));
}

#[test]
fn selectors_ranges_and_subqueries() {
    let matchers = json!([
        {"name": "a", "value": "b.*", "type": "!~"},
        {"name": "__name__", "value": "foo", "type": "="},
    ]);
    let modified = json!({"offset": -300_000, "timestamp": 1500});
    assert_eq!(tree("foo{a!~'b.*'} @ 1.5 offset -5m"), with(selector("vectorSelector", "foo", &matchers), modified));
    assert_eq!(
        tree("{\"foo\"}"),
        selector("vectorSelector", "", &json!([{"name": "__name__", "value": "foo", "type": "="}]))
    );
    let range =
        json!({"type": "matrixSelector", "range": 60_000, "rangeExpr": null, "anchored": true, "startOrEnd": "end"});
    assert_eq!(tree("foo[1m] anchored @ end()"), with(foo(), range));
    assert_eq!(
        tree("foo[1h:5m] @ start()"),
        json!({
            "type": "subquery", "expr": foo(), "range": 3_600_000, "rangeExpr": null, "step": 300_000, "stepExpr": null,
            "offset": 0, "offsetExpr": null, "timestamp": null, "startOrEnd": "start",
        })
    );
}

#[test]
fn duration_expressions() {
    let number = |seconds: &str, duration: bool| json!({"type": "numberLiteral", "val": seconds, "duration": duration});
    let node = |op: &str, lhs: Value, rhs: Value, wrapped: bool| json!({"type": "durationExpr", "op": op, "lhs": lhs, "rhs": rhs, "wrapped": wrapped});
    let step = node("step", Value::Null, Value::Null, false);
    let cases = [
        ("foo[5m * 2]", node("*", number("300", true), number("2", false), false)),
        ("foo[(1 + step())]", node("+", number("1", false), step.clone(), true)),
        ("foo[(5m)]", node("+", Value::Null, number("300", true), true)),
        ("foo[-step() + 1h]", node("+", node("-", Value::Null, step.clone(), false), number("3600", true), false)),
        ("foo[max_of(step(), 1)]", node("max_of", step.clone(), number("1", false), false)),
    ];
    for (query, expected) in cases {
        let tree = tree(query);
        assert_eq!((&tree["range"], &tree["rangeExpr"]), (&json!(0), &expected), "{query}");
    }
    assert_eq!(tree("foo offset range()")["offsetExpr"], node("range", Value::Null, Value::Null, false));
    assert_eq!(tree("foo[5m:step()]")["stepExpr"], step);
}

#[test]
fn operators_calls_and_aggregations() {
    let operation = |op: &str, return_bool: bool, matching: Value| json!({"type": "binaryExpr", "op": op, "lhs": foo(), "rhs": foo(), "bool": return_bool, "matching": matching});
    let matching = |card: &str, labels: Value, on: bool, include: Value, left: Value, right: Value| json!({"card": card, "labels": labels, "on": on, "include": include, "fillValues": {"lhs": left, "rhs": right}});
    let none = Value::Null;
    let cases = [
        ("foo + foo", "+", false, matching("one-to-one", json!([]), false, json!([]), none.clone(), none.clone())),
        ("foo or foo", "or", false, matching("many-to-many", json!([]), false, json!([]), none.clone(), none.clone())),
        (
            "foo >= bool on(a) group_left(b) fill_right(2) foo",
            ">=",
            true,
            matching("many-to-one", json!(["a"]), true, json!(["b"]), none.clone(), json!(2.0)),
        ),
        (
            "foo </ ignoring(a) group_right foo",
            "</",
            false,
            matching("one-to-many", json!(["a"]), false, json!([]), none.clone(), none.clone()),
        ),
    ];
    for (query, op, return_bool, matching) in cases {
        assert_eq!(tree(query), operation(op, return_bool, matching), "{query}");
    }
    let one = json!({"type": "numberLiteral", "val": "1"});
    assert_eq!(
        tree("1 + foo"),
        json!({"type": "binaryExpr", "op": "+", "lhs": one, "rhs": foo(), "bool": false, "matching": null})
    );
    assert_eq!(
        tree("round(foo, 1)"),
        json!({
            "type": "call", "args": [foo(), one],
            "func": {"name": "round", "argTypes": ["vector", "scalar"], "variadic": 1, "returnType": "vector"},
        })
    );
    assert_eq!(
        tree("topk without (a) (1, foo)"),
        json!({"type": "aggregation", "op": "topk", "expr": foo(), "param": one, "grouping": ["a"], "without": true})
    );
    assert_eq!(
        tree("sum(foo)"),
        json!({"type": "aggregation", "op": "sum", "expr": foo(), "param": null, "grouping": [], "without": false})
    );
}
