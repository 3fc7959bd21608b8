//! Numbers with a range, at and beyond their ends.

use std::fmt::Debug;

use firstcome_core::{
    Amount, Days, EventNo, Invalid, MinOrderAmount, Percent, Quantity, Sequence, limits,
};

/// Numbers beyond every range: what other machines call integers.
const HUGE: [i128; 9] = [
    (1 << 53) + 1,
    i64::MAX as i128,
    1 << 63,
    u64::MAX as i128,
    1 << 64,
    (1 << 64) + 1,
    i128::MAX,
    i128::MIN,
    i64::MIN as i128,
];

#[track_caller]
fn check_range<T: Copy + Debug, N: Into<i128>>(
    parse: fn(i128) -> Result<T, Invalid>,
    get: impl Fn(T) -> N,
    min: i128,
    max: i128,
) {
    for number in [min, min + 1, max - 1, max] {
        let parsed = parse(number).expect("within the range");
        assert_eq!(get(parsed).into(), number);
    }
    let sentence = format!("must be an integer from {min} to {max}");
    for number in [min - 1, max + 1, -1, i128::from(u32::MAX) + 2].into_iter().chain(HUGE) {
        if !(min..=max).contains(&number) {
            let refused = parse(number).expect_err("out of the range");
            assert_eq!(refused.to_string(), sentence, "of {number}");
        }
    }
}

#[test]
fn each_number_keeps_its_range() {
    check_range(Quantity::parse, Quantity::get, 1, 10_000_000);
    check_range(Sequence::parse, Sequence::get, 1, 16_777_215);
    check_range(Amount::parse, Amount::get, 1, 1_000_000_000_000);
    check_range(MinOrderAmount::parse, MinOrderAmount::get, 0, 1_000_000_000_000);
    check_range(Percent::parse, Percent::get, 1, 100);
    check_range(Days::parse, Days::get, 1, 3_650);
}

#[test]
fn no_huge_number_wraps_into_a_range() {
    for number in HUGE {
        assert!(Quantity::parse(number).is_err(), "{number}");
        assert!(Amount::parse(number).is_err(), "{number}");
        assert!(MinOrderAmount::parse(number).is_err(), "{number}");
        assert!(Percent::parse(number).is_err(), "{number}");
        assert!(Days::parse(number).is_err(), "{number}");
    }
}

#[test]
fn an_event_number_fits_in_a_code() {
    let last = (1 << limits::EVENT_NO_BITS) - 1;
    assert_eq!(EventNo::new(last).map(EventNo::get), Some(last));
    assert_eq!(EventNo::new(last + 1), None);
    assert_eq!(EventNo::new(u64::MAX), None);
}
