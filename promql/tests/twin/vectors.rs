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
            name if of_number(name).is_some() => {
                let change = of_number(name).expect("just looked at");
                self.renamed(elements, |value| Some(change(value)))
            }
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

/// A function of one number by its name.
fn of_number(name: &str) -> Option<fn(f64) -> f64> {
    use std::f64::consts::PI;
    Some(match name {
        "floor" => f64::floor,
        "exp" => f64::exp,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sgn" => |value| if value == 0.0 || value.is_nan() { value } else { value.signum() },
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "deg" => |value| value * 180.0 / PI,
        "rad" => |value| value * PI / 180.0,
        _ => return None,
    })
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
