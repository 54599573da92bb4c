//! Plan to values: puts the parts of `eval/` together, node by node.
//!
//! A vector that comes back has not been evaluated yet, except where an operator needs all of its input at once. Methods
//! handle one kind of node each and recurse through [`Evaluator::evaluate`]; the depth is that of the query's brackets,
//! which the parser bounds.

use crate::budget::BudgetLimits;
use crate::eval::binary::{join, set, with_scalar};
use crate::eval::buckets::Wanted;
use crate::eval::exec::{Counting, Exec};
use crate::eval::extended::{Extension, SmoothedSelector};
use crate::eval::functions::{absent, info};
use crate::eval::labelled::labelled;
use crate::eval::mapped::mapped;
use crate::eval::names::{OnEqual, drop_names};
use crate::eval::profile::Profiled;
use crate::eval::range_call::{self, RangeCall, RangeInput, Remarks};
use crate::eval::remarks::Place;
use crate::eval::row::Cell;
use crate::eval::scalar::{ScalarRow, between_scalars};
use crate::eval::select::{Field, InstantSelector, Selection};
use crate::eval::steps::{LookTimes, Steps};
use crate::eval::vector::{Nothing, Repeated, Vector};
use crate::plan::{Kind, Node, RangeCallNode, RangeNode, RangeSource, Selector, When};
use crate::query_error::QueryError;
use model::histogram::Histogram;
use std::sync::Arc;
use std::time::Instant;

mod aggregates;
mod calls;

/// What a node gives.
pub(crate) enum Value<'q> {
    Scalar(ScalarRow),
    Text(Vec<u8>),
    Vector(Vector<'q>),
}

/// The times a node is evaluated at, and to which steps its samples count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope {
    pub(crate) steps: Steps,
    pub(crate) counting: Counting,
}

/// Evaluates the nodes of one query.
#[derive(Clone, Copy)]
pub(crate) struct Evaluator<'e, 'q> {
    pub(crate) exec: &'e Exec<'q>,
}

/// Operators upon each other after which labels are kept.
pub(crate) const LAYERS_MAX: usize = 32;

/// What is left to do for a tree of binary operators.
enum Step<'a> {
    Visit(&'a Node),
    /// Its operands are done; before them, so many bytes were held.
    Operate {
        node: &'a Node,
        held_before: usize,
    },
}

type Result<T> = std::result::Result<T, QueryError>;

impl<'q> Evaluator<'_, 'q> {
    /// Evaluates a node over the steps of `scope`.
    ///
    /// Binary operators nest as deep as the query is long: they are walked, not descended. Every [`LAYERS_MAX`] operators the
    /// labels are found once and kept, for each operator asks for all of them.
    pub(crate) fn evaluate(&self, node: &Node, scope: Scope) -> Result<Value<'q>> {
        let mut work = vec![Step::Visit(node)];
        let mut values: Vec<(Value<'q>, usize)> = Vec::new();
        while let Some(step) = work.pop() {
            // Scalars have as many values as there are steps.
            self.exec.budget.check()?;
            match step {
                Step::Visit(node) => match node.operands() {
                    Some([left, right]) => {
                        let operate = Step::Operate { node, held_before: self.exec.budget.bytes_held() };
                        work.extend([operate, Step::Visit(right), Step::Visit(left)]);
                    }
                    None => {
                        let held_before = self.exec.budget.bytes_held();
                        values.push((self.profiled(node, held_before, || self.operand(node, scope))?, 0));
                    }
                },
                Step::Operate { node, held_before } => {
                    let (Some((right, right_layers)), Some((left, left_layers))) = (values.pop(), values.pop()) else {
                        unreachable!("both operands were evaluated before")
                    };
                    let value = self.profiled(node, held_before, || self.operation(node, left, right, scope))?;
                    let layers = left_layers.max(right_layers) + 1;
                    values.push(match value {
                        Value::Vector(vector) if layers == LAYERS_MAX => {
                            (Value::Vector(labelled(vector, self.exec)?), 0)
                        }
                        value => (value, layers),
                    });
                }
            }
        }
        Ok(values.pop().unwrap_or_else(|| unreachable!("a visit leaves a value")).0)
    }

    /// Counts what evaluating a node takes, when the query is to be explained.
    fn profiled(
        &self,
        node: &Node,
        held_before: usize,
        evaluate: impl FnOnce() -> Result<Value<'q>>,
    ) -> Result<Value<'q>> {
        let Some(counters) = self.exec.profiled(node.ordinal) else { return evaluate() };
        let started = Instant::now();
        let value = evaluate()?;
        counters.add_time(started.elapsed());
        counters.held(self.exec.budget.bytes_held().saturating_sub(held_before));
        Ok(match value {
            Value::Vector(inner) => Value::Vector(Arc::new(Profiled { inner, ordinal: node.ordinal })),
            other => other,
        })
    }

    /// Evaluates a node that is no binary operation.
    fn operand(&self, node: &Node, scope: Scope) -> Result<Value<'q>> {
        match &node.kind {
            Kind::Number(value) => Ok(Value::Scalar(ScalarRow::Constant(*value))),
            Kind::Text(text) => Ok(Value::Text(text.clone())),
            Kind::Select(selector) => self.select(node, selector, Field::Value, scope).map(Value::Vector),
            Kind::Range(_) => unreachable!("only the engine handles a range vector that is the result"),
            Kind::Invariant(inner) => self.invariant(inner, scope),
            Kind::Negate(inner) => self.negate(inner, scope),
            Kind::Scalars { .. } | Kind::VectorScalar { .. } | Kind::Join { .. } | Kind::Set { .. } => {
                unreachable!("binary operations are taken apart by the caller")
            }
            Kind::Aggregate(aggregate) => {
                let evaluate = || self.aggregate(aggregate, node, scope);
                self.exec.evaluated_once(node.ordinal, scope.counting, evaluate).map(Value::Vector)
            }
            Kind::RangeCall(call) => self.range_call(call, node, scope).map(Value::Vector),
            Kind::Call(call) => self.call(call, node, scope),
            Kind::Info(info) => {
                let base = self.vector(&info.base, scope)?;
                let Scope { steps, counting } = scope;
                let selector = info.selector.as_deref();
                let place = Place { ordinal: node.ordinal, span: node.span };
                info::info(base.as_ref(), selector, info.when, &steps, counting, place, self.exec).map(Value::Vector)
            }
        }
    }

    /// Applies a binary operation.
    fn operation(&self, node: &Node, left: Value<'q>, right: Value<'q>, scope: Scope) -> Result<Value<'q>> {
        let steps = scope.steps.count;
        let exec = self.exec;
        let vector = match (&node.kind, left, right) {
            (Kind::Scalars { op, .. }, Value::Scalar(left), Value::Scalar(right)) => {
                return Ok(Value::Scalar(left.zip(right, |a, b| between_scalars(*op, a, b))));
            }
            (Kind::VectorScalar { op, return_bool, .. }, Value::Vector(vector), Value::Scalar(scalar)) => {
                with_scalar::apply(node, *op, (vector, scalar), false, *return_bool, steps, exec)
            }
            (Kind::VectorScalar { op, return_bool, .. }, Value::Scalar(scalar), Value::Vector(vector)) => {
                with_scalar::apply(node, *op, (vector, scalar), true, *return_bool, steps, exec)
            }
            (Kind::Set { op, matching, .. }, Value::Vector(left), Value::Vector(right)) => {
                set::set(*op, (left, right), matching, steps, exec)
            }
            (Kind::Join { op, matching, return_bool, .. }, Value::Vector(left), Value::Vector(right)) => {
                join::join(node, *op, (left, right), matching, *return_bool, steps, exec)
            }
            _ => unreachable!("the plan says what each operand is"),
        };
        vector.map(Value::Vector)
    }

    /// Evaluates a node that the type check found to be a vector.
    pub(crate) fn vector(&self, node: &Node, scope: Scope) -> Result<Vector<'q>> {
        match self.evaluate(node, scope)? {
            Value::Vector(vector) => Ok(vector),
            Value::Scalar(_) | Value::Text(_) => unreachable!("the type check lets only vectors stand here"),
        }
    }

    /// Evaluates a node that the type check found to be a scalar.
    pub(crate) fn scalar(&self, node: &Node, scope: Scope) -> Result<ScalarRow> {
        match self.evaluate(node, scope)? {
            Value::Scalar(scalar) => Ok(scalar),
            Value::Vector(_) | Value::Text(_) => unreachable!("the type check lets only scalars stand here"),
        }
    }

    fn select(&self, node: &Node, selector: &Selector, field: Field, scope: Scope) -> Result<Vector<'q>> {
        let look = look(selector.when, &scope.steps);
        if selector.extension != Some(Extension::Smoothed) {
            let what = (selector.matchers.as_slice(), selector.stats_only);
            let place = Place { ordinal: node.ordinal, span: node.span };
            return InstantSelector::build(what, look, field, scope.counting, place, self.exec);
        }
        let (before, after) = Extension::Smoothed.margins(self.exec.settings.lookback_ms);
        let after_ms = look.first().saturating_sub(before);
        let until_ms = look.last().saturating_add(after);
        let place = Place { ordinal: node.ordinal, span: node.span };
        let wanted = Wanted::samples(&self.exec.settings, place);
        Ok(match Selection::of(&selector.matchers, (after_ms, until_ms), &wanted, self.exec)? {
            Some(selection) => {
                let selection = selection.with_stats_only(selector.stats_only);
                Arc::new(SmoothedSelector { selection, look, place })
            }
            None => Arc::new(Nothing),
        })
    }

    fn invariant(&self, inner: &Node, scope: Scope) -> Result<Value<'q>> {
        let counting = if scope.counting == Counting::PerStep { Counting::EveryStep } else { scope.counting };
        let once = Scope { steps: scope.steps.first_only(), counting };
        let steps = scope.steps.count;
        Ok(match self.evaluate(inner, once)? {
            Value::Scalar(ScalarRow::PerStep(values)) => {
                Value::Scalar(ScalarRow::Constant(values.first().copied().unwrap_or(f64::NAN)))
            }
            Value::Vector(once) if steps != 1 => Value::Vector(Arc::new(Repeated { once, steps })),
            other => other,
        })
    }

    fn negate(&self, inner: &Node, scope: Scope) -> Result<Value<'q>> {
        Ok(match self.evaluate(inner, scope)? {
            Value::Scalar(scalar) => Value::Scalar(scalar.map(|value| -value)),
            Value::Vector(vector) => {
                let negated = mapped(vector, |row| {
                    row.map(|value| -value);
                    row.map_histograms(|_, histogram| {
                        let mut negated = Histogram::clone(histogram);
                        negated.multiply(-1.0);
                        Some(Cell::Histogram(Arc::new(negated)))
                    });
                });
                Value::Vector(drop_names(negated, scope.steps.count, OnEqual::Merge, self.exec)?)
            }
            Value::Text(_) => unreachable!("the type check lets no text have a sign"),
        })
    }

    fn range_call(&self, call: &RangeCallNode, node: &Node, scope: Scope) -> Result<Vector<'q>> {
        let steps = scope.steps.count;
        let Some(folded) = self.folded_range(call, node, scope)? else { return self.without_range(call, scope) };
        if call.name == "absent_over_time" {
            return absent::absent(folded.as_ref(), absent_labels(&call.range), steps, self.exec);
        }
        if call.function.keeps_name() {
            return Ok(folded);
        }
        drop_names(folded, steps, OnEqual::Refuse, self.exec)
    }

    /// The result of a function over no series at all.
    fn without_range(&self, call: &RangeCallNode, scope: Scope) -> Result<Vector<'q>> {
        if call.name == "absent_over_time" {
            return absent::absent(&Nothing, absent_labels(&call.range), scope.steps.count, self.exec);
        }
        Ok(Arc::new(Nothing))
    }

    /// The function applied to each series, names as they were; `None` when no series is selected.
    fn folded_range(&self, call: &RangeCallNode, node: &Node, scope: Scope) -> Result<Option<Vector<'q>>> {
        let range_ms = call.range.range_ms;
        let look = look(call.range.when(), &scope.steps);
        let subquery_input = match &call.range.source {
            RangeSource::Subquery { .. } => Some(self.subquery(&call.range, &look, Counting::Off)?),
            RangeSource::Selector(_) => None,
        };
        let parameters: Vec<ScalarRow> =
            call.parameters.iter().map(|parameter| self.scalar(parameter, scope)).collect::<Result<_>>()?;
        let mut extension = None;
        let input = match (&call.range.source, subquery_input) {
            (_, Some(input)) => input,
            (RangeSource::Selector(selector), None) => {
                extension = selector.extension;
                if let Some(extension) = extension {
                    extension.check(call.name)?;
                }
                let lookback_ms = self.exec.settings.lookback_ms;
                let span = RangeCall::span_read(&look, range_ms, extension, lookback_ms);
                let place = Place { ordinal: node.ordinal, span: call.first_argument };
                let windows = (&look, range_ms);
                let wanted = Wanted::of_range(call.function, extension, windows, &self.exec.settings, place);
                match Selection::of(&selector.matchers, span, &wanted, self.exec)? {
                    Some(selection) => RangeInput::Stored(selection.with_stats_only(selector.stats_only)),
                    None => return Ok(None),
                }
            }
            (RangeSource::Subquery { .. }, None) => unreachable!("evaluated above"),
        };
        let remarks = Remarks::prepare(call.function, &parameters, &scope.steps);
        Ok(Some(range_call::vector(RangeCall {
            input,
            function: call.function,
            parameters,
            range_ms,
            extension,
            look,
            steps: scope.steps,
            counting: scope.counting,
            ordinal: node.ordinal,
            range_ordinal: call.range.ordinal,
            argument: call.first_argument,
            remarks,
        })))
    }

    /// Evaluates the inside of a subquery on its own grid: multiples of its step after the first window's start, up to
    /// the last window's end.
    pub(crate) fn subquery(&self, range: &RangeNode, look: &LookTimes, counting: Counting) -> Result<RangeInput<'q>> {
        let RangeSource::Subquery { inner, step_ms, .. } = &range.source else {
            unreachable!("called for subqueries alone");
        };
        let steps = range.grid(look, step_ms.unwrap_or(self.exec.settings.subquery_step_ms));
        check_grid(&steps, self.exec.budget.limits())?;
        let vector: Vector<'q> =
            if steps.count == 0 { Arc::new(Nothing) } else { self.vector(inner, Scope { steps, counting })? };
        Ok(RangeInput::Subquery { vector, steps })
    }
}

/// A subquery may always have this many steps, however small the sample budget is.
const SUBQUERY_STEPS_MIN: usize = 100_000;

/// Whether a row over the grid of a subquery fits; it has to, present or not.
///
/// # Errors
/// More than the query may hold.
pub(crate) fn check_grid(grid: &Steps, limits: BudgetLimits) -> Result<()> {
    let allowed = limits.samples_max.max(SUBQUERY_STEPS_MIN);
    if grid.count > allowed {
        return Err(QueryError::TooManySteps { steps: grid.count, allowed });
    }
    if grid.count.saturating_mul(size_of::<f64>()) > limits.bytes_max {
        return Err(QueryError::TooManyBytes { bytes_max: limits.bytes_max });
    }
    Ok(())
}

/// When a selector looks at each step.
fn look(when: When, steps: &Steps) -> LookTimes {
    LookTimes::new(steps, when.at_ms, when.offset_ms)
}

/// The labels of what is absent, as far as the selector says them.
fn absent_labels(range: &RangeNode) -> model::labels::Labels {
    match &range.source {
        RangeSource::Selector(selector) => absent::labels_of(&selector.matchers),
        RangeSource::Subquery { .. } => model::labels::Labels::empty(),
    }
}
