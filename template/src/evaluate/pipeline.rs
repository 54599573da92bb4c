//! Values of pipelines, commands, variables and field chains.

use super::call::Callee;
use super::{Execution, Outcome, Place};
use crate::ast::{Command, Operand, OperandKind, Pipe};
use crate::functions::Builtin;
use crate::literal::Number;
use crate::template::MissingKey;
use crate::value::{Map, Value, method_signature};
use std::sync::Arc;

/// What the last name of a field chain is given, if it is a method.
#[derive(Clone, Copy)]
pub(super) struct Extras<'t, 'v> {
    pub(super) arguments: &'t [Operand],
    /// The result of the command before.
    pub(super) piped: Option<&'v Value>,
}

impl Extras<'_, '_> {
    pub(super) const NONE: Self = Extras { arguments: &[], piped: None };

    fn is_none(self) -> bool {
        self.arguments.is_empty() && self.piped.is_none()
    }
}

impl<'t> Execution<'t> {
    /// The value of the last command; it also goes to the variables of the pipeline.
    pub(super) fn pipeline(&mut self, dot: &Value, pipe: &'t Pipe) -> Outcome<Value> {
        self.at = Some(Place::Pipe(pipe));
        let mut piped = None;
        for command in &pipe.commands {
            self.spend(1)?;
            let value = self.command(dot, command, piped.as_ref())?;
            // What a map of anything holds as nil is, outside of it, no value.
            piped = Some(if value.is_nil() { Value::NoValue } else { value });
        }
        let value = piped.unwrap_or(Value::NoValue);
        for variable in &pipe.variables {
            if pipe.assigns {
                self.assign(variable, value.clone())?;
            } else {
                self.frame.variables.push((variable, value.clone()));
            }
        }
        Ok(value)
    }

    fn command(&mut self, dot: &Value, command: &'t Command, piped: Option<&Value>) -> Outcome<Value> {
        let head = &command.head;
        let extras = Extras { arguments: &command.arguments, piped };
        match &head.kind {
            OperandKind::Field(names) => {
                self.at = Some(Place::Operand(head));
                self.field_chain(dot, dot.clone(), head, names, extras)
            }
            OperandKind::Variable(variable, names) => self.variable(dot, head, variable, names, extras),
            OperandKind::Chain(inner, names) => self.chain(dot, head, inner, names, extras),
            OperandKind::Identifier(name) => self.function(dot, head, name, Place::Command(command), extras),
            OperandKind::Pipe(pipe) => {
                self.require_no_extras(head, extras)?;
                self.parenthesised(dot, pipe)
            }
            OperandKind::Bool(_)
            | OperandKind::Dot
            | OperandKind::Nil
            | OperandKind::Number(_)
            | OperandKind::Text(_) => {
                self.at = Some(Place::Operand(head));
                self.require_no_extras(head, extras)?;
                if matches!(head.kind, OperandKind::Nil) {
                    return Err(self.error("nil is not a command"));
                }
                self.literal(dot, head)
            }
        }
    }

    pub(super) fn parenthesised(&mut self, dot: &Value, pipe: &'t Pipe) -> Outcome<Value> {
        self.enter()?;
        let value = self.pipeline(dot, pipe)?;
        self.depth -= 1;
        Ok(value)
    }

    fn require_no_extras(&self, head: &Operand, extras: Extras<'_, '_>) -> Outcome<()> {
        if extras.is_none() {
            return Ok(());
        }
        Err(self.error(format!("can't give argument to non-function {head}")))
    }

    /// The value of an operand that is neither computed nor looked up.
    pub(super) fn literal(&self, dot: &Value, operand: &Operand) -> Outcome<Value> {
        match &operand.kind {
            OperandKind::Bool(truth) => Ok(Value::Bool(*truth)),
            OperandKind::Number(number) => self.number(number),
            OperandKind::Text(text) => Ok(Value::String(Arc::clone(&text.text))),
            OperandKind::Nil => Ok(Value::Nil),
            _ => Ok(dot.clone()),
        }
    }

    /// A number where nothing says which type it shall have.
    fn number(&self, number: &Number) -> Outcome<Value> {
        if number.is_float_literal() {
            return Ok(Value::Float(number.float.unwrap_or(f64::NAN)));
        }
        number.int.map(Value::int).ok_or_else(|| self.error(format!("{} overflows int", number.text)))
    }

    pub(super) fn variable(
        &mut self,
        dot: &Value,
        operand: &'t Operand,
        name: &str,
        names: &'t [Arc<str>],
        extras: Extras<'t, '_>,
    ) -> Outcome<Value> {
        self.at = Some(Place::Operand(operand));
        let value = self.variable_value(name)?;
        if names.is_empty() {
            self.require_no_extras(operand, extras)?;
            return Ok(value);
        }
        self.field_chain(dot, value, operand, names, extras)
    }

    fn variable_value(&mut self, name: &str) -> Outcome<Value> {
        let passed = self.frame.variables.iter().rev().take_while(|(known, _)| *known != name).count();
        self.spend(passed as u64 / 64)?;
        match self.frame.variables.iter().rev().nth(passed) {
            Some((_, value)) => Ok(value.clone()),
            None => Err(self.error(format!("undefined variable: {name}"))),
        }
    }

    /// Fields of the value of a function or of a pipeline in parentheses.
    pub(super) fn chain(
        &mut self,
        dot: &Value,
        operand: &'t Operand,
        inner: &'t Operand,
        names: &'t [Arc<str>],
        extras: Extras<'t, '_>,
    ) -> Outcome<Value> {
        self.at = Some(Place::Operand(operand));
        let value = match &inner.kind {
            OperandKind::Pipe(pipe) => {
                self.at = Some(Place::Operand(inner));
                self.parenthesised(dot, pipe)?
            }
            OperandKind::Identifier(name) => self.function(dot, inner, name, Place::Operand(inner), Extras::NONE)?,
            _ => self.literal(dot, inner)?,
        };
        self.field_chain(dot, value, operand, names, extras)
    }

    /// `receiver.a.b`: only the last name gets the extras.
    pub(super) fn field_chain(
        &mut self,
        dot: &Value,
        receiver: Value,
        operand: &'t Operand,
        names: &'t [Arc<str>],
        extras: Extras<'t, '_>,
    ) -> Outcome<Value> {
        let Some((last, before)) = names.split_last() else { return Ok(receiver) };
        let mut receiver = receiver;
        for name in before {
            receiver = self.field(dot, &receiver, operand, name, Extras::NONE)?;
        }
        self.field(dot, &receiver, operand, last, extras)
    }

    /// A method, a field or an entry of `receiver`, looked for in this order.
    fn field(
        &mut self,
        dot: &Value,
        receiver: &Value,
        operand: &'t Operand,
        name: &'t str,
        extras: Extras<'t, '_>,
    ) -> Outcome<Value> {
        self.spend(1)?;
        match receiver {
            Value::NoValue if self.options.missing_key == MissingKey::Error => {
                return Err(self.error(format!("nil data; no entry for key {}", model::text::quote(name))));
            }
            Value::NoValue => return Ok(Value::NoValue),
            Value::Nil => return Err(self.error(format!("nil pointer evaluating interface {{}}.{name}"))),
            _ => {}
        }
        let target = receiver.behind_pointers();
        if let Some(signature) = method_signature(target, name) {
            let callee = Callee::Method(target.clone());
            return self.call(dot, &callee, name, signature, Place::Operand(operand), extras);
        }
        if let Value::Object(object) = target
            && let Some(value) = object.field(name)
        {
            return match extras.is_none() {
                true => Ok(value),
                false if object.underlying().is_some() => {
                    Err(self.error(format!("{name} is not a method but has arguments")))
                }
                false => Err(self.error(format!("{name} has arguments but cannot be invoked as function"))),
            };
        }
        if let Value::Map(map) = target.collection().as_ref() {
            if !extras.is_none() {
                return Err(self.error(format!("{name} is not a method but has arguments")));
            }
            return self.entry(map, name);
        }
        Err(self.error(format!("can't evaluate field {name} in type {}", receiver.type_name())))
    }

    fn entry(&self, map: &Map, name: &str) -> Outcome<Value> {
        match (map.get(name), self.options.missing_key) {
            (Some(value), _) => Ok(value.clone()),
            (None, MissingKey::Zero) => Ok(map.zero().clone()),
            (None, MissingKey::NoValue) => Ok(Value::NoValue),
            (None, MissingKey::Error) => {
                Err(self.error(format!("map has no entry for key {}", model::text::quote(name))))
            }
        }
    }

    pub(super) fn function(
        &mut self,
        dot: &Value,
        operand: &'t Operand,
        name: &'t str,
        place: Place<'t>,
        extras: Extras<'t, '_>,
    ) -> Outcome<Value> {
        self.at = Some(Place::Operand(operand));
        if let Some(signature) = self.functions.signature(name) {
            return self.call(dot, &Callee::Host, name, signature, place, extras);
        }
        match Builtin::of(name) {
            Some(builtin) => self.call(dot, &Callee::Builtin(builtin), name, builtin.signature(), place, extras),
            None => Err(self.error(format!("{} is not a defined function", model::text::quote(name)))),
        }
    }
}
