//! Go's time layouts: the reference time `Mon Jan 2 15:04:05 MST 2006` written the way the result shall look.

use super::{Civil, MONTHS, Time, WEEKDAYS, name_of};
use std::fmt::Write as _;

/// A part of a layout that stands for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    LongMonth,
    Month,
    NumMonth,
    ZeroMonth,
    LongWeekday,
    Weekday,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    UpperPm,
    LowerPm,
    Zone,
    Offset(OffsetForm),
    /// Fraction of the second: separator, digits, whether trailing zeros are dropped.
    Fraction(char, usize, bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OffsetForm {
    /// UTC is `Z`.
    z_for_utc: bool,
    colons: bool,
    /// 1 shows hours, 2 also minutes, 3 also seconds.
    parts: u8,
}

const fn offset(z_for_utc: bool, colons: bool, parts: u8) -> Field {
    Field::Offset(OffsetForm { z_for_utc, colons, parts })
}

/// Longer texts before their own beginnings.
const FIELDS: [(&str, Field); 33] = [
    ("January", Field::LongMonth),
    ("Jan", Field::Month),
    ("Monday", Field::LongWeekday),
    ("Mon", Field::Weekday),
    ("MST", Field::Zone),
    ("01", Field::ZeroMonth),
    ("02", Field::ZeroDay),
    ("03", Field::ZeroHour12),
    ("04", Field::ZeroMinute),
    ("05", Field::ZeroSecond),
    ("06", Field::Year),
    ("002", Field::ZeroYearDay),
    ("15", Field::Hour),
    ("1", Field::NumMonth),
    ("2006", Field::LongYear),
    ("2", Field::Day),
    ("__2", Field::UnderYearDay),
    ("_2", Field::UnderDay),
    ("3", Field::Hour12),
    ("4", Field::Minute),
    ("5", Field::Second),
    ("PM", Field::UpperPm),
    ("pm", Field::LowerPm),
    ("-070000", offset(false, false, 3)),
    ("-07:00:00", offset(false, true, 3)),
    ("-0700", offset(false, false, 2)),
    ("-07:00", offset(false, true, 2)),
    ("-07", offset(false, false, 1)),
    ("Z070000", offset(true, false, 3)),
    ("Z07:00:00", offset(true, true, 3)),
    ("Z0700", offset(true, false, 2)),
    ("Z07:00", offset(true, true, 2)),
    ("Z07", offset(true, false, 1)),
];

pub(super) fn format(time: &Time, layout: &str) -> String {
    let civil = time.civil();
    let mut out = String::with_capacity(layout.len() + 8);
    let mut rest = layout;
    while let Some(c) = rest.chars().next() {
        match field(rest) {
            Some((field, after)) => {
                push_field(&mut out, field, time, &civil);
                rest = after;
            }
            None => {
                out.push(c);
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
            }
        }
    }
    out
}

/// The field with which `rest` begins, and what follows it.
fn field(rest: &str) -> Option<(Field, &str)> {
    if rest.starts_with("_2006") {
        return None; // An underscore and a year, not a padded day.
    }
    let fixed = FIELDS.iter().find_map(|(text, field)| {
        let after = rest.strip_prefix(text)?;
        let short_name = matches!(field, Field::Month | Field::Weekday);
        let inside_word = short_name && after.starts_with(|c: char| c.is_ascii_lowercase());
        (!inside_word).then_some((*field, after))
    });
    fixed.or_else(|| fraction(rest))
}

/// A separator and a run of zeros, or of nines, that no other digit follows.
fn fraction(rest: &str) -> Option<(Field, &str)> {
    let separator = rest.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let digits = rest.get(1..)?;
    let first = digits.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let after = digits.trim_start_matches(first);
    if after.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    Some((Field::Fraction(separator, digits.len() - after.len(), first == '9'), after))
}

fn push_field(out: &mut String, field: Field, time: &Time, civil: &Civil) {
    let Civil { year, month, day, hour, minute, second, day_of_year, weekday } = *civil;
    let hour12 = if hour % 12 == 0 { 12 } else { hour % 12 };
    let short = |name: Option<&'static str>| name.and_then(|n| n.get(..3)).unwrap_or_default();
    match field {
        Field::LongMonth => out.push_str(name_of(&MONTHS, month - 1).unwrap_or_default()),
        Field::Month => out.push_str(short(name_of(&MONTHS, month - 1))),
        Field::NumMonth => push_number(out, month, 0),
        Field::ZeroMonth => push_number(out, month, 2),
        Field::LongWeekday => out.push_str(name_of(&WEEKDAYS, weekday).unwrap_or_default()),
        Field::Weekday => out.push_str(short(name_of(&WEEKDAYS, weekday))),
        Field::Day => push_number(out, day, 0),
        Field::UnderDay => push_blank_padded(out, day, 2),
        Field::ZeroDay => push_number(out, day, 2),
        Field::UnderYearDay => push_blank_padded(out, day_of_year, 3),
        Field::ZeroYearDay => push_number(out, day_of_year, 3),
        Field::Hour => push_number(out, hour, 2),
        Field::Hour12 => push_number(out, hour12, 0),
        Field::ZeroHour12 => push_number(out, hour12, 2),
        Field::Minute => push_number(out, minute, 0),
        Field::ZeroMinute => push_number(out, minute, 2),
        Field::Second => push_number(out, second, 0),
        Field::ZeroSecond => push_number(out, second, 2),
        Field::LongYear => push_number(out, year, 4),
        Field::Year => push_number(out, year.max(0) % 100, 2),
        Field::UpperPm => out.push_str(if hour >= 12 { "PM" } else { "AM" }),
        Field::LowerPm => out.push_str(if hour >= 12 { "pm" } else { "am" }),
        Field::Zone if !time.abbreviation().is_empty() => out.push_str(time.abbreviation()),
        Field::Zone => push_zone_offset(out, time.offset_seconds()),
        Field::Offset(form) => push_offset(out, form, time.offset_seconds()),
        Field::Fraction(separator, digits, trims) => push_fraction(out, time, separator, digits, trims),
    }
}

fn push_number(out: &mut String, number: i64, width: usize) {
    let sign = if number < 0 { "-" } else { "" };
    let _ = write!(out, "{sign}{:0width$}", number.unsigned_abs());
}

fn push_blank_padded(out: &mut String, number: i64, width: usize) {
    let _ = write!(out, "{number:width$}");
}

/// A zone without an abbreviation: the offset with as few parts as it needs.
fn push_zone_offset(out: &mut String, seconds: i32) {
    let parts = if seconds / 60 % 60 == 0 { 1 } else { 2 };
    push_offset(out, OffsetForm { z_for_utc: false, colons: false, parts }, seconds);
}

fn push_offset(out: &mut String, form: OffsetForm, seconds: i32) {
    if form.z_for_utc && seconds == 0 {
        out.push('Z');
        return;
    }
    let colon = if form.colons { ":" } else { "" };
    let size = seconds.unsigned_abs();
    // Go drops the seconds before it looks at the sign.
    out.push(if seconds / 60 < 0 { '-' } else { '+' });
    let _ = write!(out, "{:02}", size / 3600);
    if form.parts >= 2 {
        let _ = write!(out, "{colon}{:02}", size / 60 % 60);
    }
    if form.parts >= 3 {
        let _ = write!(out, "{colon}{:02}", size % 60);
    }
}

/// A fraction has nine digits at most, however many the layout shows.
fn push_fraction(out: &mut String, time: &Time, separator: char, digits: usize, trims: bool) {
    let all = format!("{:09}", time.subsecond_nanos());
    let shown = all.get(..digits.min(9)).unwrap_or(&all);
    if trims {
        let shown = shown.trim_end_matches('0');
        if !shown.is_empty() {
            out.push(separator);
            out.push_str(shown);
        }
    } else {
        out.push(separator);
        out.push_str(shown);
    }
}
