//! The bytes of remote write, both versions: from a compressed body to columns of samples.
//!
//! [`compression`] undoes snappy or zstd within a bound; [`decode`] walks the protobuf once, borrowed, without an allocation
//! per series or sample, and fills a [`WriteTable`]. Labels are hashed as they lie in the body and parsed only when somebody
//! asks for them. The walker accepts and refuses exactly the bodies that a generated decoder does; the generated one is in
//! [`prost_types`], and [`oracle`] compares the two.
//!
//! Pure: knows no socket, no clock and no storage but the definition of a series' identity, [`storage::append::LabelHash`].
mod reader;

pub mod canonical;
pub mod compression;
mod exemplar;
mod fields;
pub mod histogram;
mod label_buffer;
pub mod oracle;
pub mod others;
pub mod prost_types;
pub mod read;
mod sample;
pub mod table;
mod v1;
mod v2;

#[cfg(test)]
mod differential;

pub use reader::{WireError, WireErrorKind};
pub use table::{Limits, WriteTable};

use storage::append::LabelHash;

/// Which message a body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Remote write 1.0: `prometheus.WriteRequest`.
    V1,
    /// Remote write 2.0: `io.prometheus.write.v2.Request`.
    V2,
}

impl Protocol {
    /// The version as the header `X-Prometheus-Remote-Write-Version` abbreviates it.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self {
            Self::V1 => "1.0",
            Self::V2 => "2.0",
        }
    }
}

/// Walks an uncompressed body and fills `table`, whose memory is used again.
///
/// # Errors
/// The body is no such message, or holds more of something than `limits` allow. The table's content is then unspecified.
pub fn decode(protocol: Protocol, body: &[u8], limits: &Limits, table: &mut WriteTable) -> Result<(), WireError> {
    decode_with(protocol, body, limits, table, LabelHash::of_canonical)
}

/// [`decode`] with another hash than that of the storage; for measuring what the hash costs.
///
/// # Errors
/// As [`decode`].
pub fn decode_with(
    protocol: Protocol,
    body: &[u8],
    limits: &Limits,
    table: &mut WriteTable,
    hash: impl Fn(&[u8]) -> LabelHash,
) -> Result<(), WireError> {
    table.clear(protocol);
    match protocol {
        Protocol::V1 => v1::decode(body, limits, table, hash),
        Protocol::V2 => v2::decode(body, limits, table, hash),
    }
}
