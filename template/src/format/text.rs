//! Texts: plain, quoted, as hexadecimal digits.

use super::{Flags, pad};
use crate::limits::Bounded;
use std::fmt::{self, Write};

/// Writes `text`, of which a precision keeps the first characters.
pub(super) fn push_text(out: &mut Bounded, flags: &Flags, text: &str) -> fmt::Result {
    pad(out, flags, truncated(flags, text))
}

fn truncated<'t>(flags: &Flags, text: &'t str) -> &'t str {
    let end = flags.precision.and_then(|n| text.char_indices().nth(n)).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text)
}

/// In double quotes; with the flag `#` in back quotes if that is possible, with `+` in ASCII only.
pub(super) fn push_quoted(out: &mut Bounded, flags: &Flags, text: &str) -> fmt::Result {
    let text = truncated(flags, text);
    let fits_back_quotes = |c: char| c == '\t' || (c >= ' ' && !matches!(c, '`' | '\u{7f}' | '\u{feff}'));
    if flags.sharp && text.chars().all(fits_back_quotes) {
        return pad(out, flags, &format!("`{text}`"));
    }
    let quoted = if flags.plus {
        let escaped: String = text.chars().map(|c| escape(c, '"', true)).collect();
        format!("\"{escaped}\"")
    } else {
        model::text::quote(text)
    };
    pad(out, flags, &quoted)
}

/// In single quotes.
pub(super) fn quote_char(c: char, ascii_only: bool) -> String {
    format!("'{}'", escape(c, '\'', ascii_only))
}

/// `c` as it stands between `quote`s.
fn escape(c: char, quote: char, ascii_only: bool) -> String {
    let code = u32::from(c);
    match c {
        _ if c == quote || c == '\\' => format!("\\{c}"),
        '"' | '\'' => c.to_string(),
        _ if c.is_ascii() || !(ascii_only || model::text::is_printable(c)) => {
            let quoted = model::text::quote(c.encode_utf8(&mut [0; 4]));
            quoted.trim_matches('"').to_owned()
        }
        _ if !ascii_only => c.to_string(),
        _ if code < 0x10000 => format!("\\u{code:04x}"),
        _ => format!("\\U{code:08x}"),
    }
}

/// Two digits for each byte, of which a precision keeps the first.
pub(super) fn push_hexadecimal(out: &mut Bounded, flags: &Flags, text: &str, upper: bool) -> fmt::Result {
    let bytes = text.as_bytes();
    let bytes = bytes.get(..flags.precision.unwrap_or(bytes.len())).unwrap_or(bytes);
    let prefix = match (flags.sharp, upper) {
        (false, _) => "",
        (true, false) => "0x",
        (true, true) => "0X",
    };
    let separators = if flags.space { bytes.len().saturating_sub(1) } else { 0 };
    let prefixes = match bytes.len() {
        0 => 0,
        length if flags.space => length,
        _ => 1,
    };
    let length = bytes.len() * 2 + separators + prefix.len() * prefixes;
    let missing = flags.width.map_or(0, |width| width.saturating_sub(length));
    let fill = if flags.zero && !flags.minus { '0' } else { ' ' };
    if !flags.minus {
        out.pad(fill, missing)?;
    }
    for (i, byte) in bytes.iter().enumerate() {
        if i > 0 && flags.space {
            out.write_char(' ')?;
        }
        if i == 0 || flags.space {
            out.write_str(prefix)?;
        }
        if upper { write!(out, "{byte:02X}") } else { write!(out, "{byte:02x}") }?;
    }
    out.pad(fill, if flags.minus { missing } else { 0 })
}
