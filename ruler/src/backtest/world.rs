//! One slot of a backtest: answers of the history, and over them what the rules recorded.

use super::Backtest;
use super::history::{Answer, Answered, History, HistoryError};
use super::split::{ANSWER, QueryPlan};
use crate::error::QueryError;
use crate::evaluation::{Evaluation, Request};
use crate::ports::{Discard, Element, Queries, QueryValue, RuleSample};
use crate::state::Departure;
use crate::unit_test::TestStore;
use crate::unit_test::store::series_at;
use crate::virtual_slot::VirtualWorld;
use hashbrown::HashMap;
use model::matcher::Matcher;
use model::time::Timestamp;
use promql::ast::Expr;
use promql::budget::{Budget, BudgetLimits};
use promql::engine::{Engine, QueryContext};
use promql::source::{SelectRequest, SeriesSet, SeriesSource, SourceError};
use promql::value::{QueryValue as Value, SampleValue, VectorSample};
use std::cell::RefCell;
use std::sync::Arc;

pub(super) struct SlotWorld<'a> {
    test: &'a Backtest,
    engine: &'a Engine,
    answers: &'a HashMap<Arc<str>, Answer>,
    is_warm_up: bool,
    store: &'a mut TestStore,
    /// For templates of labels that ask queries.
    history: RefCell<&'a mut dyn History>,
    failed: RefCell<Option<HistoryError>>,
    departures: Vec<Departure>,
}

impl<'a> SlotWorld<'a> {
    pub(super) fn new(
        test: &'a Backtest,
        engine: &'a Engine,
        answers: &'a HashMap<Arc<str>, Answer>,
        is_warm_up: bool,
        store: &'a mut TestStore,
        history: &'a mut dyn History,
    ) -> Self {
        let (history, failed) = (RefCell::new(history), RefCell::default());
        Self { test, engine, answers, is_warm_up, store, history, failed, departures: Vec::new() }
    }

    /// What left in this slot.
    pub(super) fn finish(self) -> Result<Vec<Departure>, HistoryError> {
        self.failed.into_inner().map_or(Ok(self.departures), Err)
    }

    /// The result of a rule.
    fn result(&self, plan: &QueryPlan, at: Timestamp, may_have_histograms: bool) -> Result<QueryValue, QueryError> {
        let answers: Vec<Arc<Answered>> = plan
            .asked
            .iter()
            .map(|asked| {
                let answered = self.answers.get(&asked.text).cloned().unwrap_or_else(|| Ok(Arc::default()))?;
                if answered.has_histograms && !(may_have_histograms && plan.local.is_none()) {
                    let problem = format!("`{}` returns native histograms, which cannot be recorded here", asked.text);
                    return Err(QueryError::Invalid(problem));
                }
                Ok(answered)
            })
            .collect::<Result<_, _>>()?;
        let Some(local) = &plan.local else {
            return Ok(QueryValue::Vector(answers.first().map(|answer| answer.elements.clone()).unwrap_or_default()));
        };
        let source = Overlay { store: &*self.store, answers: &answers, at_ms: at.0 };
        let budget = Budget::new(BudgetLimits::default());
        let context = QueryContext::new(&source, &budget);
        let result = self.engine.instant(local, at.0, &context);
        Ok(match result.map_err(|error| QueryError::Invalid(error.to_string()))?.value {
            Value::Scalar { value, .. } => QueryValue::Scalar(value),
            Value::Vector { samples, .. } => {
                let element = |VectorSample { labels, value }| Element { labels, value };
                QueryValue::Vector(samples.into_iter().map(element).collect())
            }
            Value::String { .. } | Value::Matrix(_) => QueryValue::Other,
        })
    }

    /// The answer of the history to a query of a template.
    fn ask(&self, expr: &Expr, at: Timestamp) -> Result<QueryValue, QueryError> {
        match self.history.borrow_mut().instant(&expr.to_string(), at.0) {
            Ok(series) => Ok(QueryValue::Vector(Answered::at(&series, at.0).elements)),
            Err(HistoryError::Refused(why)) => Err(QueryError::Invalid(why)),
            Err(HistoryError::Failed(why)) => {
                *self.failed.borrow_mut() = Some(HistoryError::Failed(why.clone()));
                Err(QueryError::Unavailable(why))
            }
        }
    }
}

/// Queries of one rule.
struct RuleQueries<'a, 'b> {
    world: &'a SlotWorld<'b>,
    request: &'a Request,
}

impl Queries for RuleQueries<'_, '_> {
    fn instant(&self, expr: &Expr, at: Timestamp) -> Result<QueryValue, QueryError> {
        let query = &self.request.rule.query;
        if self.world.is_warm_up && self.request.rule.alerting().is_some() {
            return Ok(QueryValue::Vector(Vec::new())); // alerts begin with the test
        }
        match self.world.test.plans.get(query.text()).filter(|_| std::ptr::eq(expr, query.expr())) {
            Some(plan) => self.world.result(plan, at, self.request.rule.alerting().is_some()),
            None => self.world.ask(expr, at),
        }
    }
}

impl VirtualWorld for SlotWorld<'_> {
    fn evaluate(&mut self, request: &Request) -> Evaluation {
        request.evaluate(&RuleQueries { world: self, request })
    }

    fn append(&mut self, samples: Vec<RuleSample>) -> Vec<(usize, Discard)> {
        let mut refused = Vec::new();
        for (index, RuleSample { labels, at, value }) in samples.into_iter().enumerate() {
            // What nobody reads is not kept.
            if labels.metric_name().is_some_and(|name| self.test.kept.contains(name))
                && let Err(discard) = self.store.append(&labels, at.0, &value)
            {
                refused.push((index, discard));
            }
        }
        refused
    }

    fn send(&mut self, departure: &Departure) {
        self.departures.push(departure.clone());
    }
}

/// Answers of the history in the place of the selectors that stand for them, and what was recorded.
struct Overlay<'a> {
    store: &'a TestStore,
    answers: &'a [Arc<Answered>],
    at_ms: i64,
}

impl Overlay<'_> {
    fn answer(&self, matchers: &[Matcher]) -> Option<&Answered> {
        let number = matchers.iter().find(|matcher| matcher.name() == ANSWER)?.value();
        self.answers.get(number.parse::<usize>().ok()?).map(|answer| &**answer)
    }
}

impl SeriesSource for Overlay<'_> {
    fn series_bound(&self, matchers: &[Matcher], after_ms: i64, until_ms: i64) -> usize {
        match self.answer(matchers) {
            Some(answer) => answer.elements.len(),
            None => self.store.series_bound(matchers, after_ms, until_ms),
        }
    }

    fn select(&self, request: &SelectRequest<'_>) -> Result<Box<dyn SeriesSet>, SourceError> {
        let Some(answer) = self.answer(request.matchers) else { return self.store.select(request) };
        if answer.elements.len() > request.series_max {
            return Err(SourceError::TooManySeries { series_max: request.series_max });
        }
        let samples = answer.elements.iter().filter_map(|element| match element.value {
            SampleValue::Float(value) => Some((&element.labels, value)),
            SampleValue::Histogram(_) => None,
        });
        Ok(series_at(samples, self.at_ms))
    }
}
