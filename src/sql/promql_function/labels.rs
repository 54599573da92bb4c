//! Which labels the result of an expression may have, as far as the text and the names of labels in store tell. Too many is
//! harmless: their columns are NULL.

use crate::sql::catalog::label_names;
use crate::sql::scope::Scope;
use datafusion::error::DataFusionError;
use datafusion::sql::parser::{ExplainStatement, Statement};
use datafusion::sql::sqlparser::ast;
use model::labels::METRIC_NAME;
use model::matcher::Matcher;
use promql::ast::{AggregateOp, Aggregation, Call, Expr, ValueType};
use promql::parse::parse;
use promql::source::SourceError;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Expressions of more nodes get no columns for labels.
const NODES_MAX: usize = 500;

/// The texts of all expressions that the statement hands to the function.
pub(in crate::sql) fn expressions(statement: &Statement) -> Vec<String> {
    let mut found = Found::default();
    match statement {
        Statement::Statement(statement) => {
            let _ = ast::Visit::visit(&**statement, &mut found);
        }
        Statement::Explain(ExplainStatement { statement, .. }) => return expressions(statement),
        _ => {}
    }
    found.texts
}

#[derive(Default)]
struct Found {
    texts: Vec<String>,
}

impl ast::Visitor for Found {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &ast::TableFactor) -> ControlFlow<()> {
        if let ast::TableFactor::Table { name, args: Some(call), .. } = factor
            && name.to_string().eq_ignore_ascii_case("promql")
            && let Some(ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(ast::Expr::Value(value)))) =
                call.args.first()
            && let ast::Value::SingleQuotedString(text) = &value.value
        {
            self.texts.push(text.clone());
        }
        ControlFlow::Continue(())
    }
}

/// Finds out the labels of all expressions.
pub(in crate::sql) async fn prepare(scope: &Arc<Scope>, texts: Vec<String>) -> Result<(), DataFusionError> {
    if texts.is_empty() {
        return Ok(());
    }
    let labels = scope
        .run(move |local, scope| {
            let mut all = BTreeMap::new();
            for text in texts {
                local.budget().check()?;
                // What is wrong with an expression is told when the function is called.
                let Ok(expr) = parse(&text, &scope.parse) else { continue };
                if expr.nodes().take(NODES_MAX + 1).count() <= NODES_MAX {
                    let lookup = |matchers: &[Matcher]| label_names(scope, matchers);
                    all.insert(text, labels_of(&expr, &lookup)?.into_iter().collect());
                }
            }
            Ok(all)
        })
        .await?;
    // Set once per statement.
    let _ = scope.promql_labels.set(labels);
    Ok(())
}

type Names = BTreeSet<String>;

/// The names of the labels of selected series.
type Lookup<'a> = &'a dyn Fn(&[Matcher]) -> Result<Vec<String>, SourceError>;

fn labels_of(expr: &Expr, lookup: Lookup<'_>) -> Result<Names, SourceError> {
    let selected = |matchers: &[Matcher]| {
        let names = lookup(matchers)?.into_iter();
        Ok(names.filter(|name| name != METRIC_NAME).collect())
    };
    match expr {
        Expr::Number(_) | Expr::String(_) => Ok(Names::new()),
        Expr::VectorSelector(selector) => selected(&selector.matchers),
        Expr::MatrixSelector(range) => selected(&range.selector.matchers),
        Expr::Subquery(subquery) => labels_of(&subquery.expr, lookup),
        Expr::Unary(unary) => labels_of(&unary.expr, lookup),
        Expr::Paren(paren) => labels_of(&paren.expr, lookup),
        Expr::Aggregation(aggregation) => aggregated(aggregation, lookup),
        Expr::Binary(binary) => {
            let mut names = labels_of(&binary.lhs, lookup)?;
            names.extend(labels_of(&binary.rhs, lookup)?);
            Ok(names)
        }
        Expr::Call(call) => called(call, lookup),
    }
}

fn aggregated(aggregation: &Aggregation, lookup: Lookup<'_>) -> Result<Names, SourceError> {
    let keeps = matches!(
        aggregation.op,
        AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio
    );
    if keeps {
        return labels_of(&aggregation.expr, lookup);
    }
    let mut names: Names = match aggregation.without {
        false => aggregation.grouping.iter().cloned().collect(),
        true => {
            let mut names = labels_of(&aggregation.expr, lookup)?;
            names.retain(|name| !aggregation.grouping.contains(name));
            names
        }
    };
    if aggregation.op == AggregateOp::CountValues {
        names.extend(aggregation.param.as_deref().and_then(text));
    }
    names.remove(METRIC_NAME);
    Ok(names)
}

fn called(call: &Call, lookup: Lookup<'_>) -> Result<Names, SourceError> {
    let mut names = Names::new();
    if call.function.returns == ValueType::Scalar {
        return Ok(names);
    }
    for argument in &call.args {
        names.extend(labels_of(argument, lookup)?);
    }
    match call.function.name {
        "label_replace" | "label_join" => names.extend(call.args.get(1).and_then(text)),
        // Labels come from the matchers.
        "absent" | "absent_over_time" => {
            let matchers = call.args.iter().flat_map(Expr::selectors).flat_map(|selector| &selector.matchers);
            names.extend(matchers.map(|matcher| matcher.name().to_owned()));
        }
        _ => {}
    }
    names.remove(METRIC_NAME);
    Ok(names)
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::String(text) => String::from_utf8(text.value.clone()).ok(),
        Expr::Paren(paren) => text(&paren.expr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use promql::parse::ParseOptions;

    #[test]
    fn labels_follow_from_the_expression() {
        let lookup = |_: &[Matcher]| Ok(["__name__", "instance", "job", "le"].map(str::to_owned).into());
        let shown = |query: &str| {
            let expr = parse(query, &ParseOptions::all()).unwrap();
            labels_of(&expr, &lookup).unwrap().into_iter().collect::<Vec<_>>().join(",")
        };
        assert_eq!(shown("1 + time()"), "");
        assert_eq!(shown("rate(up[5m])"), "instance,job,le");
        assert_eq!(shown("sum(up)"), "");
        assert_eq!(shown("sum by (job, zone) (rate(up[5m])) / 2"), "job,zone");
        assert_eq!(shown("topk(3, sum without (le) (up))"), "instance,job");
        assert_eq!(shown("label_replace(sum(up), \"dst\", \"x\", \"job\", \".*\")"), "dst");
        assert_eq!(shown("count_values(\"version\", up)"), "version");
        assert_eq!(shown("sum(up) * on () group_left (zone) x"), "instance,job,le");
    }
}
