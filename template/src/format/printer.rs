//! One argument under one verb.

use super::float::{FloatVerb, push_float};
use super::integer::{push_char, push_integer, push_quoted_char, push_unicode};
use super::text::{push_hexadecimal, push_quoted, push_text};
use super::{Flags, pad};
use crate::limits::Bounded;
use crate::value::{Integer, List, Map, Object, Value};
use std::fmt::{self, Write};

pub(super) struct Printer<'a> {
    out: &'a mut Bounded,
    flags: Flags,
    /// Inside of a complaint about a wrong verb, where values print without their own ideas.
    complaining: bool,
}

impl<'a> Printer<'a> {
    pub(super) fn new(out: &'a mut Bounded, flags: Flags) -> Self {
        Self { out, flags, complaining: false }
    }

    /// Writes an argument of a call.
    pub(super) fn argument(&mut self, value: &Value, verb: char) -> fmt::Result {
        match (value, verb) {
            (Value::NoValue | Value::Nil, 'T' | 'v') => pad(self.out, &self.flags, "<nil>"),
            (_, 'T') => push_text(self.out, &self.flags, &value.type_name()),
            _ => self.value(value, verb, 0),
        }
    }

    /// Writes a value that lies `depth` levels below an argument.
    fn value(&mut self, value: &Value, verb: char, depth: u32) -> fmt::Result {
        if let Some(text) = self.own_text(value, verb) {
            return self.text(value, &text, verb);
        }
        match value {
            Value::NoValue | Value::Nil if depth == 0 => self.wrong_verb(value, verb),
            Value::NoValue | Value::Nil if self.flags.sharp_v => self.out.write_str("interface {}(nil)"),
            Value::NoValue | Value::Nil => self.out.write_str("<nil>"),
            Value::Bool(truth) if matches!(verb, 't' | 'v') => {
                pad(self.out, &self.flags, if *truth { "true" } else { "false" })
            }
            Value::Integer(integer) => self.integer(value, *integer, verb),
            Value::Float(float) => match FloatVerb::of(verb) {
                Some(float_verb) => push_float(self.out, &self.flags, *float, float_verb),
                None => self.wrong_verb(value, verb),
            },
            Value::String(text) => self.text(value, text, verb),
            Value::List(list) => self.list(list.type_name(), list, verb, depth),
            Value::Map(map) => self.map(map.type_name(), map, verb, depth),
            Value::Object(object) => self.object(object.as_ref(), verb, depth),
            Value::Pointer(target) => self.pointer(target, verb, depth),
            // In Go the address of its code.
            Value::Function(_) if verb == 'v' => self.out.write_str("0x0"),
            Value::Bool(_) | Value::Time(_) | Value::Function(_) => self.wrong_verb(value, verb),
        }
    }

    /// The text of values that bring their own, under verbs that print texts.
    fn own_text(&self, value: &Value, verb: char) -> Option<String> {
        if self.complaining || self.flags.sharp_v || !matches!(verb, 'v' | 's' | 'x' | 'X' | 'q') {
            return None;
        }
        match value.behind_pointers() {
            Value::Integer(integer) => integer.text(),
            Value::Time(time) => Some(time.to_string()),
            Value::Object(object) => object.text(),
            _ => None,
        }
    }

    /// Complains: `%!d(string=hi)`.
    fn wrong_verb(&mut self, value: &Value, verb: char) -> fmt::Result {
        write!(self.out, "%!{verb}(")?;
        if value.is_nil() {
            self.out.write_str("<nil>")?;
        } else if self.complaining {
            // A value that no verb prints: Go shows its type between question marks.
            write!(self.out, "?{}?", value.type_name())?;
        } else {
            write!(self.out, "{}=", value.type_name())?;
            self.complaining = true;
            match value {
                Value::Time(time) => write!(self.out, "{time}")?,
                _ => self.value(value, 'v', 0)?,
            }
            self.complaining = false;
        }
        self.out.write_char(')')
    }

    fn integer(&mut self, value: &Value, integer: Integer, verb: char) -> fmt::Result {
        let (out, flags) = (&mut *self.out, &self.flags);
        match verb {
            'v' if flags.sharp_v && !integer.is_signed() => {
                push_integer(out, &Flags { sharp: true, ..*flags }, integer, 16, verb)
            }
            'v' | 'd' => push_integer(out, flags, integer, 10, verb),
            'b' => push_integer(out, flags, integer, 2, verb),
            'o' | 'O' => push_integer(out, flags, integer, 8, verb),
            'x' | 'X' => push_integer(out, flags, integer, 16, verb),
            'c' => push_char(out, flags, integer),
            'q' => push_quoted_char(out, flags, integer),
            'U' => push_unicode(out, flags, integer),
            _ => self.wrong_verb(value, verb),
        }
    }

    fn text(&mut self, value: &Value, text: &str, verb: char) -> fmt::Result {
        match verb {
            'v' if self.flags.sharp_v => push_quoted(self.out, &self.flags, text),
            'v' | 's' => push_text(self.out, &self.flags, text),
            'q' => push_quoted(self.out, &self.flags, text),
            'x' | 'X' => push_hexadecimal(self.out, &self.flags, text, verb == 'X'),
            _ => self.wrong_verb(value, verb),
        }
    }

    /// `[a b]`, in Go syntax `[]string{"a", "b"}`.
    fn list(&mut self, type_name: &str, list: &List, verb: char, depth: u32) -> fmt::Result {
        self.open(type_name, "[")?;
        for (i, item) in list.items().iter().enumerate() {
            self.separate(i)?;
            self.value(item, verb, depth + 1)?;
        }
        self.close("]")
    }

    /// `map[a:1 b:2]`, in Go syntax `map[string]int{"a":1, "b":2}`.
    fn map(&mut self, type_name: &str, map: &Map, verb: char, depth: u32) -> fmt::Result {
        self.open(type_name, "map[")?;
        for (i, (key, value)) in map.entries().iter().enumerate() {
            self.separate(i)?;
            self.value(&Value::String(key.clone()), verb, depth + 1)?;
            self.out.write_char(':')?;
            self.value(value, verb, depth + 1)?;
        }
        self.close("]")
    }

    /// `{1 x}`, `{A:1 B:x}`, in Go syntax `main.T{A:1, B:"x"}`.
    fn object(&mut self, object: &dyn Object, verb: char, depth: u32) -> fmt::Result {
        match object.underlying() {
            Some(Value::List(list)) => return self.list(object.type_name(), &list, verb, depth),
            Some(Value::Map(map)) => return self.map(object.type_name(), &map, verb, depth),
            _ => {}
        }
        self.open(object.type_name(), "{")?;
        for (i, (name, value)) in object.fields().iter().enumerate() {
            self.separate(i)?;
            if self.flags.plus_v || self.flags.sharp_v {
                write!(self.out, "{name}:")?;
            }
            self.value(value, verb, depth + 1)?;
        }
        self.close("}")
    }

    /// A pointer to something composed shows an ampersand, if it is the argument itself.
    fn pointer(&mut self, target: &Value, verb: char, depth: u32) -> fmt::Result {
        let composed = matches!(target, Value::List(_) | Value::Map(_) | Value::Object(_));
        if depth == 0 && composed {
            self.out.write_char('&')?;
        }
        self.value(target, verb, depth + 1)
    }

    fn open(&mut self, type_name: &str, bracket: &str) -> fmt::Result {
        if self.flags.sharp_v {
            self.out.write_str(type_name)?;
            return self.out.write_char('{');
        }
        self.out.write_str(bracket)
    }

    fn separate(&mut self, index: usize) -> fmt::Result {
        match index {
            0 => Ok(()),
            _ if self.flags.sharp_v => self.out.write_str(", "),
            _ => self.out.write_char(' '),
        }
    }

    fn close(&mut self, bracket: &str) -> fmt::Result {
        self.out.write_str(if self.flags.sharp_v { "}" } else { bracket })
    }
}
