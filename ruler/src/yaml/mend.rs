//! What Go's library takes and the scanner refuses: `\'` between double quotes, and a lone dash as a value between brackets or
//! braces.
//!
//! Pure. The scanner itself finds these places, because only it knows where texts, comments and block scalars begin and end: where
//! it ends with such an error, the place is written in another way that means the same, and it starts again. A file that it takes at
//! once costs nothing. Places after a mended one in the same line are moved back to where the file has them.

use super::Place;
use serde::de::IgnoredAny;
use serde_yaml::{Error, Location};
use std::cell::RefCell;

/// How much is scanned again at most, because every mended place does it once more up to there: this takes about a second.
const SCANNED_BYTES_MAX: usize = 64 << 20;
/// Every mended place also moves the rest of the text: so many bytes are moved in the time that one is scanned in.
const MOVED_BYTES_PER_SCANNED: usize = 256;

/// A text as the scanner takes it.
#[derive(Debug)]
pub(super) struct Mended {
    pub(super) text: String,
    pub(super) shifts: Shifts,
}

/// How far places are from where the file has them.
#[derive(Debug, Default)]
pub(super) struct Shifts(Vec<Shift>);

/// What is in the same line after a changed place, up to the next one.
#[derive(Debug)]
struct Shift {
    /// The changed place, in the mended text.
    after: Place,
    /// The columns that it is away from where the file has it.
    columns: i64,
}

impl Shifts {
    fn push(&mut self, after: Place, columns: i64) {
        let before = self.0.last().filter(|last| last.after.line == after.line).map_or(0, |last| last.columns);
        self.0.push(Shift { after, columns: before + columns });
    }

    /// Where the file has what is at `at` in the mended text.
    fn origin(&self, at: Place) -> Place {
        let before = self.0.partition_point(|shift| shift.after < at);
        match self.0[..before].last().filter(|shift| shift.after.line == at.line) {
            Some(shift) => Place { column: at.column.saturating_add_signed(shift.columns), ..at },
            None => at,
        }
    }
}

thread_local! {
    /// The shifts of the text that this thread is reading: values know their places when they are read, and nothing can be given to
    /// them on the way.
    static SHIFTS: RefCell<Shifts> = RefCell::default();
}

/// Where the file that this thread is reading has `location`.
pub(super) fn origin(location: Location) -> Place {
    SHIFTS.with_borrow(|shifts| shifts.origin(at(location)))
}

fn at(location: Location) -> Place {
    Place { line: location.line(), column: location.column() }
}

/// Runs `read` with places moved by `shifts`.
pub(super) fn shifted<T>(shifts: Shifts, read: impl FnOnce() -> T) -> T {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            SHIFTS.set(Shifts::default());
        }
    }
    let reset = Reset;
    SHIFTS.set(shifts);
    let result = read();
    drop(reset);
    result
}

/// The text without what made `error`, or `None` when that cannot be mended.
///
/// # Errors
/// There are too many of these places.
pub(super) fn mend(text: &str, error: &Error) -> Result<Option<Mended>, (Place, String)> {
    mend_within(text, error, SCANNED_BYTES_MAX)
}

fn mend_within(text: &str, error: &Error, bytes_max: usize) -> Result<Option<Mended>, (Place, String)> {
    let mut mended = Mended { text: text.to_owned(), shifts: Shifts::default() };
    if !mended.mend(error) {
        return Ok(None);
    }
    let mut scanned = 0_usize;
    loop {
        match serde_yaml::from_str_with_options::<IgnoredAny>(&mended.text, super::options(&mended.text)) {
            // What is wrong is told when the values are read.
            Ok(_) => return Ok(Some(mended)),
            Err(error) => {
                let location = error.location().unwrap_or(Location::UNKNOWN);
                let offset = usize::try_from(location.span().offset()).unwrap_or(usize::MAX);
                scanned = scanned.saturating_add(offset).saturating_add(mended.text.len() / MOVED_BYTES_PER_SCANNED);
                if !mended.mend(&error) {
                    return Ok(Some(mended));
                }
                if scanned > bytes_max {
                    let message = r#"too many times `\'` between double quotes, or `-` alone between brackets: write `'` and `"-"`"#;
                    return Err((mended.shifts.origin(at(location)), message.to_owned()));
                }
            }
        }
    }
}

impl Mended {
    /// Changes the place of `error`; the flag says whether it is one that can be.
    fn mend(&mut self, error: &Error) -> bool {
        let Some(location) = error.location() else { return false };
        let characters = usize::try_from(location.span().offset()).unwrap_or(usize::MAX);
        let Some((start, _)) = self.text.char_indices().nth(characters) else { return false };
        let (place, message) = (at(location), error.without_snippet().to_string());
        let rest = &self.text[start..];
        if message.contains("unknown escape character") {
            let Some((length, quoted, changed)) = without_escaped_single_quotes(rest, place) else { return false };
            self.text.replace_range(start..start + length, &quoted);
            changed.into_iter().for_each(|place| self.shifts.push(place, 1));
            true
        } else if message.contains("plain scalar cannot start with '-'")
            && ["-,", "-]", "-}"].iter().any(|dash| rest.starts_with(dash))
        {
            self.text.replace_range(start..=start, "\"-\"");
            self.shifts.push(place, -2);
            true
        } else {
            false
        }
    }
}

/// The length of the double-quoted text that `rest` begins with, the same without `\'`, and the places in it where that was; `None`
/// when there is none, or no end. `at` is the place of the first quote.
fn without_escaped_single_quotes(rest: &str, mut at: Place) -> Option<(usize, String, Vec<Place>)> {
    let (mut quoted, mut changed) = (String::from('"'), Vec::new());
    let mut characters = rest.strip_prefix('"')?.char_indices().peekable();
    at.column += 1;
    while let Some((i, c)) = characters.next() {
        match c {
            '"' => {
                quoted.push('"');
                return (!changed.is_empty()).then(|| (i + 2, quoted, changed));
            }
            '\\' if characters.next_if(|(_, next)| *next == '\'').is_some() => {
                quoted.push('\'');
                changed.push(at);
            }
            '\\' => {
                quoted.push('\\');
                // A line that ends here is seen by the next turn.
                if let Some((_, escaped)) = characters.next_if(|(_, next)| !matches!(next, '\n' | '\r')) {
                    quoted.push(escaped);
                    at.column += 1;
                }
            }
            _ => quoted.push(c),
        }
        let ends_line = c == '\n' || c == '\r' && characters.peek().is_none_or(|(_, next)| *next != '\n');
        at = if ends_line { Place { line: at.line + 1, column: 1 } } else { Place { column: at.column + 1, ..at } };
    }
    None
}

#[cfg(test)]
mod tests;
