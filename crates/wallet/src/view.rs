//! What is answered.

use firstcome_core::{
    Amount, Currency, IssuedCouponId, OrderId, Redemption, RedemptionId, Timestamp,
};
use firstcome_ledger::IssuedCouponRecord;
use firstcome_web::IssuedView;
use firstcome_web::views::redemption_example;
use serde::Serialize;
use utoipa::ToSchema;

/// A use of an issued coupon. Money is in the currency's minor unit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Redemption, examples(redemption_example))]
pub struct RedemptionView {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    id: RedemptionId,
    /// What was used.
    #[schema(value_type = String, format = Uuid)]
    issued_coupon_id: IssuedCouponId,
    /// The order that it was used for.
    #[schema(value_type = String, pattern = "^[!-~]{1,64}$")]
    order_id: OrderId,
    /// What the order cost before the discount.
    #[schema(value_type = u64, minimum = 1, maximum = 1_000_000_000_000_u64)]
    order_amount: Amount,
    /// What was taken off the order.
    #[schema(maximum = 1_000_000_000_000_u64)]
    discount_amount: u64,
    /// The currency of both.
    #[schema(value_type = String, pattern = "^[A-Z]{3}$")]
    currency: Currency,
    /// Whether it stands.
    state: RedemptionState,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    redeemed_at: Timestamp,
    /// When it was cancelled; null while it is not.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    cancelled_at: Option<Timestamp>,
}

/// Whether a use stands.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum RedemptionState {
    /// It stands.
    Redeemed,
    /// It was taken back.
    Cancelled,
}

impl RedemptionView {
    /// The redemption, as it is shown.
    pub(crate) fn of(redemption: Redemption) -> Self {
        let cancelled = redemption.cancelled_at.is_some();
        Self {
            id: redemption.id,
            issued_coupon_id: redemption.issued_coupon_id,
            order_id: redemption.order_id,
            order_amount: redemption.order_amount,
            discount_amount: redemption.discount_amount,
            currency: redemption.currency,
            state: if cancelled { RedemptionState::Cancelled } else { RedemptionState::Redeemed },
            redeemed_at: redemption.redeemed_at,
            cancelled_at: redemption.cancelled_at,
        }
    }
}

/// The issued coupon, as it is at `now`.
pub(crate) fn issued_view(coupon: IssuedCouponRecord, now: Timestamp) -> IssuedView {
    IssuedView {
        state: coupon.state(now),
        id: coupon.id,
        event_id: coupon.event_id,
        coupon_id: coupon.coupon_id,
        user_id: coupon.user_id,
        sequence: coupon.sequence,
        code: coupon.code,
        issued_at: coupon.issued_at,
        valid_from: coupon.valid_from,
        expires_at: coupon.expires_at,
        used_at: coupon.used_at,
    }
}
