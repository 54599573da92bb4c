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

/// Words that are operators.
const OPERATORS: [&str; 29] = [
    "and",
    "at",
    "between",
    "collate",
    "div",
    "except",
    "glob",
    "ilike",
    "in",
    "intersect",
    "is",
    "isnull",
    "join",
    "like",
    "match",
    "match_recognize",
    "member",
    "minus",
    "not",
    "notnull",
    "or",
    "overlaps",
    "pivot",
    "regexp",
    "rlike",
    "similar",
    "union",
    "unpivot",
    "xor",
];

/// Members of lists in brackets, all together.
const MEMBERS_MAX: usize = 1_000;

/// Depth of parentheses and brackets.
const NESTING_MAX: usize = 40;

/// Depth of parentheses behind one of [`RETRIED`].
const RETRIED_NESTING_MAX: usize = 8;

/// `EXPLAIN` may stand before itself, and nobody counts how often.
const EXPLAINS_MAX: usize = 8;

/// `INTERVAL` without its text: the parser tries whatever follows as an expression, twice.
const LOOSE_INTERVALS_MAX: usize = 4;

/// Depth that the parser counts, which has more reasons to go deeper than parentheses.
const RECURSION_MAX: usize = 64;

/// Words that the parser takes for names of ordinary functions when their own grammar does not fit: it reads what is in their
/// parentheses twice, and four times what is in those inside.
const RETRIED: [&str; 24] = [
    "array",
    "box",
    "cast",
    "ceil",
    "circle",
    "convert",
    "extract",
    "floor",
    "lambda",
    "line",
    "lseg",
    "not",
    "overlay",
    "path",
    "point",
    "polygon",
    "position",
    "safe_cast",
    "struct",
    "substr",
    "substring",
    "trim",
    "try_cast",
    "try_convert",
];

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
    if words(&tokens, "explain") > EXPLAINS_MAX {
        return refuse("EXPLAIN explains one statement".into());
    }
    if loose_intervals(&tokens) > LOOSE_INTERVALS_MAX {
        return refuse("behind INTERVAL stands a text such as '1 hour'; a column of that name needs quotes".into());
    }
    let (nesting, retried) = depths(&tokens);
    if nesting > NESTING_MAX {
        return refuse(format!("the text is nested deeper than {NESTING_MAX} parentheses"));
    }
    if retried > RETRIED_NESTING_MAX {
        return refuse(format!("CAST and the like are nested deeper than {RETRIED_NESTING_MAX}"));
    }
    let statements = DFParserBuilder::new(text)
        .with_dialect(&dialect)
        .with_recursion_limit(RECURSION_MAX)
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
            word.quote_style.is_none() && OPERATORS.iter().any(|operator| word.value.eq_ignore_ascii_case(operator))
        }
        Token::Comma
        | Token::Period
        | Token::LParen
        | Token::RParen
        | Token::RBracket
        | Token::SemiColon
        | Token::Whitespace(_)
        | Token::Number(..)
        | Token::EOF => false,
        token => !matches!(token, Token::SingleQuotedString(_) | Token::DoubleQuotedString(_)),
    }
}

/// How deep parentheses and brackets are nested, and how deep those behind one of [`RETRIED`].
fn depths(tokens: &[Token]) -> (usize, usize) {
    let mut open: Vec<bool> = Vec::new();
    let (mut retried, mut deepest, mut deepest_retried) = (0usize, 0, 0);
    let mut after_retried = false;
    for token in tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))) {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                open.push(after_retried);
                retried += usize::from(after_retried);
                deepest = deepest.max(open.len());
                deepest_retried = deepest_retried.max(retried);
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                retried -= usize::from(open.pop().unwrap_or(false));
            }
            _ => {}
        }
        after_retried =
            matches!(token, Token::Word(word) if RETRIED.iter().any(|w| word.value.eq_ignore_ascii_case(w)));
    }
    (deepest, deepest_retried)
}

/// How often a word occurs.
fn words(tokens: &[Token], word: &str) -> usize {
    tokens.iter().filter(|token| matches!(token, Token::Word(found) if found.value.eq_ignore_ascii_case(word))).count()
}

/// How often `INTERVAL` is followed by something else than a text.
fn loose_intervals(tokens: &[Token]) -> usize {
    let significant: Vec<&Token> = tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))).collect();
    let loose = |pair: &&[&Token]| match pair {
        [Token::Word(word), next] => {
            word.quote_style.is_none()
                && word.value.eq_ignore_ascii_case("interval")
                && !matches!(next, Token::SingleQuotedString(_))
        }
        _ => false,
    };
    significant.windows(2).filter(loose).count()
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
        let mut wrong = Vec::new();
        for (text, name) in [
            ("COPY (SELECT 1) TO '/tmp/x.csv'", "COPY"),
            ("COPY up FROM '/etc/passwd'", "Expected"),
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
            ("LOAD DATA INPATH '/etc' INTO TABLE up", "Expected"),
            ("SELECT 1; SELECT 2", "only one"),
            ("", "empty"),
            ("-- nothing", "empty"),
        ] {
            match parse(text) {
                Err(error) if error.to_string().contains(name) => {}
                other => wrong.push(format!("{text}: {other:?}")),
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let deep = format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000));
        assert!(parse(&deep).unwrap_err().to_string().contains("nested deeper"));
        let chain = format!("SELECT 1{}", "+1".repeat(20_000));
        assert!(parse(&chain).unwrap_err().to_string().contains("operators"));
        let long = format!("SELECT '{}'", "a".repeat(TEXT_BYTES_MAX));
        assert!(parse(&long).unwrap_err().to_string().contains("longer"));
    }
    /// The parser tries one grammar after the other; what is nested as deep as it may be still ends soon, and with the stack
    /// that statements have.
    #[test]
    fn texts_that_make_the_parser_try_again_and_again_end_soon() {
        let thread = std::thread::Builder::new().stack_size(crate::sql::engine::STACK_BYTES);
        thread.spawn(nested_texts).unwrap().join().unwrap();
    }

    fn nested_texts() {
        let openings = RETRIED.map(|word| format!("{word}("));
        let others = [
            "(",
            "[",
            "{",
            "(SELECT ",
            "CASE WHEN ",
            "EXISTS (",
            "INTERVAL (",
            "a(",
            "- ",
            "NOT ",
            "ARRAY<",
            "MAP {",
            "EXPLAIN ",
            "INTERVAL ",
            "CASE ",
            "PRIOR ",
            "a.",
            "WITH a AS (",
            "ARRAY ",
            "::",
            "[1:",
            "lambda x: ",
            "x -> ",
        ];
        for opening in openings.iter().map(String::as_str).chain(others) {
            for prefix in ["", "SELECT ", "SELECT * FROM ", "SELECT * FROM a JOIN ", "SELECT a::"] {
                let longest = if prefix.is_empty() { TEXT_BYTES_MAX / opening.len() - 10 } else { OPERATORS_MAX };
                for depth in [RETRIED_NESTING_MAX, NESTING_MAX, longest] {
                    let started = std::time::Instant::now();
                    let text = format!("{prefix}{}", opening.repeat(depth));
                    let _ = (parse(&text), parse(&format!("{text} x y z")));
                    let took = started.elapsed();
                    assert!(took < std::time::Duration::from_secs(10), "{prefix}{opening} {depth}: {took:?}");
                }
            }
        }
    }
}
