//! Queries: no text panics or overflows the stack, and what parses prints and parses again to the same text.
#![no_main]

use promql::parse::{ParseOptions, parse};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let options = ParseOptions::all();
    if let Ok(expr) = parse(text, &options) {
        let printed = expr.to_string();
        let again = parse(&printed, &options).unwrap_or_else(|error| panic!("{printed}: {error}"));
        assert_eq!(again.to_string(), printed);
    }
});
