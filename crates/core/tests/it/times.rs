//! Times as RFC 3339 texts.

use firstcome_core::Timestamp;
use proptest::prelude::*;

use crate::sample::{SECOND, at};

const SHAPE: &str = "must be an RFC 3339 time with an offset, as 2026-11-27T10:00:00+09:00";
const YEARS: &str = "must lie between the years 1970 and 9999";

#[track_caller]
fn check(text: &str, utc: &str) {
    assert_eq!(Timestamp::parse_rfc3339(text).expect(text).to_string(), utc, "of {text}");
}

#[track_caller]
fn check_refused(text: &str, sentence: &str) {
    let refused = Timestamp::parse_rfc3339(text).expect_err(text);
    assert_eq!(refused.to_string(), sentence, "of {text:?}");
}

#[test]
fn every_offset_is_read_and_utc_is_written() {
    check("2026-11-27T10:00:00+09:00", "2026-11-27T01:00:00Z");
    check("2026-11-27T01:00:00Z", "2026-11-27T01:00:00Z");
    check("2026-11-27t01:00:00z", "2026-11-27T01:00:00Z");
    check("2026-11-26T20:15:00-04:45", "2026-11-27T01:00:00Z");
    check("2026-11-27T01:00:00-00:00", "2026-11-27T01:00:00Z");
    check("2026-11-27T01:00:00+23:59", "2026-11-26T01:01:00Z");
    check("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z");
}

#[test]
fn microseconds_are_kept_and_what_is_below_dropped() {
    check("2026-11-27T01:00:00.5Z", "2026-11-27T01:00:00.5Z");
    check("2026-11-27T01:00:00.000001Z", "2026-11-27T01:00:00.000001Z");
    check("2026-11-27T01:00:00.123456789Z", "2026-11-27T01:00:00.123456Z");
    check("2026-11-27T01:00:00.999999999Z", "2026-11-27T01:00:00.999999Z");
    check("2026-11-27T01:00:00.12345678901234567890+00:00", "2026-11-27T01:00:00.123456Z");
    let micros = Timestamp::parse_rfc3339("1970-01-01T00:00:01.000002Z").expect("a time");
    assert_eq!(micros.as_micros(), 1_000_002);
}

/// A leap second is the second before it: the epoch's count has no place of its own for it.
#[test]
fn a_leap_second_is_taken() {
    check("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z");
    check_refused("2016-12-31T23:59:61Z", SHAPE);
}

#[test]
fn a_time_without_offset_is_refused() {
    for text in ["2026-11-27T10:00:00", "2026-11-27T10:00:00.5", "2026-11-27", "10:00:00+09:00"] {
        check_refused(text, SHAPE);
    }
}

#[test]
fn other_spellings_are_refused() {
    for text in [
        "",
        "Z",
        "now",
        "2026-11-27 10:00:00+09:00",
        "2026-11-27T10:00:00 +09:00",
        " 2026-11-27T10:00:00+09:00",
        "2026-11-27T10:00:00+09:00 ",
        "2026-11-27T10:00:00+0900",
        "2026-11-27T10:00:00+09",
        "2026-11-27T10:00:00+09:00:00",
        "2026-11-27T10:00:00+09:00[Asia/Seoul]",
        "2026-11-27T10:00+09:00",
        "20261127T100000Z",
        "2026-W48-5T10:00:00Z",
        "2026-331T10:00:00Z",
        "26-11-27T10:00:00Z",
        "2026-1-27T10:00:00Z",
        "2026-11-27T10:00:00.Z",
        "2026-11-27T10:00:00,5Z",
        "2026-11-27T10:00:00.5.5Z",
        "2026-11-27T10:00:00KST",
        "2026-11-27T10:00:00+09:0０",
        "２０２６-11-27T10:00:00Z",
        "2026년11월27일",
        "1795741200",
        "2026-11-27T10:00:00Z\0",
        "2026-11-27T10:00:00Z\n",
    ] {
        check_refused(text, SHAPE);
    }
}

#[test]
fn what_no_calendar_or_clock_has_is_refused() {
    for text in [
        "2026-00-27T10:00:00Z",
        "2026-13-27T10:00:00Z",
        "2026-11-00T10:00:00Z",
        "2026-11-31T10:00:00Z",
        "2026-02-29T10:00:00Z",
        "2100-02-29T10:00:00Z",
        "2026-11-27T24:00:00Z",
        "2026-11-27T10:60:00Z",
        "2026-11-27T10:00:00+24:00",
        "2026-11-27T10:00:00+25:00",
        "2026-11-27T10:00:00-24:30",
        "2026-11-27T10:00:00+09:60",
    ] {
        check_refused(text, SHAPE);
    }
}

#[test]
fn years_are_1970_to_9999() {
    check("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z");
    check("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z");
    check("1969-12-31T23:30:00-00:30", "1970-01-01T00:00:00Z");
    for text in [
        "1969-12-31T23:59:59Z",
        "1969-12-31T23:59:59.9999999Z",
        "1970-01-01T00:00:00+00:01",
        "0001-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
    ] {
        check_refused(text, YEARS);
    }
    check("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999Z");
    check_refused("9999-12-31T23:59:59-00:01", YEARS);
    check_refused("10000-01-01T00:00:00Z", SHAPE);
    check_refused("+2026-11-27T10:00:00Z", SHAPE);
    check_refused("-2026-11-27T10:00:00Z", SHAPE);
}

#[test]
fn micros_out_of_range_are_held_at_the_ends() {
    assert_eq!(at(-1).as_micros(), 0);
    assert_eq!(at(i64::MIN).as_micros(), 0);
    assert_eq!(at(i64::MAX).to_string(), "9999-12-31T23:59:59.999999Z");
    assert_eq!(at(i64::MAX).plus_days(3_650), at(i64::MAX));
    assert_eq!(at(0).plus_days(u32::MAX), at(i64::MAX));
    assert_eq!(at(0).plus_days(1).to_string(), "1970-01-02T00:00:00Z");
}

#[test]
fn seconds_until_are_rounded_up() {
    for (later, seconds) in
        [(0, 0), (1, 1), (SECOND - 1, 1), (SECOND, 1), (SECOND + 1, 2), (90 * SECOND, 90)]
    {
        assert_eq!(at(500).seconds_until(at(500 + later)), seconds, "{later} µs");
    }
    assert_eq!(at(SECOND).seconds_until(at(0)), 0);
}

proptest! {
    /// The calendar reads what was written without it.
    #[test]
    fn every_moment_is_read_as_it_was_written(micros in 0..=253_402_300_799_999_999_i64) {
        for micros in [micros, micros - micros % 1_000, micros - micros % 86_400_000_000] {
            let text = Timestamp::from_micros(micros).to_string();
            let read = Timestamp::parse_rfc3339(&text).expect("a time");
            prop_assert_eq!(read.as_micros(), micros, "{}", text);
        }
    }
}
