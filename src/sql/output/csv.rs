//! Comma-separated values after RFC 4180, with a header. NULL is nothing, the empty text a pair of quotes.

use super::cell::push_json;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::error::Result;

pub(super) fn header(schema: &Schema, out: &mut Vec<u8>) {
    for (i, field) in schema.fields().iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        push_text(out, field.name().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

pub(super) fn rows(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
    let mut cell = Vec::new();
    for row in 0..batch.num_rows() {
        for (i, column) in batch.columns().iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            cell.clear();
            push_json(&mut cell, column, row)?;
            match cell.first() {
                // Texts lose the quotes of JSON and get those of CSV, if any.
                Some(b'"') => match serde_json::from_slice::<String>(&cell) {
                    Ok(text) => push_text(out, text.as_bytes()),
                    Err(_) => push_text(out, &cell),
                },
                _ if cell == b"null" => {}
                _ => push_text(out, &cell),
            }
        }
        out.extend_from_slice(b"\r\n");
    }
    Ok(())
}

fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    let plain = !text.is_empty() && !text.iter().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n'));
    if plain {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for byte in text {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}
