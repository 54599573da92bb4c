//! Errors of DataFusion as failures of a query, and back.
//!
//! Our own failures travel through DataFusion as external errors and come out unchanged.

use crate::query::error::QueryFailure;
use crate::runtime::cpu::JobPanicked;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use promql::engine::QueryError;
use promql::source::SourceError;

/// In what DataFusion takes for a bug of its own: a regular expression that is none or too big.
const REGEX_REFUSED: &str = "Regular expression did not compile: ";

/// A failure of ours on its way through DataFusion.
pub(super) fn external(failure: QueryFailure) -> DataFusionError {
    DataFusionError::External(Box::new(failure))
}

/// A failure of ours on its way through DataFusion.
pub(super) fn external_query(error: QueryError) -> DataFusionError {
    external(error.into())
}

/// What the user is told.
pub(super) fn query_failure(error: &DataFusionError) -> QueryFailure {
    if let Some(failure) = ours(error) {
        return failure;
    }
    let place = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let text = |message: String| match place {
        Some(span) => format!("{message} (line {}, column {})", span.start.line, span.start.column),
        None => message,
    };
    match error.find_root() {
        DataFusionError::SQL(error, _) => QueryFailure::Parse(error.to_string()),
        DataFusionError::Plan(message) => QueryFailure::Parse(text(readable(message))),
        DataFusionError::SchemaError(error, _) => QueryFailure::Parse(text(schema_text(error))),
        DataFusionError::NotImplemented(message) => QueryFailure::Parse(text(message.clone())),
        DataFusionError::Configuration(message) => QueryFailure::Parse(text(message.clone())),
        DataFusionError::Execution(message) => QueryFailure::Sql(message.clone()),
        DataFusionError::ResourcesExhausted(message) => QueryFailure::Sql(message.clone()),
        DataFusionError::ArrowError(error, _) => QueryFailure::Sql(error.to_string()),
        DataFusionError::Internal(message) if message.contains(REGEX_REFUSED) => {
            QueryFailure::Parse(text(regex_text(message)))
        }
        DataFusionError::External(error) if error.to_string().starts_with("regex parse error") => {
            QueryFailure::Parse(text(error.to_string()))
        }
        DataFusionError::ExecutionJoin(error) => JobPanicked::new(error.to_string()).into(),
        other => QueryFailure::Source(SourceError::Failed(other.strip_backtrace())),
    }
}

/// A failure that began as one of ours.
fn ours(error: &DataFusionError) -> Option<QueryFailure> {
    match error {
        DataFusionError::External(inner) => match inner.downcast_ref::<QueryFailure>() {
            Some(failure) => Some(failure.clone()),
            None => ours(inner.downcast_ref::<DataFusionError>()?),
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => ours(inner),
        DataFusionError::Shared(inner) => ours(inner),
        DataFusionError::Collection(all) => all.iter().find_map(ours),
        DataFusionError::ArrowError(error, _) => match &**error {
            datafusion::arrow::error::ArrowError::ExternalError(inner) => {
                ours(inner.downcast_ref::<DataFusionError>()?)
            }
            _ => None,
        },
        _ => None,
    }
}

/// Without the names of the catalogue, which nobody writes.
fn readable(message: &str) -> String {
    message.replace("hearth.public.", "").replace("hearth.metrics.", "metrics.")
}

/// Why a regular expression cannot be used.
fn regex_text(message: &str) -> String {
    let reason = message.split_once(REGEX_REFUSED).map_or(message, |(_, reason)| reason);
    let too_big = reason.strip_prefix("CompiledTooBig(").and_then(|rest| rest.split(')').next());
    match too_big {
        Some(bytes) => {
            format!("the regular expression is too big: it takes more than {bytes} bytes when it is compiled")
        }
        None => format!("the regular expression cannot be used: {}", reason.trim()),
    }
}

fn schema_text(error: &SchemaError) -> String {
    let text = error.to_string();
    text.strip_prefix("Schema error: ").unwrap_or(&text).to_owned()
}
