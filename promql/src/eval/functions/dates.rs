//! Parts of dates, UTC, proleptic Gregorian. Any 64-bit number of seconds has a date; no time zone, no leap seconds.
//!
//! Seconds before the earliest time of Go's calendar count from the far end of it, as there: what is no number, or too large for
//! one, has the date of 2^63 seconds, in December of the year 292277026596.

/// The function of that name in PromQL: from seconds since the Unix epoch to the part of the date.
pub(crate) fn named(name: &str) -> Option<fn(i64) -> f64> {
    Some(match name {
        "minute" => |seconds| (day_and_second(seconds).1 % 3600 / 60) as f64,
        "hour" => |seconds| (day_and_second(seconds).1 / 3600) as f64,
        "day_of_week" => |seconds| (day_and_second(seconds).0 + 4).rem_euclid(7) as f64,
        "day_of_month" => |seconds| Date::of(seconds).day as f64,
        "day_of_year" => |seconds| Date::of(seconds).day_of_year() as f64,
        "days_in_month" => |seconds| Date::of(seconds).days_in_month() as f64,
        "month" => |seconds| Date::of(seconds).month as f64,
        "year" => |seconds| Date::of(seconds).year as f64,
        _ => return None,
    })
}

/// Whole seconds of a value; what fits no 64-bit number becomes the smallest one, as on amd64.
pub(crate) fn whole_seconds(value: f64) -> i64 {
    let fits = value > -9.223_372_036_854_776e18 && value < 9.223_372_036_854_775e18;
    if fits { value as i64 } else { i64::MIN }
}

/// The earliest time of Go's calendar, March of the year -292277022400, in seconds since the Unix epoch.
const EARLIEST: i64 = -9_223_372_028_741_760_000;

/// The day since the Unix epoch, and the second of it.
fn day_and_second(seconds: i64) -> (i64, i64) {
    if seconds >= EARLIEST {
        return (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    }
    let around = i128::from(seconds) + (1 << 64);
    ((around / 86_400) as i64, (around % 86_400) as i64)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Date {
    year: i64,
    /// 1 to 12.
    month: i64,
    /// From 1.
    day: i64,
}

const DAYS_BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

impl Date {
    /// Counts in years that begin in March, so that the leap day comes last.
    fn of(seconds: i64) -> Self {
        let days = day_and_second(seconds).0 + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self { year, month, day }
    }

    fn is_leap_year(self) -> bool {
        self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0)
    }

    fn days_in_month(self) -> i64 {
        match self.month {
            2 if self.is_leap_year() => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    fn day_of_year(self) -> i64 {
        let before = DAYS_BEFORE[self.month as usize - 1];
        before + self.day + i64::from(self.month > 2 && self.is_leap_year())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        let cases = [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (951_782_399, (2000, 2, 28)),
            (951_782_400, (2000, 2, 29)),
            (1_456_790_400, (2016, 3, 1)),
            (4_107_542_400, (2100, 3, 1)),
            (-62_135_596_800, (1, 1, 1)),
        ];
        for (seconds, (year, month, day)) in cases {
            assert_eq!(Date::of(seconds), Date { year, month, day }, "{seconds}");
        }
        assert_eq!(Date::of(1_483_191_420).day_of_year(), 366);
        for extreme in [i64::MIN, i64::MAX] {
            assert!((1..=12).contains(&Date::of(extreme).month));
        }
    }

    /// As Prometheus 2.42 answers, asked for each of them.
    #[test]
    fn what_is_no_time_has_the_date_that_go_gives_it() {
        let parts = ["year", "month", "day_of_month", "day_of_year", "days_in_month", "day_of_week", "hour", "minute"];
        let of = |value: f64| parts.map(|part| named(part).unwrap()(whole_seconds(value)));
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            assert_eq!(of(value), [292_277_026_596.0, 12.0, 4.0, 339.0, 31.0, 0.0, 15.0, 30.0], "{value}");
        }
        assert_eq!(of(-9_223_372_036_000_000_000.0)[..3], [292_277_026_624.0, 1.0, 6.0]);
        assert_eq!(of(-9.2e18)[0], -291_536_392_293.0);
    }
}
