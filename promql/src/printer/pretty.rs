//! The form in lines: whatever does not fit 100 bytes is split, its parts indented by two blanks.

use super::{write_aggregation_head, write_expr, write_operator, write_subquery_suffix};
use crate::ast::{Binary, Expr};
use std::fmt::{self, Write};

/// Bytes that an expression may take in one line, indentation not counted.
const LINE_MAX: usize = 100;

/// The expression as the HTTP API's `format_query` answers it.
#[must_use]
pub fn prettify(expr: &Expr) -> String {
    prettify_within(expr, LINE_MAX)
}

/// As [`prettify`], for lines of another length.
pub(super) fn prettify_within(expr: &Expr, line_max: usize) -> String {
    let mut lines = Lines { out: String::new(), line_max };
    lines.write(expr, 0).expect("writing to a string cannot fail");
    lines.out
}

struct Lines {
    out: String,
    line_max: usize,
}

impl Lines {
    /// Whether the one-line form is too long; stops writing as soon as that is known.
    fn needs_split(&self, expr: &Expr) -> bool {
        struct Budget(usize);
        impl Write for Budget {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
                Ok(())
            }
        }
        write_expr(&mut Budget(self.line_max), expr).is_err()
    }

    fn indent(&mut self, level: usize) {
        self.out.extend(std::iter::repeat_n("  ", level));
    }

    fn write(&mut self, expr: &Expr, level: usize) -> fmt::Result {
        match expr {
            Expr::Number(_) | Expr::String(_) | Expr::VectorSelector(_) | Expr::MatrixSelector(_) => {
                self.indent(level);
                write_expr(&mut self.out, expr)
            }
            Expr::Unary(unary) => {
                self.indent(level);
                self.out.push(if unary.negative { '-' } else { '+' });
                self.write_behind_sign(&unary.expr, level)
            }
            // As in Prometheus, a subquery that fits is not indented.
            Expr::Subquery(_) if !self.needs_split(expr) => write_expr(&mut self.out, expr),
            Expr::Subquery(subquery) => {
                self.write(&subquery.expr, level)?;
                write_subquery_suffix(&mut self.out, subquery)
            }
            _ if !self.needs_split(expr) => {
                self.indent(level);
                write_expr(&mut self.out, expr)
            }
            Expr::Binary(binary) => self.write_chain(binary, level),
            Expr::Aggregation(aggregation) => {
                self.indent(level);
                write_aggregation_head(&mut self.out, aggregation)?;
                let operands = aggregation.param.iter().chain([&aggregation.expr]);
                self.write_group(operands.map(|operand| &**operand), level)
            }
            Expr::Call(call) => {
                self.indent(level);
                self.out.push_str(call.function.name);
                self.write_group(call.args.iter(), level)
            }
            Expr::Paren(paren) => {
                self.indent(level);
                self.write_group([&*paren.expr].into_iter(), level)
            }
        }
    }

    /// Writes an operand without the indentation that it would have on a line of its own.
    fn write_behind_sign(&mut self, operand: &Expr, level: usize) -> fmt::Result {
        let before = self.out.len();
        self.write(operand, level)?;
        let written = self.out.split_off(before);
        self.out.push_str(written.trim());
        Ok(())
    }

    /// Parentheses around parts on lines of their own.
    fn write_group<'a>(&mut self, parts: impl Iterator<Item = &'a Expr>, level: usize) -> fmt::Result {
        self.out.push_str("(\n");
        for (index, part) in parts.enumerate() {
            self.out.push_str(if index == 0 { "" } else { ",\n" });
            self.write(part, level + 1)?;
        }
        self.out.push('\n');
        self.indent(level);
        self.out.push(')');
        Ok(())
    }

    /// Writes a chain of operators that leans to the left; every operator further in is one level deeper.
    fn write_chain(&mut self, outermost: &Binary, level: usize) -> fmt::Result {
        let mut chain = vec![outermost];
        let mut first = &*outermost.lhs;
        while let Expr::Binary(inner) = first
            && self.needs_split(first)
        {
            chain.push(inner);
            first = &inner.lhs;
        }
        self.write(first, level + chain.len())?;
        for (depth, binary) in chain.into_iter().enumerate().rev() {
            self.out.push('\n');
            self.indent(level + depth);
            write_operator(&mut self.out, binary)?;
            self.out.push('\n');
            self.write(&binary.rhs, level + depth + 1)?;
        }
        Ok(())
    }
}
