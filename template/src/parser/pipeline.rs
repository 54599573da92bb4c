//! The inside of an action: pipelines, commands and operands.

use super::{Parsed, Parser, VARIABLES_MAX};
use crate::ast::{Command, Operand, OperandKind, Pipe, Text};
use crate::error::Error;
use crate::functions::is_builtin;
use crate::literal::{Number, unquote};
use crate::token::{Keyword, Kind};
use std::sync::Arc;

impl Parser<'_> {
    /// `$x := command | command`, up to and with a token of kind `end`.
    pub(super) fn pipeline(&mut self, context: &str, end: Kind) -> Parsed<Pipe> {
        let position = self.peek_non_space().position;
        let mut pipe = Pipe { position, variables: Vec::new(), assigns: false, commands: Vec::new() };
        self.declarations(&mut pipe, context)?;
        loop {
            let before = self.next;
            let token = self.take_non_space();
            match token.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::CharConstant
                | Kind::Complex
                | Kind::Keyword(Keyword::Dot | Keyword::Nil)
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParen => {
                    self.next = before;
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return Err(self.unexpected(&token, context)),
            }
        }
        self.check(&pipe, context)?;
        Ok(pipe)
    }

    /// `$x :=`, `$x =`, in a range also `$i, $x :=`. A variable that none of these follows is an operand.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Parsed<()> {
        loop {
            let variable = self.peek_non_space();
            if variable.kind != Kind::Variable {
                return Ok(());
            }
            let before = self.next;
            self.take();
            let next = self.take_non_space();
            let is_comma = next.kind == Kind::Char && next.text == ",";
            if !is_comma && !matches!(next.kind, Kind::Assign | Kind::Declare) {
                self.next = before;
                return Ok(());
            }
            if self.scope.variables.len() >= VARIABLES_MAX {
                return Err(self.error("too many variables"));
            }
            let name: Arc<str> = Arc::from(variable.text);
            pipe.variables.push(Arc::clone(&name));
            self.scope.variables.push(name);
            if !is_comma {
                pipe.assigns = next.kind == Kind::Assign;
                return Ok(());
            }
            if context != "range" || pipe.variables.len() >= 2 {
                return Err(self.error(format!("too many declarations in {context}")));
            }
            if !matches!(self.peek_non_space().kind, Kind::Variable | Kind::RightDelimiter | Kind::RightParen) {
                return Err(self.error("range can only initialize variables"));
            }
        }
    }

    fn check(&self, pipe: &Pipe, context: &str) -> Parsed<()> {
        if pipe.commands.is_empty() {
            return Err(self.error(format!("missing value for {context}")));
        }
        let literal = |command: &Command| {
            use OperandKind::{Bool, Dot, Nil, Number, Text};
            matches!(command.head.kind, Bool(_) | Dot | Nil | Number(_) | Text(_))
        };
        match pipe.commands.iter().skip(1).position(literal) {
            Some(index) => Err(self.error(format!("non executable command in pipeline stage {}", index + 2))),
            None => Ok(()),
        }
    }

    /// Operands separated by blanks, up to a pipe symbol, which is taken, or what ends the pipeline, which is not.
    fn command(&mut self) -> Parsed<Command> {
        let position = self.peek_non_space().position;
        let mut operands = Vec::new();
        loop {
            self.peek_non_space();
            operands.extend(self.operand()?);
            let before = self.next;
            let token = self.take();
            match token.kind {
                Kind::Space => {}
                Kind::RightDelimiter | Kind::RightParen => {
                    self.next = before;
                    break;
                }
                Kind::Pipe => break,
                _ => return Err(self.unexpected(&token, "operand")),
            }
        }
        let mut operands = operands.into_iter();
        let head = operands.next().ok_or_else(|| self.error("empty command"))?;
        Ok(Command { position, head, arguments: operands.collect() })
    }

    /// A term and the fields behind it, or `None` when the next token begins no term.
    fn operand(&mut self) -> Parsed<Option<Operand>> {
        let Some(term) = self.term()? else { return Ok(None) };
        if self.peek().kind != Kind::Field {
            return Ok(Some(term));
        }
        self.chain(term).map(Some)
    }

    /// A term with the fields that follow it.
    fn chain(&mut self, term: Operand) -> Parsed<Operand> {
        let position = self.peek().position;
        let mut names = Vec::new();
        while self.peek().kind == Kind::Field {
            names.push(field_name(self.take().text));
        }
        let kind = match term.kind {
            OperandKind::Field(mut first) => {
                first.append(&mut names);
                OperandKind::Field(first)
            }
            OperandKind::Variable(variable, mut first) => {
                first.append(&mut names);
                OperandKind::Variable(variable, first)
            }
            OperandKind::Bool(_)
            | OperandKind::Text(_)
            | OperandKind::Number(_)
            | OperandKind::Nil
            | OperandKind::Dot => {
                let quoted = model::text::quote(&term.to_string());
                return Err(self.error(format!("unexpected . after term {quoted}")));
            }
            OperandKind::Identifier(_) | OperandKind::Pipe(_) | OperandKind::Chain(..) => {
                OperandKind::Chain(Box::new(term), names)
            }
        };
        Ok(Operand { position, kind })
    }

    fn parenthesised(&mut self) -> Parsed<Operand> {
        self.deeper("max expression depth exceeded")?;
        let pipe = Box::new(self.pipeline("parenthesized pipeline", Kind::RightParen)?);
        self.nesting -= 1;
        Ok(Operand { position: pipe.position, kind: OperandKind::Pipe(pipe) })
    }

    fn number(&self, number: Result<Number, String>) -> Parsed<OperandKind> {
        number.map(|number| OperandKind::Number(Box::new(number))).map_err(|message| self.error(message))
    }

    fn text(&self, quoted: &str) -> Parsed<OperandKind> {
        let text = unquote(quoted).map_err(|message| self.error(message))?;
        Ok(OperandKind::Text(Box::new(Text { quoted: quoted.to_owned(), text: Arc::from(text) })))
    }

    fn undefined(&self, before: &str, name: &str, after: &str) -> Box<Error> {
        self.error(format!("{before} {}{after}", model::text::quote(name)))
    }

    fn term(&mut self) -> Parsed<Option<Operand>> {
        let before = self.next;
        let token = self.take_non_space();
        let text = token.text;
        let kind = match token.kind {
            Kind::Identifier if is_builtin(text) || self.functions.contains(text) => {
                OperandKind::Identifier(Arc::from(text))
            }
            Kind::Identifier => return Err(self.undefined("function", text, " not defined")),
            Kind::Keyword(Keyword::Dot) => OperandKind::Dot,
            Kind::Keyword(Keyword::Nil) => OperandKind::Nil,
            Kind::Variable if self.scope.variables.iter().any(|known| known.as_ref() == text) => {
                OperandKind::Variable(Arc::from(text), Vec::new())
            }
            Kind::Variable => return Err(self.undefined("undefined variable", text, "")),
            Kind::Field => OperandKind::Field(vec![field_name(text)]),
            Kind::Bool => OperandKind::Bool(text == "true"),
            Kind::CharConstant => self.number(Number::parse_char(text))?,
            Kind::Complex | Kind::Number => self.number(Number::parse(text))?,
            Kind::String | Kind::RawString => self.text(text)?,
            Kind::LeftParen => return self.parenthesised().map(Some),
            _ => {
                self.next = before;
                return Ok(None);
            }
        };
        Ok(Some(Operand { position: token.position, kind }))
    }
}

/// The name of a field token, without its dot.
fn field_name(token: &str) -> Arc<str> {
    Arc::from(token.strip_prefix('.').unwrap_or(token))
}
