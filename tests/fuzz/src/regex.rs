//! Patterns of matchers: whatever compiles matches without a panic, and its shortcuts agree with the automaton.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: (&str, &str)| {
    let (pattern, text) = input;
    if let Ok(regex) = model::regex::Regex::new(pattern) {
        let matches = regex.is_match(text);
        if let Some(literals) = regex.literals() {
            assert_eq!(matches, literals.iter().any(|literal| literal == text));
        }
        assert!(!matches || text.starts_with(regex.prefix()));
    }
});
