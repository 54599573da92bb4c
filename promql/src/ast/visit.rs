//! Ways over the tree. All are iterative: a long chain of operators is a deep tree.

use super::{Expr, VectorSelector};

/// The nodes of a tree in pre-order; see [`Expr::nodes`].
#[derive(Debug)]
pub struct Nodes<'a> {
    /// Nodes not yielded yet, the next one last.
    pending: Vec<&'a Expr>,
}

impl<'a> Iterator for Nodes<'a> {
    type Item = &'a Expr;

    fn next(&mut self) -> Option<&'a Expr> {
        let node = self.pending.pop()?;
        let first = self.pending.len();
        node.for_each_child(|child| self.pending.push(child));
        self.pending[first..].reverse();
        Some(node)
    }
}

impl Expr {
    /// Calls `visit` with every direct sub-expression, in the order of the text. The selector of a range is part of it,
    /// no expression of its own.
    pub fn for_each_child<'a>(&'a self, mut visit: impl FnMut(&'a Self)) {
        match self {
            Self::Number(_) | Self::String(_) | Self::VectorSelector(_) | Self::MatrixSelector(_) => {}
            Self::Subquery(subquery) => visit(&subquery.expr),
            Self::Aggregation(aggregation) => {
                aggregation.param.iter().for_each(|param| visit(param));
                visit(&aggregation.expr);
            }
            Self::Binary(binary) => {
                visit(&binary.lhs);
                visit(&binary.rhs);
            }
            Self::Unary(unary) => visit(&unary.expr),
            Self::Call(call) => call.args.iter().for_each(visit),
            Self::Paren(paren) => visit(&paren.expr),
        }
    }

    /// The expression and all below it: a node before its children, children in the order of the text.
    #[must_use]
    pub fn nodes(&self) -> Nodes<'_> {
        Nodes { pending: vec![self] }
    }

    /// All selectors, those of ranges included, in the order of the text.
    pub fn selectors(&self) -> impl Iterator<Item = &VectorSelector> {
        self.nodes().filter_map(|node| match node {
            Self::VectorSelector(selector) => Some(selector),
            Self::MatrixSelector(matrix) => Some(&matrix.selector),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::{ParseOptions, parse};

    #[test]
    fn nodes_come_in_the_order_of_the_text() {
        let query = "clamp(topk(2, -(a + rate(b[5m]))), 1, scalar(max_over_time(c[1h:])))";
        let expr = parse(query, &ParseOptions::all());
        let expr = expr.unwrap_or_else(|error| panic!("{query}: {error}"));
        let texts: Vec<String> = expr.nodes().skip(1).map(ToString::to_string).collect();
        let expected = [
            "topk(2, -(a + rate(b[5m])))",
            "2",
            "-(a + rate(b[5m]))",
            "(a + rate(b[5m]))",
            "a + rate(b[5m])",
            "a",
            "rate(b[5m])",
            "b[5m]",
            "1",
            "scalar(max_over_time(c[1h:]))",
            "max_over_time(c[1h:])",
            "c[1h:]",
            "c",
        ];
        assert_eq!(texts, expected);
        let names: Vec<_> = expr.selectors().filter_map(|selector| selector.name.as_deref()).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }
}
