//! What everybody reads.

use firstcome_core::{
    Amount, Benefit, Conditions, CouponId, Currency, Days, Label, MinOrderAmount, Name, Percent,
    Timestamp, Validity,
};
use firstcome_ledger::{CouponRecord, EventRecord};
use firstcome_web::EventView;
use serde::Serialize;
use utoipa::ToSchema;

/// A coupon.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Coupon)]
pub struct CouponView {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    id: CouponId,
    /// What people call it.
    #[schema(value_type = String)]
    name: Name,
    /// What it gives.
    benefit: BenefitView,
    /// What an order must meet; all of it.
    conditions: ConditionsView,
    /// When it can be used.
    validity: ValidityView,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// What a coupon gives. Money is in the currency's minor unit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Benefit)]
#[serde(tag = "type", rename_all = "snake_case")]
enum BenefitView {
    /// A fixed amount off the order.
    Amount {
        #[schema(value_type = u64)]
        amount: Amount,
        #[schema(value_type = String, example = "KRW")]
        currency: Currency,
    },
    /// A share of the order.
    Percent {
        #[schema(value_type = u32, minimum = 1, maximum = 100)]
        percent: Percent,
        /// The most that it gives; absent for no cap.
        #[schema(value_type = Option<u64>, nullable = false)]
        #[serde(skip_serializing_if = "Option::is_none")]
        max_amount: Option<Amount>,
        #[schema(value_type = String, example = "KRW")]
        currency: Currency,
    },
}

/// What an order must meet.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Conditions)]
struct ConditionsView {
    /// The least amount of the order.
    #[schema(value_type = u64)]
    min_order_amount: MinOrderAmount,
    /// One of these products is in the order; empty for any.
    #[schema(value_type = Vec<String>)]
    product_ids: Vec<Label>,
    /// A product of one of these categories is in the order; empty for any.
    #[schema(value_type = Vec<String>)]
    category_ids: Vec<Label>,
}

/// When an issued coupon can be used.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Validity)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ValidityView {
    /// The same period for everybody: `[from, until)`.
    Period {
        #[schema(value_type = String, format = DateTime)]
        from: Timestamp,
        #[schema(value_type = String, format = DateTime)]
        until: Timestamp,
    },
    /// From issue, for that many days of 24 hours.
    Days {
        #[schema(value_type = u32, minimum = 1, maximum = 3650)]
        days: Days,
    },
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
    EventView {
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
