//! Remote-write bodies: the walker accepts what generated code accepts, and reads the same from it.
#![no_main]

use hearth::wire::{Limits, Protocol, oracle};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let limits = Limits::for_decoded_bytes(1 << 20);
    for protocol in [Protocol::V1, Protocol::V2] {
        assert_eq!(oracle::walked(protocol, body, &limits), oracle::generated(protocol, body));
    }
});
