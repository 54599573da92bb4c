//! What a version of a document says, and its bytes.

use super::DocumentError;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

/// The version that is written; it grows with every field that is added.
pub const FORMAT_VERSION: u32 = 1;

const ZSTD_LEVEL: i32 = 3;
/// Larger documents are damaged.
const DECODED_BYTES_MAX: u64 = 64 << 20;

/// One version of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Its name, unescaped.
    pub name: String,
    /// Place in the chain, from 1.
    pub version: u64,
    /// Differs for every attempt to publish, so that whose version it is can be told from its bytes.
    pub commit_id: String,
    /// `commit_id` of the version before; empty in the first.
    pub parent_id: String,
    /// When it was written, by the clock of its author; milliseconds since the Unix epoch.
    pub written_ms: i64,
    /// What it says; `None` when it was removed.
    pub content: Option<String>,
}

impl Document {
    pub(super) fn after(
        newest: Option<&Self>,
        name: &str,
        content: Option<String>,
        written_ms: i64,
        commit_id: String,
    ) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            name: name.to_owned(),
            version: newest.map_or(0, |newest| newest.version) + 1,
            commit_id,
            parent_id: newest.map_or_else(String::new, |newest| newest.commit_id.clone()),
            written_ms,
            content,
        }
    }

    /// The bytes of the object: one zstd frame with a checksum around JSON.
    ///
    /// # Panics
    /// Never: memory takes all writes, and every value of these types has a form in JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let encode = || -> io::Result<Vec<u8>> {
            let mut encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
            encoder.include_checksum(true)?;
            encoder.write_all(&serde_json::to_vec(self)?)?;
            encoder.finish()
        };
        encode().expect("memory takes all writes")
    }

    /// Reads the bytes of `object`.
    ///
    /// # Errors
    /// They are no document, not what was written, or of a format that is not known here.
    pub fn decode(object: &str, bytes: &[u8]) -> Result<Self, DocumentError> {
        let damaged = |what: String| DocumentError::Damaged { object: object.to_owned(), what };
        let json = decompress(bytes).map_err(|error| damaged(error.to_string()))?;
        // The format first: the rest of a newer one may not be understood.
        #[derive(Deserialize)]
        struct Head {
            format_version: u32,
        }
        let head: Head = serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
        if head.format_version > FORMAT_VERSION {
            let (found, known) = (head.format_version, FORMAT_VERSION);
            return Err(DocumentError::Newer { object: object.to_owned(), found, known });
        }
        serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))
    }
}

fn decompress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut json = Vec::new();
    zstd::Decoder::with_buffer(bytes)?.take(DECODED_BYTES_MAX + 1).read_to_end(&mut json)?;
    if json.len() as u64 > DECODED_BYTES_MAX {
        return Err(io::Error::other(format!("more than {DECODED_BYTES_MAX} bytes")));
    }
    Ok(json)
}
