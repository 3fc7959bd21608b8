//! Time as a value.

use std::fmt;

use jiff::civil::{DateTime, date};
use serde::{Serialize, Serializer};

use crate::Invalid;

/// 1970-01-01T00:00:00 in UTC. Times are civil ones in UTC here, since the calendar's own instants
/// end a day before the year 9999 does.
const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);
/// Microseconds of one day; validity in days counts days of exactly this length.
const DAY_MICROS: i64 = 86_400 * 1_000_000;
/// 9999-12-31T23:59:59.999999Z, the last moment that RFC 3339 can write.
const LAST_MICROS: i64 = 253_402_300_799_999_999;

/// A moment: microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment that many microseconds after the epoch, held within 1970 to 9999.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        if micros < 0 {
            Self(0)
        } else if micros > LAST_MICROS {
            Self(LAST_MICROS)
        } else {
            Self(micros)
        }
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This moment `days` days of 24 hours later; the last moment of 9999 at most.
    #[must_use]
    pub const fn plus_days(self, days: u32) -> Self {
        Self::from_micros(self.0.saturating_add((days as i64).saturating_mul(DAY_MICROS)))
    }

    /// Whole seconds from `self` until `later`, rounded up; 0 when `later` is not later.
    #[must_use]
    pub fn seconds_until(self, later: Self) -> u64 {
        u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0).div_ceil(1_000_000)
    }

    /// Reads an RFC 3339 date and time with an offset, as `2026-11-27T10:00:00+09:00`. Digits below
    /// a microsecond are dropped; a leap second is the second before it.
    ///
    /// # Errors
    /// When it is not such a time, has no offset, or lies outside 1970 to 9999.
    pub fn parse_rfc3339(text: &str) -> Result<Self, Invalid> {
        let micros = micros_of_rfc3339(text).ok_or_else(|| {
            Invalid::new("must be an RFC 3339 time with an offset, as 2026-11-27T10:00:00+09:00")
        })?;
        if (0..=LAST_MICROS).contains(&micros) {
            Ok(Self(micros))
        } else {
            Err(Invalid::new("must lie between the years 1970 and 9999"))
        }
    }
}

/// Microseconds since the epoch of an RFC 3339 time, before it for an early year; none for any
/// other text. The calendar's parser is more generous than RFC 3339 (a space for the `T`, basic
/// formats, time-zone names), so it gets to see date and time in their fixed columns only.
fn micros_of_rfc3339(text: &str) -> Option<i64> {
    const COLUMNS: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let (seconds, rest) = text.split_at_checked(COLUMNS.len())?;
    let shaped = COLUMNS.iter().zip(seconds.bytes()).all(|(column, byte)| match column {
        b'd' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't'),
        literal => byte == *literal,
    });
    let (fraction_micros, offset) = match rest.strip_prefix('.') {
        Some(rest) => fraction_micros(rest)?,
        None => (0, rest),
    };
    let local: DateTime = seconds.parse().ok().filter(|_| shaped)?;
    let local_seconds = local.duration_since(EPOCH).as_secs();
    Some((local_seconds - offset_seconds(offset)?) * 1_000_000 + fraction_micros)
}

/// The microseconds in the digits that a text begins with, at least one, and the rest of it.
fn fraction_micros(text: &str) -> Option<(i64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let micros = format!("{digits:0<6.6}").parse().ok()?;
    (!digits.is_empty()).then_some((micros, rest))
}

/// The seconds that an offset, `Z` or `±hh:mm`, is ahead of UTC.
fn offset_seconds(text: &str) -> Option<i64> {
    let (sign, h1, h2, m1, m2) = match *text.as_bytes() {
        [b'Z' | b'z'] => return Some(0),
        [b'+', h1, h2, b':', m1, m2] => (1, h1, h2, m1, m2),
        [b'-', h1, h2, b':', m1, m2] => (-1, h1, h2, m1, m2),
        _ => return None,
    };
    let two = |tens: u8, ones: u8, max: i64| {
        let digits = tens.is_ascii_digit() && ones.is_ascii_digit();
        let number = i64::from(tens) * 10 + i64::from(ones) - i64::from(b'0') * 11;
        (digits && number <= max).then_some(number)
    };
    Some(sign * (two(h1, h2, 23)? * 3_600 + two(m1, m2, 59)? * 60))
}

/// Bytes of the longest text of a moment.
const TEXT_BYTES: usize = "9999-12-31T23:59:59.999999Z".len();

impl Timestamp {
    /// The text in RFC 3339, in UTC, with as many digits below the second as it takes. Every won
    /// claim shows three of them, which is why it is not the calendar that writes it.
    fn text(self, buffer: &mut [u8; TEXT_BYTES]) -> &str {
        let micros = self.0.unsigned_abs();
        let (day, in_day) = (micros / DAY_MICROS as u64, micros % DAY_MICROS as u64);
        let (second, fraction) = (in_day / 1_000_000, in_day % 1_000_000);
        let (year, month, day) = civil(day);
        *buffer = *b"0000-00-00T00:00:00.000000Z";
        for (end, mut value) in [
            (4, year),
            (7, month),
            (10, day),
            (13, second / 3_600),
            (16, second / 60 % 60),
            (19, second % 60),
            (26, fraction),
        ] {
            for digit in buffer[..end].iter_mut().rev() {
                if value == 0 {
                    break;
                }
                *digit = b'0' + (value % 10) as u8;
                value /= 10;
            }
        }
        let mut length = 26;
        while matches!(buffer[length - 1], b'0' | b'.') && length > 19 {
            length -= 1;
        }
        buffer[length] = b'Z';
        str::from_utf8(&buffer[..=length]).expect("digits are ASCII")
    }
}

/// Year, month and day of the day that many days after 1970-01-01. Source: Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`, for days after the epoch.
const fn civil(days_after_epoch: u64) -> (u64, u64, u64) {
    // Days since 0000-03-01, in a calendar whose years begin in March.
    let days = days_after_epoch + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, next_year) =
        if month_from_march < 10 { (month_from_march + 3, 0) } else { (month_from_march - 9, 1) };
    (era * 400 + year_of_era + next_year, month, day)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; TEXT_BYTES]))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text(&mut [0; TEXT_BYTES]))
    }
}

/// Where the time comes from. The decider of a claim reads it once for each batch.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;
}
