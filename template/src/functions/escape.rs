//! `html`, `js` and `urlquery`: text made safe for other languages.

use crate::format;
use crate::limits::Bounded;
use crate::value::Value;
use std::fmt::{self, Write};

/// The text of a function's arguments, as `print` joins them, but with what is missing shown as in the output.
pub(super) fn argument_text(arguments: &[Value], bytes_max: usize) -> Result<String, fmt::Error> {
    if let [Value::String(text)] = arguments {
        return Ok(text.to_string());
    }
    let shown: Vec<Value> = arguments
        .iter()
        .map(|argument| if argument.is_nil() { Value::from("<no value>") } else { argument.behind_pointers().clone() })
        .collect();
    let mut out = Bounded::new(bytes_max);
    format::print(&mut out, &shown)?;
    Ok(out.into_text())
}

pub(super) fn html(out: &mut Bounded, text: &str) -> fmt::Result {
    for c in text.chars() {
        match c {
            '\0' => out.write_char(char::REPLACEMENT_CHARACTER),
            '"' => out.write_str("&#34;"),
            '\'' => out.write_str("&#39;"),
            '&' => out.write_str("&amp;"),
            '<' => out.write_str("&lt;"),
            '>' => out.write_str("&gt;"),
            _ => out.write_char(c),
        }?;
    }
    Ok(())
}

/// For a JavaScript string literal.
pub(super) fn js(out: &mut Bounded, text: &str) -> fmt::Result {
    for c in text.chars() {
        match c {
            '\\' => out.write_str(r"\\"),
            '\'' => out.write_str(r"\'"),
            '"' => out.write_str("\\\""),
            '<' | '>' | '&' | '=' => write!(out, "\\u{:04X}", u32::from(c)),
            c if c < ' ' => write!(out, "\\u{:04X}", u32::from(c)),
            c if !c.is_ascii() && !model::text::is_printable(c) => write!(out, "\\u{:04X}", u32::from(c)),
            _ => out.write_char(c),
        }?;
    }
    Ok(())
}

/// For the query part of a URL: a blank becomes `+`, other bytes that are neither letters, digits nor `-_.~` `%XX`.
pub(crate) fn push_query_escaped(out: &mut impl Write, text: &str) -> fmt::Result {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.write_char(char::from(byte)),
            b' ' => out.write_char('+'),
            _ => write!(out, "%{byte:02X}"),
        }?;
    }
    Ok(())
}

/// Path and query of the page that plots `expression`.
pub(crate) fn graph_link(expression: &str) -> String {
    link(expression, 0)
}

/// Path and query of the page that tabulates `expression`.
pub(crate) fn table_link(expression: &str) -> String {
    link(expression, 1)
}

fn link(expression: &str, tab: u8) -> String {
    let mut out = String::from("/graph?g0.expr=");
    // Writing into a text of the heap cannot fail.
    let _ = push_query_escaped(&mut out, expression);
    let _ = write!(out, "&g0.tab={tab}");
    out
}
