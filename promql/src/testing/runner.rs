//! Runs test files.

use super::classic::ClassicHistograms;
use super::compare::{check_remarks, check_scalar, check_value, check_vector, samples_of};
use super::forms;
use super::memory::MemorySource;
use super::notation::Item;
use super::script::{self, Command, Eval, Load, ScriptError, Times};
use crate::ast::Expr;
use crate::budget::{Budget, BudgetLimits};
use crate::engine::{Engine, EngineOptions, QueryContext, QueryError};
use crate::parse::{ParseOptions, parse};
use crate::source::SeriesSource;
use crate::value::{QueryResult, QueryValue, SampleValue, VectorSample};
use std::cell::Cell;
use std::sync::Arc;

/// What came of one file.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Evals that passed in all their forms.
    pub passed: usize,
    /// Evals that did not.
    pub failed: Vec<Failure>,
    /// Queries that were evaluated: each eval in all its forms, until one of them failed.
    pub runs: usize,
}

/// An eval that did not pass.
#[derive(Debug)]
pub struct Failure {
    /// Line of the eval, from 1.
    pub line: usize,
    /// Its query.
    pub expression: String,
    /// What was not as expected.
    pub reason: String,
}

/// The options under which the test files hold.
#[must_use]
pub fn suite_engine() -> Engine {
    Engine::new(EngineOptions { delayed_name_removal: true, start_timestamps: true, ..EngineOptions::default() })
}

/// Runs a test file with `engine`.
///
/// # Errors
/// The text is no test file.
pub fn run(text: &str, engine: &Engine) -> Result<Outcome, ScriptError> {
    run_on(text, engine, |source, eval| eval(source))
}

/// Runs a test file with `engine`; `with` gets what was loaded and calls its second argument with the source to ask.
///
/// # Errors
/// The text is no test file.
pub fn run_on(
    text: &str,
    engine: &Engine,
    with: impl Fn(&MemorySource, &dyn Fn(&dyn SeriesSource) -> Result<(), String>) -> Result<(), String>,
) -> Result<Outcome, ScriptError> {
    let mut source = MemorySource::new();
    let mut outcome = Outcome::default();
    for command in script::parse(text)? {
        match command {
            Command::Clear => source = MemorySource::new(),
            Command::Load(load) => {
                fill(&mut source, &load).map_err(|reason| ScriptError { line: load.line, reason })?;
            }
            Command::Eval(eval) => {
                let runs = Cell::new(0);
                match with(&source, &|source| (Attempt { engine, source, eval: &eval, runs: &runs }).run()) {
                    Ok(()) => outcome.passed += 1,
                    Err(reason) => {
                        outcome.failed.push(Failure { line: eval.line, expression: eval.expression, reason });
                    }
                }
                outcome.runs += runs.get();
            }
        }
    }
    Ok(outcome)
}

fn fill(source: &mut MemorySource, load: &Load) -> Result<(), String> {
    let mut classic = ClassicHistograms::default();
    for (labels, items) in &load.series {
        let mut floats = Vec::new();
        let mut histograms = Vec::new();
        for (time, item) in (0..).map(|i: i64| i * load.step_ms).zip(items) {
            match item {
                Item::Gap => {}
                Item::Float(value) => floats.push((time, *value)),
                Item::Histogram { histogram, .. } => histograms.push((time, Arc::clone(histogram))),
            }
        }
        if load.with_custom_buckets {
            classic.add(labels, &floats);
        }
        source.append(labels, floats);
        if !histograms.is_empty() {
            source.append_histograms(labels, histograms);
        }
    }
    for (labels, offsets) in &load.starts {
        let times = (0..).map(|i: i64| i * load.step_ms).zip(offsets);
        source.append_starts(labels, times.filter_map(|(time, offset)| Some((time, time + (*offset)?))));
    }
    for (labels, histograms) in classic.convert()? {
        source.append_histograms(&labels, histograms);
    }
    Ok(())
}

/// One eval being run.
struct Attempt<'a> {
    engine: &'a Engine,
    source: &'a dyn SeriesSource,
    eval: &'a Eval,
    runs: &'a Cell<usize>,
}

impl Attempt<'_> {
    fn run(&self) -> Result<(), String> {
        let expr = parse(&self.eval.expression, &ParseOptions::all()).map_err(|error| error.to_string())?;
        match self.eval.times {
            Times::Range { start_ms, end_ms, step_ms } => {
                let answer = self.query(|engine, context| engine.range(&expr, start_ms, end_ms, step_ms, context));
                self.check(answer).map(|_| ())
            }
            Times::Instant { at_ms } => {
                let at_ms = self.eval.expect.range_vector.map_or(at_ms, |(_, end_ms, _)| end_ms);
                self.instant(&expr, at_ms)?;
                let Some((pinned, times)) = forms::pinned(&expr, at_ms) else { return Ok(()) };
                for time in times {
                    self.instant(&pinned, time).map_err(|reason| format!("with @, at {time} ms: {reason}"))?;
                }
                Ok(())
            }
        }
    }

    /// Runs a query under a budget of its own.
    fn query(
        &self,
        query: impl FnOnce(&Engine, &QueryContext<'_>) -> Result<QueryResult, QueryError>,
    ) -> Result<QueryResult, QueryError> {
        self.runs.set(self.runs.get() + 1);
        let budget = Budget::new(BudgetLimits { samples_max: 10_000, ..BudgetLimits::default() });
        query(self.engine, &QueryContext::new(self.source, &budget))
    }

    /// Checks an answer against what is expected; returns it unless it is the failure that is expected.
    fn check(&self, answer: Result<QueryResult, QueryError>) -> Result<Option<QueryResult>, String> {
        let expect = &self.eval.expect;
        let answer = match (answer, &expect.fail) {
            (Ok(answer), None) => answer,
            (Ok(_), Some(_)) => return Err("no failure where one is expected".to_owned()),
            (Err(error), Some(pattern)) if pattern.matches(&error.to_string()) => return Ok(None),
            (Err(error), Some(pattern)) => return Err(format!("failure `{error}` is not like {pattern:?}")),
            (Err(error), None) => return Err(error.to_string()),
        };
        let text = &self.eval.expression;
        let warnings = answer.annotations.warnings(text, usize::MAX);
        check_remarks("warning", &expect.warnings, expect.no_warnings, &warnings)?;
        check_remarks("info", &expect.infos, expect.no_infos, &answer.annotations.infos(text, usize::MAX))?;
        check_value(expect, &self.eval.times, &answer.value)?;
        Ok(Some(answer))
    }

    /// Runs one instant query, then the same as the middle step of a range query.
    fn instant(&self, expr: &Expr, at_ms: i64) -> Result<(), String> {
        let answer = self.query(|engine, context| engine.instant(expr, at_ms, context));
        let Some(answer) = self.check(answer)? else { return Ok(()) };
        let expect = &self.eval.expect;
        let has_no_range = expect.string.is_some() || expect.range_vector.is_some();
        let asks_for_bounds =
            ["start()", "end()", "range()", "step()"].iter().any(|call| self.eval.expression.contains(call));
        if has_no_range || asks_for_bounds {
            return Ok(());
        }
        let range = self.query(|engine, context| engine.range(expr, at_ms - 60_000, at_ms + 60_000, 60_000, context));
        let range = range.map_err(|error| format!("as a range: {error}"))?;
        if expect.ordered {
            return Ok(());
        }
        let QueryValue::Matrix(series) = range.value else { return Err("a range is no matrix".to_owned()) };
        let middle: Vec<VectorSample> = series
            .into_iter()
            .filter_map(|series| {
                let (_, value) = samples_of(&series).into_iter().find(|(time, _)| *time == at_ms)?;
                Some(VectorSample { value, labels: series.labels })
            })
            .collect();
        let checked = match (&answer.value, middle.first()) {
            (QueryValue::Scalar { .. }, Some(VectorSample { value: SampleValue::Float(value), .. })) => {
                check_scalar(expect, *value)
            }
            (QueryValue::Scalar { .. }, _) => Err("no value".to_owned()),
            _ => check_vector(expect, &middle),
        };
        checked.map_err(|reason| format!("as the middle of a range: {reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_reported_with_its_line() {
        let text =
            "load 1m\n  x{a=\"1\"} 0+1x10\n\neval instant at 5m x\n  x{a=\"1\"} 5\n\neval instant at 5m x\n  x 6\n";
        let outcome = run(text, &suite_engine()).expect("a script");
        assert_eq!(outcome.passed, 1);
        assert_eq!(outcome.failed.iter().map(|failure| failure.line).collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn classic_histograms_become_native_ones_on_request() {
        let text = "load_with_nhcb 1m\n  x_bucket{le=\"1\"} 2\n  x_bucket{le=\"+Inf\"} 5\n  x_sum 7\n\n\
                    eval instant at 0m x\n  x {{schema:-53 count:5 sum:7 custom_values:[1] buckets:[2 3]}}\n";
        let outcome = run(text, &suite_engine()).expect("a script");
        assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
        assert!(run(&text.replace("} 2", "} 9"), &suite_engine()).is_err());
    }
}
