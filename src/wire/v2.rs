//! Remote write 2.0: `io.prometheus.write.v2.Request`.
//!
//! Strings are references into a symbol table. Two passes: the fields of the message may come in any order, so the symbols
//! are gathered before the first series is read.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use super::fields::{EXEMPLAR_TIMESTAMP, EXEMPLAR_V2, HISTOGRAM_TIMESTAMP, HISTOGRAM_V1, HISTOGRAM_V2_START, check};
use super::label_buffer::LabelBuffer;
use super::others::OtherKind;
use super::reader::{DELIMITED, Reader, VARINT, WireError, WireErrorKind, key};
use super::sample::sample;
use super::table::{Entry, Limits, METADATA_TYPE, MetadataEntry, RefProblem, Span, WriteTable};
use model::labels::METRIC_NAME;
use storage::append::LabelHash;

const SYMBOLS: u32 = key(4, DELIMITED);
const TIMESERIES: u32 = key(5, DELIMITED);

/// Walks a `Request`.
pub(super) fn decode(
    body: &[u8],
    limits: &Limits,
    table: &mut WriteTable,
    hash: impl Fn(&[u8]) -> LabelHash,
) -> Result<(), WireError> {
    let mut request = Reader::new(body);
    while !request.is_empty() {
        match request.key()? {
            SYMBOLS => {
                if table.symbols.len() >= limits.symbols {
                    return Err(request.error(WireErrorKind::TooMany { what: "symbols", limit: limits.symbols }));
                }
                table.symbols.push(request.delimited()?.span());
            }
            TIMESERIES => {
                if table.entries.len() >= limits.series {
                    return Err(request.error(WireErrorKind::TooMany { what: "series", limit: limits.series }));
                }
                table.entries.push(Entry {
                    message: request.delimited()?.span(),
                    labels: None,
                    samples_end: 0,
                    others_end: 0,
                    has_metadata: false,
                    problem: None,
                });
            }
            other => request.skip(other, |field| field == 4 || field == 5)?,
        }
    }
    let mut entries = std::mem::take(&mut table.entries);
    let outcome = entries.iter_mut().try_for_each(|entry| series(body, entry, limits, table, &hash));
    table.entries = entries;
    outcome
}

const LABELS_REFS: u32 = key(1, DELIMITED);
const LABELS_REF: u32 = key(1, VARINT);
const SAMPLES: u32 = key(2, DELIMITED);
const HISTOGRAMS: u32 = key(3, DELIMITED);
const EXEMPLARS: u32 = key(4, DELIMITED);
const METADATA: u32 = key(5, DELIMITED);

#[inline(always)]
fn series(
    body: &[u8],
    entry: &mut Entry,
    limits: &Limits,
    table: &mut WriteTable,
    hash: impl Fn(&[u8]) -> LabelHash,
) -> Result<(), WireError> {
    let mut reader = Reader::at(body, entry.message, 1);
    let mut metadata = Metadata::default();
    table.refs.clear();
    while !reader.is_empty() {
        match reader.key()? {
            LABELS_REFS => packed_refs(reader.delimited()?, &mut table.refs)?,
            SAMPLES => {
                let found = sample(reader.delimited()?, 3)?;
                table.push_sample(found, limits, &reader)?;
            }
            METADATA => metadata.merge(reader.delimited()?)?,
            EXEMPLARS => {
                let exemplar = reader.delimited()?;
                let timestamp = check(exemplar, EXEMPLAR_V2, &[], EXEMPLAR_TIMESTAMP)?;
                table.push_other(OtherKind::Exemplar, timestamp, exemplar.span(), limits, &reader)?;
            }
            HISTOGRAMS => {
                let histogram = reader.delimited()?;
                let timestamp = check(histogram, HISTOGRAM_V1, HISTOGRAM_V2_START, HISTOGRAM_TIMESTAMP)?;
                table.push_other(OtherKind::Histogram, timestamp, histogram.span(), limits, &reader)?;
            }
            LABELS_REF => table.refs.push(reader.varint()? as u32),
            other => reader.skip(other, |field| (1..=5).contains(&field))?,
        }
    }
    entry.samples_end = table.timestamps_ms.len() as u32;
    entry.others_end = table.others.len() as u32;
    entry.problem = encode_labels(body, &table.refs, &table.symbols, &mut table.encoded).err();
    // No series has the hash of no labels.
    let hashed = hash(if entry.problem.is_none() { table.encoded.bytes() } else { &[] });
    table.hashes.push(hashed);
    if entry.problem.is_none() && metadata != Metadata::default() {
        entry.has_metadata = true;
        entry.problem = metadata.note(body, limits, table, &reader)?.err();
    }
    Ok(())
}

/// References are mostly below 2¹⁴: one or two bytes.
#[inline(always)]
fn packed_refs(mut reader: Reader<'_>, refs: &mut Vec<u32>) -> Result<(), WireError> {
    refs.reserve(reader.rest().len());
    loop {
        match reader.rest() {
            [] => return Ok(()),
            [first @ ..0x80, ..] => {
                refs.push(u32::from(*first));
                reader = reader.after(1);
            }
            [first, second @ ..0x80, ..] => {
                refs.push(u32::from(*first & 0x7f) | u32::from(*second) << 7);
                reader = reader.after(2);
            }
            _ => refs.push(reader.varint()? as u32),
        }
    }
}

/// Reads the label references of a series and passes over its other fields.
pub(super) fn label_refs(mut reader: Reader<'_>, refs: &mut Vec<u32>) -> Result<(), WireError> {
    while !reader.is_empty() {
        match reader.key()? {
            LABELS_REFS => packed_refs(reader.delimited()?, refs)?,
            LABELS_REF => refs.push(reader.varint()? as u32),
            other => reader.skip(other, |_| false)?,
        }
    }
    Ok(())
}

/// Writes the labels as version 1.0 would carry them: what is hashed.
#[inline(always)]
fn encode_labels(body: &[u8], refs: &[u32], symbols: &[Span], out: &mut LabelBuffer) -> Result<(), RefProblem> {
    out.clear();
    let (pairs, odd) = refs.as_chunks::<2>();
    for [name, value] in pairs {
        let symbol = |index: u32| symbols.get(index as usize).ok_or(RefProblem::OutOfRange(index));
        out.push(body, *symbol(*name)?, *symbol(*value)?);
    }
    if odd.is_empty() { Ok(()) } else { Err(RefProblem::Odd(refs.len() as u32)) }
}

/// What a series says about its metric. All zero when it says nothing, as some senders always write the message.
#[derive(Default, PartialEq, Eq)]
struct Metadata {
    metric_type: i32,
    help_ref: u32,
    unit_ref: u32,
}

const HELP_REF: u32 = key(3, VARINT);
const UNIT_REF: u32 = key(4, VARINT);

impl Metadata {
    /// A message that comes twice overwrites field by field.
    fn merge(&mut self, mut reader: Reader<'_>) -> Result<(), WireError> {
        while !reader.is_empty() {
            match reader.key()? {
                METADATA_TYPE => self.metric_type = reader.varint()? as i32,
                HELP_REF => self.help_ref = reader.varint()? as u32,
                UNIT_REF => self.unit_ref = reader.varint()? as u32,
                other => reader.skip(other, |field| matches!(field, 1 | 3 | 4))?,
            }
        }
        Ok(())
    }

    /// Adds the metadata of the series whose references are in `table.refs`, unless the request said the same of this
    /// metric before. A series without a name has no metadata; it is refused for that elsewhere.
    fn note(
        &self,
        body: &[u8],
        limits: &Limits,
        table: &mut WriteTable,
        reader: &Reader<'_>,
    ) -> Result<Result<(), RefProblem>, WireError> {
        let symbols = &table.symbols;
        // Reference 0 means "not told", whatever the first symbol is.
        let text = |index: u32| match (index, symbols.get(index as usize)) {
            (0, _) => Ok(Span::default()),
            (_, Some(span)) => Ok(*span),
            (_, None) => Err(RefProblem::OutOfRange(index)),
        };
        let (help, unit) = match (text(self.help_ref), text(self.unit_ref)) {
            (Ok(help), Ok(unit)) => (help, unit),
            (Err(problem), _) | (_, Err(problem)) => return Ok(Err(problem)),
        };
        let is_name = |span: &Span| span.of(body) == METRIC_NAME.as_bytes();
        let (pairs, _) = table.refs.as_chunks::<2>();
        let named = pairs.iter().find(|[name, _]| symbols.get(*name as usize).is_some_and(is_name));
        let Some([_, value]) = named else { return Ok(Ok(())) };
        let Some(name) = symbols.get(*value as usize) else { return Ok(Ok(())) };
        let entry = MetadataEntry { name: *name, metric_type: self.metric_type, help, unit };

        let slot = *value as usize;
        if table.last_metadata.len() <= slot {
            table.last_metadata.resize(table.symbols.len(), 0);
        }
        let last = table.last_metadata.get(slot).and_then(|next| next.checked_sub(1));
        if last.and_then(|index| table.metadata.get(index as usize)) == Some(&entry) {
            return Ok(Ok(()));
        }
        table.push_metadata(entry, limits, reader)?;
        if let Some(next) = table.last_metadata.get_mut(slot) {
            *next = table.metadata.len() as u32;
        }
        Ok(Ok(()))
    }
}
