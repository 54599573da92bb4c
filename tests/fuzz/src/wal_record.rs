//! Log segments: no bytes that look like records panic or claim more memory than they are worth.
#![no_main]

use storage::append::Rows;
use storage::wal::record;
use storage::wal::samples::SampleDecoder;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // As a payload that passed its checksum: what a record says must not be believed even then.
    let mut decoder = SampleDecoder::default();
    let mut rows = Rows::default();
    for (restart, starts) in [(true, false), (false, false), (true, true)] {
        let _ = decoder.decode(bytes, restart, starts, 1 << 16, &mut rows);
        assert!(rows.series.iter().all(|series| series.0 < 1 << 16));
        assert!(rows.series.len() == rows.timestamps_ms.len() && rows.series.len() == rows.values.len());
    }
    // As a segment.
    let mut rest = bytes;
    while let Ok(found) = record::parse(1, rest) {
        let mut scratch = Vec::new();
        let _ = found.payload(&mut scratch);
        rest = rest.get(found.stored_bytes()..).unwrap_or_default();
    }
});
