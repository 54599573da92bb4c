//! Turns a document that is written piece by piece into the body of a response.
//!
//! What fits one chunk is sent whole with its length; a longer one is written while the client reads it, a chunk at a
//! time, so that a slow client holds the result but never a second copy of it as text. Dropping the body drops the
//! document and with it everything that it reads from.

use axum::body::Body;
use bytes::Bytes;
use promql::budget::Budget;
use std::sync::Arc;

/// Bytes after which a chunk is sent: small enough to be written (and compressed) well within half a millisecond.
const CHUNK_BYTES: usize = 32 << 10;

/// Room for what a writer adds after the target is reached.
const CHUNK_SLACK: usize = 4 << 10;

/// A document that is written piece by piece.
pub trait Document: Send + 'static {
    /// Appends pieces until `out` holds at least `target` bytes or nothing is left; returns whether something is left.
    /// One piece is small: a sample, a label set.
    fn write_some(&mut self, out: &mut Vec<u8>, target: usize) -> bool;
}

/// A document that may be long, and can be written in parts beside each other.
pub trait Divisible: Document + Sized {
    /// Takes off a part of about [`PART_BYTES`] from the front, as long as two of those are left. The parts and then the rest,
    /// each written whole, are the document. Only before anything was written of it.
    fn divide(&mut self) -> Option<Self>;
}

/// About the text of one part: worth to be handed to another thread, and little to hold.
pub const PART_BYTES: usize = 128 << 10;

/// The body that `document` becomes.
pub fn body(mut document: impl Document) -> Body {
    let mut first = Vec::with_capacity(1024);
    if !document.write_some(&mut first, CHUNK_BYTES) {
        return Body::from(first);
    }
    let rest = Chunks::new(document).map(Bytes::from);
    let chunks = std::iter::once(Bytes::from(first)).chain(rest).map(Ok::<_, std::convert::Infallible>);
    Body::from_stream(futures::stream::iter(chunks))
}

/// What is left of a document, written a chunk at a time.
pub(super) struct Chunks<D> {
    document: D,
    done: bool,
}

impl<D> Chunks<D> {
    pub(super) fn new(document: D) -> Self {
        Self { document, done: false }
    }
}

impl<D: Document> Iterator for Chunks<D> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.done {
            return None;
        }
        let mut chunk = Vec::with_capacity(CHUNK_BYTES + CHUNK_SLACK);
        self.done = !self.document.write_some(&mut chunk, CHUNK_BYTES);
        Some(chunk)
    }
}

/// A document that is ready as bytes.
impl Document for Vec<u8> {
    fn write_some(&mut self, out: &mut Vec<u8>, _target: usize) -> bool {
        out.append(self);
        false
    }
}

/// `[item,item,…]` of items that are small.
pub struct Array<I, W> {
    items: I,
    write: W,
    state: ArrayState,
}

#[derive(Clone, Copy, PartialEq)]
enum ArrayState {
    Before,
    First,
    Later,
}

impl<I: Iterator, W: FnMut(&mut Vec<u8>, I::Item)> Array<I, W> {
    /// An array of `items`, each written by `write`.
    pub fn new(items: I, write: W) -> Self {
        Self { items, write, state: ArrayState::Before }
    }
}

impl<I, W> Document for Array<I, W>
where
    I: Iterator + Send + 'static,
    W: FnMut(&mut Vec<u8>, I::Item) + Send + 'static,
{
    fn write_some(&mut self, out: &mut Vec<u8>, target: usize) -> bool {
        if self.state == ArrayState::Before {
            out.push(b'[');
            self.state = ArrayState::First;
        }
        while out.len() < target {
            let Some(item) = self.items.next() else {
                out.push(b']');
                return false;
            };
            if self.state == ArrayState::Later {
                out.push(b',');
            }
            self.state = ArrayState::Later;
            (self.write)(out, item);
        }
        true
    }
}

/// `prefix`, a document, `suffix`.
pub struct Framed<D> {
    prefix: Vec<u8>,
    inner: Option<D>,
    suffix: Vec<u8>,
}

impl<D: Document> Framed<D> {
    /// Puts bytes around a document.
    pub fn new(prefix: Vec<u8>, inner: D, suffix: Vec<u8>) -> Self {
        Self { prefix, inner: Some(inner), suffix }
    }
}

impl<D: Document> Document for Framed<D> {
    fn write_some(&mut self, out: &mut Vec<u8>, target: usize) -> bool {
        out.append(&mut self.prefix);
        if let Some(inner) = &mut self.inner {
            if inner.write_some(out, target) {
                return true;
            }
            self.inner = None;
        }
        out.append(&mut self.suffix);
        false
    }
}

impl<D: Divisible> Divisible for Framed<D> {
    fn divide(&mut self) -> Option<Self> {
        let part = self.inner.as_mut()?.divide()?;
        Some(Self::new(std::mem::take(&mut self.prefix), part, Vec::new()))
    }
}

/// A document whose memory is charged to an account until it is written.
pub struct Charged<D> {
    document: D,
    account: Arc<Budget>,
}

impl<D: Document> Charged<D> {
    /// Keeps `account` with the document.
    pub fn new(document: D, account: Arc<Budget>) -> Self {
        Self { document, account }
    }
}

impl<D: Document> Document for Charged<D> {
    fn write_some(&mut self, out: &mut Vec<u8>, target: usize) -> bool {
        self.document.write_some(out, target)
    }
}

impl<D: Divisible> Divisible for Charged<D> {
    fn divide(&mut self) -> Option<Self> {
        let document = self.document.divide()?;
        Some(Self { document, account: Arc::clone(&self.account) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn numbers(count: u64) -> impl Document {
        let array = Array::new(0..count, |out, n| out.extend_from_slice(n.to_string().as_bytes()));
        Framed::new(b"{\"data\":".to_vec(), array, b"}".to_vec())
    }

    #[tokio::test]
    async fn a_long_document_arrives_whole_in_many_chunks() {
        let mut body = body(numbers(100_000));
        let mut chunks = 0;
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            let chunk = frame.unwrap().into_data().unwrap();
            assert!(chunk.len() <= CHUNK_BYTES + CHUNK_SLACK);
            chunks += 1;
            all.extend_from_slice(&chunk);
        }
        assert!(chunks > 10, "{chunks} chunks");
        let parsed: serde_json::Value = serde_json::from_slice(&all).unwrap();
        assert_eq!(parsed["data"].as_array().unwrap().len(), 100_000);
    }

    #[tokio::test]
    async fn a_short_document_has_a_length() {
        for (count, expected) in [(0, "{\"data\":[]}"), (1, "{\"data\":[0]}"), (3, "{\"data\":[0,1,2]}")] {
            let body = body(numbers(count));
            assert_eq!(axum::body::HttpBody::size_hint(&body).exact(), Some(expected.len() as u64));
            assert_eq!(body.collect().await.unwrap().to_bytes(), expected);
        }
    }
}
