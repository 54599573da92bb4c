//! Points in time and durations with Go's text forms.
//!
//! The proleptic Gregorian calendar over seconds since the Unix epoch. A time carries its offset from UTC and the zone's
//! abbreviation, computed by whoever knows time zones; nothing here asks a clock or a zone database.

mod layout;

use std::fmt;
use std::sync::Arc;

const SECONDS_PER_DAY: i64 = 86_400;
const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// From 1 January of year 1, where Go's zero time lies, to the Unix epoch.
const SECONDS_TO_EPOCH: i64 = 62_135_596_800;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A point in time with the offset under which it is shown.
#[derive(Debug, Clone)]
pub struct Time {
    /// Since the Unix epoch.
    seconds: i64,
    /// Below one second.
    nanos: u32,
    /// East of UTC, in seconds.
    offset_seconds: i32,
    /// `None` is UTC.
    zone: Option<Arc<str>>,
}

/// Day and time of day as people read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    /// From 1.
    pub(crate) month: i64,
    /// From 1.
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    /// From 1.
    pub(crate) day_of_year: i64,
    /// From Sunday, which is 0.
    pub(crate) weekday: i64,
}

impl Time {
    /// Go's zero time: 1 January of year 1, UTC.
    pub const ZERO: Self = Self { seconds: -SECONDS_TO_EPOCH, nanos: 0, offset_seconds: 0, zone: None };

    /// A time in UTC.
    #[must_use]
    pub fn from_unix_millis(millis: i64) -> Self {
        Self::from_unix_nanos(i128::from(millis) * 1_000_000)
    }

    /// A time in UTC; what lies beyond the range of seconds in 64 bits is cut to it.
    #[must_use]
    pub fn from_unix_nanos(nanos: i128) -> Self {
        let seconds = nanos.div_euclid(i128::from(NANOS_PER_SECOND));
        Self {
            seconds: i64::try_from(seconds).unwrap_or(if seconds < 0 { i64::MIN } else { i64::MAX }),
            nanos: nanos.rem_euclid(i128::from(NANOS_PER_SECOND)) as u32,
            offset_seconds: 0,
            zone: None,
        }
    }

    /// The same point in time, shown `offset_seconds` east of UTC under `abbreviation`, which may be empty.
    #[must_use]
    pub fn in_zone(mut self, offset_seconds: i32, abbreviation: &str) -> Self {
        self.offset_seconds = offset_seconds;
        self.zone = Some(Arc::from(abbreviation));
        self
    }

    /// The same point in time, shown in UTC.
    #[must_use]
    pub fn in_utc(mut self) -> Self {
        self.offset_seconds = 0;
        self.zone = None;
        self
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub fn unix_nanos(&self) -> i128 {
        i128::from(self.seconds) * i128::from(NANOS_PER_SECOND) + i128::from(self.nanos)
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub fn unix_seconds(&self) -> i64 {
        self.seconds
    }

    /// Nanoseconds within the second.
    #[must_use]
    pub fn subsecond_nanos(&self) -> u32 {
        self.nanos
    }

    /// Whether this is Go's zero time.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.seconds == Self::ZERO.seconds && self.nanos == 0
    }

    /// The time in the form of a Go layout, such as `2006-01-02 15:04:05`.
    #[must_use]
    pub fn format(&self, layout: &str) -> String {
        layout::format(self, layout)
    }

    pub(crate) fn offset_seconds(&self) -> i32 {
        self.offset_seconds
    }

    /// Empty when the zone has none.
    pub(crate) fn abbreviation(&self) -> &str {
        self.zone.as_deref().unwrap_or("UTC")
    }

    pub(crate) fn civil(&self) -> Civil {
        let local = self.seconds.saturating_add(i64::from(self.offset_seconds));
        let days = local.div_euclid(SECONDS_PER_DAY);
        let second_of_day = local.rem_euclid(SECONDS_PER_DAY);
        let (year, month, day) = civil_from_days(days);
        Civil {
            year,
            month,
            day,
            hour: second_of_day / 3600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
            day_of_year: days - days_from_civil(year, 1, 1) + 1,
            weekday: (days + 4).rem_euclid(7),
        }
    }

    pub(crate) fn add_nanos(&self, nanos: i64) -> Self {
        self.with_unix_nanos(self.unix_nanos() + i128::from(nanos))
    }

    /// Adds to year, month and day and carries what overflows: October 31 and one month is December 1.
    pub(crate) fn add_date(&self, years: i64, months: i64, days: i64) -> Self {
        let civil = self.civil();
        let month_index = civil.month - 1 + months.clamp(-(1 << 40), 1 << 40);
        let year = civil.year + years.clamp(-(1 << 36), 1 << 36) + month_index.div_euclid(12);
        let first = days_from_civil(year, month_index.rem_euclid(12) + 1, 1);
        let day = first.saturating_add(civil.day - 1).saturating_add(days.clamp(-(1 << 40), 1 << 40));
        let second_of_day = civil.hour * 3600 + civil.minute * 60 + civil.second;
        let local = day.saturating_mul(SECONDS_PER_DAY).saturating_add(second_of_day);
        Self { seconds: local.saturating_sub(i64::from(self.offset_seconds)), ..self.clone() }
    }

    /// The duration since `earlier` in nanoseconds, cut to 64 bits.
    pub(crate) fn nanos_since(&self, earlier: &Self) -> i64 {
        clamp_nanos(self.unix_nanos() - earlier.unix_nanos())
    }

    /// Down to a multiple of `nanos` since Go's zero time; or to the nearest, halves up.
    pub(crate) fn round(&self, nanos: i64, nearest: bool) -> Self {
        if nanos <= 0 {
            return self.clone();
        }
        let since_zero = self.unix_nanos() - Self::ZERO.unix_nanos();
        let remainder = since_zero.rem_euclid(i128::from(nanos));
        let up = nearest && remainder * 2 >= i128::from(nanos);
        self.with_unix_nanos(self.unix_nanos() - remainder + if up { i128::from(nanos) } else { 0 })
    }

    fn with_unix_nanos(&self, nanos: i128) -> Self {
        let moved = Self::from_unix_nanos(nanos);
        Self { seconds: moved.seconds, nanos: moved.nanos, ..self.clone() }
    }
}

/// Same point in time, whatever the zone.
impl PartialEq for Time {
    fn eq(&self, other: &Self) -> bool {
        self.unix_nanos() == other.unix_nanos()
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format("2006-01-02 15:04:05.999999999 -0700 MST"))
    }
}

pub(crate) fn clamp_nanos(nanos: i128) -> i64 {
    i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

pub(crate) fn month_text(month: i64) -> String {
    name_of(&MONTHS, month - 1).map_or_else(|| format!("%!Month({month})"), str::to_owned)
}

pub(crate) fn weekday_text(weekday: i64) -> String {
    name_of(&WEEKDAYS, weekday).map_or_else(|| format!("%!Weekday({weekday})"), str::to_owned)
}

fn name_of(names: &[&'static str], index: i64) -> Option<&'static str> {
    names.get(usize::try_from(index).ok()?).copied()
}

/// Year, month and day of a day counted from the Unix epoch.
///
/// Counts in eras of 400 years that begin on 1 March, so that the leap day is the last of its year.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The reverse of [`civil_from_days`].
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let shifted_year = year - i64::from(month <= 2);
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Nanoseconds that print as Go's `time.Duration`: `1h15m30.918s`, `100ms`, `0s`.
pub(crate) struct GoDuration(pub(crate) i64);

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let nanos = self.0.unsigned_abs();
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => write!(f, "{}µs", decimal(nanos, 1_000)),
            1_000_000..1_000_000_000 => write!(f, "{}ms", decimal(nanos, 1_000_000)),
            _ => {
                let seconds = nanos / 1_000_000_000;
                let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if hours > 0 || minutes > 0 {
                    write!(f, "{minutes}m")?;
                }
                write!(f, "{}s", decimal(nanos % 60_000_000_000, 1_000_000_000))
            }
        }
    }
}

/// `amount / unit` in decimal without trailing zeros; `unit` is a power of ten.
fn decimal(amount: u64, unit: u64) -> String {
    let (whole, fraction) = (amount / unit, amount % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let digits = unit.ilog10() as usize;
    format!("{whole}.{}", format!("{fraction:0digits$}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_agrees_with_itself_over_whole_eras() {
        for days in (-1_000_000..1_000_000).step_by(97) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
            assert!((1..=12).contains(&month) && (1..=31).contains(&day));
        }
        assert_eq!(Time::ZERO.to_string(), "0001-01-01 00:00:00 +0000 UTC");
        assert_eq!(civil_from_days(11_016), (2000, 2, 29));
    }

    #[test]
    fn times_print_in_their_zone() {
        let time = Time::from_unix_millis(1_435_065_584_128);
        assert_eq!(time.to_string(), "2015-06-23 13:19:44.128 +0000 UTC");
        assert_eq!(time.clone().in_zone(7200, "CEST").to_string(), "2015-06-23 15:19:44.128 +0200 CEST");
        assert_eq!(time.in_zone(-12_600, "").to_string(), "2015-06-23 09:49:44.128 -0330 -0330");
        assert_eq!(Time::from_unix_millis(-1).to_string(), "1969-12-31 23:59:59.999 +0000 UTC");
    }

    #[test]
    fn dates_carry_and_times_round() {
        let time = Time::from_unix_millis(1_698_710_400_000); // 2023-10-31 00:00:00
        assert_eq!(time.add_date(0, 1, 0).format("2006-01-02"), "2023-12-01");
        assert_eq!(time.add_date(0, -12, 1).format("2006-01-02"), "2022-11-01");
        let odd = Time::from_unix_nanos(1_698_712_345_678_901_234);
        assert_eq!(odd.round(3_600_000_000_000, false).format("15:04:05"), "00:00:00");
        assert_eq!(odd.round(3_600_000_000_000, true).format("15:04:05"), "01:00:00");
        assert_eq!(odd.add_date(i64::MAX, i64::MAX, i64::MAX).format("2006").len(), 12, "far years do not overflow");
    }

    #[test]
    fn durations_print_as_in_go() {
        let cases = [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (245_000_000_000, "4m5s"),
            (14_706_001_000_000, "4h5m6.001s"),
            (-1_800_000_000_000, "-30m0s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ];
        for (nanos, expected) in cases {
            assert_eq!(GoDuration(nanos).to_string(), expected);
        }
    }
}
