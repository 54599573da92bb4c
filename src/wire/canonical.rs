//! Label pairs as the bytes that are hashed, and such bytes as text.
//!
//! The form is that of [`storage::append::LabelHash`]; here it is written from and read into foreign bytes, which need not
//! be UTF-8, sorted or unique.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use super::fields::label;
use super::reader::{DELIMITED, Reader, key};
use std::borrow::Cow;
use std::fmt::Write;

/// Appends one label as remote write 1.0 encodes it; an empty value adds nothing.
#[inline]
pub fn push_label(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if value.is_empty() {
        return;
    }
    let inner = name.len() + value.len() + 4;
    if inner < 0x80 {
        // Every length fits one byte.
        out.extend_from_slice(&[0x0a, inner as u8, 0x0a, name.len() as u8]);
        out.extend_from_slice(name);
        out.extend_from_slice(&[0x12, value.len() as u8]);
        out.extend_from_slice(value);
    } else {
        push_long_label(out, name, value);
    }
}

#[cold]
fn push_long_label(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let lengths = prost::length_delimiter_len(name.len()) + prost::length_delimiter_len(value.len());
    out.push(0x0a);
    push_length(out, 2 + lengths + name.len() + value.len());
    out.push(0x0a);
    push_length(out, name.len());
    out.extend_from_slice(name);
    out.push(0x12);
    push_length(out, value.len());
    out.extend_from_slice(value);
}

fn push_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// Encoded labels as a person reads them: `{__name__="up", job="node"}`, in the order of the bytes. Bytes that are no UTF-8
/// are shown as replacement characters, and a text that was cut off ends with `…`.
#[must_use]
pub fn to_text(encoded: &[u8]) -> String {
    let mut out = String::from("{");
    let mut reader = Reader::new(encoded);
    while !reader.is_empty() {
        let pair = match reader.key() {
            Ok(found) if found == key(1, DELIMITED) => reader.delimited().and_then(label),
            Ok(found) => match reader.skip(found, |_| false) {
                Ok(()) => continue,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        if out.len() > 1 {
            out.push_str(", ");
        }
        let Ok((name, value)) = pair else {
            out.push('…');
            break;
        };
        let name = String::from_utf8_lossy(name);
        let name =
            if model::labels::is_legacy_label_name(&name) { name } else { Cow::Owned(model::text::quote(&name)) };
        // Writing to a `String` cannot fail.
        _ = write!(out, "{name}={}", model::text::quote(&String::from_utf8_lossy(value)));
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn labels_are_encoded_as_the_storage_defines(pairs: Vec<(String, String)>, long in 0usize..400) {
            let mut pairs = pairs;
            pairs.push(("l".repeat(long), "v".repeat(long * 60)));
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for (name, value) in &pairs {
                push_label(&mut ours, name.as_bytes(), value.as_bytes());
                storage::append::push_canonical(&mut theirs, name, value);
            }
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn labels_are_shown_even_when_they_are_wrong() {
        let mut bytes = Vec::new();
        push_label(&mut bytes, b"__name__", b"up");
        push_label(&mut bytes, b"a.b", b"x\"y");
        push_label(&mut bytes, b"", b"\xff");
        assert_eq!(to_text(&bytes), "{__name__=\"up\", \"a.b\"=\"x\\\"y\", \"\"=\"\u{fffd}\"}");
        assert_eq!(to_text(&bytes[..20]), "{__name__=\"up\", …}");
        assert_eq!(to_text(b""), "{}");
    }
}
