//! Remote-read bodies: nothing panics, and what is accepted has the size that the limits allow.
#![no_main]

use hearth::wire::read::request::{MATCHERS_MAX, QUERIES_MAX, decode};

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    if let Ok(request) = decode(body, 64 << 20) {
        let matchers: usize = request.queries.iter().map(|query| query.matchers.len()).sum();
        assert!(request.queries.len() <= QUERIES_MAX && matchers <= MATCHERS_MAX);
        let _ = request.response_type();
    }
});
