//! What of an expression the stored history answers, and what is left to compute here.
//!
//! Parts that read nothing of what the tested rules write are asked as they are, as large as possible; what reads results of
//! these rules is evaluated here, on those results, with the answers in place of the parts:
//!
//! ```text
//! job:errors:rate5m / on(job) sum by (job) (rate(requests[5m]))      asked: sum by (job) (rate(requests[5m]))
//! job:errors:rate5m / on(job) {__backtest__="0"}                     evaluated here
//! ```

use crate::dependency::{Output, Outputs};
use crate::evaluation::ALERT_NAME;
use hashbrown::HashSet;
use model::matcher::{MatchOp, Matcher};
use promql::ast::{
    Aggregation, AtModifier, Binary, BinaryOp, Call, Cardinality, DurationExpr, DurationValue, Expr, MatrixSelector,
    Paren, Subquery, Unary, ValueType, VectorMatching, VectorSelector,
};
use std::sync::Arc;

/// The label that stands for an answer, by its number.
pub(super) const ANSWER: &str = "__backtest__";
/// Expressions are not deeper than this.
const DEPTH_MAX: usize = 200;

/// How a rule is evaluated over history.
#[derive(Debug, Clone)]
pub(super) struct QueryPlan {
    /// What is asked, numbered from 0.
    pub(super) asked: Vec<Asked>,
    /// What is evaluated here; `None`: the answer to the only question is the result.
    pub(super) local: Option<Expr>,
    /// What it reads of what the rules write.
    pub(super) reads: HashSet<usize>,
    /// How far back it reads these, in milliseconds; `None`: any far.
    pub(super) reach_ms: Option<i64>,
    /// What a reader of the outcome should know.
    pub(super) remarks: Vec<String>,
}

/// A part that the history answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// The expression.
    pub(super) text: Arc<str>,
    /// It means something else in a range query: each slot is asked alone.
    pub(super) slot_by_slot: bool,
}

impl QueryPlan {
    /// The plan of an expression where rules write `outputs`.
    ///
    /// # Errors
    /// In words: it reads their results in a way that cannot be told apart from the stored history.
    pub(super) fn new(expr: &Expr, outputs: &Outputs<'_>, lookback_ms: i64) -> Result<Self, String> {
        let plan =
            Self { asked: Vec::new(), local: None, reads: HashSet::new(), reach_ms: Some(0), remarks: Vec::new() };
        let mut splitter = Splitter { outputs, lookback_ms, comparisons: 0, plan };
        let local = match splitter.part(expr, Around::default())? {
            Some(local) => Some(local),
            None if expr.selectors().next().is_some()
                && matches!(expr.value_type(), ValueType::Vector | ValueType::Scalar) =>
            {
                splitter.plan.asked.push(Asked::new(expr));
                None
            }
            None => Some(expr.clone()),
        };
        Ok(Self { local, ..splitter.plan })
    }
}

impl Asked {
    fn new(expr: &Expr) -> Self {
        Self { text: expr.to_string().into(), slot_by_slot: depends_on_range(expr) }
    }
}

/// Whether an expression knows the ends or the step of its query.
fn depends_on_range(expr: &Expr) -> bool {
    let is_end = |at: Option<AtModifier>| matches!(at, Some(AtModifier::Start | AtModifier::End));
    let knows =
        |duration: &Option<DurationValue>| matches!(duration, Some(DurationValue::Expr(expr)) if is_relative(expr));
    expr.nodes().any(|node| match node {
        Expr::VectorSelector(selector) => is_end(selector.at) || knows(&selector.offset),
        Expr::MatrixSelector(MatrixSelector { selector, range, .. }) => {
            is_end(selector.at) || knows(&selector.offset) || knows(&Some(range.clone()))
        }
        Expr::Subquery(Subquery { at, offset, range, step, .. }) => {
            is_end(*at) || knows(offset) || knows(step) || knows(&Some(range.clone()))
        }
        Expr::Call(call) => matches!(call.function.name, "start" | "end" | "step" | "range"),
        _ => false,
    })
}

fn is_relative(duration: &DurationExpr) -> bool {
    match duration {
        DurationExpr::Number(_) => false,
        DurationExpr::Step(_) | DurationExpr::Range(_) => true,
        DurationExpr::MinOf(a, b, _) | DurationExpr::MaxOf(a, b, _) | DurationExpr::Binary(_, a, b, _) => {
            is_relative(a) || is_relative(b)
        }
        DurationExpr::Unary(_, a, _) | DurationExpr::Paren(a, _) => is_relative(a),
    }
}

/// Where a part of an expression stands.
#[derive(Debug, Clone, Copy, Default)]
struct Around {
    depth: usize,
    in_subquery: bool,
    /// How far back subqueries around it look.
    reach_ms: i64,
}

struct Splitter<'a> {
    outputs: &'a Outputs<'a>,
    lookback_ms: i64,
    comparisons: usize,
    plan: QueryPlan,
}

impl Splitter<'_> {
    /// The part as it is evaluated here; `None`: it reads nothing of what the rules write.
    fn part(&mut self, expr: &Expr, around: Around) -> Result<Option<Expr>, String> {
        if around.depth > DEPTH_MAX {
            return Err("the expression is nested too deeply".to_owned());
        }
        let around = Around { depth: around.depth + 1, ..around };
        Ok(match expr {
            Expr::Number(_) | Expr::String(_) => None,
            Expr::VectorSelector(selector) => self.selector(selector, around)?,
            Expr::MatrixSelector(matrix) => {
                let (reads, range_ms) = (self.reads(&matrix.selector), fixed(Some(&matrix.range)));
                if reads.is_empty() {
                    return Ok(None);
                }
                if reads.iter().any(|number| matches!(self.outputs.get(*number), Some(Output::Alert(_)))) {
                    self.remark(format!("`{expr}` sees the alerts of these rules only, not those of the server"));
                }
                self.note(&reads, &matrix.selector, range_ms?, around)?;
                Some(expr.clone())
            }
            Expr::Subquery(subquery) => {
                let reach_ms =
                    fixed(Some(&subquery.range)).and_then(|range| Ok(range + fixed(subquery.offset.as_ref())?));
                let inside = Around {
                    in_subquery: true,
                    reach_ms: around.reach_ms.saturating_add(*reach_ms.as_ref().unwrap_or(&0)),
                    ..around
                };
                let Some(inner) = self.part(&subquery.expr, inside)? else { return Ok(None) };
                reach_ms?;
                if subquery.at.is_some() {
                    self.plan.reach_ms = None;
                }
                Some(Expr::Subquery(Subquery { expr: Box::new(inner), ..subquery.clone() }))
            }
            Expr::Aggregation(aggregation) => {
                let children: Vec<&Expr> =
                    aggregation.param.iter().map(|param| &**param).chain([&*aggregation.expr]).collect();
                let Some(mut parts) = self.parts(&children, around)? else { return Ok(None) };
                let inner = parts.pop().map(Box::new).unwrap_or_else(|| aggregation.expr.clone());
                let param = parts.pop().map(Box::new);
                Some(Expr::Aggregation(Aggregation { expr: inner, param, ..aggregation.clone() }))
            }
            Expr::Binary(binary) => {
                let Some(parts) = self.parts(&[&binary.lhs, &binary.rhs], around)? else { return Ok(None) };
                Some(with_sides(binary, parts))
            }
            Expr::Unary(unary) => {
                let inner = self.part(&unary.expr, around)?;
                inner.map(|inner| Expr::Unary(Unary { expr: Box::new(inner), ..unary.clone() }))
            }
            Expr::Paren(paren) => {
                let inner = self.part(&paren.expr, around)?;
                inner.map(|inner| Expr::Paren(Paren { expr: Box::new(inner), ..*paren }))
            }
            Expr::Call(call) => {
                let children: Vec<&Expr> = call.args.iter().collect();
                let Some(args) = self.parts(&children, around)? else { return Ok(None) };
                if call.function.name == "info" {
                    return Err("`info` over results of these rules cannot be evaluated over history".to_owned());
                }
                Some(Expr::Call(Call { args, ..call.clone() }))
            }
        })
    }

    /// All of `children` as they are evaluated here; `None`: none reads what the rules write.
    fn parts(&mut self, children: &[&Expr], around: Around) -> Result<Option<Vec<Expr>>, String> {
        let parts: Vec<Option<Expr>> =
            children.iter().map(|child| self.part(child, around)).collect::<Result<_, String>>()?;
        if parts.iter().all(Option::is_none) {
            return Ok(None);
        }
        let parts = parts.into_iter().zip(children);
        parts.map(|(part, child)| part.map_or_else(|| self.ask(child, around), Ok)).collect::<Result<_, _>>().map(Some)
    }

    /// What stands for a part that the history answers.
    fn ask(&mut self, expr: &Expr, around: Around) -> Result<Expr, String> {
        if expr.selectors().next().is_none() {
            return Ok(expr.clone());
        }
        if around.in_subquery {
            return Err(format!("`{expr}` stands in one subquery with results of these rules"));
        }
        match (expr, expr.value_type()) {
            (_, ValueType::Vector) => Ok(self.answer(Asked::new(expr))),
            (Expr::Call(call), ValueType::Scalar) => {
                let args = call.args.iter().map(|arg| self.ask(arg, around)).collect::<Result<_, _>>()?;
                Ok(Expr::Call(Call { args, ..call.clone() }))
            }
            (Expr::Binary(binary), ValueType::Scalar) => {
                let sides = vec![self.ask(&binary.lhs, around)?, self.ask(&binary.rhs, around)?];
                Ok(with_sides(binary, sides))
            }
            (Expr::Unary(unary), ValueType::Scalar) => {
                Ok(Expr::Unary(Unary { expr: Box::new(self.ask(&unary.expr, around)?), ..unary.clone() }))
            }
            (Expr::Paren(paren), ValueType::Scalar) => {
                Ok(Expr::Paren(Paren { expr: Box::new(self.ask(&paren.expr, around)?), ..*paren }))
            }
            _ => Err(format!("`{expr}` cannot be evaluated apart from results of these rules")),
        }
    }

    fn answer(&mut self, asked: Asked) -> Expr {
        let known = self.plan.asked.iter().position(|other| *other == asked);
        let number = known.unwrap_or_else(|| {
            self.plan.asked.push(asked);
            self.plan.asked.len() - 1
        });
        Expr::VectorSelector(VectorSelector {
            name: None,
            matchers: vec![Matcher::equal(ANSWER, number.to_string())],
            offset: None,
            at: None,
            anchored: false,
            smoothed: false,
            span: promql::ast::Span::default(),
        })
    }

    /// An instant selector. Of alerts it sees those of these rules and those of all others that the history has.
    fn selector(&mut self, selector: &VectorSelector, around: Around) -> Result<Option<Expr>, String> {
        let reads = self.reads(selector);
        if reads.is_empty() {
            return Ok(None);
        }
        self.note(&reads, selector, self.lookback_ms, around)?;
        let own = Expr::VectorSelector(selector.clone());
        let outputs = reads.iter().filter_map(|number| self.outputs.get(*number));
        let mut alerts: Vec<&str> = outputs
            .filter_map(|output| match output {
                Output::Alert(name) => Some(name),
                Output::Series(_) => None,
            })
            .collect();
        alerts.sort_unstable();
        let names_alert = selector.matchers.iter().any(|m| m.name() == ALERT_NAME && m.op() == MatchOp::Equal);
        if alerts.is_empty() || names_alert {
            return Ok(Some(own));
        }
        if around.in_subquery {
            self.remark(format!("`{own}` sees the alerts of these rules only, not those of the server"));
            return Ok(Some(own));
        }
        let mut others = selector.clone();
        for alert in alerts {
            others
                .matchers
                .push(Matcher::new(ALERT_NAME, MatchOp::NotEqual, alert).map_err(|error| error.to_string())?);
        }
        let others = self.answer(Asked::new(&Expr::VectorSelector(others)));
        let span = selector.span;
        let matching = VectorMatching {
            cardinality: Cardinality::ManyToMany,
            labels: Vec::new(),
            on: false,
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        let both = Binary {
            op: BinaryOp::Or,
            lhs: Box::new(own),
            rhs: Box::new(others),
            matching: Some(matching),
            return_bool: false,
            span,
        };
        Ok(Some(Expr::Paren(Paren { expr: Box::new(Expr::Binary(both)), span })))
    }

    fn reads(&mut self, selector: &VectorSelector) -> HashSet<usize> {
        let mut reads = HashSet::new();
        if !self.outputs.selected(&selector.matchers, &mut reads, &mut self.comparisons) {
            let text = Expr::VectorSelector(selector.clone());
            self.remark(format!("`{text}` sees the stored series only, not what these rules record"));
            reads.clear();
        }
        reads
    }

    fn note(
        &mut self,
        reads: &HashSet<usize>,
        selector: &VectorSelector,
        range_ms: i64,
        around: Around,
    ) -> Result<(), String> {
        let offset_ms = fixed(selector.offset.as_ref())?;
        // What is anchored or smoothed looks one lookback beyond its range.
        let margin_ms = self.lookback_ms;
        let reach_ms =
            around.reach_ms.saturating_add(range_ms).saturating_add(offset_ms.max(0)).saturating_add(margin_ms);
        self.plan.reach_ms = self.plan.reach_ms.filter(|_| selector.at.is_none()).map(|known| known.max(reach_ms));
        self.plan.reads.extend(reads);
        Ok(())
    }

    fn remark(&mut self, remark: String) {
        if !self.plan.remarks.contains(&remark) {
            self.plan.remarks.push(remark);
        }
    }
}

fn with_sides(binary: &Binary, sides: Vec<Expr>) -> Expr {
    let mut sides = sides.into_iter().map(Box::new);
    let lhs = sides.next().unwrap_or_else(|| binary.lhs.clone());
    let rhs = sides.next().unwrap_or_else(|| binary.rhs.clone());
    Expr::Binary(Binary { lhs, rhs, ..binary.clone() })
}

fn fixed(duration: Option<&DurationValue>) -> Result<i64, String> {
    match duration {
        None => Ok(0),
        Some(DurationValue::Fixed(millis)) => Ok(*millis),
        Some(DurationValue::Expr(_)) => {
            Err("a duration that is computed cannot be used on results of these rules".to_owned())
        }
    }
}
