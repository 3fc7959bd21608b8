//! Answers that more than one service gives: an event, an issued coupon.

use firstcome_core::{
    Code, CouponId, EventId, EventState, IssuedCouponId, IssuedState, Name, Quantity, Sequence,
    Strategy, Timestamp, UserId,
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::openapi::{EventStateWord, IssuedStateWord, StrategyWord};

/// An event, as everybody sees it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Event, examples(event_example))]
pub struct EventView {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: EventId,
    /// The coupon that it issues.
    #[schema(value_type = String, format = Uuid)]
    pub coupon_id: CouponId,
    /// What people call it.
    #[schema(value_type = String, min_length = 1, max_length = 100)]
    pub name: Name,
    /// How many coupons it has.
    #[schema(value_type = u32, minimum = 1, maximum = 10_000_000)]
    pub quantity: Quantity,
    /// How many are issued.
    #[schema(maximum = 10_000_000)]
    pub issued: u32,
    /// How many are left.
    #[schema(maximum = 10_000_000)]
    pub remaining: u32,
    /// The first moment of its window.
    #[schema(value_type = String, format = DateTime)]
    pub opens_at: Timestamp,
    /// The first moment after its window.
    #[schema(value_type = String, format = DateTime)]
    pub closes_at: Timestamp,
    /// Who decides its claims.
    #[schema(value_type = StrategyWord)]
    pub strategy: Strategy,
    /// Derived from what is stored, the window and the stock.
    #[schema(value_type = EventStateWord)]
    pub state: EventState,
    /// When this was told, by the clock that opens and closes the event.
    #[schema(value_type = String, format = DateTime)]
    pub server_time: Timestamp,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When an admin last changed it.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// Only while Redis is being told again what it knew of the event, for longer than a moment:
    /// its claims are answered 503 until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub sync: Option<SyncView>,
}

/// How far the rebuilding of what Redis knows of an event is.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = EventSync)]
pub struct SyncView {
    /// Winners that Redis knows again.
    #[schema(maximum = 10_000_000)]
    pub copied: u32,
    /// Winners that the ledger has by now.
    #[schema(maximum = 10_000_000)]
    pub of: u32,
}

/// An issued coupon, as its holder and the staff see it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = IssuedCoupon, examples(issued_example))]
pub struct IssuedView {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: IssuedCouponId,
    /// The event that issued it.
    #[schema(value_type = String, format = Uuid)]
    pub event_id: EventId,
    /// The benefit.
    #[schema(value_type = String, format = Uuid)]
    pub coupon_id: CouponId,
    /// Who holds it: the `sub` of a token.
    #[schema(value_type = String, pattern = "^[!-~]{1,128}$")]
    pub user_id: UserId,
    /// Its place in line, from 1.
    #[schema(value_type = u32, minimum = 1, maximum = 16_777_215)]
    pub sequence: Sequence,
    /// What the checkout asks for.
    #[schema(value_type = String, pattern = "^[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){2}$")]
    pub code: Code,
    /// As it is now.
    #[schema(value_type = IssuedStateWord)]
    pub state: IssuedState,
    /// When it was won.
    #[schema(value_type = String, format = DateTime)]
    pub issued_at: Timestamp,
    /// From when it can be used.
    #[schema(value_type = String, format = DateTime)]
    pub valid_from: Timestamp,
    /// The first moment at which it can be used no more.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// When it was used; null while it is not.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub used_at: Option<Timestamp>,
}

fn event_example() -> Value {
    json!({
        "id": "0199a8e2-7c1b-7d3e-8f00-0123456789ab",
        "coupon_id": "0199a8e1-5f2c-7a10-9b00-0123456789ab",
        "name": "Ten o'clock drop", "quantity": 10_000, "issued": 1_200, "remaining": 8_800,
        "opens_at": "2026-11-27T01:00:00Z", "closes_at": "2026-11-27T03:00:00Z",
        "strategy": "ledger", "state": "open", "server_time": "2026-11-27T01:00:03.25Z",
        "created_at": "2026-11-20T02:00:00Z", "updated_at": "2026-11-20T02:00:00Z",
    })
}

pub(crate) fn issued_example() -> Value {
    json!({
        "id": "5b2f6d0e-8c1a-5e44-a1f3-3d1f0c9b7a62",
        "event_id": "0199a8e2-7c1b-7d3e-8f00-0123456789ab",
        "coupon_id": "0199a8e1-5f2c-7a10-9b00-0123456789ab",
        "user_id": "0199a8e3-11aa-7bb0-8c00-0123456789ab", "sequence": 1_200,
        "code": "7ZK3-0QXM-R4TB", "state": "issued", "issued_at": "2026-11-27T01:00:03.25Z",
        "valid_from": "2026-11-27T01:00:03.25Z", "expires_at": "2026-12-27T01:00:03.25Z",
        "used_at": null,
    })
}

/// A use of an issued coupon, as the wallet answers it and a refusal shows it.
pub fn redemption_example() -> Value {
    json!({
        "id": "0199a8f0-2d4e-7c60-8a00-0123456789ab",
        "issued_coupon_id": "5b2f6d0e-8c1a-5e44-a1f3-3d1f0c9b7a62", "order_id": "order-20261127-17",
        "order_amount": 32_000, "discount_amount": 5_000, "currency": "KRW", "state": "redeemed",
        "redeemed_at": "2026-11-28T05:12:40Z", "cancelled_at": null,
    })
}
