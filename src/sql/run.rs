//! Plans a statement and sends its result.

use super::catalog::list_metrics;
use super::expansion;
use super::failure::query_failure;
use super::memory::HeldBytes;
use super::output::Encoder;
use super::promql_function;
use super::scope::Scope;
use super::session;
use super::statement::lists_tables;
use super::watch;
use crate::query::error::QueryFailure;
use bytes::Bytes;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::physical_plan::execute_stream;
use datafusion::sql::parser::Statement;
use futures::StreamExt;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Bytes after which a portion is sent.
const PORTION_BYTES: usize = 64 << 10;

/// A piece of an answer.
#[derive(Debug)]
pub(super) enum Portion {
    Bytes(Bytes),
    /// Nothing follows.
    Failed(QueryFailure),
    /// Nothing follows.
    End,
}

/// Runs `statement` and sends what comes of it; ends early when nobody listens.
pub(super) async fn drive(
    scope: &Arc<Scope>,
    statement: Statement,
    text: &str,
    mut encoder: Encoder,
    to: &mpsc::Sender<Portion>,
) {
    let last = match send(scope, statement, text, &mut encoder, to).await {
        Ok(()) => Portion::End,
        Err(error) => {
            let stopped = scope.pieces.budget().check().err().map(QueryFailure::from);
            // Whatever else failed, it may have failed because the query was stopped.
            Portion::Failed(stopped.unwrap_or_else(|| query_failure(&error)))
        }
    };
    // Nobody listens when the client went away.
    let _ = to.send(last).await;
}

async fn send(
    scope: &Arc<Scope>,
    statement: Statement,
    text: &str,
    encoder: &mut Encoder,
    to: &mpsc::Sender<Portion>,
) -> Result<(), DataFusionError> {
    let mut batches = open(scope, statement, text).await?;
    let mut out = Vec::new();
    encoder.begin(&batches.schema(), &mut out)?;
    while let Some(batch) = batches.next().await {
        encoder.write(&batch?, &mut out)?;
        if out.len() >= PORTION_BYTES && to.send(Portion::Bytes(std::mem::take(&mut out).into())).await.is_err() {
            return Ok(());
        }
    }
    encoder.end(&mut out)?;
    let _ = to.send(Portion::Bytes(out.into())).await;
    Ok(())
}

/// Plans the statement and begins to execute it.
async fn open(
    scope: &Arc<Scope>,
    statement: Statement,
    text: &str,
) -> Result<SendableRecordBatchStream, DataFusionError> {
    expansion::check(&statement).map_err(super::failure::external)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let state = session::open(scope, cores).map_err(super::failure::external)?;
    if lists_tables(text) {
        list_metrics(scope).await?;
    }
    promql_function::prepare(scope, promql_function::expressions(&statement)).await?;
    let plan = state.statement_to_plan(statement).await?;
    let options = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    options.verify_plan(&plan)?;
    let budget = scope.pieces.budget();
    let held = HeldBytes::hold(budget, watch::plan_bytes(&plan)?).map_err(super::failure::external_query)?;
    let plan = state.create_physical_plan(&plan).await?;
    drop(held);
    // An `EXPLAIN` tells why it could not plan as if that were an answer.
    budget.check().map_err(super::failure::external_query)?;
    execute_stream(plan, state.task_ctx())
}
