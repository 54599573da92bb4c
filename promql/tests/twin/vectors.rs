//! Functions of one vector, for the naive evaluator.

use crate::cell::Cell;
use crate::naive::{Element, Naive, Result, Value};
use promql::ast::{Call, Expr};

impl Naive<'_> {
    /// A call that only looks at the elements of its first argument.
    pub(crate) fn of_vector(&self, call: &Call, at: i64) -> Result<Value> {
        let text = |i: usize| match &call.args[i] {
            Expr::String(text) => String::from_utf8_lossy(&text.value).into_owned(),
            other => panic!("not generated: {other:?}"),
        };
        let elements = self.vector(&call.args[0], at)?;
        match call.function.name {
            // The order of a range is that of labels; what cannot be ordered is gone.
            "sort" | "sort_desc" => {
                let floats = elements.into_iter().filter(|element| element.value.float().is_some());
                Ok(Value::Vector(floats.collect()))
            }
            "floor" => self.renamed(elements, |value| Some(value.floor())),
            "label_join" => {
                let names: Vec<String> = (3..call.args.len()).map(text).collect();
                Ok(Value::Vector(with_label(elements, &text(1), |element| {
                    let values: Vec<&str> =
                        names.iter().map(|name| element.labels.get(name).unwrap_or_default()).collect();
                    Some(values.join(&text(2)))
                })))
            }
            // Of the one pattern that is generated.
            "label_replace" => Ok(Value::Vector(with_label(elements, &text(1), |element| {
                let value = element.labels.get(&text(3)).unwrap_or_default();
                let first = value.chars().next().filter(|c| matches!(c, '0'..='4'))?;
                Some(format!("{first}-{}-", &value[1..]))
            }))),
            other => panic!("not generated: {other}"),
        }
    }
}

/// `name` set to what `value` gives, where it gives anything.
fn with_label(mut elements: Vec<Element>, name: &str, value: impl Fn(&Element) -> Option<String>) -> Vec<Element> {
    for element in &mut elements {
        if let Some(value) = value(element) {
            element.labels = element.labels.with(name, &value);
        }
    }
    elements
}

/// A value as `count_values` writes it.
pub(crate) fn value_text(cell: &Cell) -> Option<String> {
    let value = cell.float()?;
    Some(match value {
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        value => format!("{value}"),
    })
}
