//! Values that tests need and do not care about.

use firstcome_core::{EventRule, Quantity, Timestamp, UserId, Window};

pub(crate) const SECOND: i64 = 1_000_000;
/// 2026-11-27T10:00:00+09:00.
pub(crate) const OPENS_AT: i64 = 1_795_741_200 * SECOND;
pub(crate) const CLOSES_AT: i64 = OPENS_AT + 3_600 * SECOND;

pub(crate) fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::parse(name).expect("a user id")
}

pub(crate) fn quantity(number: u32) -> Quantity {
    Quantity::parse(number.into()).expect("a quantity")
}

/// An event of ten, nothing issued, with the window `[OPENS_AT, CLOSES_AT)`.
pub(crate) fn event() -> EventRule {
    EventRule {
        quantity: quantity(10),
        issued: 0,
        window: Window::new(at(OPENS_AT), at(CLOSES_AT)).expect("a window"),
        opened_early: false,
        paused: false,
        closed: false,
    }
}
