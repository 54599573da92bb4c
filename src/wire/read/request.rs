//! Reads a `ReadRequest`. Only what a server acts on is kept: hints are passed over.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use crate::wire::WireError;
use crate::wire::reader::{DELIMITED, Reader, VARINT, key};
use model::matcher::{MatchOp, Matcher};
use model::regex::RegexError;

/// Queries of one request, at most. Prometheus sends one.
pub const QUERIES_MAX: usize = 1_000;
/// Matchers of all queries of a request, at most.
pub const MATCHERS_MAX: usize = 1_000;

/// The forms of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseType {
    /// One `ReadResponse` with samples.
    Samples,
    /// Frames of `ChunkedReadResponse` with encoded chunks.
    StreamedChunks,
}

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadRequest {
    /// Answered in this order.
    pub queries: Vec<ReadQuery>,
    /// The numbers of the accepted forms, best first; empty from senders that know only samples.
    pub accepted: Vec<i32>,
}

/// The samples of the series that satisfy all matchers, both ends of the range included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadQuery {
    /// Milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// Milliseconds since the Unix epoch.
    pub end_ms: i64,
    /// All must hold.
    pub matchers: Vec<Matcher>,
}

/// Why a body is no request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No such message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// More queries or matchers than one request may have.
    #[error("more than {limit} {what} in one request")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// A text that is not UTF-8.
    #[error("a matcher is not UTF-8")]
    NotUtf8,
    /// A kind of matcher that does not exist.
    #[error("unknown matcher type {0}")]
    MatcherType(i32),
    /// An expression that is none.
    #[error("matcher of label {name:?}: {reason}")]
    Regex {
        /// The label.
        name: String,
        /// What is wrong.
        reason: RegexError,
    },
    /// None of the accepted forms is known here.
    #[error("server does not support any of the requested response types: {0:?}; supported: [0, 1]")]
    ResponseTypes(Vec<i32>),
}

impl ReadRequest {
    /// The first accepted form that is known here; samples when none is named.
    ///
    /// # Errors
    /// None of the named ones is known.
    pub fn response_type(&self) -> Result<ResponseType, RequestError> {
        let known = |number: &i32| match number {
            0 => Some(ResponseType::Samples),
            1 => Some(ResponseType::StreamedChunks),
            _ => None,
        };
        match self.accepted.iter().find_map(known) {
            Some(found) => Ok(found),
            None if self.accepted.is_empty() => Ok(ResponseType::Samples),
            None => Err(RequestError::ResponseTypes(self.accepted.iter().copied().take(16).collect())),
        }
    }
}

/// Reads an uncompressed body, whose regular expressions may take `regex_bytes_max` once compiled.
///
/// # Errors
/// It is no such message, asks for too much, or a matcher is none.
pub fn decode(body: &[u8], regex_bytes_max: usize) -> Result<ReadRequest, RequestError> {
    const QUERY: u32 = key(1, DELIMITED);
    const ACCEPTED: u32 = key(2, VARINT);
    const ACCEPTED_PACKED: u32 = key(2, DELIMITED);
    let mut request = ReadRequest::default();
    let mut left = Left { matchers: MATCHERS_MAX, regex_bytes: (regex_bytes_max, regex_bytes_max) };
    let mut reader = Reader::new(body);
    while !reader.is_empty() {
        match reader.key()? {
            QUERY => {
                if request.queries.len() == QUERIES_MAX {
                    return Err(RequestError::TooMany { what: "queries", limit: QUERIES_MAX });
                }
                request.queries.push(query(reader.delimited()?, &mut left)?);
            }
            ACCEPTED => accept(&mut request.accepted, reader.varint()?),
            ACCEPTED_PACKED => {
                let mut packed = reader.delimited()?;
                while !packed.is_empty() {
                    accept(&mut request.accepted, packed.varint()?);
                }
            }
            other => reader.skip(other, |field| field == 1 || field == 2)?,
        }
    }
    Ok(request)
}

/// Keeps as many numbers as there could ever be forms: the rest cannot matter.
fn accept(accepted: &mut Vec<i32>, number: u64) {
    if accepted.len() < 64 {
        accepted.push(number as i32);
    }
}

/// What the matchers of one request may still use.
struct Left {
    matchers: usize,
    /// Of how many.
    regex_bytes: (usize, usize),
}

impl Left {
    fn spend(&mut self, matcher: &Matcher) -> Result<(), RequestError> {
        let too_many = |what, limit| RequestError::TooMany { what, limit };
        self.matchers = self.matchers.checked_sub(1).ok_or(too_many("matchers", MATCHERS_MAX))?;
        let (left, limit) = &mut self.regex_bytes;
        let rest = left.checked_sub(matcher.regex_bytes());
        *left = rest.ok_or(too_many("bytes of regular expressions", *limit))?;
        Ok(())
    }
}

fn query(mut reader: Reader<'_>, left: &mut Left) -> Result<ReadQuery, RequestError> {
    const START: u32 = key(1, VARINT);
    const END: u32 = key(2, VARINT);
    const MATCHER: u32 = key(3, DELIMITED);
    let mut query = ReadQuery::default();
    while !reader.is_empty() {
        match reader.key()? {
            START => query.start_ms = reader.varint()?.cast_signed(),
            END => query.end_ms = reader.varint()?.cast_signed(),
            MATCHER => {
                let matcher = matcher(reader.delimited()?)?;
                left.spend(&matcher)?;
                query.matchers.push(matcher);
            }
            // Field 4 are the hints, which nothing here depends on.
            other => reader.skip(other, |field| (1..=3).contains(&field))?,
        }
    }
    Ok(query)
}

fn matcher(mut reader: Reader<'_>) -> Result<Matcher, RequestError> {
    const TYPE: u32 = key(1, VARINT);
    const NAME: u32 = key(2, DELIMITED);
    const VALUE: u32 = key(3, DELIMITED);
    let (mut kind, mut name, mut value) = (0, "", "");
    while !reader.is_empty() {
        match reader.key()? {
            TYPE => kind = reader.varint()? as i32,
            NAME => name = text(&reader.delimited()?)?,
            VALUE => value = text(&reader.delimited()?)?,
            other => reader.skip(other, |field| (1..=3).contains(&field))?,
        }
    }
    let op = match kind {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        other => return Err(RequestError::MatcherType(other)),
    };
    Matcher::new(name, op, value).map_err(|reason| RequestError::Regex { name: name.to_owned(), reason })
}

fn text<'a>(reader: &Reader<'a>) -> Result<&'a str, RequestError> {
    std::str::from_utf8(reader.rest()).map_err(|_| RequestError::NotUtf8)
}
