//! Coupons.

use crate::{Amount, Currency, Days, Invalid, Label, MinOrderAmount, Name, Percent, Timestamp};

/// What a coupon gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Benefit {
    /// A fixed amount off the order.
    Amount {
        /// How much, in the currency's minor unit.
        amount: Amount,
        /// The currency of the amount, and of the orders that it is for.
        currency: Currency,
    },
    /// A share of the order.
    Percent {
        /// The share.
        percent: Percent,
        /// The most that it gives; none for no cap.
        max_amount: Option<Amount>,
        /// The currency of the cap, and of the orders that it is for.
        currency: Currency,
    },
}

/// What an order must meet. All conditions given must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    /// The least amount of the order.
    pub min_order_amount: MinOrderAmount,
    /// At least one item is one of these products; empty for any.
    pub product_ids: Vec<Label>,
    /// At least one item is in one of these categories; empty for any.
    pub category_ids: Vec<Label>,
}

/// When an issued coupon can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// The same period for everybody: `[from, until)`.
    Period {
        /// Its first moment.
        from: Timestamp,
        /// The first moment after it.
        until: Timestamp,
    },
    /// From issue, for that many days.
    Days(Days),
}

impl Validity {
    /// A fixed period.
    ///
    /// # Errors
    /// When it would be empty.
    pub fn period(from: Timestamp, until: Timestamp) -> Result<Self, Invalid> {
        if from < until {
            Ok(Self::Period { from, until })
        } else {
            Err(Invalid::new("must be later than from"))
        }
    }

    /// `(valid_from, expires_at)` of a coupon issued at `issued_at`.
    #[must_use]
    pub fn of_issue(&self, issued_at: Timestamp) -> (Timestamp, Timestamp) {
        match *self {
            Self::Period { from, until } => (from, until),
            Self::Days(days) => (issued_at, issued_at.plus_days(days.get())),
        }
    }
}

/// A coupon as an admin writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CouponDraft {
    /// What people call it.
    pub name: Name,
    /// What it gives.
    pub benefit: Benefit,
    /// What an order must meet.
    pub conditions: Conditions,
    /// When it can be used.
    pub validity: Validity,
}
