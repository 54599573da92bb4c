//! Lets people type PromQL into a URL: `curl -g 'http://…/api/v1/query?query=up{job="a"}'`.
//!
//! RFC 3986 wants `"`, `<` and `>` escaped, and our HTTP library refuses a request that has them. Prometheus takes them, so
//! scripts and habits rely on it. This stream escapes them in the request line, before the library sees it.
//!
//! It does not follow the framing of HTTP: a line is taken for a request line when it is the first thing read on the
//! connection or after something was written, and begins with a method and `/`. Requests that follow each other without
//! waiting for the answer are left as they are. No frame of HTTP/2 begins like that: it would be 4 MiB long.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a request line that may need escapes begins with.
const STARTS: [&[u8]; 5] = [b"GET /", b"POST /", b"PUT /", b"DELETE /", b"HEAD /"];

/// Bytes of the longest of them.
const START_BYTES_MAX: usize = 8;

/// A stream whose request lines are valid URIs.
pub(super) struct LenientUri<S> {
    inner: S,
    state: State,
    /// What of a method and the `/` was read so far; no longer than the longest of [`STARTS`].
    start: Vec<u8>,
    /// What was read, escaped, and not yet handed on; empty unless a line needed escapes.
    ready: Vec<u8>,
    handed_on: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// What comes next may be a request line.
    Awaiting,
    /// In the middle of a request line.
    InLine,
    /// Headers, bodies, frames.
    Passing,
}

impl<S> LenientUri<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, state: State::Awaiting, start: Vec::new(), ready: Vec::new(), handed_on: 0 }
    }

    /// Looks at what was just read, all that `buffer` has beyond `before` bytes; escapes the part that belongs to a request line.
    fn look(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let bytes = buffer.filled().get(before..).unwrap_or_default();
        if self.state == State::Awaiting {
            self.begin(bytes);
        }
        if self.state != State::InLine {
            return;
        }
        let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        let (line, rest) = bytes.split_at(line);
        if !rest.is_empty() {
            self.state = State::Passing;
        }
        if line.iter().any(|byte| matches!(byte, b'"' | b'<' | b'>')) {
            self.ready = escaped(line, rest);
            buffer.set_filled(before);
            self.hand_on(buffer);
        }
    }

    /// Finds out whether a request line begins, as soon as enough of it was read.
    fn begin(&mut self, bytes: &[u8]) {
        let lacks = START_BYTES_MAX - self.start.len();
        self.start.extend(bytes.iter().take(lacks));
        let read = self.start.as_slice();
        if STARTS.iter().any(|start| read.starts_with(start)) {
            self.state = State::InLine;
        } else if !STARTS.iter().any(|start| start.starts_with(read)) {
            self.state = State::Passing;
        }
        if self.state != State::Awaiting {
            self.start.clear();
        }
    }

    fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) {
        let rest = self.ready.get(self.handed_on..).unwrap_or_default();
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..count).unwrap_or_default());
        self.handed_on += count;
        if self.handed_on == self.ready.len() {
            // Given back: most connections are idle most of the time.
            self.ready = Vec::new();
            self.handed_on = 0;
        }
    }
}

/// A request line as RFC 3986 wants it, and what follows it as it is.
fn escaped(line: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(3 * line.len() + rest.len());
    for byte in line {
        match byte {
            b'"' => out.extend_from_slice(b"%22"),
            b'<' => out.extend_from_slice(b"%3C"),
            b'>' => out.extend_from_slice(b"%3E"),
            byte => out.push(*byte),
        }
    }
    out.extend_from_slice(rest);
    out
}

impl<S: AsyncRead + Unpin> AsyncRead for LenientUri<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ready.is_empty() {
            self.hand_on(buffer);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        if self.state != State::Passing {
            self.look(buffer, before);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LenientUri<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.expect_request();
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.expect_request();
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<S> LenientUri<S> {
    /// An answer is being written: the next thing to read is a new request.
    fn expect_request(&mut self) {
        if self.state == State::Passing {
            self.state = State::Awaiting;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// What is read when the client sends the pieces one by one, each after an answer when `answered`.
    async fn read(pieces: &[&str], answered: bool) -> String {
        let (client, server) = tokio::io::duplex(64 << 10);
        let (mut client_read, mut client_write) = tokio::io::split(client);
        let mut stream = LenientUri::new(server);
        let mut out = Vec::new();
        for piece in pieces {
            client_write.write_all(piece.as_bytes()).await.unwrap();
            loop {
                let mut bytes = [0; 7];
                let wait = std::time::Duration::from_millis(20);
                match tokio::time::timeout(wait, stream.read(&mut bytes)).await {
                    Ok(count) => out.extend_from_slice(&bytes[..count.unwrap()]),
                    Err(_) => break,
                }
            }
            if answered {
                stream.write_all(b"!").await.unwrap();
                client_read.read_u8().await.unwrap();
            }
        }
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn request_lines_are_escaped_and_nothing_else() {
        let request = "GET /q?a={b=\"<c>\"} HTTP/1.1\r\nIf-Match: \"x\"\r\n\r\n";
        let escaped = "GET /q?a={b=%22%3Cc%3E%22} HTTP/1.1\r\nIf-Match: \"x\"\r\n\r\n";
        assert_eq!(read(&[request], false).await, escaped);
        assert_eq!(read(&[request, request], true).await, format!("{escaped}{escaped}"));
        let (start, end) = request.split_at(12);
        assert_eq!(read(&[start, end], false).await, escaped);
        for method in ["POST", "PUT", "DELETE", "HEAD"] {
            let [request, escaped] = [request, escaped].map(|text| text.replacen("GET", method, 1));
            assert_eq!(read(&[&request], false).await, escaped);
        }
    }

    #[tokio::test]
    async fn bodies_and_frames_pass_as_they_are() {
        let post = "POST /w HTTP/1.1\r\nContent-Length: 9\r\n\r\n";
        assert_eq!(read(&[post, "GET /\"<>\""], false).await, format!("{post}GET /\"<>\""));
        let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\"";
        assert_eq!(read(&[preface, "\"<"], true).await, format!("{preface}\"<"));
    }
}
