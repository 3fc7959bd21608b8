//! What everybody reads.

use firstcome_core::{
    Amount, Benefit, Conditions, CouponId, Currency, Days, Label, MinOrderAmount, Name, Percent,
    Timestamp, Validity,
};
use firstcome_ledger::{CouponRecord, EventRecord};
use firstcome_web::{EventView, SyncView};
use serde::Serialize;
use utoipa::ToSchema;

use crate::kinds::{BenefitKinds, ValidityKinds};

/// A coupon.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Coupon, examples(json!({
    "id": "0199a8e1-5f2c-7a10-9b00-0123456789ab", "name": "Welcome 5,000",
    "benefit": {"type": "amount", "amount": 5000, "currency": "KRW"},
    "conditions": {"min_order_amount": 20000, "product_ids": [], "category_ids": []},
    "validity": {"type": "days", "days": 30},
    "created_at": "2026-11-20T02:00:00Z", "updated_at": "2026-11-20T02:00:00Z",
})))]
pub struct CouponView {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    id: CouponId,
    /// What people call it.
    #[schema(value_type = String, min_length = 1, max_length = 100)]
    name: Name,
    /// What it gives.
    #[schema(value_type = BenefitKinds)]
    benefit: BenefitView,
    /// What an order must meet; all of it.
    conditions: ConditionsView,
    /// When it can be used.
    #[schema(value_type = ValidityKinds)]
    validity: ValidityView,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// What a coupon gives. Money is in the currency's minor unit.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum BenefitView {
    /// A fixed amount off the order.
    Amount { amount: Amount, currency: Currency },
    /// A share of the order.
    Percent {
        percent: Percent,
        /// The most that it gives; absent for no cap.
        #[serde(skip_serializing_if = "Option::is_none")]
        max_amount: Option<Amount>,
        currency: Currency,
    },
}

/// What an order must meet.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Conditions)]
struct ConditionsView {
    /// The least amount of the order.
    #[schema(value_type = u64, maximum = 1_000_000_000_000_u64)]
    min_order_amount: MinOrderAmount,
    /// One of these products is in the order; empty for any.
    #[schema(value_type = Vec<String>, max_items = 100)]
    product_ids: Vec<Label>,
    /// A product of one of these categories is in the order; empty for any.
    #[schema(value_type = Vec<String>, max_items = 100)]
    category_ids: Vec<Label>,
}

/// When an issued coupon can be used.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ValidityView {
    /// The same period for everybody: `[from, until)`.
    Period { from: Timestamp, until: Timestamp },
    /// From issue, for that many days of 24 hours.
    Days { days: Days },
}

impl CouponView {
    /// The coupon, as it is shown.
    pub(crate) fn of(coupon: CouponRecord) -> Self {
        let CouponRecord { id, draft, created_at, updated_at, .. } = coupon;
        let Conditions { min_order_amount, product_ids, category_ids } = draft.conditions;
        Self {
            id,
            name: draft.name,
            benefit: match draft.benefit {
                Benefit::Amount { amount, currency } => BenefitView::Amount { amount, currency },
                Benefit::Percent { percent, max_amount, currency } => {
                    BenefitView::Percent { percent, max_amount, currency }
                }
            },
            conditions: ConditionsView { min_order_amount, product_ids, category_ids },
            validity: match draft.validity {
                Validity::Period { from, until } => ValidityView::Period { from, until },
                Validity::Days(days) => ValidityView::Days { days },
            },
            created_at,
            updated_at,
        }
    }
}

/// The event, as it is at `now`.
pub(crate) fn event_view(event: EventRecord, now: Timestamp) -> EventView {
    let of = event.rule.issued;
    EventView {
        sync: event.copied_by_sync(now).map(|copied| SyncView { copied, of }),
        id: event.id,
        coupon_id: event.coupon_id,
        name: event.name,
        quantity: event.rule.quantity,
        issued: event.rule.issued,
        remaining: event.rule.remaining(),
        opens_at: event.rule.window.opens_at(),
        closes_at: event.rule.window.closes_at(),
        strategy: event.strategy,
        state: event.rule.state(now),
        server_time: now,
        created_at: event.created_at,
        updated_at: event.updated_at,
    }
}
