//! Parses a text and says whether it may be run: one statement that only reads.
//!
//! An allow-list, since the grammar knows far more than we run. The plan is looked at once more before it is executed.

use super::failure::query_failure;
use crate::query::error::QueryFailure;
use datafusion::sql::parser::{DFParserBuilder, ExplainStatement, Statement};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// Largest text, in bytes.
const TEXT_BYTES_MAX: usize = 256 << 10;

/// A chain of operators is a tree as deep as the chain is long; planning walks it.
const OPERATORS_MAX: usize = 2_000;

/// Members of lists in brackets, all together.
const MEMBERS_MAX: usize = 1_000;

/// Depth of parentheses, subqueries and the like.
const NESTING_MAX: usize = 64;

/// Parses `text`.
///
/// # Errors
/// It is no SQL, more than one statement, too long, or does something else than read.
pub(super) fn parse(text: &str) -> Result<Statement, QueryFailure> {
    let refuse = |reason: String| Err(QueryFailure::Parse(reason));
    if text.len() > TEXT_BYTES_MAX {
        return refuse(format!("the text is longer than {TEXT_BYTES_MAX} bytes"));
    }
    let dialect = GenericDialect {};
    let tokens = Tokenizer::new(&dialect, text)
        .tokenize()
        .map_err(|error| QueryFailure::Parse(format!("sql parser error: {error}")))?;
    if tokens.iter().filter(|token| is_operator(token)).count() > OPERATORS_MAX {
        return refuse(format!("the text has more than {OPERATORS_MAX} operators"));
    }
    if members(&tokens) > MEMBERS_MAX {
        return refuse(format!("the lists in brackets have more than {MEMBERS_MAX} members"));
    }
    let statements = DFParserBuilder::new(text)
        .with_dialect(&dialect)
        .with_recursion_limit(NESTING_MAX)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| query_failure(&error))?;
    let mut statements = statements.into_iter();
    match (statements.next(), statements.next()) {
        (Some(statement), None) => allow(&statement).map(|()| statement),
        (None, _) => refuse("the text is empty".into()),
        (Some(_), Some(_)) => refuse("only one statement can be run at a time".into()),
    }
}

/// Whether the statement lists tables or columns of all metrics.
pub(super) fn lists_tables(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("information_schema") || text.contains("show")
}

fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => {
            word.quote_style.is_none()
                && ["and", "or", "not", "union", "except", "intersect", "join", "is"]
                    .iter()
                    .any(|operator| word.value.eq_ignore_ascii_case(operator))
        }
        Token::Comma
        | Token::Period
        | Token::LParen
        | Token::RParen
        | Token::LBracket
        | Token::RBracket
        | Token::SemiColon
        | Token::Whitespace(_)
        | Token::Number(..)
        | Token::EOF => false,
        token => !matches!(token, Token::SingleQuotedString(_) | Token::DoubleQuotedString(_)),
    }
}

/// Commas in brackets.
fn members(tokens: &[Token]) -> usize {
    let (mut depth, mut members) = (0usize, 0);
    for token in tokens {
        match token {
            Token::LBracket => depth += 1,
            Token::RBracket => depth = depth.saturating_sub(1),
            Token::Comma if depth > 0 => members += 1,
            _ => {}
        }
    }
    members
}

fn allow(statement: &Statement) -> Result<(), QueryFailure> {
    match statement {
        Statement::Statement(statement) => allow_sql(statement),
        Statement::Explain(ExplainStatement { statement, .. }) => allow(statement),
        Statement::CreateExternalTable(_) => Err(refused("CREATE EXTERNAL TABLE")),
        Statement::CopyTo(_) => Err(refused("COPY")),
        Statement::Reset(_) => Err(refused("RESET")),
    }
}

fn allow_sql(statement: &ast::Statement) -> Result<(), QueryFailure> {
    match statement {
        ast::Statement::Query(query) => allow_query(query),
        ast::Statement::Explain { statement, .. } => allow_sql(statement),
        ast::Statement::ExplainTable { .. }
        | ast::Statement::ShowTables { .. }
        | ast::Statement::ShowColumns { .. }
        | ast::Statement::ShowFunctions { .. }
        | ast::Statement::ShowVariable { .. } => Ok(()),
        other => {
            let text = other.to_string();
            let words: Vec<&str> = text.split_whitespace().take(2).collect();
            Err(refused(&words.join(" ")))
        }
    }
}

/// Statements that change something can stand where a query is expected.
fn allow_query(query: &ast::Query) -> Result<(), QueryFailure> {
    for table in query.with.iter().flat_map(|with| &with.cte_tables) {
        allow_query(&table.query)?;
    }
    let mut pending = vec![&*query.body];
    while let Some(body) = pending.pop() {
        match body {
            ast::SetExpr::Select(select) if select.into.is_some() => return Err(refused("SELECT INTO")),
            ast::SetExpr::Select(_) | ast::SetExpr::Values(_) | ast::SetExpr::Table(_) => {}
            ast::SetExpr::Query(query) => allow_query(query)?,
            ast::SetExpr::SetOperation { left, right, .. } => pending.extend([&**left, &**right]),
            ast::SetExpr::Insert(_) => return Err(refused("INSERT")),
            ast::SetExpr::Update(_) => return Err(refused("UPDATE")),
            ast::SetExpr::Delete(_) => return Err(refused("DELETE")),
            ast::SetExpr::Merge(_) => return Err(refused("MERGE")),
        }
    }
    Ok(())
}

fn refused(what: &str) -> QueryFailure {
    QueryFailure::Parse(format!("{what} is not supported: only SELECT, VALUES, EXPLAIN, DESCRIBE and SHOW are"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_read_are_allowed() {
        for text in [
            "SELECT 1",
            "select * from up;",
            "VALUES (1), (2)",
            "WITH a AS (SELECT 1) SELECT * FROM a UNION ALL SELECT 2",
            "EXPLAIN SELECT 1",
            "EXPLAIN ANALYZE SELECT 1",
            "DESCRIBE up",
            "SHOW TABLES",
            "SHOW COLUMNS FROM up",
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn others_are_refused_by_name() {
        for (text, name) in [
            ("COPY (SELECT 1) TO '/tmp/x.csv'", "COPY"),
            ("COPY up FROM '/etc/passwd'", "COPY"),
            ("INSERT INTO up VALUES (1)", "INSERT"),
            ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", "CREATE EXTERNAL TABLE"),
            ("CREATE TABLE x AS SELECT 1", "CREATE TABLE"),
            ("CREATE VIEW x AS SELECT 1", "CREATE VIEW"),
            ("DROP TABLE up", "DROP TABLE"),
            ("DELETE FROM up", "DELETE"),
            ("UPDATE up SET value = 1", "UPDATE"),
            ("SET datafusion.execution.batch_size = 1", "SET"),
            ("RESET datafusion.execution.batch_size", "RESET"),
            ("EXPLAIN COPY (SELECT 1) TO '/tmp/x.csv'", "COPY"),
            ("EXPLAIN INSERT INTO up VALUES (1)", "INSERT"),
            ("PREPARE p AS SELECT 1", "PREPARE"),
            ("BEGIN", "BEGIN"),
            ("LOAD DATA INPATH '/etc' INTO TABLE up", "LOAD"),
            ("SELECT 1; SELECT 2", "only one"),
            ("", "empty"),
            ("-- nothing", "empty"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(name), "{text}: {error}");
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let deep = format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000));
        assert!(parse(&deep).unwrap_err().to_string().contains("recursion"), "{:?}", parse(&deep));
        let chain = format!("SELECT 1{}", "+1".repeat(20_000));
        assert!(parse(&chain).unwrap_err().to_string().contains("operators"));
        let long = format!("SELECT '{}'", "a".repeat(TEXT_BYTES_MAX));
        assert!(parse(&long).unwrap_err().to_string().contains("longer"));
    }
}
