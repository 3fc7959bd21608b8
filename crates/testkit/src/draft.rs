//! Coupons and events with safe defaults; a test overrides what matters to it.

use firstcome_core::{
    Amount, Benefit, Conditions, CouponDraft, Currency, Days, EventRule, MinOrderAmount, Name,
    Quantity, Timestamp, Validity, Window,
};

/// The opening of [`rule`]: 2026-11-27T10:00:00+09:00.
pub const OPENS_AT: Timestamp = Timestamp::from_micros(1_795_741_200_000_000);
/// The end of [`rule`], an hour later.
pub const CLOSES_AT: Timestamp = Timestamp::from_micros(1_795_744_800_000_000);

/// 5,000 won off any order, for 30 days from issue.
#[must_use]
pub fn coupon() -> CouponDraft {
    CouponDraft {
        name: Name::parse("5,000원 할인").expect("a name"),
        benefit: Benefit::Amount {
            amount: Amount::parse(5_000).expect("an amount"),
            currency: Currency::krw(),
        },
        conditions: Conditions {
            min_order_amount: MinOrderAmount::MIN,
            product_ids: Vec::new(),
            category_ids: Vec::new(),
        },
        validity: Validity::Days(Days::parse(30).expect("days")),
    }
}

/// An event of this quantity, open by the clock from [`OPENS_AT`] until [`CLOSES_AT`].
#[must_use]
pub fn rule(quantity: u32) -> EventRule {
    EventRule {
        quantity: Quantity::parse(quantity.into()).expect("a quantity"),
        issued: 0,
        window: Window::new(OPENS_AT, CLOSES_AT).expect("a window"),
        opened_early: false,
        paused: false,
        closed: false,
    }
}
