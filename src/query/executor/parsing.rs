//! From text to expression, once for texts that are asked again and again.

use super::QueryExecutor;
use crate::query::error::QueryFailure;
use promql::ast::Expr;
use promql::parse::{ParseError, parse};
use std::sync::Arc;

/// Texts up to this length are parsed where they arrive; longer ones may take a while and go to the CPU pool.
pub(super) const PARSE_INLINE_BYTES_MAX: usize = 2048;

impl QueryExecutor {
    /// Parses a query under the executor's options.
    ///
    /// # Errors
    /// It is no query.
    pub async fn parse(&self, text: &str) -> Result<Arc<Expr>, QueryFailure> {
        let refused = |error: ParseError| QueryFailure::Parse(error.to_string());
        if text.len() > PARSE_INLINE_BYTES_MAX {
            let (text, options) = (text.to_owned(), self.shared.options.parse.clone());
            let parsed = self.shared.pool.run(move |_| parse(&text, &options)).await?;
            return parsed.map(Arc::new).map_err(refused);
        }
        if let Some(known) = self.shared.parsed.get(text) {
            return Ok(known);
        }
        let expr = Arc::new(parse(text, &self.shared.options.parse).map_err(refused)?);
        self.shared.parsed.keep(text, &expr);
        Ok(expr)
    }
}
