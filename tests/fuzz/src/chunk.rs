//! Chunks and timeline segments: no bytes panic the decoders, and what decodes has as many samples as it claims.
#![no_main]

use storage::chunk::decode::{Decoded, Times};
use storage::chunk::segment::SegmentTimes;

libfuzzer_sys::fuzz_target!(|input: (u8, i64, &[u8])| {
    let (count, base_ms, bytes) = input;
    let mut decoded = Decoded::default();
    if decoded.decode(bytes, usize::from(count), Times::Own).is_ok() {
        assert_eq!(decoded.values().len(), usize::from(count));
    }
    let mut segment = SegmentTimes::default();
    if segment.unpack(base_ms, bytes).is_ok() {
        let _ = decoded.decode(bytes, usize::from(count), Times::Shared(segment.as_slice()));
    }
});
