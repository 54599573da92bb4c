//! What a version of a document says, and its bytes.

use super::DocumentError;
use crate::sealed_json::{self, Unreadable};
use serde::{Deserialize, Serialize};

/// The version that is written; it grows with every field that is added.
pub const FORMAT_VERSION: u32 = 1;

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
        sealed_json::encode(self)
    }

    /// Reads the bytes of `object`.
    ///
    /// # Errors
    /// They are no document, not what was written, or of a format that is not known here.
    pub fn decode(object: &str, bytes: &[u8]) -> Result<Self, DocumentError> {
        sealed_json::decode(bytes, FORMAT_VERSION, DECODED_BYTES_MAX).map_err(|unreadable| {
            let object = object.to_owned();
            match unreadable {
                Unreadable::Damaged(what) => DocumentError::Damaged { object, what },
                Unreadable::Newer { found } => DocumentError::Newer { object, found, known: FORMAT_VERSION },
            }
        })
    }
}
