//! Names of the objects of documents: `t=<tenant>/<kind>/<name>/<20 digits>.doc.json.zst`.

use super::DocumentError;
use crate::block::meta::path_part;

/// Longest name of a document after escaping, so that a directory can have it.
pub const NAME_BYTES_MAX: usize = 240;

const SUFFIX: &str = ".doc.json.zst";
const DIGITS: usize = 20;

pub(super) fn directory(tenant: &str, kind: &str) -> String {
    format!("t={}/{kind}", path_part(tenant))
}

/// Where the versions of a document are.
pub(super) fn document(directory: &str, name: &str) -> String {
    format!("{directory}/{}", escaped(name))
}

/// The object of a version.
pub(super) fn version(directory: &str, name: &str, version: u64) -> String {
    format!("{directory}/{}/{version:020}{SUFFIX}", escaped(name))
}

/// Refuses names that no object can have.
pub(super) fn check(name: &str) -> Result<(), DocumentError> {
    let bytes = escaped(name).len();
    if bytes > NAME_BYTES_MAX { Err(DocumentError::Name { bytes }) } else { Ok(()) }
}

/// Name and version of the document that a key belongs to, if it is one below `directory`.
pub(super) fn parse(directory: &str, key: &str) -> Option<(String, u64)> {
    let (name, file) = key.strip_prefix(directory)?.strip_prefix('/')?.split_once('/')?;
    let digits = file.strip_suffix(SUFFIX)?;
    if digits.len() != DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((unescaped(name)?, digits.parse().ok()?))
}

/// The empty name has a form, too: nothing else is a lone `%`.
fn escaped(name: &str) -> String {
    if name.is_empty() { "%".to_owned() } else { path_part(name) }
}

fn unescaped(text: &str) -> Option<String> {
    if text == "%" {
        return Some(String::new());
    }
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        let directory = directory("a/b", "rules");
        assert_eq!(version(&directory, "x y/z", 7), "t=a%2Fb/rules/x%20y%2Fz/00000000000000000007.doc.json.zst");
        for name in ["", ".", "..", "%", "manifest", "a/b", "ä 字", "t=x", "%2F"] {
            assert_eq!(parse(&directory, &version(&directory, name, 3)), Some((name.to_owned(), 3)), "{name}");
        }
        for other in ["t=a%2Fb/rules/x/7.doc.json.zst", "t=a%2Fb/rules/x/latest", "t=a%2Fb/rule/x/1", "t=a%2Fb/rules/x"]
        {
            assert_eq!(parse(&directory, other), None, "{other}");
        }
    }

    #[test]
    fn names_that_are_too_long_are_refused() {
        assert!(check(&"x".repeat(NAME_BYTES_MAX)).is_ok());
        assert!(check(&"/".repeat(NAME_BYTES_MAX / 3 + 1)).is_err());
    }
}
