//! What is answered of events, issued coupons and audits.

use firstcome_core::{EventId, Timestamp};
use firstcome_ledger::{AuditCheck, AuditRecord, EventRecord, IssuedCouponRecord};
use firstcome_web::{EventView, IssuedView, SyncView};
use serde::Serialize;
use utoipa::ToSchema;

/// The audit of an event, all of it counted at one moment.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Audit, examples(json!({
    "event_id": "0199a8e2-7c1b-7d3e-8f00-0123456789ab", "verdict": "pass", "quantity": 10000,
    "issued": 1200, "rows": 1200, "distinct_users": 1200, "max_sequence": 1200, "pending": 0,
    "checks": [{"name": "rows_equal_issued", "expected": 1200, "found": 1200, "pass": true}],
})))]
pub struct AuditView {
    /// The event.
    #[schema(value_type = String, format = Uuid)]
    event_id: EventId,
    /// `pass` if every check passes, else `fail`.
    verdict: Verdict,
    /// How many coupons it has.
    quantity: u64,
    /// How many it says that it has issued.
    issued: u64,
    /// Issued coupons that are there.
    rows: u64,
    /// Different users who hold one.
    distinct_users: u64,
    /// The highest sequence.
    max_sequence: u64,
    /// Winners that are durable, but not yet in their table. Of an event whose wins Kafka holds,
    /// every record of its partition that no worker has applied is counted, those of other events
    /// and of other programs too.
    pending: u64,
    /// What must hold.
    checks: Vec<CheckView>,
}

/// Whether every check of an audit passes.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = AuditVerdict)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Pass,
    Fail,
}

/// One thing that must hold.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = AuditCheck)]
struct CheckView {
    /// What.
    name: &'static str,
    /// The number that there should be, or the highest allowed.
    expected: u64,
    /// The number that there is.
    found: u64,
    /// Whether that is right.
    pass: bool,
}

impl AuditView {
    /// The audit, as it is shown.
    #[must_use]
    pub fn of(audit: AuditRecord) -> Self {
        let check =
            |AuditCheck { name, expected, found, pass }| CheckView { name, expected, found, pass };
        Self {
            event_id: audit.event_id,
            verdict: if audit.pass() { Verdict::Pass } else { Verdict::Fail },
            quantity: audit.quantity,
            issued: audit.issued,
            rows: audit.rows,
            distinct_users: audit.distinct_users,
            max_sequence: audit.max_sequence,
            pending: audit.pending,
            checks: audit.checks.into_iter().map(check).collect(),
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
