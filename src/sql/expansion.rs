//! How large a statement becomes when it is planned; one that becomes too large is refused before.
//!
//! The planner writes out what a text only names: a `WITH` query wherever it is read, each grouping set of a `CUBE`, each
//! member of a short list beside a copy of what is looked for. A small text can so become a plan without end, and
//! DataFusion makes most of it in one go. So it is reckoned here, from the parsed text alone, in a time that is linear in it.
//! `watch.rs` looks after what cannot be told from the text.

use crate::query::error::QueryFailure;
use datafusion::sql::parser::{ExplainStatement, Statement};
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArgumentClause, FunctionArguments, GroupByExpr, GroupByWithModifier, NamedWindowExpr,
    ObjectName, OrderBy, OrderByKind, PipeOperator, Query, Select, Visit, Visitor, WindowSpec, WindowType,
};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Tables that are read, each as often as it is read.
const RELATIONS_MAX: u64 = 1_000;

/// Tables of one `FROM`: the order of joins is looked for with a cost that grows with the cube of their number.
const JOINED_MAX: u64 = 100;

/// Members of one list of what is selected, grouped by or ordered by: each is compared with all others.
const COLUMNS_MAX: u64 = 2_000;

/// Members of one list that orders or partitions: whether rows come so already is looked for among all of their orders.
const ORDERED_MAX: u64 = 100;

/// Windows of all queries, each a node of its own with all columns.
const WINDOWS_MAX: u64 = 100;

/// Grouping sets of all aggregations.
const GROUPING_SETS_MAX: u64 = 1_024;

/// Expressions and parts of them.
pub(super) const TERMS_MAX: u64 = 200_000;

/// Functions that are planned as a `CASE` in which their arguments stand twice.
const DOUBLED: [&str; 5] = ["coalesce", "ifnull", "nullif", "nvl", "nvl2"];

/// A list of up to so many members is planned as comparisons, each with a copy of what is looked for.
const INLINED_LIST_MAX: usize = 3;

/// Refuses what becomes too large.
///
/// # Errors
/// Tells which bound it passes.
pub(super) fn check(statement: &Statement) -> Result<(), QueryFailure> {
    let statement = match statement {
        Statement::Statement(statement) => statement,
        Statement::Explain(ExplainStatement { statement, .. }) => return check(statement),
        // Not allowed anyway.
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => return Ok(()),
    };
    let mut reckoning = Reckoning { open: vec![Open::default()] };
    match statement.visit(&mut reckoning) {
        ControlFlow::Break(reason) => Err(QueryFailure::Parse(reason)),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// What a part of a text becomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Size {
    relations: u64,
    grouping_sets: u64,
    windows: u64,
    terms: u64,
}

impl Size {
    fn add(&mut self, other: Self) {
        self.relations = self.relations.saturating_add(other.relations);
        self.grouping_sets = self.grouping_sets.saturating_add(other.grouping_sets);
        self.windows = self.windows.saturating_add(other.windows);
        self.terms = self.terms.saturating_add(other.terms);
    }

    fn times(self, factor: u64) -> Self {
        Self {
            relations: self.relations.saturating_mul(factor),
            grouping_sets: self.grouping_sets.saturating_mul(factor),
            windows: self.windows.saturating_mul(factor),
            terms: self.terms.saturating_mul(factor),
        }
    }

    fn within_bounds(&self) -> ControlFlow<String> {
        let bounds = [
            (self.relations, RELATIONS_MAX, "tables, each `WITH` query counted wherever it is read"),
            (self.grouping_sets, GROUPING_SETS_MAX, "grouping sets"),
            (self.windows, WINDOWS_MAX, "windows"),
            (self.terms, TERMS_MAX, "terms"),
        ];
        bounds.into_iter().try_for_each(|(found, bound, what)| at_most(found, bound, what))
    }
}

fn at_most(found: u64, bound: u64, what: &str) -> ControlFlow<String> {
    if found <= bound {
        return ControlFlow::Continue(());
    }
    let found = if found == u64::MAX { "more than can be counted".to_owned() } else { found.to_string() };
    ControlFlow::Break(format!(
        "the statement is too large to be planned: it has {found} {what}; at most {bound} can be"
    ))
}

fn within_one_list(columns: usize) -> ControlFlow<String> {
    at_most(columns as u64, COLUMNS_MAX, "columns in one list")
}

fn within_one_order(members: usize) -> ControlFlow<String> {
    at_most(members as u64, ORDERED_MAX, "members in one list that orders or partitions")
}

fn within_one_window(window: &WindowSpec) -> ControlFlow<String> {
    within_one_order(window.partition_by.len().max(window.order_by.len()))
}

fn within_one_from(joined: u64) -> ControlFlow<String> {
    at_most(joined, JOINED_MAX, "tables in one FROM")
}

/// A query or an expression whose inside is being visited.
#[derive(Debug, Default)]
struct Open {
    /// What was found inside.
    size: Size,
    /// The queries of its `WITH`, to be told from others by their place in memory.
    defined: HashMap<*const Query, String>,
    /// What those that are visited already become, wherever they are read.
    known: HashMap<String, Size>,
}

struct Reckoning {
    /// The outermost first; never empty while a statement is visited.
    open: Vec<Open>,
}

impl Reckoning {
    fn add(&mut self, size: Size) -> ControlFlow<String> {
        match self.open.last_mut() {
            Some(open) => {
                open.size.add(size);
                open.size.within_bounds()
            }
            None => ControlFlow::Continue(()),
        }
    }

    fn close(&mut self) -> Size {
        self.open.pop().unwrap_or_default().size
    }

    /// What reading the table of that name becomes.
    fn relation(&self, name: &ObjectName) -> Size {
        let name = match name.0.as_slice() {
            [part] => part.as_ident().map(|ident| ident.value.as_str()),
            _ => None,
        };
        let table = Size { relations: 1, ..Size::default() };
        let Some(name) = name else { return table };
        self.open.iter().rev().find_map(|open| open.known.get(name)).copied().unwrap_or(table)
    }
}

impl Visitor for Reckoning {
    type Break = String;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        let defined = tables.map(|table| (std::ptr::from_ref(&*table.query), table.alias.name.value.clone()));
        self.open.push(Open { defined: defined.collect(), ..Open::default() });
        if let Some(OrderBy { kind: OrderByKind::Expressions(exprs), .. }) = &query.order_by {
            within_one_order(exprs.len())?;
        }
        for operator in &query.pipe_operators {
            match operator {
                PipeOperator::Select { exprs } | PipeOperator::Extend { exprs } => within_one_list(exprs.len())?,
                PipeOperator::OrderBy { exprs } => within_one_order(exprs.len())?,
                PipeOperator::Aggregate { full_table_exprs, group_by_expr } => {
                    within_one_list(full_table_exprs.len().max(group_by_expr.len()))?;
                }
                _ => {}
            }
        }
        let joins = query.pipe_operators.iter().filter(|operator| matches!(operator, PipeOperator::Join(_)));
        within_one_from(1 + joins.count() as u64)?;
        let sets = query.pipe_operators.iter().map(|operator| match operator {
            PipeOperator::Aggregate { group_by_expr, .. } => {
                product(group_by_expr.iter().map(|by| of_expr(&by.expr.expr)))
            }
            _ => 0,
        });
        self.add(Size { grouping_sets: sets.fold(0, u64::saturating_add), ..Size::default() })
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        let size = self.close();
        let Some(outer) = self.open.last_mut() else { return ControlFlow::Continue(()) };
        match outer.defined.remove(&std::ptr::from_ref(query)) {
            Some(name) => {
                // Reading it is a node of its own.
                outer.known.insert(name, Size { relations: size.relations.max(1), ..size });
                ControlFlow::Continue(())
            }
            None => self.add(size),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<String> {
        within_one_from(select.from.iter().map(|table| 1 + table.joins.len() as u64).sum())?;
        within_one_list(select.projection.len())?;
        for window in &select.named_window {
            if let NamedWindowExpr::WindowSpec(window) = &window.1 {
                within_one_window(window)?;
            }
        }
        if let GroupByExpr::Expressions(exprs, _) = &select.group_by {
            within_one_list(exprs.len())?;
        }
        // A row of its own stands in place of tables.
        let relations = u64::from(select.from.is_empty());
        self.add(Size { relations, grouping_sets: grouping_sets(&select.group_by), ..Size::default() })
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<String> {
        self.add(self.relation(name))
    }

    fn pre_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<String> {
        self.open.push(Open::default());
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<String> {
        if let Expr::Function(function) = expr {
            self.function(function)?;
        }
        let mut size = self.close().times(copies(expr));
        size.add(Size { terms: 1, ..Size::default() });
        self.add(size)
    }
}

impl Reckoning {
    fn function(&mut self, function: &Function) -> ControlFlow<String> {
        within_one_order(function.within_group.len())?;
        if let FunctionArguments::List(arguments) = &function.args {
            for clause in &arguments.clauses {
                if let FunctionArgumentClause::OrderBy(exprs) = clause {
                    within_one_order(exprs.len())?;
                }
            }
        }
        if let Some(WindowType::WindowSpec(window)) = &function.over {
            within_one_window(window)?;
        }
        let windows = u64::from(function.over.is_some());
        self.add(Size { windows, ..Size::default() })
    }
}

/// How often what is inside an expression stands in its plan.
fn copies(expr: &Expr) -> u64 {
    match expr {
        Expr::Between { .. } => 2,
        Expr::InList { list, .. } if list.len() <= INLINED_LIST_MAX => list.len().max(1) as u64,
        Expr::Function(Function { name, .. }) => match name.0.last().and_then(|part| part.as_ident()) {
            Some(name) if DOUBLED.iter().any(|doubled| name.value.eq_ignore_ascii_case(doubled)) => 2,
            _ => 1,
        },
        _ => 1,
    }
}

/// The grouping sets of one aggregation: the product of those of its parts.
fn grouping_sets(group_by: &GroupByExpr) -> u64 {
    let (exprs, modifiers): (&[Expr], _) = match group_by {
        GroupByExpr::All(modifiers) => (&[], modifiers),
        GroupByExpr::Expressions(exprs, modifiers) => (exprs, modifiers),
    };
    let of_modifier = |modifier: &GroupByWithModifier| match modifier {
        GroupByWithModifier::Rollup | GroupByWithModifier::Totals => exprs.len() as u64 + 1,
        GroupByWithModifier::Cube => powerset(exprs.len()),
        GroupByWithModifier::GroupingSets(expr) => of_expr(expr),
    };
    product(exprs.iter().map(of_expr).chain(modifiers.iter().map(of_modifier)))
}

/// One set is no more than an aggregation.
fn product(parts: impl Iterator<Item = u64>) -> u64 {
    let sets = parts.fold(1, u64::saturating_mul);
    if sets > 1 { sets } else { 0 }
}

fn of_expr(expr: &Expr) -> u64 {
    match expr {
        Expr::GroupingSets(sets) => sets.len() as u64,
        Expr::Cube(sets) => powerset(sets.len()),
        Expr::Rollup(sets) => sets.len() as u64 + 1,
        Expr::Nested(inner) => of_expr(inner),
        _ => 1,
    }
}

/// How many subsets a set has.
fn powerset(members: usize) -> u64 {
    u32::try_from(members).ok().and_then(|members| 1u64.checked_shl(members)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
