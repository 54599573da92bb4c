//! Operators between two values, for the naive evaluator.

use crate::cell::Cell;
use crate::folds::{arithmetic, comparison};
use crate::kinds::operate;
use crate::matching::{set, signature, unique};
use crate::naive::{Element, Failed, Naive, Result, Value};
use model::labels::Labels;
use promql::ast::*;

impl Naive<'_> {
    pub(crate) fn binary(&self, binary: &Binary, at: i64) -> Result<Value> {
        let (lhs, rhs) = (self.eval(&binary.lhs, at)?, self.eval(&binary.rhs, at)?);
        let op = binary.op;
        let compares = comparison(op, 0.0, 0.0).is_some();
        match (lhs, rhs) {
            (Value::Scalar(a), Value::Scalar(b)) => Ok(Value::Scalar(
                comparison(op, a, b).map_or_else(|| arithmetic(op, a, b), |holds| f64::from(u8::from(holds))),
            )),
            (Value::Vector(elements), Value::Scalar(scalar)) | (Value::Scalar(scalar), Value::Vector(elements)) => {
                let scalar_first = binary.lhs.value_type() == ValueType::Scalar;
                let scalar = Cell::Float(scalar);
                let operate =
                    |cell: &Cell| if scalar_first { operate(op, &scalar, cell) } else { operate(op, cell, &scalar) };
                if is_trim(op) {
                    let cut = elements.into_iter().filter_map(|element| {
                        let (_, value) = operate(&element.value)?;
                        Some(Element { value, ..element })
                    });
                    return Ok(Value::Vector(cut.collect()));
                }
                if compares && !binary.return_bool {
                    let holds = |element: &Element| matches!(operate(&element.value), Some((Some(true), _)));
                    return Ok(Value::Vector(elements.into_iter().filter(holds).collect()));
                }
                self.renamed_cells(elements, |cell| {
                    let (holds, value) = operate(cell)?;
                    Some(holds.map_or(value, |holds| Cell::Float(f64::from(u8::from(holds)))))
                })
            }
            (Value::Vector(lhs), Value::Vector(rhs)) => {
                let matching = binary.matching.as_ref().expect("vectors are matched");
                match op {
                    BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => Ok(Value::Vector(set(op, lhs, rhs, matching))),
                    _ => self.join(binary, lhs, rhs, matching),
                }
            }
        }
    }

    fn join(&self, binary: &Binary, lhs: Vec<Element>, rhs: Vec<Element>, matching: &VectorMatching) -> Result<Value> {
        let has_fill = matching.fill_left.is_some() || matching.fill_right.is_some();
        if !has_fill && (lhs.is_empty() || rhs.is_empty()) {
            return Ok(Value::Vector(Vec::new()));
        }
        let op = binary.op;
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
        // What is missing is made up first; the values belong to the sides as they are once `group_right` has swapped them.
        let (many, one) = (
            filled(many.clone(), &one, matching.fill_left, matching),
            filled(one, &many, matching.fill_right, matching),
        );
        let keys: Vec<Labels> = one.iter().map(|element| signature(&element.labels, matching)).collect();
        if (1..keys.len()).any(|i| keys[..i].contains(&keys[i])) {
            return Err(Failed);
        }
        let mut result: Vec<Element> = Vec::new();
        let mut matched: Vec<(Labels, Labels)> = Vec::new();
        for element in many {
            let key = signature(&element.labels, matching);
            let Some(at) = keys.iter().position(|known| *known == key) else { continue };
            let (a, b) = if swapped { (&one[at].value, &element.value) } else { (&element.value, &one[at].value) };
            let Some((compared, outcome)) = operate(op, a, b) else { continue };
            let drops = compared.is_none() && !is_trim(op) || (binary.return_bool && !self.delayed_name_removal);
            let mut labels = if drops { element.labels.without_metric_name() } else { element.labels.clone() };
            let one_to_one = matching.cardinality == Cardinality::OneToOne;
            if one_to_one {
                labels = labels.filter(|name| matching.labels.iter().any(|listed| listed == name) == matching.on);
            }
            for name in &matching.include {
                labels = labels.with(name, one[at].labels.get(name).unwrap_or(""));
            }
            let clash = matched.iter().any(|(known, result)| *known == key && (one_to_one || *result == labels));
            if clash {
                return Err(Failed);
            }
            matched.push((key, labels.clone()));
            let value = match compared {
                Some(holds) if binary.return_bool => Cell::Float(f64::from(u8::from(holds))),
                None | Some(true) => outcome,
                Some(false) => continue,
            };
            result.push(Element { labels, drops_name: binary.return_bool && self.delayed_name_removal, value });
        }
        unique(&result)?;
        Ok(Value::Vector(result))
    }
}

/// A side of an operation, with a series for each match group of the other side that it has nothing for.
fn filled(mut side: Vec<Element>, other: &[Element], fill: Option<f64>, matching: &VectorMatching) -> Vec<Element> {
    let Some(fill) = fill else { return side };
    for element in other {
        let labels = signature(&element.labels, matching);
        if !side.iter().any(|known| signature(&known.labels, matching) == labels) {
            side.push(Element { labels, drops_name: false, value: Cell::Float(fill) });
        }
    }
    side
}

/// What is cut keeps its name.
fn is_trim(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower)
}
