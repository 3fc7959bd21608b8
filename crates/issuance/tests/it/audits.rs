//! The audit over HTTP.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::TestIssuance;

/// A check that passes.
fn check(name: &str, expected: u64, found: u64) -> Value {
    json!({"name": name, "expected": expected, "found": found, "pass": true})
}

#[tokio::test]
async fn an_audit_has_the_members_of_its_shape() {
    let test = TestIssuance::new().await;
    let event = test.event(2).await;
    for user in ["kim", "lee", "kim", "park"] {
        test.claim(event.id, user).await;
    }
    let audit = test.get(&format!("/v1/events/{}/audit", event.id)).await.expect(200);
    assert_eq!(
        audit,
        json!({
            "event_id": event.id, "verdict": "pass", "quantity": 2, "issued": 2, "rows": 2,
            "distinct_users": 2, "max_sequence": 2, "pending": 0,
            "checks": [
                check("issued_within_quantity", 2, 2),
                check("rows_equal_issued", 2, 2),
                check("distinct_users_equal_rows", 2, 2),
                check("sequences_without_holes", 2, 2),
                check("ids_match", 2, 2),
                check("used_coupons_have_one_redemption", 0, 0),
                check("nothing_pending", 0, 0),
            ],
        })
    );
    let unknown = format!("/v1/events/{}/audit", Uuid::now_v7());
    test.get(&unknown).await.problem(404, "event_not_found");
}
