//! Rule files: no text panics; every problem has a place or is about the file as a whole.
#![no_main]

use promql::parse::ParseOptions;
use ruler::rule_file::RuleFile;

libfuzzer_sys::fuzz_target!(|text: &str| {
    match RuleFile::parse("fuzz.yml", text, &ParseOptions::default()) {
        Ok(file) => assert!(file.groups.iter().all(|group| !group.name.is_empty())),
        Err(errors) => assert!(!errors.is_empty()),
    }
});
