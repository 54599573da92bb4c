//! The native histograms and exemplars of a [`WriteTable`]: where they lie, and reading them.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use super::Protocol;
use super::exemplar::{exemplar_v1, exemplar_v2};
use super::histogram::{RawHistogram, histogram};
use super::reader::{Reader, WireError, WireErrorKind};
use super::table::{Limits, RefProblem, Span, WriteTable};

/// What a series carries besides float samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherKind {
    /// A native histogram.
    Histogram,
    /// An exemplar.
    Exemplar,
}

/// A native histogram or exemplar: when it is from and where it lies. Its shape is that of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Other {
    /// Which of them.
    pub kind: OtherKind,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    pub(super) message: Span,
}

impl WriteTable {
    /// How many native histograms and exemplars there are.
    #[must_use]
    pub fn other_count(&self) -> usize {
        self.others.len()
    }

    /// The native histograms and exemplars of an entry.
    #[must_use]
    pub fn others_of(&self, entry: usize) -> &[Other] {
        let start = entry.checked_sub(1).and_then(|before| self.entries.get(before)).map_or(0, |e| e.others_end);
        let end = self.entries.get(entry).map_or(start, |e| e.others_end);
        self.others.get(start as usize..end as usize).unwrap_or_default()
    }

    /// Reads a native histogram of this body.
    ///
    /// # Errors
    /// It is of another body.
    pub fn histogram(&self, body: &[u8], other: &Other) -> Result<RawHistogram, WireError> {
        let known_fields = if self.protocol == Protocol::V1 { 16 } else { 17 };
        histogram(Reader::at(body, other.message, 2), known_fields)
    }

    /// Reads an exemplar of this body: overwrites `labels`, returns the value, or why some label does not exist.
    ///
    /// # Errors
    /// It is of another body.
    pub fn exemplar<'b>(
        &self,
        body: &'b [u8],
        other: &Other,
        labels: &mut Vec<(&'b [u8], &'b [u8])>,
    ) -> Result<Result<f64, RefProblem>, WireError> {
        labels.clear();
        let reader = Reader::at(body, other.message, 2);
        if self.protocol == Protocol::V1 {
            return exemplar_v1(reader, labels).map(Ok);
        }
        let mut refs = Vec::new();
        let value = exemplar_v2(reader, &mut refs)?;
        let (pairs, odd) = refs.as_chunks::<2>();
        let symbol = |index: u32| self.symbols.get(index as usize).map(|span| span.of(body)).ok_or(index);
        for [name, value] in pairs {
            match (symbol(*name), symbol(*value)) {
                (Ok(name), Ok(value)) => labels.push((name, value)),
                (Err(index), _) | (_, Err(index)) => return Ok(Err(RefProblem::OutOfRange(index))),
            }
        }
        Ok(if odd.is_empty() { Ok(value) } else { Err(RefProblem::Odd(refs.len() as u32)) })
    }

    pub(super) fn push_other(
        &mut self,
        kind: OtherKind,
        timestamp_ms: i64,
        message: Span,
        limits: &Limits,
        reader: &Reader<'_>,
    ) -> Result<(), WireError> {
        if self.others.len() >= limits.others {
            let what = "native histograms and exemplars";
            return Err(reader.error(WireErrorKind::TooMany { what, limit: limits.others }));
        }
        self.others.push(Other { kind, timestamp_ms, message });
        Ok(())
    }
}
