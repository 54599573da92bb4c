//! JSON that outlives the process: one zstd frame with a checksum around an object that says its format version.
//!
//! `{"format_version": n, …}`. All versions up to the newest known one are read; the version is looked at first, since the rest of
//! a newer one may not be understood. What is read comes from disk or network: it is bounded, and never panics.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

const ZSTD_LEVEL: i32 = 3;

/// Why bytes could not be read; whoever knows the object says which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// They are not what was written; why.
    Damaged(String),
    /// Of a format version that is not known here.
    Newer {
        /// The version in them.
        found: u32,
    },
}

/// The bytes of a value.
///
/// # Panics
/// The value has no form in JSON, such as a map whose keys are no text.
pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    let encode = || -> io::Result<Vec<u8>> {
        let mut encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        encoder.write_all(&serde_json::to_vec(value)?)?;
        encoder.finish()
    };
    encode().expect("memory takes all writes")
}

/// Reads what [`encode`] wrote, of format `known` or an older one, of `bytes_max` bytes of JSON at most.
///
/// # Errors
/// See [`Unreadable`].
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], known: u32, bytes_max: u64) -> Result<T, Unreadable> {
    #[derive(Deserialize)]
    struct Head {
        format_version: u32,
    }
    let damaged = |error: &dyn std::fmt::Display| Unreadable::Damaged(error.to_string());
    let json = decompress(bytes, bytes_max).map_err(|error| damaged(&error))?;
    let Head { format_version: found } = serde_json::from_slice(&json).map_err(|error| damaged(&error))?;
    if found > known {
        return Err(Unreadable::Newer { found });
    }
    serde_json::from_slice(&json).map_err(|error| damaged(&error))
}

fn decompress(bytes: &[u8], bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut json = Vec::new();
    zstd::Decoder::with_buffer(bytes)?.take(bytes_max.saturating_add(1)).read_to_end(&mut json)?;
    if json.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("more than {bytes_max} bytes")));
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        format_version: u32,
        text: String,
    }

    #[derive(Serialize)]
    struct Later {
        format_version: u32,
        text: u8,
    }

    fn note() -> Note {
        Note { format_version: 2, text: "0123456789".repeat(100) }
    }

    #[test]
    fn what_was_sealed_is_read() {
        assert_eq!(decode(&encode(&note()), 2, 2_000), Ok(note()));
        assert_eq!(decode(&encode(&note()), 3, 2_000), Ok(note()));
    }

    #[test]
    fn a_newer_format_is_told_from_damage_even_if_its_fields_are_others() {
        let newer = encode(&Later { format_version: 3, text: 1 });
        assert_eq!(decode::<Note>(&newer, 2, 2_000), Err(Unreadable::Newer { found: 3 }));
    }

    #[test]
    fn no_flipped_byte_and_no_cut_goes_unnoticed() {
        let bytes = encode(&note());
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            // A flip in the frame's header may leave the content as it is.
            assert!(
                decode::<Note>(&flipped, 2, 2_000).is_ok_and(|read| read == note())
                    || decode::<Note>(&flipped, 2, 2_000).is_err()
            );
            assert!(matches!(decode::<Note>(&bytes[..at], 2, 2_000), Err(Unreadable::Damaged(_))));
        }
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused() {
        let error = decode::<Note>(&encode(&note()), 2, 1_000).unwrap_err();
        assert_eq!(error, Unreadable::Damaged("more than 1000 bytes".into()));
    }
}
