//! Metrics pages: no text panics.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = hearth::scrape::text_format::parse(text);
});
