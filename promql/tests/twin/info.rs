//! `info`, for the naive evaluator: labels of info series are added to the series that describe the same target.

use crate::matching::unique;
use crate::naive::{Element, Failed, Naive, Result, Value};
use model::labels::Labels;
use model::matcher::{MatchOp, Matcher};
use promql::ast::{Call, Expr, VectorSelector};
use std::collections::BTreeMap;

/// Which info series are wanted, and which of their labels.
struct Wanted {
    names: Vec<Matcher>,
    data: Vec<Matcher>,
}

impl Wanted {
    fn of(selector: Option<&VectorSelector>) -> Self {
        let matchers = selector.map_or(&[] as &[Matcher], |selector| selector.matchers.as_slice());
        let (mut names, data): (Vec<Matcher>, Vec<Matcher>) =
            matchers.iter().cloned().partition(|matcher| matcher.name() == "__name__");
        if names.is_empty() {
            names.push(Matcher::equal("__name__", "target_info"));
        } else if names.iter().all(|matcher| matches!(matcher.op(), MatchOp::NotEqual | MatchOp::NotRegex)) {
            names.extend(Matcher::new("__name__", MatchOp::Regex, ".+_info"));
        }
        Self { names, data }
    }

    fn is_info(&self, labels: &Labels) -> bool {
        self.names.iter().all(|matcher| matcher.matches(labels.get("__name__").unwrap_or_default()))
    }

    fn is_wanted(&self, labels: &Labels) -> bool {
        self.is_info(labels)
            && self.data.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
    }

    fn adds(&self, name: &str) -> bool {
        name != "__name__" && (self.data.is_empty() || self.data.iter().any(|matcher| matcher.name() == name))
    }
}

/// What says which target a series belongs to.
fn target(labels: &Labels) -> Labels {
    labels.filter(|name| name == "instance" || name == "job")
}

impl Naive<'_> {
    pub(crate) fn info(&self, call: &Call, at: i64) -> Result<Value> {
        let selector = match call.args.get(1) {
            Some(Expr::VectorSelector(selector)) => Some(selector),
            None => None,
            other => panic!("not generated: {other:?}"),
        };
        let wanted = Wanted::of(selector);
        let looked = self.first_look(&call.args[0], at).unwrap_or(at);
        // By metric and target: the newest one, of which there must be one.
        let mut newest: BTreeMap<(String, Labels), (i64, Labels)> = BTreeMap::new();
        for (labels, samples) in self.stored(|labels| wanted.is_wanted(labels)) {
            let Some((time, _)) = self.newest(&samples, looked) else { continue };
            let key = (labels.get("__name__").unwrap_or_default().to_owned(), target(&labels));
            match newest.get(&key) {
                Some((known, _)) if *known == time => panic!("not generated: two at the same time"),
                Some((known, _)) if *known > time => {}
                _ => {
                    newest.insert(key, (time, labels));
                }
            }
        }
        let mut enriched = Vec::new();
        for element in self.vector(&call.args[0], at)? {
            if wanted.is_info(&element.labels) {
                enriched.push(element);
                continue;
            }
            let of_target = newest.iter().filter(|((_, target_of), _)| *target_of == target(&element.labels));
            let infos: Vec<&Labels> = of_target.map(|(_, (_, labels))| labels).collect();
            if infos.is_empty() && wanted.data.iter().any(|matcher| !matcher.matches("")) {
                continue;
            }
            let mut added: BTreeMap<&str, &str> = BTreeMap::new();
            for (name, value) in infos.into_iter().flatten().filter(|(name, _)| wanted.adds(name)) {
                if element.labels.get(name).is_none() && added.insert(name, value).is_some_and(|known| known != value) {
                    return Err(Failed);
                }
            }
            let labels =
                added.into_iter().fold(element.labels.clone(), |labels, (name, value)| labels.with(name, value));
            enriched.push(Element { labels, ..element });
        }
        unique(&enriched)?;
        Ok(Value::Vector(enriched))
    }

    /// When the first selector of an expression looks; none inside a subquery is generated.
    fn first_look(&self, expr: &Expr, at: i64) -> Option<i64> {
        let all = |inside: Vec<&Expr>| inside.into_iter().find_map(|expr| self.first_look(expr, at));
        match expr {
            Expr::VectorSelector(selector) => Some(self.time_of(at, selector.at, selector.offset.as_ref())),
            Expr::MatrixSelector(matrix) => Some(self.time_of(at, matrix.selector.at, matrix.selector.offset.as_ref())),
            Expr::Paren(paren) => self.first_look(&paren.expr, at),
            Expr::Binary(binary) => all(vec![&binary.lhs, &binary.rhs]),
            Expr::Aggregation(aggregation) => self.first_look(&aggregation.expr, at),
            Expr::Call(call) => all(call.args.iter().collect()),
            Expr::Number(_) => None,
            other => panic!("not generated: {other:?}"),
        }
    }
}
