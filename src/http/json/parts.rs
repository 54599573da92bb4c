//! The body of a large answer: parts of the document are written on the CPU pool beside each other and sent in order.
//!
//! Where a document is divided depends on the document alone, so its bytes are the same for any number of threads. A few parts
//! are being written or wait to be sent, the next one begins when the client has read one: a slow client holds the result and
//! those parts. Dropping the body drops what is left; parts that are being written end for nothing.
//!
//! For clients that ask for gzip each part is compressed where it is written: parts end at a byte, as after a flush, and follow
//! each other in one stream.

use super::stream::{Chunks, Divisible};
use crate::runtime::cpu::{CpuPool, JobPanicked};
use axum::body::Body;
use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress};
use futures::{StreamExt, stream};

/// A part of which more than this was written gives up its thread; the rest of it is written while the client reads it.
const PART_BYTES_MAX: usize = 512 << 10;

/// Parts of one document that are written at once, at most.
const AT_ONCE_MAX: usize = 8;

/// What becomes of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// It is sent as it is.
    Plain,
    /// It is compressed, in the format of RFC 1952.
    Gzip,
}

/// The body that `first` and then `rest` become.
pub fn body<D: Divisible>(pool: &CpuPool, first: D, rest: D, packing: Packing) -> Body {
    let at_once = (pool.threads() + 1).min(AT_ONCE_MAX);
    let pool = pool.clone();
    let parts = std::iter::once(first).chain(Parts { rest: Some(rest) });
    let written = stream::iter(parts).map(move |part| pool.run(move |_| write(part, packing)));
    let packed = written.buffered(at_once).flat_map(move |outcome| match outcome {
        Ok((bytes, rest)) => {
            let rest = rest.into_iter().flat_map(Chunks::new).map(move |text| pack(text, packing));
            stream::iter(std::iter::once(Ok(bytes)).chain(rest.map(Ok))).left_stream()
        }
        Err(error) => {
            tracing::error!(%error, "a part of an answer could not be written");
            stream::iter([Err(error)]).right_stream()
        }
    });
    match packing {
        Packing::Plain => Body::from_stream(packed.map(|packed| packed.map(|packed| packed.bytes))),
        Packing::Gzip => Body::from_stream(gzip(packed)),
    }
}

/// The parts of a document; the last one is what is left when it does not divide any more.
struct Parts<D> {
    rest: Option<D>,
}

impl<D: Divisible> Iterator for Parts<D> {
    type Item = D;

    fn next(&mut self) -> Option<D> {
        let part = self.rest.as_mut()?.divide();
        part.or_else(|| self.rest.take())
    }
}

/// A piece of the body.
struct Packed {
    bytes: Bytes,
    /// Of the text that it was.
    checksum: Crc,
}

fn write<D: Divisible>(mut part: D, packing: Packing) -> (Packed, Option<D>) {
    let mut text = Vec::with_capacity(PART_BYTES_MAX / 3);
    let more = part.write_some(&mut text, PART_BYTES_MAX);
    (pack(text, packing), more.then_some(part))
}

fn pack(text: Vec<u8>, packing: Packing) -> Packed {
    let mut checksum = Crc::new();
    match packing {
        Packing::Plain => Packed { bytes: Bytes::from(text), checksum },
        Packing::Gzip => {
            checksum.update(&text);
            Packed { bytes: Bytes::from(deflated(&text)), checksum }
        }
    }
}

/// `text` as blocks of RFC 1951 that end at a byte and of which none is the last.
fn deflated(text: &[u8]) -> Vec<u8> {
    let mut deflate = Compress::new(Compression::fast(), false);
    let mut out = Vec::with_capacity(text.len() / 4 + 64);
    loop {
        let rest = text.get(deflate.total_in() as usize..).unwrap_or_default();
        deflate.compress_vec(rest, &mut out, FlushCompress::Sync).expect("no dictionary is missing where none is used");
        // All of it is out when there was room for more.
        if deflate.total_in() as usize == text.len() && out.len() < out.capacity() {
            return out;
        }
        out.reserve(out.len().max(1024));
    }
}

/// Head and end of the format around blocks.
fn gzip(
    packed: impl futures::Stream<Item = Result<Packed, JobPanicked>>,
) -> impl futures::Stream<Item = Result<Bytes, JobPanicked>> {
    // No name, no time, compressed fast, on whatever system.
    const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];
    /// An empty block that is the last one.
    const LAST_BLOCK: [u8; 2] = [3, 0];
    let head = stream::iter([Ok(Bytes::from_static(&HEAD))]);
    let ended = packed.map(Some).chain(stream::iter([None]));
    head.chain(ended.scan(Crc::new(), |checksum, next| {
        let bytes = match next {
            Some(Ok(packed)) => {
                checksum.combine(&packed.checksum);
                Ok(packed.bytes)
            }
            Some(Err(error)) => Err(error),
            None => {
                let mut end = LAST_BLOCK.to_vec();
                end.extend_from_slice(&checksum.sum().to_le_bytes());
                end.extend_from_slice(&checksum.amount().to_le_bytes());
                Ok(Bytes::from(end))
            }
        };
        std::future::ready(Some(bytes))
    }))
}

#[cfg(test)]
mod tests;
