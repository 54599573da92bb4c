//! Trees and data to text: statements.
//!
//! `evaluate/pipeline.rs` computes values, `evaluate/call.rs` calls functions. Every node costs a step and every nesting
//! a level, so that an execution ends and stays within its thread's stack. Errors name the place as Go does.

mod call;
mod pipeline;

use crate::ast::{Command, Conditional, Invocation, Node, Operand, Pipe, Range, Tree};
use crate::call::Functions;
use crate::error::{Error, ErrorKind, line_and_column};
use crate::format;
use crate::limits::{Bounded, Exceeded};
use crate::parser::Trees;
use crate::template::Options;
use crate::value::{Integer, IntegerKind, Value};
use std::fmt::{self, Write};
use std::sync::Arc;

/// Executes `tree`, one of `trees`, with `data` for the dot.
pub(crate) fn execute(
    trees: &Trees,
    tree: &Tree,
    data: Value,
    functions: &dyn Functions,
    options: &Options,
) -> Result<String, Error> {
    let mut execution = Execution {
        trees,
        functions,
        options,
        out: Bounded::new(options.limits.output_bytes),
        frame: Frame { tree, variables: vec![("$", data.clone())] },
        depth: 0,
        steps: 0,
        at: None,
    };
    execution.list(&data, &tree.root).map_err(|error| *error)?;
    Ok(execution.out.into_text())
}

struct Execution<'t> {
    trees: &'t Trees,
    functions: &'t dyn Functions,
    options: &'t Options,
    out: Bounded,
    frame: Frame<'t>,
    /// Levels of lists, invocations and parentheses around the current node.
    depth: u32,
    /// Steps taken.
    steps: u64,
    /// What errors name.
    at: Option<Place<'t>>,
}

/// The named template that is being executed and its variables; those of its caller are out of reach.
struct Frame<'t> {
    tree: &'t Tree,
    /// With their dollar signs; the last of a name counts.
    variables: Vec<(&'t str, Value)>,
}

/// A node that an error message quotes.
#[derive(Clone, Copy)]
enum Place<'t> {
    Operand(&'t Operand),
    Command(&'t Command),
    Pipe(&'t Pipe),
    Action(&'t Pipe),
    Invocation(&'t Invocation),
}

impl Place<'_> {
    fn position(self) -> usize {
        let position = match self {
            Self::Operand(operand) => operand.position,
            Self::Command(command) => command.position,
            Self::Pipe(pipe) | Self::Action(pipe) => pipe.position,
            Self::Invocation(invocation) => invocation.position,
        };
        position as usize
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operand(operand) => write!(f, "{operand}"),
            Self::Command(command) => write!(f, "{command}"),
            Self::Pipe(pipe) => write!(f, "{pipe}"),
            Self::Action(pipe) => write!(f, "{{{{{pipe}}}}}"),
            Self::Invocation(invocation) => write!(f, "{invocation}"),
        }
    }
}

type Outcome<T> = Result<T, Box<Error>>;

/// What follows a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

impl<'t> Execution<'t> {
    fn list(&mut self, dot: &Value, nodes: &'t [Node]) -> Outcome<Flow> {
        self.enter()?;
        let mut flow = Flow::Next;
        for node in nodes {
            flow = self.node(dot, node)?;
            if flow != Flow::Next {
                break;
            }
        }
        self.depth -= 1;
        Ok(flow)
    }

    fn node(&mut self, dot: &Value, node: &'t Node) -> Outcome<Flow> {
        self.spend(1)?;
        match node {
            Node::Text(text) => self.write(|out| out.write_str(text))?,
            Node::Action(pipe) => self.action(dot, pipe)?,
            Node::If(conditional) => return self.conditional(dot, conditional, false),
            Node::With(conditional) => return self.conditional(dot, conditional, true),
            Node::Range(range) => return self.range(dot, range),
            Node::Template(invocation) => self.invoke(dot, invocation)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    /// Prints the pipeline's value, unless that went to a variable.
    fn action(&mut self, dot: &Value, pipe: &'t Pipe) -> Outcome<()> {
        let value = self.pipeline(dot, pipe)?;
        if !pipe.variables.is_empty() {
            return Ok(());
        }
        self.at = Some(Place::Action(pipe));
        match value.behind_pointers() {
            Value::NoValue | Value::Nil => self.write(|out| out.write_str("<no value>")),
            Value::Function(function) => {
                Err(self.error(format!("can't print {{{{{pipe}}}}} of type {}", function.type_name)))
            }
            value => self.write(|out| format::print(out, std::slice::from_ref(value))),
        }
    }

    /// `if`, and `with`, which sets the dot.
    fn conditional(&mut self, dot: &Value, conditional: &'t Conditional, sets_dot: bool) -> Outcome<Flow> {
        let known_variables = self.frame.variables.len();
        let mut taken = None;
        for (pipe, body) in &conditional.branches {
            let value = self.pipeline(dot, pipe)?;
            if value.is_true() {
                taken = Some((value, body));
                break;
            }
        }
        let flow = match &taken {
            Some((value, body)) => self.list(if sets_dot { value } else { dot }, body)?,
            None => self.list(dot, &conditional.otherwise)?,
        };
        self.frame.variables.truncate(known_variables);
        Ok(flow)
    }

    fn range(&mut self, dot: &Value, range: &'t Range) -> Outcome<Flow> {
        let known_variables = self.frame.variables.len();
        let value = self.pipeline(dot, &range.pipe)?;
        let iterated = match value.collection().as_ref() {
            Value::List(list) => {
                let items = list.items().iter().enumerate();
                self.iterate(
                    range,
                    items.map(|(i, item)| (Value::int(i64::try_from(i).unwrap_or(i64::MAX)), item.clone())),
                )?
            }
            Value::Map(map) => {
                let entries = map.entries().iter();
                self.iterate(range, entries.map(|(key, value)| (Value::String(Arc::clone(key)), value.clone())))?
            }
            Value::Integer(number) => self.iterate_to(range, *number)?,
            Value::NoValue | Value::Nil => None,
            other => {
                let text = format::text(other, 'v', self.options.limits.output_bytes).unwrap_or_default();
                return Err(self.error(format!("range can't iterate over {text}")));
            }
        };
        let flow = match iterated {
            Some(()) => Flow::Next,
            None => self.list(dot, &range.otherwise)?,
        };
        self.frame.variables.truncate(known_variables);
        Ok(flow)
    }

    /// `range 3` counts 0, 1, 2.
    fn iterate_to(&mut self, range: &'t Range, number: Integer) -> Outcome<Option<()>> {
        if range.pipe.variables.len() > 1 {
            let message = format!("can't use {} to iterate over more than one variable", number.value());
            return Err(self.error(message));
        }
        let end = i64::try_from(number.value()).unwrap_or(i64::MAX);
        let kind = if number.kind() == IntegerKind::Uint64 { IntegerKind::Int } else { number.kind() };
        self.iterate(range, (0..end).map(|i| (Value::NoValue, Value::Integer(Integer::new(i, kind)))))
    }

    /// Executes the body for each item; `None` when there was none.
    fn iterate(&mut self, range: &'t Range, items: impl Iterator<Item = (Value, Value)>) -> Outcome<Option<()>> {
        let known_variables = self.frame.variables.len();
        let mut any = None;
        for (index, item) in items {
            any = Some(());
            self.spend(1)?;
            self.set_range_variables(range, index, &item)?;
            let flow = self.list(&item, &range.body)?;
            self.frame.variables.truncate(known_variables);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(any)
    }

    /// One variable gets the item, of two the first gets the index. Declared ones are the last of the frame.
    fn set_range_variables(&mut self, range: &'t Range, index: Value, item: &Value) -> Outcome<()> {
        let values = match range.pipe.variables.len() {
            0 => return Ok(()),
            1 => vec![item.clone()],
            _ => vec![index, item.clone()],
        };
        if range.pipe.assigns {
            for (name, value) in range.pipe.variables.iter().zip(values) {
                self.assign(name, value)?;
            }
            return Ok(());
        }
        for ((_, variable), value) in self.frame.variables.iter_mut().rev().zip(values.into_iter().rev()) {
            *variable = value;
        }
        Ok(())
    }

    /// `template`: another named template with the pipeline's value for its dot and nothing else of ours.
    fn invoke(&mut self, dot: &Value, invocation: &'t Invocation) -> Outcome<()> {
        self.at = Some(Place::Invocation(invocation));
        let trees = self.trees;
        let Some(tree) = trees.get(invocation.name.as_str()) else {
            let name = model::text::quote(&invocation.name);
            return Err(self.error(format!("template {name} not defined")));
        };
        let data = match &invocation.pipe {
            Some(pipe) => self.pipeline(dot, pipe)?,
            None => Value::NoValue,
        };
        self.at = Some(Place::Invocation(invocation));
        self.enter()?;
        let frame = Frame { tree, variables: vec![("$", data.clone())] };
        let outer = std::mem::replace(&mut self.frame, frame);
        self.list(&data, &tree.root)?;
        self.frame = outer;
        self.depth -= 1;
        Ok(())
    }

    fn assign(&mut self, name: &str, value: Value) -> Outcome<()> {
        let found = self.frame.variables.iter().rposition(|(known, _)| *known == name);
        match found.and_then(|index| self.frame.variables.get_mut(index)) {
            Some((_, variable)) => *variable = value,
            None => return Err(self.error(format!("undefined variable: {name}"))),
        }
        Ok(())
    }

    fn write(&mut self, write: impl FnOnce(&mut Bounded) -> fmt::Result) -> Outcome<()> {
        let max = self.options.limits.output_bytes;
        write(&mut self.out).map_err(|_| self.exceeded(Exceeded::OutputBytes(max)))
    }

    /// One level deeper; the caller takes it back unless it fails.
    fn enter(&mut self) -> Outcome<()> {
        let max = self.options.limits.depth;
        if self.depth >= max {
            return Err(self.exceeded(Exceeded::Depth(max)));
        }
        self.depth += 1;
        Ok(())
    }

    fn spend(&mut self, steps: u64) -> Outcome<()> {
        let max = self.options.limits.steps;
        self.steps = self.steps.saturating_add(steps);
        if self.steps > max { Err(self.exceeded(Exceeded::Steps(max))) } else { Ok(()) }
    }

    fn exceeded(&self, bound: Exceeded) -> Box<Error> {
        Box::new(Error { kind: ErrorKind::Limit, ..*self.error(bound.to_string()) })
    }

    fn error(&self, message: impl Into<String>) -> Box<Error> {
        let source = &self.frame.tree.source;
        let (line, column, message) = match self.at {
            None => (0, 0, message.into()),
            Some(place) => {
                let (line, column) = line_and_column(&source.text, place.position());
                let name = model::text::quote(&self.frame.tree.name);
                (line, column, format!("executing {name} at <{place}>: {}", message.into()))
            }
        };
        Box::new(Error { kind: ErrorKind::Execution, template: source.name.clone(), line, column, message })
    }
}
