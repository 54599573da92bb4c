//! Calls: arguments fitted to parameters by Go's rules, then the function.

use super::pipeline::Extras;
use super::{Execution, Outcome, Place};
use crate::ast::{Operand, OperandKind};
use crate::call::{CallError, Signature, Type};
use crate::functions::Builtin;
use crate::limits::Exceeded;
use crate::value::{Integer, IntegerKind, Value, call_method};

/// Levels of lists and maps that a function may put together.
const VALUE_DEPTH_MAX: u32 = 50;

/// What is called.
pub(super) enum Callee {
    Builtin(Builtin),
    Host,
    /// A method of this value.
    Method(Value),
}

impl<'t> Execution<'t> {
    /// Calls a function or method; `place` is what a failure of the function itself is blamed on.
    pub(super) fn call(
        &mut self,
        dot: &Value,
        callee: &Callee,
        name: &str,
        signature: Signature,
        place: Place<'t>,
        extras: Extras<'t, '_>,
    ) -> Outcome<Value> {
        self.check_count(name, signature, extras)?;
        if let Callee::Builtin(Builtin::And | Builtin::Or) = callee {
            let stops_at = matches!(callee, Callee::Builtin(Builtin::Or));
            return self.short_circuit(dot, stops_at, extras);
        }
        let mut arguments = Vec::with_capacity(extras.arguments.len() + 1);
        for (i, operand) in extras.arguments.iter().enumerate() {
            arguments.push(self.argument(dot, signature.parameter(i).unwrap_or(Type::Any), operand)?);
        }
        if let Some(piped) = extras.piped {
            let parameter = signature.parameter(arguments.len()).unwrap_or(Type::Any);
            arguments.push(self.fitted(piped.clone(), parameter)?);
        }
        let weight = arguments.iter().map(Value::weight).fold(1, u64::saturating_add);
        self.spend(u64::from(signature.cost).saturating_mul(weight))?;
        let result = match callee {
            Callee::Builtin(Builtin::Call) => call_value(&arguments, extras.arguments.first()),
            Callee::Builtin(builtin) => builtin.call(&arguments, self.options.limits.output_bytes),
            Callee::Host => self.functions.call(name, &arguments),
            Callee::Method(value) => call_method(value, name, &arguments),
        };
        self.checked(name, place, result)
    }

    /// The result within its bounds, or the error with its place.
    fn checked(&mut self, name: &str, place: Place<'t>, result: Result<Value, CallError>) -> Outcome<Value> {
        let bytes_max = self.options.limits.output_bytes;
        match result {
            Ok(value) if value.depth() > VALUE_DEPTH_MAX => Err(self.exceeded(Exceeded::ValueDepth(VALUE_DEPTH_MAX))),
            Ok(Value::String(text)) if text.len() > bytes_max => Err(self.exceeded(Exceeded::OutputBytes(bytes_max))),
            Ok(value) => Ok(value),
            Err(error) => {
                self.at = Some(place);
                Err(match error {
                    CallError::Failed(message) => self.error(format!("error calling {name}: {message}")),
                    CallError::TooLong => self.exceeded(Exceeded::OutputBytes(bytes_max)),
                })
            }
        }
    }

    fn check_count(&self, name: &str, signature: Signature, extras: Extras<'_, '_>) -> Outcome<()> {
        let written = extras.arguments.len();
        let given = written + usize::from(extras.piped.is_some());
        let wanted = signature.parameters.len();
        if signature.rest.is_some() && given < wanted {
            return Err(self.error(format!("wrong number of args for {name}: want at least {wanted} got {written}")));
        }
        if signature.rest.is_none() && given != wanted {
            return Err(self.error(format!("wrong number of args for {name}: want {wanted} got {given}")));
        }
        Ok(())
    }

    /// `or` stops at the first argument that is true, `and` at the first that is not; the rest is not evaluated.
    fn short_circuit(&mut self, dot: &Value, stops_at: bool, extras: Extras<'t, '_>) -> Outcome<Value> {
        let mut value = Value::NoValue;
        for operand in extras.arguments {
            value = self.argument(dot, Type::Any, operand)?;
            if value.is_true() == stops_at {
                return Ok(value);
            }
        }
        Ok(extras.piped.cloned().unwrap_or(value))
    }

    /// The value of an operand as an argument for a parameter of type `wanted`.
    fn argument(&mut self, dot: &Value, wanted: Type, operand: &'t Operand) -> Outcome<Value> {
        self.at = Some(Place::Operand(operand));
        self.spend(1)?;
        let value = match &operand.kind {
            OperandKind::Dot => dot.clone(),
            OperandKind::Nil if wanted == Type::Any => return Ok(Value::Nil),
            OperandKind::Nil => return Err(self.error(format!("cannot assign nil to {wanted}"))),
            OperandKind::Field(names) => self.field_chain(dot, dot.clone(), operand, names, Extras::NONE)?,
            OperandKind::Variable(name, names) => self.variable(dot, operand, name, names, Extras::NONE)?,
            OperandKind::Pipe(pipe) => self.parenthesised(dot, pipe)?,
            OperandKind::Identifier(name) => {
                self.function(dot, operand, name, Place::Operand(operand), Extras::NONE)?
            }
            OperandKind::Chain(inner, names) => self.chain(dot, operand, inner, names, Extras::NONE)?,
            OperandKind::Bool(_) | OperandKind::Number(_) | OperandKind::Text(_) => {
                return self.literal_argument(dot, wanted, operand);
            }
        };
        self.fitted(value, wanted)
    }

    /// Literals take the type that is wanted, if they can.
    fn literal_argument(&mut self, dot: &Value, wanted: Type, operand: &Operand) -> Outcome<Value> {
        let (expected, value) = match (wanted, &operand.kind) {
            (Type::Any, _) => return self.literal(dot, operand),
            (Type::Named(_), _) => {
                return Err(self.error(format!("can't handle {operand} for arg of type {wanted}")));
            }
            (Type::Bool, OperandKind::Bool(truth)) => ("bool", Some(Value::Bool(*truth))),
            (Type::Int, OperandKind::Number(number)) => ("integer", number.int.map(Value::int)),
            (Type::Duration, OperandKind::Number(number)) => ("integer", number.int.map(Value::duration)),
            (Type::Float, OperandKind::Number(number)) => ("float", number.float.map(Value::Float)),
            (Type::String, OperandKind::Text(_)) => ("string", Some(self.literal(dot, operand)?)),
            (Type::Bool, _) => ("bool", None),
            (Type::Int | Type::Duration, _) => ("integer", None),
            (Type::Float, _) => ("float", None),
            (Type::String, _) => ("string", None),
        };
        value.ok_or_else(|| self.error(format!("expected {expected}; found {operand}")))
    }

    /// A computed value as an argument for a parameter of type `wanted`.
    fn fitted(&self, value: Value, wanted: Type) -> Outcome<Value> {
        if let Value::NoValue = value {
            return match wanted {
                Type::Any => Ok(Value::Nil),
                _ => Err(self.error(format!("invalid value; expected {wanted}"))),
            };
        }
        if fits(&value, wanted) {
            return Ok(value);
        }
        match &value {
            Value::Pointer(target) if fits(target, wanted) => Ok(Value::clone(target)),
            _ => Err(self.error(format!("wrong type for value; expected {wanted}; got {}", value.type_name()))),
        }
    }
}

fn fits(value: &Value, wanted: Type) -> bool {
    match (wanted, value) {
        (Type::Any, _)
        | (Type::Bool, Value::Bool(_))
        | (Type::Float, Value::Float(_))
        | (Type::String, Value::String(_)) => true,
        (Type::Int, Value::Integer(integer)) => integer.kind() == IntegerKind::Int,
        (Type::Duration, Value::Integer(integer)) => integer.kind() == IntegerKind::Duration,
        (Type::Named(name), _) => value.type_name() == name,
        _ => false,
    }
}

/// The function `call`: its first argument with the others.
fn call_value(arguments: &[Value], written: Option<&Operand>) -> Result<Value, CallError> {
    let (function, arguments) = match arguments.split_first() {
        Some((Value::Function(function), arguments)) => (function, arguments),
        Some((Value::Nil | Value::NoValue, _)) | None => return Err(CallError::failed("call of nil")),
        Some((other, _)) => {
            let name = written.map(ToString::to_string).unwrap_or_default();
            return Err(CallError::failed(format!("non-function {name} of type {}", other.type_name())));
        }
    };
    let name = written.map(ToString::to_string).unwrap_or_default();
    let (signature, given) = (function.signature, arguments.len());
    let wanted = signature.parameters.len();
    if signature.rest.is_some() && given < wanted {
        return Err(CallError::failed(format!("wrong number of args for {name}: got {given} want at least {wanted}")));
    }
    if signature.rest.is_none() && given != wanted {
        return Err(CallError::failed(format!("wrong number of args for {name}: got {given} want {wanted}")));
    }
    let mut fitted = Vec::with_capacity(given);
    for (i, argument) in arguments.iter().enumerate() {
        let wanted = signature.parameter(i).unwrap_or(Type::Any);
        fitted.push(converted(argument, wanted).ok_or_else(|| {
            CallError::failed(match argument.is_nil() {
                true => format!("arg {i}: value is nil; should be of type {wanted}"),
                false => format!("arg {i}: value has type {}; should be {wanted}", argument.type_name()),
            })
        })?);
    }
    (function.body)(&fitted)
}

/// For `call`, integers of all types convert to each other.
fn converted(argument: &Value, wanted: Type) -> Option<Value> {
    if fits(argument, wanted) {
        return Some(argument.clone());
    }
    let Value::Integer(integer) = argument else { return None };
    let kind = match wanted {
        Type::Int => IntegerKind::Int,
        Type::Duration => IntegerKind::Duration,
        Type::Any | Type::Bool | Type::Float | Type::String | Type::Named(_) => return None,
    };
    Some(Value::Integer(Integer::new(integer.bits().cast_signed(), kind)))
}
