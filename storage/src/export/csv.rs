//! Lines of `timestamp_ms,value,series`.

use super::{ExportError, Sink};
use crate::lifecycle::Visited;
use model::number::push_value;
use model::sample::is_stale_marker;
use std::io::{BufWriter, Write};

pub(super) struct CsvSink<W: Write> {
    output: BufWriter<W>,
    line: Vec<u8>,
}

impl<W: Write> CsvSink<W> {
    pub(super) fn new(output: W) -> Result<Self, ExportError> {
        let mut output = BufWriter::with_capacity(256 << 10, output);
        output.write_all(b"timestamp_ms,value,series\n")?;
        Ok(Self { output, line: Vec::new() })
    }
}

impl<W: Write> Sink for CsvSink<W> {
    fn series(&mut self, series: &Visited) -> Result<u64, ExportError> {
        let text = format!(",\"{}\"\n", series.labels.to_string().replace('"', "\"\""));
        let mut written = 0;
        let floats = &series.floats;
        for (at_ms, value) in floats.timestamps_ms.iter().zip(&floats.values) {
            if is_stale_marker(*value) {
                continue;
            }
            self.line.clear();
            write!(self.line, "{at_ms},")?;
            push_value(&mut self.line, *value);
            self.line.extend_from_slice(text.as_bytes());
            self.output.write_all(&self.line)?;
            written += 1;
        }
        Ok(written)
    }

    fn finish(&mut self) -> Result<(), ExportError> {
        Ok(self.output.flush()?)
    }
}
