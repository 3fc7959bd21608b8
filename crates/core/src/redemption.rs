//! The redemption rule: one use of an issued coupon, for one order.

use serde::Serialize;

use crate::{
    Amount, Benefit, Conditions, Currency, IssuedCouponId, Label, MinOrderAmount, OrderId,
    RedemptionId, Timestamp,
};

/// What people see of an issued coupon's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IssuedState {
    /// Neither used nor revoked, and not past its end; it may not have begun.
    Issued,
    /// Used for an order.
    Used,
    /// Past its end, unused.
    Expired,
    /// Taken back by an admin.
    Revoked,
}

impl IssuedState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Issued, Self::Used, Self::Expired, Self::Revoked];

    /// The state's word in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Used => "used",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }

    /// The state with this word; none for any other.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// What decides the use of an issued coupon: the stored part of its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IssuedRule {
    /// The first moment at which it can be used.
    pub valid_from: Timestamp,
    /// The first moment at which it can be used no more.
    pub expires_at: Timestamp,
    /// When it was used; none again after a cancel. Never beside `revoked_at`.
    pub used_at: Option<Timestamp>,
    /// When it was revoked; never taken back.
    pub revoked_at: Option<Timestamp>,
}

impl IssuedRule {
    /// The state at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> IssuedState {
        if self.revoked_at.is_some() {
            IssuedState::Revoked
        } else if self.used_at.is_some() {
            IssuedState::Used
        } else if now >= self.expires_at {
            IssuedState::Expired
        } else {
            IssuedState::Issued
        }
    }
}

/// What a shopper is about to buy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The shop's own id of it.
    pub id: OrderId,
    /// What it costs before the discount, in the currency's minor unit.
    pub amount: Amount,
    /// The currency of the amount.
    pub currency: Currency,
    /// What is in it, as far as the shop tells.
    pub items: Vec<OrderItem>,
}

/// One thing in an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderItem {
    /// Which product.
    pub product_id: Label,
    /// The categories that the product is in.
    pub category_ids: Vec<Label>,
    /// What it costs, in the minor unit of the order's currency. The order's amount alone decides.
    pub amount: Option<Amount>,
}

/// A wish to use an issued coupon for an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The id that the redemption gets, if this makes one.
    pub id: RedemptionId,
    /// What is to be used.
    pub issued_coupon_id: IssuedCouponId,
    /// What it is to be used for.
    pub order: Order,
}

/// A use of an issued coupon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redemption {
    /// Its id.
    pub id: RedemptionId,
    /// What was used.
    pub issued_coupon_id: IssuedCouponId,
    /// The order that it was used for.
    pub order_id: OrderId,
    /// The order's amount, in the minor unit.
    pub order_amount: Amount,
    /// What it took off the order, in the minor unit; never above `order_amount`.
    pub discount_amount: u64,
    /// The currency of both.
    pub currency: Currency,
    /// When.
    pub redeemed_at: Timestamp,
    /// When it was cancelled, if it is.
    pub cancelled_at: Option<Timestamp>,
}

/// A condition that an order does not meet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "condition", rename_all = "snake_case")]
pub enum Unmet {
    /// The order is in another currency than the benefit.
    Currency {
        /// The benefit's.
        expected: Currency,
        /// The order's.
        found: Currency,
    },
    /// The order costs too little.
    MinOrderAmount {
        /// The least amount, in the minor unit.
        expected: MinOrderAmount,
        /// The order's amount.
        found: Amount,
    },
    /// None of the products is in the order.
    ProductIds {
        /// One of these would do.
        expected: Vec<Label>,
        /// The products in the order.
        found: Vec<Label>,
    },
    /// None of the categories is in the order.
    CategoryIds {
        /// One of these would do.
        expected: Vec<Label>,
        /// The categories in the order.
        found: Vec<Label>,
    },
}

/// The coupon may be used for the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redeemed {
    /// Now, for the first time.
    New(Redemption),
    /// It was already, for this very order: a retry. The redemption may be cancelled since.
    Same(Redemption),
}

/// Why the coupon may not be used for the order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRedeemed {
    /// The order was redeemed before, with another amount or currency.
    #[error("the order was redeemed with another amount or currency")]
    OrderMismatch,
    /// An admin took the coupon back.
    #[error("the coupon is revoked")]
    Revoked,
    /// It is used for another order.
    #[error("the coupon is used for another order")]
    AlreadyUsed(Redemption),
    /// It is past its end.
    #[error("the coupon has expired")]
    Expired,
    /// Its validity has not begun.
    #[error("the coupon is not valid yet")]
    NotYetValid,
    /// The order does not meet these conditions.
    #[error("the order does not meet the coupon's conditions")]
    ConditionsNotMet(Vec<Unmet>),
}

/// Decides whether an issued coupon may be used for an order, at one moment.
///
/// `prior` are all redemptions of this coupon, cancelled ones included. A retry of the same order
/// is met first, so that it gets its redemption whatever happened to the coupon since.
///
/// # Errors
/// [`NotRedeemed`], the first reason that applies in the order of its variants.
pub fn redeem(
    attempt: &Attempt,
    issued: &IssuedRule,
    benefit: &Benefit,
    conditions: &Conditions,
    prior: &[Redemption],
    now: Timestamp,
) -> Result<Redeemed, NotRedeemed> {
    let order = &attempt.order;
    let active = prior.iter().find(|redemption| redemption.cancelled_at.is_none());
    assert!(active.is_some() == issued.used_at.is_some(), "used is what has an active redemption");
    if let Some(same) = prior.iter().find(|redemption| redemption.order_id == order.id) {
        return if (same.order_amount, &same.currency) == (order.amount, &order.currency) {
            Ok(Redeemed::Same(same.clone()))
        } else {
            Err(NotRedeemed::OrderMismatch)
        };
    }
    if issued.revoked_at.is_some() {
        return Err(NotRedeemed::Revoked);
    }
    if let Some(active) = active {
        return Err(NotRedeemed::AlreadyUsed(active.clone()));
    }
    if now >= issued.expires_at {
        return Err(NotRedeemed::Expired);
    }
    if now < issued.valid_from {
        return Err(NotRedeemed::NotYetValid);
    }
    let unmet = unmet(benefit, conditions, order);
    if !unmet.is_empty() {
        return Err(NotRedeemed::ConditionsNotMet(unmet));
    }
    Ok(Redeemed::New(Redemption {
        id: attempt.id,
        issued_coupon_id: attempt.issued_coupon_id,
        order_id: order.id.clone(),
        order_amount: order.amount,
        discount_amount: discount_amount(benefit, order.amount),
        currency: order.currency.clone(),
        redeemed_at: now,
        cancelled_at: None,
    }))
}

/// What a benefit takes off an order of this amount, in the minor unit: the fixed amount, or
/// `floor(order_amount × percent / 100)` up to the cap; never above the order's amount.
#[must_use]
pub fn discount_amount(benefit: &Benefit, order_amount: Amount) -> u64 {
    let order_amount = order_amount.get();
    let full = match *benefit {
        Benefit::Amount { amount, .. } => amount.get(),
        Benefit::Percent { percent, max_amount, .. } => {
            let share = u128::from(order_amount) * u128::from(percent.get()) / 100;
            let share = u64::try_from(share).expect("at most 100 per cent of a u64");
            max_amount.map_or(share, |cap| share.min(cap.get()))
        }
    };
    full.min(order_amount)
}

/// Every condition that the order does not meet. A list of ids is met by any one item; two lists
/// may be met by two items.
fn unmet(benefit: &Benefit, conditions: &Conditions, order: &Order) -> Vec<Unmet> {
    let mut unmet = Vec::new();
    let (Benefit::Amount { currency, .. } | Benefit::Percent { currency, .. }) = benefit;
    if order.currency != *currency {
        let (expected, found) = (currency.clone(), order.currency.clone());
        unmet.push(Unmet::Currency { expected, found });
    }
    if order.amount.get() < conditions.min_order_amount.get() {
        let (expected, found) = (conditions.min_order_amount, order.amount);
        unmet.push(Unmet::MinOrderAmount { expected, found });
    }
    let products = order.items.iter().map(|item| &item.product_id);
    if let Some((expected, found)) = without_match(&conditions.product_ids, products) {
        unmet.push(Unmet::ProductIds { expected, found });
    }
    let categories = order.items.iter().flat_map(|item| &item.category_ids);
    if let Some((expected, found)) = without_match(&conditions.category_ids, categories) {
        unmet.push(Unmet::CategoryIds { expected, found });
    }
    unmet
}

/// What is expected and what was found, where something is expected and nothing of it was found.
fn without_match<'a>(
    expected: &[Label],
    mut found: impl Iterator<Item = &'a Label> + Clone,
) -> Option<(Vec<Label>, Vec<Label>)> {
    let all = found.clone();
    let met = expected.is_empty() || found.any(|label| expected.contains(label));
    (!met).then(|| (expected.to_vec(), all.cloned().collect()))
}
