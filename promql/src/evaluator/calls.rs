//! Calls of functions over instant vectors and scalars.

use super::{Evaluator, Result, Scope, Value};
use crate::annotation::Severity;
use crate::eval::exec::Exec;
use crate::eval::functions::{absent, dates, histogram, labels, math, sort};
use crate::eval::mapped::{mapped, mapped_floats};
use crate::eval::names::{OnEqual, drop_names};
use crate::eval::range_call::bad_quantile;
use crate::eval::remarks::Place;
use crate::eval::row::{Cell, Row, words_for};
use crate::eval::scalar::{ScalarRow, go_max, go_min};
use crate::eval::select::Field;
use crate::eval::vector::{Nothing, Table, Vector};
use crate::plan::{CallNode, Kind, Node};
use model::labels::Labels;
use std::sync::Arc;

impl<'q> Evaluator<'_, 'q> {
    pub(super) fn call(&self, call: &CallNode, node: &Node, scope: Scope) -> Result<Value<'q>> {
        if let Some(scalar) = self.scalar_call(call, scope)? {
            return Ok(Value::Scalar(scalar));
        }
        if let Some(vector) = self.number_call(call, scope)? {
            return Ok(Value::Vector(vector));
        }
        self.vector_call(call, node, scope).map(Value::Vector)
    }

    /// Functions that return a scalar.
    fn scalar_call(&self, call: &CallNode, scope: Scope) -> Result<Option<ScalarRow>> {
        let arguments = call.arguments.as_slice();
        Ok(Some(match call.name {
            "time" => ScalarRow::times(&scope.steps),
            "pi" => ScalarRow::Constant(std::f64::consts::PI),
            "scalar" => {
                let vector = self.vector(&arguments[0], scope)?;
                absent::scalar(vector.as_ref(), scope.steps.count, self.exec)?
            }
            "max_of" => self.scalar(&arguments[0], scope)?.zip(self.scalar(&arguments[1], scope)?, go_max),
            "min_of" => self.scalar(&arguments[0], scope)?.zip(self.scalar(&arguments[1], scope)?, go_min),
            _ => return Ok(None),
        }))
    }

    /// Functions that change each value and nothing else; their results lose the name.
    fn number_call(&self, call: &CallNode, scope: Scope) -> Result<Option<Vector<'q>>> {
        let arguments = call.arguments.as_slice();
        let scalar = |at: usize| self.scalar(&arguments[at], scope);
        let constant = ScalarRow::Constant;
        let changed = if let Some(function) = math::named(call.name) {
            mapped_floats(self.vector(&arguments[0], scope)?, move |row| row.map(function))
        } else if let Some(part) = dates::named(call.name) {
            let Some(argument) = arguments.first() else { return self.date_of_steps(part, scope).map(Some) };
            mapped_floats(self.vector(argument, scope)?, move |row| row.map(|value| part(dates::whole_seconds(value))))
        } else if let Some(function) = histogram::native::named(call.name) {
            mapped(self.vector(&arguments[0], scope)?, move |row| {
                row.present_mut().fill(0);
                row.map_histograms(|_, histogram| Some(Cell::Float(function(histogram))));
            })
        } else {
            let vector = |at: usize| self.vector(&arguments[at], scope);
            match call.name {
                "round" => {
                    let to = if arguments.len() > 1 { scalar(1)? } else { constant(1.0) };
                    math::round(vector(0)?, to)
                }
                "clamp" => math::clamp(vector(0)?, scalar(1)?, scalar(2)?),
                "clamp_min" => math::clamp(vector(0)?, scalar(1)?, constant(f64::INFINITY)),
                "clamp_max" => math::clamp(vector(0)?, constant(f64::NEG_INFINITY), scalar(1)?),
                "timestamp" => self.timestamp(&arguments[0], scope)?,
                "start_timestamp" => self.start_timestamp(&arguments[0], scope)?,
                _ => return Ok(None),
            }
        };
        drop_names(changed, scope.steps.count, OnEqual::Merge, self.exec).map(Some)
    }

    /// `timestamp`: of a selector the times of its samples, of anything else the evaluation time.
    fn timestamp(&self, argument: &Node, scope: Scope) -> Result<Vector<'q>> {
        if let Kind::Select(selector) = &argument.kind
            && selector.extension.is_none()
            && !selector.signed
        {
            return self.select(argument, selector, Field::Time, scope);
        }
        let steps = scope.steps;
        Ok(mapped(self.vector(argument, scope)?, move |row| {
            row.map_histograms(|_, _| Some(Cell::Float(0.0)));
            for (step, value) in row.values_mut().iter_mut().enumerate() {
                *value = steps.time(step) as f64 / 1000.0;
            }
        }))
    }

    /// `start_timestamp`: of a selector when the counting of its samples began; of anything else nothing is known.
    fn start_timestamp(&self, argument: &Node, scope: Scope) -> Result<Vector<'q>> {
        match &argument.kind {
            Kind::Select(selector)
                if selector.extension.is_none() && !selector.signed && self.exec.settings.start_timestamps =>
            {
                self.select(argument, selector, Field::Start, scope)
            }
            // The argument may still be refused.
            _ => self.vector(argument, scope).map(|_| Arc::new(Nothing) as Vector<'q>),
        }
    }

    /// A part of the date of each step.
    fn date_of_steps(&self, part: fn(i64) -> f64, scope: Scope) -> Result<Vector<'q>> {
        let steps = scope.steps;
        let mut row = Row::absent(steps.count);
        for step in 0..steps.count {
            row.set(step, part(steps.time(step) / 1000));
        }
        Ok(Arc::new(Table::from_rows(steps.count, [(Labels::empty(), false, row)], self.exec)?))
    }

    fn vector_call(&self, call: &CallNode, node: &Node, scope: Scope) -> Result<Vector<'q>> {
        let arguments = call.arguments.as_slice();
        let steps = scope.steps.count;
        let exec = self.exec;
        match call.name {
            "vector" => {
                let scalar = self.scalar(&arguments[0], scope)?;
                let mut row = Row::absent(steps);
                scalar.values(steps).enumerate().for_each(|(step, value)| row.set(step, value));
                Ok(Arc::new(Table::from_rows(steps, [(Labels::empty(), false, row)], exec)?))
            }
            "absent" => {
                let labels = match &arguments[0].kind {
                    Kind::Select(selector) if !selector.signed => absent::labels_of(&selector.matchers),
                    _ => Labels::empty(),
                };
                absent::absent(self.vector(&arguments[0], scope)?.as_ref(), labels, steps, exec)
            }
            "label_replace" => {
                let texts = texts(&arguments[1..]);
                let [target, replacement, source, pattern] = texts.as_slice() else {
                    unreachable!("the type check counts arguments");
                };
                let inner = self.vector(&arguments[0], scope)?;
                labels::replace(inner, [target, replacement, source, pattern], steps, exec)
            }
            "label_join" => {
                let texts = texts(&arguments[1..]);
                let [target, separator, sources @ ..] = texts.as_slice() else {
                    unreachable!("the type check counts arguments");
                };
                labels::join(self.vector(&arguments[0], scope)?, target, separator, sources, steps, exec)
            }
            "sort" => self.sort(call, node, sort::Key::Value, false, scope),
            "sort_desc" => self.sort(call, node, sort::Key::Value, true, scope),
            "sort_by_label" => self.sort(call, node, label_key(arguments), false, scope),
            "sort_by_label_desc" => self.sort(call, node, label_key(arguments), true, scope),
            "histogram_quantile" | "histogram_fraction" | "histogram_quantiles" => self.histogram(call, node, scope),
            name => unreachable!("`{name}` is handled elsewhere"),
        }
    }

    fn sort(&self, call: &CallNode, node: &Node, key: sort::Key, descending: bool, scope: Scope) -> Result<Vector<'q>> {
        let inner = self.vector(&call.arguments[0], scope)?;
        if scope.steps.is_instant() {
            return sort::sort(inner.as_ref(), &key, descending, self.exec);
        }
        let message = "sort is ineffective for range queries since results are always ordered by labels".to_owned();
        self.exec.annotate(Severity::Warning, message, node.ordinal, node.span);
        // By value only floats can be sorted; the others are gone here, too.
        Ok(if key == sort::Key::Value { mapped_floats(inner, |_| {}) } else { inner })
    }

    fn histogram(&self, call: &CallNode, node: &Node, scope: Scope) -> Result<Vector<'q>> {
        let arguments = call.arguments.as_slice();
        let steps = scope.steps.count;
        let scalar = |at: usize| self.scalar(&arguments[at], scope);
        let (vector_at, question) = match call.name {
            "histogram_quantile" => {
                let q = scalar(0)?;
                remark_on_bad_quantiles(&q, &arguments[0], node, steps, self.exec);
                (1, histogram::Question::Quantile(q))
            }
            "histogram_fraction" => (2, histogram::Question::Fraction { lower: scalar(0)?, upper: scalar(1)? }),
            _ => {
                let Kind::Text(label) = &arguments[1].kind else {
                    unreachable!("the type check demands a text");
                };
                let mut variants: Vec<histogram::Variant> = Vec::new();
                for (at, argument) in arguments.iter().enumerate().skip(2) {
                    let q = scalar(at)?;
                    remark_on_bad_quantiles(&q, argument, node, steps, self.exec);
                    add_variants(&mut variants, &q, steps);
                }
                let label = String::from_utf8_lossy(label).into_owned();
                (0, histogram::Question::Quantiles { label, variants })
            }
        };
        let place = Place { ordinal: node.ordinal, span: arguments[vector_at].span };
        let inner = self.vector(&arguments[vector_at], scope)?;
        let answers = histogram::ask(inner, question, scope.steps, place, self.exec)?;
        drop_names(answers, steps, OnEqual::Merge, self.exec)
    }
}

/// The text arguments, which the type check found to be literals.
fn texts(arguments: &[Node]) -> Vec<&[u8]> {
    arguments
        .iter()
        .map(|argument| match &argument.kind {
            Kind::Text(text) => text.as_slice(),
            _ => unreachable!("the type check demands texts"),
        })
        .collect()
}

fn label_key(arguments: &[Node]) -> sort::Key {
    sort::Key::Labels(texts(&arguments[1..]).iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect())
}

/// Says which quantiles are out of range, whatever the data.
fn remark_on_bad_quantiles(q: &ScalarRow, argument: &Node, node: &Node, steps: usize, exec: &Exec<'_>) {
    let mut said: Vec<u64> = Vec::new();
    for q in q.values(steps).filter(|q| !(0.0..=1.0).contains(q)) {
        if !said.contains(&q.to_bits()) {
            said.push(q.to_bits());
            exec.annotate(Severity::Warning, bad_quantile(q), node.ordinal, argument.span);
        }
    }
}

/// Adds each value of `q` with the steps that have it.
fn add_variants(variants: &mut Vec<histogram::Variant>, q: &ScalarRow, steps: usize) {
    let first = variants.len();
    for (step, q) in q.values(steps).enumerate() {
        let known = variants[first..].iter().position(|variant| variant.q.to_bits() == q.to_bits());
        let at = known.map_or(variants.len(), |at| first + at);
        if at == variants.len() {
            variants.push(histogram::Variant { q, steps: vec![0; words_for(steps)] });
        }
        variants[at].steps[step / 64] |= 1 << (step % 64);
    }
}
