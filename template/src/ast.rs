//! What the parser makes of a text, and how error messages quote it.

use crate::literal::Number;
use std::fmt;
use std::sync::Arc;

/// One named template and the text it stands in.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) name: Arc<str>,
    pub(crate) source: Arc<Source>,
    pub(crate) root: Vec<Node>,
}

/// A text and the name under which it was loaded; several trees may come from one.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// Byte offset into the source.
pub(crate) type Position = u32;

#[derive(Debug)]
pub(crate) enum Node {
    Text(String),
    Action(Box<Pipe>),
    If(Box<Conditional>),
    With(Box<Conditional>),
    Range(Box<Range>),
    Template(Box<Invocation>),
    Break,
    Continue,
}

/// `{{if}}` or `{{with}}` with all its `{{else if}}`: the first branch that is true, else the last list.
#[derive(Debug)]
pub(crate) struct Conditional {
    /// At least one.
    pub(crate) branches: Vec<(Pipe, Vec<Node>)>,
    pub(crate) otherwise: Vec<Node>,
}

#[derive(Debug)]
pub(crate) struct Range {
    pub(crate) pipe: Pipe,
    pub(crate) body: Vec<Node>,
    pub(crate) otherwise: Vec<Node>,
}

/// `{{template "name" pipe}}`
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) position: Position,
    pub(crate) name: String,
    pub(crate) pipe: Option<Pipe>,
}

/// Commands, each given the result of the one before; the result may go to variables.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) position: Position,
    /// With their dollar signs. Two only in `range`.
    pub(crate) variables: Vec<Arc<str>>,
    /// `=` and not `:=`.
    pub(crate) assigns: bool,
    /// At least one.
    pub(crate) commands: Vec<Command>,
}

/// An operand and its arguments.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) position: Position,
    pub(crate) head: Operand,
    pub(crate) arguments: Vec<Operand>,
}

#[derive(Debug)]
pub(crate) struct Operand {
    pub(crate) position: Position,
    pub(crate) kind: OperandKind,
}

#[derive(Debug)]
pub(crate) enum OperandKind {
    Bool(bool),
    Dot,
    Nil,
    Number(Box<Number>),
    Text(Box<Text>),
    /// `.a.b`; at least one name.
    Field(Vec<Arc<str>>),
    /// `$x.a.b`: the variable with its dollar sign, then names.
    Variable(Arc<str>, Vec<Arc<str>>),
    /// A function.
    Identifier(Arc<str>),
    /// A pipeline in parentheses.
    Pipe(Box<Pipe>),
    /// `(pipe).a.b` or `function.a`; at least one name.
    Chain(Box<Operand>, Vec<Arc<str>>),
}

/// A string literal.
#[derive(Debug)]
pub(crate) struct Text {
    /// As it was written.
    pub(crate) quoted: String,
    /// What it stands for.
    pub(crate) text: Arc<str>,
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, variable) in self.variables.iter().enumerate() {
            write!(f, "{}{variable}", if i > 0 { ", " } else { "" })?;
        }
        if !self.variables.is_empty() {
            f.write_str(if self.assigns { " = " } else { " := " })?;
        }
        for (i, command) in self.commands.iter().enumerate() {
            write!(f, "{}{command}", if i > 0 { " | " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head.fmt_in_command(f)?;
        for argument in &self.arguments {
            f.write_str(" ")?;
            argument.fmt_in_command(f)?;
        }
        Ok(())
    }
}

impl Operand {
    /// Parentheses belong to the command, not to the pipeline inside.
    fn fmt_in_command(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            OperandKind::Pipe(pipe) => write!(f, "({pipe})"),
            _ => write!(f, "{self}"),
        }
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, names): (&str, &[Arc<str>]) = match &self.kind {
            OperandKind::Bool(truth) => return write!(f, "{truth}"),
            OperandKind::Dot => return f.write_str("."),
            OperandKind::Nil => return f.write_str("nil"),
            OperandKind::Number(number) => return f.write_str(&number.text),
            OperandKind::Text(text) => return f.write_str(&text.quoted),
            OperandKind::Identifier(name) => return f.write_str(name),
            OperandKind::Pipe(pipe) => return write!(f, "{pipe}"),
            OperandKind::Field(names) => ("", names),
            OperandKind::Variable(variable, names) => (variable, names),
            OperandKind::Chain(head, names) => {
                head.fmt_in_command(f)?;
                ("", names)
            }
        };
        f.write_str(start)?;
        names.iter().try_for_each(|name| write!(f, ".{name}"))
    }
}

impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{template {}", model::text::quote(&self.name))?;
        if let Some(pipe) = &self.pipe {
            write!(f, " {pipe}")?;
        }
        f.write_str("}}")
    }
}
