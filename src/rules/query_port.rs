//! Evaluates rules by the query executor that users' queries go through, with the same bounds.

use crate::query::error::{FailureKind, QueryFailure};
use crate::query::executor::{LocalQueries, QueryExecutor};
use model::tenant::TenantId;
use model::time::Timestamp;
use promql::ast::Expr;
use promql::query_error::{QueryError as EvaluationError, QueryErrorKind};
use promql::value::{QueryValue as Answer, VectorSample};
use ruler::error::{QueryError, RuleError};
use ruler::evaluation::{Evaluation, Request, TemplateReport};
use ruler::ports::{Element, Queries, QueryPort, QueryValue};

/// The query executor as rules see it.
#[derive(Clone)]
pub struct RuleQueries {
    executor: QueryExecutor,
    tenant: TenantId,
}

impl RuleQueries {
    /// Queries of the rules of `tenant`.
    #[must_use]
    pub fn new(executor: QueryExecutor, tenant: TenantId) -> Self {
        Self { executor, tenant }
    }
}

impl QueryPort for RuleQueries {
    async fn evaluate(&self, request: Request) -> Evaluation {
        let rule = request.rule.clone();
        let work = move |local: &LocalQueries<'_>| request.evaluate(&Local(local));
        match self.executor.run_rule(rule.query.text(), &self.tenant, work).await {
            Ok(evaluation) => evaluation,
            Err(failure) => {
                let error = RuleError::Query(no_answer(&failure));
                Evaluation { result: Err(error), templates: TemplateReport::default() }
            }
        }
    }
}

struct Local<'a>(&'a LocalQueries<'a>);

impl Queries for Local<'_> {
    fn instant(&self, expr: &Expr, at: Timestamp) -> Result<QueryValue, QueryError> {
        let result = self.0.instant(expr, at.0).map_err(|error| failed(&error))?;
        Ok(match result.value {
            Answer::Scalar { value, .. } => QueryValue::Scalar(value),
            Answer::Vector { samples, .. } => {
                let element = |VectorSample { labels, value }| Element { labels, value };
                QueryValue::Vector(samples.into_iter().map(element).collect())
            }
            Answer::String { .. } | Answer::Matrix(_) => QueryValue::Other,
        })
    }
}

fn failed(error: &EvaluationError) -> QueryError {
    let message = error.to_string();
    match error.kind() {
        QueryErrorKind::BadData => QueryError::Invalid(message),
        QueryErrorKind::Execution if is_bound(error) => QueryError::Limited(message),
        QueryErrorKind::Execution => QueryError::Invalid(message),
        QueryErrorKind::Canceled => QueryError::Canceled,
        QueryErrorKind::Timeout => QueryError::Limited(message),
        QueryErrorKind::Unavailable | QueryErrorKind::Internal => QueryError::Unavailable(message),
    }
}

fn is_bound(error: &EvaluationError) -> bool {
    matches!(
        error,
        EvaluationError::TooManySamples | EvaluationError::TooManyBytes { .. } | EvaluationError::TooManySeries { .. }
    )
}

fn no_answer(failure: &QueryFailure) -> QueryError {
    let message = failure.to_string();
    match failure.kind() {
        FailureKind::BadQuery | FailureKind::Execution => QueryError::Invalid(message),
        FailureKind::Canceled => QueryError::Canceled,
        FailureKind::Timeout => QueryError::Limited(message),
        FailureKind::Busy | FailureKind::Internal => QueryError::Unavailable(message),
    }
}
