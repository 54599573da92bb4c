//! Aggregations.

use super::{Evaluator, Result, Scope};
use crate::annotation::Severity;
use crate::ast::AggregateOp;
use crate::eval::aggregate::accumulators::{self, Avg, Count, Extreme, Sum, Variance};
use crate::eval::aggregate::grouping::{Grouping, Groups};
use crate::eval::aggregate::{self, Context, limit, quantile, ranked, values};
use crate::eval::range_call;
use crate::eval::remarks::Place;
use crate::eval::scalar::{ScalarRow, go_max, go_min};
use crate::eval::vector::{Nothing, Vector};
use crate::plan::{Aggregate, Kind, Node};
use crate::query_error::QueryError;
use std::sync::Arc;

impl<'q> Evaluator<'_, 'q> {
    pub(super) fn aggregate(&self, aggregate: &Aggregate, node: &Node, scope: Scope) -> Result<Vector<'q>> {
        let steps = scope.steps.count;
        let grouping = Grouping { names: aggregate.grouping.clone(), without: aggregate.without };
        if aggregate.op == AggregateOp::CountValues {
            return self.count_values(aggregate, grouping, scope);
        }
        let parameter = aggregate.parameter.as_ref().map(|node| self.scalar(node, scope)).transpose()?;
        let inner = self.vector(&aggregate.inner, scope)?;
        let exec = self.exec;
        let groups = || Groups::find(inner.as_ref(), &grouping, exec);
        let groups_by_labels = || groups()?.by_labels(inner.as_ref(), exec);
        let operand = Place { ordinal: node.ordinal, span: aggregate.inner.span };
        let context = Context { exec, place: operand, op: aggregate.op, inner: inner.as_ref() };
        let by_parameter = |parameter: Option<ScalarRow>| {
            parameter.unwrap_or_else(|| unreachable!("the type check demands a parameter"))
        };
        match aggregate.op {
            AggregateOp::Sum => aggregate::fold(context, groups()?, steps, || Sum::new(steps)),
            AggregateOp::Avg => aggregate::fold(context, groups()?, steps, || Avg::new(steps)),
            AggregateOp::Count => aggregate::fold(context, groups()?, steps, || Count::new(steps, false)),
            AggregateOp::Group => aggregate::fold(context, groups()?, steps, || Count::new(steps, true)),
            AggregateOp::Min => aggregate::fold(context, groups()?, steps, || Extreme::new(steps, accumulators::min)),
            AggregateOp::Max => aggregate::fold(context, groups()?, steps, || Extreme::new(steps, accumulators::max)),
            AggregateOp::Stdvar => aggregate::fold(context, groups_by_labels()?, steps, || Variance::new(steps, false)),
            AggregateOp::Stddev => aggregate::fold(context, groups_by_labels()?, steps, || Variance::new(steps, true)),
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk => {
                self.first_k(node, aggregate.op, &inner, &grouping, (&by_parameter(parameter), steps))
            }
            AggregateOp::LimitRatio => self.limit_ratio(aggregate, node, inner.clone(), by_parameter(parameter), steps),
            AggregateOp::Quantile => {
                let q = by_parameter(parameter);
                self.remark_on_quantiles(&q, aggregate, node, steps);
                quantile::quantile(context, &groups()?, &q, steps)
            }
            AggregateOp::CountValues => unreachable!("handled above"),
        }
    }

    fn count_values(&self, aggregate: &Aggregate, mut grouping: Grouping, scope: Scope) -> Result<Vector<'q>> {
        let Some(Node { kind: Kind::Text(name), .. }) = &aggregate.parameter else {
            unreachable!("the type check demands a text");
        };
        let name = match std::str::from_utf8(name) {
            Ok(name) if !name.is_empty() => name,
            _ => return Err(QueryError::LabelName { role: "label name ", name: quote_bytes(name) }),
        };
        if !grouping.without && !grouping.names.iter().any(|listed| listed == name) {
            grouping.names.push(name.to_owned());
            grouping.names.sort();
        }
        let inner = self.vector(&aggregate.inner, scope)?;
        values::count_values(inner.as_ref(), name, &grouping, scope.steps.count, self.exec)
    }

    /// `topk`, `bottomk`, `limitk`
    fn first_k(
        &self,
        node: &Node,
        op: AggregateOp,
        inner: &Vector<'q>,
        grouping: &Grouping,
        (parameter, steps): (&ScalarRow, usize),
    ) -> Result<Vector<'q>> {
        let range = ParameterRange::of(parameter, steps);
        if range.max < 1.0 {
            return Ok(Arc::new(Nothing));
        }
        if range.has_nan {
            return Err(QueryError::ParameterNan);
        }
        const LIMIT: f64 = 9_223_372_036_854_775_808.0;
        for (outside, value, direction) in
            [(range.min <= -LIMIT, range.min, "underflows"), (range.max >= LIMIT, range.max, "overflows")]
        {
            if outside {
                let value = crate::annotation::format_g(value, None);
                return Err(QueryError::ParameterRange { value, direction });
            }
        }
        let k: Vec<usize> =
            parameter.values(steps).map(|k| if k < 1.0 { 0 } else { (k as usize).min(inner.len()) }).collect();
        let groups = Groups::find(inner.as_ref(), grouping, self.exec)?;
        let place = Place { ordinal: node.ordinal, span: node.span };
        let context = Context { exec: self.exec, place, op, inner: inner.as_ref() };
        match op {
            AggregateOp::Topk => ranked::ranked(context, &groups, &k, ranked::Rank::Top),
            AggregateOp::Bottomk => ranked::ranked(context, &groups, &k, ranked::Rank::Bottom),
            _ => limit::first(inner, &groups.by_labels(inner.as_ref(), self.exec)?, &k, self.exec),
        }
    }

    fn limit_ratio(
        &self,
        aggregate: &Aggregate,
        node: &Node,
        inner: Vector<'q>,
        ratio: ScalarRow,
        steps: usize,
    ) -> Result<Vector<'q>> {
        let range = ParameterRange::of(&ratio, steps);
        if range.max == 0.0 && range.min == 0.0 {
            return Ok(Arc::new(Nothing));
        }
        if range.has_nan {
            return Err(QueryError::RatioNan);
        }
        let span = aggregate.parameter.as_ref().map_or(node.span, |parameter| parameter.span);
        for (outside, value, bound) in [(range.max > 1.0, range.max, 1.0), (range.min < -1.0, range.min, -1.0)] {
            if outside {
                let message = format!(
                    "ratio value should be between -1 and 1, got {}, capping to {}",
                    crate::annotation::format_g(value, None),
                    crate::annotation::format_g(bound, None)
                );
                self.exec.annotate(Severity::Warning, message, node.ordinal, span);
            }
        }
        Ok(Arc::new(limit::HashShare { inner, ratio }))
    }

    fn remark_on_quantiles(&self, q: &ScalarRow, aggregate: &Aggregate, node: &Node, steps: usize) {
        let range = ParameterRange::of(q, steps);
        let span = aggregate.parameter.as_ref().map_or(node.span, |parameter| parameter.span);
        let remarks = [(range.has_nan, f64::NAN), (range.max > 1.0, range.max), (range.min < 0.0, range.min)];
        for (_, value) in remarks.iter().filter(|(applies, _)| *applies) {
            self.exec.annotate(Severity::Warning, range_call::bad_quantile(*value), node.ordinal, span);
        }
    }
}

/// The extent of an aggregation's parameter over the steps.
struct ParameterRange {
    min: f64,
    max: f64,
    has_nan: bool,
}

impl ParameterRange {
    fn of(parameter: &ScalarRow, steps: usize) -> Self {
        let start = Self { min: f64::MAX, max: -f64::MAX, has_nan: false };
        let whole = parameter.values(steps).fold(start, |range, value| Self {
            min: go_min(range.min, value),
            max: go_max(range.max, value),
            has_nan: range.has_nan || value.is_nan(),
        });
        match parameter {
            ScalarRow::Constant(value) => Self { min: *value, max: *value, has_nan: value.is_nan() },
            ScalarRow::PerStep(_) => whole,
        }
    }
}

/// Quotes bytes as Go does; those that are no UTF-8 as `\xNN`.
fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        let quoted = model::text::quote(chunk.valid());
        out.push_str(quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default());
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}
