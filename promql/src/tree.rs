//! Tree to JSON, as `parse_query` answers it for tree views.
//!
//! Shapes and field names are those of Prometheus' HTTP API; durations are milliseconds.

use crate::ast::{
    AtModifier, Cardinality, DurationExpr, DurationValue, Expr, NumberLiteral, Subquery, VectorMatching, VectorSelector,
};
use crate::functions::Function;
use model::matcher::Matcher;
use model::text::format_plain;
use serde_json::{Map, Value, json};

/// The JSON tree of an expression.
#[must_use]
pub fn tree_json(expr: &Expr) -> Value {
    // Children before parents: in reversed pre-order, a node finds its children on top of the stack, the first one last.
    let mut built = Vec::new();
    let nodes: Vec<&Expr> = expr.nodes().collect();
    for node in nodes.into_iter().rev() {
        let value = node_json(node, &mut built);
        built.push(value);
    }
    built.pop().unwrap_or_default()
}

/// The JSON of one node; takes those of its children off the stack, in the order of the text.
fn node_json(expr: &Expr, built: &mut Vec<Value>) -> Value {
    let mut child = || built.pop().unwrap_or_default();
    match expr {
        Expr::Number(number) => object("numberLiteral", [("val", format_plain(number.value).into())]),
        Expr::String(string) => object("stringLiteral", [("val", String::from_utf8_lossy(&string.value).into())]),
        Expr::VectorSelector(selector) => selector_json("vectorSelector", selector),
        Expr::MatrixSelector(matrix) => {
            let mut node = selector_json("matrixSelector", &matrix.selector);
            if let Value::Object(fields) = &mut node {
                put_duration(fields, "range", Some(&matrix.range));
            }
            node
        }
        Expr::Subquery(subquery) => subquery_json(subquery, child()),
        Expr::Aggregation(aggregation) => {
            let param = aggregation.param.as_ref().map(|_| child());
            let fields = [
                ("op", aggregation.op.as_str().into()),
                ("expr", child()),
                ("param", param.unwrap_or_default()),
                ("grouping", aggregation.grouping.as_slice().into()),
                ("without", aggregation.without.into()),
            ];
            object("aggregation", fields)
        }
        Expr::Binary(binary) => {
            let fields = [
                ("op", binary.op.as_str().into()),
                ("lhs", child()),
                ("rhs", child()),
                ("matching", binary.matching.as_ref().map(matching_json).unwrap_or_default()),
                ("bool", binary.return_bool.into()),
            ];
            object("binaryExpr", fields)
        }
        Expr::Unary(unary) => {
            object("unaryExpr", [("op", if unary.negative { "-" } else { "+" }.into()), ("expr", child())])
        }
        Expr::Call(call) => {
            let args = call.args.iter().map(|_| child()).collect();
            object("call", [("func", function_json(call.function)), ("args", args)])
        }
        Expr::Paren(_) => object("parenExpr", [("expr", child())]),
    }
}

/// A node of that type. Takes the fields as they are, where `json!` would copy whole subtrees.
fn object<const N: usize>(ty: &str, fields: [(&str, Value); N]) -> Value {
    let fields = [("type", ty.into())].into_iter().chain(fields);
    Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn matching_json(matching: &VectorMatching) -> Value {
    let card = match matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    json!({
        "card": card,
        "labels": matching.labels,
        "on": matching.on,
        "include": matching.include,
        "fillValues": {"lhs": matching.fill_left, "rhs": matching.fill_right},
    })
}

fn function_json(function: &Function) -> Value {
    json!({
        "name": function.name,
        "argTypes": function.args.iter().map(|ty| ty.as_str()).collect::<Vec<_>>(),
        "variadic": function.variadic,
        "returnType": function.returns.as_str(),
    })
}

fn selector_json(ty: &str, selector: &VectorSelector) -> Value {
    let mut fields = Map::new();
    fields.insert("type".into(), ty.into());
    fields.insert("name".into(), selector.name.as_deref().unwrap_or_default().into());
    fields.insert("matchers".into(), selector.matchers.iter().map(matcher_json).collect());
    fields.insert("anchored".into(), selector.anchored.into());
    fields.insert("smoothed".into(), selector.smoothed.into());
    put_duration(&mut fields, "offset", selector.offset.as_ref());
    put_at(&mut fields, selector.at);
    Value::Object(fields)
}

fn matcher_json(matcher: &Matcher) -> Value {
    json!({"name": matcher.name(), "value": matcher.value(), "type": matcher.op().to_string()})
}

fn subquery_json(subquery: &Subquery, expr: Value) -> Value {
    let mut fields = Map::new();
    fields.insert("type".into(), "subquery".into());
    fields.insert("expr".into(), expr);
    put_duration(&mut fields, "range", Some(&subquery.range));
    put_duration(&mut fields, "step", subquery.step.as_ref());
    put_duration(&mut fields, "offset", subquery.offset.as_ref());
    put_at(&mut fields, subquery.at);
    Value::Object(fields)
}

/// Milliseconds under `name`, an expression under `nameExpr`.
fn put_duration(fields: &mut Map<String, Value>, name: &str, duration: Option<&DurationValue>) {
    let (ms, expr) = match duration {
        None => (0, Value::Null),
        Some(DurationValue::Fixed(ms)) => (*ms, Value::Null),
        Some(DurationValue::Expr(expr)) => (0, duration_json(expr, false)),
    };
    fields.insert(name.into(), ms.into());
    fields.insert(format!("{name}Expr"), expr);
}

fn put_at(fields: &mut Map<String, Value>, at: Option<AtModifier>) {
    let (timestamp, start_or_end) = match at {
        None => (Value::Null, Value::Null),
        Some(AtModifier::At(ms)) => (ms.into(), Value::Null),
        Some(AtModifier::Start) => (Value::Null, "start".into()),
        Some(AtModifier::End) => (Value::Null, "end".into()),
    };
    fields.insert("timestamp".into(), timestamp);
    fields.insert("startOrEnd".into(), start_or_end);
}

/// Parentheses are a property of the node inside; a number in parentheses counts as one with a sign.
fn duration_json(expr: &DurationExpr, wrapped: bool) -> Value {
    let (op, left, right) = match expr {
        DurationExpr::Number(number) if !wrapped => return duration_number_json(number),
        DurationExpr::Number(number) => return duration_node("+", Value::Null, duration_number_json(number), wrapped),
        DurationExpr::Paren(inner, _) => return duration_json(inner, true),
        DurationExpr::Step(_) => ("step", None, None),
        DurationExpr::Range(_) => ("range", None, None),
        DurationExpr::MinOf(left, right, _) => ("min_of", Some(left), Some(right)),
        DurationExpr::MaxOf(left, right, _) => ("max_of", Some(left), Some(right)),
        DurationExpr::Unary(op, operand, _) => (op.as_str(), None, Some(operand)),
        DurationExpr::Binary(op, left, right, _) => (op.as_str(), Some(left), Some(right)),
    };
    let child = |expr: Option<&Box<DurationExpr>>| expr.map_or(Value::Null, |expr| duration_json(expr, false));
    duration_node(op, child(left), child(right), wrapped)
}

fn duration_node(op: &str, lhs: Value, rhs: Value, wrapped: bool) -> Value {
    object("durationExpr", [("op", op.into()), ("lhs", lhs), ("rhs", rhs), ("wrapped", wrapped.into())])
}

fn duration_number_json(number: &NumberLiteral) -> Value {
    json!({"type": "numberLiteral", "val": format_plain(number.value), "duration": number.is_duration})
}

#[cfg(test)]
mod tests;
