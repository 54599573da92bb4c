//! Shows how far something is, on standard error, if that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use storage::import::Watch;

/// A bar on a terminal; elsewhere only notes are written.
pub(super) struct Progress {
    bar: ProgressBar,
    is_shown: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        let is_shown = std::io::stderr().is_terminal();
        Self { bar: if is_shown { ProgressBar::no_length() } else { ProgressBar::hidden() }, is_shown }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Watch for Progress {
    fn begin(&self, step: &str, units: u64) {
        const KNOWN: &str = "{msg:14} {wide_bar} {percent:>3} %  {elapsed} (left: {eta})";
        const UNKNOWN: &str = "{msg:14} {spinner} {pos}  {elapsed}";
        let template = if units > 0 { KNOWN } else { UNKNOWN };
        self.bar.reset();
        self.bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.bar.set_length(units);
        self.bar.set_message(step.to_owned());
    }

    fn advance(&self, units: u64) {
        self.bar.inc(units);
    }

    fn note(&self, text: &str) {
        if self.is_shown {
            self.bar.suspend(|| say(text));
        } else {
            say(text);
        }
    }
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
