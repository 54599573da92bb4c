//! What a manifest says, and its bytes.

use super::ManifestError;
use crate::block::meta::BlockMeta;
use crate::head::FlushedState;
use crate::sealed_json::{self, Unreadable};
use crate::tombstone::Tombstone;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version that is written; it grows with every field that is added.
pub const FORMAT_VERSION: u32 = 2;

/// Larger manifests are damaged: this is room for a hundred thousand blocks.
const DECODED_BYTES_MAX: u64 = 256 << 20;

/// All that is known about the data of a tenant at one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Place in the chain, from 1. 0 only before there is a chain.
    pub version: u64,
    /// Differs for every attempt to publish, so that whose version it is can be told from its bytes.
    pub commit_id: String,
    /// `commit_id` of the version before; empty in version 1.
    pub parent_id: String,
    /// Whose data.
    pub tenant: String,
    /// When it was made, by the clock of the process that made it; milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Who may flush: the process that claimed this number. 0: nobody yet.
    pub writer_epoch: u64,
    /// Who may compact: the process that claimed this number. 0: nobody yet.
    pub compactor_epoch: u64,
    /// How far the head has been written to blocks; absent before the first flush.
    pub flushed: Option<FlushedState>,
    /// Blocks that readers use, by resolution, then first sample, then ULID.
    pub blocks: Vec<BlockMeta>,
    /// Blocks that readers of older versions may still use, in the order of their removal.
    pub removed: Vec<RemovedBlock>,
    /// Deletions that blocks do not reflect yet.
    pub tombstones: Vec<Tombstone>,
    /// The versions with which blocks came, of those that some of these deletions do not concern. The other blocks were there before
    /// all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub added: BTreeMap<String, u64>,
}

/// A block that left the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedBlock {
    /// Its identity.
    pub ulid: String,
    /// When it left.
    pub removed_ms: i64,
}

impl Manifest {
    /// What is true before anything was published.
    #[must_use]
    pub fn empty(tenant: &str) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            version: 0,
            commit_id: String::new(),
            parent_id: String::new(),
            tenant: tenant.to_owned(),
            created_ms: 0,
            writer_epoch: 0,
            compactor_epoch: 0,
            flushed: None,
            blocks: Vec::new(),
            removed: Vec::new(),
            tombstones: Vec::new(),
            added: BTreeMap::new(),
        }
    }

    /// The block with this identity.
    #[must_use]
    pub fn block(&self, ulid: &str) -> Option<&BlockMeta> {
        self.blocks.iter().find(|block| block.ulid == ulid)
    }

    /// The bytes of the object: one zstd frame with a checksum.
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
    /// They are no manifest, not what was written, or of a format that is not known here.
    pub fn decode(object: &str, bytes: &[u8]) -> Result<Self, ManifestError> {
        sealed_json::decode(bytes, FORMAT_VERSION, DECODED_BYTES_MAX).map_err(|unreadable| {
            let object = object.to_owned();
            match unreadable {
                Unreadable::Damaged(what) => ManifestError::Damaged { object, what },
                Unreadable::Newer { found } => ManifestError::Newer { object, found, known: FORMAT_VERSION },
            }
        })
    }
}
