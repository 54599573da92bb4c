//! Pages that are generated from the code.

use std::path::Path;

/// `cargo xtask docs` writes the page anew.
#[test]
fn configuration_page_says_what_the_code_declares() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let expected = hearth::config::reference::markdown(&hearth::cli::serve_command());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/configuration.md is out of date: run `cargo xtask docs`");
}
