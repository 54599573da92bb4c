//! The semantics of PromQL as plainly as they can be written: one step at a time, nothing shared, nothing clever.
//!
//! Written from the description of the language, not from the engine. Covers floats and the functions that the twin test
//! generates; anything else panics.

use crate::folds::*;
use model::labels::Labels;
use model::sample::is_stale_marker;
use promql::ast::*;
use promql::testing::memory::MemorySource;
use std::collections::BTreeMap;

/// The bounds and options of a query.
pub(crate) struct Naive<'a> {
    pub source: &'a MemorySource,
    pub start_ms: i64,
    pub end_ms: i64,
    pub step_ms: i64,
    pub lookback_ms: i64,
    pub subquery_step_ms: i64,
    pub delayed_name_removal: bool,
}

/// Anything that makes a query fail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failed;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Element {
    pub labels: Labels,
    pub drops_name: bool,
    pub value: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Scalar(f64),
    Vector(Vec<Element>),
}

type Result<T> = std::result::Result<T, Failed>;
type Samples = Vec<(i64, f64)>;

impl Naive<'_> {
    /// The value of a query at one time, names removed as the user sees them.
    pub(crate) fn query(&self, expr: &Expr, at: i64) -> Result<Value> {
        let Value::Vector(mut elements) = self.eval(expr, at)? else { return self.eval(expr, at) };
        for element in &mut elements {
            if element.drops_name {
                element.labels = element.labels.without_metric_name();
            }
        }
        unique(&elements)?;
        Ok(Value::Vector(elements))
    }

    fn eval(&self, expr: &Expr, at: i64) -> Result<Value> {
        match expr {
            Expr::Number(number) => Ok(Value::Scalar(number.value)),
            Expr::Paren(paren) => self.eval(&paren.expr, at),
            Expr::VectorSelector(selector) => Ok(Value::Vector(self.instant(selector, at))),
            Expr::Unary(unary) => match self.eval(&unary.expr, at)? {
                value if !unary.negative => Ok(value),
                Value::Scalar(value) => Ok(Value::Scalar(-value)),
                Value::Vector(elements) => self.renamed(elements, |value| Some(-value)),
            },
            Expr::Binary(binary) => self.binary(binary, at),
            Expr::Aggregation(aggregation) => self.aggregation(aggregation, at),
            Expr::Call(call) => self.call(call, at),
            other => panic!("not generated: {other:?}"),
        }
    }

    fn vector(&self, expr: &Expr, at: i64) -> Result<Vec<Element>> {
        match self.eval(expr, at)? {
            Value::Vector(elements) => Ok(elements),
            Value::Scalar(_) => panic!("not a vector: {expr:?}"),
        }
    }

    fn scalar(&self, expr: &Expr, at: i64) -> Result<f64> {
        match self.eval(expr, at)? {
            Value::Scalar(value) => Ok(value),
            Value::Vector(_) => panic!("not a scalar: {expr:?}"),
        }
    }

    /// Changes every value; the result is another metric.
    fn renamed(&self, elements: Vec<Element>, f: impl Fn(f64) -> Option<f64>) -> Result<Value> {
        let changed = elements.into_iter().filter_map(|element| Some((f(element.value)?, element)));
        let changed: Vec<Element> = changed
            .map(|(value, element)| Element {
                labels: if self.delayed_name_removal { element.labels } else { element.labels.without_metric_name() },
                drops_name: self.delayed_name_removal,
                value,
            })
            .collect();
        if !self.delayed_name_removal {
            unique(&changed)?;
        }
        Ok(Value::Vector(changed))
    }

    fn time_of(&self, at: i64, modifier: Option<AtModifier>, offset: Option<&DurationValue>) -> i64 {
        let base = match modifier {
            None => at,
            Some(AtModifier::At(time)) => time,
            Some(AtModifier::Start) => self.start_ms,
            Some(AtModifier::End) => self.end_ms,
        };
        base - offset.map_or(0, fixed)
    }

    fn selected(&self, selector: &VectorSelector) -> Vec<(Labels, Samples)> {
        let matches = |labels: &Labels| {
            selector.matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
        };
        self.source
            .iter()
            .filter(|(labels, _)| matches(labels))
            .map(|(labels, columns)| {
                let samples = columns.timestamps_ms.iter().copied().zip(columns.values.iter().copied()).collect();
                (labels.clone(), samples)
            })
            .collect()
    }

    /// The newest sample within the lookback, unless it is a stale marker.
    fn newest(&self, samples: &Samples, at: i64) -> Option<(i64, f64)> {
        let newest = samples.iter().rev().find(|(time, _)| *time <= at)?;
        (newest.0 > at - self.lookback_ms && !is_stale_marker(newest.1)).then_some(*newest)
    }

    fn instant(&self, selector: &VectorSelector, at: i64) -> Vec<Element> {
        let at = self.time_of(at, selector.at, selector.offset.as_ref());
        self.selected(selector)
            .into_iter()
            .filter_map(|(labels, samples)| {
                let (_, value) = self.newest(&samples, at)?;
                Some(Element { labels, drops_name: false, value })
            })
            .collect()
    }

    /// The series of a range vector: labels, name mark, samples; and the window's start and end.
    #[allow(clippy::type_complexity)]
    fn range(&self, expr: &Expr, at: i64) -> Result<(Vec<(Labels, bool, Samples)>, i64, i64)> {
        match expr {
            Expr::Paren(paren) => self.range(&paren.expr, at),
            Expr::MatrixSelector(matrix) => {
                let end = self.time_of(at, matrix.selector.at, matrix.selector.offset.as_ref());
                let start = end - fixed(&matrix.range);
                let cut = |samples: Samples| -> Samples {
                    let inside = |time: i64| time > start && time <= end;
                    samples.into_iter().filter(|(time, value)| inside(*time) && !is_stale_marker(*value)).collect()
                };
                let series = self.selected(&matrix.selector);
                Ok((series.into_iter().map(|(labels, samples)| (labels, false, cut(samples))).collect(), start, end))
            }
            Expr::Subquery(subquery) => {
                let end = self.time_of(at, subquery.at, subquery.offset.as_ref());
                let start = end - fixed(&subquery.range);
                let step = subquery.step.as_ref().map_or(self.subquery_step_ms, fixed);
                let mut time = start.div_euclid(step) * step;
                let mut found: BTreeMap<(Labels, bool), Samples> = BTreeMap::new();
                while time <= end {
                    if time > start {
                        for element in self.vector(&subquery.expr, time)? {
                            let samples = found.entry((element.labels, element.drops_name)).or_default();
                            samples.push((time, element.value));
                        }
                    }
                    time += step;
                }
                Ok((found.into_iter().map(|((labels, drops), samples)| (labels, drops, samples)).collect(), start, end))
            }
            other => panic!("not a range vector: {other:?}"),
        }
    }

    fn call(&self, call: &Call, at: i64) -> Result<Value> {
        let name = call.function.name;
        if let Some(argument) = call.args.iter().find(|argument| argument.value_type() == ValueType::Matrix) {
            return self.range_call(call, argument, at);
        }
        let first = call.args.first();
        let vector = || self.vector(first.expect("an argument"), at);
        let number = |i: usize| self.scalar(&call.args[i], at);
        match name {
            "time" => Ok(Value::Scalar(at as f64 / 1000.0)),
            "vector" => {
                let value = number(0)?;
                Ok(Value::Vector(vec![Element { labels: Labels::empty(), drops_name: false, value }]))
            }
            "scalar" => {
                let elements = vector()?;
                Ok(Value::Scalar(if elements.len() == 1 { elements[0].value } else { f64::NAN }))
            }
            "abs" => self.renamed(vector()?, |value| Some(value.abs())),
            "ceil" => self.renamed(vector()?, |value| Some(value.ceil())),
            "sqrt" => self.renamed(vector()?, |value| Some(value.sqrt())),
            "timestamp" => {
                if let Some(Expr::VectorSelector(selector)) = first {
                    let looked = self.time_of(at, selector.at, selector.offset.as_ref());
                    let elements = self.selected(selector).into_iter().filter_map(|(labels, samples)| {
                        let (time, _) = self.newest(&samples, looked)?;
                        Some(Element { labels, drops_name: false, value: time as f64 / 1000.0 })
                    });
                    return self.renamed(elements.collect(), Some);
                }
                self.renamed(vector()?, |_| Some(at as f64 / 1000.0))
            }
            "clamp" => {
                let (min, max) = (number(1)?, number(2)?);
                self.renamed(vector()?, |value| {
                    if max < min {
                        return None;
                    }
                    // An infinity that decides the comparison wins over NaN.
                    let pick = |a: f64, b: f64, extreme: f64, best: fn(f64, f64) -> f64| {
                        if a == extreme || b == extreme {
                            extreme
                        } else if a.is_nan() || b.is_nan() {
                            f64::NAN
                        } else {
                            best(a, b)
                        }
                    };
                    let below = pick(max, value, f64::NEG_INFINITY, f64::min);
                    Some(pick(min, below, f64::INFINITY, f64::max))
                })
            }
            "absent" => {
                let elements = vector()?;
                let labels = match first {
                    Some(Expr::VectorSelector(selector)) => absent_labels(selector),
                    _ => Labels::empty(),
                };
                let one = Element { labels, drops_name: false, value: 1.0 };
                Ok(Value::Vector(if elements.is_empty() { vec![one] } else { Vec::new() }))
            }
            "histogram_quantile" => {
                let q = number(0)?;
                let elements = self.vector(&call.args[1], at)?;
                let mut histograms: BTreeMap<Labels, (bool, Vec<(f64, f64)>)> = BTreeMap::new();
                for element in elements {
                    let Some(bound) = element.labels.get("le").and_then(|le| le.parse().ok()) else { continue };
                    let key = element.labels.with("le", "");
                    let entry = histograms.entry(key).or_default();
                    entry.0 |= element.drops_name;
                    entry.1.push((bound, element.value));
                }
                let answers = histograms.into_iter().map(|(labels, (drops_name, buckets))| Element {
                    labels,
                    drops_name,
                    value: histogram_quantile(q, buckets),
                });
                self.renamed(answers.collect(), Some)
            }
            other => panic!("not generated: {other}"),
        }
    }

    fn range_call(&self, call: &Call, argument: &Expr, at: i64) -> Result<Value> {
        let name = call.function.name;
        let (series, start, end) = self.range(argument, at)?;
        let scalars = call.args.iter().filter(|argument| argument.value_type() == ValueType::Scalar);
        let scalars: Vec<f64> = scalars.map(|scalar| self.scalar(scalar, at)).collect::<Result<_>>()?;
        let mut elements = Vec::new();
        for (labels, drops_name, samples) in series {
            if let Some(value) = fold(name, &samples, &scalars, start, end, at) {
                elements.push(Element { labels, drops_name, value });
            }
        }
        if name == "absent_over_time" {
            let labels = match argument {
                Expr::MatrixSelector(matrix) => absent_labels(&matrix.selector),
                _ => Labels::empty(),
            };
            let one = Element { labels, drops_name: false, value: 1.0 };
            return Ok(Value::Vector(if elements.is_empty() { vec![one] } else { Vec::new() }));
        }
        if name == "last_over_time" || name == "first_over_time" {
            return Ok(Value::Vector(elements));
        }
        self.renamed(elements, Some)
    }

    fn aggregation(&self, aggregation: &Aggregation, at: i64) -> Result<Value> {
        let parameter = match &aggregation.param {
            Some(parameter) if parameter.value_type() == ValueType::Scalar => self.scalar(parameter, at)?,
            _ => f64::NAN,
        };
        let elements = self.vector(&aggregation.expr, at)?;
        let key = |labels: &Labels| {
            let listed = |name: &str| aggregation.grouping.iter().any(|listed| listed == name);
            labels.filter(|name| if aggregation.without { !listed(name) && name != "__name__" } else { listed(name) })
        };
        let mut groups: Vec<(Labels, Vec<Element>)> = Vec::new();
        for element in elements {
            let key = key(&element.labels);
            match groups.iter_mut().find(|(labels, _)| *labels == key) {
                Some((_, members)) => members.push(element),
                None => groups.push((key, vec![element])),
            }
        }
        let mut result = Vec::new();
        for (labels, members) in groups {
            let values: Vec<f64> = members.iter().map(|member| member.value).collect();
            let n = values.len() as f64;
            let value = match aggregation.op {
                AggregateOp::Sum => sum(&values),
                AggregateOp::Avg => mean(&values),
                AggregateOp::Count => n,
                AggregateOp::Group => 1.0,
                AggregateOp::Min => best(&values, |a, b| a < b),
                AggregateOp::Max => best(&values, |a, b| a > b),
                AggregateOp::Stdvar => variance(&values),
                AggregateOp::Stddev => variance(&values).sqrt(),
                AggregateOp::Quantile => quantile(parameter, &values),
                AggregateOp::Topk | AggregateOp::Bottomk => {
                    let mut ranked = members;
                    let turn = if aggregation.op == AggregateOp::Topk { -1.0 } else { 1.0 };
                    ranked.sort_by(|a, b| {
                        let nan_last = a.value.is_nan().cmp(&b.value.is_nan());
                        nan_last
                            .then((turn * a.value).partial_cmp(&(turn * b.value)).unwrap_or(std::cmp::Ordering::Equal))
                    });
                    ranked.truncate(if parameter < 1.0 { 0 } else { parameter as usize });
                    result.extend(ranked);
                    continue;
                }
                other => panic!("not generated: {other:?}"),
            };
            let drops_name = members.iter().any(|member| member.drops_name);
            result.push(Element { labels, drops_name, value });
        }
        Ok(Value::Vector(result))
    }

    fn binary(&self, binary: &Binary, at: i64) -> Result<Value> {
        let (lhs, rhs) = (self.eval(&binary.lhs, at)?, self.eval(&binary.rhs, at)?);
        let op = binary.op;
        let compares = comparison(op, 0.0, 0.0).is_some();
        match (lhs, rhs) {
            (Value::Scalar(a), Value::Scalar(b)) => Ok(Value::Scalar(
                comparison(op, a, b).map_or_else(|| arithmetic(op, a, b), |holds| f64::from(u8::from(holds))),
            )),
            (Value::Vector(elements), Value::Scalar(scalar)) | (Value::Scalar(scalar), Value::Vector(elements)) => {
                let scalar_first = binary.lhs.value_type() == ValueType::Scalar;
                let operands = |value: f64| if scalar_first { (scalar, value) } else { (value, scalar) };
                if compares && !binary.return_bool {
                    let holds = |element: &Element| {
                        let (a, b) = operands(element.value);
                        comparison(op, a, b) == Some(true)
                    };
                    return Ok(Value::Vector(elements.into_iter().filter(holds).collect()));
                }
                self.renamed(elements, |value| {
                    let (a, b) = operands(value);
                    Some(comparison(op, a, b).map_or_else(|| arithmetic(op, a, b), |holds| f64::from(u8::from(holds))))
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
        if lhs.is_empty() || rhs.is_empty() {
            return Ok(Value::Vector(Vec::new()));
        }
        let op = binary.op;
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (rhs, lhs) } else { (lhs, rhs) };
        let keys: Vec<Labels> = one.iter().map(|element| signature(&element.labels, matching)).collect();
        if (1..keys.len()).any(|i| keys[..i].contains(&keys[i])) {
            return Err(Failed);
        }
        let mut result: Vec<Element> = Vec::new();
        let mut matched: Vec<(Labels, Labels)> = Vec::new();
        for element in many {
            let key = signature(&element.labels, matching);
            let Some(at) = keys.iter().position(|known| *known == key) else { continue };
            let (a, b) = if swapped { (one[at].value, element.value) } else { (element.value, one[at].value) };
            let compared = comparison(op, a, b);
            let drops = compared.is_none() || (binary.return_bool && !self.delayed_name_removal);
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
                None => arithmetic(op, a, b),
                Some(holds) if binary.return_bool => f64::from(u8::from(holds)),
                Some(true) => a,
                Some(false) => continue,
            };
            result.push(Element { labels, drops_name: binary.return_bool && self.delayed_name_removal, value });
        }
        unique(&result)?;
        Ok(Value::Vector(result))
    }
}

fn fixed(duration: &DurationValue) -> i64 {
    match duration {
        DurationValue::Fixed(millis) => *millis,
        DurationValue::Expr(_) => panic!("not generated"),
    }
}

fn unique(elements: &[Element]) -> Result<()> {
    let clash = (1..elements.len()).any(|i| elements[..i].iter().any(|other| other.labels == elements[i].labels));
    if clash { Err(Failed) } else { Ok(()) }
}

fn absent_labels(selector: &VectorSelector) -> Labels {
    let mut labels = Labels::empty();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in &selector.matchers {
        if matcher.name() == "__name__" {
            continue;
        }
        if matcher.op() == model::matcher::MatchOp::Equal && !seen.contains(&matcher.name()) {
            seen.push(matcher.name());
            labels = labels.with(matcher.name(), matcher.value());
        } else {
            labels = labels.with(matcher.name(), "");
        }
    }
    labels
}

fn signature(labels: &Labels, matching: &VectorMatching) -> Labels {
    let listed = |name: &str| matching.labels.iter().any(|listed| listed == name);
    labels.filter(|name| if matching.on { listed(name) } else { !listed(name) && name != "__name__" })
}

fn set(op: BinaryOp, lhs: Vec<Element>, rhs: Vec<Element>, matching: &VectorMatching) -> Vec<Element> {
    let key = |element: &Element| signature(&element.labels, matching);
    let keys = |side: &[Element]| side.iter().map(key).collect::<Vec<_>>();
    match op {
        BinaryOp::And => {
            let right = keys(&rhs);
            lhs.into_iter().filter(|element| right.contains(&key(element))).collect()
        }
        BinaryOp::Unless => {
            let right = keys(&rhs);
            lhs.into_iter().filter(|element| !right.contains(&key(element))).collect()
        }
        _ => {
            let left = keys(&lhs);
            lhs.into_iter().chain(rhs.into_iter().filter(|element| !left.contains(&key(element)))).collect()
        }
    }
}
