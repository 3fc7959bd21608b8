//! Time as a value.

use std::fmt;

use jiff::Timestamp as Instant;
use serde::{Serialize, Serializer};

use crate::Invalid;

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
        Self::from_micros(self.0.saturating_add(days as i64 * DAY_MICROS))
    }

    /// Whole seconds from `self` until `later`, rounded up; 0 when `later` is not later.
    #[must_use]
    pub fn seconds_until(self, later: Self) -> u64 {
        u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0).div_ceil(1_000_000)
    }

    /// Reads an RFC 3339 date and time with an offset, as `2026-11-27T10:00:00+09:00`.
    ///
    /// # Errors
    /// When it is not such a time, has no offset, or lies outside 1970 to 9999. Digits below a
    /// microsecond are dropped.
    pub fn parse_rfc3339(text: &str) -> Result<Self, Invalid> {
        let refused = || {
            Invalid::new("must be an RFC 3339 time with an offset, as 2026-11-27T10:00:00+09:00")
        };
        let shaped = has_rfc3339_shape(text.as_bytes());
        let instant: Instant = text.parse().ok().filter(|_| shaped).ok_or_else(refused)?;
        let micros = instant.as_microsecond();
        if (0..=LAST_MICROS).contains(&micros) {
            Ok(Self(micros))
        } else {
            Err(Invalid::new("must lie between the years 1970 and 9999"))
        }
    }
}

/// Whether the bytes have RFC 3339's fixed columns (the parser beneath is more generous: it takes
/// a space for the `T`, basic formats, and time-zone names).
fn has_rfc3339_shape(text: &[u8]) -> bool {
    const COLUMNS: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let fixed = text.len() > COLUMNS.len()
        && COLUMNS.iter().zip(text).all(|(column, byte)| match column {
            b'd' => byte.is_ascii_digit(),
            b'T' => matches!(byte, b'T' | b't'),
            literal => byte == literal,
        });
    if !fixed {
        return false;
    }
    let rest = match text[COLUMNS.len()..].split_first() {
        Some((b'.', fraction)) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
        _ => &text[COLUMNS.len()..],
    };
    match rest {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => {
            [h1, h2, m1, m2].into_iter().all(u8::is_ascii_digit)
        }
        _ => false,
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instant = Instant::from_microsecond(self.0).expect("held within 1970 to 9999");
        fmt::Display::fmt(&instant, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where the time comes from. The decider of a claim reads it once for each batch.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;
}
