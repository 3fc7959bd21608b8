//! Answers that more than one service gives: an event, an issued coupon.

use firstcome_core::{
    Code, CouponId, EventId, EventState, IssuedCouponId, IssuedState, Name, Quantity, Sequence,
    Strategy, Timestamp, UserId,
};
use serde::Serialize;
use utoipa::ToSchema;

/// An event, as everybody sees it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub id: EventId,
    /// The coupon that it issues.
    #[schema(value_type = String, format = Uuid)]
    pub coupon_id: CouponId,
    /// What people call it.
    #[schema(value_type = String)]
    pub name: Name,
    /// How many coupons it has.
    #[schema(value_type = u32, minimum = 1, maximum = 10_000_000)]
    pub quantity: Quantity,
    /// How many are issued.
    pub issued: u32,
    /// How many are left.
    pub remaining: u32,
    /// The first moment of its window.
    #[schema(value_type = String, format = DateTime)]
    pub opens_at: Timestamp,
    /// The first moment after its window.
    #[schema(value_type = String, format = DateTime)]
    pub closes_at: Timestamp,
    /// Who decides its claims: `ledger`, `redis_lock` or `redis`.
    #[schema(value_type = String, pattern = "^(ledger|redis_lock|redis)$")]
    pub strategy: Strategy,
    /// `scheduled`, `open`, `paused`, `sold_out` or `closed`.
    #[schema(value_type = String, pattern = "^(scheduled|open|paused|sold_out|closed)$")]
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
}

/// An issued coupon, as its holder and the staff see it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = IssuedCoupon)]
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
    /// Who holds it.
    #[schema(value_type = String)]
    pub user_id: UserId,
    /// Its place in line, from 1.
    #[schema(value_type = u32, minimum = 1)]
    pub sequence: Sequence,
    /// What the checkout asks for.
    #[schema(value_type = String, example = "7ZK3-0QXM-R4TB")]
    pub code: Code,
    /// `issued`, `used`, `expired` or `revoked`.
    #[schema(value_type = String, pattern = "^(issued|used|expired|revoked)$")]
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
    #[schema(value_type = Option<String>, format = DateTime)]
    pub used_at: Option<Timestamp>,
}
