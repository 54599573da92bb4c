//! The semantics of PromQL as plainly as they can be written: one step at a time, nothing shared, nothing clever.
//!
//! Written from the description of the language, not from the engine. Covers the functions that the twin test generates;
//! anything else panics.

use crate::bounded::{fold_bounded, from_anchor};
use crate::cell::{Cell, Hist, sum_of};
use crate::distribution::{native_fraction, native_quantile};
use crate::folds::*;
use crate::kinds::fold_kinds;
use crate::limits::limited;
use crate::matching::{absent_labels, unique};
use crate::starts::fold_started;
use crate::vectors::value_text;
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
    /// Since when samples count, by series and time; empty where nobody cares.
    pub starts: &'a BTreeMap<(Labels, i64), i64>,
}

/// Anything that makes a query fail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failed;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Element {
    pub labels: Labels,
    pub drops_name: bool,
    pub value: Cell,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Scalar(f64),
    Vector(Vec<Element>),
}

pub(crate) type Result<T> = std::result::Result<T, Failed>;
type Samples = Vec<(i64, Cell)>;
/// As stored; `None` is a stale marker.
pub(crate) type Stored = Vec<(i64, Option<Cell>)>;

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

    pub(crate) fn eval(&self, expr: &Expr, at: i64) -> Result<Value> {
        match expr {
            Expr::Number(number) => Ok(Value::Scalar(number.value)),
            Expr::Paren(paren) => self.eval(&paren.expr, at),
            Expr::VectorSelector(selector) => Ok(Value::Vector(self.instant(selector, at))),
            Expr::Unary(unary) => match self.eval(&unary.expr, at)? {
                value if !unary.negative => Ok(value),
                Value::Scalar(value) => Ok(Value::Scalar(-value)),
                Value::Vector(elements) => self.renamed_cells(elements, |cell| {
                    Some(match cell {
                        Cell::Float(value) => Cell::Float(-value),
                        Cell::Histogram(histogram) => Cell::Histogram(histogram.mapped(|value| -value)),
                    })
                }),
            },
            Expr::Binary(binary) => self.binary(binary, at),
            Expr::Aggregation(aggregation) => self.aggregation(aggregation, at),
            Expr::Call(call) => self.call(call, at),
            other => panic!("not generated: {other:?}"),
        }
    }

    pub(crate) fn vector(&self, expr: &Expr, at: i64) -> Result<Vec<Element>> {
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

    /// Changes every float and drops histograms; the result is another metric.
    pub(crate) fn renamed(&self, elements: Vec<Element>, f: impl Fn(f64) -> Option<f64>) -> Result<Value> {
        self.renamed_cells(elements, |cell| f(cell.float()?).map(Cell::Float))
    }

    /// Changes every value; the result is another metric.
    pub(crate) fn renamed_cells(&self, elements: Vec<Element>, f: impl Fn(&Cell) -> Option<Cell>) -> Result<Value> {
        let changed = elements.into_iter().filter_map(|element| Some((f(&element.value)?, element)));
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

    pub(crate) fn time_of(&self, at: i64, modifier: Option<AtModifier>, offset: Option<&DurationValue>) -> i64 {
        let base = match modifier {
            None => at,
            Some(AtModifier::At(time)) => time,
            Some(AtModifier::Start) => self.start_ms,
            Some(AtModifier::End) => self.end_ms,
        };
        base - offset.map_or(0, |offset| self.millis(offset))
    }

    pub(crate) fn selected(&self, selector: &VectorSelector) -> Vec<(Labels, Stored)> {
        self.stored(|labels| {
            selector.matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
        })
    }

    /// The series whose labels are wanted.
    pub(crate) fn stored(&self, matches: impl Fn(&Labels) -> bool) -> Vec<(Labels, Stored)> {
        self.source
            .iter()
            .zip(self.source.histograms())
            .filter(|((labels, _), _)| matches(labels))
            .map(|((labels, floats), (_, histograms))| {
                let float = |value: f64| (!is_stale_marker(value)).then_some(Cell::Float(value));
                let floats =
                    floats.timestamps_ms.iter().zip(&floats.values).map(|(time, value)| (*time, float(*value)));
                let histograms =
                    histograms.timestamps_ms.iter().zip(&histograms.histograms).map(|(time, histogram)| {
                        (*time, (!histogram.is_stale()).then(|| Cell::Histogram(Hist::from(histogram.as_ref()))))
                    });
                let mut samples: Stored = floats.chain(histograms).collect();
                samples.sort_by_key(|(time, _)| *time);
                (labels.clone(), samples)
            })
            .collect()
    }

    /// The newest sample within the lookback, unless it is a stale marker.
    pub(crate) fn newest(&self, samples: &Stored, at: i64) -> Option<(i64, Cell)> {
        let (time, cell) = samples.iter().rev().find(|(time, _)| *time <= at)?;
        if *time > at - self.lookback_ms { Some((*time, cell.clone()?)) } else { None }
    }

    fn instant(&self, selector: &VectorSelector, at: i64) -> Vec<Element> {
        let at = self.time_of(at, selector.at, selector.offset.as_ref());
        if selector.smoothed {
            return self.smoothed(selector, at);
        }
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
                let start = end - self.millis(&matrix.range);
                let cut = |samples: Stored| -> Samples {
                    let inside = samples.into_iter().filter(|(time, _)| *time > start && *time <= end);
                    inside.filter_map(|(time, cell)| Some((time, cell?))).collect()
                };
                let series = self.selected(&matrix.selector);
                Ok((series.into_iter().map(|(labels, samples)| (labels, false, cut(samples))).collect(), start, end))
            }
            Expr::Subquery(subquery) => {
                let end = self.time_of(at, subquery.at, subquery.offset.as_ref());
                let start = end - self.millis(&subquery.range);
                let step = subquery.step.as_ref().map_or(self.subquery_step_ms, |step| self.millis(step));
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
            "info" => self.info(call, at),
            "time" => Ok(Value::Scalar(at as f64 / 1000.0)),
            "vector" => {
                let value = Cell::Float(number(0)?);
                Ok(Value::Vector(vec![Element { labels: Labels::empty(), drops_name: false, value }]))
            }
            "scalar" => {
                let floats: Vec<f64> = vector()?.iter().filter_map(|element| element.value.float()).collect();
                Ok(Value::Scalar(if floats.len() == 1 { floats[0] } else { f64::NAN }))
            }
            "abs" => self.renamed(vector()?, |value| Some(value.abs())),
            "ceil" => self.renamed(vector()?, |value| Some(value.ceil())),
            "sqrt" => self.renamed(vector()?, |value| Some(value.sqrt())),
            "timestamp" => {
                if let Some(Expr::VectorSelector(selector)) = first {
                    let looked = self.time_of(at, selector.at, selector.offset.as_ref());
                    let elements = self.selected(selector).into_iter().filter_map(|(labels, samples)| {
                        let (time, _) = self.newest(&samples, looked)?;
                        Some(Element { labels, drops_name: false, value: Cell::Float(time as f64 / 1000.0) })
                    });
                    return self.renamed(elements.collect(), Some);
                }
                self.renamed_cells(vector()?, |_| Some(Cell::Float(at as f64 / 1000.0)))
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
                let one = Element { labels, drops_name: false, value: Cell::Float(1.0) };
                Ok(Value::Vector(if elements.is_empty() { vec![one] } else { Vec::new() }))
            }
            "histogram_count" | "histogram_sum" | "histogram_avg" => self.renamed_cells(vector()?, |cell| {
                let histogram = cell.histogram()?;
                Some(Cell::Float(match name {
                    "histogram_count" => histogram.count,
                    "histogram_sum" => histogram.sum,
                    _ => histogram.sum / histogram.count,
                }))
            }),
            "start_timestamp" => {
                let Some(Expr::VectorSelector(selector)) = first else { panic!("not generated: {first:?}") };
                let looked = self.time_of(at, selector.at, selector.offset.as_ref());
                let elements = self.selected(selector).into_iter().filter_map(|(labels, samples)| {
                    let (time, _) = self.newest(&samples, looked)?;
                    let value = Cell::Float(self.start_of(&labels, time) as f64 / 1000.0);
                    Some(Element { labels, drops_name: false, value })
                });
                self.renamed(elements.collect(), Some)
            }
            "round" => {
                let inverse = 1.0 / number(1)?;
                self.renamed(vector()?, |value| Some((value * inverse + 0.5).floor() / inverse))
            }
            "histogram_fraction" => {
                let (lower, upper) = (number(0)?, number(1)?);
                let elements = self.vector(&call.args[2], at)?;
                self.renamed_cells(elements, |cell| Some(Cell::Float(native_fraction(lower, upper, cell.histogram()?))))
            }
            "histogram_quantile" => {
                let q = number(0)?;
                let (native, elements): (Vec<Element>, Vec<Element>) = self
                    .vector(&call.args[1], at)?
                    .into_iter()
                    .partition(|element| element.value.histogram().is_some());
                if !native.is_empty() {
                    return self.renamed_cells(native, |cell| Some(Cell::Float(native_quantile(q, cell.histogram()?))));
                }
                let mut histograms: BTreeMap<Labels, (bool, Vec<(f64, f64)>)> = BTreeMap::new();
                for element in elements {
                    let Some(bound) = element.labels.get("le").and_then(|le| le.parse().ok()) else { continue };
                    let key = element.labels.with("le", "");
                    let entry = histograms.entry(key).or_default();
                    entry.0 |= element.drops_name;
                    entry.1.push((bound, element.value.float().expect("buckets are counters")));
                }
                let answers = histograms.into_iter().map(|(labels, (drops_name, buckets))| Element {
                    labels,
                    drops_name,
                    value: Cell::Float(histogram_quantile(q, buckets)),
                });
                self.renamed(answers.collect(), Some)
            }
            _ => self.of_vector(call, at),
        }
    }

    fn range_call(&self, call: &Call, argument: &Expr, at: i64) -> Result<Value> {
        let name = call.function.name;
        let (series, start, end) = self.range(argument, at)?;
        let floats_around = |selector: &VectorSelector, labels: &Labels| -> Vec<(i64, f64)> {
            let ahead = if selector.smoothed { self.lookback_ms } else { 0 };
            let near = |time: i64| time > start - self.lookback_ms && time <= end + ahead;
            let all = self.selected(selector).into_iter().find(|(known, _)| known == labels);
            all.map(|(_, samples)| floats_of(&samples)).into_iter().flatten().filter(|(time, _)| near(*time)).collect()
        };
        let scalars = call.args.iter().filter(|argument| argument.value_type() == ValueType::Scalar);
        let scalars: Vec<f64> = scalars.map(|scalar| self.scalar(scalar, at)).collect::<Result<_>>()?;
        let mut elements = Vec::new();
        for (labels, drops_name, samples) in series {
            let value = match unparenthesized(argument) {
                Expr::MatrixSelector(matrix) if matrix.selector.anchored || matrix.selector.smoothed => {
                    let floats = floats_around(&matrix.selector, &labels);
                    if name == "resets" && self.has_starts(name, &labels) {
                        let started = |(time, value): &(i64, f64)| (*time, self.start_of(&labels, *time), *value);
                        let samples = from_anchor(&floats, start).map(|samples| samples.iter().map(started).collect());
                        let samples: Vec<_> = samples.unwrap_or_default();
                        fold_started(name, &samples, (start, end)).map(Cell::Float)
                    } else {
                        fold_bounded(name, &floats, matrix.selector.smoothed, (start, end)).map(Cell::Float)
                    }
                }
                Expr::MatrixSelector(_) if self.has_starts(name, &labels) => {
                    let started: Vec<_> = samples
                        .iter()
                        .filter_map(|(time, cell)| Some((*time, self.start_of(&labels, *time), cell.float()?)))
                        .collect();
                    fold_started(name, &started, (start, end)).map(Cell::Float)
                }
                _ => fold_kinds(name, &samples, &scalars, (start, end, at)),
            };
            if let Some(value) = value {
                elements.push(Element { labels, drops_name, value });
            }
        }
        if name == "absent_over_time" {
            let labels = match argument {
                Expr::MatrixSelector(matrix) => absent_labels(&matrix.selector),
                _ => Labels::empty(),
            };
            let one = Element { labels, drops_name: false, value: Cell::Float(1.0) };
            return Ok(Value::Vector(if elements.is_empty() { vec![one] } else { Vec::new() }));
        }
        if name == "last_over_time" || name == "first_over_time" {
            return Ok(Value::Vector(elements));
        }
        self.renamed_cells(elements, |cell| Some(cell.clone()))
    }

    fn start_of(&self, labels: &Labels, time: i64) -> i64 {
        self.starts.get(&(labels.clone(), time)).copied().unwrap_or(0)
    }

    /// Whether the function asks since when the samples of the series count, and some of them say so.
    fn has_starts(&self, name: &str, labels: &Labels) -> bool {
        matches!(name, "rate" | "increase" | "irate" | "resets")
            && self.starts.range((labels.clone(), i64::MIN)..=(labels.clone(), i64::MAX)).next().is_some()
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
            use AggregateOp::{Bottomk, LimitRatio, Limitk, Topk};
            if matches!(aggregation.op, Topk | Bottomk | Limitk | LimitRatio) {
                result.extend(limited(aggregation.op, parameter, members));
                continue;
            }
            if let (AggregateOp::CountValues, Some(Expr::String(name))) = (aggregation.op, aggregation.param.as_deref())
            {
                let mut counts: BTreeMap<String, f64> = BTreeMap::new();
                members.iter().filter_map(|member| value_text(&member.value)).for_each(|text| {
                    *counts.entry(text).or_default() += 1.0;
                });
                result.extend(counts.into_iter().map(|(text, count)| Element {
                    labels: labels.with(&String::from_utf8_lossy(&name.value), &text),
                    drops_name: false,
                    value: Cell::Float(count),
                }));
                continue;
            }
            let values: Vec<f64> = members.iter().filter_map(|member| member.value.float()).collect();
            let histograms: Vec<&Hist> = members.iter().filter_map(|member| member.value.histogram()).collect();
            let drops_name = members.iter().any(|member| member.drops_name);
            if matches!(aggregation.op, AggregateOp::Sum | AggregateOp::Avg) && !histograms.is_empty() {
                let n = if aggregation.op == AggregateOp::Avg { histograms.len() as f64 } else { 1.0 };
                if let (true, Some(sum)) = (values.is_empty(), sum_of(&histograms)) {
                    result.push(Element { labels, drops_name, value: Cell::Histogram(sum.divided(n)) });
                }
                continue;
            }
            if values.is_empty() && !matches!(aggregation.op, AggregateOp::Count | AggregateOp::Group) {
                continue;
            }
            let value = match aggregation.op {
                AggregateOp::Sum => sum(&values),
                AggregateOp::Avg => mean(&values),
                AggregateOp::Count => members.len() as f64,
                AggregateOp::Group => 1.0,
                AggregateOp::Min => best(&values, |a, b| a < b),
                AggregateOp::Max => best(&values, |a, b| a > b),
                AggregateOp::Stdvar => variance(&values),
                AggregateOp::Stddev => variance(&values).sqrt(),
                AggregateOp::Quantile => quantile(parameter, &values),
                other => panic!("not generated: {other:?}"),
            };
            result.push(Element { labels, drops_name, value: Cell::Float(value) });
        }
        Ok(Value::Vector(result))
    }
}

fn unparenthesized(expr: &Expr) -> &Expr {
    if let Expr::Paren(paren) = expr { unparenthesized(&paren.expr) } else { expr }
}

pub(crate) fn floats_of(samples: &Stored) -> Vec<(i64, f64)> {
    samples.iter().filter_map(|(time, cell)| Some((*time, cell.as_ref()?.float()?))).collect()
}
