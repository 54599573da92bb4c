//! Remote write 1.0: `prometheus.WriteRequest`.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

use super::fields::{EXEMPLAR_TIMESTAMP, EXEMPLAR_V1, HISTOGRAM_TIMESTAMP, HISTOGRAM_V1, check};
use super::others::OtherKind;
use super::reader::{DELIMITED, Reader, WireError, WireErrorKind, key};
use super::sample::sample;
use super::table::{Entry, LABEL_FIELD, Limits, METADATA_TYPE, MetadataEntry, Span, WriteTable};
use storage::append::LabelHash;

const TIMESERIES: u32 = key(1, DELIMITED);
const METADATA: u32 = key(3, DELIMITED);

/// Walks a `WriteRequest`.
pub(super) fn decode(
    body: &[u8],
    limits: &Limits,
    table: &mut WriteTable,
    hash: impl Fn(&[u8]) -> LabelHash,
) -> Result<(), WireError> {
    let mut request = Reader::new(body);
    while !request.is_empty() {
        match request.key()? {
            TIMESERIES => series(request.delimited()?, limits, table, &hash)?,
            METADATA => metadata(request.delimited()?, limits, table)?,
            other => request.skip(other, |field| field == 1 || field == 3)?,
        }
    }
    Ok(())
}

const SAMPLES: u32 = key(2, DELIMITED);
const EXEMPLARS: u32 = key(3, DELIMITED);
const HISTOGRAMS: u32 = key(4, DELIMITED);

#[inline(always)]
fn series(
    mut reader: Reader<'_>,
    limits: &Limits,
    table: &mut WriteTable,
    hash: impl Fn(&[u8]) -> LabelHash,
) -> Result<(), WireError> {
    if table.entries.len() >= limits.series {
        return Err(reader.error(WireErrorKind::TooMany { what: "series", limit: limits.series }));
    }
    let message = reader.span();
    let start = reader;
    reader.pass_over_labels()?;
    let labels = Span { start: message.start, end: reader.pos() as u32 };
    let mut scattered = false;
    while !reader.is_empty() {
        match reader.key()? {
            SAMPLES => {
                let found = sample(reader.delimited()?, 2)?;
                table.push_sample(found, limits, &reader)?;
            }
            LABEL_FIELD => {
                reader.delimited()?;
                scattered = true;
            }
            EXEMPLARS => {
                let exemplar = reader.delimited()?;
                let timestamp = check(exemplar, EXEMPLAR_V1, &[], EXEMPLAR_TIMESTAMP)?;
                table.push_other(OtherKind::Exemplar, timestamp, exemplar.span(), limits, &reader)?;
            }
            HISTOGRAMS => {
                let histogram = reader.delimited()?;
                let timestamp = check(histogram, HISTOGRAM_V1, &[], HISTOGRAM_TIMESTAMP)?;
                table.push_other(OtherKind::Histogram, timestamp, histogram.span(), limits, &reader)?;
            }
            other => reader.skip(other, |field| (1..=4).contains(&field))?,
        }
    }
    let hashed = if scattered {
        gather_labels(start, &mut table.gathered)?;
        hash(&table.gathered)
    } else {
        hash(labels.of(reader.body()))
    };
    table.hashes.push(hashed);
    table.entries.push(Entry {
        message,
        labels: (!scattered).then_some(labels),
        samples_end: table.timestamps_ms.len() as u32,
        others_end: table.others.len() as u32,
        has_metadata: false,
        problem: None,
    });
    Ok(())
}

/// Copies the label fields of a series that writes other fields between them, so that they hash as if they were together.
#[cold]
fn gather_labels(mut reader: Reader<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
    out.clear();
    while !reader.is_empty() {
        let field = reader;
        match reader.key()? {
            LABEL_FIELD => {
                reader.delimited()?;
                out.extend_from_slice(field.rest().get(..reader.pos() - field.pos()).unwrap_or_default());
            }
            other => reader.skip(other, |_| false)?,
        }
    }
    Ok(())
}

const FAMILY_NAME: u32 = key(2, DELIMITED);
const HELP: u32 = key(4, DELIMITED);
const UNIT: u32 = key(5, DELIMITED);

#[cold]
fn metadata(mut reader: Reader<'_>, limits: &Limits, table: &mut WriteTable) -> Result<(), WireError> {
    let empty = Span::default();
    let mut entry = MetadataEntry { name: empty, metric_type: 0, help: empty, unit: empty };
    while !reader.is_empty() {
        match reader.key()? {
            METADATA_TYPE => entry.metric_type = reader.varint()? as i32,
            FAMILY_NAME => entry.name = reader.delimited()?.span(),
            HELP => entry.help = reader.delimited()?.span(),
            UNIT => entry.unit = reader.delimited()?.span(),
            other => reader.skip(other, |field| matches!(field, 1 | 2 | 4 | 5))?,
        }
    }
    table.push_metadata(entry, limits, &reader)
}
